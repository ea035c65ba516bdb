"""`quality.ingestion`: one row per load of a sector table, failed ones included; the verdicts read it."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError

from pipelines.contracts import system
from pipelines.contracts.logical_types import LogicalType
from pipelines.contracts.model import Dataset
from pipelines.contracts.targets import delta
from pipelines.landing.spec import TableSpec
from pipelines.landing.tables import ensure_table
from pipelines.runtime.settings import Settings

log = logging.getLogger(__name__)

OK, FAILED = "ok", "failed"
INGESTION: tuple[tuple[str, LogicalType], ...] = (
    ("run_id", system.STRING),
    ("dataset", system.STRING),
    ("started_at", system.TIMESTAMP),
    ("finished_at", system.TIMESTAMP),
    ("rows_extracted", system.BIGINT),
    ("inserted", system.BIGINT),
    ("updated", system.BIGINT),
    ("unchanged", system.BIGINT),
    ("quarantined", system.BIGINT),
    ("status", system.STRING),
    ("error", system.STRING),
    ("new_columns", system.STRING),
)
_COMPACT_FILES = 100


@dataclass(frozen=True)
class IngestResult:
    """What one load did. Times are UTC; `status` is ok or failed (then `error` says why); effects count the rows
    applied to silver, which after a crash include those of the load before; `new_columns` of the source are not read.
    """

    run_id: str
    dataset: str
    started_at: datetime
    finished_at: datetime
    rows_extracted: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    quarantined: int = 0
    status: str = OK
    error: str | None = None
    new_columns: tuple[str, ...] = ()


def record(settings: Settings, result: IngestResult) -> None:
    """Append one result."""
    table = _table(settings)
    row = {**asdict(result), "new_columns": ", ".join(result.new_columns) or None}
    schema = delta.system_schema(INGESTION)
    write_deltalake(table, pa.Table.from_pylist([row], schema=schema), mode="append")
    if len(table.file_uris()) >= _COMPACT_FILES:
        try:
            table.optimize.compact()
        except CommitFailedError as error:
            log.info("compaction of quality.ingestion left to the next load", extra={"reason": str(error)})


def load_status(settings: Settings, dataset: Dataset) -> IngestResult | None:
    """Return the newest recorded load of a sector table, failed or not; None when it was never loaded."""
    return _newest(settings, pads.field("dataset") == dataset.id)


def finished_load(settings: Settings, dataset: Dataset, run_id: str) -> IngestResult | None:
    """Return the successful load of a dataset in one run, if it happened already."""
    condition = (pads.field("dataset") == dataset.id) & (pads.field("run_id") == run_id) & (pads.field("status") == OK)
    return _newest(settings, condition)


def _newest(settings: Settings, condition: pads.Expression) -> IngestResult | None:
    if not (settings.table_path("quality", "ingestion") / "_delta_log").is_dir():
        return None
    found = _table(settings).to_pyarrow_dataset().to_table(filter=condition)
    if not found.num_rows:
        return None
    row: dict[str, Any] = found.sort_by([("started_at", "descending")]).slice(0, 1).to_pylist()[0]
    new_columns = tuple(row.pop("new_columns").split(", ")) if row["new_columns"] else ()
    row.pop("new_columns", None)
    return IngestResult(**row, new_columns=new_columns)


def _table(settings: Settings) -> DeltaTable:
    description = "Các lần thu nạp bảng ngành — Loads of sector tables"
    return ensure_table(
        settings, TableSpec("quality", "ingestion", delta.system_schema(INGESTION), description=description)
    )
