"""What a driver raises becomes an error that says whose source it is, what happened and what to do."""

from __future__ import annotations

from collections.abc import Callable

import adbc_driver_manager
import pymysql
import pytest
import sqlalchemy as sa
from adbc_driver_manager import AdbcStatusCode

from pipelines.ingestion.access import Access
from pipelines.ingestion.databases.dialect import Dialect
from pipelines.ingestion.databases.opening import DIALECTS
from pipelines.ingestion.trouble import (
    Kind,
    Sentences,
    SourceChanged,
    SourceError,
    SourceLocked,
    SourceUnavailable,
    Trouble,
    WrongCredentials,
)
from pipelines.runtime.errors import LakeError


def adbc(text: str, state: str | None = None) -> Exception:
    """An error as ADBC makes it: amid the rows and at the door without a state."""
    error: Exception = adbc_driver_manager.OperationalError(text, status_code=AdbcStatusCode.IO, sqlstate=state)
    return error


DOOR = 'IO: [libpq] Failed to connect: connection to server at "db.hue.local" (10.0.0.7), port 5432 failed: '
POSTGRESQL = [
    # as ADBC 1.13 gives them
    (adbc(f'{DOOR}FATAL:  password authentication failed for user "lake"\n'), Kind.SIGN_IN),
    (adbc(f'{DOOR}NGHIÊM TRỌNG:  xác thực mật khẩu không thành công cho người dùng "lake"\n'), Kind.SIGN_IN),
    (adbc(f'{DOOR}FATAL:  database "soyt" does not exist\n'), Kind.SIGN_IN),
    (adbc(f'{DOOR}FATAL:  no pg_hba.conf entry for host "10.0.0.9", user "lake"\n'), Kind.SIGN_IN),
    (adbc(f"{DOOR}FATAL:  sorry, too many clients already\n"), Kind.AWAY),
    (adbc(f"{DOOR}FATAL:  the database system is starting up\n"), Kind.AWAY),
    (adbc(f"{DOOR}Connection refused\n\tIs the server running on that host?\n"), Kind.AWAY),
    (adbc(f"{DOOR}timeout expired\n"), Kind.AWAY),
    (adbc(f"{DOOR}SSL error: certificate verify failed\n"), Kind.AWAY),
    (
        adbc("INVALID_STATE: ERROR:  canceling statement due to lock timeout\nSQLSTATE: 55P03", "55P03"),
        Kind.LOCKED,
    ),
    (adbc("ERROR:  canceling statement due to statement timeout", "57014"), Kind.SLOW),
    (adbc("ERROR:  terminating connection due to administrator command", "57P01"), Kind.AWAY),
    (adbc("ERROR:  canceling statement due to conflict with recovery", "40001"), Kind.MOVED),
    (adbc('ERROR:  relation "x" does not exist', "42P01"), Kind.CHANGED),
    (adbc('ERROR:  column "x" does not exist', "42703"), Kind.CHANGED),
    (adbc("ERROR:  permission denied for table x", "42501"), Kind.CHANGED),
    (adbc("ERROR:  out of shared memory", "53200"), Kind.AWAY),
    (adbc("ERROR:  division by zero", "22012"), Kind.OTHER),
    (OSError("[libpq] PQgetCopyData() failed: server closed the connection unexpectedly\n\tThis probably"), Kind.AWAY),
    (
        OSError("[libpq] Execution error [PGRES_FATAL_ERROR]: ERROR:  canceling statement due to statement timeout"),
        Kind.SLOW,
    ),
    (ValueError("no driver said this"), Kind.OTHER),
]
MARIADB = [
    (pymysql.OperationalError(1045, "Access denied for user 'lake'@'10.0.0.9' (using password: YES)"), Kind.SIGN_IN),
    (pymysql.OperationalError(1049, "Unknown database 'soyt'"), Kind.SIGN_IN),
    (pymysql.OperationalError(4151, "Access denied, this account is locked"), Kind.SIGN_IN),
    (pymysql.OperationalError(1040, "Too many connections"), Kind.AWAY),
    (pymysql.OperationalError(2003, "Can't connect to MySQL server on 'h' (timed out)"), Kind.AWAY),
    (pymysql.OperationalError(2013, "Lost connection to MySQL server during query"), Kind.AWAY),
    (pymysql.OperationalError(2013, "Lost connection to MySQL server during query (timed out)"), Kind.SLOW),
    (pymysql.OperationalError(1969, "Query execution was interrupted (max_statement_time exceeded)"), Kind.SLOW),
    (pymysql.OperationalError(3024, "maximum statement execution time exceeded"), Kind.SLOW),
    (pymysql.OperationalError(1205, "Lock wait timeout exceeded; try restarting transaction"), Kind.LOCKED),
    (pymysql.OperationalError(1412, "Table definition has changed, please retry transaction"), Kind.MOVED),
    (pymysql.ProgrammingError(1146, "Table 'soyt.x' doesn't exist"), Kind.CHANGED),
    (pymysql.OperationalError(1142, "SELECT command denied to user"), Kind.CHANGED),
    (pymysql.OperationalError(1054, "Unknown column 'x' in 'SELECT'"), Kind.CHANGED),
    (ConnectionResetError(104, "Connection reset by peer"), Kind.AWAY),
    (pymysql.InternalError(1815, "Internal error"), Kind.OTHER),
    (ValueError("no driver said this"), Kind.OTHER),
]
MSSQL = [
    (
        Exception("28000", "[28000] [Microsoft][ODBC] Login failed for user 'lake'. (18456) (SQLDriverConnect)"),
        Kind.SIGN_IN,
    ),
    (Exception("42000", "[42000] [Microsoft] Cannot open database requested. (4060) (SQLDriverConnect)"), Kind.SIGN_IN),
    (Exception("08001", "[08001] [Microsoft] TCP Provider: Error code 0x2749 (10061) (SQLDriverConnect)"), Kind.AWAY),
    (Exception("08S01", "[08S01] [Microsoft] Communication link failure (SQLExecDirectW)"), Kind.AWAY),
    (Exception("HYT00", "[HYT00] [Microsoft] Query timeout expired (0) (SQLExecDirectW)"), Kind.SLOW),
    (
        Exception("42000", "[42000] [Microsoft] Lock request time out period exceeded. (1222) (SQLExecDirectW)"),
        Kind.LOCKED,
    ),
    (Exception("42S02", "[42S02] [Microsoft] Invalid object name 'x'. (208) (SQLExecDirectW)"), Kind.CHANGED),
    (Exception("42000", "[42000] [Microsoft] Snapshot isolation aborted. (3960) (SQLExecDirectW)"), Kind.MOVED),
    (Exception("42000", "[42000] [Microsoft] Snapshot isolation is not allowed. (3952) (SQLExecDirectW)"), Kind.OTHER),
]
ORACLE = [
    (Exception("ORA-01017: invalid credential or not authorized; logon denied"), Kind.SIGN_IN),
    (Exception("ORA-28000: The account is locked."), Kind.SIGN_IN),
    (Exception("DPY-6005: cannot connect to database (CONNECTION_ID=x). [Errno 111] Connection refused"), Kind.AWAY),
    (Exception("DPY-4011: the database or network closed the connection"), Kind.AWAY),
    (Exception("DPY-4024: call timeout of 1000 ms exceeded"), Kind.SLOW),
    (Exception("ORA-12514: TNS:listener does not currently know of service"), Kind.AWAY),
    (Exception('ORA-00942: table or view "SOYT"."X" does not exist'), Kind.CHANGED),
    (Exception("ORA-01555: snapshot too old"), Kind.MOVED),
    (Exception("ORA-00600: internal error code"), Kind.OTHER),
]
CASES = {"postgresql": POSTGRESQL, "mariadb": MARIADB, "mssql": MSSQL, "oracle": ORACLE}


@pytest.mark.parametrize(
    ("dialect", "error", "kind"),
    [(DIALECTS[name], error, kind) for name, cases in CASES.items() for error, kind in cases],
    ids=lambda value: str(value)[:60] if isinstance(value, Exception) else "",
)
def test_an_error_is_understood(dialect: Dialect, error: Exception, kind: Kind) -> None:
    assert dialect.trouble(error).kind is kind
    if dialect.kind != "postgresql":
        wrapped = sa.exc.DBAPIError("select 1", {}, error)
        assert dialect.trouble(wrapped).kind is kind


def test_the_reason_is_what_the_server_says() -> None:
    reasons = {str(error): DIALECTS["postgresql"].trouble(error).reason for error, _ in POSTGRESQL}
    assert reasons[str(POSTGRESQL[0][0])] == 'password authentication failed for user "lake"'
    assert reasons["ERROR:  permission denied for table x"] == "permission denied for table x"
    assert DIALECTS["mariadb"].trouble(MARIADB[0][0]).reason.startswith("Access denied for user 'lake'")


@pytest.mark.parametrize(
    ("kind", "expected", "said"),
    [
        (
            Kind.AWAY,
            SourceUnavailable,
            "Table soyt.med_price of the source soyt (H57.YT) does not answer (so it is). The last good state stays. "
            "Try again later; if it lasts, ask H57.YT or mend the connection 'sector_soyt' (AIRFLOW_CONN_SECTOR_SOYT).",
        ),
        (
            Kind.SLOW,
            SourceUnavailable,
            "Table soyt.med_price of the source soyt (H57.YT) did not finish within 1800 s (so it is). The last good "
            "state stays. Try again at a calmer hour, or raise `timeouts.statement` in schemas/sources/soyt.yaml.",
        ),
        (
            Kind.MOVED,
            SourceUnavailable,
            "Table soyt.med_price of the source soyt (H57.YT) was changed under our hands (so it is). The last good "
            "state stays. Try again when the work on it is done.",
        ),
        (
            Kind.LOCKED,
            SourceLocked,
            "Table soyt.med_price of the source soyt (H57.YT) is locked by the session 7 for longer than 10 s. The "
            "last good state stays. Try again later, or ask H57.YT to end that session.",
        ),
        (
            Kind.SIGN_IN,
            WrongCredentials,
            "The source soyt (H57.YT) refuses the sign-in of lake (so it is). Mend the connection 'sector_soyt' "
            "(AIRFLOW_CONN_SECTOR_SOYT) before the next try: a few wrong sign-ins lock an account.",
        ),
        (
            Kind.CHANGED,
            SourceChanged,
            "Table soyt.med_price of the source soyt (H57.YT) is not what it was (so it is). Nothing was loaded, the "
            "last good state stays. Ask H57.YT to restore it or our right to read it, or release a new version "
            "of the contract.",
        ),
        (
            Kind.OTHER,
            SourceError,
            "Table soyt.med_price of the source soyt (H57.YT) cannot be read (so it is). The last good state stays. "
            "Ask the operator.",
        ),
    ],
)
def test_the_sentence(kind: Kind, expected: type[LakeError], said: str, access: Callable[..., Access]) -> None:
    error = Sentences(access("postgresql")).error(Trouble(kind, "so\n it is"), "soyt.med_price", "the session 7")
    assert type(error) is expected and str(error) == said


def test_only_what_may_pass_is_worth_another_try() -> None:
    for kind in (SourceLocked, SourceUnavailable):
        assert issubclass(kind, SourceUnavailable)
    for kind in (WrongCredentials, SourceChanged):
        assert not issubclass(kind, SourceUnavailable) and issubclass(kind, SourceError)


def test_a_password_is_never_quoted(access: Callable[..., Access]) -> None:
    for kind in Kind:
        error = Sentences(access("oracle")).error(Trouble(kind, "cannot open lake/hush-hush@h:1521/d"))
        assert "hush" not in str(error)
