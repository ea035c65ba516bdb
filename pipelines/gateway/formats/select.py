"""Which format a body has: by its media type, by what the contract accepts, and by the shape of each record."""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.contracts.media_types import CSV, NDJSON, entity_types, media_types, takes_observations
from pipelines.contracts.model import Dataset
from pipelines.gateway.formats import native, ngsi, sensorthings
from pipelines.gateway.formats.entry import Entry
from pipelines.gateway.formats.table import Table
from pipelines.gateway.sources import Source
from pipelines.gateway.submission import UnknownFormat
from pipelines.gateway.wire import NotAnObject, decode_object

_LINES = frozenset({NDJSON, "application/ndjson", "application/jsonl"})


def media_type_of(text: str) -> str:
    """The media type of a header, without parameters, in the spelling of the contracts."""
    kind = text.partition(";")[0].strip().lower()
    return NDJSON if kind in _LINES else kind


def check(dataset: Dataset, media_type: str) -> None:
    """Whether a dataset takes bodies of a media type.

    Raises:
        UnknownFormat: the contract does not accept it.
    """
    kind = media_type_of(media_type)
    if kind not in media_types(dataset):
        what = f"{dataset.id} takes no body of the type {kind!r}." if kind else "The body has no media type."
        raise UnknownFormat(what, f"Allowed: {', '.join(media_types(dataset))}.")


def reader(dataset: Dataset, media_type: str, source: Source) -> JsonReader | Table:
    """The reader of bodies of a media type for a dataset.

    Raises:
        UnknownFormat: the contract does not accept it.
    """
    check(dataset, media_type)
    kind = media_type_of(media_type)
    return Table() if kind == CSV else JsonReader(dataset, source, is_lines=kind == NDJSON)


class JsonReader:
    """Reads JSON for one dataset: each record by its own shape, among the formats that the contract accepts."""

    def __init__(self, dataset: Dataset, source: Source, *, is_lines: bool) -> None:
        """`is_lines`: a record a line, instead of an object or an array."""
        self._is_lines = is_lines
        self._entities = ngsi.Entities(dataset) if entity_types(dataset) else None
        self._observations = sensorthings.Observations(dataset, source) if takes_observations(dataset) else None
        formats = ((self._entities, ngsi.CONTAINER), (self._observations, sensorthings.CONTAINER))
        self._containers = tuple(key for found, key in formats if found is not None)

    def parse(self, body: bytes) -> list[Entry]:
        """The entries of a body.

        Raises:
            Unreadable: not JSON as a whole.
        """
        return [entry for raw in self.split(body) for entry in self.entries(raw)]

    def split(self, body: bytes) -> list[bytes]:
        """The raw records of a body, unread.

        Raises:
            Unreadable: not JSON as a whole.
        """
        return native.lines(body) if self._is_lines else native.records(body, self._containers)

    def entries(self, raw: bytes) -> Iterator[Entry]:
        """What one raw record holds: one entry, or several of a SensorThings data array."""
        if not self._containers:
            yield Entry(raw)
            return
        try:
            body = decode_object(raw)
        except NotAnObject:
            # The native way says why, once.
            yield Entry(raw)
            return
        if self._entities is not None and self._entities.holds(body):
            yield self._entities.translate(raw, body)
        elif self._observations is not None and self._observations.holds(body):
            yield from self._observations.entries(raw, body)
        else:
            yield Entry(raw, body)
