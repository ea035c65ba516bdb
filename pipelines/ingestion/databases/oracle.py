"""Oracle through oracledb, without Oracle's own libraries; held against its SQL only, not tried against a server."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.dialects import oracle

from pipelines.contracts.sources import SectorSource
from pipelines.ingestion.connections import Connection
from pipelines.ingestion.databases.dialect import Element, written
from pipelines.ingestion.databases.generic import GenericDialect
from pipelines.ingestion.databases.table import Column
from pipelines.ingestion.trouble import Kind

_COLUMNS = r"""
select case when column_name = upper(column_name) then lower(column_name) else column_name end as name,
    lower(regexp_replace(data_type, '\(\d+\)', '')) as type, nullable, data_scale as scale
from all_tab_columns
where owner = coalesce(upper(:schema), sys_context('userenv', 'current_schema')) and table_name = upper(:table_name)
order by column_id
"""
# What the last gathering of statistics counted.
_ESTIMATE = """
select num_rows as c0 from all_tables
where owner = coalesce(upper(:schema), sys_context('userenv', 'current_schema')) and table_name = upper(:table_name)
"""
_DAY, _TIME = "'SYYYY-MM-DD'", "'SYYYY-MM-DD HH24:MI:SS.FF6'"
_MIDNIGHT = "'SYYYY-MM-DD HH24:MI:SS'"


class Oracle(GenericDialect):
    """Oracle 12.1 and later. Names of contracts are in small letters, Oracle keeps them in capitals.

    Oracle's DATE has a time of day. A field of the type date takes it when that is midnight; any other time makes the
    row a bad one. A time before Christ keeps its minus sign and is no date either.
    """

    kind = "oracle"
    title = "Oracle"
    driver = "oracledb"
    drivername = "oracle+oracledb"
    extra = "oracle"
    connections = frozenset({"oracle", "generic", ""})
    extras = frozenset({"protocol", "ssl_server_cert_dn", "wallet_location"})
    text = frozenset({"char", "nchar", "varchar2", "nvarchar2", "clob", "nclob"})
    whole = frozenset[str]()
    exact = frozenset({"number"})
    floating = frozenset({"float", "binary_float", "binary_double"})
    boolean = frozenset({"number"})
    dates = frozenset({"date"})
    instants = frozenset({"timestamp with time zone", "timestamp with local time zone"})
    local_times = frozenset({"timestamp"})
    says_nulls_first = True
    begin = "set transaction read only"
    catalogue_columns = _COLUMNS
    catalogue_estimate = _ESTIMATE
    clock = "select to_char(sys_extract_utc(systimestamp), 'YYYY-MM-DD HH24:MI:SS.FF6') as c0 from dual"
    codes: ClassVar[dict[int, Kind]] = {
        **dict.fromkeys((1005, 1017, 1045, 28000, 28001), Kind.SIGN_IN),
        **dict.fromkeys((28, 1033, 1034, 1089, 1090, 3113, 3114, 3135, 12152, 12170, 12505, 12514, 12541), Kind.AWAY),
        **dict.fromkeys((54, 30006), Kind.LOCKED),
        **dict.fromkeys((1013, 3136, 3156), Kind.SLOW),
        # snapshot too old; the table's definition has changed
        **dict.fromkeys((1555, 1466), Kind.MOVED),
        **dict.fromkeys((904, 942, 1031, 41900), Kind.CHANGED),
    }

    @property
    def compiler(self) -> sa.engine.Dialect:
        """Names in double quotes."""
        dialect: sa.engine.Dialect = oracle.dialect()  # type: ignore[no-untyped-call]
        return dialect

    def quoted(self, name: str) -> str:
        """In capitals, as Oracle keeps what was made without quotes."""
        return super().quoted(name.upper() if name == name.lower() else name)

    def query(self, connection: Connection) -> dict[str, str]:
        """The database of a connection is the name of the service."""
        return {"service_name": connection.database}

    def url(self, connection: Connection) -> sa.URL:
        """The name of a service, not a SID."""
        return super().url(connection).set(database=None)

    def arguments(self, source: SectorSource, connection: Connection) -> dict[str, Any]:
        """How the way is secured, and seconds until it is connected."""
        return {"tcp_connect_timeout": source.timeouts.connect.total_seconds(), **connection.extra}

    def prepare(self, driver_connection: Any, source: SectorSource) -> None:
        """Milliseconds of one call; every fetch is one."""
        driver_connection.call_timeout = int(source.timeouts.statement.total_seconds() * 1000)

    def session(self, source: SectorSource, version: str) -> Sequence[str]:
        """Readers never wait for locks in Oracle."""
        return ("alter session set time_zone = '+00:00' nls_numeric_characters = '.,' nls_calendar = 'gregorian'",)

    def value(self, column: Column, at: Element) -> Element:
        """As text of a format that keeps every digit."""
        kind, words = column.type, sa.literal_column
        if kind in self.text:
            return at
        if kind in self.dates:
            midnight = sa.func.trunc(at) == at
            day, time = sa.func.to_char(at, words(_DAY)), sa.func.to_char(at, words(_MIDNIGHT))
            return sa.func.ltrim(sa.case((midnight, day), else_=time))
        if kind in self.instants:
            return sa.func.ltrim(sa.func.to_char(sa.func.sys_extract_utc(at), words(_TIME)))
        if kind in self.local_times:
            return sa.func.ltrim(sa.func.to_char(at, words(_TIME)))
        return sa.func.to_char(at, words("'TM9'"))

    def instant(self, at: datetime) -> Element:
        """With its zone."""
        return sa.literal_column(f"TIMESTAMP '{written(at)} +00:00'")

    def local_time(self, at: datetime) -> Element:
        """Without."""
        return sa.literal_column(f"TIMESTAMP '{written(at)}'")

    def error_of(self, error: BaseException) -> tuple[int, str]:
        """ORA- and DPY- numbers stand in the text."""
        text = str(error)
        match = re.search(r"ORA-(\d{5})", text)
        if match:
            return int(match[1]), text
        # DPY-6005: cannot connect; 4011, 1001: closed; 4024: call timeout.
        driver = re.search(r"DPY-(\d{4})", text)
        return {"6005": 12541, "4011": 3113, "1001": 3114, "4024": 3136}.get(driver[1] if driver else "", -1), text
