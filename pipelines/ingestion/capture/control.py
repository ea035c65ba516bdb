"""Starting, ending and looking at the capture of a source."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from pipelines.contracts.registry import Registry
from pipelines.ingestion.access import access_to
from pipelines.ingestion.bronze import Bronze
from pipelines.ingestion.capture.connector import Capture, captured, changed_shape, topic_of
from pipelines.ingestion.capture.source import CapturedSource, Slot, opened
from pipelines.ingestion.plan import sector_of
from pipelines.ingestion.trouble import SourceError
from pipelines.ingestion.window import OutsideWindow, is_open
from pipelines.landing.broker import Broker
from pipelines.runtime import kafka
from pipelines.runtime.connect import Connect, ConnectorStatus, connect
from pipelines.runtime.errors import LakeError
from pipelines.runtime.files import replace_file
from pipelines.runtime.services import endpoints
from pipelines.runtime.settings import Settings

UNBOUNDED = "-1"
"""What a source says that keeps its log for a slot until its disk is full."""
_BEGIN_S, _FAILED_S = 60.0, 5.0
_POLL_S = 0.2
Tell = Callable[[str], None]


def capture_of(settings: Settings, registry: Registry, source: str) -> Capture:
    """The capture of a source.

    Raises:
        LakeError: none of its tables is captured, or the namespace reads the sample in its place.
        ConnectionMissing, ConnectionUnreadable: where it is, is not known.
    """
    datasets = captured(registry, source)
    if not datasets:
        known = ", ".join(sorted({sector_of(d).source for d in captured(registry)})) or "none yet"
        raise LakeError(
            f"No table of the source {source!r} is captured.", f"Contracts say `mode: capture`; sources: {known}."
        )
    if settings.sector_sample is not None:
        raise LakeError(
            f"The namespace {settings.namespace} reads the sample, which is read whole and never captured.",
            "Capture a source in a namespace that reads it by its own connection.",
        )
    return Capture(settings, access_to(settings, registry, datasets[0]), datasets)


def start(
    settings: Settings, registry: Registry, source: str, tell: Tell, *, anew: bool = False, outside_window: bool = False
) -> ConnectorStatus:
    """Begin to capture a source, or go on; returns how the connector does. A second call changes nothing.

    What is captured for the first time, or `anew`, is read whole first, and loads compare its keys.

    Raises:
        CaptureRefused: the source does not let us; the text has the statements for its owner.
        OutsideWindow: tables would be read whole at an hour at which the agency does not want it.
        LakeError: a running capture would get other tables or columns; its tables are to be read anew.
    """
    capture = capture_of(settings, registry, source)
    with opened(capture.access) as at_source, connect(settings) as worker:
        kept = at_source.check(capture.places, capture.slot)
        if kept == UNBOUNDED:
            tell(
                f"The source {source} has no `max_slot_wal_keep_size`: while the capture is away, its log grows until "
                f"the disk is full. Ask {capture.access.source.agency} to set one."
            )
        exists = capture.name in worker.names()
        if not exists or anew:
            now = datetime.now(UTC)
            if not outside_window and not is_open(settings, registry, capture.datasets[0], now):
                raise OutsideWindow(
                    f"{source}: its tables would be read as a whole, for which the agency gives "
                    f"{capture.access.source.window}.",
                    "Start the capture in the window, or with --outside-window.",
                )
            _remove(capture, at_source, worker)
        elif other := changed_shape(worker.config(capture.name), capture.config):
            raise LakeError(
                f"The capture of {source} runs with other tables or columns ({', '.join(other)}).",
                f"What was read before lacks the new ones. Read them anew: `lake capture start {source} --anew`.",
            )
        _write_secrets(capture)
        kafka.ensure_topics(settings, capture.topics)
        worker.put(capture.name, capture.config)
        worker.resume(capture.name)
        return _begun(worker, capture.name)


def stop(settings: Settings, registry: Registry, source: str, *, for_good: bool = False) -> Slot | None:
    """End the capture of a source; returns the slot that stays, with what it makes the source keep.

    `for_good` drops the slot, and everything that was captured and not loaded.
    """
    capture = capture_of(settings, registry, source)
    with opened(capture.access) as at_source, connect(settings) as worker:
        if for_good:
            _remove(capture, at_source, worker)
        elif capture.name in worker.names():
            worker.stop(capture.name)
        return at_source.slot(capture.slot)


@dataclass(frozen=True)
class TableStatus:
    """How many changes of a table wait for a load; None before its first."""

    dataset: str
    waiting: int | None


@dataclass(frozen=True)
class CaptureStatus:
    """How a source's capture does; without a slot or connector it was not started, `problem` says what could not be
    asked."""

    source: str
    connector: ConnectorStatus | None
    slot: Slot | None
    tables: tuple[TableStatus, ...]
    problem: str | None

    @property
    def works(self) -> bool:
        """Whether changes come."""
        return self.connector is not None and self.connector.works and self.slot is not None and self.slot.is_active


def status(settings: Settings, registry: Registry) -> tuple[CaptureStatus, ...]:
    """How every capture of the namespace does; only reads."""
    sources = sorted({sector_of(dataset).source for dataset in captured(registry)})
    return tuple(_status(capture_of(settings, registry, source)) for source in sources)


def _status(capture: Capture) -> CaptureStatus:
    problems: list[str] = []
    slot, connector = None, None
    try:
        with opened(capture.access) as at_source:
            slot = at_source.slot(capture.slot)
    except SourceError as error:
        problems.append(error.what)
    try:
        with connect(capture.settings) as worker:
            connector = worker.status(capture.name)
    except LakeError as error:
        problems.append(error.what)
    if connector and connector.problem:
        problems.append(connector.problem)
    return CaptureStatus(capture.source, connector, slot, _tables(capture), " ".join(problems) or None)


def _tables(capture: Capture) -> tuple[TableStatus, ...]:
    broker = Broker(endpoints(capture.settings).kafka)
    names = {dataset.id: capture.settings.topic(topic_of(dataset)) for dataset in capture.datasets}
    topics = broker.topics(names.values())
    found = []
    for dataset in capture.datasets:
        topic = topics.get(names[dataset.id])
        position = Bronze(capture.settings, dataset).position(topic.id) if topic else None
        waiting = None if topic is None else broker.settled(topic).high - (position or 0)
        found.append(TableStatus(dataset.id, waiting))
    return tuple(found)


def _begun(worker: Connect, name: str) -> ConnectorStatus:
    """Wait until the connector's task runs, or has failed for longer than it takes to begin anew.

    Raises:
        LakeError: it did neither.
    """
    began, failed_at = time.monotonic(), None
    while True:
        found, now = worker.status(name), time.monotonic()
        if found is not None and found.works:
            return found
        failed_at = (failed_at or now) if found is not None and found.problem else None
        if found is not None and failed_at is not None and now - failed_at > _FAILED_S:
            return found
        if now - began > _BEGIN_S:
            raise LakeError(f"The connector {name} did not begin within {_BEGIN_S:.0f} s.", "See `lake logs connect`.")
        time.sleep(_POLL_S)


def _remove(capture: Capture, at_source: CapturedSource, worker: Connect) -> None:
    """Leave nothing of a capture: neither connector nor slot, topics or passwords."""
    worker.remove(capture.name)
    at_source.drop_slot(capture.slot)
    kafka.remove_topics(capture.settings, [topic.name for topic in capture.topics])
    shutil.rmtree(capture.settings.capture_secrets / capture.name, ignore_errors=True)


def _write_secrets(capture: Capture) -> None:
    folder = capture.settings.capture_secrets / capture.name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name, text in capture.secrets.items():
        replace_file(folder / name, text, mode=0o600)
