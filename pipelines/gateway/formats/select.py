"""Which format a body has: by its media type, among those that the contract accepts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipelines.contracts.model import Dataset
from pipelines.gateway.formats import native
from pipelines.gateway.formats.entry import Entry
from pipelines.gateway.sources import Source
from pipelines.gateway.submission import UnknownFormat

Parse = Callable[[bytes], Sequence[Entry]]
JSON, NDJSON = "application/json", "application/x-ndjson"
_NATIVE: dict[str, Parse] = {
    JSON: native.parse_json,
    NDJSON: native.parse_lines,
    "application/ndjson": native.parse_lines,
    "application/jsonl": native.parse_lines,
}
MEDIA_TYPES = tuple(_NATIVE)
"""Every media type that some dataset takes."""


def parser(dataset: Dataset, media_type: str, source: Source) -> Parse:
    """The function that reads a body of this media type for a dataset.

    Raises:
        UnknownFormat: there is none, or the contract does not accept it.
    """
    kind = media_type.partition(";")[0].strip().lower()
    try:
        return _NATIVE[kind]
    except KeyError:
        what = f"{dataset.id} takes no {kind or 'body without a content type'!r}."
        raise UnknownFormat(what, f"Allowed: {', '.join(MEDIA_TYPES)}.") from None
