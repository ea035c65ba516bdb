"""The published figures of the flood of 2025, read from `data/flood_2025` and checked against each other."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

from pipelines.replay.readings import parse_local
from pipelines.runtime.errors import LakeError


@dataclass(frozen=True)
class Stage:
    """A published stage in metres at an instant (UTC); a `conflict` is kept as data and never replayed."""

    station_id: str
    observed_at: datetime
    stage_m: Decimal
    conflict: bool
    note: str


@dataclass(frozen=True)
class RainSum:
    """Rain in mm over (start, end], UTC; 10-minute sums are stamped with the end of their period."""

    station_id: str
    start: datetime
    end: datetime
    rain_mm: Decimal


@dataclass(frozen=True)
class ReservoirReport:
    """A published report of one reservoir: level in m, flows in m³/s, instant in UTC."""

    reservoir_id: str
    observed_at: datetime
    level_m: Decimal
    inflow_m3s: Decimal
    outflow_m3s: Decimal


@dataclass(frozen=True)
class OfficialForecast:
    """A stage in metres that a bulletin forecast for `valid_at`; instants in UTC, whole hours apart."""

    station_id: str
    issued_at: datetime
    valid_at: datetime
    stage_m: Decimal

    @property
    def lead_h(self) -> int:
        """Hours from the issue to the moment that is forecast."""
        return (self.valid_at - self.issued_at) // timedelta(hours=1)


@dataclass(frozen=True)
class Anchors:
    """Everything that was published, plus the synthetic spread of the rain (`segments`)."""

    stages: tuple[Stage, ...]
    rain_sums: tuple[RainSum, ...]
    segments: tuple[RainSum, ...]
    reservoirs: tuple[ReservoirReport, ...]
    forecasts: tuple[OfficialForecast, ...]

    def stage_anchors(self, station_id: str) -> tuple[Stage, ...]:
        """The replayed stages of one station in time order."""
        chosen = (s for s in self.stages if s.station_id == station_id and not s.conflict)
        return tuple(sorted(chosen, key=lambda s: s.observed_at))

    @property
    def river_stations(self) -> tuple[str, ...]:
        """The stations with published stages, sorted."""
        return tuple(sorted({s.station_id for s in self.stages}))


def load_anchors(data: Path) -> Anchors:
    """Read `data/flood_2025/*.csv`.

    Raises:
        LakeError: a file is missing, or the rain segments contradict a published sum.
    """
    folder = data / "flood_2025"
    stages = tuple(
        Stage(
            row["station_id"],
            parse_local(row["observed_at"]),
            Decimal(row["stage_m"]),
            row["use"] == "conflict",
            row["note"],
        )
        for row in _rows(folder / "river_stage.csv")
    )
    reservoirs = tuple(
        ReservoirReport(
            row["reservoir_id"],
            parse_local(row["observed_at"]),
            Decimal(row["level_m"]),
            Decimal(row["inflow_m3s"]),
            Decimal(row["outflow_m3s"]),
        )
        for row in _rows(folder / "reservoirs.csv")
    )
    forecasts = tuple(
        OfficialForecast(
            row["station_id"], parse_local(row["issued_at"]), parse_local(row["valid_at"]), Decimal(row["stage_m"])
        )
        for row in _rows(folder / "forecasts.csv")
    )
    sums, segments = _sums(folder / "rain_sums.csv"), _sums(folder / "rain_segments.csv")
    for published in sums:
        _check(published, segments)
    return Anchors(stages, sums, segments, reservoirs, forecasts)


def _check(published: RainSum, segments: Sequence[RainSum]) -> None:
    inside = [
        s
        for s in segments
        if s.station_id == published.station_id and published.start <= s.start and s.end <= published.end
    ]
    total = sum((s.rain_mm for s in inside), Decimal(0))
    covered = sum((s.end - s.start for s in inside), published.end - published.end)
    if total != published.rain_mm or covered != published.end - published.start:
        raise LakeError(
            f"rain_segments.csv gives {total} mm at {published.station_id}; {published.rain_mm} mm were published.",
            "Mend data/flood_2025/rain_segments.csv: segments must tile every published window and add up to it.",
        )


def _sums(path: Path) -> tuple[RainSum, ...]:
    return tuple(
        RainSum(row["station_id"], parse_local(row["from"]), parse_local(row["to"]), Decimal(row["rain_mm"]))
        for row in _rows(path)
    )


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise LakeError(f"The data file {path} is missing.", "It is part of the project: restore the folder data/.")
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))
