"""The part of a file that is in memory while it is cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Read = Callable[[int], bytes]
"""Gives up to so many plain bytes from where the last call ended; nothing at the end of the file."""
CHUNK = 128 * 1024


@dataclass(frozen=True)
class Bounds:
    """How much a piece holds at most; a single record may be larger than `size_bytes`, up to `record_bytes`."""

    size_bytes: int = 512 * 1024
    records: int = 2_000
    record_bytes: int = 7 * 1024 * 1024


@dataclass(frozen=True)
class Place:
    """Where reading goes on: `offset` counts plain bytes from the beginning, `line` lines from 1."""

    offset: int = 0
    line: int = 1


@dataclass(frozen=True)
class Piece:
    """A body of whole records. It begins in line `line` of the file; behind it reading goes on at `end`.

    `head_lines` are lines of the body that stand before its first record and are no part of the piece (the header of a
    CSV); `starts` are the places of the records in the body, where the cut knows them.
    """

    body: bytes
    line: int
    end: Place
    head_lines: int = 0
    starts: tuple[int, ...] = ()


class Broken(ValueError):
    """From this line on the file cannot be read; what stands before it is not concerned."""

    def __init__(self, line: int, text: str) -> None:
        """Keep the line with the sentence."""
        super().__init__(text)
        self.line = line


class Window:
    """Bytes that were read and not given away yet; it knows where in the file they stand."""

    def __init__(self, read: Read, start: Place) -> None:
        """Nothing is read yet; `read` gives the bytes from `start` on."""
        self._read = read
        self.place = start
        self.data = bytearray()
        self.is_end = False

    def more(self, size: int = CHUNK) -> bool:
        """Read until `size` bytes more are held or the file ends; false when nothing came."""
        before = len(self.data)
        while not self.is_end and len(self.data) - before < size:
            part = self._read(size)
            self.is_end = not part
            self.data += part
        return len(self.data) > before

    def take(self, size: int) -> bytes:
        """Give away the first bytes."""
        part = bytes(self.data[:size])
        del self.data[:size]
        self.place = Place(self.place.offset + len(part), self.place.line + part.count(b"\n"))
        return part

    def line_at(self, index: int) -> int:
        """The line of the file in which a held byte stands."""
        return self.place.line + self.data.count(b"\n", 0, index)

    def go_to(self, place: Place) -> None:
        """Leave out everything before a place, if it is ahead."""
        while (rest := place.offset - self.place.offset) > 0:
            if not self.data and not self.more(min(rest, CHUNK)):
                return
            self.take(min(rest, len(self.data)))
