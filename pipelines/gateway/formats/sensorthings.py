"""OGC SensorThings 1.1 Observations: one, an array, `{"value": […]}`, or the data array extension.

An observation says what was measured only through its Datastream. Either it carries the Datastream (with its Thing and
unit), or the source has registered what the Datastream's id stands for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import msgspec

from pipelines.contracts.media_types import SENSORTHINGS
from pipelines.contracts.model import Dataset
from pipelines.gateway.formats.entry import Entry
from pipelines.gateway.formats.mapping import Found, Translation, Untranslatable
from pipelines.gateway.sources import Source
from pipelines.gateway.wire import NotAnObject, decode_object

CONTAINER = "value"
"""The key under which a SensorThings server lists entities."""
_ID = "@iot.id"
_UNIT = "unit"
_ABOUT = frozenset({"Datastream", "FeatureOfInterest", "resultTime", "Datastream@iot.navigationLink", _ID})


class _Group(msgspec.Struct, rename={"stream": "Datastream", "rows": "dataArray"}):
    """One Datastream's part of a data array."""

    stream: msgspec.Raw
    components: list[str]
    rows: list[msgspec.Raw]


_GROUP = msgspec.json.Decoder(_Group)


class Observations:
    """Reads observations for one dataset, by what one source says of its Datastreams."""

    def __init__(self, dataset: Dataset, source: Source) -> None:
        """Take the aliases, and the source's own Datastreams."""
        self._dataset, self._source = dataset, source
        self._translation = Translation(dataset, SENSORTHINGS)
        named = {item.name: item.aliases[SENSORTHINGS].path for item in dataset.fields if SENSORTHINGS in item.aliases}
        self._result = next((name for name, path in named.items() if "result" in path), "")

    def holds(self, body: Mapping[str, Any]) -> bool:
        """Whether a JSON object looks like an observation or a data array, and not like a native record."""
        return "result" in body or "dataArray" in body

    def entries(self, raw: bytes, body: Mapping[str, Any]) -> Iterator[Entry]:
        """The entries of an observation, or of one Datastream's part of a data array."""
        if "dataArray" not in body:
            yield self.translate(raw, body)
            return
        try:
            group = _GROUP.decode(raw)
        except (msgspec.DecodeError, RecursionError) as error:
            yield Entry(raw, problem=f"not a data array: {error}")
        else:
            yield from (self._row(group, bytes(row)) for row in group.rows)

    def _row(self, group: _Group, row: bytes) -> Entry:
        """One row of a data array; what is kept of it is a data array of this row."""
        names = msgspec.json.encode(group.components)
        raw = b'{"Datastream":' + bytes(group.stream) + b',"components":' + names + b',"dataArray":[' + row + b"]}"
        try:
            # Through `decode_object`, so that numbers keep their digits.
            told = decode_object(b'{"Datastream":' + bytes(group.stream) + b',"row":' + row + b"}")
        except NotAnObject as error:
            return Entry(raw, problem=str(error))
        values = told["row"]
        if not isinstance(values, list) or len(values) != len(group.components):
            return Entry(raw, problem="the row does not fit the components")
        observation = {"Datastream": told["Datastream"], **dict(zip(group.components, values, strict=True))}
        return self.translate(raw, observation)

    def translate(self, raw: bytes, observation: Mapping[str, Any]) -> Entry:
        """One observation in the contract's fields."""
        try:
            fixed = self._registered(observation)
            unit = fixed.get(_UNIT) or _symbol(observation)
            body = self._translation.apply(partial(_look, observation), {self._result: unit} if unit else None)
        except Untranslatable as error:
            return Entry(raw, problem=str(error))
        named = {name: value for name, value in fixed.items() if name not in {"dataset", _UNIT}}
        dropped = len(observation.keys() - self._translation.heads - _ABOUT)
        return Entry(raw, {**body, **named}, dropped=dropped, is_foreign=True)

    def _registered(self, observation: Mapping[str, Any]) -> Mapping[str, str]:
        """What the source has said of the observation's Datastream; nothing when it has no id, or is not registered."""
        stream = observation.get("Datastream")
        number = stream.get(_ID) if isinstance(stream, Mapping) else None
        known = self._source.datastreams.get(str(number), {}) if number is not None else {}
        if known and known["dataset"] != self._dataset.id:
            raise Untranslatable(f"Datastream: it is registered for {known['dataset']}")
        return known


def _look(observation: Mapping[str, Any], path: tuple[str, ...]) -> Found | None:
    node: Any = observation
    for step in path:
        if not isinstance(node, Mapping) or step not in node:
            return None
        node = node[step]
    return Found(node)


def _symbol(observation: Mapping[str, Any]) -> str | None:
    """The unit that the Datastream names for its results."""
    found = _look(observation, ("Datastream", "unitOfMeasurement", "symbol"))
    return found.value if found is not None and isinstance(found.value, str) and found.value else None
