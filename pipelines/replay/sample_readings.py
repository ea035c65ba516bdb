"""Synthetic readings of the streams that have a `sample` and that no recorded replay sends; all are `synthetic`."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import pyarrow as pa

from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry
from pipelines.landing.arrow import kernels as pc
from pipelines.replay.readings import Reading
from pipelines.replay.sample import draw_all
from pipelines.replay.sample_columns import instant

_BATCH_ROWS = 20_000


def sample_streams(registry: Registry, sent_elsewhere: Collection[str]) -> tuple[str, ...]:
    """The streams with a `sample` block that are not sent by another replay, by id."""
    return tuple(d.id for d in registry.streams() if d.sample and d.id not in sent_elsewhere)


def sample_readings(registry: Registry, seed: int, scale: float, streams: Collection[str]) -> Iterator[Reading]:
    """The readings of these streams, one stream after the other, each in order of its event time.

    Personal values are clear: the gateway replaces them.

    Raises:
        pipelines.runtime.errors.LakeError: a sample contradicts its contract.
    """
    for drawn in draw_all(registry, seed, scale, streams):
        yield from readings_of(drawn.dataset, drawn.table)


def readings_of(dataset: Dataset, table: pa.Table) -> Iterator[Reading]:
    """The readings of a drawn stream: times and days as text, decimals exact, what is unknown left out.

    Raises:
        ValueError: the dataset is no stream.
    """
    if dataset.stream is None:
        raise ValueError(f"{dataset.id} is a sector table: it is read from its database, not sent")
    clock = table.column_names.index(dataset.stream.event_time)
    for batch in table.to_batches(max_chunksize=_BATCH_ROWS):
        moments = batch.column(clock).cast(pa.int64()).to_pylist()
        bodies = pa.RecordBatch.from_arrays([_json_form(c) for c in batch.columns], batch.schema.names).to_pylist()
        for moment, body in zip(moments, bodies, strict=True):
            known: dict[str, Any] = {name: value for name, value in body.items() if value is not None}
            yield Reading(dataset.id, known, "synthetic", instant(int(moment or 0)))


def _json_form(column: pa.Array[Any]) -> pa.Array[Any]:
    """A column as JSON has it: instants as UTC text to the second, days as text, all else as it is."""
    if pa.types.is_timestamp(column.type):
        texts: pa.Array[Any] = pc.strftime(column.cast(pa.timestamp("s", tz="UTC")), format="%Y-%m-%dT%H:%M:%SZ")
        return texts
    return column.cast(pa.string()) if pa.types.is_date(column.type) else column
