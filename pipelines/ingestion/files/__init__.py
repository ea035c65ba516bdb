"""A delivered file → Arrow batches by the source's column names, and what was wrong with it.

    check(path, layout)                            # whole, what it says it is, and harmless; its digest
    with open_file(path, layout, wanted) as file:
        file.columns                               # missing, unknown, double columns: the caller's drift rules judge
        for batch in file.batches(): ...           # every row, the bad ones with reason, sentence and raw text

How a file is fetched and how its rows are stored is not known here. `layout` is declared
(:mod:`pipelines.contracts.file_layout`); nothing is guessed. Batches hold one column for each wanted one that the file
has (all of them for JSON): text columns as strings in NFC; numbers as the text that a cast understands, or in Parquet's
own type; dates, instants (µs, UTC) and yes/no as such. Behind them stand `file_row`, `file_reason`, `file_detail` and
`file_raw` (:mod:`pipelines.ingestion.files.batch`). A batch that was given may be followed by an error: nothing is
stored for good before the last one came. CSV, NDJSON and Parquet of any size need constant memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from pipelines.contracts.file_layout import FileLayout
from pipelines.contracts.model import Dataset
from pipelines.ingestion.files.batch import DETAIL, OWN_COLUMNS, RAW, REASON, ROW
from pipelines.ingestion.files.columnar import Columnar
from pipelines.ingestion.files.delimited import Delimited
from pipelines.ingestion.files.errors import FileIncomplete, FileUnfit
from pipelines.ingestion.files.guard import check, check_name, opened, plain_stream
from pipelines.ingestion.files.headings import Matched
from pipelines.ingestion.files.reading import Reading
from pipelines.ingestion.files.records import Records
from pipelines.ingestion.files.values import Wanted
from pipelines.ingestion.files.workbook import Sheet

__all__ = [
    "DETAIL",
    "FileIncomplete",
    "FileUnfit",
    "Matched",
    "OWN_COLUMNS",
    "RAW",
    "REASON",
    "ROW",
    "Reading",
    "Wanted",
    "check",
    "open_file",
    "read",
    "wanted_of",
]


def wanted_of(dataset: Dataset) -> tuple[Wanted, ...]:
    """The columns that a contract reads; a tokenised field is read as text from its raw column."""
    from pipelines.contracts.logical_types import LogicalType

    text = LogicalType("string")
    found = {
        Wanted(item.tokenise.source, text) if item.tokenise else Wanted(item.name, item.type, item.title.vi): None
        for item in dataset.fields
    }
    return tuple({column.name: column for column in found}.values())


@contextmanager
def open_file(path: Path, layout: FileLayout, wanted: Sequence[Wanted], name: str | None = None) -> Iterator[Reading]:
    """Open a file that `check` let pass; `name` is what the sender called it, when `path` is called otherwise.

    Raises:
        FileUnfit: its headings cannot be read; see also `Reading.batches`.
    """
    name = path.name if name is None else name
    is_packed = check_name(name, layout)
    with opened(path) as (descriptor, _):
        if layout.format == "xlsx":
            with os.fdopen(os.dup(descriptor), "rb") as stream:
                yield Sheet(name, layout, wanted, stream)
        elif layout.format == "parquet":
            with pa.PythonFile(os.fdopen(os.dup(descriptor), "rb"), "r") as source:
                yield Columnar(name, layout, wanted, source)
        else:
            kind = Delimited if layout.format == "csv" else Records
            yield kind(name, layout, wanted, plain_stream(descriptor, is_packed=is_packed))


def read(path: Path, layout: FileLayout, wanted: Sequence[Wanted], name: str | None = None) -> Iterator[pa.RecordBatch]:
    """Check a file, then give its rows; columns that it has not are not in the batches.

    Raises:
        FileUnfit: it is not read, or not to its end.
    """
    check(path, layout, name)
    with open_file(path, layout, wanted, name) as file:
        yield from file.batches()
