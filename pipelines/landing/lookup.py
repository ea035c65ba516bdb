"""Which rows of a table share a key with a batch, and where they lie: the cost follows the batch, not the table.

The Delta log says the least and the greatest value of a column in each file, a Parquet footer those of each row group.
Only where a wanted key can lie the key columns are read, and other columns only of row groups that hold one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.dataset as pads
from deltalake import DeltaTable
from pyarrow.fs import LocalFileSystem

from pipelines.landing.arrow import Bools, Column, Int64s, bools, keep, take
from pipelines.landing.arrow import kernels as pc
from pipelines.landing.resolve import group_ids
from pipelines.runtime.delta import arrow_dataset

_MILLISECOND = 1000
"""The log cuts instants to milliseconds: the greatest value of a file may lie so many µs above what is said."""
_WRITER_FEATURES = frozenset({"appendOnly", "checkConstraints", "invariants", "timestampNtz"})
_OTHER_WAYS: Mapping[str, str] = {
    "delta.enableChangeDataFeed": "true",
    "delta.enableDeletionVectors": "true",
    "delta.enableRowTracking": "true",
    "delta.appendOnly": "true",
}
_PLAIN_WRITER = 3


@dataclass(frozen=True)
class DataFile:
    """One file of a table as its log has it: `path` below the table, size in bytes, values of the partition."""

    path: str
    size: int
    partition: Mapping[str, str | None]


@dataclass(frozen=True)
class Found:
    """Rows of a table at `version`, each with its file (a number in `files`) and its position in that file.

    `files` is None for a table that is not :func:`plain`: then nobody knows the places.
    """

    version: int
    rows: pa.Table
    files: tuple[DataFile, ...] | None
    file: Int64s
    position: Int64s


def not_plain(table: DeltaTable) -> str | None:
    """What a table has besides rows in Parquet files, in a few words; None when its files are all there is to it.

    A reader of files alone would miss deletion vectors and renamed columns, a writer would lose the change feed.
    """
    protocol = table.protocol()
    unknown = sorted({*(protocol.reader_features or ()), *(protocol.writer_features or ())} - _WRITER_FEATURES)
    if unknown:
        return ", ".join(unknown)
    # Before features had names they came with numbers; up to these two there is nothing but constraints.
    if protocol.min_reader_version > 1 and protocol.reader_features is None:
        return f"reader version {protocol.min_reader_version}"
    if protocol.min_writer_version > _PLAIN_WRITER and protocol.writer_features is None:
        return f"writer version {protocol.min_writer_version}"
    configured = table.metadata().configuration
    return next((f"{name} = {value}" for name, value in _OTHER_WAYS.items() if configured.get(name) == value), None)


def find(table: DeltaTable, root: Path, key: Sequence[str], columns: Sequence[str], wanted: pa.Table) -> Found:
    """The `columns` of the table's rows that share a key with `wanted`; NULL equals NULL.

    `root`: the table's folder. The table is read at the version of the handle.
    """
    names = list(dict.fromkeys((*key, *columns)))
    if not_plain(table) is not None:
        reader: Any = table.scan(columns=names)
        schema = pa.schema(pa.schema(table.schema()).field(name) for name in names)
        rows = pa.concat_tables([schema.empty_table(), *(_semi(pa.table(b).cast(schema), key, wanted) for b in reader)])
        nowhere = np.zeros(rows.num_rows, dtype=np.int64)
        return Found(table.version(), rows.combine_chunks(), None, nowhere, nowhere)
    schema = pa.schema(table.schema())
    listed = pa.table(table.get_add_actions(flatten=True))
    # Putting the keys in order is most of what a look-up costs where nothing is found.
    keys = {name: _Values.of(wanted[name]) for name in key} if listed.num_rows else {}
    files = _candidates(table, listed, keys)
    parts = [schema.empty_table().select(names)]
    numbers: list[Int64s] = []
    positions: list[Int64s] = []
    for number, file in enumerate(files):
        part, places = _hits(fragment(root, file, schema), schema, names, keys, wanted)
        parts.append(part)
        numbers.append(np.full(len(places), number, dtype=np.int64))
        positions.append(places)
    none = np.zeros(0, dtype=np.int64)
    found = pa.concat_tables(parts).combine_chunks()
    return Found(table.version(), found, files, np.concatenate([none, *numbers]), np.concatenate([none, *positions]))


def scan_keys(table: DeltaTable, key: Sequence[str]) -> Iterator[pa.Table]:
    """The keys of all rows, in parts; no other column is read."""
    names = list(key)
    schema = pa.schema(pa.schema(table.schema()).field(name) for name in names)
    batches: Any = table.scan(columns=names) if not_plain(table) else arrow_dataset(table).to_batches(names)
    for batch in batches:
        yield pa.table(batch).select(names).cast(schema)


def on_disk(root: Path, path: str) -> Path:
    """Where a file of the log lies: its path may be quoted as a URL, or be a name that only looks so."""
    return root / path if (root / path).exists() else root / unquote(path)


def fragment(root: Path, file: DataFile, schema: pa.Schema) -> pads.ParquetFileFragment:
    """A file of a table, its partition's values included."""
    place: Any = pads.scalar(True)
    for name, value in file.partition.items():
        scalar: Any = pa.scalar(value, pa.string()).cast(schema.field(name).type)
        place = place & (pads.field(name).is_null() if value is None else pads.field(name) == scalar)
    path = str(root / unquote(file.path))
    parquet: Any = pads.ParquetFileFormat()
    made: pads.ParquetFileFragment = parquet.make_fragment(path, LocalFileSystem(), partition_expression=place)
    return made


@dataclass(frozen=True)
class _Values:
    """The distinct wanted values of one key column, and in order when they can be compared with what a log says."""

    distinct: Column
    ordered: npt.NDArray[Any] | None
    slack: int = 0

    @classmethod
    def of(cls, column: Column) -> _Values:
        distinct: Column = pc.unique(column)
        if distinct.null_count or _comparable(distinct[:0]) is None:
            return cls(distinct, None)
        # Arrow orders text by its bytes, three times as fast as NumPy orders objects of Python.
        ordered = _comparable(pc.take(distinct, pc.array_sort_indices(distinct)))
        return cls(distinct, ordered, _MILLISECOND - 1 if pa.types.is_timestamp(distinct.type) else 0)

    def between(self, low: Column, high: Column) -> Bools:
        """Whether a wanted value can lie in each closed range; in a range that is not known any can."""
        if not len(self.distinct):
            return np.zeros(len(low), dtype=bool)
        unknown = ~bools(pc.is_valid(low)) | ~bools(pc.is_valid(high))
        if self.ordered is None or unknown.all():
            return np.ones(len(unknown), dtype=bool)
        filler = self.distinct[0]
        least, greatest = _comparable(pc.fill_null(low, filler)), _comparable(pc.fill_null(high, filler))
        above = np.searchsorted(self.ordered, greatest + self.slack if self.slack else greatest, side="right")
        holds: Bools = unknown | (above > np.searchsorted(self.ordered, least, side="left"))
        return holds


def _comparable(column: Column) -> Any:
    """Values in an order that the log and the footers share, as a NumPy array; None for a type that has none."""
    kind = column.type
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        # Python compares code points, which is the order of UTF-8 bytes.
        return array.to_numpy(zero_copy_only=False)
    if pa.types.is_timestamp(kind):
        return array.cast(pa.timestamp("us", tz=kind.tz)).cast(pa.int64()).to_numpy(zero_copy_only=False)
    if pa.types.is_date32(kind):
        return array.cast(pa.int32()).to_numpy(zero_copy_only=False)
    return array.to_numpy(zero_copy_only=False) if pa.types.is_integer(kind) else None


def _candidates(table: DeltaTable, files: pa.Table, keys: Mapping[str, _Values]) -> tuple[DataFile, ...]:
    """Those of a table's files in which a row with a wanted key can lie, in the order of what they hold."""
    mask = np.ones(files.num_rows, dtype=bool)
    partitions = tuple(table.metadata().partition_columns)
    kinds = pa.schema(table.schema())
    for name, values in keys.items():
        if name in partitions:
            low = high = files[f"partition.{name}"].cast(kinds.field(name).type)
        elif f"min.{name}" in files.column_names:
            low, high = files[f"min.{name}"].cast(kinds.field(name).type), files[f"max.{name}"]
        else:
            continue
        mask &= values.between(low, high.cast(kinds.field(name).type))
    files = keep(files, mask)
    least = next((f"min.{name}" for name in keys if f"min.{name}" in files.column_names), "path")
    listed: list[dict[str, Any]] = files.sort_by(least).to_pylist()
    return tuple(DataFile(file["path"], file["size_bytes"], _place(file, partitions)) for file in listed)


def _place(file: Mapping[str, Any], partitions: Sequence[str]) -> dict[str, str | None]:
    values = {name: file[f"partition.{name}"] for name in partitions}
    return {name: None if value is None else str(value) for name, value in values.items()}


def _hits(
    file: pads.ParquetFileFragment,
    schema: pa.Schema,
    names: Sequence[str],
    keys: Mapping[str, _Values],
    wanted: pa.Table,
) -> tuple[pa.Table, Int64s]:
    """The rows of one file with a wanted key, and their positions in it."""
    parts = [schema.empty_table().select(list(names))]
    positions: list[Int64s] = [np.zeros(0, dtype=np.int64)]
    for group, start in _groups(file, keys):
        read = group.to_table(schema=schema, columns=list(keys))
        hits = _wanted(read, keys, wanted)
        if len(hits):
            positions.append(hits + start)
            parts.append(take(group.to_table(schema=schema, columns=list(names)), hits))
    return pa.concat_tables(parts), np.concatenate(positions)


def _groups(
    file: pads.ParquetFileFragment, keys: Mapping[str, _Values]
) -> Iterator[tuple[pads.ParquetFileFragment, int]]:
    """The row groups in which a wanted key can lie, each with the position of its first row."""
    footer: Any = file.metadata
    numbers = {name: number for number, name in enumerate(footer.schema.names) if name in keys}
    start = 0
    for group in range(footer.num_row_groups):
        said = footer.row_group(group)
        if all(_may_hold(said.column(number), keys[name]) for name, number in numbers.items()):
            part: Any = file.subset(row_group_ids=[group])
            yield part, start
        start += said.num_rows


def _may_hold(chunk: Any, values: _Values) -> bool:
    """Whether a wanted value can lie in a column of a row group."""
    said = chunk.statistics
    # Of types that have no order here even the reading of the limits may fail, as it does for small decimals.
    if values.ordered is None or said is None or not said.has_min_max:
        return True
    kind = values.distinct.type
    return bool(values.between(pa.array([said.min]).cast(kind), pa.array([said.max]).cast(kind)).all())


def _wanted(read: pa.Table, keys: Mapping[str, _Values], wanted: pa.Table) -> Int64s:
    """The positions of the rows whose key is wanted."""
    mask: Bools = np.ones(read.num_rows, dtype=bool)
    for name, values in keys.items():
        mask &= bools(pc.is_in(read[name], value_set=values.distinct))
        if not mask.any():
            break
    hits = np.flatnonzero(mask)
    if len(keys) == 1 or not len(hits):
        return hits
    return hits[_shared(take(read, hits), wanted, list(keys))]


def _semi(rows: pa.Table, key: Sequence[str], wanted: pa.Table) -> pa.Table:
    return keep(rows, _shared(rows, wanted, key))


def _shared(rows: pa.Table, wanted: pa.Table, key: Sequence[str]) -> Bools:
    """Which rows have a key that is wanted too."""
    ids = group_ids(pa.concat_tables([rows.select(list(key)), wanted.select(list(key))]), key)
    shared: Bools = np.isin(ids[: rows.num_rows], ids[rows.num_rows :])
    return shared
