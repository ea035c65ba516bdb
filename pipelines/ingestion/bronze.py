"""Staged rows → bronze, with running offsets, and back as batches that silver has not seen.

Numbers ride in each bronze commit: the next raw offset (`ingest/<dataset>`, as in every other table), the load's own
number (`…/load`), by which a load that is handed over twice is recognised, the mark up to which the source was read
(`…/mark/<columns>`), which file it was (`…/file/<columns>/<identity>`), and how far in its topic a captured table was
read (`…/position/<columns>/<topic>`): they are stored together with the rows or not at all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from pipelines.contracts import system
from pipelines.contracts.model import Dataset
from pipelines.contracts.targets import delta
from pipelines.ingestion.judge import Judged, refusals
from pipelines.ingestion.noted import Note
from pipelines.ingestion.plan import sector_of
from pipelines.ingestion.protect import refusal_schema
from pipelines.ingestion.staged import ORIGIN, RECEIVED_AT, Load, Staged, fingerprint
from pipelines.landing.apply import IS_DELETE, PART, POSITION, Batch, Silver
from pipelines.landing.arrow import Column, integers, keep, nulls, repeat
from pipelines.landing.arrow import kernels as pc
from pipelines.landing.rewrite import append_parts
from pipelines.landing.sink import Sink
from pipelines.landing.tables import bronze_spec
from pipelines.runtime.delta import arrow_dataset
from pipelines.runtime.settings import Settings

BATCH_ROWS = 50_000
_APPLIED_BYTES = 64 * 1024 * 1024
"""What silver takes in one commit, in memory. Rows differ by a factor of a hundred (a code, a parcel's boundary), so
bytes are the bound and the number of rows follows."""
_APPLIED_ROWS = 1_000_000
RAW_PARTITION = 0


class Bronze:
    """The bronze table of one sector dataset; the caller holds the dataset's lease."""

    def __init__(self, settings: Settings, dataset: Dataset) -> None:
        """Create or check the table and open it."""
        self.dataset = dataset
        self.sink = Sink.open(settings, bronze_spec(dataset))
        self.app = f"ingest/{dataset.id}"
        self._columns = fingerprint(dataset)
        self._refusals = settings.lake_root / settings.namespace / "_loads" / dataset.id

    @property
    def end(self) -> int:
        """The next raw offset."""
        return self.sink.committed(self.app) or 0

    @property
    def last_load(self) -> int:
        """The number of the newest load, 0 before the first."""
        return self.sink.committed(f"{self.app}/load") or 0

    @property
    def mark(self) -> int | None:
        """Up to where the source was read with the contract's columns; None: with these it never was."""
        return self.sink.committed(self._mark)

    def holds_file(self, identity: str) -> bool:
        """Whether a file of this identity was loaded with the contract's columns."""
        return self.sink.committed(self._file(identity)) is not None

    def _file(self, identity: str) -> str:
        return f"{self.app}/file/{self._columns}/{identity}"

    def position(self, topic: str) -> int | None:
        """The next offset of a topic of changes, by its id; None: none of it was loaded with the contract's columns."""
        return self.sink.committed(self._position(topic))

    def knows_topic(self, topic: str) -> bool:
        """Whether anything of a topic was loaded, with whatever columns."""
        return self.sink.committed(self._topic(topic)) is not None

    def _position(self, topic: str) -> str:
        return f"{self.app}/position/{self._columns}/{topic}"

    def _topic(self, topic: str) -> str:
        return f"{self.app}/topic/{topic}"

    @property
    def _mark(self) -> str:
        return f"{self.app}/mark/{self._columns}"

    def append(self, staged: Staged, judged: Judged, silver: Silver) -> None:
        """Append what is worth storing of a staged load in one commit, in chunks of memory.

        A load that brings nothing, moves no mark and is of no file makes no commit.
        """
        start, count = self.end, judged.stored_rows + judged.gone.num_rows
        ends = {self.app: start + count, **self._ends(staged.load)}
        if not count and len(ends) == 2:
            return
        # Before the commit: once the rows are in bronze, why they were refused must be known.
        self._keep_refusals(staged, judged, silver, start)
        schema = delta.arrow_schema(self.dataset, "bronze")
        parts = (rows for rows in self._shaped(staged, judged, start, schema) if rows.num_rows)
        first, second = next(parts, schema.empty_table()), next(parts, None)
        if second is None:
            self.sink.append(first, ends)
        else:
            append_parts(self.sink, chain((first, second), parts), ends)
        self.sink.refresh()

    def note(self, load: Load) -> None:
        """Remember a load without a row."""
        self.sink.append(self.sink.spec.schema.empty_table(), self._ends(load))

    def _ends(self, load: Load) -> dict[str, int]:
        """What a load is remembered by."""
        number, mark, file = load.number, load.mark, load.file
        ends = {f"{self.app}/load": number}
        # The log knows no numbers below zero: cursors before 1970 are read again each time.
        if mark is not None and mark > max(self.mark or 0, 0):
            ends[self._mark] = mark
        if file is not None:
            ends[self._file(file.identity)] = number
        if load.position is not None:
            ends[self._position(load.position.topic)] = load.position.offset
            ends[self._topic(load.position.topic)] = number
        return ends

    def _shaped(self, staged: Staged, judged: Judged, start: int, schema: pa.Schema) -> Iterator[pa.Table]:
        sector = sector_of(self.dataset)
        source = f"{sector.source}/{staged.file.name}" if staged.file else sector.source
        for operations, rows in _stored(staged, judged, schema):
            count = rows.num_rows
            keys = [pc.fill_null(pc.cast(rows[key], pa.string()), "") for key in self.dataset.key]
            offsets = pa.array(np.arange(start, start + count), pa.int64())
            start += count
            added = {
                "raw_topic": repeat(f"sector.{sector.place}", count, pa.string()),
                "raw_partition": repeat(RAW_PARTITION, count, pa.int32()),
                "raw_offset": offsets,
                "record_key": pc.binary_join_element_wise(*keys, "|"),
                "source": repeat(source, count, pa.string()),
                system.OPERATION: operations,
                "received_date": pc.cast(pc.cast(rows[RECEIVED_AT], pa.timestamp("us")), pa.date32(), safe=False),
            }
            columns = [added[field.name] if field.name in added else rows[field.name] for field in schema]
            yield pa.table(columns, schema=schema)

    def _keep_refusals(self, staged: Staged, judged: Judged, silver: Silver, start: int) -> None:
        """Put the refused rows of a load beside the table until they are in quarantine; atomic."""
        if not judged.refused:
            return
        parts = [self.refusals().slice(0, 0)]
        for place, chunk in staged.chunks():
            twice, told = (judged.notes.of(place, note) for note in (Note.DOUBLED, Note.TOLD))
            found = refusals(chunk, twice, told, silver)
            stored = judged.stored(place)
            offsets = start + np.cumsum(stored) - 1
            start += int(stored.sum())
            numbers = pa.array(offsets[integers(found["position"])], pa.int64())
            parts.append(found.drop_columns("position").append_column("raw_offset", numbers))
        refused = pa.concat_tables(parts)
        if not refused.num_rows:
            return
        self._refusals.mkdir(parents=True, exist_ok=True)
        target = self._refusals / f"{staged.number}.parquet"
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
        source = arrow_dataset(self.sink.table)
        offset = pads.field("raw_offset")
        own = [field.name for field in self.dataset.fields]
        wanted = [*own, ORIGIN, RECEIVED_AT, "raw_partition", "raw_offset", system.OPERATION]
        low, step = start, BATCH_ROWS
        while low < end:
            high = min(low + step, end)
            rows = source.to_table(columns=wanted, filter=(offset >= low) & (offset < high)).sort_by("raw_offset")
            count = rows.num_rows
            if count:
                step = min(max(_APPLIED_BYTES * count // rows.nbytes, 1), _APPLIED_ROWS)
            rows = rows.append_column(IS_DELETE, pc.fill_null(pc.equal(rows[system.OPERATION], system.DELETE), False))
            rows = rows.drop_columns([system.OPERATION]).append_column("revision", repeat(0, count, pa.int32()))
            rows = rows.append_column("disposition", repeat("on_time", count, pa.string()))
            rows = rows.append_column(PART, rows["raw_partition"]).append_column(POSITION, rows["raw_offset"])
            yield Batch(rows, {RAW_PARTITION: self.app}, {RAW_PARTITION: high})
            low = high


def _stored(staged: Staged, judged: Judged, schema: pa.Schema) -> Iterator[tuple[Column, pa.Table]]:
    """The rows that go to bronze, with what each asks of silver: those of the load, then the keys that are gone."""
    for place, chunk in staged.chunks():
        stored = judged.stored(place)
        deletes = pa.array(judged.notes.of(place, Note.DELETED)[stored])
        yield pc.if_else(deletes, system.DELETE, system.UPSERT), keep(chunk, stored)
    load = staged.load
    for start in range(0, judged.gone.num_rows, BATCH_ROWS):
        rows = load.stamp(judged.gone.slice(start, BATCH_ROWS))
        for name in set(schema.names) - set(rows.column_names):
            rows = rows.append_column(name, nulls(rows.num_rows, schema.field(name).type))
        yield repeat(system.DELETE, rows.num_rows, pa.string()), rows
