"""`quality.finding`: what a department has to mend at a source, from the first load that met it until one that did not.

A load that fails says so in `quality.load_run` each time; a finding says it once, to the steward of the data, and ends
by itself. A source that is away is no finding: it is told as stale.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads
from deltalake import DeltaTable, write_deltalake

from pipelines.contracts import system
from pipelines.contracts.model import Dataset, Text
from pipelines.contracts.targets import delta
from pipelines.ingestion.files import FileIncomplete, FileUnfit
from pipelines.ingestion.judge import TooManyDeleted, TooManyRefused
from pipelines.ingestion.trouble import SourceChanged, WrongCredentials
from pipelines.landing.spec import TableSpec
from pipelines.landing.tables import ensure_table
from pipelines.runtime.delta import arrow_dataset
from pipelines.runtime.settings import Settings

NEW_COLUMN = "new_column"
WORDS: Mapping[str, Text] = {
    "source_changed": Text(vi="bảng nguồn khác hợp đồng", en="the source is not what the contract says"),
    "too_many_refused": Text(vi="quá nhiều dòng sai", en="too many rows break the contract"),
    "too_many_deleted": Text(vi="quá nhiều dòng bị xoá", en="too many rows would be deleted"),
    "file_unfit": Text(vi="tệp không đọc được", en="a file cannot be read"),
    "sign_in_refused": Text(vi="nguồn từ chối đăng nhập", en="the source refuses our sign-in"),
    NEW_COLUMN: Text(vi="cột mới ở nguồn", en="a new column at the source"),
}
"""Kinds of findings in words for people."""
_ERRORS: tuple[tuple[type[Exception], str], ...] = (
    (SourceChanged, "source_changed"),
    (TooManyRefused, "too_many_refused"),
    (TooManyDeleted, "too_many_deleted"),
    (WrongCredentials, "sign_in_refused"),
    (FileUnfit, "file_unfit"),
)
OPEN, CLOSED = "open", "closed"


@dataclass(frozen=True)
class Finding:
    """One finding: its kind (:data:`WORDS`), what it is about (a column; empty: the whole load), and what to do."""

    kind: str
    subject: str
    detail: str


@dataclass(frozen=True)
class Standing:
    """A finding that is open, or was: the dataset and its owner, when it was first met (UTC) and by which run."""

    dataset: str
    owner: str
    finding: Finding
    state: str
    found_at: datetime
    run_id: str


def of_error(error: Exception) -> Finding | None:
    """The finding that a failed load is, None where the reason is nobody's to mend at the source."""
    if isinstance(error, FileIncomplete):
        return None
    kind = next((name for cause, name in _ERRORS if isinstance(error, cause)), None)
    return Finding(kind, "", str(error)) if kind else None


def of_columns(dataset: Dataset, columns: Collection[str]) -> list[Finding]:
    """The findings that columns are which the contract does not know."""
    where = f"schemas/datasets/{dataset.domain}/{dataset.id}.yaml"
    remedy = (
        f"It is kept encrypted and nobody sees it until a new version of {where} says what it is and who may; "
        f"`lake ingest new-columns {dataset.id}` shows what it holds."
    )
    if dataset.sector and dataset.sector.mode == "capture":
        remedy = (
            f"It stays at the source until a new version of {where} says what it is and who may see it; then "
            f"`lake capture start {dataset.sector.source} --anew` reads it for all rows."
        )
    return [Finding(NEW_COLUMN, name, remedy) for name in sorted(columns)]


def settle(
    settings: Settings,
    dataset: Dataset,
    run_id: str,
    at: datetime,
    found: Collection[Finding],
    *,
    columns_seen: bool,
) -> None:
    """Open what a load found and nobody knew, and close what it did not meet any more; the dataset's lease is held.

    A finding whose detail changed is told anew. Without `columns_seen` the load did not come so far as to compare
    columns: what is known of them stays.
    """
    known = {(one.finding.kind, one.finding.subject): one for one in standing(settings, dataset.id)}
    now = {(finding.kind, finding.subject): finding for finding in found}
    rows = [
        _row(dataset, finding, OPEN, run_id, at)
        for place, finding in now.items()
        if place not in known or known[place].finding.detail != finding.detail
    ]
    rows += [
        _row(dataset, one.finding, CLOSED, run_id, at)
        for place, one in known.items()
        if place not in now and (columns_seen or place[0] != NEW_COLUMN)
    ]
    if rows:
        table = pa.Table.from_pylist(rows, schema=delta.system_schema(system.FINDING))
        write_deltalake(_table(settings), table, mode="append")


def standing(settings: Settings, dataset: str | None = None) -> list[Standing]:
    """What is open now, of one dataset or all, by owner and dataset."""
    if not DeltaTable.is_deltatable(str(settings.table_path("quality", "finding"))):
        return []
    condition = None if dataset is None else pads.field("dataset") == dataset
    rows = arrow_dataset(_table(settings)).to_table(filter=condition).sort_by("found_at").to_pylist()
    newest: dict[tuple[str, str, str], Standing] = {}
    for row in rows:
        place = (row["dataset"], row["kind"], row["subject"])
        finding = Finding(row["kind"], row["subject"], row["detail"])
        newest[place] = Standing(row["dataset"], row["owner"], finding, row["state"], row["found_at"], row["run_id"])
    opened = (one for one in newest.values() if one.state == OPEN)
    return sorted(opened, key=lambda one: (one.owner, one.dataset, one.finding.kind, one.finding.subject))


def _row(dataset: Dataset, finding: Finding, state: str, run_id: str, at: datetime) -> dict[str, Any]:
    return {
        "dataset": dataset.id,
        "owner": dataset.owner,
        "kind": finding.kind,
        "subject": finding.subject,
        "detail": finding.detail,
        "state": state,
        "found_at": at,
        "run_id": run_id,
    }


def _table(settings: Settings) -> DeltaTable:
    description = "Điều cần sửa ở nguồn ngành — What is to be mended at sector sources"
    return ensure_table(
        settings, TableSpec("quality", "finding", delta.system_schema(system.FINDING), description=description)
    )
