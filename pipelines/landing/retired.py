"""``catalog.retention``: what left which table by its contract's retention, when, and how far a dataset is closed.

A removal is two records around one commit, as a publication is: *planned*, then the delete, then *done*, which is read
from the commit itself. A run that was killed in between leaves a plan, and the next one looks the commit up in the log.

Counts of the ledger go on across removals: ``rows`` of silver are what it no longer holds, and the outcomes of closed
raw offsets are folded into ``inserted``, less those of rows that their source deleted. ``floors`` of bronze say from
which raw offset on a partition is whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal

import pyarrow as pa

from pipelines.landing import journal
from pipelines.runtime.settings import Settings

State = Literal["planned", "done", "dropped"]
_INSTANT: Any = pa.timestamp("us", tz="UTC")
_SCHEMA = pa.schema(
    {
        "removal_id": pa.string(),
        "table": pa.string(),
        "dataset": pa.string(),
        "state": pa.string(),
        "basis": pa.string(),
        "cutoff_at": _INSTANT,
        "contract_version": pa.string(),
        "version": pa.int64(),
        "rows": pa.int64(),
        "bytes": pa.int64(),
        "inserted": pa.int64(),
        "floors": pa.string(),
        "run_id": pa.string(),
        "removed_by": pa.string(),
        "recorded_at": _INSTANT,
    }
)


@dataclass(frozen=True)
class Retired:
    """What left one table of one dataset in one removal; times are UTC.

    ``table`` is ``layer.name``, or a folder of files (``_objects``). ``basis`` is the column by which age was told,
    older than ``cutoff_at`` went (None: by place, as outcomes go). ``version`` is the table's before (planned) or the
    removal's own (done). ``inserted`` counts folded outcomes, inserted less deleted; ``floors`` is JSON: raw partition
    → first whole offset.
    """

    removal_id: str
    table: str
    dataset: str
    state: State
    basis: str
    cutoff_at: datetime | None
    contract_version: str
    version: int | None
    rows: int
    bytes: int
    inserted: int
    floors: str | None
    run_id: str
    removed_by: str
    recorded_at: datetime


def record(settings: Settings, records: Iterable[Retired]) -> None:
    """Append records in one commit; none write nothing."""
    title = "Những gì đã xoá theo thời hạn lưu — What was deleted by the contracts' retention"
    journal.append(settings, "catalog", "retention", [asdict(item) for item in records], _SCHEMA, title)


def records(settings: Settings) -> list[Retired]:
    """Every record, oldest first; none when nothing was ever deleted."""
    rows = journal.read(settings, "catalog", "retention")
    return sorted((Retired(**row) for row in rows), key=lambda r: (r.recorded_at, r.state != "planned", r.table))


def open_plans(found: Iterable[Retired]) -> tuple[Retired, ...]:
    """Plans that no record has finished: what a killed run left."""
    plans: dict[tuple[str, str], Retired] = {}
    for item in found:
        if item.state == "planned":
            plans[item.removal_id, item.dataset] = item
        else:
            plans.pop((item.removal_id, item.dataset), None)
    return tuple(plans.values())


@dataclass(frozen=True)
class Closed:
    """What of one dataset is closed: rows that left silver, outcomes ``inserted`` less ``deleted`` that were folded,
    and the first raw offset per partition from which bronze is whole."""

    rows: int = 0
    inserted: int = 0
    floors: Mapping[int, int] = field(default_factory=dict)


def closed(found: Iterable[Retired], dataset: str, versions: Mapping[str, int]) -> Closed:
    """Sum the records of one dataset up to the versions that are looked at, table → version."""
    rows = inserted = 0
    floors: dict[int, int] = {}
    for item in found:
        if item.dataset != dataset or item.state != "done" or item.version is None:
            continue
        if item.version > versions.get(item.table, -1):
            continue
        if item.table == f"silver.{dataset}":
            rows += item.rows
        inserted += item.inserted
        for part, first in json.loads(item.floors or "{}").items():
            floors[int(part)] = max(first, floors.get(int(part), 0))
    return Closed(rows, inserted, floors)


def emptied(found: Iterable[Retired], until: datetime) -> dict[str, int]:
    """Table → the version of its newest removal that was recorded by an instant: no later version holds those rows."""
    versions: dict[str, int] = {}
    for item in found:
        if item.state == "done" and item.version is not None and item.recorded_at <= until:
            versions[item.table] = max(item.version, versions.get(item.table, 0))
    return versions
