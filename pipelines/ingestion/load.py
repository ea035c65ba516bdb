"""One load of a sector table: extract → protect → bronze → silver, safe to end at any point and to run again.

What an earlier run left is finished first: rows that dlt staged but bronze lacks, then rows of bronze that silver
lacks. Only then the source is read.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
from cryptography.fernet import Fernet, MultiFernet

from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry
from pipelines.gateway.objects import open_store
from pipelines.gateway.tokens import load_tokeniser
from pipelines.ingestion import records
from pipelines.ingestion.bronze import Bronze, Load
from pipelines.ingestion.extract import extract, finish_pending, forget
from pipelines.ingestion.plan import sector_of
from pipelines.ingestion.protect import DETAIL, REASON, ROW_JSON, Protection
from pipelines.ingestion.records import IngestResult
from pipelines.ingestion.source import check_source, open_engine, source_of
from pipelines.landing.apply import PART, POSITION, Batch, Plan, Quality, Silver, outcome_rows
from pipelines.landing.arrow import kernels as pc
from pipelines.landing.arrow import repeat
from pipelines.landing.checks import Encrypt
from pipelines.landing.lease import lease
from pipelines.runtime.settings import Settings

log = logging.getLogger(__name__)

LEASE_WAIT_S = 300.0
Step = Callable[[str], None]
"""Told before each change that stays: `extract`, `bronze`, `silver`; tests end a run here."""


def no_step(_name: str) -> None:
    """Do nothing."""


def ingest(
    settings: Settings, registry: Registry, dataset_id: str, run_id: str, *, step: Step = no_step
) -> IngestResult:
    """Load one sector table in the settings' namespace and record the result in `quality.ingestion`.

    A run id that loaded the dataset already returns what it recorded then and reads nothing. A failed load is
    recorded too; the tables keep their last good rows.

    Raises:
        KeyError: no such dataset; LakeError: it is no sector table.
        SourceChanged, SourceUnavailable, LeaseHeld, TableDisagrees, sqlalchemy.exc.SQLAlchemyError: the load
        failed; the text says what to do.
    """
    dataset = registry.dataset(dataset_id)
    sector_of(dataset)
    with lease(settings, f"silver.{dataset.id}", wait_s=LEASE_WAIT_S):
        done = records.finished_load(settings, dataset, run_id)
        if done is not None:
            log.info("loaded already", extra={"dataset": dataset.id, "run_id": run_id})
            return done
        began = datetime.now(UTC)
        result = IngestResult(run_id=run_id, dataset=dataset.id, started_at=began, finished_at=began)
        try:
            result = _Loader(settings, registry, dataset, step).run(result)
        except Exception as error:
            failed = replace(result, finished_at=datetime.now(UTC), status=records.FAILED, error=_text(error))
            records.record(settings, failed)
            raise
        result = replace(result, finished_at=datetime.now(UTC))
        records.record(settings, result)
        return result


def row_encryption(settings: Settings) -> Encrypt:
    """Return the encryption of quarantined rows: the keys of the store of refused payloads, the newest first."""
    return MultiFernet([Fernet(key) for key in open_store(settings).keys]).encrypt


class _Loader:
    """The steps of one load; the lease is held."""

    def __init__(self, settings: Settings, registry: Registry, dataset: Dataset, step: Step) -> None:
        self.settings, self.registry, self.dataset, self.step = (settings, registry, dataset, step)
        self.encrypt = row_encryption(settings)
        self.bronze = Bronze(settings, dataset)
        self.extracted = 0
        self.counts: Counter[str] = Counter()

    def run(self, result: IngestResult) -> IngestResult:
        if not self.bronze.last_load:
            # The lake is new, whatever dlt remembers of an older one.
            forget(self.settings, self.dataset)
        finish_pending(self.settings, self.dataset, self._append)
        self._apply()
        new_columns = self._extract(result)
        self._apply()
        counts = self.counts
        return replace(
            result,
            rows_extracted=self.extracted,
            inserted=counts["inserted"],
            updated=counts["updated"],
            unchanged=counts["unchanged"],
            quarantined=counts["quarantined"],
            new_columns=new_columns,
        )

    def _extract(self, result: IngestResult) -> tuple[str, ...]:
        source = source_of(self.settings, self.dataset)
        engine = open_engine(source)
        try:
            new_columns = check_source(engine, self.dataset)
            if new_columns:
                log.warning(
                    "the source has columns that the contract does not know; they are not read",
                    extra={"dataset": self.dataset.id, "owner": self.dataset.owner, "columns": ", ".join(new_columns)},
                )
            number = self.bronze.last_load + 1
            load = Load(number, f"{result.run_id}/{number}", result.started_at, source.origin)
            protection = Protection(self.dataset, load_tokeniser(self.settings), self.encrypt)
            self.step("extract")
            extract(self.settings, self.dataset, engine, lambda batch: load.stamp(protection(batch)), self._append)
        finally:
            engine.dispose()
        return new_columns

    def _append(self, path: Path) -> None:
        self.step("bronze")
        self.extracted += self.bronze.append(path)

    def _apply(self) -> None:
        """Bring silver to the end of bronze."""
        silver = Silver.open(self.settings, self.registry, self.dataset, self.encrypt)
        start = silver.sink.committed(self.bronze.app) or 0
        if start >= self.bronze.end:
            self.bronze.settle()
            return
        quality = Quality.open(self.settings)
        refusals = self.bronze.refusals()
        for batch in self.bronze.unapplied(start):
            self.step("silver")
            plan = _plan(silver, batch, refusals)
            quality.write([plan.aside])
            silver.commit(plan)
            self.counts.update(plan.counts)
        self.bronze.settle()


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
