"""Arrow and NumPy side by side, typed once: the published stubs know only some of the overloads that exist."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute

Int64s = npt.NDArray[np.int64]
Int8s = npt.NDArray[np.int8]
UInt64s = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]
Column = Any
"""A `pyarrow.Array` or `pyarrow.ChunkedArray`."""

kernels: Any = pyarrow.compute
"""`pyarrow.compute`: every kernel takes arrays, chunked arrays and Python scalars alike."""


def take(table: pa.Table, positions: Int64s) -> pa.Table:
    """The rows at `positions`, in that order."""
    indices: Any = pa.array(positions, pa.int64())
    return table.take(indices)


def keep(table: pa.Table, mask: Bools) -> pa.Table:
    """The rows where `mask` is TRUE; the table itself when that is all of them."""
    if mask.all():
        return table
    flags: Any = pa.array(mask, pa.bool_())
    return table.filter(flags)


def bools(mask: Column) -> Bools:
    """A Boolean column as a NumPy array; NULL is FALSE."""
    return np.asarray(kernels.fill_null(mask, False)).astype(bool)


def integers(column: Column) -> Int64s:
    """Integers, or instants as µs since 1970 UTC, as a NumPy array; NULL is 0."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    filled: Int64s = kernels.fill_null(array.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
    return filled


def hashes(rows: pa.Table) -> UInt64s:
    """A number per row, equal for rows that are equal in all columns; that others share it is next to impossible."""
    # Of values that pandas has as objects it hashes texts alone: at any other it gives up, loses 16 bytes a row for
    # good, and makes texts of them all.
    columns = [kernels.cast(one, pa.string()) if _is_object(one.type) else one for one in rows.columns]
    plain = pa.table(columns, names=rows.column_names)
    # Keys are mostly distinct: to look for equal texts first takes four times as long as to hash each of them.
    found = pd.util.hash_pandas_object(plain.to_pandas(), index=False, categorize=False)
    return np.asarray(found, dtype=np.uint64)


def _is_object(kind: pa.DataType) -> bool:
    """Whether pandas has a day, a time of day or a decimal number as an object."""
    return pa.types.is_date(kind) or pa.types.is_time(kind) or pa.types.is_decimal(kind)


def repeat(value: object, count: int, kind: pa.DataType) -> Column:
    """A column that says the same in every row."""
    scalar: Any = pa.scalar(value, kind)
    return pa.repeat(scalar, count)


def nulls(count: int, kind: pa.DataType) -> Column:
    """A column of NULLs."""
    chosen: Any = kind
    return pa.nulls(count, chosen)
