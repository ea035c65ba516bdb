"""SQL Server through pyodbc; held against its SQL only, not tried against a server."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.dialects import mssql

from pipelines.contracts.sources import SectorSource
from pipelines.ingestion.connections import Connection
from pipelines.ingestion.databases.dialect import Element, written
from pipelines.ingestion.databases.generic import GenericDialect
from pipelines.ingestion.databases.table import Column
from pipelines.ingestion.trouble import Kind

# From the standard's views.
_COLUMNS = """
select column_name as name, data_type as type, is_nullable as nullable, numeric_scale as scale
from information_schema.columns
where table_schema = coalesce(:schema, schema_name()) and table_name = :table_name
order by ordinal_position
"""
# From the heap or the clustered index.
_ESTIMATE = """
select sum(p.rows) as c0 from sys.partitions p join sys.objects o on o.object_id = p.object_id
where p.index_id in (0, 1) and o.name = :table_name and schema_name(o.schema_id) = coalesce(:schema, schema_name())
"""
# Style 3: all digits of a float. 2: four places of money. 23, 121: ISO.
_STYLES = {"float": 3, "real": 3, "money": 2, "smallmoney": 2, "date": 23}
_MICROSECONDS = mssql.DATETIME2(6)  # type: ignore[no-untyped-call]
_DRIVER = "ODBC Driver 18 for SQL Server"


class SQLServer(GenericDialect):
    """SQL Server 2016 and later; the database must allow snapshots (ALLOW_SNAPSHOT_ISOLATION ON).

    A seventh decimal place of a second is rounded: the lake keeps microseconds.
    """

    kind = "mssql"
    title = "SQL Server"
    driver = "pyodbc"
    drivername = "mssql+pyodbc"
    extra = "mssql"
    connections = frozenset({"mssql", "odbc", "generic", ""})
    extras = frozenset({"driver", "Encrypt", "TrustServerCertificate", "HostNameInCertificate"})
    text = frozenset({"char", "varchar", "nchar", "nvarchar", "text", "ntext", "uniqueidentifier"})
    whole = frozenset({"tinyint", "smallint", "int", "bigint"})
    exact = frozenset({"decimal", "numeric", "money", "smallmoney"})
    floating = frozenset({"real", "float"})
    boolean = frozenset({"bit"})
    dates = frozenset({"date"})
    instants = frozenset({"datetimeoffset"})
    local_times = frozenset({"datetime", "datetime2", "smalldatetime"})
    says_nulls_first = False
    begin = "set transaction isolation level snapshot"
    catalogue_columns = _COLUMNS
    catalogue_estimate = _ESTIMATE
    clock = "select convert(nvarchar(40), sysutcdatetime(), 121) as c0"
    codes: ClassVar[dict[int, Kind]] = {
        **dict.fromkeys((4060, 18450, 18452, 18456, 18486, 18487, 18488), Kind.SIGN_IN),
        **dict.fromkeys((0, 53, 64, 233, 596, 6005, 10053, 10054, 10060, 10061, 40197, 40501, 40613), Kind.AWAY),
        1222: Kind.LOCKED,
        -2: Kind.SLOW,
        **dict.fromkeys((1205, 3960, 3961), Kind.MOVED),
        **dict.fromkeys((207, 208, 229, 230), Kind.CHANGED),
    }

    @property
    def compiler(self) -> sa.engine.Dialect:
        """Names in brackets."""
        dialect: sa.engine.Dialect = mssql.dialect()  # type: ignore[no-untyped-call]
        return dialect

    def query(self, connection: Connection) -> dict[str, str]:
        """Encrypted unless the connection says otherwise, and a replica for readers where there is one."""
        extra = {name: str(value) for name, value in connection.extra.items()}
        return {"driver": _DRIVER, "Encrypt": "yes", "ApplicationIntent": "ReadOnly", "APP": "lake ingest", **extra}

    def arguments(self, source: SectorSource, connection: Connection) -> dict[str, Any]:
        """Seconds until it is connected."""
        return {"timeout": int(source.timeouts.connect.total_seconds())}

    def prepare(self, driver_connection: Any, source: SectorSource) -> None:
        """Seconds of one statement."""
        driver_connection.timeout = int(source.timeouts.statement.total_seconds())

    def session(self, source: SectorSource, version: str) -> Sequence[str]:
        """The driver begins a transaction with the first statement that reads; its snapshot is of then."""
        return (
            f"set lock_timeout {int(source.timeouts.lock.total_seconds() * 1000)}",
            "set dateformat ymd",
        )

    def value(self, column: Column, at: Element) -> Element:
        """As text of a style that keeps every digit."""
        kind = column.type
        text: Element = sa.literal_column("nvarchar(max)")
        if kind in self.text - {"uniqueidentifier"}:
            return at
        if kind in self.instants:
            utc = sa.cast(sa.func.switchoffset(at, sa.literal_column("'+00:00'")), _MICROSECONDS)
            return sa.func.convert(text, utc, sa.literal_column("121"))
        if kind in self.local_times:
            return sa.func.convert(text, sa.cast(at, _MICROSECONDS), sa.literal_column("121"))
        style: list[Element] = [sa.literal_column(str(_STYLES[kind]))] if kind in _STYLES else []
        return sa.func.convert(text, at, *style)

    def instant(self, at: datetime) -> Element:
        """With its zone."""
        return sa.literal_column(f"cast('{written(at)}+00:00' as datetimeoffset(6))")

    def local_time(self, at: datetime) -> Element:
        """Without."""
        return sa.literal_column(f"cast('{written(at)}' as datetime2(6))")

    def day(self, day: date) -> Element:
        """There are no date literals."""
        return sa.literal_column(f"cast('{day.isoformat()}' as date)")

    def error_of(self, error: BaseException) -> tuple[int, str]:
        """Pyodbc gives (SQLSTATE, text); the text ends with the number in brackets before the name of the call."""
        match error.args:
            case (str(state), str(text), *_):
                if state in {"HYT00", "HYT01"}:
                    return -2, text
                if state == "08001":
                    return 0, text
                if state == "28000":
                    return 18456, text
                number = re.search(r"\((\d+)\) \(\w+\)", text)
                return int(number[1]) if number else (0 if state.startswith("08") else -1), text
            case _:
                return -1, str(error)
