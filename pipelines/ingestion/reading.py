"""One read of a dataset from its source: the batches, how far they go, and what the contract does not know of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from pipelines.contracts.file_layout import FileLayout
from pipelines.contracts.model import Dataset
from pipelines.ingestion.access import Access, key_columns, source_columns
from pipelines.ingestion.databases import compare, connect
from pipelines.ingestion.deliveries import Inbox, Pending, open_inbox, pending
from pipelines.ingestion.files import FileUnfit, Matched, check, open_file, wanted_of
from pipelines.ingestion.files import Reading as Opened
from pipelines.ingestion.marks import instant_of, mark_of, number_of
from pipelines.ingestion.plan import sector_of
from pipelines.ingestion.services import fetched
from pipelines.ingestion.trouble import changed


@dataclass(frozen=True)
class Delivered:
    """The file that a read is of: its name, and what changes when it does."""

    name: str
    identity: str


@dataclass(frozen=True)
class Position:
    """How far the changes of a captured table are read: the id of their topic, and the next offset."""

    topic: str
    offset: int


@dataclass(frozen=True)
class Reading:
    """A read that has begun. `batches` have the source's columns (:func:`source_columns`) as text or as an exact type,
    of a file also what is wrong with a row (:mod:`pipelines.ingestion.files`); `mark`: how far it goes, the newest
    cursor or the day of the file as :func:`number_of` writes it, None without one; `rows_estimate`: about how many rows
    come, None where nobody knows; `new_columns`, asked when the last batch came: columns that the contract does not
    know (a table's come behind the others, where they can be read as text); `file`: None for a table of a database;
    `position`: how far a captured table is read with it, None for any other;
    `keys`: the columns of the key (:func:`key_columns`) of all rows that the source has, unless they are among the
    batches, to be read after those; None where nobody asked which rows there are."""

    batches: Iterator[pa.RecordBatch]
    mark: int | None
    rows_estimate: int | None
    new_columns: Callable[[], tuple[str, ...]]
    file: Delivered | None = None
    keys: Iterator[pa.RecordBatch] | None = None
    position: Position | None = None


@contextmanager
def read_table(access: Access, dataset: Dataset, since: int | None, *, keys: bool = False) -> Iterator[Reading]:
    """Begin to read what is not older than the mark `since` (None: everything), and the `keys` of all rows if they are
    asked for; all of it is of one moment.

    Raises:
        SourceChanged: the table is not what the contract says; SourceUnavailable, SourceLocked, WrongCredentials,
        SourceError: it cannot be read, now or while the batches come; LakeError: the connection does not fit.
    """
    sector = sector_of(dataset)
    # What is asked of a service since an instant, the sample has as a table that is read whole.
    since = since if sector.cursor else None
    with connect(access) as database:
        table = database.table(sector.schema_name, sector.table)
        new_columns = compare(table, dataset, database)
        newest = database.newest(table, sector.cursor) if sector.cursor else None
        readable = [name for name in new_columns if database.dialect.can_be_text(table.column(name))]
        batches = database.read(
            table,
            (*source_columns(dataset), *readable),
            cursor=sector.cursor,
            since=None if since is None else mark_of(since, dataset),
            parallel=access.source.parallel,
        )
        estimate = database.rows_estimate(table) if since is None else None
        mark = None if newest is None else number_of(newest)
        all_keys: Iterator[pa.RecordBatch] | None = None
        if keys:
            parallel = access.source.parallel
            all_keys = iter(()) if since is None else database.read(table, key_columns(dataset), parallel=parallel)
        yield Reading(batches, mark, estimate, lambda: new_columns, keys=all_keys)


def pending_files(
    access: Access, dataset: Dataset, scratch: Path, mark: int | None, is_loaded: Callable[[str], bool]
) -> tuple[Inbox, list[Pending]]:
    """The inbox of a dataset's source, and the files in it that are to be loaded, the oldest first.

    `mark` is how far the dataset is loaded, `is_loaded` tells it of a file by its identity. A whole table that is older
    than the one that is loaded is no news any more, and left out.

    Raises:
        FileUnfit: changes that are older than others which are loaded: they would overwrite what is newer.
        LakeError, SourceError: the inbox cannot be looked into.
    """
    layout = _layout(dataset)
    inbox = open_inbox(access, scratch)
    found = pending(inbox.deliveries(), layout, mark, is_loaded)
    late = [one for one in found if one.late]
    if late and sector_of(dataset).mode == "changes":
        raise FileUnfit(
            late[0].delivery.name,
            f"it holds changes of {dataset.id} that are older than others which are loaded already",
            f"It would overwrite what is newer. Ask {dataset.owner} to send them again in a file of a later day, and "
            "to take this one away.",
        )
    return inbox, [one for one in found if not one.late]


@contextmanager
def read_file(inbox: Inbox, dataset: Dataset, news: Pending) -> Iterator[Reading]:
    """Begin to read one delivery, after it was looked through.

    Raises:
        FileUnfit: it is not read, or not to its end; FileIncomplete: not yet; SourceChanged: its columns are not what
        the contract says, now or after the last batch; SourceUnavailable: it cannot be fetched.
    """
    delivery, layout = news.delivery, _layout(dataset)
    with inbox.fetched(delivery) as path:
        check(path, layout, delivery.name)
        with open_file(path, layout, wanted_of(dataset), delivery.name) as file:
            of = Delivered(delivery.name, delivery.identity)
            batches = _compared(dataset, f"the file {delivery.name}", file)
            yield Reading(batches, news.mark, None, lambda: file.columns.unknown, of, _no_keys(dataset))


@contextmanager
def read_service(access: Access, dataset: Dataset, since: int | None, scratch: Path) -> Iterator[Reading]:
    """Ask a service for everything, or for what changed since the mark `since`, and begin to read its records.

    The mark is when it was asked: what changes meanwhile comes the next time, and what came twice is unchanged.

    Raises:
        SourceChanged, SourceUnavailable, WrongCredentials, SourceError: it does not answer, or otherwise than the
        contract says, now or after the last batch; FileUnfit: its records cannot be read.
    """
    request = sector_of(dataset).request
    assert request is not None, "only a dataset with a request is asked of a service"
    asked_at = datetime.now(UTC)
    at = None if since is None else instant_of(since).isoformat()
    layout = FileLayout.model_validate(
        {"format": "json", "columns": request.columns, "dates": request.dates, "most_bytes": request.most_bytes}
    )
    name = f"{request.path.strip('/').replace('/', '_')}.json"
    with fetched(access, request, at, scratch) as path:
        check(path, layout, name)
        with open_file(path, layout, wanted_of(dataset), name) as file:
            batches = _compared(dataset, f"the service {request.path}", file)
            mark = None if request.since is None else number_of(asked_at)
            yield Reading(batches, mark, None, lambda: file.columns.unknown, keys=_no_keys(dataset))


def _no_keys(dataset: Dataset) -> Iterator[pa.RecordBatch] | None:
    """The keys of what is read whole are those of its rows; None where none are compared."""
    return iter(()) if sector_of(dataset).compares_keys else None


def _layout(dataset: Dataset) -> FileLayout:
    layout = sector_of(dataset).file
    assert layout is not None, "only a dataset in files is read from an inbox"
    return layout


def _compared(dataset: Dataset, place: str, file: Opened) -> Iterator[pa.RecordBatch]:
    """The batches of a file whose columns are the contract's.

    Records of JSON name their columns themselves, and leave out what they do not have: only after the last one all are
    known, and only a column that is required is missed.

    Raises:
        SourceChanged: they are not.
    """
    is_json = file.layout.format in {"json", "ndjson"}
    if not is_json:
        _check_columns(dataset, place, file.columns, file.columns.missing)
    rows = 0
    for batch in file.batches():
        rows += batch.num_rows
        yield batch
    needed = {f.source_name for f in dataset.fields if f.required or f.name in dataset.key}
    if is_json and rows:
        missing = [name for name in file.columns.missing if name in needed]
        _check_columns(dataset, place, file.columns, missing)


def _check_columns(dataset: Dataset, place: str, found: Matched, missing: Iterable[str]) -> None:
    """Let a file pass that has every column once, of a type that can be read.

    Raises:
        SourceChanged: it has not.
    """
    new = f" (new and perhaps its new name: {', '.join(found.unknown)})" if found.unknown else ""
    problems = [f"has no column {column}{new}" for column in missing]
    problems += [f"has the column {column} more than once" for column in found.duplicates]
    problems += found.unfit
    if problems:
        raise changed(dataset, place, problems)
