"""The landing process: one loop that reads all topics in large batches and commits table after table."""

from __future__ import annotations

import gc
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from itertools import groupby
from types import FrameType
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from pipelines.contracts.errors import ContractErrors
from pipelines.contracts.registry import Registry
from pipelines.landing.apply import Quality
from pipelines.landing.broker import Broker, OffsetOutOfRange, Topic
from pipelines.landing.consume import LandingOptions, Source
from pipelines.landing.lease import LeaseHeld, lease, leases
from pipelines.landing.removal import answer, asked, remove
from pipelines.landing.routes import Opening, Work, route_specs
from pipelines.landing.status import Status, write_status
from pipelines.landing.watch import changed, encryptor, flush_path, mtime
from pipelines.runtime.contracts import registry_of, signature
from pipelines.runtime.settings import Settings

log = logging.getLogger(__name__)
_TAKE_OVER_S = 0.3
_COLLECT_AFTER = 200_000
"""New objects between two runs of the cycle collector. A batch makes 20,000 messages, none of them part of a cycle; at
Python's 700 the collector took a fifth of landing's CPU."""
_FLUSH_LOOK_S = 0.5
_TOPIC: Any = Message.topic
_ERROR: Any = Message.error


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Let the cycle collector run after :data:`_COLLECT_AFTER` new objects; as it was, afterwards."""
    before = gc.get_threshold()
    gc.set_threshold(_COLLECT_AFTER, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


class Landing:
    """Everything that one landing process holds; `stop` asks it to end after the commit it is in."""

    def __init__(
        self, settings: Settings, registry: Registry, bootstrap: str, options: LandingOptions | None = None
    ) -> None:
        """`bootstrap`: Kafka as `host:port`. Nothing is opened yet."""
        self.settings = settings
        self.options = options or LandingOptions()
        self._registry = registry
        self._broker = Broker(bootstrap)
        self._encrypt = encryptor(settings)
        self._sources: dict[str, Source] = {}
        self._stop = False
        self._started = datetime.now(UTC)
        self._problem: str | None = None
        self._contracts_problem: str | None = None
        self._schemas = signature(settings)
        self._flushed = mtime(flush_path(settings))
        self._discover_at = self._discovered_at = self._status_at = 0.0
        self._compacts_quality = False

    def stop(self) -> None:
        """Ask the loop to commit what it has read, and end."""
        self._stop = True

    def run(self, *, wait: bool = False) -> None:
        """Land until :meth:`stop`; with `wait` another landing's end is waited for, and its tables taken over.

        Raises:
            LeaseHeld: another process lands this namespace.
        """
        self._plan_sources()
        tables = {source.spec.table for source in self._sources.values()}
        told = False
        while not self._stop:
            try:
                self._run(tables)
            except LeaseHeld as held:
                if not wait:
                    raise
                if not told:
                    log.info("waiting: %s", held.what)
                    told = True
                time.sleep(_TAKE_OVER_S)

    def _run(self, tables: set[str]) -> None:
        with leases(self.settings, tables) as held, _rare_collections(), ExitStack() as also:
            try:
                also.enter_context(lease(self.settings, "quality.compaction"))
                self._compacts_quality = True
            except LeaseHeld:
                log.info("another shard compacts the quality tables")
            self._quality = Quality.open(self.settings, compact_every=self.options.compact_every)
            consumer = self._broker.consumer()
            try:
                self._loop(consumer, held, tables)
            finally:
                consumer.close()
                self._write_status(consumer=None)

    def _loop(self, consumer: Consumer, held: ExitStack, tables: set[str]) -> None:
        while not self._stop:
            now = time.monotonic()
            if now >= self._discover_at:
                self._discovered_at, self._discover_at = now, now + self.options.discover_s
                self._reload_contracts(held, tables, consumer)
                self._discover(consumer, tables)
            messages = consumer.consume(self.options.fetch_records, self.options.poll_s)
            self._take(consumer, messages)
            # Who waits for landing asks for a flush; while there is more to read at once, small commits only delay it.
            caught_up = len(messages) < self.options.fetch_records
            self._commit(consumer, flush=caught_up and self._flush_asked())
            if caught_up:
                self._remove(tables)
            if time.monotonic() >= self._status_at:
                self._status_at = time.monotonic() + self.options.status_s
                self._write_status(consumer)
        self._commit(consumer, flush=True)

    # ── what there is to read ────────────────────────────────────────────────────────────────────────────────

    def _plan_sources(self) -> None:
        """Make a source for every topic of the contracts that this process is asked to land."""
        wanted = set(self.options.only)
        for spec in route_specs(self._registry):
            name = self.settings.topic(spec.topic)
            if name in self._sources or (wanted and (spec.dataset.id if spec.dataset else "dead_letter") not in wanted):
                continue
            longest = self.options.bronze_interval_s if spec.is_bronze else self.options.silver_interval_s
            self._sources[name] = Source(spec, name, min(longest, spec.freshness_s / 4))

    def _reload_contracts(self, held: ExitStack, tables: set[str], consumer: Consumer) -> None:
        """Take up contracts that were added or changed while running; a half-edited file changes nothing yet."""
        seen = signature(self.settings)
        if seen == self._schemas:
            return
        try:
            registry = registry_of(self.settings)
        except ContractErrors as errors:
            self._contracts_problem = f"contracts not reloaded: {errors}"
            return
        self._schemas, self._contracts_problem = seen, None
        old, self._registry = self._registry, registry
        self._plan_sources()
        for source in self._sources.values():
            dataset = source.spec.dataset
            if source.spec.table not in tables:
                try:
                    held.enter_context(lease(self.settings, source.spec.table))
                except LeaseHeld as error:
                    source.failed(error)
                    continue
                tables.add(source.spec.table)
            elif dataset is not None and changed(old, registry, dataset.id):
                self._unassign(consumer, source)
                specs = {self.settings.topic(s.topic): s for s in route_specs(registry)}
                source.spec = specs.get(source.name, source.spec)
                source.close()

    def _discover(self, consumer: Consumer, tables: set[str]) -> None:
        """Open sources whose topic exists, and reopen those whose topic is another one now."""
        now = time.monotonic()
        waiting: list[tuple[Source, Topic]] = []
        try:
            for name, topic in self._broker.topics(self._sources).items():
                source = self._sources[name]
                if source.is_open and source.topic != topic:
                    log.warning("topic was made anew or grew", extra={"topic": name})
                    self._unassign(consumer, source)
                    source.close()
                if not source.is_open and now >= source.retry_at and source.spec.table in tables:
                    waiting.append((source, topic))
            ranges = self._broker.ranges(topic for _, topic in waiting)
        except (KafkaException, TimeoutError) as error:
            self._problem = f"Kafka does not answer: {error}"
            return
        self._problem = None
        opening = Opening(self.settings, self._registry, self._encrypt, self.options.compact_every)
        for source, topic in waiting:
            with self._isolated(consumer, source):
                source.open(self._broker, topic, ranges, opening)
                consumer.incremental_assign([TopicPartition(topic.name, p, at) for p, at in source.ends.items()])

    @contextmanager
    def _isolated(self, consumer: Consumer, source: Source) -> Iterator[None]:
        """Whatever goes wrong with one table is its own: it is shown and tried again, the others go on."""
        try:
            yield
        except Exception as error:
            log.exception("table failed; trying again", extra={"topic": source.name, "table": source.spec.table})
            self._unassign(consumer, source)
            source.failed(error)

    def _unassign(self, consumer: Consumer, source: Source) -> None:
        assigned = {(p.topic, p.partition) for p in consumer.assignment()}
        mine = [TopicPartition(topic, p) for topic, p in assigned if topic == source.name]
        if mine:
            consumer.incremental_unassign(mine)

    # ── reading and committing ───────────────────────────────────────────────────────────────────────────────

    def _take(self, consumer: Consumer, messages: Sequence[Any]) -> None:
        # Messages come in runs of one partition; `groupby` and `map` keep this loop out of Python.
        for name, run_of in groupby(messages, _TOPIC):
            source = self._sources.get(name)
            if source is None:
                continue
            taken = list(run_of)
            errors = [m for m in taken if m.error() is not None] if any(map(_ERROR, taken)) else []
            source.take([m for m in taken if m.error() is None] if errors else taken)
            for message in errors:
                self._broken(consumer, source, message.error())

    def _broken(self, consumer: Consumer, source: Source, error: Any) -> None:
        if error.code() == KafkaError._PARTITION_EOF:
            return
        with self._isolated(consumer, source):
            if error.code() == KafkaError._AUTO_OFFSET_RESET:
                raise OffsetOutOfRange(
                    f"{source.name} no longer holds the records that come next: {error.str()}.",
                    "The topic is looked at again; when it was made anew it is read from its beginning.",
                )
            raise RuntimeError(error.str())

    def _commit(self, consumer: Consumer, *, flush: bool) -> None:
        """Commit every table that is due: what they set aside in one commit per shared table, then each its own."""
        now = time.monotonic()
        works: list[tuple[Source, Work, float]] = []
        for source in self._sources.values():
            if source.is_due(now, self.options.max_rows, flush=flush):
                started = time.monotonic()
                with self._isolated(consumer, source):
                    works.append((source, source.work(), time.monotonic() - started))
        if not works:
            return
        try:
            self._quality.write([work.aside for _, work, _ in works if work.aside])
        except Exception as error:
            log.exception("shared tables failed; trying again")
            self._quality.refresh()
            shared = [source for source, work, _ in works if work.aside]
            works = [item for item in works if not item[1].aside]
            for source in shared:
                self._unassign(consumer, source)
                source.failed(error)
        for source, work, planned_s in works:
            started = time.monotonic()
            with self._isolated(consumer, source):
                work.finish()
                source.done(work, planned_s + time.monotonic() - started)
                if source.route is not None:
                    source.route.sink.compact()
        if self._compacts_quality:
            for sink in self._quality.sinks:
                sink.compact()

    def _remove(self, tables: set[str]) -> None:
        """Delete from one table that this process holds, if somebody asked; the next one's turn is after a round.

        What was read and not committed yet stays in its buffers: it is planned when it is committed.
        """
        shared = {sink.spec.id for sink in self._quality.sinks} if self._compacts_quality else set()
        for removal in asked(self.settings):
            if removal.table not in tables | shared:
                continue
            try:
                rows = remove(self.settings, removal)
            except Exception as error:
                log.exception("removal failed", extra={"table": removal.table})
                answer(self.settings, removal, f"{type(error).__name__}: {error}")
            else:
                log.info("rows removed", extra={"table": removal.table, "rows": rows})
                answer(self.settings, removal)
            for source in self._sources.values():
                if source.route is not None and source.spec.table == removal.table:
                    source.route.sink.refresh()
            for sink in self._quality.sinks:
                if sink.spec.id == removal.table:
                    sink.refresh()
            return

    def _flush_asked(self) -> bool:
        asked = mtime(flush_path(self.settings))
        if asked == self._flushed:
            return False
        self._flushed = asked
        if not all(source.is_open for source in self._sources.values()):
            # Who waits may wait for a topic that was just made.
            self._discover_at = min(self._discover_at, self._discovered_at + _FLUSH_LOOK_S)
        return True

    def _write_status(self, consumer: Consumer | None) -> None:
        tables = []
        for source in self._sources.values():
            highs: dict[int, int] = {}
            if consumer is not None and source.is_open:
                for partition in source.committed:
                    _, high = consumer.get_watermark_offsets(TopicPartition(source.name, partition), cached=True)
                    highs[partition] = high
            tables.append(source.status(highs))
        written = datetime.now(UTC).isoformat()
        problem = self._problem or self._contracts_problem
        status = Status(
            self.settings.namespace, os.getpid(), self._started.isoformat(), written, problem, tuple(tables)
        )
        write_status(self.settings, status)


def run(
    settings: Settings,
    registry: Registry,
    bootstrap: str,
    options: LandingOptions | None = None,
    *,
    wait: bool = False,
) -> None:
    """Land until TERM or the first Ctrl-C (what is read is committed first); a second one ends at once.

    Ending at once loses nothing either: commits are whole, and what is not committed is read again.

    Raises:
        LeaseHeld: another process lands this namespace, and `wait` is not set.
    """
    landing = Landing(settings, registry, bootstrap, options)
    with _signals(landing.stop):
        landing.run(wait=wait)


@contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    asked = False

    def handle(number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        log.info("ending after this commit", extra={"signal": signal.Signals(number).name})
        stop()

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
