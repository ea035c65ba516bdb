"""What is kept of a load while it is judged: a byte for each row, and of the keys a hash, on disk when they are many.

A file of a department may have a hundred million rows; what is in memory for each of them is all that grows with it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from enum import IntFlag
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np

from pipelines.landing.arrow import Bools, Int64s, UInt64s

IN_MEMORY = 4 * 1024**2
"""So many hashes are sorted together: 32 MB, and a load of fewer rows writes none of them down."""
_BITS = 64


class Note(IntFlag):
    """What is known of a row of a load: silver holds it already, or not, where it says that it is deleted
    (`UNCHANGED`); an equal row stands before it (`REPEATED`); its key is also that of a row that says something else
    (`DOUBLED`: nobody knows which is right); it says that it is deleted (`TOLD`), and it takes its key out of silver
    (`DELETED`)."""

    UNCHANGED = 1
    REPEATED = 2
    DOUBLED = 4
    TOLD = 8
    DELETED = 16


class Notes:
    """The notes of all rows of a load, by their places in it."""

    def __init__(self, rows: int) -> None:
        """Nothing is known yet."""
        self._notes = np.zeros(rows, dtype=np.uint8)

    def of(self, place: slice | Int64s, notes: Note) -> Bools:
        """Which of the rows at a place have any of these notes."""
        found: Bools = self._notes[place] & notes.value != 0
        return found

    def add(self, places: Int64s, note: Note) -> None:
        """Take a note of rows; none of them stands twice among the places."""
        self._notes[places] |= note.value

    def count(self, notes: Note) -> int:
        """How many rows have any of these notes."""
        return int(np.count_nonzero(self._notes & notes.value))


class Hashes:
    """Hashes of keys, parted by their first bits: equal ones lie in one part, and one part at a time is in memory.

    Use it as a context manager. The files have no name, so that a load that is killed leaves none behind.
    """

    def __init__(self, expected: int, folder: Path) -> None:
        """`expected`: about how many will be added; `folder`: where they lie when those are too many for memory."""
        bits = (max(expected - 1, 0) // IN_MEMORY).bit_length()
        # The first hash of each part but the first.
        self._borders = np.arange(1, 1 << bits, dtype=np.uint64) << np.uint64(_BITS - bits) if bits else _NONE
        self._held: list[UInt64s] = []
        files = range(1 << bits if bits else 0)
        self._files: list[IO[bytes]] = [tempfile.TemporaryFile(dir=folder) for _ in files]  # noqa: SIM115 - until the exit

    def __enter__(self) -> Hashes:
        """Return this."""
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Forget all of them."""
        for file in self._files:
            file.close()

    def add(self, found: UInt64s) -> None:
        """Remember hashes, in any order."""
        if not self._files:
            self._held.append(found)
            return
        ordered = np.sort(found)
        parts = np.split(ordered, np.searchsorted(ordered, self._borders))
        for file, part in zip(self._files, parts, strict=True):
            file.write(part.tobytes())

    def parts(self) -> Iterator[UInt64s]:
        """All hashes in order, part by part; what stands in one is below what stands in the next."""
        if not self._files:
            yield np.sort(np.concatenate([_NONE, *self._held]))
        for file in self._files:
            file.seek(0)
            yield np.sort(np.frombuffer(file.read(), dtype=np.uint64))

    def shared(self) -> UInt64s:
        """Those that were added more than once, each once and in order."""
        found = [part[1:][part[1:] == part[:-1]] for part in self.parts()]
        return np.unique(np.concatenate([_NONE, *found]))


def missing(theirs: Hashes, ours: Hashes) -> tuple[int, UInt64s]:
    """How many distinct ones `theirs` has, and which of `ours` are not among them, in order; both were made for the
    same number of hashes."""
    distinct = 0
    found = [_NONE]
    for they, we in zip(theirs.parts(), ours.parts(), strict=True):
        distinct += int(np.count_nonzero(they[1:] != they[:-1])) + min(len(they), 1)
        found.append(np.setdiff1d(we, they))
    return distinct, np.concatenate(found)


_NONE: UInt64s = np.zeros(0, dtype=np.uint64)
