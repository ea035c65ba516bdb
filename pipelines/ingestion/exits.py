"""What the exit status of `lake run ingest` tells whoever started it: whether trying again is worth it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

TRY_AGAIN = 75
"""The source is away or locked, or another process writes the table: the same command may well succeed later."""
REFUSED = 65
"""The source, the connection or the data are not as the contract says: somebody has to mend one of them first."""
FAILED = 1
"""Anything else."""
NO_NEWS = 99
"""There is nothing to do; Airflow skips the task, and what follows it."""


def exit_status(errors: Iterable[BaseException]) -> int:
    """Return the exit status of a command in which tables failed for these reasons; 0 for none.

    One table that is worth trying again is worth it for all: what was loaded is not read twice.
    """
    found = {_status(error) for error in errors}
    if not found:
        return 0
    return TRY_AGAIN if TRY_AGAIN in found else FAILED if FAILED in found else REFUSED


def _status(error: BaseException) -> int:
    """What an error is worth by its class, or by the nearest of those that it is made from."""
    table = _table()
    return next((table[kind] for kind in type(error).__mro__ if kind in table), FAILED)


@cache
def _table() -> Mapping[type, int]:
    """The one table of errors; a class that is not in it, nor made from one that is, is not known."""
    from pipelines.ingestion.connections import ConnectionMissing, ConnectionUnreadable
    from pipelines.ingestion.files.errors import FileIncomplete, FileUnfit
    from pipelines.ingestion.judge import Intolerable
    from pipelines.ingestion.trouble import SourceError, SourceUnavailable
    from pipelines.ingestion.window import OutsideWindow
    from pipelines.landing.lease import LeaseHeld
    from pipelines.landing.migrate import TableDisagrees

    return {
        SourceUnavailable: TRY_AGAIN,
        FileIncomplete: TRY_AGAIN,
        LeaseHeld: TRY_AGAIN,
        SourceError: REFUSED,
        FileUnfit: REFUSED,
        Intolerable: REFUSED,
        ConnectionMissing: REFUSED,
        ConnectionUnreadable: REFUSED,
        OutsideWindow: REFUSED,
        TableDisagrees: REFUSED,
    }
