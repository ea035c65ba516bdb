"""Starting one service until it answers, and stopping it: the only code that makes or ends service processes."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from pipelines.runtime.errors import ServiceError
from pipelines.runtime.ports import describe_listener, is_free, service_folder
from pipelines.runtime.process import (
    MARK,
    RECORD_NAME,
    ProcessRecord,
    birth_mark,
    end_leftovers,
    end_process,
    service_processes,
)
from pipelines.runtime.service import Service
from pipelines.runtime.settings import Settings

LOG_NAME = "log"
_LOG_LIMIT_BYTES = 20 * 1024 * 1024
_FAILURE_LOG_LINES = 40
_POLL_S = 0.2
# Variables of another installation of the same engines would change what our servers load.
_FOREIGN = (
    "SPARK_",
    "FLINK_",
    "KAFKA_",
    "AIRFLOW_",
    "HADOOP_",
    "HIVE_",
    "PYSPARK_",
    "DBT_",
    "PG",
    "LAKE_PORT_",
)
# Begins a command as a grandchild in a session of its own; prints its pid, or the errno with which it did not begin.
# As nobody's child but init's it leaves no zombie: PostgreSQL would take one for a living server and refuse to start.
_DETACH = """
import os, sys
log, command = int(sys.argv[1]), sys.argv[2:]
told, tell = os.pipe()
pid = os.fork()
if pid == 0:
    os.setsid()
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        os.execv(command[0], command)
    except OSError as error:
        os.write(tell, str(error.errno).encode())
        os._exit(127)
os.close(tell)
print(pid, os.read(told, 16).decode())
"""


def service_lock(folder: Path, timeout_s: float = 600.0) -> FileLock:
    """Return the lock under which one service is started, restarted or stopped; the kernel frees it after a crash."""
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / "lock", timeout=timeout_s)


def child_environment(extra: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return the environment of a service: ours without foreign engine variables, its own, and the mark."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return {**inherited, "LC_ALL": "C.UTF-8", "TZ": "UTC", **extra, MARK: str(folder)}


def launch(service: Service, folder: Path, restarts: int = 0) -> ProcessRecord:
    """Begin the process of `service` in a session of its own and record it; the caller holds the service's lock."""
    with _open_log(folder) as log:
        log.write(f"--- {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} start {service.name}\n".encode())
        log.flush()
        pid = _begin(service, folder, log.fileno())
    record = ProcessRecord(
        name=service.name,
        pid=pid,
        birth=birth_mark(pid),
        command=service.command,
        env={**service.env, **service.private},
        cwd=str(service.cwd),
        command_hash=service.command_hash,
        ports=dict(service.ports),
        started_at_s=time.time(),
        restarts=restarts,
        stop_signal=int(service.stop_signal),
        stop_grace_s=service.stop_grace_s,
    )
    record.write(folder)
    return record


def _begin(service: Service, folder: Path, log: int) -> int:
    """Begin the service's process with `log` as its output, and return its pid once the program runs."""
    environment = child_environment({**service.env, **service.private}, folder)
    program = shutil.which(service.command[0], path=environment.get("PATH")) or service.command[0]
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _DETACH, str(log), program, *service.command[1:]],
        cwd=service.cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        pass_fds=(log,),
        check=True,
        text=True,
    )
    pid, _, failure = result.stdout.strip().partition(" ")
    if failure:
        what = f"{service.name}: the command {service.command[0]} cannot be run ({os.strerror(int(failure))})."
        raise ServiceError(what, "Run `make setup`.")
    return int(pid)


def start_service(settings: Settings, service: Service, report: Callable[[str], None]) -> ProcessRecord:
    """Start `service` unless it runs already, wait until its probe is content, and finish its set-up.

    A running process of an older configuration is restarted. Raises ServiceError with the last log lines and the
    next step when the process ends or does not answer in time; nothing of it is left running then.
    """
    folder = service_folder(settings, service.name)
    with service_lock(folder):
        record = ProcessRecord.read(folder)
        alive = record is not None and record.process() is not None
        if record is not None and alive and record.command_hash != service.command_hash:
            report("restarting with the new configuration")
            end_process(record, folder)
            alive = False
        if record is None or not alive:
            # What a crash left behind under our mark would hold the port or the data directory.
            end_leftovers(folder)
            _check_ports(service)
            service.cwd.mkdir(parents=True, exist_ok=True)
            service.prepare()
            record = launch(service, folder)
        try:
            _wait_until_ready(service, record, folder, report)
            service.on_ready()
        except BaseException:
            end_process(record, folder)
            (folder / RECORD_NAME).unlink(missing_ok=True)
            raise
    return record


def stop_service(settings: Settings, name: str, lock_timeout_s: float = 60.0) -> str:
    """End the service `name` and everything it began; returns "stopped", "killed" or "was not running"."""
    folder = service_folder(settings, name)
    try:
        with service_lock(folder, lock_timeout_s):
            record = ProcessRecord.read(folder)
            if record is None:
                left = any(service_processes(folder))
                return "killed" if end_leftovers(folder) else "stopped" if left else "was not running"
            running = record.process() is not None
            killed = end_process(record, folder)
            (folder / RECORD_NAME).unlink(missing_ok=True)
    except Timeout as error:
        raise ServiceError(
            f"{name} is being started or stopped by another `lake` command.", "Wait for it to end, then run this again."
        ) from error
    return "killed" if killed else "stopped" if running else "was not running"


def relaunch(record: ProcessRecord, folder: Path) -> ProcessRecord:
    """Begin again the process of a record that died, as it was recorded; the caller holds the service's lock."""
    end_leftovers(folder)
    service = Service(
        name=record.name,
        command=record.command,
        cwd=Path(record.cwd),
        probe=lambda: None,
        env=record.env,
        ports=record.ports,
        stop_grace_s=record.stop_grace_s,
        stop_signal=record.stop_signal,
    )
    # The hash is that of the original, which knew its fingerprint: the next `lake up` must find it up to date.
    again = replace(launch(service, folder, record.restarts + 1), command_hash=record.command_hash)
    again.write(folder)
    return again


def log_tail(folder: Path, lines: int) -> list[str]:
    """Return the last `lines` lines of a service's log; empty when it has none."""
    try:
        with (folder / LOG_NAME).open("rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - lines * 1000))
            return stream.read().decode("utf-8", errors="replace").splitlines()[-lines:]
    except FileNotFoundError:
        return []


def _open_log(folder: Path) -> BinaryIO:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOG_NAME
    if path.exists() and path.stat().st_size > _LOG_LIMIT_BYTES:
        os.replace(path, path.with_name(f"{LOG_NAME}.1"))
    return path.open("ab")


def _check_ports(service: Service) -> None:
    for use, port in service.ports.items():
        if not is_free(port):
            raise ServiceError(
                f"Port {port} of {service.name} ({use}) was taken by {describe_listener(port)}.",
                "Stop that process, or run `lake up` again: it chooses a free port.",
            )


def _wait_until_ready(service: Service, record: ProcessRecord, folder: Path, report: Callable[[str], None]) -> None:
    deadline = time.monotonic() + service.start_timeout_s
    missing: str | None = "not asked yet"
    while time.monotonic() < deadline:
        # The child first: an answer on its port from a stranger must not hide that ours has died.
        if record.process() is None:
            raise _failure(service, folder, "ended before it was ready")
        missing = service.probe()
        if missing is None:
            return
        report(missing)
        time.sleep(_POLL_S)
    raise _failure(service, folder, f"was not ready after {service.start_timeout_s:.0f} s ({missing})")


def _failure(service: Service, folder: Path, what: str) -> ServiceError:
    tail = "\n".join(f"  {line}" for line in log_tail(folder, _FAILURE_LOG_LINES))
    return ServiceError(
        f"{service.name} {what}. The end of its log {folder / LOG_NAME}:\n{tail}\n",
        "Run `lake doctor` for the usual causes, mend what the log names, then run `lake up` again.",
    )
