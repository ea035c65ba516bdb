"""A source as PostgreSQL and as MariaDB: exact values, one moment, and a sentence for all that goes wrong."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg2
import pyarrow as pa
import pyarrow.compute as pc
import pymysql
import pytest

from pipelines.contracts.registry import Registry
from pipelines.ingestion.databases import Database, Table, compare, connect
from pipelines.ingestion.trouble import SourceChanged, SourceError, SourceLocked, SourceUnavailable, WrongCredentials
from pipelines.runtime.ports import is_free

from .proxy import proxy
from .servers import DATABASE, Server

INSTANT = pa.timestamp("us", "UTC")
FILLER = "x" * 1000


@pytest.fixture(params=["postgresql", "mariadb"])
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


def schema_of(server: Server) -> str | None:
    """Where a table is when nothing is said: in a schema of the same name in MariaDB, in `public` in PostgreSQL."""
    return "public" if server.kind == "postgresql" else None


def rows(database: Database, table: Table, columns: list[str], **how: Any) -> list[dict[str, Any]]:
    return [row for batch in database.read(table, columns, **how) for row in batch.to_pylist()]


def column(database: Database, table: Table, name: str, kind: pa.DataType) -> list[Any]:
    """A column as a contract's type; text is converted as Arrow does."""
    arrays = [batch.column(0) for batch in database.read(table, [name], cursor="id")]
    return [value for array in arrays for value in pc.cast(array, kind).to_pylist()]


EXACT: dict[str, tuple[dict[str, str], str, pa.DataType, list[Any]]] = {
    # column: its type on each, what is inserted, the contract's type, what is read
    "ten": (
        {"postgresql": "varchar(100)", "mariadb": "varchar(100)"},
        "'Trạm y tế phường Thuận Hoà — “Huế” 🏥'",
        pa.string(),
        ["Trạm y tế phường Thuận Hoà — “Huế” 🏥", None],
    ),
    "gia": (
        {"postgresql": "numeric(14, 2)", "mariadb": "decimal(14, 2)"},
        "123456789012.35",
        pa.decimal128(14, 2),
        [Decimal("123456789012.35"), None],
    ),
    "rong": (
        {"postgresql": "numeric(38, 10)", "mariadb": "decimal(38, 10)"},
        "-1234567890123456789012345678.0123456789",
        pa.decimal128(38, 10),
        [Decimal("-1234567890123456789012345678.0123456789"), None],
    ),
    "ngay": (
        {"postgresql": "date", "mariadb": "date"},
        "'1802-06-01'",
        pa.date32(),
        [date(1802, 6, 1), None],
    ),
    "luc": (
        {"postgresql": "timestamptz", "mariadb": "timestamp(6) null"},
        "'2025-10-27 20:00:00.123456'",
        INSTANT,
        [datetime(2025, 10, 27, 20, 0, 0, 123456, UTC), None],
    ),
    "gio_hue": (
        {"postgresql": "timestamp", "mariadb": "datetime(6)"},
        "'2025-10-27 20:00:00.5'",
        INSTANT,
        [datetime(2025, 10, 27, 13, 0, 0, 500000, UTC), None],
    ),
    "dung": ({"postgresql": "boolean", "mariadb": "boolean"}, "true", pa.bool_(), [True, None]),
    "nho": ({"postgresql": "smallint", "mariadb": "smallint"}, "-32768", pa.int32(), [-32768, None]),
    "lon": ({"postgresql": "bigint", "mariadb": "bigint"}, str(-(2**63)), pa.int64(), [-(2**63), None]),
    "muc_do": (
        {"postgresql": "double precision", "mariadb": "double"},
        "1.1e-300",
        pa.float64(),
        [1.1e-300, None],
    ),
    "don": ({"postgresql": "real", "mariadb": "float"}, "16777217", pa.float64(), [16777216.0, None]),
}


def test_values_are_exact(server: Server) -> None:
    columns = ", ".join(f"{name} {types[server.kind]}" for name, (types, *_) in EXACT.items())
    values = ", ".join(written for _, written, *_ in EXACT.values())
    zone = "set time zone 'UTC'" if server.kind == "postgresql" else "set time_zone = '+00:00'"
    server.execute(
        zone,
        "drop table if exists exact",
        f"create table exact (id integer primary key, {columns})",
        f"insert into exact values (1, {values})",
        "insert into exact (id) values (2)",
    )
    with connect(server.access(time_zone="Asia/Ho_Chi_Minh")) as database:
        table = database.table(schema_of(server), "exact")
        assert [found.nullable for found in table.columns] == [False, *[True] * len(EXACT)]
        for name, (_, _, kind, expected) in EXACT.items():
            assert column(database, table, name, kind) == expected, name


BAD: dict[str, list[tuple[str, str, str]]] = {
    # type, what is inserted, the text by which it comes
    "postgresql": [
        ("numeric", "'NaN'", "NaN"),
        ("numeric(14, 2)", "'NaN'", "NaN"),
        ("double precision", "'Infinity'", "inf"),
        ("double precision", "'NaN'", "nan"),
        ("date", "'infinity'", "infinity"),
        ("date", "'-infinity'", "-infinity"),
        ("date", "'20025-01-31'", "20025-01-31"),
        ("date", "'0044-03-15 BC'", "0044-03-15 BC"),
        ("timestamptz", "'infinity'", "infinity"),
        ("timestamptz", "'-infinity'", "-infinity"),
        ("timestamptz", "'20025-01-31 20:00:00.5+00'", "20025-01-31 20:00:00.5+00"),
        ("timestamptz", "'0044-03-15 01:02:03+00 BC'", "0044-03-15 01:02:03+00 BC"),
        ("timestamp", "'infinity'", "infinity"),
        ("timestamp", "'20025-01-31 20:00:00'", "20025-01-31 20:00:00"),
    ],
    "mariadb": [
        ("date", "'0000-00-00'", "0000-00-00"),
        ("date", "'2025-00-10'", "2025-00-10"),
        ("datetime", "'0000-00-00'", "0000-00-00 00:00:00"),
        ("timestamp null", "'0000-00-00'", "0000-00-00 00:00:00+00:00"),
        ("tinyint(1)", "2", "2"),
        ("bigint unsigned", "18446744073709551615", "18446744073709551615"),
    ],
}
GOOD = {"numeric": "7", "double precision": "7", "tinyint(1)": "1", "bigint unsigned": "7"}
TYPES = {
    "numeric": pa.decimal128(14, 2),
    "double precision": pa.float64(),
    "date": pa.date32(),
    "tinyint(1)": pa.bool_(),
    "bigint unsigned": pa.int64(),
}


def test_a_bad_value_is_one_bad_value(server: Server) -> None:
    for written_type, written, text in BAD[server.kind]:
        name = written_type.removesuffix(" null").split("(14")[0]
        good = GOOD.get(name, "'2025-10-27'")
        server.execute(
            "set time zone 'UTC'" if server.kind == "postgresql" else "set time_zone = '+00:00', sql_mode = ''",
            "drop table if exists bad",
            f"create table bad (id integer primary key, v {written_type})",
            f"insert into bad values (1, {good}), (2, {written}), (3, {good})",
        )
        with connect(server.access(time_zone="Asia/Ho_Chi_Minh")) as database:
            table = database.table(schema_of(server), "bad")
            found = [row["v"] for row in rows(database, table, ["v"], cursor="id")]
        assert found[1] == text and found[0] == found[2], (written_type, written)
        kind = TYPES.get(name, INSTANT)
        first = pa.array([found[0]]).cast(pa.string())
        assert pc.cast(first, kind)[0].is_valid
        if name != "double precision":
            with pytest.raises(pa.ArrowInvalid):
                pc.cast(pa.array([found[1]]), kind)


def test_the_cursor_is_bounded_and_what_has_none_is_read_each_time(server: Server) -> None:
    at = "timestamptz" if server.kind == "postgresql" else "timestamp(6) null"
    server.execute(
        "set time zone 'UTC'" if server.kind == "postgresql" else "set time_zone = '+00:00'",
        "drop table if exists changes",
        f"create table changes (id bigint primary key, changed_at {at}, day date, n numeric(10, 0))",
    )
    with connect(server.access()) as database:
        empty = database.table(schema_of(server), "changes")
        assert database.newest(empty, "changed_at") is None and database.newest(empty, "id") is None
        assert rows(database, empty, ["id"]) == []
    server.execute(
        "set time zone 'UTC'" if server.kind == "postgresql" else "set time_zone = '+00:00'",
        "insert into changes values (3, '2025-03-01 00:00:00.000001', '2025-03-01', 3), "
        "(1, '2025-01-01', '2025-01-01', 1), (4, null, '1930-01-01', null), (2, '2025-02-01', '2025-02-01', 2)",
    )
    with connect(server.access()) as database:
        table = database.table(schema_of(server), "changes")
        newest = database.newest(table, "changed_at")
        assert newest == datetime(2025, 3, 1, 0, 0, 0, 1, UTC)
        assert database.newest(table, "day") == date(2025, 3, 1)
        assert database.newest(table, "id") == 4 and database.newest(table, "n") == 3
        ids = [row["id"] for row in rows(database, table, ["id"], cursor="changed_at")]
        assert [int(number) for number in ids] == [4, 1, 2, 3]
        since = datetime(2025, 2, 1, 7, tzinfo=UTC) - timedelta(hours=7)
        found = [row["id"] for row in rows(database, table, ["id"], cursor="changed_at", since=since, parallel=2)]
        assert [int(number) for number in found] == [4, 2, 3]
        assert len(rows(database, table, ["id"], cursor="changed_at", since=newest)) == 2
        assert len(rows(database, table, ["id"], cursor="n", since=3)) == 2
        assert len(rows(database, table, ["id"], cursor="day", since=date(2025, 3, 1))) == 1
    server.execute("update changes set changed_at = '2037-01-01', day = '9998-01-01' where id = 1")
    with connect(server.access()) as database:
        table = database.table(schema_of(server), "changes")
        assert database.newest(table, "changed_at") == database.now
        assert abs(database.now - datetime.now(UTC)) < timedelta(minutes=1)
        assert database.newest(table, "day") == database.now.date()
    server.execute("delete from changes where id <> 4")
    with connect(server.access()) as database:
        table = database.table(schema_of(server), "changes")
        assert database.newest(table, "changed_at") is None and database.newest(table, "day") == date(1970, 1, 1)
        with pytest.raises(TypeError, match="is no mark of the column day"):
            rows(database, table, ["id"], cursor="day", since=3)


def fill(server: Server, name: str, count: int) -> None:
    """Accounts of 100 each, of a kilobyte each: enough blocks for two connections."""
    series = {"postgresql": f"generate_series(1, {count}) n", "mariadb": f"(select seq n from seq_1_to_{count}) s"}
    server.execute(
        f"drop table if exists {name}",
        f"create table {name} (id integer primary key, amount integer not null, filler varchar(1000))",
        f"insert into {name} select n, 100, '{FILLER}' from {series[server.kind]}",
        f"analyze {'table ' if server.kind == 'mariadb' else ''}{name}",
    )


def test_all_connections_see_one_moment(server: Server) -> None:
    count = 40_000
    fill(server, "account", count)
    ended = threading.Event()
    moves = 0

    def move() -> None:
        """From one end of the table to the other, so that rows change their places and the halves their sums."""
        nonlocal moves
        with closing(server.open()) as connection, connection.cursor() as cursor:
            while not ended.is_set():
                low, high = random.randrange(1, 100), random.randrange(count - 100, count)
                cursor.execute(f"update account set amount = amount - 7 where id = {low}")
                cursor.execute(f"update account set amount = amount + 7 where id = {high}")
                connection.commit()
                moves += 1
                time.sleep(0.002)

    writer = threading.Thread(target=move)
    writer.start()
    try:
        while moves < 20:
            time.sleep(0.01)
        with connect(server.access(parallel=2)) as database:
            table = database.table(schema_of(server), "account")
            assert count / 2 < (database.rows_estimate(table) or 0) < count * 2
            before = moves
            assert table.splits, "the connections could not be brought to one moment"
            once, again = (
                {int(row["id"]): int(row["amount"]) for row in rows(database, table, ["id", "amount"], parallel=n)}
                for n in (2, 1)
            )
            seen = Counter(int(row["id"]) for row in rows(database, table, ["id", "filler"], parallel=2))
            assert moves > before, "nobody wrote meanwhile: this proves nothing"
    finally:
        ended.set()
        writer.join()
    assert sum(once.values()) == 100 * count and once == again
    assert set(seen.values()) == {1} and len(seen) == count
    with connect(server.access()) as database:
        later = rows(database, database.table(schema_of(server), "account"), ["id", "amount"])
    assert {int(row["id"]): int(row["amount"]) for row in later} != once


def test_two_connections_share_the_work(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(server, "shared", 40_000)
    with connect(server.access(parallel=2)) as database:
        table = database.table(schema_of(server), "shared")
        asked: list[int] = []
        readers = database._readers
        monkeypatch.setattr(database, "_readers", lambda *args: asked.append(len(made := readers(*args))) or made)
        assert sum(batch.num_rows for batch in database.read(table, ["id", "filler"], parallel=2)) == 40_000
        assert sum(batch.num_rows for batch in database.read(table, ["id"], parallel=2, batch_rows=100)) == 40_000
        assert all(batch.num_rows <= 100 for batch in database.read(table, ["id"], batch_rows=100))
    assert asked == [2, 2, 1]


def test_a_table_emptied_since_the_moment_is_not_read_as_empty(server: Server) -> None:
    fill(server, "emptied", 10)
    said = r"Table (public\.)?emptied of the source thu \(H57\.KHCN\) was changed under our hands \("
    with connect(server.access()) as database:
        server.execute("truncate table emptied")
        with pytest.raises(SourceUnavailable, match=said):
            rows(database, database.table(schema_of(server), "emptied"), ["id"])


def test_nobody_alters_a_table_that_is_described(server: Server) -> None:
    fill(server, "described", 10)
    wait = "set lock_timeout = 300" if server.kind == "postgresql" else "set lock_wait_timeout = 1"
    with connect(server.access()) as database:
        table = database.table(schema_of(server), "described")
        with pytest.raises((psycopg2.errors.LockNotAvailable, pymysql.OperationalError)):
            server.execute(wait, "alter table described drop column amount")
        assert len(rows(database, table, ["id", "amount"])) == 10
    server.execute(wait, "alter table described drop column amount")


def test_a_locked_table_is_not_waited_for(server: Server) -> None:
    fill(server, "locked", 10)
    with closing(server.open()) as other, other.cursor() as cursor:
        if server.kind == "postgresql":
            cursor.execute("lock table locked in access exclusive mode")
            by = f"the session {other.get_backend_pid()} of lake"
        else:
            cursor.execute("lock tables locked write")
            by = "another session"
        began = time.monotonic()
        with connect(server.access()) as database:
            with pytest.raises(SourceLocked) as caught:
                database.table(schema_of(server), "locked")
        assert time.monotonic() - began < 10
        other.rollback()
    assert f"locked of the source thu (H57.KHCN) is locked by {by}" in str(caught.value)
    assert "for longer than 2 s. The last good state stays." in str(caught.value)


def test_a_wrong_password_is_told_apart_and_never_shown(server: Server) -> None:
    access = server.access(password="không phải")
    with pytest.raises(WrongCredentials) as caught, connect(access):
        pass
    assert str(caught.value).startswith(f"The source thu (H57.KHCN) refuses the sign-in of {server.user} (")
    assert "Mend the connection 'sector_thu' (AIRFLOW_CONN_SECTOR_THU) before the next try" in str(caught.value)
    assert "phải" not in str(caught.value) and not isinstance(caught.value, SourceUnavailable)


def test_a_server_that_is_away(server: Server) -> None:
    port = next(port for port in range(31_900, 32_400) if is_free(port))
    with pytest.raises(SourceUnavailable, match=r"^The source thu \(H57\.KHCN\) does not answer \("):
        with connect(server.access(port=port)):
            pass


@pytest.mark.parametrize("then", ["cut", "hold"])
def test_a_line_that_breaks_amid_the_rows(server: Server, then: str) -> None:
    fill(server, "far", 40_000)
    waits = {"connect": "5 s", "lock": "2 s", "statement": "4 s"}
    with proxy(server.port, after=8_000_000, then=then) as port:
        began = time.monotonic()
        with connect(server.access(port=port, timeouts=waits)) as database:
            table = database.table(schema_of(server), "far")
            with pytest.raises(SourceUnavailable) as caught:
                rows(database, table, ["id", "filler"])
            with pytest.raises(SourceError, match="an earlier read was left before its end"):
                rows(database, table, ["id"])
        assert time.monotonic() - began < 20
    text = "does not answer" if then == "cut" else "did not finish within 4 s"
    assert f"far of the source thu (H57.KHCN) {text} (" in str(caught.value)
    with connect(server.access()) as database:
        assert len(rows(database, database.table(schema_of(server), "far"), ["id"])) == 40_000


def test_a_read_that_is_left_ends_at_once(server: Server) -> None:
    fill(server, "left_early", 40_000)
    began = time.monotonic()
    with connect(server.access(parallel=2)) as database:
        table = database.table(schema_of(server), "left_early")
        with closing(database.read(table, ["id", "filler"], parallel=2, batch_rows=10)) as batches:
            assert next(batches).num_rows == 10
        with pytest.raises(SourceError, match="an earlier read was left before its end"):
            database.newest(table, "id")
    assert time.monotonic() - began < 10


def test_a_table_that_is_not_there_or_not_for_us(server: Server) -> None:
    server.execute("drop table if exists hidden", "create table hidden (id integer primary key)")
    if server.kind == "postgresql":
        server.execute(
            "drop role if exists stranger",
            "create role stranger login password 'lạ mặt'",
        )
    else:
        server.execute(
            "drop user if exists stranger@'127.0.0.1'",
            "create user stranger@'127.0.0.1' identified by 'lạ mặt'",
            f"grant insert on {DATABASE}.* to stranger@'127.0.0.1'",
        )
    stranger = Server(server.kind, server.port, "stranger", "lạ mặt", server.open)
    for who, name in ((server, "nowhere"), (stranger, "hidden")):
        with connect(who.access()) as database, pytest.raises(SourceChanged) as caught:
            database.table(schema_of(server), name)
        assert f"{name} of the source thu (H57.KHCN) is not what it was (" in str(caught.value)


def test_a_table_is_compared_with_its_contract(server: Server, registry: Registry) -> None:
    dataset = registry.dataset("med_price")
    types = {"decimal": "numeric(14, 2)", "string": "varchar(200)"}
    columns = {field.name: types.get(field.type.name, field.type.name) for field in dataset.fields}

    def found(changes: dict[str, str | None]) -> tuple[str, ...]:
        kept = {name: kind for name, kind in {**columns, **changes}.items() if kind}
        written = ", ".join(f"{name} {kind}" for name, kind in kept.items())
        server.execute("drop table if exists med_price", f"create table med_price ({written})")
        with connect(server.access()) as database:
            return compare(database.table(schema_of(server), "med_price"), dataset, database)

    assert found({}) == ()
    assert found({"ghi_chu": "text"}) == ("ghi_chu",)
    with pytest.raises(SourceChanged) as caught:
        found({"price_vnd": "double precision", "facility_name": None, "ten_co_so": "text", "valid_to": "timestamp"})
    double = "double precision" if server.kind == "postgresql" else "double"
    time_type = "timestamp without time zone" if server.kind == "postgresql" else "timestamp"
    text = str(caught.value)
    assert "has no column facility_name (new and perhaps its new name: ten_co_so)" in text
    assert f"column price_vnd is {double}, the contract says {dataset.field('price_vnd').type}" in text
    assert f"column valid_to is {time_type}, the contract says date" in text


def test_nothing_else_is_asked_amid_a_read(server: Server) -> None:
    fill(server, "amid", 10)
    with connect(server.access()) as database:
        table = database.table(schema_of(server), "amid")
        for _ in database.read(table, ["id"], batch_rows=5):
            with pytest.raises(RuntimeError, match="a read is not finished yet"):
                database.newest(table, "id")
        assert database.newest(table, "id") == 10


def test_whose_server_it_is_can_be_demanded(mariadb: Server) -> None:
    """The server made its certificate itself."""
    for mode in ("required", "disabled"):
        with connect(mariadb.access(query=f"?ssl_mode={mode}")):
            pass
    for mode in ("verify-full", "verify-ca"):
        with pytest.raises(SourceUnavailable, match="certificate verify failed"):
            with connect(mariadb.access(query=f"?ssl_mode={mode}")):
                pass


def test_the_server_is_where_the_tests_think(mariadb: Server, tmp_path: Path) -> None:
    with closing(mariadb.open()) as connection, connection.cursor() as cursor:
        cursor.execute("select version(), @@log_bin")
        assert cursor.fetchone() == ("11.4.5-MariaDB-log", 1)
