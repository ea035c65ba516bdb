"""Stages, rain and flows of a namespace on a grid of equal steps, as they were known at a moment.

What is read is silver: the newest version of every reading. A reading that was received after the moment of a forecast
is hidden from it, so that a forecast of the past knows no more than one made on the night; of a reading that was
corrected since then, not even the first version is known to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from deltalake import DeltaTable

from pipelines.forecast import STEP, STEPS_PER_HOUR
from pipelines.landing.arrow import bools, integers, keep
from pipelines.landing.arrow import kernels as pc
from pipelines.runtime.delta import arrow_table
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings

Floats = npt.NDArray[np.float64]
_BAD_FLAGS = (4, 9)
_TABLES: Mapping[str, tuple[str, str, str]] = {
    "stage": ("river_stage", "station_id", "stage_m"),
    "rain": ("rain_gauge", "station_id", "rain_mm"),
    "outflow": ("reservoir_op", "reservoir_id", "outflow_m3s"),
}
"""Kind of a series → its silver table, the field of the entity, and the measure."""


@dataclass(frozen=True)
class Series:
    """One measure of one entity: ``values`` by step (NaN: no usable reading), ``received`` its arrival clock in µs."""

    values: Floats
    received: npt.NDArray[np.int64]
    origins: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Grid:
    """Series of several entities from ``start`` (UTC) on; step i is the time ``start + i × STEP``."""

    start: datetime
    size: int
    series: Mapping[tuple[str, str], Series] = field(repr=False)

    def step(self, moment: datetime) -> int:
        """The last step at or before a moment; may lie outside the grid."""
        return (moment - self.start) // STEP

    def time(self, step: int) -> datetime:
        """The moment of a step, UTC."""
        return self.start + step * STEP

    def known(self, kind: str, entity: str, at: datetime | None = None) -> Floats:
        """The values of an entity; with ``at`` only those that had been received by then. All NaN without readings."""
        found = self.series.get((kind, entity))
        if found is None:
            return np.full(self.size, np.nan)
        if at is None:
            return found.values
        return np.where(found.received <= _micros(at), found.values, np.nan)

    def origins(self) -> Mapping[str, int]:
        """Usable readings of all series by their origin."""
        return dict(sum((Counter(series.origins) for series in self.series.values()), Counter()))


def read_grid(settings: Settings, begin: datetime, end: datetime, entities: Mapping[str, frozenset[str]]) -> Grid:
    """Read the usable readings of ``begin`` … ``end`` (both included) onto a grid; of two in one step the later counts.

    ``entities``: by kind (stage, rain, outflow) the stations or reservoirs that are wanted.

    Raises:
        LakeError: the namespace has no such table.
    """
    start = datetime.fromtimestamp(begin.timestamp() // STEP.total_seconds() * STEP.total_seconds(), UTC)
    size = (end - start) // STEP + 1
    found: dict[tuple[str, str], Series] = {}
    for kind, wanted in entities.items():
        table, entity, measure = _TABLES[kind]
        rows = _rows(settings, table, entity, measure, start, end, wanted)
        for name in sorted(wanted):
            own = keep(rows, bools(pc.equal(rows[entity], name)))
            if own.num_rows:
                found[kind, name] = _series(own, measure, start, size)
    return Grid(start, size, found)


def _rows(
    settings: Settings, table: str, entity: str, measure: str, start: datetime, end: datetime, wanted: frozenset[str]
) -> pa.Table:
    path = str(settings.table_path("silver", table))
    if not DeltaTable.is_deltatable(path):
        raise LakeError(
            f"The namespace {settings.namespace} has no table silver.{table}.",
            "Apply the contracts and start the jobs: lake start.",
        )
    rows = arrow_table(
        DeltaTable(path),
        columns=[entity, "observed_at", measure, "received_at", "origin"],
        filters=[
            (entity, "in", sorted(wanted)),
            ("observed_date", ">=", start.date()),
            ("observed_date", "<=", end.date()),
            ("observed_at", ">=", start),
            ("observed_at", "<=", end),
            ("qc_flag", "not in", list(_BAD_FLAGS)),
        ],
    )
    return keep(rows, bools(rows[measure].is_valid())).sort_by("observed_at")


def _series(rows: pa.Table, measure: str, start: datetime, size: int) -> Series:
    steps = (integers(rows["observed_at"]) - _micros(start)) // (STEP // timedelta(microseconds=1))
    values = np.full(size, np.nan)
    received = np.zeros(size, dtype=np.int64)
    # In the order of time: the last reading of a step is the one that stays.
    values[steps] = rows[measure].cast(pa.float64()).to_numpy()
    received[steps] = integers(rows["received_at"])
    return Series(values, received, Counter(str(origin) for origin in rows["origin"].to_pylist()))


def _micros(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def filled(values: Floats, longest: int) -> Floats:
    """Hold the last value over gaps of at most ``longest`` steps."""
    known = ~np.isnan(values)
    positions = np.where(known, np.arange(len(values)), -1)
    last = np.maximum.accumulate(positions)
    near = (last >= 0) & (np.arange(len(values)) - last <= longest)
    return np.where(near, values[np.maximum(last, 0)], np.nan)


def theil_sen(values: Floats, hours: int) -> Floats:
    """The Theil–Sen slope (per hour) of the last hours at every step; NaN where less than half of them is known.

    The median of the slopes of all pairs, as the stream job computes it for ``river_trend``.
    """
    width = hours * STEPS_PER_HOUR + 1
    padded = np.concatenate([np.full(width - 1, np.nan), values])
    windows = np.lib.stride_tricks.sliding_window_view(padded, width)
    earlier, later = np.triu_indices(width, 1)
    result = np.full(len(values), np.nan)
    enough = np.count_nonzero(~np.isnan(windows), axis=1) > width // 2
    for begin in range(0, len(values), 4096):
        chosen = np.flatnonzero(enough[begin : begin + 4096]) + begin
        if len(chosen):
            rise = windows[chosen][:, later] - windows[chosen][:, earlier]
            result[chosen] = np.nanmedian(rise / (later - earlier), axis=1) * STEPS_PER_HOUR
    return result
