"""Flink target: DDL of sources and sinks, and the generated *conform* part of every stream, as SQL text.

The chain of one stream, each view one step, one row per raw record::

    raw_<dataset>            the topic, decoded; a record that cannot be decoded keeps its bytes and says why
    <dataset>__checked       … with `_reason`: why a decoded record must still be refused, else NULL
    <dataset>__flagged       accepted rows with what the quality tests of one reading say, whether they are late, and
                             their provenance
    <dataset>__tested        … after the quality tests that need the readings before (state per entity); only where the
                             contract declares one
    <dataset>__by_block      … with the block of time that they share a state with (where state is kept per key)
    <dataset>__conformed     … classified as on_time, late, corrected or duplicate (state per key); in the shared job,
                             which keeps no state, as on_time or late

Times: the Kafka timestamp of a raw record is the *arrival clock*, set by the gateway. Lateness and watermark depend
on it alone (``late := event time < arrival − watermark``), so that a job which reads the topics again decides the
same, at any speed, and one device with a bad clock makes nobody late.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from pipelines.contracts import system
from pipelines.contracts.errors import Untranslatable
from pipelines.contracts.model import STATEFUL_QC, Dataset
from pipelines.contracts.names import backtick, literal
from pipelines.contracts.registry import Registry
from pipelines.contracts.support import Refused, Support, elsewhere, native
from pipelines.contracts.targets import flink_qc, kafka

TARGET = "flink"
SUPPORT: Mapping[str, Support] = {
    # What breaks these is refused (columns, type, key) or flagged (quality tests), row by row as it arrives.
    **native("columns", "type", "key_known", "range", "gross_range", "climatology", *STATEFUL_QC),
    # On arrival the readings of two stations have no order that a rebuilt job would repeat.
    **elsewhere("dbt", "neighbour"),
    # What needs more than one row is judged on a settled version; the rest must not delay a row.
    **elsewhere("great_expectations", "required", "key_unique", "code_list", "row_count", "completeness"),
    **elsewhere("great_expectations", "comparison", "required_when", "pattern", "unique", "share", "total"),
    "freshness": Refused("a job sees only what arrives, not what is missing; see publishing/freshness"),
}
"""Every kind of rule that a contract can hold, and where it is held."""

ROWTIME = "rowtime"
"""What Flink calls the event time of rows that a table function was told of; a field of this name would hide it."""
FUTURE = timedelta(minutes=5)
"""A clock may run ahead of the arrival clock by so much; beyond, the record is refused as ``future``."""
SLACK = timedelta(seconds=10)
"""How far records of one partition may stand out of order by the arrival clock (several gateways write to it)."""

BLOCK = 32
"""So many readings of an entity share a state, if they come at the contract's cadence."""


@dataclass(frozen=True)
class Connection:
    """How a job reaches Kafka: the namespace's topic prefix is applied by ``prefix``."""

    bootstrap: str
    prefix: str
    group: str
    startup: tuple[tuple[str, str], ...] = (("scan.startup.mode", "earliest-offset"),)

    def topic(self, name: str) -> str:
        """The full name of a topic in this namespace."""
        return f"{self.prefix}{name}"


def _interval(duration: timedelta) -> str:
    """An interval literal: Flink's precision for a single unit is two digits, so days to seconds are written out."""
    total = int(duration.total_seconds())
    hours, seconds = divmod(total % 86_400, 3600)
    return f"INTERVAL '{total // 86_400} {hours:02}:{seconds // 60:02}:{seconds % 60:02}' DAY TO SECOND"


def _options(options: Iterable[tuple[str, str]]) -> str:
    return ",\n  ".join(f"{literal(key)} = {literal(value)}" for key, value in options)


def _columns(dataset: Dataset) -> list[str]:
    return [f"{backtick(f.name)} {f.type.on('flink')}" for f in dataset.fields]


def _system(columns: Iterable[tuple[str, object]]) -> list[str]:
    return [f"{backtick(name)} {kind.on('flink')}" for name, kind in columns]  # type: ignore[attr-defined]


def source(dataset: Dataset, connection: Connection) -> str:
    """``CREATE TABLE raw_<dataset>`` over the raw topic.

    Raises:
        Untranslatable: the dataset is not a stream, or a field has a name that the table needs for itself.
    """
    if dataset.stream is None:
        raise Untranslatable(dataset.id, "source", "flink", "only a stream is read from Kafka")
    clash = dataset.has & {"origin", "revision", "received_at"}
    if clash:
        raise Untranslatable(dataset.id, f"field {sorted(clash)[0]}", "flink", "the platform adds this column itself")
    delay = dataset.stream.watermark + SLACK
    event_time = backtick(dataset.stream.event_time)
    columns = [
        *_columns(dataset),
        "`origin` STRING",
        "`revision` INT",
        "`_raw` BYTES",
        "`_err` STRING",
        "`_received_at` TIMESTAMP_LTZ(3) NOT NULL METADATA FROM 'timestamp' VIRTUAL",
        "`_partition` INT METADATA FROM 'partition' VIRTUAL",
        "`_offset` BIGINT METADATA FROM 'offset' VIRTUAL",
        f"`_rowtime` AS COALESCE({event_time}, `_received_at`)",
        # In whole seconds, as windows and delays are: one for every record would pass every exchange and window.
        f"WATERMARK FOR `_rowtime` AS FLOOR(`_received_at` TO SECOND) - {_interval(delay)}",
    ]
    options = [
        ("connector", "kafka"),
        ("topic", connection.topic(kafka.raw_topic(dataset))),
        ("properties.bootstrap.servers", connection.bootstrap),
        ("properties.group.id", connection.group),
        *connection.startup,
        ("scan.watermark.emit.strategy", "on-event"),
        ("value.format", "lake-json"),
    ]
    return (
        f"CREATE TABLE {backtick('raw_' + dataset.id)} (\n  "
        + ",\n  ".join(columns)
        + f"\n) WITH (\n  {_options(options)}\n)"
    )


def checked(dataset: Dataset) -> str:
    """``CREATE VIEW <dataset>__checked``: one row per raw record with ``_reason``, NULL when it can be used."""
    if dataset.stream is None:
        raise Untranslatable(dataset.id, "checked", "flink", "only a stream is conformed")
    event_time = backtick(dataset.stream.event_time)
    cases = ["WHEN `_err` IS NOT NULL THEN `_err`"]
    cases += [
        f"WHEN {backtick(k)} IS NULL THEN {literal(f'missing_key:{k}')}" for k in dataset.key if k != dataset.event_time
    ]
    cases.append(f"WHEN {event_time} IS NULL THEN {literal(f'missing_event_time:{dataset.event_time}')}")
    origins = ", ".join(literal(o) for o in system.ORIGINS)
    cases.append(f"WHEN `origin` IS NULL OR `origin` NOT IN ({origins}) THEN 'unknown_origin'")
    cases.append(f"WHEN {event_time} > `_received_at` + {_interval(FUTURE)} THEN 'future'")
    return (
        f"CREATE VIEW {backtick(dataset.id + '__checked')} AS\nSELECT *,\n  CASE\n    "
        + "\n    ".join(cases)
        + f"\n  END AS `_reason`\nFROM {backtick('raw_' + dataset.id)}"
    )


def flagged(dataset: Dataset, registry: Registry) -> str:
    """``CREATE VIEW <dataset>__flagged``: accepted rows with provenance, lateness and what stateless tests say."""
    if dataset.stream is None:
        raise Untranslatable(dataset.id, "flagged", "flink", "only a stream is conformed")
    flag, detail = flink_qc.stateless(dataset, registry)
    fields = ",\n  ".join(backtick(f.name) for f in dataset.fields)
    event_time = backtick(dataset.stream.event_time)
    return f"""CREATE VIEW {backtick(dataset.id + "__flagged")} AS
SELECT
  {fields},
  `origin`,
  CAST({flag} AS INT) AS `_qc_flag`,
  {detail} AS `_qc_detail`,
  COALESCE(`revision`, 0) AS `_revision`,
  {event_time} < `_received_at` - {_interval(dataset.stream.watermark)} AS `_late`,
  `_received_at`,
  `_partition`,
  `_offset`,
  `_rowtime`
FROM {backtick(dataset.id + "__checked")}
WHERE `_reason` IS NULL"""


def tested(dataset: Dataset, registry: Registry) -> str:
    """``CREATE VIEW <dataset>__tested``: flagged rows after the tests that need those before (state per entity).

    They stand before :func:`conformed`: the records of an entity are in one partition of the raw topic, and a job that
    reads it again sees them in the same order only as long as nothing has distributed them by another key.

    Raises:
        Untranslatable: the contract declares no such test, or its job keeps no state.
    """
    if not dataset.qc.is_stateful:
        raise Untranslatable(dataset.id, "tested", "flink", "no test of this contract needs the readings before")
    fields = ",\n  ".join(backtick(f.name) for f in dataset.fields)
    entity = ", ".join(backtick(k) for k in dataset.entity_key)
    return f"""CREATE VIEW {backtick(dataset.id + "__tested")} AS
SELECT
  {fields},
  `origin`,
  `_tested_flag` AS `_qc_flag`,
  `_tested_detail` AS `_qc_detail`,
  `_revision`,
  `_late`,
  `_received_at`,
  `_partition`,
  `_offset`,
  `rowtime` AS `_rowtime`
FROM QualityTests(
  input => TABLE {backtick(dataset.id + "__flagged")} PARTITION BY ({entity}),
  tests => CAST({literal(flink_qc.stateful(dataset, registry))} AS STRING),
  on_time => DESCRIPTOR(`_rowtime`),
  uid => {literal(dataset.id + "_quality")}
)"""


def _tested_view(dataset: Dataset) -> str:
    """The view of the rows that every declared quality test has seen."""
    return backtick(dataset.id + ("__tested" if dataset.qc.is_stateful else "__flagged"))


def _keeps_blocks(dataset: Dataset) -> bool:
    """Whether state is kept per key, and the event time belongs to the key."""
    return dataset.is_keyed and dataset.event_time in dataset.key


def by_block(dataset: Dataset) -> str:
    """``CREATE VIEW <dataset>__by_block``: tested rows with ``_block``, where their event time lies, as text.

    A block of time holds about :data:`BLOCK` readings of an entity at the contract's cadence. They share one state: a
    key for each reading is longer than what is remembered of it, and took a third more of a checkpoint. The block
    stands first in the key and sorts by time, so that RocksDB writes new readings where the newest are, and never
    merges old files again; by entity first, in no order of time, each record cost more the larger the state was. Seven
    digits of minutes suffice until the year 2480.

    Raises:
        Untranslatable: the event time is not in the key; corrections of it would find no other state.
    """
    if dataset.stream is None or not _keeps_blocks(dataset):
        raise Untranslatable(
            dataset.id, "by_block", "flink", "the event time is no part of a key that state is kept for"
        )
    minutes = f"TIMESTAMPDIFF(MINUTE, TO_TIMESTAMP_LTZ(0, 3), {backtick(str(dataset.event_time))})"
    block = max(1, BLOCK * dataset.stream.cadence // timedelta(minutes=1))
    return (
        f"CREATE VIEW {backtick(dataset.id + '__by_block')} AS\n"
        f"SELECT\n  HEX({minutes} / {block}) AS `_block`,\n  *\nFROM {_tested_view(dataset)}"
    )


def conformed(dataset: Dataset) -> str:
    """``CREATE VIEW <dataset>__conformed``: every accepted row with its ``disposition`` and the clean column names.

    A keyed job asks :class:`Disposition`, with state per key; the shared job says on time or late, by the record alone.
    """
    if dataset.stream is None:
        raise Untranslatable(dataset.id, "conformed", "flink", "only a stream is conformed")
    fields = ",\n  ".join(backtick(f.name) for f in dataset.fields)
    rows = _tested_view(dataset)
    if dataset.is_keyed:
        keys, instant = ", ".join(backtick(k) for k in dataset.key), ""
        if _keeps_blocks(dataset):
            keys = ", ".join(["`_block`", *map(backtick, dataset.entity_key)])
            rows, instant = backtick(dataset.id + "__by_block"), str(dataset.event_time)
        horizon_ms = int(dataset.stream.dedupe.total_seconds() * 1000)
        disposition = f"`disposition`,\n  {backtick(ROWTIME)}"
        rows = f"""Disposition(
  input => TABLE {rows} PARTITION BY ({keys}),
  instant => CAST({literal(instant)} AS STRING),
  horizon_ms => CAST({horizon_ms} AS BIGINT),
  on_time => DESCRIPTOR(`_rowtime`),
  uid => {literal(dataset.id + "_disposition")}
)"""
    else:
        disposition = "CASE WHEN `_late` THEN 'late' ELSE 'on_time' END AS `disposition`"
    return f"""CREATE VIEW {backtick(dataset.id + "__conformed")} AS
SELECT
  {fields},
  `_qc_flag` AS `qc_flag`,
  `_qc_detail` AS `qc_detail`,
  `origin`,
  `_revision` AS `revision`,
  `_received_at` AS `received_at`,
  `_partition` AS `raw_partition`,
  `_offset` AS `raw_offset`,
  {disposition}
FROM {rows}"""


def conform(dataset: Dataset, registry: Registry) -> tuple[str, ...]:
    """Every view between the raw table and the conformed rows, in order."""
    views = [checked(dataset), flagged(dataset, registry)]
    if dataset.qc.is_stateful:
        views.append(tested(dataset, registry))
    if _keeps_blocks(dataset):
        views.append(by_block(dataset))
    return (*views, conformed(dataset))


def _sink(name: str, columns: list[str], topic: str, connection: Connection) -> str:
    options = [
        ("connector", "kafka"),
        ("topic", connection.topic(topic)),
        ("properties.bootstrap.servers", connection.bootstrap),
        ("properties.acks", "all"),
        ("properties.linger.ms", "5"),
        ("properties.compression.type", "lz4"),
        ("sink.delivery-guarantee", "at-least-once"),
        ("key.format", "raw"),
        ("key.fields", "_key"),
        ("value.fields-include", "EXCEPT_KEY"),
        ("value.format", "lake-json"),
    ]
    body = ",\n  ".join(["`_key` STRING", *columns])
    return f"CREATE TABLE {backtick(name)} (\n  {body}\n) WITH (\n  {_options(options)}\n)"


def key_sql(names: Iterable[str]) -> str:
    """The record key: the values joined by ``|``."""
    parts = [f"CAST({backtick(name)} AS STRING)" for name in names]
    return f"CONCAT_WS('|', {', '.join(parts)})" if len(parts) > 1 else parts[0]


def clean_sink(dataset: Dataset, connection: Connection) -> str:
    """``CREATE TABLE clean_<dataset>`` over the clean topic, keyed by entity."""
    columns = [*_columns(dataset), *_system((*system.QC, *system.PROVENANCE, *system.DISPOSITION))]
    return _sink(f"clean_{dataset.id}", columns, kafka.clean_topic(dataset), connection)


def clean_insert(dataset: Dataset) -> str:
    """Every conformed row to the clean topic, duplicates too: what is not counted is lost."""
    extra = (*system.QC, *system.PROVENANCE, *system.DISPOSITION)
    names = [f.name for f in dataset.fields] + [name for name, _ in extra]
    columns = ", ".join(backtick(n) for n in names)
    key = key_sql(dataset.entity_key)
    target, origin = backtick(f"clean_{dataset.id}"), backtick(f"{dataset.id}__conformed")
    return f"INSERT INTO {target} (`_key`, {columns})\nSELECT {key}, {columns}\nFROM {origin}"


def derived_sink(dataset: Dataset, connection: Connection) -> str:
    """``CREATE TABLE <dataset>`` over an aggregate's or alert's topic; the domain's SQL file inserts into it."""
    if dataset.derived is None:
        raise Untranslatable(dataset.id, "derived_sink", "flink", "only a derived table is written by a domain's SQL")
    columns = [*_columns(dataset), *_system(system.DERIVED_PROVENANCE)]
    return _sink(dataset.id, columns, dataset.derived.topic, connection)


def dead_letter_sink(connection: Connection) -> str:
    """``CREATE TABLE dead_letter``: bytes travel as base64, which is how JSON holds BYTES."""
    columns = [c.replace("`payload` STRING", "`payload` BYTES") for c in _system(system.DEAD_LETTER)]
    return _sink("dead_letter", columns, kafka.DEAD_LETTER, connection)


def dead_letter_insert(dataset: Dataset, connection: Connection) -> str:
    """Refused records with their bytes, place, time and reason (``reason[:detail]``)."""
    topic = literal(connection.topic(kafka.raw_topic(dataset)))
    columns = ", ".join(backtick(name) for name, _ in system.DEAD_LETTER)
    return f"""INSERT INTO `dead_letter` (`_key`, {columns})
SELECT
  CONCAT_WS('|', {literal(dataset.id)}, CAST(`_partition` AS STRING), CAST(`_offset` AS STRING)),
  {literal(dataset.id)}, {topic}, `_partition`, `_offset`, `_received_at`,
  SPLIT_INDEX(`_reason`, ':', 0), SPLIT_INDEX(`_reason`, ':', 1), `_raw`
FROM {backtick(dataset.id + "__checked")}
WHERE `_reason` IS NOT NULL"""
