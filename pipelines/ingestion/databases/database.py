"""A database that is open for reading: one snapshot, its tables, and their rows in Arrow batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import sqlalchemy as sa

from pipelines.ingestion.access import Access
from pipelines.ingestion.databases.dialect import Dialect, Mark, Piece
from pipelines.ingestion.databases.stream import Reader, Readers, Stalled
from pipelines.ingestion.databases.table import Table
from pipelines.ingestion.databases.values import INSTANT, exact, instants, localised
from pipelines.ingestion.trouble import Kind, Sentences, SourceError, Trouble
from pipelines.landing.arrow import Column as Array
from pipelines.landing.arrow import kernels as pc
from pipelines.runtime.errors import LakeError

BATCH_ROWS = 250_000
"""Rows of a batch at most; a driver's own bound of 16 MiB usually comes first."""


class Database(ABC):
    """One source, from :func:`pipelines.ingestion.databases.connect`. Everything read is of one moment.

    One thing at a time: while a read runs, nothing else may be asked. A read that is left before its end, or fails,
    ends the session: later calls raise SourceError.
    """

    def __init__(self, access: Access, dialect: Dialect) -> None:
        self.access, self.dialect = access, dialect
        self.said = Sentences(access)
        self.zone = ZoneInfo(access.source.time_zone) if access.source.time_zone else None
        self._ended = False
        self._reading = False

    @property
    @abstractmethod
    def now(self) -> datetime:
        """The database's clock when the session began."""

    @abstractmethod
    def table(self, schema: str | None, name: str) -> Table:
        """Describe a table, and keep it as it is until the session ends: nobody can change its columns meanwhile.

        Raises:
            SourceChanged: there is none of this name, or we may not read it; SourceUnavailable, SourceLocked.
        """

    @abstractmethod
    def rows_estimate(self, table: Table) -> int | None:
        """About how many rows there are, from the catalogue alone; None when it does not say."""

    def read(
        self,
        table: Table,
        columns: Sequence[str],
        *,
        cursor: str | None = None,
        since: Mark | None = None,
        batch_rows: int = BATCH_ROWS,
        parallel: int = 1,
    ) -> Iterator[pa.RecordBatch]:
        """Read `columns`, in this order, of every row, or of those whose `cursor` is NULL or at least `since`.

        Each column comes in an exact Arrow type, no wider contract type is lost by it, or as text: see
        :mod:`pipelines.ingestion.databases.values`; two batches may differ in that. With `cursor` and one connection
        the rows come in its order, NULL first, so that of two rows with one key the later change comes last. A read of
        a whole table over several connections (`parallel`, where the table can be split; a read with `since` is not)
        comes in no order at all: each row once, all of the same moment. Keys are unique in a table that keeps its
        contract, so the order decides nothing but which of two duplicates is the later. What the caller takes for a
        batch counts as the source's time: few batches wait, the others stay in the server.

        Raises:
            KeyError: no such column; TypeError: `since` is no value of the cursor.
            SourceUnavailable, SourceLocked, SourceChanged, SourceError: while it is read.
        """
        self._check_open()
        done, stuck = False, frozenset[int]()
        try:
            split = parallel if since is None and table.splits else 1
            readers = self._readers(table, tuple(columns), cursor, since, split)
            self._reading = True
            running = Readers(readers, self.access.source.timeouts.statement.total_seconds())
            try:
                with closing(running.batches(self._cancel)) as batches:
                    for batch in batches:
                        for begin in range(0, batch.num_rows, batch_rows):
                            yield self._finished(table, columns, batch.slice(begin, batch_rows))
            finally:
                stuck = running.stuck
            done = True
        except Stalled:
            raise self.said.error(Trouble(Kind.SLOW, "it sends nothing more"), table.place) from None
        except (LakeError, KeyError, TypeError):
            raise
        except Exception as error:
            raise self._error(error, table) from error
        finally:
            self._reading, self._ended = False, not done
            self._after_read(stuck)

    def newest(self, table: Table, cursor: str) -> Mark | None:
        """The latest value of a cursor; None when no row has one.

        It never passes the database's clock (a row that claims to be of 2030 would otherwise hide all later changes
        for years), nor lies before 1970. A whole number is only bounded by 64 bits.

        Raises:
            SourceError: the column cannot be a cursor; SourceUnavailable, SourceLocked, SourceChanged.
        """
        self._check_open()
        column = table.column(cursor)
        span = self.dialect.span(table, cursor, self.now, self.zone)
        try:
            latest, above, below = self.dialect.newest(table, cursor, span, self.zone)
        except TypeError:
            raise self.said.error(
                Trouble(Kind.OTHER, f"column {cursor} is {column.type}, which tells no order in time"), table.place
            ) from None
        if self._rows(above, table):
            return span[1]
        value = self._finish(table, cursor, self._rows(latest, table))[0]
        if value.is_valid:
            kind = INSTANT if isinstance(span[0], datetime) else pa.int64() if isinstance(span[0], int) else pa.date32()
            mark: Mark = pc.cast(value, kind).as_py()
            return mark
        return span[0] if self._rows(below, table) else None

    @abstractmethod
    def close(self) -> None:
        """End the snapshot and the connections."""

    @contextmanager
    def _asking(self, table: Table) -> Iterator[None]:
        """Around one short question about `table`; what goes wrong ends the session and is said in our words."""
        self._check_open()
        try:
            yield
        except Exception as error:
            self._ended = True
            raise self._error(error, table) from error

    def _statements(
        self, table: Table, columns: tuple[str, ...], cursor: str | None, since: Mark | None, parts: Sequence[Piece]
    ) -> list[sa.Select[Any]]:
        """What reads each part of a table; only a read in one part has an order."""
        is_ordered = len(parts) == 1
        return [
            self.dialect.read(
                table, columns, cursor=cursor, since=since, zone=self.zone, ordered=is_ordered, piece=part
            )
            for part in parts
        ]

    @abstractmethod
    def _rows(self, statement: Any, table: Table) -> Array:
        """The only column of a short query, in Arrow."""

    @abstractmethod
    def _readers(
        self, table: Table, columns: tuple[str, ...], cursor: str | None, since: Mark | None, split: int
    ) -> Sequence[Reader]:
        """What reads the table, one for each connection."""

    @abstractmethod
    def _cancel(self) -> None:
        """End the statements that run."""

    @abstractmethod
    def _after_read(self, stuck: frozenset[int]) -> None:
        """Close the connections of one read; those that are stuck must not be touched."""

    def _finished(self, table: Table, columns: Sequence[str], batch: pa.RecordBatch) -> pa.RecordBatch:
        arrays = [self._finish(table, name, batch.column(place)) for place, name in enumerate(columns)]
        return pa.RecordBatch.from_arrays(arrays, names=list(columns))

    def _finish(self, table: Table, name: str, array: Array) -> Array:
        """The exact type, the zone."""
        kind = table.column(name).type
        if kind in self.dialect.local_times and self.zone is not None:
            return localised(array, self.zone.key)
        if kind in self.dialect.instants and pa.types.is_string(array.type):
            return instants(array)
        return exact(array)

    def _error(self, error: BaseException, table: Table | None = None) -> SourceError:
        """Our own error of a driver's."""
        trouble = self.dialect.trouble(error)
        place = table.place if table else ""
        holder = ""
        if trouble.kind is Kind.LOCKED and table is not None:
            with suppress(Exception):
                # Who holds it is a kindness; that it is held is the news.
                holder = self._holder(table)
        return self.said.error(trouble, place, holder)

    def _holder(self, table: Table) -> str:
        """Who locks a table, as far as the database tells; empty when it does not."""
        return ""

    def _check_open(self) -> None:
        if self._reading:
            raise RuntimeError("a read is not finished yet; its connection cannot be asked anything else")
        if self._ended:
            raise self.said.error(Trouble(Kind.OTHER, "an earlier read was left before its end"))


def pieces(begin: int, end: int, count: int) -> tuple[Piece, ...]:
    """Cut [begin, end) into about equal parts; the first and the last are open, so that no row falls beside them."""
    count = max(1, min(count, end - begin))
    if count == 1:
        return (Piece(),)
    cuts = [begin + (end - begin) * place // count for place in range(1, count)]
    return tuple(Piece(low, high) for low, high in zip([None, *cuts], [*cuts, None], strict=True))
