"""A folder of this machine, or one that is mounted: no link is followed, and a file that still grows is waited for."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pipelines.gateway.inbox.folder import is_temporary
from pipelines.ingestion.access import Access
from pipelines.ingestion.deliveries.delivery import Delivery, Inbox
from pipelines.ingestion.files import FileIncomplete
from pipelines.ingestion.marks import instant_of
from pipelines.ingestion.trouble import Kind, Sentences, Trouble

SETTLE_S = 10.0
"""A copy writes at least this often; what was not touched for so long is complete, or was broken off."""
_LONGEST_WAIT_S = 300.0
_LOOK_S = 0.5


class FolderInbox(Inbox):
    """The folder of a connection."""

    def __init__(self, access: Access, path: Path, settle_s: float = SETTLE_S) -> None:
        self._said, self._path, self._settle_s = Sentences(access), path, settle_s

    def deliveries(self) -> Sequence[Delivery]:
        """As :meth:`Inbox.deliveries`; links, folders and devices are no deliveries."""
        found = []
        try:
            with os.scandir(self._path) as entries:
                for entry in entries:
                    if not is_temporary(entry.name):
                        with suppress(FileNotFoundError):
                            found.append(_delivery(entry.name, entry.stat(follow_symlinks=False)))
        except OSError as error:
            kind = Kind.SIGN_IN if isinstance(error, PermissionError) else Kind.AWAY
            raise self._said.error(Trouble(kind, error.strerror or "it cannot be opened")) from error
        return [delivery for delivery in found if delivery is not None]

    @contextmanager
    def fetched(self, delivery: Delivery) -> Iterator[Path]:
        """As :meth:`Inbox.fetched`: the file itself, once it was left alone for a while."""
        path = self._path / delivery.name
        self._settled(path, delivery)
        yield path
        if self._seen(path) != delivery:
            raise FileIncomplete(delivery.name, "it changed while it was read", "It is read again at the next time.")

    def _settled(self, path: Path, delivery: Delivery) -> None:
        """Wait until a young file is old enough to be whole.

        Raises:
            FileIncomplete: it still changes.
        """
        give_up = time.monotonic() + _LONGEST_WAIT_S
        while (seen := self._seen(path)) == delivery:
            age = datetime.now(UTC) - delivery.modified_at
            # A clock of another machine may be ahead of ours: a file from the future is not waited for.
            if age >= timedelta(seconds=self._settle_s) or age < timedelta(0):
                return
            if time.monotonic() > give_up:
                break
            time.sleep(_LOOK_S)
        what = "it is gone" if seen is None else "it is still being written"
        raise FileIncomplete(delivery.name, what, "It is read at the next time.")

    @staticmethod
    def _seen(path: Path) -> Delivery | None:
        try:
            return _delivery(path.name, os.stat(path, follow_symlinks=False))
        except OSError:
            return None


def _delivery(name: str, info: os.stat_result) -> Delivery | None:
    """What a directory entry is, None where it is no ordinary file."""
    if not stat.S_ISREG(info.st_mode):
        return None
    changed = instant_of(info.st_mtime_ns // 1000)
    return Delivery(name, info.st_size, changed)
