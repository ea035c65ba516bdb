"""Waiting until what Kafka holds is landed; and the one way to accept that records are lost."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from deltalake import DeltaTable

from pipelines.contracts.registry import Registry
from pipelines.landing.broker import Broker
from pipelines.landing.lease import is_held, lease
from pipelines.landing.routes import RouteSpec, route_specs
from pipelines.landing.sink import Sink
from pipelines.landing.spec import TableSpec
from pipelines.landing.status import read_status
from pipelines.landing.tables import bronze_spec, quality_spec, silver_spec
from pipelines.landing.watch import flush_path
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings

log = logging.getLogger(__name__)
_POLL_S = 0.2
_STARTING_S = 20.0
"""A landing process that was just started takes a moment until it holds its leases."""


class NotDrained(LakeError):
    """Landing did not reach the asked offsets in time, or nobody lands."""


def ends_of(settings: Settings, registry: Registry, broker: Broker) -> dict[str, dict[int, int]]:
    """The end offsets now of every topic that landing reads: topic with namespace → partition → next offset."""
    topics = broker.topics(settings.topic(spec.topic) for spec in route_specs(registry))
    ends: dict[str, dict[int, int]] = {name: {} for name in topics}
    for (name, partition), span in broker.ranges(topics.values()).items():
        ends[name][partition] = span.high
    return ends


def drain(
    settings: Settings,
    registry: Registry,
    bootstrap: str,
    until: Mapping[str, Mapping[int, int]] | None = None,
    timeout_s: float = 120.0,
) -> dict[str, dict[int, int]]:
    """Wait until every table has committed `until` (default: the end offsets now); returns those offsets.

    The tables themselves are asked, so that what is returned as landed is readable.

    Raises:
        NotDrained: the time is over, or no process lands this namespace; the text says what is missing.
    """
    broker = Broker(bootstrap)
    asked = {t: dict(parts) for t, parts in (until or ends_of(settings, registry, broker)).items()}
    topics = broker.topics(asked)
    specs = {settings.topic(spec.topic): spec for spec in route_specs(registry)}
    open_ends = {
        (name, broker.app(topics[name], partition)): end
        for name, parts in asked.items()
        for partition, end in parts.items()
        if end > 0
    }
    tables = {name: _Table(settings, specs[name]) for name, _ in open_ends}
    flush_path(settings).parent.mkdir(parents=True, exist_ok=True)
    seen_at = time.monotonic()
    deadline = seen_at + timeout_s
    while True:
        flush_path(settings).touch()
        moved = [name for name in sorted({name for name, _ in open_ends}) if tables[name].moved()]
        for (name, app), end in list(open_ends.items()):
            if name in moved and tables[name].committed(app) >= end:
                del open_ends[name, app]
        if not open_ends:
            return asked
        now = time.monotonic()
        if moved or is_held(settings, specs[next(iter(open_ends))[0]].table):
            seen_at = now
        elif now > min(seen_at + _STARTING_S, deadline):
            raise NotDrained(
                f"Nobody lands the namespace {settings.namespace}: {len(open_ends)} partitions are not landed.",
                "Start `lake landing run`.",
            )
        if now > deadline:
            raise _not_drained(settings, sorted({name for name, _ in open_ends}), timeout_s)
        time.sleep(_POLL_S)


class _Table:
    """A table that is watched: it is asked for offsets only when it has a new version."""

    def __init__(self, settings: Settings, spec: RouteSpec) -> None:
        self._path = settings.table_path(*spec.table.split(".", 1))
        self._table: DeltaTable | None = None
        self._version = -1

    def moved(self) -> bool:
        """Whether there is a version that was not looked at yet."""
        if self._table is not None:
            self._table.update_incremental()
        elif (self._path / "_delta_log").is_dir():
            self._table = DeltaTable(str(self._path))
        version = -1 if self._table is None else self._table.version()
        before, self._version = self._version, version
        return version != before

    def committed(self, app: str) -> int:
        """The next offset of a source as the version that was looked at holds it."""
        return 0 if self._table is None else self._table.transaction_version(app) or 0


def _not_drained(settings: Settings, names: list[str], timeout_s: float) -> NotDrained:
    status = read_status(settings)
    problems = {t.topic: t.problem for t in status.tables if t.problem} if status else {}
    told = "; ".join(f"{name}: {problems[name]}" if name in problems else name for name in names)
    return NotDrained(
        f"After {timeout_s:.0f} s these topics are not landed to the asked offsets: {told}.",
        "See `lake landing status`.",
    )


def accept_loss(settings: Settings, registry: Registry, bootstrap: str, topic_name: str, partition: int) -> int:
    """Record that the records which Kafka no longer holds are lost, and land from the first that is there.

    Returns how many offsets were passed over; the commit's own information names them. Landing must be stopped.

    Raises:
        LakeError: no such topic, or nothing is lost. LeaseHeld: landing runs.
    """
    broker = Broker(bootstrap)
    specs = {settings.topic(spec.topic): spec for spec in route_specs(registry)}
    found = broker.topics([topic_name] if topic_name in specs else [])
    if topic_name not in found or partition not in found[topic_name].partitions:
        raise LakeError(
            f"There is no topic {topic_name} with a partition {partition} that landing reads.",
            f"Topics: {', '.join(sorted(specs))}.",
        )
    topic, spec = found[topic_name], specs[topic_name]
    with lease(settings, spec.table):
        sink = Sink.open(settings, _table_spec(spec))
        app = broker.app(topic, partition)
        low, committed = broker.ranges([topic])[topic_name, partition].low, sink.committed(app) or 0
        if low <= committed:
            raise LakeError(f"{topic_name}[{partition}] begins at {low}; the table is at {committed}: nothing is lost.")
        empty = sink.spec.schema.empty_table()
        sink.append(empty, {app: low})
        log.warning("loss accepted", extra={"topic": topic_name, "partition": partition, "from": committed, "to": low})
        return low - committed


def _table_spec(spec: RouteSpec) -> TableSpec:
    if spec.dataset is None:
        return quality_spec("dead_letter")
    return bronze_spec(spec.dataset) if spec.is_bronze else silver_spec(spec.dataset)
