"""One batch of rows as it leaves a reader: the wanted columns, the row's place, and what is wrong with it.

A row that cannot be read exactly stays in its batch, at its place: the cell is NULL, and the three columns at the end
say why. Nothing is dropped. `RAW` is the row in clear as it came; whoever stores it encrypts it first where the dataset
is protected.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.ingestion.files.encodings import shown
from pipelines.landing.arrow import Bools, Column, Int64s, nulls

ROW, REASON, DETAIL, RAW = "file_row", "file_reason", "file_detail", "file_raw"
"""Row number as a spreadsheet shows it, from 1, headings and blank rows counted; reason (NULL: none), sentence, row."""
SHAPE, ENCODING, FORMULA, TYPE, ERROR = "shape", "encoding", "formula", "type", "error"
"""What can be wrong; all but `shape` go with the column: `type:price_vnd`."""
OWN_COLUMNS = frozenset({ROW, REASON, DETAIL, RAW})
"""What stands in a batch beside the columns that were wanted."""
_OWN = [pa.field(ROW, pa.int64()), *(pa.field(name, pa.string()) for name in (REASON, DETAIL, RAW))]


@dataclass(frozen=True)
class Fault:
    """What is wrong in the rows where `rows` is TRUE; values are not quoted, they may be personal."""

    rows: Bools
    reason: str
    detail: str


@dataclass(frozen=True)
class Misshapen:
    """A row that has no cells: it could not be cut into them."""

    row: int
    detail: str
    raw: str


def assemble(
    columns: Mapping[str, Column],
    rows: Int64s,
    faults: Sequence[Fault],
    raw: Callable[[Int64s], Sequence[str]],
    misshapen: Sequence[Misshapen] = (),
) -> pa.RecordBatch:
    """Put a batch together; of several faults of a row the first counts. `raw` gives the text of rows by position."""
    count = len(rows)
    reasons, details, texts = (np.full(count, None, object) for _ in range(3))
    free = np.ones(count, bool)
    for fault in faults:
        hit = fault.rows & free
        reasons[hit], details[hit] = fault.reason, fault.detail
        free &= ~hit
    bad = np.flatnonzero(~free)
    if len(bad):
        texts[bad] = np.array(raw(bad), object)
    own: list[Column] = [
        pa.array(rows, pa.int64()),
        *(pa.array(part, pa.string()) for part in (reasons, details, texts)),
    ]
    arrays = [_one(column) for column in columns.values()]
    fields: list[Any] = [pa.field(name, array.type) for name, array in zip(columns, arrays, strict=True)]
    schema = pa.schema([*fields, *_OWN])
    batch = pa.RecordBatch.from_arrays([*arrays, *own], schema=schema)
    return _with(batch, misshapen) if misshapen else batch


def _with(batch: pa.RecordBatch, misshapen: Sequence[Misshapen]) -> pa.RecordBatch:
    """Rows without cells, each at its place."""
    count = len(misshapen)
    own: dict[str, Column] = {
        ROW: pa.array([bad.row for bad in misshapen], pa.int64()),
        REASON: pa.array([SHAPE] * count, pa.string()),
        DETAIL: pa.array([bad.detail for bad in misshapen], pa.string()),
        RAW: pa.array([shown(bad.raw) for bad in misshapen], pa.string()),
    }
    cells = {field.name: nulls(count, field.type) for field in batch.schema}
    more = pa.table(cells | own)
    both = pa.concat_tables([pa.Table.from_batches([batch]), more.cast(batch.schema)])
    batches = both.sort_by(ROW).combine_chunks().to_batches()
    return batches[0]


def as_text(headings: Sequence[str], cells: Sequence[str | None]) -> str:
    """A row as it came: a JSON object of its cells by heading."""
    row: dict[str, str | None] = {}
    for place, (heading, cell) in enumerate(zip(headings, cells, strict=True), 1):
        row[heading if heading and heading not in row else f"{heading} ({place})"] = cell
    return shown(json.dumps(row, ensure_ascii=False, separators=(",", ":")))


def _one(column: Column) -> Column:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
