"""MariaDB and MySQL through PyMySQL: the server sends every value as text, and it stays text."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

import pymysql
import sqlalchemy as sa
from pymysql.converters import conversions
from sqlalchemy.dialects import mysql

from pipelines.contracts.sources import SectorSource
from pipelines.ingestion.connections import Connection
from pipelines.ingestion.databases.dialect import Element, Query, written
from pipelines.ingestion.databases.generic import GenericDialect
from pipelines.ingestion.databases.table import Column
from pipelines.ingestion.trouble import Kind
from pipelines.runtime.errors import LakeError

_TLS_MODES = ("verify-full", "verify-ca", "required", "disabled")
"""From the host's certificate and name are checked to nothing is; the first counts where extras name a certificate."""
_WHOLE = ("tinyint", "smallint", "mediumint", "int", "bigint")
# With signs, widths of one, and decimal places.
_COLUMNS = """
select column_name as name,
    case when column_type like 'tinyint(1)%' then 'tinyint(1)' when column_type = 'bit(1)' then 'bit(1)'
        when column_type like '%unsigned%' and data_type like '%int' then concat(data_type, ' unsigned')
        else data_type end as type,
    is_nullable as nullable, numeric_scale as scale
from information_schema.columns
where table_schema = coalesce(:schema, database()) and table_name = :table_name
order by ordinal_position
"""
# What InnoDB believes.
_ESTIMATE = """
select table_rows as c0 from information_schema.tables
where table_schema = coalesce(:schema, database()) and table_name = :table_name
"""
_FACTS = """
select case when t.engine = 'InnoDB' or t.engine is null then 'YES' else 'NO' end as snapshot,
    case when count(c.column_name) = 1 and max(c.data_type) like '%int' then max(c.column_name) end as `key`
from information_schema.tables t
left join information_schema.columns c
    on c.table_schema = t.table_schema and c.table_name = t.table_name and c.column_key = 'PRI'
where t.table_schema = coalesce(:schema, database()) and t.table_name = :table_name
group by t.engine
"""
_PLACE = """
select max(case when s.variable_name = 'BINLOG_SNAPSHOT_FILE' then s.variable_value end),
    max(case when s.variable_name = 'BINLOG_SNAPSHOT_POSITION' then s.variable_value end),
    case when @@gtid_slave_pos = '' or @@log_slave_updates then 'whole' end
from information_schema.session_status s
where s.variable_name in ('BINLOG_SNAPSHOT_FILE', 'BINLOG_SNAPSHOT_POSITION')
"""


def _secured(connection: Connection) -> dict[str, Any]:
    """How the way is secured; what the driver makes of single options does not always check the host's name.

    Raises:
        LakeError: a mode that there is not, or a file that cannot be read.
    """
    extra = {name: str(value) for name, value in connection.extra.items()}
    if not extra:
        return {}
    mode = extra.get("ssl_mode", _TLS_MODES[0])
    if mode not in _TLS_MODES:
        raise LakeError(
            f"The connection {connection.id!r} has the ssl_mode {mode!r}.", f"Allowed: {', '.join(_TLS_MODES)}."
        )
    if mode == "disabled":
        return {"ssl_disabled": True}
    try:
        context = ssl.create_default_context(cafile=extra.get("ssl_ca"))
        if "ssl_cert" in extra:
            context.load_cert_chain(extra["ssl_cert"], extra.get("ssl_key"))
    except OSError as error:
        raise LakeError(
            f"The certificates of the connection {connection.id!r} cannot be read ({error}).",
            "Mend the paths in its extras ssl_ca, ssl_cert and ssl_key.",
        ) from None
    context.check_hostname = mode == "verify-full"
    context.verify_mode = ssl.CERT_NONE if mode == "required" else ssl.CERT_REQUIRED
    return {"ssl": context}


class _Connection(pymysql.Connection):  # type: ignore[misc] # the driver has no types
    """Hangs up at once: the driver would first read the rest of a long result, and stumble over a line that is cut."""

    def _force_close(self) -> None:
        if self._result is not None:
            self._result.unbuffered_active = False
        super()._force_close()


class MariaDB(GenericDialect):
    """MariaDB 10.5 and later, MySQL 8.

    `tinyint(1)` is the database's idiom for a truth value, and a number too; as text, 2 is no truth value. A zero date
    comes as `0000-00-00`, which is no date: one bad row.
    """

    kind = "mariadb"
    title = "MariaDB or MySQL"
    driver = "pymysql"
    drivername = "mysql+pymysql"
    connections = frozenset({"mysql", "mariadb", "generic", ""})
    extras = frozenset({"ssl_mode", "ssl_ca", "ssl_cert", "ssl_key"})
    text = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set", "uuid"})
    whole = frozenset({*_WHOLE, *(f"{name} unsigned" for name in _WHOLE), "tinyint(1)", "year"})
    exact = frozenset({"decimal"})
    floating = frozenset({"float", "double"})
    boolean = frozenset({"tinyint(1)", "bit(1)"})
    dates = frozenset({"date"})
    instants = frozenset({"timestamp"})
    local_times = frozenset({"datetime"})
    says_nulls_first = False
    catalogue_columns = _COLUMNS
    catalogue_estimate = _ESTIMATE
    clock = "select cast(utc_timestamp(6) as char) as c0"
    begin = "start transaction with consistent snapshot, read only"
    version = "select version()"
    codes: ClassVar[dict[int, Kind]] = {
        # access denied; host blocked, host not allowed; unknown database; password expired, account locked
        **dict.fromkeys((1044, 1045, 1049, 1129, 1130, 1227, 1251, 1524, 1698, 1820, 1862, 3118, 4151), Kind.SIGN_IN),
        # too many connections, shutdown, killed, not reached, gone, lost
        **dict.fromkeys((1040, 1053, 1077, 1152, 1158, 1159, 1160, 1161, 1203, 1317, 1927), Kind.AWAY),
        **dict.fromkeys((0, 2002, 2003, 2006, 2013, 2014, 2026, 2027, 2055), Kind.AWAY),
        **dict.fromkeys((1205, 3572), Kind.LOCKED),
        **dict.fromkeys((1969, 3024), Kind.SLOW),
        **dict.fromkeys((1412, 1213), Kind.MOVED),
        # no such table or column, no right to read it
        **dict.fromkeys((1054, 1051, 1142, 1143, 1146, 1356, 1370), Kind.CHANGED),
    }

    @property
    def compiler(self) -> sa.engine.Dialect:
        """Names in backticks."""
        dialect: sa.engine.Dialect = mysql.dialect()
        return dialect

    def snapshot_place(self, version: str) -> str:
        """The place in the binary log at which the snapshot was taken; commits enter both in one order.

        On a replica that does not log what it copies, the place stands still while the data move: NULL, no proof. MySQL
        keeps no such place.
        """
        return _PLACE.strip() if "mariadb" in version.lower() else ""

    def query(self, connection: Connection) -> dict[str, str]:
        """All of Unicode."""
        return {"charset": "utf8mb4"}

    def arguments(self, source: SectorSource, connection: Connection) -> dict[str, Any]:
        """Without decoders: what comes stays the server's text."""
        seconds = int(source.timeouts.statement.total_seconds())
        return {
            "conv": {kind: encode for kind, encode in conversions.items() if not isinstance(kind, int)},
            # PyMySQL would write the letters of a password in Latin-1, which has few of Vietnam's.
            "password": connection.password.encode(),
            "connect_timeout": int(source.timeouts.connect.total_seconds()),
            "read_timeout": seconds,
            "write_timeout": seconds,
            "program_name": "lake ingest",
            **_secured(connection),
        }

    def connect(self, arguments: dict[str, Any]) -> Any:
        """With a connection that hangs up at once."""
        return _Connection(**arguments)

    def session(self, source: SectorSource, version: str) -> Sequence[str]:
        """A slow reader of a long result is cut after `net_write_timeout`, 60 s unless it is told otherwise."""
        seconds = int(source.timeouts.statement.total_seconds())
        limit = f"max_statement_time = {seconds}"
        if "mariadb" not in version.lower():
            limit = f"max_execution_time = {seconds * 1000}"
        return (
            "set session time_zone = '+00:00', sql_mode = '', "
            f"lock_wait_timeout = {int(source.timeouts.lock.total_seconds())}, "
            f"net_write_timeout = {seconds}, net_read_timeout = {seconds}, {limit}",
            "set session transaction isolation level repeatable read",
        )

    def facts_of(self, schema: str | None, table: str) -> Query:
        """InnoDB keeps snapshots; of views nothing is said, they are read by one connection."""
        return self.about(_FACTS, schema, table)

    def value(self, column: Column, at: Element) -> Element:
        """As it is; a `float` would be rounded to six digits, a bit is a byte."""
        if column.type == "float":
            return at + sa.literal_column("0e0")
        return at + sa.literal_column("0") if column.type == "bit(1)" else at

    def instant(self, at: datetime) -> Element:
        """In UTC, which is the session's zone."""
        return self.local_time(at)

    def local_time(self, at: datetime) -> Element:
        """As it stands."""
        return sa.literal_column(f"TIMESTAMP '{written(at)}'")

    def error_of(self, error: BaseException) -> tuple[int, str]:
        """PyMySQL gives (number, text)."""
        match error.args:
            case (int(number), str(text), *_):
                return number, text
            case _:
                return 0 if isinstance(error, OSError) else -1, str(error)
