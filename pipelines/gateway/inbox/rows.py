"""Cuts files of one record a line, and CSV, whose records may have lines of their own within quotes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from pipelines.gateway.inbox.window import Bounds, Broken, Piece, Place, Read, Window

_BLANK = b"\xef\xbb\xbf \t\r\n"


class _Records(Protocol):
    """Where records end."""

    def last(self, data: bytearray, size: int) -> int:
        """Behind the last whole record among the first so many bytes; 0 when there is none."""
        ...

    def first(self, data: bytearray) -> int:
        """Behind the first record; 0 when it is not whole."""
        ...


class _Lines:
    """A record ends with its line."""

    def last(self, data: bytearray, size: int) -> int:
        return data.rfind(b"\n", 0, size) + 1

    def first(self, data: bytearray) -> int:
        return data.find(b"\n") + 1


class _Rows:
    """A record ends with a line that is in no quotes.

    RFC 4180 doubles a quote within quotes: outside of them the number of quotes so far is even. Every byte is counted
    once, so that no file is slow.
    """

    def __init__(self, quote: bytes = b'"') -> None:
        self._quote = quote

    def last(self, data: bytearray, size: int) -> int:
        end = data.rfind(b"\n", 0, size) + 1
        quotes = data.count(self._quote, 0, end)
        while end and quotes % 2:
            before = data.rfind(b"\n", 0, end - 1) + 1
            quotes -= data.count(self._quote, before, end)
            end = before
        return end

    def first(self, data: bytearray) -> int:
        begin = quotes = 0
        while end := data.find(b"\n", begin) + 1:
            quotes += data.count(self._quote, begin, end)
            if quotes % 2 == 0:
                return end
            begin = end
        return 0


def cut_lines(read: Read, start: Place, bounds: Bounds) -> Iterator[Piece]:
    """One record a line.

    Raises:
        Broken: a line is longer than a body may be.
    """
    return _cut(Window(read, start), bounds, _Lines(), b"")


def cut_table(read: Read, start: Place, bounds: Bounds) -> Iterator[Piece]:
    """CSV: every piece begins with the header. `read` begins at the beginning of the file, wherever `start` is.

    Raises:
        Broken: a row is longer than a body may be, or a quote is not closed.
    """
    window, rows = Window(read, Place()), _Rows()
    header = b""
    while not header.strip(_BLANK):
        if not _fill(window, bounds, rows):
            return
        header = window.take(rows.first(window.data) or len(window.data))
    if not header.endswith(b"\n"):
        return
    window.go_to(start)
    yield from _cut(window, bounds, rows, header)


def cut_rows(read: Read, bounds: Bounds, quote: bytes) -> Iterator[Piece]:
    """Whole rows of CSV as they stand, the header among them, with any quote; with none a row is a line.

    Raises:
        Broken: a row is longer than a record may be, or a quote is not closed.
    """
    yield from _cut(Window(read, Place()), bounds, _Rows(quote) if quote else _Lines(), b"")


def first_row(data: bytes, quote: bytes) -> bytes:
    """The first row of a piece with its line end."""
    held = bytearray(data)
    return data[: (_Rows(quote) if quote else _Lines()).first(held) or len(data)]


def line_of_row(piece: Piece, index: int, *, is_table: bool) -> tuple[int, int]:
    """The line in the file of the record at `index` of a piece, and how many records the piece has.

    Blank rows are none, for the core neither.
    """
    line, found, records, begun, quotes = piece.line - piece.head_lines, piece.line, 0, 0, 0
    for number, text in enumerate(piece.body.split(b"\n")):
        quotes += text.count(b'"') if is_table else 0
        begun = begun or line + number
        if quotes % 2:
            continue
        if number >= piece.head_lines and text.strip(_BLANK):
            found = begun if records == index else found
            records += 1
        begun = 0
    return found, records


def _cut(window: Window, bounds: Bounds, records: _Records, header: bytes) -> Iterator[Piece]:
    while _fill(window, bounds, records):
        limit = _first_lines(window.data, min(len(window.data), bounds.size_bytes), bounds.records)
        end = records.last(window.data, limit) or records.first(window.data) or len(window.data)
        if end > bounds.record_bytes:
            raise _too_long(window, bounds)
        line = window.place.line
        body = header + window.take(end)
        yield Piece(body, line, window.place, header.count(b"\n"))


def _fill(window: Window, bounds: Bounds, records: _Records) -> bool:
    """Read until the window holds a whole record or the file ends; false when nothing is left.

    Raises:
        Broken: the record is too large.
    """
    if len(window.data) < bounds.size_bytes:
        window.more(bounds.size_bytes - len(window.data))
    while not window.is_end and not records.last(window.data, len(window.data)):
        if len(window.data) > bounds.record_bytes:
            raise _too_long(window, bounds)
        window.more(len(window.data))
    return bool(window.data)


def _too_long(window: Window, bounds: Bounds) -> Broken:
    return Broken(window.place.line, f"a record is longer than {bounds.record_bytes} bytes, or a quote is not closed")


def _first_lines(data: bytearray, size: int, count: int) -> int:
    """Where the first `count` lines end, or `size` when there are fewer."""
    if data.count(b"\n", 0, size) <= count:
        return size
    end = 0
    for _ in range(count):
        end = data.find(b"\n", end) + 1
    return end
