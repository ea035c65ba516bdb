"""Parquet: types come with the file and stay as they are; where one cannot be what is wanted, the column is told.

Text columns of a Parquet file are read by the rules of text, so that a file of nothing but strings is as good as a CSV.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.contracts.file_layout import FileLayout
from pipelines.ingestion.files.batch import ENCODING, TYPE, Fault, assemble
from pipelines.ingestion.files.errors import FileIncomplete, FileUnfit
from pipelines.ingestion.files.headings import MOST_COLUMNS, match
from pipelines.ingestion.files.reading import Reading
from pipelines.ingestion.files.values import INSTANT, Values, Wanted, at_zone, from_text
from pipelines.landing.arrow import Bools, Column, Int64s, bools, nulls
from pipelines.landing.arrow import kernels as pc

BATCH_ROWS = 65_536
_COMPOSE: Callable[[str], str] = partial(unicodedata.normalize, "NFC")
MOST_GROUP_BYTES = 2 * 1024**3
"""A row group's columns are unpacked together; a footer may promise any number."""
_REMEDY = "Send it again, written by a common library, in row groups of at most 2 GiB."


class Columnar(Reading):
    """Reads Parquet."""

    def __init__(self, name: str, layout: FileLayout, wanted: Sequence[Wanted], source: pa.NativeFile) -> None:
        """Read the footer.

        Raises:
            FileIncomplete: it cannot be read.
            FileUnfit: a row group is too large, or there are too many columns.
        """
        super().__init__(name, layout, wanted)
        try:
            self._file = pq.ParquetFile(source)
            schema = self._file.schema_arrow
            footer = self._file.metadata
            sizes = [footer.row_group(group).total_byte_size for group in range(footer.num_row_groups)]
        except (pa.ArrowException, OSError, ValueError) as error:
            what = f"the Parquet's footer cannot be read ({error})"
            raise FileIncomplete(name, what, "Send it again, whole.") from None
        if max(sizes, default=0) > MOST_GROUP_BYTES or len(schema) > MOST_COLUMNS:
            what = f"a row group of more than {MOST_GROUP_BYTES} bytes, or more than {MOST_COLUMNS} columns"
            raise FileUnfit(name, what, _REMEDY)
        self._schema = schema
        found = match(schema.names, wanted, layout)
        unfit = {
            column.name: f"{column.name} is {schema.field(found.positions[column.name]).type}, wanted is {column.type}"
            for column in wanted
            if column.name in found.positions
            and not _fits(column, schema.field(found.positions[column.name]).type, layout)
        }
        kept = {column: place for column, place in found.positions.items() if column not in unfit}
        self.columns = replace(found, positions=kept, unfit=tuple(unfit.values()))

    def batches(self) -> Iterator[pa.RecordBatch]:
        """See `Reading`."""
        row = 0
        names = {name: self._schema.names[place] for name, place in self.columns.positions.items()}
        columns = list(dict.fromkeys(names.values()))
        try:
            for batch in self._file.iter_batches(batch_size=BATCH_ROWS, columns=columns, use_threads=False):
                yield self._batch(batch, names, row)
                row += batch.num_rows
        except (pa.ArrowException, OSError, ValueError) as error:
            raise FileUnfit(self.name, f"behind row {row} the Parquet cannot be read ({error})", _REMEDY) from None
        if row != self._file.metadata.num_rows:
            what = f"the footer promises {self._file.metadata.num_rows} rows, {row} were read"
            raise FileUnfit(self.name, what, _REMEDY)

    def _batch(self, batch: pa.RecordBatch, names: Mapping[str, str], row: int) -> pa.RecordBatch:
        columns: dict[str, Column] = {}
        faults: list[Fault] = []
        for wanted in self.wanted:
            if wanted.name in names:
                values = _values(wanted, batch.column(names[wanted.name]), self.layout)
                columns[wanted.name] = values.column
                faults += values.faults

        def raw(positions: Int64s) -> list[str]:
            return [_as_json(batch.slice(position, 1)) for position in positions.tolist()]

        rows = np.arange(row + 1, row + 1 + batch.num_rows, dtype=np.int64)
        return assemble(columns, rows, faults, raw)


def _is_text(kind: pa.DataType) -> bool:
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    return (
        pa.types.is_string(inner)
        or pa.types.is_large_string(inner)
        or pa.types.is_string_view(inner)
        or pa.types.is_binary(inner)
        or pa.types.is_large_binary(inner)
    )


def _fits(wanted: Wanted, kind: pa.DataType, layout: FileLayout) -> bool:
    """Whether a type can hold what is wanted: widening is free, a binary float is no exact decimal, a time without a
    zone is no instant unless the layout declares one.
    """
    name = wanted.type.name
    if _is_text(kind) or pa.types.is_null(kind):
        return True
    if pa.types.is_integer(kind):
        return wanted.type.is_numeric or name == "string"
    if pa.types.is_decimal(kind):
        return wanted.type.is_numeric and (kind.scale == 0 or name in {"decimal", "double"})
    if pa.types.is_floating(kind):
        return name == "double"
    if pa.types.is_boolean(kind):
        return name == "boolean"
    if pa.types.is_date(kind):
        return name == "date"
    if pa.types.is_timestamp(kind):
        return name == "timestamp" and (kind.tz is not None or layout.time_zone is not None)
    return False


def _values(wanted: Wanted, column: Column, layout: FileLayout) -> Values:
    kind = column.type
    if _is_text(kind):
        text, broken = _text(column)
        values = from_text(wanted, _composed(text), layout)
        if broken.any():
            values.faults.insert(0, Fault(broken, f"{ENCODING}:{wanted.name}", "the text is no UTF-8"))
        return values
    if wanted.type.name == "string":
        return Values(column.cast(pa.string()))
    if pa.types.is_timestamp(kind):
        return _instants(wanted, column, layout)
    if pa.types.is_date64(kind):
        return Values(column.cast(pa.date32()))
    if pa.types.is_floating(kind):
        return Values(column.cast(pa.float64()))
    return Values(column)


def _text(column: Column) -> tuple[Column, Bools]:
    """A text column as strings, and where its bytes are no UTF-8: Arrow takes a file's word for it."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    plain = column.cast(kind) if pa.types.is_dictionary(column.type) else column
    held = plain.cast(pa.large_binary()) if not pa.types.is_binary(kind) else plain
    try:
        return held.cast(pa.large_string()).cast(pa.string()), np.zeros(len(column), bool)
    except pa.ArrowInvalid:
        # Rare: one value at a time, because the whole column says only that one of them is bad.
        texts: list[str | None] = []
        broken = np.zeros(len(column), bool)
        for place, value in enumerate(held.to_pylist()):
            try:
                texts.append(None if value is None else value.decode())
            except UnicodeDecodeError:
                texts.append(None)
                broken[place] = True
        return pa.array(texts, pa.string()), broken


def _composed(text: Column) -> Column:
    """NFC, each distinct text once."""
    if pc.all(pc.string_is_ascii(text), min_count=0).as_py():
        return text
    encoded = text.dictionary_encode()
    forms = map(_COMPOSE, encoded.dictionary.to_pylist())
    return pa.array(list(forms), pa.string()).take(encoded.indices)


def _instants(wanted: Wanted, column: Column, layout: FileLayout) -> Values:
    """Microseconds; what is finer would be lost."""
    micro = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    back = micro.cast(column.type, safe=False)
    lossy = bools(pc.not_equal(back, column))
    faults = [Fault(lossy, f"{TYPE}:{wanted.name}", "finer than a microsecond, or out of range")] if lossy.any() else []
    if lossy.any():
        micro = pc.if_else(pa.array(lossy), nulls(len(column), micro.type), micro)
    values = Values(micro.cast(INSTANT)) if column.type.tz is not None else at_zone(wanted, micro, layout)
    return Values(values.column, faults + values.faults)


def _as_json(row: pa.RecordBatch) -> str:
    """One row as it came; a value of no JSON type as Python shows it, bytes that are no text escaped."""
    cells: dict[str, object] = {}
    for name, column in zip(row.schema.names, row.columns, strict=True):
        held = column
        if _is_text(column.type) and not pa.types.is_dictionary(column.type):
            held = column.cast(pa.large_binary())
        value = held[0].as_py()
        cells[name] = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
    return json.dumps(cells, ensure_ascii=False, separators=(",", ":"), default=str)
