"""One load of a sector table: extract → protect → judge → bronze → silver, safe to end at any point and to run again.

What an earlier run left is finished first: rows of bronze that silver lacks, then rows that dlt staged but bronze
lacks. Only then the source is read.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa

from pipelines.contracts.durations import kept_from
from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry
from pipelines.gateway.tokens import load_tokeniser
from pipelines.ingestion import findings, records
from pipelines.ingestion.access import Access, access_to, key_columns
from pipelines.ingestion.bronze import Bronze
from pipelines.ingestion.capture.loading import catch_up, read_changes
from pipelines.ingestion.extract import finish_pending, forget, stage
from pipelines.ingestion.files import FileUnfit
from pipelines.ingestion.findings import Finding
from pipelines.ingestion.judge import Intolerable, judge
from pipelines.ingestion.marks import number_of
from pipelines.ingestion.noted import Note
from pipelines.ingestion.plan import sector_of
from pipelines.ingestion.progress import Progress
from pipelines.ingestion.protect import DETAIL, REASON, ROW_JSON, UNKNOWN, Protection
from pipelines.ingestion.reading import (
    Delivered,
    Reading,
    pending_files,
    read_file,
    read_service,
    read_table,
)
from pipelines.ingestion.records import LoadRun
from pipelines.ingestion.staged import Load, Staged
from pipelines.ingestion.trouble import SourceChanged
from pipelines.ingestion.window import is_open
from pipelines.landing.apply import PART, POSITION, Batch, Plan, Quality, Silver, outcome_rows
from pipelines.landing.arrow import keep, nulls, repeat
from pipelines.landing.arrow import kernels as pc
from pipelines.landing.lease import lease
from pipelines.landing.watch import encryptor
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import DEFAULT_NAMESPACE, Settings

log = logging.getLogger(__name__)

LEASE_WAIT_S = 300.0
_EARLY = 0.9
Step = Callable[[str], None]
"""Told before each change that stays: `extract`, `bronze`, `silver`; tests end a run here."""


def no_step(_name: str) -> None:
    """Do nothing."""


def ingest(
    settings: Settings,
    registry: Registry,
    dataset_id: str,
    run_id: str,
    *,
    since: datetime | None = None,
    step: Step = no_step,
) -> LoadRun:
    """Load one sector table in the settings' namespace and record the result in `quality.load_run`.

    `since` (UTC): what changed from then on is read again, although it was read before; rows that are in silver already
    are counted as unchanged. What is read as a whole is read as a whole all the same, and a file once.

    A run id that loaded the dataset already returns what it recorded then and reads nothing. A failed load is
    recorded too; the tables keep their last good rows.

    Raises:
        KeyError: no such dataset; LakeError: it is no sector table, or `since` is asked of a cursor that counts.
        ConnectionMissing, SourceError, Intolerable, LeaseHeld, TableDisagrees: the load failed; the text says what
        to do.
    """
    dataset = registry.dataset(dataset_id)
    sector_of(dataset)
    if since is not None and dataset.cursor_counts:
        raise LakeError(
            f"{dataset.id}: its cursor {sector_of(dataset).cursor} is a number, which says nothing of a date.",
            "Leave the date out for this table.",
        )
    with lease(settings, f"silver.{dataset.id}", wait_s=LEASE_WAIT_S):
        done = records.finished_load(settings, dataset, run_id)
        if done is not None:
            log.info("loaded already", extra={"dataset": dataset.id, "run_id": run_id})
            return done
        began = datetime.now(UTC)
        result = LoadRun(run_id=run_id, dataset=dataset.id, started_at=began, finished_at=began)
        loader = _Loader(settings, registry, dataset, since, step)
        found: Finding | None = None
        try:
            result = loader.run(result)
        except Exception as error:
            found = findings.of_error(error)
            result = replace(result, status=records.FAILED, error=_text(error))
            raise
        finally:
            result = replace(result, finished_at=datetime.now(UTC))
            records.record(settings, result)
            if found or result.status == records.OK:
                loader.tell(result, found)
        return result


def oldest_kept(settings: Settings, dataset: Dataset, now: datetime) -> datetime | None:
    """The cursor value (UTC) from which on rows are read: a source that keeps rows longer than silver does must not
    bring them back. None where retention deletes nothing, which is in every namespace but the city's."""
    return kept_from(dataset.retention.silver, now) if settings.namespace == DEFAULT_NAMESPACE else None


class _Loader:
    """The steps of one load; the lease is held."""

    def __init__(
        self, settings: Settings, registry: Registry, dataset: Dataset, since: datetime | None, step: Step
    ) -> None:
        self.settings, self.registry, self.dataset, self.since, self.step = settings, registry, dataset, since, step
        self.encrypt = encryptor(settings)
        self.bronze = Bronze(settings, dataset)
        self.silver = Silver.open(settings, registry, dataset, self.encrypt)
        self.counts: Counter[str] = Counter()
        self.seconds: Counter[str] = Counter()
        self.staged_bytes = 0
        self.keys_compared: int | None = None
        self.rejected: Intolerable | None = None
        self.new_columns: set[str] | None = None
        self.files: list[str] = []

    @property
    def scratch(self) -> Path:
        """Where what is fetched lies while it is read."""
        return self.settings.state / "deliveries" / self.settings.namespace

    def run(self, result: LoadRun) -> LoadRun:
        """Do everything; returns the result with its counts.

        Raises:
            Intolerable, and whatever the source or a table raises.
        """
        sector, mark_before = sector_of(self.dataset), self.bronze.mark
        self._apply()
        if not self.bronze.last_load:
            # The lake is new, whatever dlt staged for an older one.
            forget(self.settings, self.dataset)
        finish_pending(self.settings, self.dataset, self._append)
        self._apply()
        # What was staged is read again by what follows: it moved no mark.
        self.rejected = None
        access = access_to(self.settings, self.registry, self.dataset)
        if sector.mode == "capture" and self.settings.sector_sample is None:
            self._take_changes(result, access)
        elif access.source.is_database:
            self._take(result, access, read_table(access, self.dataset, self._since(), keys=self._asks_keys(result)))
        elif sector.request is not None:
            self._take(result, access, read_service(access, self.dataset, self._since(), self.scratch))
        else:
            self._take_files(result, access)
        counts, seconds = self.counts, self.seconds
        return replace(
            result,
            source=sector.source,
            mode=sector.mode,
            rows_extracted=counts["extracted"],
            inserted=counts["inserted"],
            updated=counts["updated"],
            unchanged=counts["unchanged"],
            repeated=counts["repeated"],
            deleted=counts["deleted"],
            suppressed=counts["suppressed"],
            quarantined=counts["quarantined"],
            keys_compared=self.keys_compared,
            staged_bytes=self.staged_bytes,
            extract_s=round(seconds["extract"], 3),
            judge_s=round(seconds["judge"], 3),
            bronze_s=round(seconds["bronze"], 3),
            silver_s=round(seconds["silver"], 3),
            mark_before=mark_before,
            mark_after=self.bronze.mark,
            new_columns=tuple(sorted(self.new_columns or ())),
            files=tuple(self.files),
        )

    def tell(self, result: LoadRun, error: Finding | None) -> None:
        """Tell the steward what the load met at the source, and what it did not meet any more."""
        columns = () if self.new_columns is None else findings.of_columns(self.dataset, self.new_columns)
        found = [*columns, *([error] if error else [])]
        seen = self.new_columns is not None
        findings.settle(self.settings, self.dataset, result.run_id, result.finished_at, found, columns_seen=seen)

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[phase] += time.monotonic() - began  # type: ignore[assignment]

    def _take_changes(self, result: LoadRun, access: Access) -> None:
        """Load what a captured table has told by now.

        Raises:
            SourceUnavailable: not everything that it has done is told yet; what was is loaded.
        """
        behind = catch_up(self.settings, access, self.dataset, self.bronze)
        self._take(result, access, read_changes(self.settings, access, self.dataset, self.bronze))
        if behind:
            raise behind

    def _take_files(self, result: LoadRun, access: Access) -> None:
        """Load every file that is news, the oldest first.

        A whole table that cannot be read is passed over for a newer one, and told at the end; changes are not: what
        follows them waits until they are sent again.

        Raises:
            FileUnfit, SourceChanged, Intolerable: what was wrong with the first of them.
        """
        bronze = self.bronze
        inbox, found = pending_files(access, self.dataset, self.scratch, bronze.mark, bronze.holds_file)
        failed: Exception | None = None
        for news in found:
            try:
                self._take(result, access, read_file(inbox, self.dataset, news))
            except (FileUnfit, SourceChanged, Intolerable) as error:
                if sector_of(self.dataset).mode == "changes":
                    raise
                failed = failed or error
                self.rejected = None
        if failed:
            raise failed

    def _take(self, result: LoadRun, access: Access, opened: AbstractContextManager[Reading]) -> None:
        """Stage one read, judge and store it.

        Raises:
            Intolerable, and whatever the source or a table raises.
        """
        with opened as reading:
            number = self.bronze.last_load + 1
            load_id = f"{result.run_id}/{number}"
            began, position = result.started_at, reading.position
            load = Load(number, load_id, began, access.origin, reading.mark, reading.file, position)
            protection = Protection(self.dataset, load_tokeniser(self.settings), self.encrypt)
            self.step("extract")
            read = Progress(self.dataset.id, "read", reading.rows_estimate)

            def protect(batch: pa.Table) -> pa.Table:
                read.add(batch.num_rows)
                rows, is_erased = self.silver.suppress(protection(batch), UNKNOWN)
                self.counts["suppressed"] += int(is_erased.sum())
                return load.stamp(keep(rows, ~is_erased))

            def behind() -> Iterator[pa.Table]:
                # A file without a row is told apart below: it says nothing of any key.
                if reading.file is None or read.rows:
                    yield from _keys(reading, load, protection)

            with self._timed("extract"):
                stage(self.settings, self.dataset, reading.batches, protect, behind())
            self.new_columns = {*(self.new_columns or ()), *reading.new_columns()}
        # The source is left alone before its rows are judged and stored.
        finish_pending(self.settings, self.dataset, self._append)
        if self.rejected:
            raise self.rejected
        if reading.file is not None:
            if not read.rows:
                self._note_empty(reading.file, load)
            self.files.append(reading.file.name)
        elif reading.position is not None and not read.rows:
            self.step("bronze")
            self.bronze.note(load)
        self._apply()

    def _note_empty(self, file: Delivered, load: Load) -> None:
        """A file of changes may have none; a table is not emptied by a file without a row.

        Raises:
            FileUnfit: the file is a whole table.
        """
        if sector_of(self.dataset).mode == "snapshot":
            raise FileUnfit(
                file.name, f"it is a whole table of {self.dataset.id} without a row", "Send it with its rows."
            )
        self.step("bronze")
        self.bronze.note(load)

    def _since(self) -> int | None:
        """The mark from which on the source is read: the last one less the lag, or what was asked for where that is
        earlier, or everything that is kept."""
        sector, mark = sector_of(self.dataset), self.bronze.mark
        if sector.mode in {"snapshot", "capture"}:
            return None
        if self.dataset.cursor_counts:
            return mark
        read = None if mark is None else mark - sector.lag // timedelta(microseconds=1)
        if read is not None and self.since is not None:
            read = min(read, number_of(self.since))
        oldest = oldest_kept(self.settings, self.dataset, datetime.now(UTC))
        kept = None if oldest is None else number_of(oldest)
        return max((at for at in (read, kept) if at is not None), default=None)

    def _asks_keys(self, result: LoadRun) -> bool:
        """Whether the source is to say which rows it has. Where changes are read by a cursor, that is a read of its
        own: in the window of the source, and as often as the contract says; a load that begins a little earlier than
        the last one did is not a whole turn late."""
        sector, began = sector_of(self.dataset), result.started_at
        if not sector.compares_keys or sector.cursor is None:
            return sector.compares_keys
        if not is_open(self.settings, self.registry, self.dataset, began):
            return False
        last = records.last_comparison(self.settings, self.dataset) if sector.deletes_every else None
        return last is None or sector.deletes_every is None or began - last >= _EARLY * sector.deletes_every

    def _append(self, path: Path) -> None:
        """Take a staged load into bronze, unless it is there, or breaks its contract too often."""
        staged = Staged(path)
        if staged.number <= self.bronze.last_load:
            return
        with self._timed("judge"):
            judged = judge(staged, self.silver)
        try:
            judged.check(self.dataset, sector_of(self.dataset))
        except Intolerable as error:
            # dlt would keep what raised, and hand it over again and again.
            self.rejected = error
            return
        self.step("bronze")
        with self._timed("bronze"):
            self.bronze.append(staged, judged, self.silver)
        self.keys_compared = judged.keys if judged.keys is not None else self.keys_compared
        self.staged_bytes += staged.bytes
        self.counts.update(
            extracted=judged.rows,
            unchanged=judged.notes.count(Note.UNCHANGED),
            repeated=judged.notes.count(Note.REPEATED),
        )

    def _apply(self) -> None:
        """Bring silver to the end of bronze."""
        silver = self.silver
        start = silver.sink.committed(self.bronze.app) or 0
        if start >= self.bronze.end:
            self.bronze.settle()
            return
        quality = Quality.open(self.settings)
        refusals = self.bronze.refusals()
        stored = Progress(self.dataset.id, "store", self.bronze.end - start)
        for batch in self.bronze.unapplied(start):
            self.step("silver")
            with self._timed("silver"):
                plan = _plan(silver, batch, refusals)
                quality.write([plan.aside])
                silver.commit(plan)
            self.counts.update(plan.counts)
            stored.add(batch.rows.num_rows)
        self.bronze.settle()


def _keys(reading: Reading, load: Load, protection: Protection) -> Iterator[pa.Table]:
    """What is staged behind the rows where the source says which rows it has; the last key is empty."""
    if reading.keys is None:
        return
    for batch in reading.keys:
        yield load.stamp(protection.keys(pa.Table.from_batches([batch])), key_only=True)
    last = pa.table({name: nulls(1, pa.string()) for name in key_columns(protection.dataset)})
    yield load.stamp(protection.keys(last), key_only=True)


def _plan(silver: Silver, batch: Batch, refusals: pa.Table) -> Plan:
    """Plan a batch; its refused rows go to quarantine with the reason that conversion gave."""
    is_refused = pc.is_in(batch.rows["raw_offset"], value_set=pc.unique(refusals["raw_offset"]))
    refused = batch.rows.filter(is_refused)
    if not refused.num_rows:
        return silver.plan(batch)
    plan = silver.plan(replace(batch, rows=batch.rows.filter(pc.invert(is_refused))))
    of_batch = refusals.filter(pc.is_in(refusals["raw_offset"], value_set=pc.unique(refused["raw_offset"])))
    of_batch = of_batch.sort_by("raw_offset")
    count = refused.num_rows
    columns = {
        "dataset": repeat(silver.dataset.id, count, pa.string()),
        "reason": of_batch[REASON],
        "detail": of_batch[DETAIL],
        "row_json": of_batch[ROW_JSON],
        **{name: refused[name] for name in ("raw_partition", "raw_offset", "received_at", PART, POSITION)},
    }
    quarantine = pa.table({name: columns[name] for name in plan.quarantine.column_names})
    outcomes = outcome_rows(silver.dataset.id, refused, repeat("quarantined", count, pa.string()))
    return replace(
        plan,
        counts={**plan.counts, "quarantined": plan.counts["quarantined"] + count},
        quarantine=pa.concat_tables([plan.quarantine, quarantine]),
        outcomes=pa.concat_tables([plan.outcomes, outcomes]),
    )


def _text(error: Exception) -> str:
    """The first 2,000 characters of an error, as it is recorded."""
    return (str(error) or type(error).__name__)[:2000]
