"""Native JSON: one object, an array of them, `{"items": […]}`, or one object a line (NDJSON).

A body is cut into the raw bytes of its records without reading them: what one record holds is no other's problem.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import msgspec

from pipelines.gateway.formats.entry import Unreadable

ITEMS = "items"
_SPACE = b" \t\r\n"
_BOM = b"\xef\xbb\xbf"
_LIST = msgspec.json.Decoder(list[msgspec.Raw])


def records(body: bytes, containers: Iterable[str] = ()) -> list[bytes]:
    """The raw records of a body: the elements of an array, or of the array in an object.

    That array stands under `items`, alone, or under one of the formats' own `containers`, where it may have others
    beside it. Anything else is one record.

    Raises:
        Unreadable: an array or a container that is not JSON.
    """
    text = body.removeprefix(_BOM).strip(_SPACE)
    try:
        if text[:1] == b"[":
            return [bytes(raw) for raw in _LIST.decode(text)]
        if text[:1] == b"{":
            for key, is_alone in ((ITEMS, True), *((name, False) for name in containers)):
                if f'"{key}"'.encode() in text:
                    try:
                        return [bytes(raw) for raw in _container(key, is_alone).decode(text).records]
                    except msgspec.ValidationError:
                        continue
    except (msgspec.DecodeError, RecursionError) as error:
        raise Unreadable(f"the body is not JSON: {error}") from None
    return [text] if text else []


def lines(body: bytes) -> list[bytes]:
    """The lines of a body without the space around them; empty ones are none."""
    found = (line.strip(_SPACE) for line in body.removeprefix(_BOM).split(b"\n"))
    return [line for line in found if line]


@lru_cache
def _container(key: str, is_alone: bool) -> msgspec.json.Decoder[Any]:
    fields = [("records", list[msgspec.Raw])]
    made = msgspec.defstruct("Container", fields, rename={"records": key}, forbid_unknown_fields=is_alone)
    return msgspec.json.Decoder(made)
