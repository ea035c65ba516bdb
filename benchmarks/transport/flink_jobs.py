"""The Flink jobs that are compared: ours as it is planned, and plain SQL with Flink's own json."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from pipelines.contracts.registry import Registry
from pipelines.contracts.targets import flink
from pipelines.runtime.settings import Settings
from pipelines.streaming.job import Job, job_sql, plan

DATASET = "lane_minute"
WINDOWS = ("lane_flow_1min", "lane_flow_5min")
_OURS = "'value.format' = 'lake-json'"
_STOCK = "'value.format' = 'json',\n  'value.json.timestamp-format.standard' = 'ISO-8601'"
_TARGET = re.compile(r"INSERT INTO `?([a-z0-9_]+)`?")


def at_cadence(registry: Registry, cadence_s: float) -> Registry:
    """The registry, but the contract of the readings says how often the lanes of the load report."""
    dataset = registry.dataset(DATASET)
    assert dataset.stream is not None
    stream = dataset.stream.model_copy(update={"cadence": timedelta(seconds=cadence_s)})
    changed = dataset.model_copy(update={"stream": stream})
    return replace(registry, datasets=tuple(changed if d is dataset else d for d in registry.datasets))


def ours(registry: Registry, settings: Settings, bootstrap: str, *, windows_only: bool) -> Job:
    """The planned job `transport`, with the statements that lane_minute and its two windows have in it.

    `windows_only` leaves the clean rows and the 5-minute windows out: what the simplest peers write.
    """
    job = plan("transport", registry, settings, bootstrap=bootstrap, now=datetime.now(UTC))
    wanted = {WINDOWS[0]} if windows_only else {f"clean_{DATASET}", *WINDOWS}
    inserts = tuple(
        statement
        for statement in job.inserts
        if (target := _target(statement)) in wanted or (target == "dead_letter" and f"'{DATASET}'" in statement)
    )
    return replace(job, inserts=inserts)


def _target(insert: str) -> str:
    found = _TARGET.match(insert)
    if found is None:
        raise ValueError(f"no INSERT: {insert[:60]}")
    return found[1]


def plain(registry: Registry, settings: Settings, bootstrap: str, *, windows_only: bool) -> Job:
    """What one writes without the platform: stock json that drops what it cannot read, event-time watermarks, the very
    windows of ours, the same topics and job options; no dead letter, no duplicates or corrections, no quality flags.

    Unless `windows_only` each parsed row goes to the clean topic too.
    """
    ours_job = plan("transport", registry, settings, bootstrap=bootstrap, now=datetime.now(UTC))
    dataset = registry.dataset(DATASET)
    connection = flink.Connection(bootstrap, settings.topic(""), settings.group("plain"))
    columns = ",\n  ".join(f"`{f.name}` {f.type.on('flink')}" for f in dataset.fields)
    source = f"""CREATE TABLE lane_minute (
  {columns},
  `origin` STRING,
  `received_at` TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL,
  `rowtime` AS CAST(`observed_at` AS TIMESTAMP_LTZ(3)),
  WATERMARK FOR `rowtime` AS `rowtime` - INTERVAL '02:10' MINUTE TO SECOND
) WITH (
  'connector' = 'kafka',
  'topic' = '{settings.topic("raw.lane_minute")}',
  'properties.bootstrap.servers' = '{bootstrap}',
  'properties.group.id' = '{connection.group}',
  'scan.startup.mode' = 'earliest-offset',
  'format' = 'json',
  'json.ignore-parse-errors' = 'true',
  'json.timestamp-format.standard' = 'ISO-8601'
)"""
    view = """CREATE VIEW lane_minute__on_time AS
SELECT
    detector_id, lane_no, vehicle_count, mean_speed_kmh, occupancy_pct, travel_time_s, queue_m, origin, received_at,
    CASE WHEN mean_speed_kmh IS NOT NULL THEN COALESCE(vehicle_count, 1) END AS speed_weight,
    rowtime
FROM lane_minute"""
    sinks = [flink.derived_sink(registry.dataset(name), connection) for name in WINDOWS]
    names = ", ".join(f"`{f.name}`" for f in dataset.fields) + ", `origin`, `received_at`"
    key = flink.key_sql(dataset.entity_key)
    clean = f"INSERT INTO `clean_{DATASET}` (`_key`, {names})\nSELECT {key}, {names}\nFROM lane_minute"
    written = job_sql("transport", registry)
    windows = [s for s in written if s.startswith("INSERT") and _target(s) in WINDOWS]
    rated = [s for s in written if s.startswith("CREATE VIEW lane_5min__")]
    functions = [s for s in ours_job.ddl if s.startswith("CREATE TEMPORARY SYSTEM FUNCTION")]
    inserts = [s for s in windows if _target(s) == WINDOWS[0]] if windows_only else [clean, *windows]
    sinks.append(flink.clean_sink(dataset, connection))
    ddl = [*functions, source, view, *rated, *(sink.replace(_OURS, _STOCK) for sink in sinks)]
    name = settings.group("plain")
    config = tuple((key, name if key == "pipeline.name" else value) for key, value in ours_job.config)
    return replace(ours_job, name=name, ddl=tuple(ddl), inserts=tuple(inserts), config=config)
