"""What the flood desk reads: live alarms, stages and requests of scenarios, straight from the lake."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from deltalake import DeltaTable

from pipelines.contracts.registry import Registry
from pipelines.publishing.cap.requests import CANCELLED, REQUESTED, Outcome, Run
from pipelines.publishing.cap.situations import Transition
from pipelines.publishing.freshness import newest
from pipelines.runtime.delta import arrow_table
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings

_ALARMS = "flood_alert"
_BAD_FLAGS = (4, 9)
_HISTORY = timedelta(days=30)
"""A message is said again from the stages of so many days; no flood of the city has lasted longer."""


@dataclass(frozen=True)
class Alarms:
    """Raises and clears, and the usable stages of every station in the order of time; ``clock`` says by station when
    its newest reading arrived."""

    transitions: tuple[Transition, ...]
    stages: Mapping[str, tuple[tuple[datetime, Decimal], ...]] = field(default_factory=dict)
    clock: Mapping[str, datetime] = field(default_factory=dict)

    def stage_at(self, station_id: str, moment: datetime) -> tuple[datetime, Decimal] | None:
        """The newest usable stage at or before an instant, with its time."""
        own = self.stages.get(station_id, ())
        position = bisect_right(own, moment, key=lambda reading: reading[0])
        return own[position - 1] if position else None


def read_alarms(settings: Settings) -> Alarms:
    """Read ``flood_alert`` and the stages of its stations.

    Raises:
        LakeError: the namespace has no such tables.
    """
    alerts = arrow_table(
        _open(settings, _ALARMS),
        columns=[
            "station_id",
            "transition",
            "alarm_level",
            "transition_at",
            "received_at",
            "stage_m",
            "threshold_m",
            "origin",
        ],
        filters=[("transition", "in", ["raise", "clear"])],
    )
    transitions = tuple(
        Transition(
            row["station_id"],
            row["transition"] == "raise",
            row["alarm_level"],
            row["transition_at"],
            row["received_at"],
            row["stage_m"],
            row["threshold_m"],
            row["origin"],
        )
        for row in alerts.to_pylist()
    )
    stations = sorted({transition.station_id for transition in transitions})
    if not stations:
        return Alarms(())
    since = (max(transition.at for transition in transitions) - _HISTORY).date()
    readings = arrow_table(
        _open(settings, "river_stage"),
        columns=["station_id", "observed_at", "stage_m", "received_at"],
        filters=[
            ("station_id", "in", stations),
            ("observed_date", ">=", since),
            ("qc_flag", "not in", list(_BAD_FLAGS)),
        ],
    )
    stages: dict[str, list[tuple[datetime, Decimal]]] = {}
    clock: dict[str, datetime] = {}
    for row in readings.sort_by("observed_at").to_pylist():
        station = row["station_id"]
        # The newest reading's arrival: an old one that comes a week later does not make the flood last until then.
        clock[station] = row["received_at"]
        if row["stage_m"] is not None:
            stages.setdefault(station, []).append((row["observed_at"], row["stage_m"]))
    return Alarms(transitions, {station: tuple(found) for station, found in stages.items()}, clock)


@dataclass(frozen=True)
class Requests:
    """What scenarios ask for; ``runs`` by id, ``clock`` says by scenario when its newest fact arrived."""

    outcomes: tuple[Outcome, ...] = ()
    runs: Mapping[str, Run] = field(default_factory=dict)
    clock: Mapping[str, datetime] = field(default_factory=dict)


def read_requests(settings: Settings, registry: Registry) -> Requests:
    """Read the outcomes that ask for a message; none where no scenario ran yet.

    A scenario that looks at nothing but ``flood_alert`` says what the desk says by itself of the same transition, with
    the stage and the wards of its level: what it asks for is answered by that message, and no second one is made.
    """
    path = str(settings.table_path("silver", "scenario_outcome"))
    if not DeltaTable.is_deltatable(path):
        return Requests()
    answered = {scenario.id for scenario in registry.scenarios if scenario.datasets == (_ALARMS,)}
    rows = arrow_table(
        DeltaTable(path),
        columns=[
            "outcome_id",
            "run_id",
            "scenario_id",
            "outcome_kind",
            "outcome_at",
            "received_at",
            "agency_id",
            "ward_code",
            "headline_vi",
            "headline_en",
            "detail_json",
            "origin",
        ],
        filters=[("outcome_kind", "in", [REQUESTED, CANCELLED])],
    )
    outcomes = tuple(
        Outcome(
            row["outcome_id"],
            row["run_id"],
            row["scenario_id"],
            row["outcome_kind"] == REQUESTED,
            row["outcome_at"],
            row["received_at"],
            row["agency_id"] or "",
            row["ward_code"],
            {"vi": row["headline_vi"], "en": row["headline_en"]},
            json.loads(row["detail_json"] or "{}"),
            row["origin"],
        )
        for row in rows.to_pylist()
        if row["scenario_id"] not in answered
    )
    if not outcomes:
        return Requests()
    found = arrow_table(
        _open(settings, "scenario_run_v2"),
        columns=["run_id", "scope_kind", "end_reason"],
        filters=[("run_id", "in", sorted({outcome.run_id for outcome in outcomes}))],
    )
    runs = {row["run_id"]: Run(row["scope_kind"], row["end_reason"]) for row in found.to_pylist()}
    asking = {outcome.scenario_id for outcome in outcomes}
    return Requests(outcomes, runs, _clock(settings, registry, asking))


def _clock(settings: Settings, registry: Registry, scenarios: set[str]) -> Mapping[str, datetime]:
    """By scenario the arrival of the newest fact that it looks at, from the statistics of the files."""
    arrivals: dict[str, datetime | None] = {}
    clock: dict[str, datetime] = {}
    for scenario in registry.scenarios:
        if scenario.id not in scenarios:
            continue
        for name in scenario.datasets:
            path = str(settings.table_path("silver", name))
            if name not in arrivals:
                known = DeltaTable.is_deltatable(path)
                arrivals[name] = newest(registry.dataset(name), DeltaTable(path)).received_at if known else None
        found = [at for name in scenario.datasets if (at := arrivals[name]) is not None]
        if found:
            clock[scenario.id] = max(found)
    return clock


def _open(settings: Settings, dataset: str) -> DeltaTable:
    path = str(settings.table_path("silver", dataset))
    if not DeltaTable.is_deltatable(path):
        raise LakeError(
            f"The namespace {settings.namespace} has no table silver.{dataset}.",
            "Apply the contracts and start the jobs: lake start.",
        )
    return DeltaTable(path)
