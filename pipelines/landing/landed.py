"""What is known of a silver table without reading it: enough to tell most rows from any that it holds.

Both answers err on one side only: "new" is certain; a row that is not certainly new is looked up in the table.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable

from pipelines.contracts.model import Dataset
from pipelines.landing.arrow import Bools, Int64s, UInt64s, hashes, integers, take
from pipelines.landing.resolve import group_ids
from pipelines.runtime.delta import arrow_dataset

SCANNED_PARTITIONS = 8
"""At start only the newest partitions are read; an older row of an entity lies below all of them in any case."""
_NEVER = np.iinfo(np.int64).min


class Landed(Protocol):
    """Remembers keys that the table holds."""

    def new(self, batch: pa.Table) -> Bools:
        """TRUE for each row whose key the table certainly does not hold, nor an earlier row of the batch."""

    def remember(self, batch: pa.Table) -> None:
        """Take note of rows that were committed."""


def open_landed(dataset: Dataset, table: DeltaTable) -> Landed:
    """Read from the table what the contract's kind of key needs.

    A load of a sector table ends after a few large batches: what it asks of the table is looked up, and nothing is
    read that no row asks for.
    """
    if dataset.sector:
        return NothingKnown()
    if dataset.event_time and dataset.event_time in dataset.key:
        return LandedMaxima.read(dataset, table)
    return KnownKeys.read(dataset, table)


class NothingKnown:
    """Every row is looked up."""

    def new(self, batch: pa.Table) -> Bools:
        """TRUE nowhere."""
        return np.zeros(batch.num_rows, dtype=bool)

    def remember(self, batch: pa.Table) -> None:
        """Remember nothing."""


class LandedMaxima:
    """For keys with the event time: the newest landed event time per entity; what lies above it is new."""

    def __init__(self, dataset: Dataset, floor: int = _NEVER) -> None:
        """`floor`: event time (µs since 1970, UTC) below which an unknown entity may have rows."""
        self._entity = dataset.entity_key
        self._time = str(dataset.event_time)
        self._floor = floor
        self._maxima: dict[tuple[object, ...], int] = {}

    @classmethod
    def read(cls, dataset: Dataset, table: DeltaTable) -> LandedMaxima:
        """Read the newest partitions (all of them when the partition is not the day of the event)."""
        predicate, floor = None, _NEVER
        if dataset.partition_source == dataset.event_time:
            days = sorted({str(p[str(dataset.partition)]) for p in table.partitions()})
            if len(days) > SCANNED_PARTITIONS:
                predicate = [(str(dataset.partition), ">=", days[-SCANNED_PARTITIONS])]
                floor = int(np.datetime64(days[-SCANNED_PARTITIONS], "us").astype(np.int64))
        landed = cls(dataset, floor)
        source = arrow_dataset(table, pruned_by=predicate)
        columns = [*landed._entity, landed._time]
        for part in source.to_batches(columns=columns):
            landed.remember(pa.Table.from_batches([part]))
        return landed

    def _split(self, batch: pa.Table) -> tuple[Int64s, Int64s, Int64s, list[tuple[object, ...]]]:
        """Order by entity (stable), where each entity starts, the times in that order, and the entities."""
        ids = group_ids(batch, self._entity)
        # Sixteen bits are sorted by radix, ten times faster; entities of a batch are few.
        small = ids.astype(np.uint16) if len(ids) and int(ids.max()) < 2**16 else ids
        order = np.argsort(small, kind="stable")
        starts = np.flatnonzero(np.append(True, ids[order][1:] != ids[order][:-1])) if len(ids) else np.zeros(0, int)
        times = integers(batch[self._time])[order]
        heads = take(batch.select(list(self._entity)), order[starts])
        entities = list(zip(*(heads[name].to_pylist() for name in self._entity), strict=True)) if self._entity else [()]
        return order, starts, times, entities[: len(starts)]

    def new(self, batch: pa.Table) -> Bools:
        """TRUE where the event time is above the landed maximum of its entity and above all earlier rows."""
        result: Bools = np.zeros(batch.num_rows, dtype=bool)
        if not batch.num_rows:
            return result
        order, starts, times, entities = self._split(batch)
        default = _NEVER if self._floor == _NEVER else self._floor - 1
        known = np.array([self._maxima.get(e, default) for e in entities], dtype=np.int64)
        lengths = np.diff(np.append(starts, len(times)))
        above = times > np.repeat(known, lengths)
        rising = np.ones(len(times), dtype=bool)
        if not bool(np.all((times[1:] > times[:-1]) | np.isin(np.arange(1, len(times)), starts))):
            rising = _rising(times, starts, lengths)
        result[order] = above & rising
        return result

    def remember(self, batch: pa.Table) -> None:
        """Raise the maxima of the batch's entities."""
        if not batch.num_rows:
            return
        _, starts, times, entities = self._split(batch)
        for entity, newest in zip(entities, np.maximum.reduceat(times, starts).tolist(), strict=True):
            if newest > self._maxima.get(entity, _NEVER):
                self._maxima[entity] = newest


def _rising(times: Int64s, starts: Int64s, lengths: Int64s) -> Bools:
    """TRUE where a time is above all earlier ones of its segment."""
    ranks = np.unique(times, return_inverse=True)[1].astype(np.int64)
    span = int(ranks.max()) + 1
    segment = np.repeat(np.arange(len(starts)), lengths)
    running = np.maximum.accumulate(segment * span + ranks)
    rising = np.ones(len(times), dtype=bool)
    rising[1:] = (segment * span + ranks)[1:] > running[:-1]
    rising[starts] = True
    return rising


class KnownKeys:
    """For keys without the event time: 64-bit hashes of all keys, 8 bytes each; a collision costs one look-up."""

    def __init__(self, dataset: Dataset) -> None:
        """Start empty."""
        self._key = list(dataset.key)
        self._hashes: UInt64s = np.zeros(0, dtype=np.uint64)

    @classmethod
    def read(cls, dataset: Dataset, table: DeltaTable) -> KnownKeys:
        """Read the key columns of the whole table."""
        landed = cls(dataset)
        batches = arrow_dataset(table).to_batches(columns=landed._key)
        found = [landed._hash(pa.Table.from_batches([batch])) for batch in batches]
        landed._hashes = _distinct(np.concatenate([landed._hashes, *found]))
        return landed

    def _hash(self, batch: pa.Table) -> UInt64s:
        return hashes(batch.select(self._key))

    def new(self, batch: pa.Table) -> Bools:
        """TRUE where the hash is unknown and the first of its kind in the batch."""
        result: Bools = np.zeros(batch.num_rows, dtype=bool)
        if not batch.num_rows:
            return result
        unique, first = np.unique(self._hash(batch), return_index=True)
        result[first[~among(self._hashes, unique)]] = True
        return result

    def remember(self, batch: pa.Table) -> None:
        """Add the keys of the batch."""
        new = _distinct(self._hash(batch))
        new = new[~among(self._hashes, new)]
        # Both are in order: what is there is copied, not sorted again.
        self._hashes = np.insert(self._hashes, np.searchsorted(self._hashes, new), new)


def among(ordered: UInt64s, wanted: UInt64s) -> Bools:
    """Which of `wanted` are in `ordered`, which is in order."""
    at = np.searchsorted(ordered, wanted)
    found: Bools = np.zeros(len(wanted), dtype=bool)
    inside = at < len(ordered)
    found[inside] = ordered[at[inside]] == wanted[inside]
    return found


def _distinct(found: UInt64s) -> UInt64s:
    """The distinct ones in order (`np.unique` alone hashes them before it sorts, ten times slower)."""
    ordered = np.sort(found)
    distinct: UInt64s = ordered[np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]]
    return distinct
