"""What the flood desk reads: the live alarms and stages of its namespace, straight from the lake."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from deltalake import DeltaTable

from pipelines.publishing.cap.situations import Transition
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings

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
    alerts = _open(settings, "flood_alert").to_pyarrow_table(
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
    readings = _open(settings, "river_stage").to_pyarrow_table(
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


def _open(settings: Settings, dataset: str) -> DeltaTable:
    path = str(settings.table_path("silver", dataset))
    if not DeltaTable.is_deltatable(path):
        raise LakeError(
            f"The namespace {settings.namespace} has no table silver.{dataset}.",
            "Apply the contracts and start the jobs: lake start.",
        )
    return DeltaTable(path)
