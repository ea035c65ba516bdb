"""Runs and what followed from them, read from silver; acknowledging one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pyarrow.dataset as pads
from deltalake import DeltaTable

from pipelines.contracts.registry import Registry
from pipelines.runtime import kafka
from pipelines.runtime.delta import arrow_dataset
from pipelines.runtime.errors import LakeError, ServiceError
from pipelines.runtime.settings import Settings

RUNS, OUTCOMES = "scenario_run_v2", "scenario_outcome"
ACKNOWLEDGED = "acknowledged"
_TIMEOUT_S = 15.0
_SHOWN = 5
Found = list[dict[str, Any]]


def runs(
    settings: Settings, *, scenario: str | None = None, run_id: str | None = None, open_only: bool = False
) -> Found:
    """Runs in the order of their beginning; those that landed, so some seconds old."""
    conditions = [
        (pads.field(name) == value) for name, value in (("scenario_id", scenario), ("run_id", run_id)) if value
    ]
    if open_only:
        conditions.append(pads.field("run_result") == "running")
    return sorted(_rows(settings, RUNS, conditions), key=lambda row: (row["started_at"], row["run_id"]))


def outcomes(settings: Settings, run_id: str) -> Found:
    """What followed from one run, in order of time."""
    return sorted(_rows(settings, OUTCOMES, [pads.field("run_id") == run_id]), key=lambda row: row["outcome_at"])


def _rows(settings: Settings, dataset: str, conditions: list[pads.Expression]) -> Found:
    path = str(settings.table_path("silver", dataset))
    if not DeltaTable.is_deltatable(path):
        return []
    chosen: pads.Expression | None = None
    for condition in conditions:
        chosen = condition if chosen is None else chosen & condition
    found: Found = arrow_dataset(DeltaTable(path)).to_table(filter=chosen).to_pylist()
    return found


def acknowledge(
    settings: Settings, registry: Registry, run_id: str, *, agency: str, by: str, note: str = ""
) -> Mapping[str, Any]:
    """Record that an agency has taken a run in hand; its first acknowledgement counts and is returned again.

    Raises:
        LakeError: no such run, no such agency, or nobody is named.
        ServiceError: Kafka did not take it.
    """
    agencies = registry.code_list("agencies").codes
    if agency not in agencies:
        raise LakeError(f"{agency!r} không phải là mã cơ quan.", f"Allowed: {', '.join(agencies)}.")
    if not by.strip():
        raise LakeError("Thiếu tài khoản tiếp nhận.", "Give --by: the account of the unit; it is logged.")
    found = runs(settings, run_id=run_id)
    if not found:
        last = ", ".join(row["run_id"] for row in runs(settings, open_only=True)[-_SHOWN:]) or "none"
        raise LakeError(
            f"Không có lượt chạy {run_id!r}.", f"Open runs: {last}. A run is known some seconds after it began."
        )
    known = [row for row in outcomes(settings, run_id) if row["outcome_id"] == _outcome_id(run_id, agency)]
    if known:
        return known[0]
    run, now = found[0], datetime.now(UTC)
    row = {
        "outcome_id": _outcome_id(run_id, agency),
        "run_id": run_id,
        "scenario_id": run["scenario_id"],
        "outcome_kind": ACKNOWLEDGED,
        "outcome_at": _text(now),
        "agency_id": agency,
        "ward_code": run["ward_code"],
        "headline_vi": run["headline_vi"],
        "headline_en": run["headline_en"],
        "detail_json": json.dumps({"note": note.strip()}, ensure_ascii=False) if note.strip() else None,
        "acknowledged_by": by.strip(),
        "origin": run["origin"],
        "received_at": _text(now),
    }
    _send(settings, {name: value for name, value in row.items() if value is not None})
    return row


def _outcome_id(run_id: str, agency: str) -> str:
    return f"{run_id}|{ACKNOWLEDGED}|{agency}"


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _send(settings: Settings, row: Mapping[str, Any]) -> None:
    problems: list[str] = []
    producer = kafka.producer(settings)
    producer.produce(
        settings.topic("alert.scenario_outcome"),
        key=str(row["outcome_id"]).encode(),
        value=json.dumps(row, ensure_ascii=False).encode(),
        on_delivery=lambda error, _: problems.append(error.str()) if error else None,
    )
    if producer.flush(_TIMEOUT_S) or problems:
        why = problems[0] if problems else "no answer"
        raise ServiceError(f"Kafka did not take the acknowledgement: {why}.", "See `lake status`; run it again.")
