"""`quality.load_run`: one row per load of a sector table, failed ones included: what it read, did and cost."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError

from pipelines.contracts import system
from pipelines.contracts.model import Dataset
from pipelines.contracts.targets import delta
from pipelines.landing.arrow import bools, keep
from pipelines.landing.arrow import kernels as pc
from pipelines.landing.spec import TableSpec
from pipelines.landing.tables import ensure_table
from pipelines.runtime.delta import arrow_dataset
from pipelines.runtime.settings import Settings

log = logging.getLogger(__name__)

OK, FAILED = "ok", "failed"
_COMPACT_FILES = 100
_LISTS = {"new_columns": ", ", "files": " / "}
"""Lists that are one text in the table, and what parts them there; no name of a file has a slash."""


@dataclass(frozen=True)
class LoadRun:
    """What one load did. Times are UTC, `…_s` seconds of its phases; `status` is ok or failed (then `error` says why).

    `rows_extracted` were read; of them `unchanged` are in silver with the same content and `repeated` stood twice in
    the load: neither is stored again. The other effects count the rows applied to silver, which after a crash include
    those of the load before. `keys_compared`: how many keys the source had when silver was compared with them, None
    when it was not. A mark is the newest cursor read, in µs since 1970 or as counted. `new_columns` of the
    source are kept encrypted in bronze. `files` are the deliveries that were loaded.
    """

    run_id: str
    dataset: str
    started_at: datetime
    finished_at: datetime
    source: str | None = None
    mode: str | None = None
    rows_extracted: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    repeated: int = 0
    deleted: int = 0
    suppressed: int = 0
    quarantined: int = 0
    keys_compared: int | None = None
    staged_bytes: int = 0
    extract_s: float = 0.0
    judge_s: float = 0.0
    bronze_s: float = 0.0
    silver_s: float = 0.0
    mark_before: int | None = None
    mark_after: int | None = None
    status: str = OK
    error: str | None = None
    new_columns: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


def record(settings: Settings, result: LoadRun) -> None:
    """Append one result."""
    table = open_runs(settings)
    lists = {name: sign.join(getattr(result, name)) or None for name, sign in _LISTS.items()}
    row = {**asdict(result), **lists}
    rows = pa.Table.from_pylist([row], schema=delta.system_schema(system.LOAD_RUN))
    # A column that the table gained stands last in it.
    write_deltalake(table, rows.select([field.name for field in table.schema().fields]), mode="append")
    if len(table.file_uris()) >= _COMPACT_FILES:
        try:
            table.optimize.compact()
        except CommitFailedError as error:
            log.info("compaction of quality.load_run left to the next load", extra={"reason": str(error)})


def load_status(settings: Settings, dataset: Dataset) -> LoadRun | None:
    """Return the newest recorded load of a sector table, failed or not; None when it was never loaded."""
    return _newest(settings, pads.field("dataset") == dataset.id)


def finished_load(settings: Settings, dataset: Dataset, run_id: str) -> LoadRun | None:
    """Return the successful load of a dataset in one run, if it happened already."""
    condition = (pads.field("dataset") == dataset.id) & (pads.field("run_id") == run_id) & (pads.field("status") == OK)
    return _newest(settings, condition)


def last_comparison(settings: Settings, dataset: Dataset) -> datetime | None:
    """Return when the newest good load began (UTC) that compared all keys; None when none did."""
    condition = (pads.field("dataset") == dataset.id) & (pads.field("status") == OK)
    runs = arrow_dataset(open_runs(settings)).to_table(["started_at", "keys_compared"], filter=condition)
    # Not by the filter: the log says of a file from before the column that it has no NULL there.
    began = keep(runs, bools(pc.is_valid(runs["keys_compared"])))["started_at"]
    newest: datetime | None = pc.max(began).as_py()
    return newest


@dataclass(frozen=True)
class LastLoad:
    """How far the rows of a sector table can be trusted to be its source's: `good_at` is when its newest good load
    began (UTC; None before the first), `error` why the newest load failed, and `failed_at` when, if it did."""

    good_at: datetime | None
    failed_at: datetime | None = None
    error: str | None = None


def last_loads(settings: Settings) -> Mapping[str, LastLoad]:
    """Return the last load of every sector table that was ever tried, by dataset."""
    path = str(settings.table_path("quality", "load_run"))
    if not DeltaTable.is_deltatable(path):
        return {}
    columns = ["dataset", "started_at", "status", "error"]
    rows = arrow_dataset(DeltaTable(path)).to_table(columns).sort_by("started_at")
    found: dict[str, LastLoad] = {}
    for dataset, at, status, error in zip(*(rows[name].to_pylist() for name in columns), strict=True):
        good_at = at if status == OK else found[dataset].good_at if dataset in found else None
        found[dataset] = LastLoad(good_at) if status == OK else LastLoad(good_at, at, error or "")
    return found


def _newest(settings: Settings, condition: pads.Expression) -> LoadRun | None:
    if not (settings.table_path("quality", "load_run") / "_delta_log").is_dir():
        return None
    found = arrow_dataset(open_runs(settings)).to_table(filter=condition)
    if not found.num_rows:
        return None
    row: dict[str, Any] = found.sort_by([("started_at", "descending")]).slice(0, 1).to_pylist()[0]
    lists = {name: tuple(row[name].split(sign)) if row[name] else () for name, sign in _LISTS.items()}
    return LoadRun(**{**row, **lists, **{name: row[name] or 0 for name in ("deleted", "suppressed")}})


def open_runs(settings: Settings) -> DeltaTable:
    """Open the table, with every column that it has by now."""
    description = "Các lần thu nạp bảng ngành — Loads of sector tables"
    return ensure_table(
        settings, TableSpec("quality", "load_run", delta.system_schema(system.LOAD_RUN), description=description)
    )
