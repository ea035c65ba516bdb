"""A load between the source and the lake: a Parquet file of protected rows, each with what it carries of its load.

Behind the rows stand the keys that the source has besides, where deleted rows are told by them; the last of these is
empty, so that of an emptied source something is staged too, and an unknown set of keys is not taken for an empty one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.contracts import system
from pipelines.contracts.model import Dataset
from pipelines.contracts.targets import delta
from pipelines.ingestion.access import source_columns
from pipelines.ingestion.reading import Delivered, Position
from pipelines.landing.arrow import bools, repeat

LOAD_NUMBER, LOAD_ID, RECEIVED_AT, ORIGIN = ("lake_load_number", "load_id", "received_at", "origin")
MARK, FILE_NAME, FILE_ID = "lake_mark", "lake_file", "lake_file_id"
TOPIC_ID, OFFSET = "lake_topic_id", "lake_offset"
"""What a staged row carries of its load, so that a load finished after a crash is written as it was begun. MARK is how
far the load reads the source: its newest cursor in µs since 1970 or as counted, or the day of its file, NULL where
there is none; the file's name and identity are NULL for a table of a database; topic and offset are those of a captured
table alone."""
KEY_ONLY = "lake_key_only"
"""TRUE for what is no row, but the key of one that the source has."""
FORM = 3
"""Rises with the columns that are staged: dlt holds to those that it saw first."""
_CHUNK_ROWS = 250_000
"""What is looked at together: a comparison with silver reads as much for few rows as for many."""


_LATER = {"unknown_json", system.OPERATION}
"""Columns that bronze gained since there are marks: they change nothing of what is read."""


def fingerprint(dataset: Dataset) -> str:
    """Changes with what is read and stored: columns and types, in whatever order, and which of them tells deleted rows:
    some are in silver. Their titles stand in the schema too, and better words are no reason to read a table again."""
    schema = delta.arrow_schema(dataset, "bronze")
    stored = sorted((field.name, str(field.type)) for field in schema if field.name not in _LATER)
    told = dataset.sector.deletes.column if dataset.sector and dataset.sector.deletes else None
    return hashlib.sha256(f"{sorted(source_columns(dataset))}{stored}{told or ''}".encode()).hexdigest()[:8]


@dataclass(frozen=True)
class Load:
    """One load: its number among the loads of the dataset, its id in bronze, when it began (UTC), the origin of its
    rows, the mark up to which it reads the source, the file that it is of, and how far in its topic the changes of a
    captured table are read; None where there is none."""

    number: int
    load_id: str
    received_at: datetime
    origin: str
    mark: int | None
    file: Delivered | None = None
    position: Position | None = None

    def stamp(self, rows: pa.Table, *, key_only: bool = False) -> pa.Table:
        """Add the load's columns to a batch."""
        count = rows.num_rows
        stamped = rows.append_column(KEY_ONLY, repeat(key_only, count, pa.bool_()))
        stamped = stamped.append_column(MARK, repeat(self.mark, count, pa.int64()))
        name, identity = (self.file.name, self.file.identity) if self.file else (None, None)
        stamped = stamped.append_column(FILE_NAME, repeat(name, count, pa.string()))
        stamped = stamped.append_column(FILE_ID, repeat(identity, count, pa.string()))
        topic, offset = (self.position.topic, self.position.offset) if self.position else (None, None)
        stamped = stamped.append_column(TOPIC_ID, repeat(topic, count, pa.string()))
        stamped = stamped.append_column(OFFSET, repeat(offset, count, pa.int64()))
        stamped = stamped.append_column(LOAD_NUMBER, repeat(self.number, count, pa.int64()))
        stamped = stamped.append_column(LOAD_ID, repeat(self.load_id, count, pa.string()))
        instant = repeat(self.received_at, count, pa.timestamp("us", tz="UTC"))
        stamped = stamped.append_column(RECEIVED_AT, instant)
        return stamped.append_column(ORIGIN, repeat(self.origin, count, pa.string()))


class Staged:
    """A staged load that can be read more than once, in chunks of memory.

    `rows` is how many there are, `all_rows` how many with the keys behind them; `folder` is where it lies.
    """

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            ValueError: a row stands behind a key that is no row.
        """
        self._file: Any = pq.ParquetFile(path)
        self.folder = path.parent
        self.bytes: int = path.stat().st_size
        self.all_rows = self.rows = 0
        for batch in self._file.iter_batches(batch_size=_CHUNK_ROWS, columns=[KEY_ONLY]):
            key_only = bools(batch[KEY_ONLY])
            rows = int(np.count_nonzero(~key_only))
            if key_only[:rows].any() or (rows and self.has_keys):
                raise ValueError(f"{path.name} holds rows behind its keys")
            self.rows += rows
            self.all_rows += len(key_only)

    @property
    def has_keys(self) -> bool:
        """Whether the keys of all rows of the source are in it."""
        return self.all_rows > self.rows

    @property
    def number(self) -> int:
        """The number of the load, 0 when it has no row."""
        return int(self._first(LOAD_NUMBER) or 0)

    @property
    def mark(self) -> int | None:
        """Up to where the load reads the source."""
        return self.load.mark if self.number else None

    @property
    def file(self) -> Delivered | None:
        """The file that the load is of."""
        return self.load.file if self.number else None

    @property
    def load(self) -> Load:
        """The load itself; it has a row, or a key."""
        name, identity = self._first(FILE_NAME), self._first(FILE_ID)
        topic = self._first(TOPIC_ID)
        return Load(
            number=self._first(LOAD_NUMBER),
            load_id=self._first(LOAD_ID),
            received_at=self._first(RECEIVED_AT),
            origin=self._first(ORIGIN),
            mark=self._first(MARK),
            file=Delivered(name, identity) if name is not None else None,
            position=Position(topic, self._first(OFFSET)) if topic is not None else None,
        )

    def _first(self, column: str) -> Any:
        first = next(self._file.iter_batches(batch_size=1, columns=[column]), None)
        return first[0][0].as_py() if first else None

    def chunks(self, columns: Sequence[str] | None = None) -> Iterator[tuple[slice, pa.Table]]:
        """The rows in order, each chunk with its place among all."""
        start = 0
        for batch in self._file.iter_batches(batch_size=_CHUNK_ROWS, columns=columns and list(columns)):
            rows = pa.Table.from_batches([batch.slice(0, self.rows - start)])
            place = slice(start, start + rows.num_rows)
            start = place.stop
            if rows.num_rows:
                yield place, rows
            if start == self.rows:
                return

    def keys(self, key: Sequence[str]) -> Iterator[pa.Table]:
        """The keys of the rows, and those that stand behind them; none that has a NULL. One may come twice."""
        for batch in self._file.iter_batches(batch_size=_CHUNK_ROWS, columns=list(key)):
            yield pa.Table.from_batches([batch]).select(list(key)).drop_null()
