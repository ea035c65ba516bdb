"""One inbox on disk. Every name is looked up below an open directory, and no symbolic link is ever followed: whoever
may write into an inbox must not make the gateway read, move or write anything outside of it.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

TAKEN, DONE, FAILED = ".taken", "done", "failed"
RECEIPT = ".receipt.json"
_OWN = frozenset({TAKEN, DONE, FAILED})
_TEMPORARY = (".tmp", ".temp", ".part", ".partial", ".filepart", ".crdownload", ".upload", ".swp", "~")
_STAMP = "%Y%m%dT%H%M%S.%fZ"
_NAME_BYTES = 180
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True)
class Dropped:
    """A name in an inbox as it was seen; `shape` (inode, size, time of change) changes when the file does."""

    name: str
    shape: tuple[int, int, int]
    is_folder: bool

    @property
    def inode(self) -> int:
        """Which file it is, under whatever name."""
        return self.shape[0]

    @property
    def modified_ns(self) -> int:
        """When it was last written."""
        return self.shape[2]


class NotPlain(ValueError):
    """Something that is no ordinary file of this inbox alone; the text says what it is."""


class Folder:
    """An open inbox; close it. Its own folders are made when they are missing."""

    def __init__(self, path: Path) -> None:
        """Open `path`, of which no part below its parent's parent may be a link.

        Raises:
            OSError: it is no directory, or one of its own folders is a link or a file.
        """
        self.path = path
        self._own: dict[str, int] = {}
        self._here = _open_below(path)
        try:
            for name in (TAKEN, DONE, FAILED):
                with suppress(FileExistsError):
                    os.mkdir(name, 0o750, dir_fd=self._here)
                self._own[name] = os.open(name, _FOLDER, dir_fd=self._here)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Give the descriptors back; nothing else may be called afterwards."""
        for descriptor in (*self._own.values(), self._here):
            os.close(descriptor)

    def dropped(self) -> list[Dropped]:
        """What lies in the inbox, the gateway's own folders left out."""
        found = []
        with os.scandir(self._here) as entries:
            for entry in entries:
                if entry.name in _OWN:
                    continue
                with suppress(FileNotFoundError):
                    info = entry.stat(follow_symlinks=False)
                    shape = (info.st_ino, info.st_size, info.st_mtime_ns)
                    found.append(Dropped(entry.name, shape, stat.S_ISDIR(info.st_mode)))
        return found

    def taken(self) -> list[str]:
        """Files that were taken and not finished, in the order in which they were taken."""
        with os.scandir(self._own[TAKEN]) as entries:
            return sorted(entry.name for entry in entries)

    def take(self, name: str, now: datetime) -> str:
        """Move a file out of its sender's reach; returns its name from now on, which is unique.

        Raises:
            OSError: it is gone, or the disk does not take the change.
        """
        # The end of a long name says what it is; a name that is no UTF-8 becomes one that is.
        readable = os.fsencode(name).decode("utf-8", "replace").encode()
        short = readable[-_NAME_BYTES:].decode("utf-8", "ignore")
        own = f"{now.astimezone(UTC).strftime(_STAMP)}_{short}"
        os.rename(name, own, src_dir_fd=self._here, dst_dir_fd=self._own[TAKEN])
        return own

    def open(self, own: str) -> tuple[int, os.stat_result]:
        """A taken file, open for reading, and what it is; the caller closes the descriptor.

        Raises:
            NotPlain: a link, a device, a folder, or a file with a second name somewhere.
        """
        info = os.stat(own, dir_fd=self._own[TAKEN], follow_symlinks=False)
        if stat.S_ISLNK(info.st_mode):
            raise NotPlain("a symbolic link is not followed; send the file itself")
        if not stat.S_ISREG(info.st_mode):
            raise NotPlain("this is no ordinary file")
        if info.st_nlink > 1:
            raise NotPlain("the file has a second name (a hard link) somewhere; send a copy")
        descriptor = os.open(own, _FILE, dir_fd=self._own[TAKEN])
        return descriptor, os.fstat(descriptor)

    def finish(self, own: str, where: str, receipt: bytes, *, keep: bool) -> None:
        """Write the receipt beside where the file goes, then move it there, or remove it.

        May be repeated after a kill at any point.

        Raises:
            OSError: the disk does not take it; nothing was moved.
        """
        target = self._own[where]
        _write(target, own + RECEIPT, receipt)
        with suppress(FileNotFoundError):
            if keep:
                os.rename(own, own, src_dir_fd=self._own[TAKEN], dst_dir_fd=target)
            else:
                os.unlink(own, dir_fd=self._own[TAKEN])

    def purge(self, where: str, older_than: timedelta, now: datetime) -> int:
        """Remove files (not their receipts) that were taken longer ago; returns how many."""
        removed = 0
        with os.scandir(self._own[where]) as entries:
            names = [entry.name for entry in entries if not entry.name.endswith(RECEIPT)]
        for name in names:
            taken_at = _taken_at(name)
            if taken_at is not None and now - taken_at > older_than:
                os.unlink(name, dir_fd=self._own[where])
                removed += 1
        return removed


def is_temporary(name: str) -> bool:
    """Whether a name says that its file is not complete: hidden, or with the ending of a transfer."""
    return name.startswith((".", "~")) or name.lower().endswith(_TEMPORARY)


def original_name(own: str) -> str:
    """The name under which a file was dropped."""
    return own.partition("_")[2]


def _taken_at(own: str) -> datetime | None:
    try:
        return datetime.strptime(own.partition("_")[0], _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None


def _open_below(path: Path) -> int:
    """Open `root/source/dataset`; the last two levels may be no links."""
    root, source, dataset = path.parent.parent, path.parent.name, path.name
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        inner = os.open(source, _FOLDER, dir_fd=descriptor)
    finally:
        os.close(descriptor)
    try:
        return os.open(dataset, _FOLDER, dir_fd=inner)
    finally:
        os.close(inner)


def _write(folder: int, name: str, data: bytes) -> None:
    """Write a file whole or not at all."""
    temporary = f".{name}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(temporary, flags, 0o640, dir_fd=folder), "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
