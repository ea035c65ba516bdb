"""What every format gives back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Entry(NamedTuple):
    """One record of a body.

    `raw` are the sender's bytes, which are kept when it is no use. `body` is what they say in the contract's fields;
    None when `raw` is a native object that speaks for itself. `problem` says why they cannot be translated, `dropped`
    counts what the contract has no field for. `is_foreign`: it came in another format, in which some fields have no
    place.
    """

    raw: bytes
    body: Mapping[str, Any] | None = None
    problem: str = ""
    dropped: int = 0
    is_foreign: bool = False


class Unreadable(ValueError):
    """A body that is not in its format at all; the text says why, without repeating it."""
