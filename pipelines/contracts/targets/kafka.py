"""Kafka target: topic names, partitions and retention of a stream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from pipelines.contracts.model import Dataset
from pipelines.contracts.support import Refused, Support, elsewhere, flagged_elsewhere

TARGET = "kafka"
SUPPORT: Mapping[str, Support] = {
    # A topic takes any bytes: what a record holds is decided by the job that reads it.
    **elsewhere("flink", "columns", "type", "key_known", "range"),
    **flagged_elsewhere(),
    **elsewhere("great_expectations", "required", "key_unique", "code_list", "row_count", "completeness"),
    **elsewhere("great_expectations", "comparison", "required_when", "pattern", "unique", "share", "total"),
    "freshness": Refused("a topic holds what arrived, not what is missing; see publishing/freshness"),
}
"""Every kind of rule that a contract can hold, and where it is held."""

PERSONAL_LIMIT = timedelta(days=7)
"""Topics of personal and sensitive datasets never keep longer, so that an erasure has an end."""
MAX_PAYLOAD_BYTES = 512 * 1024
"""A larger payload goes to the object store; only its reference travels."""


@dataclass(frozen=True)
class Topic:
    """One topic without its namespace prefix; ``config`` as Kafka names it."""

    name: str
    partitions: int
    config: tuple[tuple[str, str], ...]


def raw_topic(dataset: Dataset) -> str:
    """The topic that holds what the gateway received."""
    return f"raw.{dataset.id}"


def clean_topic(dataset: Dataset) -> str:
    """The topic that holds classified, flagged rows."""
    return f"clean.{dataset.id}"


DEAD_LETTER = "dead_letter"
SCENARIO_RULE = "scenario.rule"
CLEAN_LIMIT = timedelta(days=7)
"""How long clean topics and those of aggregates and alarms keep records by time."""


def _config(retention: timedelta, *, keep: bool) -> tuple[tuple[str, str], ...]:
    milliseconds = "-1" if keep else str(int(retention.total_seconds() * 1000))
    return (
        ("max.message.bytes", str(2 * MAX_PAYLOAD_BYTES)),
        ("message.timestamp.type", "CreateTime"),
        ("retention.ms", milliseconds),
    )


def topics(dataset: Dataset, *, simulated_clock: bool) -> tuple[Topic, ...]:
    """The raw and clean topics of a stream, the one topic of a derived table.

    ``simulated_clock``: a replay namespace stamps records with the arrival clock of the recorded past; retention by
    time would delete them at once, so its topics are kept until the namespace is dropped.

    Raises:
        ValueError: the dataset is a sector table.
    """
    limit = PERSONAL_LIMIT if dataset.is_protected else timedelta.max
    if dataset.derived:
        return (Topic(dataset.derived.topic, 1, _config(min(CLEAN_LIMIT, limit), keep=simulated_clock)),)
    if dataset.stream is None:
        raise ValueError(f"{dataset.id} is read from a sector database: it has no topics")
    raw = _config(min(dataset.stream.rebuild, limit), keep=simulated_clock)
    clean = _config(min(CLEAN_LIMIT, limit), keep=simulated_clock)
    partitions = dataset.stream.partitions
    return (Topic(clean_topic(dataset), partitions, clean), Topic(raw_topic(dataset), partitions, raw))


def dead_letter_topic(*, simulated_clock: bool) -> Topic:
    """The one topic of records that could not be used; its copy at rest is ``quality.dead_letter``."""
    return Topic(DEAD_LETTER, 1, _config(PERSONAL_LIMIT, keep=simulated_clock))


def scenario_rule_topic() -> Topic:
    """The one topic of the scenarios' rules, compacted by scenario. A rule that was replaced stays as long as facts
    that it judged may be read again."""
    kept_ms = str(int(CLEAN_LIMIT.total_seconds() * 1000))
    config = (
        ("cleanup.policy", "compact"),
        ("max.message.bytes", str(2 * MAX_PAYLOAD_BYTES)),
        ("message.timestamp.type", "CreateTime"),
        ("min.compaction.lag.ms", kept_ms),
    )
    return Topic(SCENARIO_RULE, 1, config)
