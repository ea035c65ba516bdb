"""The three methods. Pure: no clock, no files; what is fitted or chosen comes from a parameter set.

persistence  the stage stays as it is
trend        the rate of rise of the last hours goes on and fades with a memory λ:  r · λ · (1 − e^(−L/λ))
lag_route    the fading trend, and what is on its way: each input (rain, upstream stage, release) arrives after a lag τ
             and runs through a linear reservoir with the memory K (the one-parameter form of Muskingum, X = 0); the
             stage changes by a weight times the change of what comes out

An input is known until now; what has not arrived yet after its lag is known to the forecast, what falls later is not:
rain is taken to stop, stages and releases to stay.

What stands here is the frame that every set has in common: the lead times, when a forecast is made, the hour whose
mean a stage or release is taken to keep, and units.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np

from pipelines.forecast import GRACE, STEPS_PER_HOUR
from pipelines.forecast.series import Floats, Grid, filled, theil_sen

Method = Literal["persistence", "trend", "lag_route"]
METHODS: tuple[Method, ...] = ("persistence", "trend", "lag_route")
LEADS_H = tuple(range(1, 13))
_SCALES = {"rain": 1.0, "outflow": 1e-3, "stage": 1.0}
"""Outflows are counted in 1,000 m³/s, so that weights are of one size."""


@dataclass(frozen=True)
class Windows:
    """How long readings count, in hours: the rate of rise is that of the last ``rate_h``; the last stage of the gauge
    itself stands for the next for ``stage_held_h``, the last report of an input for ``input_held_h``, by its kind."""

    rate_h: int
    stage_held_h: float
    input_held_h: Mapping[str, float]


@dataclass(frozen=True)
class Input:
    """One input of a station: the mean of its rain gauges or upstream gauges, the sum of its reservoirs' outflows."""

    kind: str
    sources: tuple[str, ...]
    lag_h: float
    memory_h: float
    weight: float
    correlation: float


@dataclass(frozen=True)
class Band:
    """By how much the observed stage missed the forecast in training: the 10th and the 90th percentile, m."""

    low_m: float
    high_m: float


@dataclass(frozen=True)
class StationModel:
    """The parameters of one station; ``bands`` by method and lead time, ``left_out`` says why an input has no part."""

    station_id: str
    trend_memory_h: float
    route_memory_h: float
    route_trend_weight: float
    inputs: tuple[Input, ...]
    bands: Mapping[str, Mapping[str, Band]]
    left_out: Mapping[str, str]


@dataclass(frozen=True)
class Forecast:
    """A stage forecast, m, with the band in which four of five training errors lay."""

    method: Method
    lead_h: int
    stage_m: float
    low_m: float
    high_m: float


def fading(lead_h: Floats | float, memory_h: float) -> Floats:
    """How far a rate of 1 m/h goes in ``lead_h`` hours when it fades with a memory."""
    return np.asarray(memory_h * -np.expm1(-np.asarray(lead_h) / memory_h))


def combined(grid: Grid, kind: str, sources: tuple[str, ...], windows: Windows, at: datetime | None = None) -> Floats:
    """An input by step, as it was known ``at`` a moment; NaN where none of its sources has a value."""
    held = _steps(windows.input_held_h[kind])
    parts = np.array([filled(grid.known(kind, name, at), held) for name in sources])
    there = np.count_nonzero(~np.isnan(parts), axis=0)
    together = np.nansum(parts, axis=0)
    if kind != "outflow":
        together = together / np.maximum(there, 1)
    return np.where(there > 0, together * _SCALES[kind], np.nan)


def gauged(stages: Floats, windows: Windows) -> Floats:
    """The stages of the gauge itself, held over short gaps."""
    return filled(stages, _steps(windows.stage_held_h))


def _steps(hours: float) -> int:
    return round(hours * STEPS_PER_HOUR)


def complete(values: Floats, kind: str) -> Floats:
    """An input without gaps: rain that was not measured did not fall, a stage or flow stays as it was last.

    Before the first value a stage or flow is that value. At least one value must be known.
    """
    if kind == "rain":
        return np.nan_to_num(values)
    held = filled(values, len(values))
    return np.where(np.isnan(held), values[~np.isnan(values)][0], held)


def routed_change(values: Floats, kind: str, lag_h: float, memory_h: float) -> Floats:
    """How much more comes out of the linear reservoir after each lead time than now, at every step: (step, lead).

    ``values``: a complete input; at step i only those up to i are used.
    """
    # More than a second to load, and every command that only shows forecasts imports this module.
    from scipy.signal import lfilter

    lag, size = _steps(lag_h), len(values)
    decay = float(np.exp(-1 / (memory_h * STEPS_PER_HOUR)))
    delayed = np.concatenate([np.full(lag, values[0]), values])
    # What comes out at step i + lag is known at step i; it begins in balance with the first value.
    out, _ = lfilter([1 - decay], [1, -decay], delayed, zi=[decay * values[0]])
    held = np.zeros(size) if kind == "rain" else _last_hour(values)
    change = np.empty((size, len(LEADS_H)))
    for column, lead_h in enumerate(LEADS_H):
        lead = lead_h * STEPS_PER_HOUR
        if lead <= lag:
            later = out[lead : lead + size]
        else:
            left = decay ** (lead - lag)
            later = left * out[lag : lag + size] + (1 - left) * held
        change[:, column] = later - out[:size]
    return change


def _last_hour(values: Floats) -> Floats:
    """The mean of the last hour at every step."""
    padded = np.concatenate([np.full(STEPS_PER_HOUR - 1, values[0]), values])
    return np.convolve(padded, np.full(STEPS_PER_HOUR, 1 / STEPS_PER_HOUR), "valid")


def forecast(model: StationModel, windows: Windows, grid: Grid, step: int) -> tuple[Forecast, ...]:
    """Forecasts of all methods and lead times from what the grid holds up to ``step``, as known a grace after it.

    None while the gauge itself is silent; only persistence without half of the stages that make a rate of rise. An
    input of which nothing is known has no part.
    """
    at = grid.time(step) + GRACE
    stages = gauged(grid.known("stage", model.station_id, at)[: step + 1], windows)
    now = float(stages[-1])
    if np.isnan(now):
        return ()
    rate = float(theil_sen(stages[-(_steps(windows.rate_h) + 1) :], windows.rate_h)[-1])
    found = [_banded(model, "persistence", lead, now) for lead in LEADS_H]
    if np.isnan(rate):
        return tuple(found)
    found += [_banded(model, "trend", lead, now + rate * float(fading(lead, model.trend_memory_h))) for lead in LEADS_H]
    change = rate * model.route_trend_weight * fading(np.array(LEADS_H, float), model.route_memory_h)
    for each in model.inputs:
        values = combined(grid, each.kind, each.sources, windows, at)[: step + 1]
        if not np.all(np.isnan(values)):
            known = complete(values, each.kind)
            change = change + each.weight * routed_change(known, each.kind, each.lag_h, each.memory_h)[-1]
    found += [_banded(model, "lag_route", lead, now + float(change[i])) for i, lead in enumerate(LEADS_H)]
    return tuple(found)


def _banded(model: StationModel, method: Method, lead_h: int, stage_m: float) -> Forecast:
    band = model.bands[method][str(lead_h)]
    return Forecast(method, lead_h, stage_m, stage_m + min(band.low_m, 0.0), stage_m + max(band.high_m, 0.0))
