"""Processes that outlive the command that began them: their records, identity and end.

A record (`process.json`) is trusted only together with the birth mark of its process, so that a pid which the kernel
gave to somebody else is never signalled.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from pipelines.runtime.files import replace_file

RECORD_NAME = "process.json"
# Every process that we begin carries the folder of its service in this variable, and hands it on to its children:
# so even one that left its group, or whose record was never written, is found again.
MARK = "LAKE_SERVICE_DIR"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def lake_executable() -> str:
    """The `lake` of this environment, whatever the PATH says."""
    return str(Path(sys.executable).parent / "lake")


@dataclass(frozen=True)
class ProcessRecord:
    """What is needed to recognise, restart and end one process; times are UTC seconds since 1970."""

    name: str
    pid: int
    birth: str
    command: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    command_hash: str
    ports: Mapping[str, int]
    started_at_s: float
    restarts: int
    stop_signal: int
    stop_grace_s: float

    @classmethod
    def read(cls, folder: Path) -> "ProcessRecord | None":
        """Return the record in `folder`; None when there is none or it cannot be understood (a torn older format)."""
        try:
            values = json.loads((folder / RECORD_NAME).read_text(encoding="utf-8"))
            return cls(**{**values, "command": tuple(values["command"])})
        except (FileNotFoundError, json.JSONDecodeError, TypeError, KeyError):
            return None

    def write(self, folder: Path) -> None:
        """Put the record into `folder` by an atomic rename."""
        write_json(folder / RECORD_NAME, asdict(self))

    def process(self) -> psutil.Process | None:
        """Return the living process of this record, or None when it is gone or the pid belongs to another."""
        if birth_mark(self.pid) != self.birth:
            return None
        try:
            return psutil.Process(self.pid)
        except psutil.NoSuchProcess:
            return None


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write `value` to `path` by an atomic rename, readable by the owner alone."""
    replace_file(path, json.dumps(value, indent=1, sort_keys=True))


def birth_mark(pid: int) -> str:
    """Return what tells this process from every other that had or will have its pid; "" when it is dead or a zombie.

    On Linux that is the boot and the kernel's start tick: unlike a wall-clock time it never moves.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        if _BOOT_ID.exists():
            return ""
        return _portable_birth_mark(pid)
    fields = stat.rpartition(")")[2].split()
    state, start_tick = fields[0], fields[19]
    if state in {"Z", "X"}:
        return ""
    return f"{_BOOT_ID.read_text(encoding='ascii').strip()}:{start_tick}"


def _portable_birth_mark(pid: int) -> str:
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return ""
        return f"{process.create_time():.2f}"
    except psutil.NoSuchProcess:
        return ""


def service_processes(folder: Path) -> Iterator[psutil.Process]:
    """Yield the living processes of the service in `folder`: those that carry its mark or are in its session.

    A program that rewrites its title may wipe out its environment, and with it the mark; one that opens a session of
    its own still carries the mark.
    """
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    session = _session(ProcessRecord.read(folder))
    for process in psutil.process_iter():
        if process.pid in own:
            continue
        try:
            ours = os.getsid(process.pid) == session or process.environ().get(MARK) == str(folder)
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                yield process
        except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
            continue


def _session(record: ProcessRecord | None) -> int | None:
    """Return the id of the record's session; None when its number belongs to another by now.

    The kernel gives a number to nobody while a session of that number has members, so without a process of that pid
    the members are ours.
    """
    if record is None or (psutil.pid_exists(record.pid) and birth_mark(record.pid) not in {record.birth, ""}):
        return None
    return record.pid


def end_process(record: ProcessRecord, folder: Path) -> bool:
    """End the process of `record` with its group: stop signal, grace, then KILL; then all that is left of the service.

    Returns True when something had to be killed. The record's pid is signalled only while its birth mark matches.
    """
    killed = False
    process = record.process()
    if process is not None:
        _signal_group(record.pid, record.stop_signal)
        if not _gone(process, record.stop_grace_s):
            killed = True
            _signal_group(record.pid, signal.SIGKILL)
            _gone(process, 10.0)
    return end_leftovers(folder) or killed


def end_leftovers(folder: Path) -> bool:
    """End every living process of the service in `folder`; returns True when one had to be killed."""
    left = list(service_processes(folder))
    for process in left:
        _signal(process, signal.SIGTERM)
    _, alive = psutil.wait_procs(left, timeout=5.0)
    for process in alive:
        _signal(process, signal.SIGKILL)
    psutil.wait_procs(alive, timeout=10.0)
    return bool(alive)


def _signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return


def _signal(process: psutil.Process, number: int) -> None:
    try:
        # psutil compares the start time before it sends.
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def _gone(process: psutil.Process, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while birth_mark(process.pid):
        try:
            # For our own children this also collects the zombie.
            process.wait(timeout=max(0.0, min(0.1, deadline - time.monotonic())))
        except psutil.TimeoutExpired:
            if time.monotonic() >= deadline:
                return False
    return True
