"""Native JSON: one object, an array of them, `{"items": […]}`, or one object a line (NDJSON)."""

from __future__ import annotations

import msgspec

from pipelines.gateway.formats.entry import Entry, Unreadable

_SPACE = b" \t\r\n"
_LIST = msgspec.json.Decoder(list[msgspec.Raw])


class _Items(msgspec.Struct, forbid_unknown_fields=True):
    items: list[msgspec.Raw]


_ITEMS = msgspec.json.Decoder(_Items)


def parse_json(body: bytes) -> list[Entry]:
    """The entries of an object, an array or an object with the one key `items`.

    Raises:
        Unreadable: not JSON as a whole, so that its records cannot be told apart.
    """
    text = body.removeprefix(b"\xef\xbb\xbf").strip(_SPACE)
    return [Entry(bytes(raw)) for raw in elements(text)] if text else []


def elements(text: bytes) -> list[msgspec.Raw] | list[bytes]:
    """The raw elements of an array or of `items`; anything else is one element.

    Raises:
        Unreadable: an array or an object that is not JSON.
    """
    try:
        if text[:1] == b"[":
            return _LIST.decode(text)
        if text[:1] == b"{" and b'"items"' in text:
            try:
                return _ITEMS.decode(text).items
            except msgspec.ValidationError:
                # An object with more than `items` is a record of its own.
                return [text]
    except (msgspec.DecodeError, RecursionError) as error:
        raise Unreadable(f"the body is not JSON: {error}") from None
    return [text]


def parse_lines(body: bytes) -> list[Entry]:
    """One entry a line; empty lines are none. Bytes that are no JSON are the problem of their own line."""
    lines = body.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    return [Entry(line) for line in (text.strip(_SPACE) for text in lines) if line]
