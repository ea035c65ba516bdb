"""Cuts a JSON array between its elements, without holding more than a piece of it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from pipelines.gateway.inbox.window import Bounds, Broken, Piece, Place, Read, Window

_SPACE = b" \t\r\n"
_BLANK = re.compile(rb"[ \t\r\n]*+")
_STRING = rb'"(?:[^"\\]++|\\.)*+"'
_INSIDE = re.compile(rb'(?:[^"\[\]{}]++|' + _STRING + rb")*+", re.DOTALL)
"""Everything up to the next bracket that is in no string: found in C, with one step of Python for each bracket."""
_SCALAR = re.compile(rb'(?:[^",\[\]{}]++|' + _STRING + rb")*+", re.DOTALL)


def cut_json(read: Read, start: Place, bounds: Bounds) -> Iterator[Piece]:
    """An array, element by element; anything else is one body as it is.

    Raises:
        Broken: not JSON, something behind the array, or an element or object larger than a body may be.
    """
    window = Window(read, start)
    if start.offset == 0:
        window.more()
        if window.data.startswith(b"\xef\xbb\xbf"):
            window.take(3)
        if _next(window) != b"[":
            yield from _whole(window, bounds)
            return
        window.take(1)
        if _next(window) == b"]":
            _end(window)
            return
    elif not _goes_on(window):
        return
    while True:
        yield _elements(window, bounds)
        if not _goes_on(window):
            return


def line_of_element(piece: Piece, index: int) -> tuple[int, int]:
    """The line in the file of the element at `index` of a piece, and how many elements it has."""
    if not piece.starts:
        return piece.line, 1
    return piece.line + piece.body.count(b"\n", 0, piece.starts[index]), len(piece.starts)


def _whole(window: Window, bounds: Bounds) -> Iterator[Piece]:
    line = window.place.line
    while len(window.data) <= bounds.record_bytes and window.more(max(1, len(window.data))):
        pass
    if len(window.data) > bounds.record_bytes:
        text = f"one JSON object of more than {bounds.record_bytes} bytes; write an array, or one object a line"
        raise Broken(line, text)
    if body := window.take(len(window.data)):
        yield Piece(body, line, window.place)


def _elements(window: Window, bounds: Bounds) -> Piece:
    """The next elements; one that is no JSON ends the piece before it, and is met first the next time.

    Raises:
        Broken: the first element is no JSON, or too large.
    """
    _next(window)
    starts: list[int] = []
    end = here = 0
    while len(starts) < bounds.records and end < bounds.size_bytes:
        try:
            after = _element_end(window, here, bounds)
        except Broken:
            if not starts:
                raise
            break
        starts.append(here)
        end = after
        here = _not_blank(window, after)
        if window.data[here : here + 1] != b",":
            break
        here = _not_blank(window, here + 1)
    line = window.place.line
    body = b"[" + window.take(end) + b"]"
    return Piece(body, line, window.place, starts=tuple(start + 1 for start in starts))


def _element_end(window: Window, here: int, bounds: Bounds) -> int:
    """Where the element that begins at `here` ends.

    Raises:
        Broken: it is no JSON, or too large.
    """
    has_brackets = bytes(window.data[here : here + 1]) in {b"{", b"["}
    end = _brackets_end(window, here, bounds) if has_brackets else _scalar_end(window, here, bounds)
    if end - here > bounds.record_bytes:
        raise _too_long(window, here, bounds)
    try:
        msgspec.json.decode(window.data[here:end])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Broken(window.line_at(here), f"not JSON: {error}") from None
    return end


def _brackets_end(window: Window, here: int, bounds: Bounds) -> int:
    depth, place = 0, here
    while True:
        found = _INSIDE.match(window.data, place)
        place = found.end() if found else place
        sign = bytes(window.data[place : place + 1])
        if sign in {b"{", b"["}:
            depth += 1
        elif sign in {b"}", b"]"}:
            depth -= 1
            if depth == 0:
                return place + 1
        else:
            _more_of_it(window, here, bounds)
            continue
        place += 1


def _scalar_end(window: Window, here: int, bounds: Bounds) -> int:
    while True:
        found = _SCALAR.match(window.data, here)
        end = found.end() if found else here
        # A quote stands there when its string is not whole yet.
        if end < len(window.data) and window.data[end : end + 1] != b'"':
            return end
        _more_of_it(window, here, bounds)


def _more_of_it(window: Window, here: int, bounds: Bounds) -> None:
    if len(window.data) - here > bounds.record_bytes:
        raise _too_long(window, here, bounds)
    if not window.more(max(1, len(window.data))):
        raise Broken(window.line_at(here), "the file ends within the array")


def _too_long(window: Window, here: int, bounds: Bounds) -> Broken:
    return Broken(window.line_at(here), f"an element is longer than {bounds.record_bytes} bytes")


def _goes_on(window: Window) -> bool:
    """Pass the comma behind an element; false at the end of the array.

    Raises:
        Broken: neither follows.
    """
    sign = _next(window)
    if sign == b",":
        window.take(1)
        return True
    if sign != b"]":
        text = "behind an element a comma or the end of the array is expected"
        raise Broken(window.place.line, text if sign else "the file ends within the array")
    _end(window)
    return False


def _end(window: Window) -> None:
    window.take(1)
    if _next(window):
        raise Broken(window.place.line, "something follows behind the end of the array")


def _next(window: Window) -> bytes:
    """Pass what is blank; the byte that follows, or none."""
    window.take(_not_blank(window, 0))
    return bytes(window.data[:1])


def _not_blank(window: Window, place: int) -> int:
    while True:
        found = _BLANK.match(window.data, place)
        place = found.end() if found else place
        if place < len(window.data) or not window.more():
            return place
