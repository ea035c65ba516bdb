"""Databases read through SQLAlchemy and a driver of Python: every value comes as text that loses nothing."""

from __future__ import annotations

import importlib.util
import logging
from abc import abstractmethod
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from pipelines.contracts.sources import SectorSource
from pipelines.ingestion.access import Access
from pipelines.ingestion.connections import Connection
from pipelines.ingestion.databases.database import Database, pieces
from pipelines.ingestion.databases.dialect import Dialect, Mark, Piece, Query
from pipelines.ingestion.databases.stream import Batches, Reader, taken
from pipelines.ingestion.databases.table import Column, Table
from pipelines.ingestion.trouble import Kind, Trouble
from pipelines.landing.arrow import Column as Array
from pipelines.runtime.errors import LakeError

log = logging.getLogger(__name__)

_FETCH_ROWS = 10_000
_TRIES = 50
"""A try takes about a millisecond; a busy source commits a few hundred times a second."""


class GenericDialect(Dialect):
    """A database whose driver gives rows of Python objects."""

    driver: ClassVar[str]
    """The module of the driver."""
    drivername: ClassVar[str]
    """SQLAlchemy's name of database and driver."""
    extra: ClassVar[str] = ""
    """The optional part of the project that brings the driver; empty when it is always there."""
    codes: ClassVar[dict[int, Kind]]
    """What an error's number means; any other is Kind.OTHER."""
    begin: ClassVar[str]
    """The statement that takes the snapshot."""
    catalogue_columns: ClassVar[str]
    """As :meth:`Dialect.columns_of`, with the parameters `:schema` (may be NULL) and `:table_name`."""
    catalogue_estimate: ClassVar[str]
    """As :meth:`Dialect.estimate_of`, with the same parameters."""
    version: ClassVar[str] = ""
    """A statement that gives the server's version, where the session depends on it."""

    @abstractmethod
    def query(self, connection: Connection) -> dict[str, str]:
        """What the URL says beside the address."""

    @abstractmethod
    def arguments(self, source: SectorSource, connection: Connection) -> dict[str, Any]:
        """What the driver is told when it connects."""

    @abstractmethod
    def session(self, source: SectorSource, version: str) -> Sequence[str]:
        """Statements before the snapshot: UTC, and the source's timeouts."""

    @abstractmethod
    def error_of(self, error: BaseException) -> tuple[int, str]:
        """Number and text of the driver's error; 0 where it has none."""

    def connect(self, arguments: dict[str, Any]) -> Any:
        """A driver's connection of our own making; None leaves it to SQLAlchemy."""
        return None

    def prepare(self, driver_connection: Any, source: SectorSource) -> None:
        """Set on a driver's connection what no statement can."""

    def facts_of(self, schema: str | None, table: str) -> Query | None:
        """A query for `key` (a column of whole numbers, alone the primary key) and `snapshot` (whether the table's
        engine keeps one); None where a read is never split."""
        return None

    def snapshot_place(self, version: str) -> str:
        """A statement whose equal answers in two sessions prove that both see the same state; empty: none does."""
        return ""

    def columns_of(self, schema: str | None, table: str) -> Query:
        """From the database's own catalogue."""
        return self.about(self.catalogue_columns, schema, table)

    def estimate_of(self, schema: str | None, table: str) -> Query:
        """From the database's own catalogue."""
        return self.about(self.catalogue_estimate, schema, table)

    def about(self, query: str, schema: str | None, table: str) -> sa.TextClause:
        """A query of the catalogue about one table or view."""
        return sa.text(query.strip()).bindparams(schema=schema, table_name=table)

    def url(self, connection: Connection) -> sa.URL:
        """The address with the sign-in."""
        return sa.URL.create(
            self.drivername,
            username=connection.login or None,
            password=connection.password or None,
            host=connection.host,
            port=connection.port,
            database=connection.database,
            query=self.query(connection),
        )

    def trouble(self, error: BaseException) -> Trouble:
        """By the driver's number."""
        original = error.orig if isinstance(error, sa.exc.DBAPIError) and error.orig else error
        number, text = self.error_of(original)
        kind = self.codes.get(number, Kind.AWAY if isinstance(original, OSError) else Kind.OTHER)
        if kind is Kind.AWAY and "timed out" in text and number not in _CONNECTING:
            kind = Kind.SLOW
        return Trouble(kind, text or repr(original))


_CONNECTING = frozenset({2002, 2003})
"""The server was not reached at all: that it timed out says nothing of the statement."""


def engine(dialect: GenericDialect, access: Access) -> sa.Engine:
    """An engine for a source; nothing is connected yet.

    Raises:
        LakeError: the driver is not installed; the text says how.
    """
    if importlib.util.find_spec(dialect.driver) is None:
        raise LakeError(
            f"The source {access.source.id} is of the kind {dialect.kind}: {dialect.title} is read by the driver "
            f"{dialect.driver}, which is not installed.",
            f"Run `uv pip install {dialect.driver}` in the project's environment; its pyproject.toml names the version "
            f"as the extra {dialect.extra!r}.",
        )
    made = sa.create_engine(
        dialect.url(access.connection),
        connect_args=dialect.arguments(access.source, access.connection),
        poolclass=NullPool,
    )

    @sa.event.listens_for(made, "do_connect")
    def connect(_dialect: Any, _record: Any, _arguments: list[Any], named: dict[str, Any]) -> Any:
        return dialect.connect(named)

    return made


class GenericDatabase(Database):
    """As many connections as the source allows, if they are proven to see one state; else one."""

    dialect: GenericDialect

    def __init__(self, access: Access, dialect: GenericDialect) -> None:
        super().__init__(access, dialect)
        self._engine = engine(dialect, access)
        self._sessions: list[sa.Connection] = []
        self._version = ""
        try:
            self._sessions = self._opened(access.source.parallel)
            text: object = self._sessions[0].execute(sa.text(dialect.clock)).scalar_one()
        except Exception as error:
            self.close()
            raise self._error(error) from error
        self._now = datetime.fromisoformat(str(text)).replace(tzinfo=UTC)

    @property
    def now(self) -> datetime:
        """The clock just after the snapshot."""
        return self._now

    @property
    def connections(self) -> int:
        """How many connections share the snapshot."""
        return len(self._sessions)

    def table(self, schema: str | None, name: str) -> Table:
        """As :meth:`Database.table`."""
        table = Table(schema, name, ())
        self._query(self.dialect.touch(schema, name), table)
        rows = self._query(self.dialect.columns_of(schema, name), table)
        columns = tuple(
            Column(
                row["name"],
                row["type"],
                row["nullable"] in {"YES", "Y", "1"},
                None if row["scale"] is None else int(row["scale"]),
            )
            for row in rows
        )
        query = self.dialect.facts_of(schema, name)
        facts = self._query(query, table) if query is not None else []
        key = facts[0]["key"] if facts and facts[0]["snapshot"] == "YES" else None
        if facts and facts[0]["snapshot"] != "YES":
            log.warning(
                "the table's engine keeps no snapshot: rows that change while it is read may be of two moments",
                extra={"source": self.access.source.id, "table": table.place},
            )
        return Table(schema, name, columns, splits=key is not None and len(self._sessions) > 1, key=key)

    def rows_estimate(self, table: Table) -> int | None:
        """What the catalogue's statistics say."""
        rows = self._query(self.dialect.estimate_of(table.schema, table.name), table)
        return int(rows[0]["c0"]) if rows and rows[0]["c0"] is not None else None

    def close(self) -> None:
        """Hang up."""
        for session in self._sessions:
            # Not back to a driver that would first read what nobody wants.
            session.invalidate()
            session.close()
        self._engine.dispose()
        self._sessions, self._ended = [], True

    def _opened(self, count: int) -> list[sa.Connection]:
        """Sessions of one state; the first alone where they cannot prove it."""
        sessions = [self._session()]
        try:
            place = self.dialect.snapshot_place(self._version)
            if place and count > 1:
                sessions.extend(self._session() for _ in range(count - 1))
                if self._agreed(sessions, place):
                    return sessions
                log.warning(
                    "the connections of the source see different moments; it is read through one",
                    extra={"source": self.access.source.id},
                )
                _hang_up(sessions[1:])
            sessions[0].exec_driver_sql(self.dialect.begin)
        except BaseException:
            _hang_up(sessions)
            raise
        return sessions[:1]

    def _agreed(self, sessions: Sequence[sa.Connection], place: str) -> bool:
        """Begin in all of them at once, until nobody committed anything between the first and the last."""
        for _ in range(_TRIES):
            for session in sessions:
                session.exec_driver_sql(self.dialect.begin)
            places = {tuple(session.exec_driver_sql(place).one()) for session in sessions}
            if None in next(iter(places)):
                return False
            if len(places) == 1:
                return True
            for session in sessions:
                session.exec_driver_sql("rollback")
        return False

    def _session(self) -> sa.Connection:
        connection = self._engine.connect()
        try:
            self.dialect.prepare(connection.connection.driver_connection, self.access.source)
            if self.dialect.version:
                self._version = str(connection.exec_driver_sql(self.dialect.version).scalar_one())
            for statement in self.dialect.session(self.access.source, self._version):
                connection.exec_driver_sql(statement)
        except BaseException:
            _hang_up([connection])
            raise
        return connection

    def _rows(self, statement: Any, table: Table) -> Array:
        rows = self._query(statement, table)
        return pa.array([None if row["c0"] is None else str(row["c0"]) for row in rows], pa.string())

    def _query(self, statement: Any, table: Table) -> list[dict[str, Any]]:
        with self._asking(table):
            rows = self._sessions[0].execute(statement).mappings()
            return [{name.lower(): value for name, value in row.items()} for row in rows]

    def _readers(
        self, table: Table, columns: tuple[str, ...], cursor: str | None, since: Mark | None, split: int
    ) -> Sequence[Reader]:
        parts = self._pieces(table, split)
        queue = deque(self._statements(table, columns, cursor, since, parts))
        return [_reader(session, queue) for session in self._sessions[: min(split, len(parts))]]

    def _pieces(self, table: Table, split: int) -> Sequence[Piece]:
        if split == 1 or table.key is None:
            return (Piece(),)
        relation = self.dialect.relation(table)
        key = self.dialect.column_of(relation, table.key)
        ends = self._query(sa.select(sa.func.min(key).label("low"), sa.func.max(key).label("high")), table)[0]
        if ends["low"] is None:
            return (Piece(),)
        return pieces(int(ends["low"]), int(ends["high"]) + 1, 4 * split)

    def _cancel(self) -> None:
        """Hanging up ends a statement; these drivers have no other way that is safe from another thread."""

    def _after_read(self, stuck: frozenset[int]) -> None:
        if stuck:
            self._sessions = [session for place, session in enumerate(self._sessions) if place not in stuck]


def _hang_up(sessions: Sequence[sa.Connection]) -> None:
    for session in sessions:
        session.invalidate()
        session.close()


def _reader(session: sa.Connection, statements: deque[sa.Select[Any]]) -> Reader:
    """Reads the next piece as long as there is one."""

    def read() -> Batches:
        for statement in taken(statements):
            result = session.execution_options(yield_per=_FETCH_ROWS).execute(statement)
            names = list(result.keys())
            for rows in result.partitions():
                arrays = [pa.array(values, pa.string()) for values in zip(*rows, strict=True)]
                yield pa.RecordBatch.from_arrays(arrays, names=names)

    return read
