"""What a stream job is: pure planning from contracts and a job's SQL file to statements and configuration.

The scenarios are the one job that is no SQL: SQL has no input that all keys share, and rules are such an input.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from importlib import resources
from string import Template

from pipelines.contracts.model import KEYED_JOBS, SCENARIO_JOB, SHARED_JOB, Dataset
from pipelines.contracts.names import literal
from pipelines.contracts.registry import Registry
from pipelines.contracts.scenario_places import lag
from pipelines.contracts.targets import flink, kafka
from pipelines.runtime.settings import Settings
from pipelines.streaming.code_lists import list_texts, midnight

FUNCTIONS: tuple[tuple[str, str], ...] = (
    ("Disposition", "vn.hue.lake.flink.Disposition"),
    ("FloodAlarm", "vn.hue.lake.flink.FloodAlarm"),
    ("QualityTests", "vn.hue.lake.flink.QualityTests"),
    ("RainAccumulation", "vn.hue.lake.flink.RainAccumulation"),
    ("ReservoirState", "vn.hue.lake.flink.ReservoirState"),
    ("RiverTrend", "vn.hue.lake.flink.RiverTrend"),
    ("UrbanDepth", "vn.hue.lake.flink.UrbanDepth"),
    ("CodeListJoin", "vn.hue.lake.flink.CodeListJoin"),
    ("TrafficIncident", "vn.hue.lake.flink.TrafficIncident"),
)
SCENARIO_ENTRY = "vn.hue.lake.scenario.job.ScenarioJob"
PARALLELISM = "1"
"""Subtasks of every step; the steps of a job still run beside each other.

With two, a topic that was silent for long enough to be waived (``source.idle-timeout``) lost rows when it spoke again:
the faster subtask's clock counted alone until the slower one had begun, and the first rows of that one were late for
their windows. Two of six replays lacked the first five of 5,888 windows, and the incident that began in them.
"""


@dataclass(frozen=True)
class Program:
    """A job that is no SQL: ``entry`` is the Java class whose ``submit(Configuration, String)`` builds it,
    ``arguments`` the JSON that it gets, into which the address of Kafka is put when it is submitted."""

    entry: str
    arguments: str
    bootstrap: str


@dataclass(frozen=True)
class Job:
    """One job, ready to submit: ``ddl`` in order, then all ``inserts`` as one statement set; or a ``program``."""

    name: str
    id: str
    ddl: tuple[str, ...]
    inserts: tuple[str, ...]
    config: tuple[tuple[str, str], ...]
    topics: tuple[str, ...]
    program: Program | None = None

    @cached_property
    def fingerprint(self) -> str:
        """Changes exactly when the running job no longer matches: then its state cannot be restored and the job is
        rebuilt from the raw topics."""
        program = [self.program.entry, self.program.arguments] if self.program else []
        content = json.dumps([self.ddl, self.inserts, self.config, *program], ensure_ascii=False)
        return hashlib.sha256(_STARTUP.sub("", content).encode()).hexdigest()[:16]


_STARTUP = re.compile(r"'scan\.startup\.[a-z.-]+' = '[^']*'(,\\n {2})?|'properties\.bootstrap\.servers' = '[^']*'")
"""Where to begin reading and at which port Kafka listens are no part of what the job computes."""


def startup_options(dataset: Dataset, settings: Settings, now: datetime) -> tuple[tuple[str, str], ...]:
    """Where a job without state begins: ``now − rebuild`` by the arrival clock, or the beginning of a replay
    namespace, whose arrival clock is simulated."""
    if settings.namespace != "city" or dataset.stream is None:
        return (("scan.startup.mode", "earliest-offset"),)
    begin = now - dataset.stream.rebuild
    return (
        ("scan.startup.mode", "timestamp"),
        ("scan.startup.timestamp-millis", str(int(begin.timestamp() * 1000))),
    )


def alarm_levels(registry: Registry) -> str:
    """The thresholds as the alarm function reads them: ``station|level|threshold_m|valid_from|valid_to;…``, validity
    as instants in UTC (the code list has days of Huế, the end exclusive), an open end empty."""
    rows = registry.code_list("alarm_levels").rows
    return ";".join(
        f"{row['station_id']}|{row['alarm_level']}|{row['threshold_m']}"
        f"|{midnight(row['valid_from'])}|{midnight(row['valid_to'])}"
        for row in rows
    )


def reservoir_tables(registry: Registry) -> str:
    """The reservoirs as their function reads them: ``id|normal|level_m`` for a normal level that is known, and
    ``id|level_m|storage_mm3`` for each point of a storage table, separated by ``;``."""
    normal = [
        f"{row['reservoir_id']}|normal|{row['normal_level_m']}"
        for row in registry.code_list("reservoirs").rows
        if row["normal_level_m"] is not None
    ]
    points = [
        f"{row['reservoir_id']}|{row['level_m']}|{row['storage_mm3']}"
        for row in registry.code_list("reservoir_storage").rows
    ]
    return ";".join([*normal, *points])


def durations(registry: Registry) -> Mapping[str, str]:
    """Durations of every stream's contract in ms: ``<stream>_cadence_ms``, ``…_dedupe_ms``, ``…_freshness_ms``."""
    found = {}
    for dataset in registry.streams():
        assert dataset.stream is not None
        for name, value in (
            ("cadence", dataset.stream.cadence),
            ("dedupe", dataset.stream.dedupe),
            ("freshness", dataset.sla.freshness),
        ):
            found[f"{dataset.id}_{name}_ms"] = str(int(value.total_seconds() * 1000))
    return found


def parameters(registry: Registry) -> Mapping[str, str]:
    """SQL literals that a job's file may name as ``$parameter``."""
    return {
        "alarm_levels": literal(alarm_levels(registry)),
        "reservoir_tables": literal(reservoir_tables(registry)),
        **durations(registry),
        **{name: literal(text) for name, text in list_texts(registry).items()},
    }


def split_statements(text: str) -> tuple[str, ...]:
    """Split a SQL file at ``;`` line ends, without its comment lines.

    Our files hold no ``;`` at a line's end inside a literal; a test parses every file to hold that.
    """
    body = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--"))
    return tuple(part.strip() for part in re.split(r";[ \t]*(?:\n|\Z)", body) if part.strip())


def job_statements(job: str, registry: Registry) -> tuple[str, ...]:
    """The statements of ``sql/<job>.sql`` that fill the registry's derived tables, parameters as ``$parameter``; none
    when the job has no file.

    A namespace may hold a part of the catalogue: an insert into a table that it lacks is left out, and so is a view
    that nothing else reads then.
    """
    path = resources.files("pipelines.streaming") / "sql" / f"{job}.sql"
    if not path.is_file():
        return ()
    tables = {d.id for d in registry.datasets if d.derived}
    kept: list[str] = []
    for statement in reversed(split_statements(path.read_text(encoding="utf-8"))):
        target = _TARGET.match(statement)
        assert target is not None, f"sql/{job}.sql holds views and inserts, not: {statement.splitlines()[0]}"
        view, table = target["view"], target["table"]
        if table in tables if table else any(re.search(rf"\b{view}\b", reader) for reader in kept):
            kept.append(statement)
    return tuple(reversed(kept))


_TARGET = re.compile(r"CREATE VIEW (?P<view>\w+)\b|INSERT INTO (?P<table>\w+)\b")


def job_sql(job: str, registry: Registry) -> tuple[str, ...]:
    """The statements of :func:`job_statements` with their parameters filled in.

    Raises:
        KeyError: the file names a parameter that does not exist.
    """
    statements = job_statements(job, registry)
    known = parameters(registry) if statements else {}
    return tuple(Template(statement).substitute(known) for statement in statements)


def state_ttl(datasets: tuple[Dataset, ...]) -> timedelta:
    """Wall-clock lifetime of unused state: twice the dedupe horizon, since the horizon itself is decided by the
    arrival clock and must never be cut short by garbage collection."""
    return 2 * max((d.stream.dedupe for d in datasets if d.stream), default=timedelta(hours=24))


def plan(job: str, registry: Registry, settings: Settings, *, bootstrap: str, now: datetime) -> Job:
    """Plan one job. Pure: no connection is made."""
    if job == SCENARIO_JOB:
        return _scenarios(registry, settings, bootstrap)
    streams = registry.streams(job)
    derived = registry.derived(job)
    name = settings.group(job)
    ddl: list[str] = [f"CREATE TEMPORARY SYSTEM FUNCTION {n} AS {literal(c)}" for n, c in FUNCTIONS]
    connection = flink.Connection(bootstrap, settings.topic(""), name)
    ddl.append(flink.dead_letter_sink(connection))
    inserts: list[str] = []
    for stream in streams:
        source = flink.Connection(bootstrap, settings.topic(""), name, startup_options(stream, settings, now))
        ddl += [flink.source(stream, source), *flink.conform(stream, registry), flink.clean_sink(stream, connection)]
        inserts += [flink.dead_letter_insert(stream, connection), flink.clean_insert(stream)]
    ddl += [flink.derived_sink(table, connection) for table in derived]
    for statement in job_sql(job, registry):
        (inserts if statement.upper().startswith("INSERT") else ddl).append(statement)
    config = {
        "pipeline.name": name,
        "pipeline.object-reuse": "true",
        "parallelism.default": PARALLELISM,
        # A key group stands before every key of the state: with more of them than subtasks no two keys of one time are
        # neighbours (see targets/flink.by_block).
        "pipeline.max-parallelism": PARALLELISM,
        "table.local-time-zone": "UTC",
        # A record waits in each exchange until its buffer is full or this has passed. Flink's 100 ms made two exchanges
        # the larger part of event → alert (see benchmarks/latency).
        "execution.buffer-timeout.interval": "10 ms",
        "table.exec.state.ttl": f"{int(state_ttl(streams).total_seconds())} s",
        # A silent partition must not hold the windows of the others: its share of the clock is waived after this.
        "table.exec.source.idle-timeout": "10 s",
        "table.optimizer.reuse-optimize-block-with-digest-enabled": "true",
        # One subtask sums all the same: two steps only cost, an eighth of the job (see benchmarks/transport).
        "table.optimizer.agg-phase-strategy": "ONE_PHASE",
    }
    topics = tuple(
        sorted({settings.topic(t.name) for d in (*streams, *derived) for t in kafka.topics(d, simulated_clock=True)})
    )
    return Job(name, job, tuple(ddl), tuple(inserts), tuple(sorted(config.items())), topics)


def _scenarios(registry: Registry, settings: Settings, bootstrap: str) -> Job:
    """The job of the scenarios. Neither rules nor the streams that they name are in its plan: it reads every live topic
    of the namespace, so that nobody's change restarts it; only how long aggregates wait for their windows is said."""
    name = settings.group(SCENARIO_JOB)
    lags = {d.topic: int(lag(d).total_seconds() * 1000) for d in registry.datasets if d.topic and lag(d)}
    arguments = {"name": name, "group": name, "prefix": settings.topic(""), "lags_ms": lags}
    config = {
        "pipeline.name": name,
        "pipeline.object-reuse": "true",
        "pipeline.auto-watermark-interval": "500 ms",
        "parallelism.default": PARALLELISM,
        "execution.buffer-timeout.interval": "10 ms",
    }
    topics = [kafka.scenario_rule_topic()]
    for table in registry.derived(SCENARIO_JOB):
        topics += kafka.topics(table, simulated_clock=True)
    return Job(
        name,
        SCENARIO_JOB,
        ddl=(),
        inserts=(),
        config=tuple(sorted(config.items())),
        topics=tuple(sorted(settings.topic(topic.name) for topic in topics)),
        program=Program(SCENARIO_ENTRY, json.dumps(arguments, sort_keys=True), bootstrap),
    )


def jobs_of(registry: Registry) -> tuple[str, ...]:
    """The jobs that the contracts need: those that have streams to read, and the one that judges by scenarios."""
    read = tuple(job for job in (*KEYED_JOBS, SHARED_JOB) if registry.streams(job))
    return (*read, SCENARIO_JOB) if registry.derived(SCENARIO_JOB) else read
