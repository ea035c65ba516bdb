"""What each event does to the table, as if events were applied one by one in the order of arrival.

The order is that of arrival, not of versions: then the effect of an event depends on nothing that comes after it, and
a batch that is cut differently after a crash gives every event the same effect again. The rows that remain do not
depend on the order at all, because a newer version wins whenever it comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipelines.contracts.model import Dataset
from pipelines.landing.arrow import Bools, Column, Int8s, Int64s, bools, integers
from pipelines.landing.arrow import kernels as pc

INSERTED, UPDATED, UNCHANGED, DELETED = 0, 1, 2, 3
EFFECT_NAMES = ("inserted", "updated", "unchanged", "deleted")
"""What a number in an array of effects stands for."""


def version_columns(dataset: Dataset) -> tuple[str, ...]:
    """What orders two versions of one key, most significant first.

    Of one revision, the version that the city received later wins: a record that waited in the gateway's spool, or
    that was sent again out of bronze, has a higher offset than what overtook it. Place and partition break ties;
    equal in all is the same raw record, read again.
    """
    if dataset.derived:
        return ("received_at",)
    if dataset.sector:
        return ("raw_offset",)
    return ("revision", "received_at", "raw_offset", "raw_partition")


def content_columns(dataset: Dataset) -> tuple[str, ...]:
    """What must differ for a newer version to be an update; empty for the streams of a keyed job, which has told
    duplicates from corrections already: there a newer version always is one."""
    if dataset.stream and dataset.is_keyed:
        return ()
    names = tuple(f.name for f in dataset.fields)
    return names if dataset.sector else (*names, "origin")


def optional_columns(dataset: Dataset) -> tuple[str, ...]:
    """The fields that a stream's row may lack; empty for the others, which compare their whole content."""
    if dataset.stream is None:
        return ()
    return tuple(f.name for f in dataset.fields if not f.required and f.name not in dataset.key)


def compared_columns(dataset: Dataset) -> tuple[str, ...]:
    """Everything that :func:`resolve` looks at, the key first."""
    parts = (dataset.key, version_columns(dataset), content_columns(dataset), optional_columns(dataset))
    return tuple(dict.fromkeys(name for part in parts for name in part))


@dataclass(frozen=True)
class Resolution:
    """`effects`: number in EFFECT_NAMES per batch row. `inserts`, `updates`: batch rows to write, one per key;
    `deletes`: batch rows whose key the table is to lose."""

    effects: Int8s
    inserts: Int64s
    updates: Int64s
    deletes: Int64s


def group_ids(table: pa.Table, columns: Sequence[str]) -> Int64s:
    """A number per row that is equal where all `columns` are equal (NULLs are equal to each other)."""
    ids = np.zeros(table.num_rows, dtype=np.int64)
    size = 1
    for name in columns:
        codes, distinct = _codes(table[name])
        if size > 2**62 // max(distinct, 1):
            unique, inverse = np.unique(ids, return_inverse=True)
            ids, size = inverse.astype(np.int64), len(unique)
        ids = ids * distinct + codes
        size *= max(distinct, 1)
    return ids


def partners(own: Int64s, others: Int64s) -> Int64s:
    """For each of `others` the position of the same number in `own`, where each is once; -1 where it is not there."""
    if not len(own):
        return np.full(len(others), -1, dtype=np.int64)
    order = np.argsort(own)
    at = order[np.minimum(np.searchsorted(own[order], others), len(own) - 1)]
    return np.where(own[at] == others, at, -1).astype(np.int64)


def _codes(column: Column) -> tuple[Int64s, int]:
    encoded = pc.dictionary_encode(column.combine_chunks(), null_encoding="encode")
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64), max(len(encoded.dictionary), 1)


def _versions(dataset: Dataset, table: pa.Table) -> Int64s:
    """Dense rank of each row by its version; equal rows share one.

    Of two readings of one raw record the one with more known values is the newer: a contract that gained an optional
    field reads the raw topic again, and older rows get the value that their payload had all along. One that says less
    (still on its way when the contract changed) takes nothing back.
    """
    if not table.num_rows:
        return np.zeros(0, dtype=np.int64)
    values = [integers(table[name]) for name in version_columns(dataset)]
    known = np.zeros(table.num_rows, dtype=np.int64)
    for name in optional_columns(dataset):
        known += bools(table[name].is_valid())
    values.append(known)
    order = np.lexsort(values[::-1])
    changed = np.zeros(len(order), dtype=bool)
    for column in values:
        ordered = column[order]
        changed[1:] |= ordered[1:] != ordered[:-1]
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = np.cumsum(changed)
    return ranks


def differing(table: pa.Table, columns: Sequence[str], left: Int64s, right: Int64s) -> Bools:
    """Whether two rows differ in any column; NULL equals NULL and NaN equals NaN."""
    result: Bools = np.zeros(len(left), dtype=bool)
    for name in columns:
        column: Column = table[name].combine_chunks()
        one, two = column.take(pa.array(left, pa.int64())), column.take(pa.array(right, pa.int64()))
        unequal = bools(pc.not_equal(one, two)) | (bools(one.is_valid()) != bools(two.is_valid()))
        if pa.types.is_floating(column.type):
            unequal &= ~bools(pc.and_(pc.is_nan(one), pc.is_nan(two)))
        result |= unequal
    return result


def resolve(dataset: Dataset, batch: pa.Table, stored: pa.Table, deletes: Bools | None = None) -> Resolution:
    """Apply `batch` (in order of arrival) to the `stored` rows that share its keys.

    Both hold :func:`compared_columns`; `stored` has at most one row per key. `deletes` says which rows of the batch
    delete their key, of a sector table; a row that comes after one is inserted.
    """
    columns = list(compared_columns(dataset))
    both = pa.concat_tables([stored.select(columns), batch.select(columns)])
    count, known = both.num_rows, stored.num_rows
    effects = np.full(batch.num_rows, UNCHANGED, dtype=np.int8)
    if not batch.num_rows:
        return Resolution(effects, *(np.zeros(0, np.int64) for _ in range(3)))
    # Stable: within a key the stored row first, then the order of arrival.
    order = np.argsort(ids := group_ids(both, dataset.key), kind="stable")
    first = np.ones(count, dtype=bool)
    first[1:] = ids[order][1:] != ids[order][:-1]
    if not known and first.all() and (deletes is None or not deletes.any()):
        # A first load, or keys that are all new: there is nothing to compare.
        return Resolution(np.full_like(effects, INSERTED), np.arange(count), *(np.zeros(0, np.int64) for _ in range(2)))
    segment = np.cumsum(first) - 1
    version = _versions(dataset, both)[order]
    span = int(version.max()) + 1
    running = np.maximum.accumulate(segment * span + version) - segment * span
    before = np.empty(count, dtype=np.int64)
    before[1:], before[0] = running[:-1], 0
    newer = first | (version > before)
    top = newer | (version == before) if dataset.derived else newer
    previous = _previous(top)
    applied = _applied(dataset, both, order, first, newer, top, previous)
    gone: Bools = np.zeros(count, dtype=bool)
    if deletes is not None:
        gone[known:] = deletes
        gone = gone[order]
    absent = newer & (first | gone[previous])
    applied = np.where(gone, newer & ~absent, applied | absent)
    is_batch = order >= known
    effect = np.where(absent & ~gone, INSERTED, np.where(applied, np.where(gone, DELETED, UPDATED), UNCHANGED))
    effects[order[is_batch] - known] = effect[is_batch]
    # The last applied event of a key is what the table holds afterwards; a stored row needs no writing, and of a key
    # that was never there a delete leaves nothing.
    positions = np.where(applied, np.arange(count), -1)
    starts = np.flatnonzero(first)
    last = np.maximum.accumulate(positions)[np.append(starts[1:], count) - 1]
    some = last >= starts
    had, winners, removes = ~is_batch[starts[some]], order[last[some]], gone[last[some]]
    written = winners >= known
    chosen = (written & ~had & ~removes, written & had & ~removes, written & had & removes)
    return Resolution(effects, *(np.sort(winners[mask] - known) for mask in chosen))


def _previous(top: Bools) -> Int64s:
    """For each row the nearest one before it that is `top`."""
    last_top = np.maximum.accumulate(np.where(top, np.arange(len(top)), 0))
    previous = np.zeros(len(top), dtype=np.int64)
    previous[1:] = last_top[:-1]
    return previous


def _applied(
    dataset: Dataset, both: pa.Table, order: Int64s, first: Bools, newer: Bools, top: Bools, previous: Int64s
) -> Bools:
    """Which rows replace what was there (the first of a key does); stored rows come first and so count as applied."""
    if dataset.stream and dataset.is_keyed:
        return newer
    # Sector, unkeyed stream: a newer row counts when its content changed. Derived: newer always counts, as does an
    # equally old row that says something else (a mended job that was rebuilt).
    asked = np.flatnonzero(top & ~first & ~newer if dataset.derived else top & ~first)
    differs = differing(both, content_columns(dataset), order[asked], order[previous[asked]])
    applied = newer.copy() if dataset.derived else first.copy()
    applied[asked] = differs
    return applied
