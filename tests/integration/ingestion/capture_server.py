"""A real PostgreSQL that writes a logical log, with a role that may do no more than a department grants."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2

from pipelines.runtime.servers import postgres

DATABASE, READER, PASSWORD = "soyt", "lake_reader", "mật khẩu: $1 \\"
_START_TIMEOUT_S = 60.0


class LoggingServer:
    """Its data are in `folder`, which the account that PostgreSQL runs as may enter."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port, self._data = port, folder / "data"
        self._data.mkdir(parents=True)
        self._data.chmod(0o700)
        postgres._give_to_ordinary_user(self._data)
        user = postgres._as_ordinary_user()
        binaries = postgres._binaries()
        made = [str(binaries / "initdb"), "-D", str(self._data), "-U", "owner", "-A", "trust", "-E", "UTF8"]
        subprocess.run([*user, *made, "--locale=C.UTF-8"], check=True, stdout=subprocess.DEVNULL, cwd=folder)
        (self._data / "pg_hba.conf").write_text(
            "host all owner 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
        )
        options = {
            "wal_level": "logical",
            "port": str(port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",
            "timezone": "UTC",
            "max_slot_wal_keep_size": "256MB",
        }
        said = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        self._log = folder / "log"
        with self._log.open("wb") as stream:
            self._process = subprocess.Popen(
                [*user, str(binaries / "postgres"), "-D", str(self._data), *said],
                stdout=stream,
                stderr=stream,
                cwd=folder,
            )
        with closing(self._ready()) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            cursor.execute(f"create database {DATABASE}")
            cursor.execute(f"create role {READER} login password %s", (PASSWORD,))

    def stop(self) -> None:
        """End it without waiting for its clients."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(timeout=60)
        shutil.rmtree(self._data, ignore_errors=True)

    def execute(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements as the owner, each a transaction of its own; returns the rows of the last."""
        with closing(self._opened(DATABASE)) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    def _opened(self, database: str) -> Any:
        return psycopg2.connect(host="127.0.0.1", port=self.port, user="owner", dbname=database)

    def _ready(self) -> Any:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            assert self._process.poll() is None and time.monotonic() < deadline, self._log.read_text()
            try:
                return self._opened("postgres")
            except psycopg2.OperationalError:
                time.sleep(0.1)
