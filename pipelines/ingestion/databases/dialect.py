"""What the databases have in common and where they differ: types that may be read, and the statements, as pure SQL.

Statements are built and quoted by SQLAlchemy, which knows each database's rules for identifiers; values in them are
whole numbers, dates and instants of our own rendering, so no text of anybody's reaches a statement unquoted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from pipelines.contracts.model import ContractField
from pipelines.contracts.sources import Kind
from pipelines.ingestion.databases.table import Column, Table
from pipelines.ingestion.trouble import Trouble

Mark = datetime | date | int
"""How far a table was read: an instant (with zone), a date, or a whole number."""
Element = sa.ColumnElement[Any]
Query = sa.Select[Any] | sa.TextClause
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INT64 = (-(2**63), 2**63 - 1)


@dataclass(frozen=True)
class Piece:
    """A part of a table: rows whose place or key is at least `begin` and below `end`; None is open."""

    begin: int | None = None
    end: int | None = None


WHOLE_TABLE = Piece()


class Dialect(ABC):
    """One kind of database. The types are those of :class:`Column`, by what a contract may read from them.

    `text`, `whole`, `exact` (with decimal places), `floating`, `boolean`, `dates`, `instants`, `local_times`: the last
    hold a time without a zone and are read only where the source says in which zone its clocks are.
    """

    kind: ClassVar[Kind]
    title: ClassVar[str]
    connections: ClassVar[frozenset[str]]
    """Airflow's types of connections by which it can be reached."""
    extras: ClassVar[frozenset[str]]
    """Extras of a connection that are used: those that say how the way there is secured."""
    text: ClassVar[frozenset[str]]
    whole: ClassVar[frozenset[str]]
    exact: ClassVar[frozenset[str]]
    floating: ClassVar[frozenset[str]]
    boolean: ClassVar[frozenset[str]]
    dates: ClassVar[frozenset[str]]
    instants: ClassVar[frozenset[str]]
    local_times: ClassVar[frozenset[str]]
    says_nulls_first: ClassVar[bool]
    """Whether an order has to be told that NULL comes first; the others put it there and know no such words."""
    clock: ClassVar[str]
    """A statement that gives the database's own time in UTC, as text."""

    @property
    @abstractmethod
    def compiler(self) -> sa.engine.Dialect:
        """SQLAlchemy's rules of this database; no driver is needed for them."""

    @abstractmethod
    def columns_of(self, schema: str | None, table: str) -> Query:
        """A query of the catalogue: `name`, `type`, `nullable` and `scale` of each column, in order."""

    @abstractmethod
    def estimate_of(self, schema: str | None, table: str) -> Query:
        """A query of about how many rows a table has, from the catalogue alone."""

    @abstractmethod
    def value(self, column: Column, at: Element) -> Element:
        """The expression by which a value of a column is read, so that nothing of it is lost on the way."""

    @abstractmethod
    def instant(self, at: datetime) -> Element:
        """An instant as a constant."""

    @abstractmethod
    def local_time(self, at: datetime) -> Element:
        """A time without a zone as a constant."""

    @abstractmethod
    def trouble(self, error: BaseException) -> Trouble:
        """What an error of the driver means."""

    def day(self, day: date) -> Element:
        """A date as a constant."""
        return sa.literal_column(f"DATE '{day.isoformat()}'")

    def quoted(self, name: str) -> str:
        """A name as the database keeps it; SQLAlchemy always quotes it."""
        return sa.sql.quoted_name(name, quote=True)

    def may_be(self, field: ContractField, column: Column, *, zone: bool) -> bool:
        """Whether a field of a contract may be read from a column: widening is free, another kind is not.

        A value that is too wide is one bad row. A binary float is no exact decimal, a decimal with places no whole
        number, a time without a zone no instant (unless the source has a `zone`). A field that becomes a token is read
        from text or whole numbers.
        """
        kind = column.type
        if field.tokenise:
            return kind in self.text | self.whole
        numbers = self.whole | self.exact
        allowed: Mapping[str, frozenset[str]] = {
            "string": self.text,
            "boolean": self.boolean,
            "integer": numbers,
            "bigint": numbers,
            "double": numbers | self.floating,
            "decimal": numbers,
            "date": self.dates,
            "timestamp": self.instants | (self.local_times if zone else frozenset()),
        }
        if field.type.name in {"integer", "bigint"} and kind in self.exact:
            return column.scale == 0
        return kind in allowed[field.type.name]

    def can_be_text(self, column: Column) -> bool:
        """Whether every value of a column has a text, so that it can be read without knowing what it means."""
        known = self.text | self.whole | self.exact | self.floating | self.boolean | self.dates | self.instants
        return column.type in known | self.local_times

    def relation(self, table: Table) -> sa.TableClause:
        """The table in a statement."""
        columns: list[sa.ColumnClause[Any]] = [sa.column(self.quoted(column.name)) for column in table.columns]
        schema = self.quoted(table.schema) if table.schema else None
        return sa.table(self.quoted(table.name), *columns, schema=schema)

    def column_of(self, relation: sa.TableClause, name: str) -> Element:
        """One column of a table in a statement."""
        return relation.c[self.quoted(name)]

    def read(
        self,
        table: Table,
        columns: Sequence[str],
        *,
        cursor: str | None = None,
        since: Mark | None = None,
        zone: ZoneInfo | None = None,
        ordered: bool = True,
        piece: Piece = WHOLE_TABLE,
    ) -> sa.Select[Any]:
        """Every row, or those whose cursor is NULL or at least `since`; NULL first in the cursor's order if `ordered`.

        The filter is on the plain column, so that its index is used.
        """
        relation = self.relation(table)
        chosen = [
            self.value(table.column(name), self.column_of(relation, name)).label(f"c{place}")
            for place, name in enumerate(columns)
        ]
        statement = sa.select(*chosen).select_from(relation)
        if cursor is not None:
            at = self.column_of(relation, cursor)
            if since is not None:
                bound = self.constant(table.column(cursor), since, zone)
                statement = statement.where(sa.or_(at >= bound, at.is_(None)))
            if ordered:
                statement = statement.order_by(at.asc().nulls_first() if self.says_nulls_first else at.asc())
        return statement.where(*self.within(table, relation, piece)) if piece != WHOLE_TABLE else statement

    def within(self, table: Table, relation: sa.TableClause, piece: Piece) -> list[Element]:
        """The conditions of a piece; by the key, whose NULL none can be."""
        assert table.key is not None
        key = self.column_of(relation, table.key)
        bounds: list[Element] = []
        if piece.begin is not None:
            bounds.append(key >= sa.literal_column(str(piece.begin)))
        if piece.end is not None:
            bounds.append(key < sa.literal_column(str(piece.end)))
        return bounds

    def span(self, table: Table, cursor: str, now: datetime, zone: ZoneInfo | None) -> tuple[Mark, Mark]:
        """The earliest and latest mark: 1970 and the database's clock, or what 64 bits hold."""
        kind = table.column(cursor).type
        if kind in self.instants | self.local_times:
            return EPOCH, now
        if kind in self.dates:
            return EPOCH.date(), (now.astimezone(zone) if zone else now).date()
        return _INT64

    def newest(
        self, table: Table, cursor: str, span: tuple[Mark, Mark], zone: ZoneInfo | None
    ) -> tuple[sa.Select[Any], sa.Select[Any], sa.Select[Any]]:
        """Three queries: the latest cursor within the span; one row if any lies above it; one if any lies below it."""
        relation = self.relation(table)
        column, at = table.column(cursor), self.column_of(relation, cursor)
        low, high = (self.constant(column, mark, zone) for mark in span)
        latest = sa.select(self.value(column, sa.func.max(at)).label("c0")).where(at >= low, at <= high)
        one: sa.Select[Any] = sa.select(sa.literal_column("1").label("c0")).select_from(relation).limit(1)
        return latest, one.where(at > high), one.where(at < low)

    def constant(self, column: Column, mark: Mark, zone: ZoneInfo | None) -> Element:
        """A mark as a constant that compares with a column without conversion of the column.

        Raises:
            TypeError: a mark of another kind than the column.
        """
        if column.type in self.instants and isinstance(mark, datetime):
            return self.instant(mark.astimezone(UTC))
        if column.type in self.local_times and isinstance(mark, datetime) and zone is not None:
            return self.local_time(mark.astimezone(zone).replace(tzinfo=None))
        if column.type in self.dates and isinstance(mark, date) and not isinstance(mark, datetime):
            return self.day(mark)
        if column.type in self.whole | self.exact and isinstance(mark, int) and not isinstance(mark, bool):
            return sa.literal_column(str(mark))
        raise TypeError(f"{mark!r} is no mark of the column {column.name}, a {column.type}")

    def touch(self, schema: str | None, table: str) -> sa.Select[Any]:
        """A statement that gives no row, and keeps others from changing the table until the transaction ends."""
        relation = sa.table(self.quoted(table), schema=self.quoted(schema) if schema else None)
        return sa.select(sa.literal_column("1").label("c0")).select_from(relation).where(sa.literal_column("1 = 0"))


def written(at: datetime) -> str:
    """An instant or a local time as all databases read it, without its zone."""
    return at.replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")
