"""Staged rows → bronze, with running offsets, and back as batches that silver has not seen.

Two numbers ride in each bronze commit: the next raw offset (`ingest/<dataset>`, as in every other table) and the
load's own number (`ingest/<dataset>/load`), by which a load that is handed over twice is recognised.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
from deltalake import DeltaTable, write_deltalake

from pipelines.contracts.model import Dataset
from pipelines.contracts.targets import delta
from pipelines.ingestion.plan import sector_of
from pipelines.ingestion.protect import DETAIL, REASON, ROW_JSON, refusal_schema
from pipelines.landing.apply import PART, POSITION, Batch
from pipelines.landing.arrow import kernels as pc
from pipelines.landing.arrow import repeat
from pipelines.landing.sink import Sink
from pipelines.landing.tables import bronze_spec
from pipelines.runtime.settings import Settings

BATCH_ROWS = 50_000
LOAD_NUMBER, LOAD_ID, RECEIVED_AT, ORIGIN = ("lake_load_number", "load_id", "received_at", "origin")
"""What a staged row carries of its load, so that a load finished after a crash is written as it was begun."""
RAW_PARTITION = 0


@dataclass(frozen=True)
class Load:
    """One load: its number among the loads of the dataset, its id in bronze, when it began (UTC), and the origin."""

    number: int
    load_id: str
    received_at: datetime
    origin: str

    def stamp(self, rows: pa.Table) -> pa.Table:
        """Add the load's columns to a batch."""
        count = rows.num_rows
        stamped = rows.append_column(LOAD_NUMBER, repeat(self.number, count, pa.int64()))
        stamped = stamped.append_column(LOAD_ID, repeat(self.load_id, count, pa.string()))
        instant = repeat(self.received_at, count, pa.timestamp("us", tz="UTC"))
        stamped = stamped.append_column(RECEIVED_AT, instant)
        return stamped.append_column(ORIGIN, repeat(self.origin, count, pa.string()))


class Bronze:
    """The bronze table of one sector dataset; the caller holds the dataset's lease."""

    def __init__(self, settings: Settings, dataset: Dataset) -> None:
        """Create or check the table and open it."""
        self.dataset = dataset
        self.sink = Sink.open(settings, bronze_spec(dataset))
        self.app = f"ingest/{dataset.id}"
        self._refusals = settings.lake_root / settings.namespace / "_loads" / dataset.id

    @property
    def end(self) -> int:
        """The next raw offset."""
        return self.sink.committed(self.app) or 0

    @property
    def last_load(self) -> int:
        """The number of the newest load, 0 before the first."""
        return self.sink.committed(f"{self.app}/load") or 0

    def append(self, path: Path) -> int:
        """Append a staged Parquet file in one commit, in batches of memory; returns the rows appended.

        A load whose number is in the table already is left alone and counts 0.
        """
        staged = pq.ParquetFile(path)
        count = staged.metadata.num_rows
        number = next(staged.iter_batches(batch_size=1, columns=[LOAD_NUMBER]))[0][0].as_py() if count else 0
        if number <= self.last_load:
            return 0
        start = self.end
        # Before the commit: once the rows are in bronze, why they were refused must be known.
        self._keep_refusals(staged, number, start)
        schema = delta.arrow_schema(self.dataset, "bronze")
        reader = pa.RecordBatchReader.from_batches(schema, self._shaped(staged, start, schema))
        ends = {self.app: start + count, f"{self.app}/load": number}
        table: DeltaTable = self.sink.table
        write_deltalake(
            table,
            reader,
            mode="append",
            commit_properties=self.sink.properties(ends),
            writer_properties=self.sink.writer_properties,
        )
        self.sink.refresh()
        return count

    def _shaped(self, staged: pq.ParquetFile, start: int, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        sector = sector_of(self.dataset)
        name = f"{sector.schema_name}.{sector.table}"
        for batch in staged.iter_batches(batch_size=BATCH_ROWS):
            rows = pa.Table.from_batches([batch])
            count = rows.num_rows
            keys = [pc.fill_null(pc.cast(rows[key], pa.string()), "") for key in self.dataset.key]
            offsets = pa.array(np.arange(start, start + count), pa.int64())
            start += count
            added = {
                "raw_topic": repeat(f"sector.{name}", count, pa.string()),
                "raw_partition": repeat(RAW_PARTITION, count, pa.int32()),
                "raw_offset": offsets,
                "record_key": pc.binary_join_element_wise(*keys, "|"),
                "source": repeat(f"{sector.system}:{self.dataset.owner}", count, pa.string()),
                "received_date": pc.cast(pc.cast(rows[RECEIVED_AT], pa.timestamp("us")), pa.date32(), safe=False),
            }
            columns = [added[field.name] if field.name in added else rows[field.name] for field in schema]
            yield from pa.table(columns, schema=schema).to_batches()

    def _keep_refusals(self, staged: pq.ParquetFile, number: int, start: int) -> None:
        """Put the refused rows of a load beside the table until they are in quarantine; atomic."""
        parts = []
        for batch in staged.iter_batches(batch_size=BATCH_ROWS, columns=[REASON, DETAIL, ROW_JSON]):
            rows = pa.Table.from_batches([batch])
            offsets = pa.array(np.arange(start, start + rows.num_rows), pa.int64())
            start += rows.num_rows
            parts.append(rows.append_column("raw_offset", offsets).filter(pc.is_valid(rows[REASON])))
        refused = pa.concat_tables(parts)
        if not refused.num_rows:
            return
        self._refusals.mkdir(parents=True, exist_ok=True)
        target = self._refusals / f"{number}.parquet"
        temporary = target.with_suffix(".new")
        pq.write_table(refused, temporary)
        os.replace(temporary, target)

    def refusals(self) -> pa.Table:
        """The refused rows of all loads in the table that are not settled yet: the refusal columns and raw_offset."""
        empty = refusal_schema().append(pa.field("raw_offset", pa.int64())).empty_table()
        numbers = sorted(int(path.stem) for path in self._refusals.glob("*.parquet"))
        kept = [pq.read_table(self._refusals / f"{n}.parquet") for n in numbers if n <= self.last_load]
        return pa.concat_tables([empty, *kept])

    def settle(self) -> None:
        """Forget the refused rows: silver and quarantine have everything that is in the table."""
        for path in self._refusals.glob("*.parquet"):
            if int(path.stem) <= self.last_load:
                path.unlink()

    def unapplied(self, start: int) -> Iterator[Batch]:
        """The rows from raw offset `start` on, as batches for :func:`pipelines.landing.apply.apply`, in order."""
        end = self.end
        source = self.sink.table.to_pyarrow_dataset()
        offset = pads.field("raw_offset")
        own = [field.name for field in self.dataset.fields]
        wanted = [*own, ORIGIN, RECEIVED_AT, "raw_partition", "raw_offset"]
        for low in range(start, end, BATCH_ROWS):
            high = min(low + BATCH_ROWS, end)
            rows = source.to_table(columns=wanted, filter=(offset >= low) & (offset < high)).sort_by("raw_offset")
            count = rows.num_rows
            rows = rows.append_column("revision", repeat(0, count, pa.int32()))
            rows = rows.append_column("disposition", repeat("on_time", count, pa.string()))
            rows = rows.append_column(PART, rows["raw_partition"]).append_column(POSITION, rows["raw_offset"])
            yield Batch(rows, {RAW_PARTITION: self.app}, {RAW_PARTITION: high})
