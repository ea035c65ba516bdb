"""Which format a body has: by its media type, by what the contract accepts, and by the shape of each record."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from pipelines.contracts.media_types import CSV, NDJSON, entity_types, media_types, takes_observations
from pipelines.contracts.model import Dataset
from pipelines.gateway.formats import native, ngsi, sensorthings
from pipelines.gateway.formats.entry import Entry
from pipelines.gateway.formats.table import parse_csv
from pipelines.gateway.sources import Source
from pipelines.gateway.submission import UnknownFormat
from pipelines.gateway.wire import NotAnObject, decode_object

Parse = Callable[[bytes], Sequence[Entry]]
_LINES = frozenset({NDJSON, "application/ndjson", "application/jsonl"})


def parser(dataset: Dataset, media_type: str, source: Source) -> Parse:
    """The function that reads a body of this media type for a dataset.

    Raises:
        UnknownFormat: there is none, or the contract does not accept it.
    """
    kind = media_type.partition(";")[0].strip().lower()
    kind = NDJSON if kind in _LINES else kind
    if kind not in media_types(dataset):
        what = f"{dataset.id} takes no body of the type {kind!r}." if kind else "The body has no media type."
        raise UnknownFormat(what, f"Allowed: {', '.join(media_types(dataset))}.")
    if kind == CSV:
        return parse_csv
    foreign = Foreign(dataset, source)
    if not foreign:
        return native.parse_lines if kind == NDJSON else native.parse_json
    return foreign.parse_lines if kind == NDJSON else foreign.parse


class Foreign:
    """Reads JSON for a dataset that accepts more than its native form: each record by its own shape."""

    def __init__(self, dataset: Dataset, source: Source) -> None:
        """Take the readers of the accepted formats; without any it is false."""
        self._entities = ngsi.Entities(dataset) if entity_types(dataset) else None
        self._observations = sensorthings.Observations(dataset, source) if takes_observations(dataset) else None
        readers = ((self._entities, ngsi.CONTAINER), (self._observations, sensorthings.CONTAINER))
        self._containers = tuple(key for reader, key in readers if reader is not None)

    def __bool__(self) -> bool:
        """Whether there is a format besides the native one."""
        return self._entities is not None or self._observations is not None

    def parse(self, body: bytes) -> list[Entry]:
        """The entries of an object, an array, or one of the formats' containers.

        Raises:
            Unreadable: not JSON as a whole.
        """
        return [entry for raw in native.records(body, self._containers) for entry in self._entries(raw)]

    def parse_lines(self, body: bytes) -> list[Entry]:
        """The entries of one record a line."""
        return [entry for line in native.parse_lines(body) for entry in self._entries(line.raw)]

    def _entries(self, raw: bytes) -> Iterator[Entry]:
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
