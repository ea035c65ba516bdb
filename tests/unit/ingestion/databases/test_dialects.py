"""Which types a contract may be read from, and the SQL that each database gets, whatever its names contain."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import product
from zoneinfo import ZoneInfo

import pytest

from pipelines.contracts.logical_types import parse
from pipelines.contracts.model import ContractField
from pipelines.contracts.registry import Registry
from pipelines.ingestion.access import Access
from pipelines.ingestion.databases import Column, Table, connect
from pipelines.ingestion.databases.database import pieces
from pipelines.ingestion.databases.dialect import Dialect, Piece
from pipelines.ingestion.databases.generic import GenericDialect
from pipelines.ingestion.databases.opening import DIALECTS
from pipelines.ingestion.databases.postgresql import PostgreSQL, conninfo
from pipelines.runtime.errors import LakeError

HOSTILE = "a\"b]c`d%e:f;--'\\"
"""What no contract may call a table: every sign that ends a name or a text somewhere, and a bind's first."""
TYPES = ("string", "boolean", "integer", "bigint", "double", "decimal(14,2)", "date", "timestamp")
ZONE = ZoneInfo("Asia/Ho_Chi_Minh")
SINCE = datetime(2025, 10, 27, 13, 0, 0, 5, UTC)


@pytest.fixture(params=DIALECTS.values(), ids=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    found: Dialect = request.param
    return found


@pytest.fixture(scope="module")
def plain(registry: Registry) -> ContractField:
    """A field that is no token; a test gives it the type."""
    return next(f for f in registry.dataset("med_price").fields if not f.tokenise)


def kinds(dialect: Dialect) -> list[str]:
    """Every type that the dialect knows, in order."""
    known = dialect.text | dialect.whole | dialect.exact | dialect.floating | dialect.boolean
    return sorted(known | dialect.dates | dialect.instants | dialect.local_times)


def test_the_types_a_contract_may_be_read_from(
    dialect: Dialect, plain: ContractField, golden: Callable[[str, str], None]
) -> None:
    lines = [f"{dialect.title}: column of the database → fields of a contract (* only where the source has a zone)"]
    for kind in kinds(dialect):
        column = Column("c", kind, True, 0)
        allowed = []
        for name in TYPES:
            field = plain.model_copy(update={"type": parse(name)})
            with_zone, without = (dialect.may_be(field, column, zone=zone) for zone in (True, False))
            assert with_zone or not without
            allowed += [name if without else f"{name}*"] if with_zone else []
        lines.append(f"{kind} → {', '.join(allowed) or 'nothing'}")
    golden(f"{dialect.kind}.types.txt", "\n".join(lines) + "\n")


def test_no_type_is_widened_to_what_it_is_not(dialect: Dialect, plain: ContractField) -> None:
    def may(name: str, kind: str, scale: int | None = None) -> bool:
        field = plain.model_copy(update={"type": parse(name)})
        return dialect.may_be(field, Column("c", kind, True, scale), zone=False)

    for kind in dialect.floating:
        assert not may("decimal(14,2)", kind) and not may("bigint", kind) and may("double", kind)
    for kind in dialect.exact:
        assert may("bigint", kind, 0) and not may("bigint", kind, 2) and not may("bigint", kind, None)
    for kind in dialect.local_times:
        assert not may("timestamp", kind)
    for name, kind in product(TYPES, ("bytea", "blob", "geometry", "json", "varbinary", "xmltype", "")):
        assert not may(name, kind)


def test_a_token_is_made_of_text_or_a_whole_number(dialect: Dialect, registry: Registry) -> None:
    field = next(f for f in registry.dataset("feedback_ticket").fields if f.tokenise)
    allowed = {kind for kind in kinds(dialect) if dialect.may_be(field, Column("c", kind, True, 0), zone=True)}
    assert allowed == dialect.text | dialect.whole


def statements(dialect: Dialect) -> dict[str, object]:
    """One of each, over a table that has a column of every type and names of the worst kind."""
    columns = tuple(Column(f"{HOSTILE}{place}", kind, True, 0) for place, kind in enumerate(kinds(dialect)))
    table = Table(HOSTILE, HOSTILE, columns, splits=True, key=columns[0].name)
    here = replace(table, schema=None)

    def first(types: frozenset[str]) -> str:
        return next(column.name for column in columns if column.type in types)

    instant, local, day = (first(types) for types in (dialect.instants, dialect.local_times, dialect.dates))
    number = first(dialect.whole | dialect.exact)
    span = (datetime(1970, 1, 1, tzinfo=UTC), SINCE)
    latest, above, below = dialect.newest(table, local, span, ZONE)
    return {
        "touch": dialect.touch(HOSTILE, HOSTILE),
        "columns": dialect.columns_of(HOSTILE, HOSTILE),
        "estimate": dialect.estimate_of(None, HOSTILE),
        "whole": dialect.read(table, [column.name for column in columns]),
        "since an instant": dialect.read(here, [number], cursor=instant, since=SINCE),
        "since a time of a zone": dialect.read(here, [number], cursor=local, since=SINCE, zone=ZONE),
        "since a day": dialect.read(here, [number], cursor=day, since=date(2025, 10, 27)),
        "since a number": dialect.read(here, [number], cursor=number, since=-5),
        "piece": dialect.read(here, [number], cursor=instant, ordered=False, piece=Piece(8, 16)),
        "last piece": dialect.read(here, [number], ordered=False, piece=Piece(16, None)),
        "newest": latest,
        "newer than now": above,
        "older than 1970": below,
    }


def test_the_sql_that_each_database_gets(dialect: Dialect, golden: Callable[[str, str], None]) -> None:
    parts = []
    for title, statement in statements(dialect).items():
        compiled = statement.compile(dialect=dialect.compiler)  # type: ignore[attr-defined]
        bound = dict(compiled.params)
        parts.append(f"-- {title}{f' {bound}' if bound else ''}\n{compiled}\n")
    golden(f"{dialect.kind}.sql", "\n".join(line.rstrip() for line in "\n".join(parts).splitlines()) + "\n")


def test_no_name_ends_its_quotes(dialect: Dialect) -> None:
    """What is between the quotes is the name, and outside of them no sign of it is left."""
    opening, closing = {"mariadb": "``", "mssql": "[]"}.get(dialect.kind, '""')
    for title, statement in statements(dialect).items():
        if title in {"columns", "estimate"}:
            # There the name is a parameter, never a part of the text.
            assert HOSTILE not in str(statement.compile(dialect=dialect.compiler))  # type: ignore[attr-defined]
            continue
        text = str(statement.compile(dialect=dialect.compiler))  # type: ignore[attr-defined]
        outside, inside, place = "", False, 0
        while place < len(text):
            sign = text[place]
            if not inside and sign == opening:
                inside = True
            elif inside and sign == closing:
                if text[place + 1 : place + 2] == closing:
                    place += 1
                else:
                    inside = False
            elif not inside:
                outside += sign
            place += 1
        assert not inside and ";" not in outside and "--" not in outside and "\\" not in outside, title


def test_a_mark_of_another_kind_is_refused(dialect: Dialect) -> None:
    column = Column("c", next(iter(dialect.instants)), True)
    for mark in (5, date(2025, 1, 1), True):
        with pytest.raises(TypeError, match="is no mark of the column c"):
            dialect.constant(column, mark, None)
    local = Column("c", next(iter(dialect.local_times)), True)
    with pytest.raises(TypeError):
        dialect.constant(local, SINCE, None)
    number = Column("c", next(iter(dialect.whole | dialect.exact)), True)
    with pytest.raises(TypeError):
        dialect.constant(number, True, None)


@pytest.mark.parametrize(
    ("begin", "end", "count", "cuts"),
    [
        (0, 100, 4, [25, 50, 75]),
        (0, 3, 8, [1, 2]),
        (-10, 10, 2, [0]),
        (5, 6, 4, []),
        (0, 0, 4, []),
        (0, 100, 0, []),
    ],
)
def test_pieces_touch_and_are_open_at_both_ends(begin: int, end: int, count: int, cuts: list[int]) -> None:
    found = pieces(begin, end, count)
    assert found[0].begin is None and found[-1].end is None
    assert [piece.end for piece in found[:-1]] == cuts == [piece.begin for piece in found[1:]]


def test_postgresql_is_told_every_limit(access: Callable[..., Access]) -> None:
    given = access(
        "postgresql",
        uri="postgresql://s%E1%BB%9F:p%40ss%27%20%5C@db.hue.local:5433/c%C6%A1%20s%E1%BB%9F?sslmode=verify-full",
        timeouts={"connect": "9 s", "lock": "7 s", "statement": "5 min"},
    )
    text = conninfo(given.source, given.connection)
    from psycopg2.extensions import parse_dsn

    found = parse_dsn(text)
    assert (found["user"], found["password"], found["dbname"]) == ("sở", "p@ss' \\", "cơ sở")
    assert (found["host"], found["port"], found["sslmode"]) == ("db.hue.local", "5433", "verify-full")
    assert (found["connect_timeout"], found["keepalives_idle"], found["tcp_user_timeout"]) == ("9", "9", "18000")
    for option in ("lock_timeout=7000", "statement_timeout=300000", "default_transaction_read_only=on", "timezone=UTC"):
        assert f"-c {option}" in found["options"]


@pytest.mark.parametrize("kind", ["mariadb", "mssql", "oracle"])
def test_the_others_are_told_every_limit(
    kind: str, access: Callable[..., Access], golden: Callable[[str, str], None]
) -> None:
    given = access(kind, timeouts={"connect": "9 s", "lock": "7 s", "statement": "5 min"})
    dialect = DIALECTS[kind]
    assert isinstance(dialect, GenericDialect)
    arguments = dialect.arguments(given.source, given.connection)
    arguments.pop("conv", None)
    lines = [dialect.url(given.connection).render_as_string(hide_password=True)]
    lines += [f"{name} = {'…' if name == 'password' else value}" for name, value in arguments.items()]
    for version in ("11.4.5-MariaDB-log", "8.4.3") if dialect.version else ("",):
        lines += [
            f"-- {version}".rstrip(),
            *(f"{text};" for text in (*dialect.session(given.source, version), dialect.begin)),
        ]
    golden(f"{kind}.session.txt", "\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("?ssl_mode=preferred", "has the ssl_mode 'preferred'. Allowed: verify-full, verify-ca, required, disabled."),
        ("?ssl_ca=/nowhere.pem", "cannot be read ([Errno 2] No such file or directory). Mend the paths in its extras"),
    ],
)
def test_a_way_that_cannot_be_secured_is_not_taken(query: str, said: str, access: Callable[..., Access]) -> None:
    with pytest.raises(LakeError) as caught, connect(access("mariadb", uri=f"mysql://u:hush@h/d{query}")):
        pass
    assert said in str(caught.value)


def test_the_name_of_the_host_is_checked_unless_told_otherwise(access: Callable[..., Access]) -> None:
    found = {}
    for mode in ("verify-full", "verify-ca", "required"):
        given = access("mariadb", uri=f"mysql://u:hush@h/d?ssl_mode={mode}")
        dialect = DIALECTS["mariadb"]
        assert isinstance(dialect, GenericDialect)
        context = dialect.arguments(given.source, given.connection)["ssl"]
        found[mode] = (context.check_hostname, context.verify_mode)
    assert found == {
        "verify-full": (True, ssl.CERT_REQUIRED),
        "verify-ca": (False, ssl.CERT_REQUIRED),
        "required": (False, ssl.CERT_NONE),
    }


def test_a_missing_driver_is_named(access: Callable[..., Access], monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, driver in (("mssql", "pyodbc"), ("oracle", "oracledb")):
        monkeypatch.setitem(sys.modules, driver, None)
        with pytest.raises(LakeError) as caught, connect(access(kind)):
            pass
        said = f"is read by the driver {driver}, which is not installed. Run `uv pip install {driver}`"
        assert said in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "uri", "said"),
    [
        (
            "postgresql",
            "mysql://u:hush@h/d",
            "The connection 'sector_soyt' is of the type mysql, its source soyt is of the kind postgresql. Begin "
            "AIRFLOW_CONN_SECTOR_SOYT with postgresql://, or mend `kind` in schemas/sources/soyt.yaml.",
        ),
        (
            "mariadb",
            "mysql://u:hush@",
            "The connection 'sector_soyt' names no host and no database. Write AIRFLOW_CONN_SECTOR_SOYT as "
            "mariadb://user:password@host:port/database.",
        ),
        (
            "postgresql",
            "postgresql://u:hush@h/d?iam=true&sslmode=require",
            "The connection 'sector_soyt' has extras that are not used here: iam. Allowed: channel_binding,",
        ),
        (
            "folder",
            "generic://h/d",
            "The source soyt is of the kind folder, which has no tables. Kinds that have: post",
        ),
    ],
)
def test_a_connection_that_does_not_fit_is_refused(
    kind: str, uri: str, said: str, access: Callable[..., Access]
) -> None:
    with pytest.raises(LakeError) as caught, connect(access(kind, uri=uri)):
        pass
    assert str(caught.value).startswith(said) and "hush" not in str(caught.value)


def test_postgresql_needs_no_parameters_for_rows() -> None:
    """With one it would leave COPY, and hold all rows in memory."""
    dialect = PostgreSQL()
    for title, statement in statements(dialect).items():
        if title.startswith(("whole", "since", "piece", "last")):
            assert not statement.compile(dialect=dialect.compiler).params, title  # type: ignore[attr-defined]
