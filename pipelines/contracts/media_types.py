"""In which media types a stream can be sent to the gateway: what it says of itself, and what the gateway holds to."""

from __future__ import annotations

from pipelines.contracts.model import Dataset

JSON, NDJSON, CSV, LD_JSON = "application/json", "application/x-ndjson", "text/csv", "application/ld+json"
NATIVE, SENSORTHINGS, FIWARE = "native", "sensorthings", "fiware."
"""The formats of `stream.accepts`; a FIWARE format is this prefix and the type of the entities."""


def media_types(dataset: Dataset) -> tuple[str, ...]:
    """The media types of a stream's bodies, the plainest first; none for one that nobody sends."""
    if dataset.stream is None or not dataset.is_sent:
        return ()
    native = (NDJSON, CSV) if NATIVE in dataset.stream.accepts else ()
    linked = (LD_JSON,) if entity_types(dataset) else ()
    return (JSON, *native, *linked)


def entity_types(dataset: Dataset) -> tuple[str, ...]:
    """The types of NGSI entities that a stream takes."""
    accepts = dataset.stream.accepts if dataset.stream else ()
    return tuple(form.removeprefix(FIWARE) for form in accepts if form.startswith(FIWARE))


def takes_observations(dataset: Dataset) -> bool:
    """Whether a stream takes SensorThings observations."""
    return dataset.stream is not None and SENSORTHINGS in dataset.stream.accepts
