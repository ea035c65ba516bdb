"""A lease per table: of two landings of one namespace only the holder ever writes.

The lock is the operating system's, so it ends with its process, however that ends; the file beside it says who has it.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings

_ASKED_S = 0.2
"""How long a lease that was asked for without waiting is tried: `is_held` holds the lock itself for an instant."""


class LeaseHeld(LakeError):
    """Another process writes the table."""


def lease_folder(settings: Settings) -> Path:
    """Where the leases of the namespace lie."""
    return settings.state / "landing" / settings.namespace / "leases"


@contextmanager
def lease(settings: Settings, table: str, *, wait_s: float = 0) -> Iterator[None]:
    """Hold the lease of one table (`silver.river_stage`) for the length of the block.

    `wait_s`: how long to wait for a holder to end; negative waits for ever.

    Raises:
        LeaseHeld: somebody holds it still; the text says who.
    """
    path = _lock_file(settings, table)
    lock = FileLock(path, thread_local=False)
    owner = path.with_suffix(".json")
    try:
        lock.acquire(timeout=wait_s if wait_s < 0 else max(wait_s, _ASKED_S), poll_interval=0.02)
    except Timeout:
        raise LeaseHeld(
            f"{_describe(owner)} writes {table} of the namespace {settings.namespace}.",
            "End it by a TERM signal, or start this one with --wait: it then takes over when the other ends.",
        ) from None
    try:
        text = {"pid": os.getpid(), "host": socket.gethostname(), "since": datetime.now(UTC).isoformat()}
        owner.write_text(json.dumps(text), encoding="utf-8")
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


@contextmanager
def leases(settings: Settings, tables: Iterable[str], *, wait_s: float = 0) -> Iterator[ExitStack]:
    """Hold the leases of several tables, taken in one order so that two processes cannot block each other.

    The stack that is given takes further leases, for tables that appear later.

    Raises:
        LeaseHeld: one is held; those taken before are given back.
    """
    with ExitStack() as stack:
        for table in sorted(tables):
            stack.enter_context(lease(settings, table, wait_s=wait_s))
        yield stack


def is_held(settings: Settings, table: str) -> bool:
    """Whether a living process holds the lease of a table now."""
    lock = FileLock(_lock_file(settings, table), thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def _lock_file(settings: Settings, table: str) -> Path:
    folder = lease_folder(settings)
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{table}.lock"


def _describe(owner: Path) -> str:
    try:
        known = json.loads(owner.read_text(encoding="utf-8"))
        return f"Process {known['pid']} on {known['host']} (since {known['since']})"
    except (FileNotFoundError, json.JSONDecodeError, KeyError):
        return "Another process"
