"""What a file is, by its extension, and its plain bytes: unpacked as they are needed, within bounds."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pipelines.gateway.inbox.json_array import cut_json, line_of_element
from pipelines.gateway.inbox.rows import cut_lines, cut_table, line_of_row
from pipelines.gateway.inbox.window import CHUNK, Bounds, Piece, Place, Read

PACKED = ".gz"
MOST_PLAIN_BYTES = 8 * 1024**3
MOST_EXPANSION = 200
"""A packed file may become this many times larger. Readings shrink 10 to 40 times; zeros shrink 1,000 times."""
FREE_EXPANSION_BYTES = 64 * 1024**2
"""So much is unpacked whatever the file's size: it harms nobody."""
_CHECKED_AT_ONCE = 8 * 1024**2
_GZIP = 31


class Unfit(ValueError):
    """A file that is not read at all; the text says why and what to send instead."""


class TooLarge(Unfit):
    """A file of more plain bytes than may be read, `most_bytes`."""

    def __init__(self, text: str, most_bytes: int) -> None:
        """`text` says how large it is, and what to send instead."""
        super().__init__(text)
        self.most_bytes = most_bytes


@dataclass(frozen=True)
class Kind:
    """How files with an extension are read; `line_of` gives line and number of records for an index in a piece."""

    media_type: str
    cut: Callable[[Read, Place, Bounds], Iterator[Piece]]
    line_of: Callable[[Piece, int], tuple[int, int]]
    reads_from_beginning: bool = False


def _line(piece: Piece, index: int) -> tuple[int, int]:
    return line_of_row(piece, index, is_table=False)


def _row(piece: Piece, index: int) -> tuple[int, int]:
    return line_of_row(piece, index, is_table=True)


KINDS: dict[str, Kind] = {
    ".json": Kind("application/json", cut_json, line_of_element),
    ".jsonld": Kind("application/ld+json", cut_json, line_of_element),
    ".ndjson": Kind("application/x-ndjson", cut_lines, _line),
    ".jsonl": Kind("application/x-ndjson", cut_lines, _line),
    ".csv": Kind("text/csv", cut_table, _row, reads_from_beginning=True),
}
"""Extension → how such a file is read; each may have `.gz` behind it."""


def kind_of(name: str) -> tuple[Kind, bool]:
    """The kind of a file by its name, and whether it is packed.

    Raises:
        Unfit: no such extension.
    """
    plain = name.lower().removesuffix(PACKED)
    kind = KINDS.get(os.path.splitext(plain)[1])
    if kind is None:
        allowed = ", ".join(KINDS)
        raise Unfit(f"no format belongs to this name; allowed: {allowed}, each also with {PACKED} behind it")
    return kind, plain != name.lower()


def reader(descriptor: int, start: int, *, is_packed: bool) -> Read:
    """Gives the plain bytes of an open file from an offset on; a packed one is unpacked up to there again."""
    if not is_packed:
        os.lseek(descriptor, start, os.SEEK_SET)
        return lambda size: os.read(descriptor, size)
    os.lseek(descriptor, 0, os.SEEK_SET)
    unpacker = _Unpacker(descriptor)
    while start > 0 and (part := unpacker.read(min(start, CHUNK))):
        start -= len(part)
    return unpacker.read


@dataclass(frozen=True)
class Checked:
    """What is known of a file before its first record is sent."""

    sha256: str
    plain_bytes: int


def check(
    descriptor: int, size_bytes: int, *, is_packed: bool, most_plain_bytes: int = MOST_PLAIN_BYTES
) -> Iterator[Checked | None]:
    """Look through a file once, in steps: its digest, and that a packed one is whole and no bomb.

    Yields None after each step and what was found at last.

    Raises:
        Unfit: empty, too large, or no whole gzip. One that is not packed says how large it is before it is read.
    """
    if not size_bytes:
        raise Unfit("the file is empty")
    if not is_packed and size_bytes > most_plain_bytes:
        what = f"{size_bytes} bytes are more than {most_plain_bytes}; send several smaller files"
        raise TooLarge(what, most_plain_bytes)
    digest = hashlib.sha256()
    os.lseek(descriptor, 0, os.SEEK_SET)
    while part := os.read(descriptor, _CHECKED_AT_ONCE):
        digest.update(part)
        yield None
    plain_bytes = size_bytes
    for unpacked_bytes in _unpacked(descriptor, size_bytes, most_plain_bytes) if is_packed else ():
        plain_bytes = unpacked_bytes
        yield None
    yield Checked(digest.hexdigest(), plain_bytes)


def _unpacked(descriptor: int, size_bytes: int, most_plain_bytes: int) -> Iterator[int]:
    """How many bytes are unpacked so far, step by step to the end of the file."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    unpacker = _Unpacker(descriptor)
    most = min(most_plain_bytes, max(FREE_EXPANSION_BYTES, MOST_EXPANSION * size_bytes))
    total = step = 0
    while part := unpacker.read(CHUNK):
        total += len(part)
        step += len(part)
        if total > most:
            what = f"{size_bytes} bytes unpack to more than {most}: this is no file of readings"
            raise TooLarge(what, most) if most == most_plain_bytes else Unfit(what)
        if step >= _CHECKED_AT_ONCE:
            step = 0
            yield total
    yield total


class _Unpacker:
    """Reads a gzip file of one or more members; at most the bytes that are asked for are unpacked."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._packed = b""
        self._unpack: zlib._Decompress | None = None

    def read(self, size: int) -> bytes:
        """Up to so many plain bytes; none at the end.

        Raises:
            Unfit: no gzip, or not a whole one.
        """
        try:
            while True:
                self._packed = self._packed or os.read(self._descriptor, CHUNK)
                if not self._packed and (self._unpack is None or self._unpack.eof):
                    return b""
                if self._unpack is None or self._unpack.eof:
                    self._unpack = zlib.decompressobj(_GZIP)
                part = self._unpack.decompress(self._packed, size)
                was_empty = not self._packed
                self._packed = self._unpack.unused_data if self._unpack.eof else self._unpack.unconsumed_tail
                if part:
                    return part
                if was_empty and not self._unpack.eof:
                    raise Unfit("the gzip ends too early: it is not whole")
        except zlib.error:
            raise Unfit("the file is no gzip, or it is damaged") from None
