"""PostgreSQL through ADBC: rows come as binary COPY and become Arrow in C, without a Python object in between.

Dates and instants come typed and are checked. NUMERIC comes as the server's text, which is exact; ADBC would make the
same text of the binary form at thrice the cost (2 M rows of nine columns: 3.0 s of both sides' CPU against 4.2 s).
Several connections share one snapshot (pg_export_snapshot) and read ranges of blocks, so no key is needed to split a
table.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from pipelines.contracts.sources import SectorSource
from pipelines.ingestion.access import Access
from pipelines.ingestion.connections import Connection
from pipelines.ingestion.databases.database import Database, pieces
from pipelines.ingestion.databases.dialect import Dialect, Element, Mark, Piece, Query, written
from pipelines.ingestion.databases.stream import Batches, Reader, taken
from pipelines.ingestion.databases.table import Column, Table
from pipelines.ingestion.trouble import Kind, Trouble
from pipelines.landing.arrow import Column as Array

_COLUMNS = """
select a.attname as name,
    case when b.typtype = 'e' then 'enum' else format_type(b.oid, null) end as type,
    not (a.attnotnull or t.typnotnull) as nullable,
    case when b.typname = 'numeric' and m.typmod <> -1 then (((m.typmod - 4) & 2047) # 1024) - 1024 end as scale
from pg_attribute a
join pg_type t on t.oid = a.atttypid
join pg_type b on b.oid = case when t.typtype = 'd' then t.typbasetype else t.oid end
cross join lateral (select case when t.typtype = 'd' then t.typtypmod else a.atttypmod end as typmod) m
where a.attrelid = to_regclass(cast(:relation as text)) and a.attnum > 0 and not a.attisdropped
order by a.attnum
"""
_ESTIMATE = """
select cast(reltuples as bigint) as c0 from pg_class
where oid = to_regclass(cast(:relation as text)) and reltuples >= 0
"""
_FACTS = """
select relkind in ('r', 'm') as is_file, relfilenode is distinct from pg_relation_filenode(oid) as is_moved,
    pg_relation_size(oid) / cast(current_setting('block_size') as bigint) as blocks,
    cast(current_setting('server_version_num') as integer) as version
from pg_class where oid = to_regclass(cast(:relation as text))
"""
_HOLDER = """
select 'the session ' || a.pid || coalesce(' of ' || a.usename, '')
    || coalesce(' (' || nullif(a.application_name, '') || ')', '')
    || coalesce(' since ' || to_char(a.xact_start at time zone 'UTC', 'YYYY-MM-DD HH24:MI "UTC"'), '') as c0
from pg_locks l join pg_stat_activity a on a.pid = l.pid
where l.locktype = 'relation' and l.relation = to_regclass(cast(:relation as text)) and l.granted
    and l.mode = 'AccessExclusiveLock' and a.pid <> pg_backend_pid()
limit 1
"""
_PIECE_BLOCKS = 2_048
"""A piece is at least 16 MB: a statement of its own costs milliseconds, and the last piece should not be waited for."""
_TID_RANGES = 140_000
"""From this version on a range of blocks is read alone; before, each piece would scan the whole table."""

_ANSWERED = re.compile(r"failed: [^:\n]+:  (?P<said>.+)")
"""What a server itself says while we sign in; its severity is followed by two spaces in every language."""
_BUSY = re.compile(r"too many|starting up|shutting down|recovery|not (yet )?accepting|slots|terminating connection")
_SAID = re.compile(r"(?:ERROR|FATAL|PANIC):\s+(?P<said>.+)")
_STATE = re.compile(r"SQLSTATE: (?P<state>[0-9A-Z]{5})")


class PostgreSQL(Dialect):
    """PostgreSQL 12 and later; ranges of blocks from 14 on."""

    kind = "postgresql"
    title = "PostgreSQL"
    connections = frozenset({"postgres", "generic", ""})
    extras = frozenset({"sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "gssencmode", "channel_binding"})
    text = frozenset({"text", "character varying", "character", "uuid", "enum", "citext", "name"})
    whole = frozenset({"smallint", "integer", "bigint"})
    exact = frozenset({"numeric"})
    floating = frozenset({"real", "double precision"})
    boolean = frozenset({"boolean"})
    dates = frozenset({"date"})
    instants = frozenset({"timestamp with time zone"})
    local_times = frozenset({"timestamp without time zone"})
    says_nulls_first = True
    clock = "select cast(now() as text) as c0"

    _as_they_are = (
        whole | boolean | dates | instants | local_times | {"text", "character varying"} | {"double precision"}
    )

    @property
    def compiler(self) -> sa.engine.Dialect:
        """With $1 for parameters; a percent sign in a name stays single."""
        dialect: sa.engine.Dialect = postgresql.dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]
        return dialect

    def columns_of(self, schema: str | None, table: str) -> Query:
        """A domain counts as its base type."""
        return self.about(_COLUMNS, schema, table)

    def estimate_of(self, schema: str | None, table: str) -> Query:
        """What the last ANALYZE counted."""
        return self.about(_ESTIMATE, schema, table)

    def about(self, query: str, schema: str | None, table: str) -> sa.TextClause:
        """A query of the catalogue about one table or view."""
        quote = self.compiler.identifier_preparer.quote_identifier
        relation = ".".join(quote(name) for name in (schema, table) if name)
        return sa.text(query.strip()).bindparams(relation=relation)

    def value(self, column: Column, at: Element) -> Element:
        """A binary form that Arrow has; all else as PostgreSQL's text: `real` would gain digits, `character` would keep
        its padding."""
        return at if column.type in self._as_they_are else sa.cast(at, sa.Text)

    def instant(self, at: datetime) -> Element:
        """With its zone."""
        return sa.literal_column(f"TIMESTAMPTZ '{written(at)}+00'")

    def local_time(self, at: datetime) -> Element:
        """Without."""
        return sa.literal_column(f"TIMESTAMP '{written(at)}'")

    def within(self, table: Table, relation: sa.TableClause, piece: Piece) -> list[Element]:
        """By the place of the rows: blocks from `begin` until before `end`."""
        place: Element = sa.literal_column("ctid")
        bounds: list[Element] = []
        if piece.begin is not None:
            bounds.append(place >= sa.literal_column(f"'({piece.begin},0)'::tid"))
        if piece.end is not None:
            bounds.append(place < sa.literal_column(f"'({piece.end},0)'::tid"))
        return bounds

    def trouble(self, error: BaseException) -> Trouble:
        """By the SQLSTATE; while signing in, and amid the rows, ADBC gives only the text."""
        text = str(error)
        state = getattr(error, "sqlstate", None) or (match["state"] if (match := _STATE.search(text)) else "")
        if answered := _ANSWERED.search(text):
            busy = _BUSY.search(answered["said"])
            # Whatever else a server says at the door is about us, and not to be said twice.
            return Trouble(Kind.AWAY if busy else Kind.SIGN_IN, answered["said"])
        said = match["said"] if (match := _SAID.search(text)) else text.splitlines()[0] if text else repr(error)
        said = said.removeprefix("IO: ").removeprefix("[libpq] ")
        if state:
            return Trouble(_by_state(state), said)
        if "statement timeout" in said:
            return Trouble(Kind.SLOW, said)
        if "recovery" in said:
            return Trouble(Kind.MOVED, said)
        return Trouble(Kind.AWAY if "libpq" in text else Kind.OTHER, said)


def _by_state(state: str) -> Kind:
    if state == "55P03":
        return Kind.LOCKED
    if state == "57014":
        return Kind.SLOW
    if state in {"42P01", "42703", "42501", "3F000", "42804", "42883"}:
        return Kind.CHANGED
    kinds = {"28": Kind.SIGN_IN, "08": Kind.AWAY, "53": Kind.AWAY, "57": Kind.AWAY, "58": Kind.AWAY, "40": Kind.MOVED}
    return kinds.get(state[:2], Kind.OTHER)


def conninfo(source: SectorSource, connection: Connection) -> str:
    """The text by which libpq connects: read-only, in UTC and ISO, with the source's timeouts.

    A peer that vanished is noticed after at most thrice the time to connect.
    """
    from psycopg2.extensions import make_dsn

    connect = int(source.timeouts.connect.total_seconds())
    settings = {
        "timezone": "UTC",
        "datestyle": "ISO",
        "extra_float_digits": 1,
        "default_transaction_read_only": "on",
        "lock_timeout": int(source.timeouts.lock.total_seconds() * 1000),
        "statement_timeout": int(source.timeouts.statement.total_seconds() * 1000),
    }
    text: str = make_dsn(
        host=connection.host,
        port=connection.port,
        user=connection.login or None,
        password=connection.password or None,
        dbname=connection.database,
        connect_timeout=connect,
        application_name="lake ingest",
        options=" ".join(f"-c {name}={value}" for name, value in settings.items()),
        keepalives=1,
        keepalives_idle=connect,
        keepalives_interval=max(1, connect // 3),
        keepalives_count=3,
        tcp_user_timeout=2 * connect * 1000,
        **{name: str(value) for name, value in connection.extra.items()},
    )
    return text


class _Session:
    """One connection; its statements run outside of ADBC's own transactions, ours is opened by hand."""

    def __init__(self, info: str) -> None:
        from adbc_driver_postgresql import dbapi

        self._connection: Any = dbapi.connect(info, autocommit=True)
        self._cursor: Any = None

    def run(self, sql: str, parameters: Sequence[object] = ()) -> pa.Table:
        """A short statement; its rows, if it gives any."""
        with self._connection.cursor() as cursor:
            cursor.execute(sql, tuple(parameters) or None)
            rows: pa.Table = cursor.fetch_arrow_table()
            return rows

    def stream(self, sql: str) -> Iterator[pa.RecordBatch]:
        """The batches of a long one; its text has no parameters, for which ADBC would give up COPY."""
        with self._connection.cursor() as self._cursor:
            self._cursor.execute(sql)
            with self._cursor.fetch_record_batch() as reader:
                yield from reader

    def cancel(self) -> None:
        """End what streams."""
        with suppress(Exception):
            # It may have ended just now, or not have begun.
            self._cursor.adbc_cancel()

    def close(self) -> None:
        """Hang up; the server ends the transaction."""
        self._connection.close()


class PostgreSQLDatabase(Database):
    """A read-only transaction of the isolation REPEATABLE READ."""

    dialect: PostgreSQL

    def __init__(self, access: Access) -> None:
        super().__init__(access, PostgreSQL())
        self._blocks: dict[str, int] = {}
        self._workers: list[_Session] = []
        self._info = conninfo(access.source, access.connection)
        self._main: _Session | None = None
        try:
            self._main = _Session(self._info)
            self._main.run("begin isolation level repeatable read read only")
            text = self._main.run(self.dialect.clock)["c0"][0].as_py()
        except Exception as error:
            self.close()
            raise self._error(error) from error
        self._now = datetime.fromisoformat(text).astimezone(UTC)

    @property
    def now(self) -> datetime:
        """When the transaction began."""
        return self._now

    def table(self, schema: str | None, name: str) -> Table:
        """As :meth:`Database.table`; one that was rewritten since the snapshot would be read empty."""
        table = Table(schema, name, ())
        self._query(self.dialect.touch(schema, name), table)
        facts = self._query(self.dialect.about(_FACTS, schema, name), table).to_pylist()
        if facts and facts[0]["is_file"] and facts[0]["is_moved"]:
            raise self.said.error(Trouble(Kind.MOVED, "it was truncated or altered"), table.place)
        columns = self._query(self.dialect.columns_of(schema, name), table).to_pylist()
        splits = bool(facts and facts[0]["is_file"] and facts[0]["version"] >= _TID_RANGES)
        table = Table(schema, name, tuple(Column(**column) for column in columns), splits=splits)
        self._blocks[table.place] = int(facts[0]["blocks"] or 0) if splits else 0
        return table

    def rows_estimate(self, table: Table) -> int | None:
        """What ANALYZE counted last; None before the first."""
        rows = self._query(self.dialect.estimate_of(table.schema, table.name), table)["c0"]
        return int(rows[0].as_py()) if len(rows) else None

    def close(self) -> None:
        """Hang up; a connection whose thread is stuck in the driver is left alone."""
        for session in (*self._workers, self._main):
            if session is not None:
                session.close()
        self._main, self._workers, self._ended = None, [], True

    def _rows(self, statement: Any, table: Table) -> Array:
        return self._query(statement, table)["c0"].combine_chunks()

    def _query(self, statement: Any, table: Table) -> pa.Table:
        compiled = statement.compile(dialect=self.dialect.compiler)
        parameters = [compiled.params[name] for name in compiled.positiontup or ()]
        with self._asking(table):
            assert self._main is not None
            return self._main.run(str(compiled), parameters)

    def _readers(
        self, table: Table, columns: tuple[str, ...], cursor: str | None, since: Mark | None, split: int
    ) -> Sequence[Reader]:
        assert self._main is not None
        blocks = self._blocks[table.place]
        parts = pieces(0, blocks, min(4 * split, blocks // _PIECE_BLOCKS)) if split > 1 else (Piece(),)
        statements = self._statements(table, columns, cursor, since, parts)
        queue = deque(str(statement.compile(dialect=self.dialect.compiler)) for statement in statements)
        self._workers = self._joined(min(split, len(parts)) - 1)
        return [_reader(session, queue) for session in (self._main, *self._workers)]

    def _joined(self, count: int) -> list[_Session]:
        """More connections that see what the first one sees."""
        if not count:
            return []
        assert self._main is not None
        snapshot = self._main.run("select pg_export_snapshot() as c0")["c0"][0].as_py()
        sessions: list[_Session] = []
        try:
            for _ in range(count):
                sessions.append(_Session(self._info))
                sessions[-1].run("begin isolation level repeatable read read only")
                # The name is the server's own, of hexadecimal digits and dashes.
                sessions[-1].run(f"set transaction snapshot '{snapshot}'")
        except BaseException:
            for session in sessions:
                session.close()
            raise
        return sessions

    def _cancel(self) -> None:
        for session in (self._main, *self._workers):
            if session is not None:
                session.cancel()

    def _after_read(self, stuck: frozenset[int]) -> None:
        for place, session in enumerate(self._workers, start=1):
            if place not in stuck:
                session.close()
        self._workers = []
        if 0 in stuck:
            self._main = None

    def _holder(self, table: Table) -> str:
        session = _Session(self._info)
        try:
            statement = self.dialect.about(_HOLDER, table.schema, table.name).compile(dialect=self.dialect.compiler)
            rows = session.run(str(statement), [statement.params["relation"]])["c0"]
            return str(rows[0].as_py()) if len(rows) else ""
        finally:
            session.close()


def _reader(session: _Session, statements: deque[str]) -> Reader:
    """Reads the next piece as long as there is one."""

    def read() -> Batches:
        for sql in taken(statements):
            yield from session.stream(sql)

    return read
