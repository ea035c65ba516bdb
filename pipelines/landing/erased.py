"""What was erased at a person's request does not come back, from a source that still has it or out of a topic.

Of every record that was erased stays a hash of what it is: its key, and the tokens of one fixed key that stand in it,
so that a parcel which has another owner by now is another record. A contract says whether a record can do without the
person: where every personal field may be missing, the record stays and these are empty; else the record goes whole.

The hashes lie in a small file beside the lake's tables (`_erased/<dataset>.parquet`). Who writes silver looks at its
date with every batch; a dataset without personal fields is never looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock

from pipelines.contracts.model import Dataset
from pipelines.landing.arrow import Bools, UInt64s, hashes, nulls, repeat
from pipelines.landing.arrow import kernels as pc
from pipelines.landing.checks import quarantine_schema
from pipelines.landing.watch import mtime
from pipelines.runtime.files import replace_file
from pipelines.runtime.settings import Settings

REASON = "erased"
"""Why a record that comes again is set aside."""
_ABSENT = "\x00"
_BETWEEN = "\x1f"
_EMPTY: UInt64s = np.zeros(0, dtype=np.uint64)
_QUARANTINE = quarantine_schema()
_COLUMNS: Mapping[str, pa.DataType] = {"record_hash": pa.uint64(), "is_whole": pa.bool_()}
_SCHEMA = pa.schema(_COLUMNS)


def personal_fields(dataset: Dataset) -> tuple[str, ...]:
    """The fields that say something of a person: tokens, what is classified so, and free text."""
    return tuple(
        item.name
        for item in dataset.fields
        if item.tokenise or item.free_text or item.classification in {"personal", "sensitive"}
    )


def goes_whole(dataset: Dataset) -> bool:
    """Whether a record of a dataset cannot do without the person."""
    personal = set(personal_fields(dataset))
    return any(item.name in personal and (item.required or item.name in dataset.key) for item in dataset.fields)


def identity_columns(dataset: Dataset) -> tuple[str, ...]:
    """The columns that say which record it is, and of whom."""
    joins = (item.name for item in dataset.fields if item.tokenise and item.tokenise.joins)
    return tuple(dict.fromkeys((*dataset.key, *joins)))


def record_hashes(dataset: Dataset, rows: pa.Table) -> UInt64s:
    """A number per row that says which record it is, the same for ever: of its text, whatever the columns' types."""
    texts = [pc.fill_null(pc.cast(rows[name], pa.string()), _ABSENT) for name in identity_columns(dataset)]
    joined = pc.binary_join_element_wise(*texts, _BETWEEN)
    return hashes(pa.table({"record": joined}))


def hashes_of_person(dataset: Dataset, rows: pa.Table) -> UInt64s:
    """By which these records of a person are known from now on: as they are, and without any token, for a correction
    that leaves the person out may still hold what was said of them."""
    nameless = rows
    for name in identity_columns(dataset):
        if name not in dataset.key:
            at = rows.column_names.index(name)
            nameless = nameless.set_column(at, name, nulls(rows.num_rows, rows.schema.field(name).type))
    return np.union1d(record_hashes(dataset, rows), record_hashes(dataset, nameless))


@dataclass(frozen=True)
class _Known:
    """Hashes in order: of records that are gone, and of those that lost what is personal."""

    whole: UInt64s
    blank: UInt64s


_NOTHING = _Known(_EMPTY, _EMPTY)


class Suppression:
    """Takes out of batches of one dataset what was erased."""

    def __init__(self, settings: Settings, dataset: Dataset) -> None:
        """Look nothing up yet."""
        self.dataset = dataset
        self._path = _path(settings, dataset.id)
        self._is_needed = any(item.tokenise for item in dataset.fields)
        self._read_at = 0
        self._known = _NOTHING

    def __call__(self, rows: pa.Table, *also: str) -> tuple[pa.Table, Bools]:
        """The same rows, those of erased records without what is personal and without the columns ``also``; and which
        of them are of records that are gone whole."""
        gone: Bools = np.zeros(rows.num_rows, dtype=bool)
        if not self._is_needed or not rows.num_rows:
            return rows, gone
        known = self._current()
        if not len(known.whole) and not len(known.blank):
            return rows, gone
        found = record_hashes(self.dataset, rows)
        gone = np.isin(found, known.whole)
        blank = np.isin(found, known.blank)
        if blank.any():
            rows = _blanked(rows, blank, (*personal_fields(self.dataset), *also))
        return rows, gone

    def _current(self) -> _Known:
        at = mtime(self._path)
        if at != self._read_at:
            self._known, self._read_at = _read(self._path), at
        return self._known


def remember(settings: Settings, dataset: Dataset, found: UInt64s) -> None:
    """Add records to those that do not come back."""
    path = _path(settings, dataset.id)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock"), timeout=60):
        known, whole = _read(path), goes_whole(dataset)
        parts = {True: known.whole, False: known.blank}
        parts[whole] = np.union1d(parts[whole], found)
        table = pa.concat_tables(
            pa.table([pa.array(part, pa.uint64()), pa.repeat(kind, len(part))], schema=_SCHEMA)
            for kind, part in parts.items()
        )
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        replace_file(path, sink.getvalue().to_pybytes(), durable=True)


def _path(settings: Settings, dataset: str) -> Path:
    return settings.lake_root / settings.namespace / "_erased" / f"{dataset}.parquet"


def _read(path: Path) -> _Known:
    try:
        table = pq.read_table(path, schema=_SCHEMA)
    except FileNotFoundError:
        return _NOTHING
    found = np.asarray(table["record_hash"], dtype=np.uint64)
    is_whole = np.asarray(table["is_whole"], dtype=bool)
    return _Known(np.unique(found[is_whole]), np.unique(found[~is_whole]))


def _blanked(rows: pa.Table, blank: Bools, names: tuple[str, ...]) -> pa.Table:
    keeps = pa.array(~blank)
    for name in names:
        if name in rows.column_names:
            kind = rows.schema.field(name).type
            values = pc.if_else(keeps, rows[name], nulls(1, kind)[0])
            rows = rows.set_column(rows.column_names.index(name), rows.schema.field(name), values)
    return rows


def set_aside(dataset: str, rows: pa.Table) -> pa.Table:
    """What stands in quarantine of erased records that came again: their places and the reason, nothing of them."""
    count = rows.num_rows
    given = {
        name: rows[name] if name in rows.column_names else nulls(count, _QUARANTINE.field(name).type)
        for name in ("raw_partition", "raw_offset", "received_at")
    }
    columns = {
        "dataset": repeat(dataset, count, pa.string()),
        "reason": repeat(REASON, count, pa.string()),
        "detail": repeat("erased at a person's request", count, pa.string()),
        "row_json": nulls(count, pa.string()),
        **given,
    }
    return pa.table({name: columns[name] for name in _QUARANTINE.names}).cast(_QUARANTINE)
