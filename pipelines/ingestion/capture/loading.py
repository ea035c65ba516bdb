"""One load of a captured table: wait for what the source has by now, compare the table, begin to read its changes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.contracts.model import Dataset
from pipelines.ingestion.access import Access
from pipelines.ingestion.bronze import Bronze
from pipelines.ingestion.capture.changes import Changes, fetcher
from pipelines.ingestion.capture.connector import Capture, topic_of
from pipelines.ingestion.capture.source import CATCH_UP_S, CaptureLost, opened
from pipelines.ingestion.databases import compare, connect
from pipelines.ingestion.plan import sector_of
from pipelines.ingestion.reading import Position, Reading
from pipelines.ingestion.trouble import SourceUnavailable, changed
from pipelines.landing.broker import Broker, Topic
from pipelines.runtime.connect import connect as connect_worker
from pipelines.runtime.services import endpoints
from pipelines.runtime.settings import Settings

_POLL_S = 0.2


def catch_up(settings: Settings, access: Access, dataset: Dataset, bronze: Bronze) -> SourceUnavailable | None:
    """Wait until the changes that the source has by now are in their topic; the error to raise behind the load if they
    are not, because what came until then is worth loading.

    Raises:
        CaptureLost: the capture was not started, or the source no longer has what was not read. SourceChanged: its log
        does not tell whole rows any more. SourceUnavailable: its tables are being read for the first time.
        SourceError: it does not answer.
    """
    capture, place = Capture(settings, access, (dataset,)), sector_of(dataset).place
    topic = _topic(Broker(endpoints(settings).kafka), settings, dataset)
    if bronze.position(topic.id) is None:
        _wait_for_the_first_reading(capture)
    with opened(access) as source:
        is_there = source.caught_up(capture.slot)
        if place not in source.full([place]):
            what = "has no REPLICA IDENTITY FULL, so that its log does not tell whole rows"
            raise changed(dataset, f"table {place}", [what])
    if is_there:
        return None
    return SourceUnavailable(
        f"{dataset.id}: the capture of the source {capture.source} is behind; what had come was loaded.",
        "Try again later; `lake capture status` says whether it runs.",
    )


@contextmanager
def read_changes(settings: Settings, access: Access, dataset: Dataset, bronze: Bronze) -> Iterator[Reading]:
    """Begin to read the changes that no load has read, as far as they are in their topic now.

    Raises:
        CaptureLost: changes are gone from the topic, or the contract reads other columns than the capture was begun
        with. SourceChanged: the table is not what the contract says, or was truncated. SourceUnavailable: the capture
        was never started, or the table is being read for the first time.
    """
    broker, source = Broker(endpoints(settings).kafka), access.source.id
    topic = _topic(broker, settings, dataset)
    span, position = broker.settled(topic), bronze.position(topic.id)
    anew = f"Nothing was loaded, the last good state stays. Read it anew: `lake capture start {source} --anew`."
    if position is None and bronze.knows_topic(topic.id):
        raise CaptureLost(f"{dataset.id}: the contract reads other columns than when its capture began.", anew)
    begin = position or 0
    if not span.low <= begin <= span.high:
        what = f"{topic.name} holds the offsets {span.low} to {span.high}, and {begin} is the next to load"
        raise CaptureLost(f"{dataset.id}: changes are gone: {what}.", anew)
    changes, sector = Changes(dataset, fetcher(settings, dataset)), sector_of(dataset)
    with connect(access) as database:
        # After the end of the topic was asked for: what altered the table before it is seen here.
        table = database.table(sector.schema_name, sector.table)
        new_columns = compare(table, dataset, database)
    stretch = changes.look_through(begin, span.high, is_first=position is None)
    zone = database.zone.key if database.zone else None
    # A table without a row tells nothing at all, and then nothing is known of its keys.
    reached = None if stretch.end == begin else Position(topic.id, stretch.end)
    keys = iter(()) if stretch.is_whole and stretch.rows else None
    batches = changes.batches(stretch, table, zone)
    yield Reading(batches, None, stretch.rows, lambda: new_columns, keys=keys, position=reached)


def _topic(broker: Broker, settings: Settings, dataset: Dataset) -> Topic:
    """The topic of a captured table.

    Raises:
        CaptureLost: there is none.
    """
    name, source = settings.topic(topic_of(dataset)), sector_of(dataset).source
    found = broker.topics([name])
    if name not in found:
        raise CaptureLost(
            f"{dataset.id}: the capture of the source {source} was not started in {settings.namespace}.",
            f"Run `lake capture start {source}`.",
        )
    return found[name]


def _wait_for_the_first_reading(capture: Capture) -> None:
    """Before it has ended, a table without a record may have a million rows.

    Raises:
        SourceUnavailable: it has not.
    """
    deadline = time.monotonic() + CATCH_UP_S
    with connect_worker(capture.settings) as worker:
        while not (known := worker.offsets(capture.name)) or any("snapshot" in offset for offset in known):
            if time.monotonic() > deadline:
                raise SourceUnavailable(
                    f"The tables of the source {capture.source} are still being read for the first time.",
                    "The last good state stays. Try again later; `lake capture status` says how far it is.",
                )
            time.sleep(_POLL_S)
