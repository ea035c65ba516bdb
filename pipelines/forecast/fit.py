"""A parameter set from a range of readings: lags by cross-correlation, memories and weights by least squares.

One flood has few independent moments: hours of one wave repeat each other, and a fit on one wave knows that wave. A
set says on which range and on what origin of readings it was fitted, and its scores in training are no promise.
How a fit searches, and when it leaves an input out, stands here; what it found, and the windows it took, in the set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np
from scipy.optimize import minimize, minimize_scalar, nnls

from pipelines.contracts.registry import Registry
from pipelines.forecast import STEPS_PER_HOUR
from pipelines.forecast.model import (
    LEADS_H,
    Band,
    Input,
    StationModel,
    Windows,
    combined,
    complete,
    fading,
    gauged,
    routed_change,
)
from pipelines.forecast.series import Floats, Grid, theil_sen
from pipelines.runtime.errors import LakeError

WINDOWS = Windows(rate_h=3, stage_held_h=0.5, input_held_h={"rain": 0.0, "outflow": 3.0, "stage": 1.0})
"""Of every new set. A rate of one hour follows every wave, one of six is late at the turn. A report of a reservoir or
gauge stands for the next one for a while; rain that was not measured is not known."""
MAX_LAG_H = 12
MIN_CORRELATION = 0.1
"""An input that hardly moves with the river has no part in its route."""
MIN_COVERAGE = 0.5
MIN_MOMENTS = 100
MEMORY_H = (0.5, 48.0)
_EVERY = 3
"""Every third step makes a moment of training: neighbours say the same."""
_BAND = (10, 90)


def inputs_of(registry: Registry) -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    """By station and kind the sources that the code list ``forecast_inputs`` names."""
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for row in registry.code_list("forecast_inputs").rows:
        own = found.setdefault(row["station_id"], {})
        own[row["input_kind"]] = (*own.get(row["input_kind"], ()), row["source_id"])
    return found


def entities_of(inputs: Mapping[str, Mapping[str, Sequence[str]]]) -> Mapping[str, frozenset[str]]:
    """By kind every station and reservoir that forecasts read."""
    found: dict[str, set[str]] = {"stage": set(inputs)}
    for own in inputs.values():
        for kind, sources in own.items():
            found.setdefault(kind, set()).update(sources)
    return {kind: frozenset(names) for kind, names in found.items()}


def fit_station(
    grid: Grid, station_id: str, inputs: Mapping[str, tuple[str, ...]], begin: datetime, end: datetime
) -> StationModel:
    """The parameters of one station from the moments of ``begin`` … ``end`` whose lead times end before ``end`` too.

    Raises:
        LakeError: the range holds too few readings of the station.
    """
    first, last = max(grid.step(begin), 0), min(grid.step(end), grid.size - 1)
    stages = gauged(grid.known("stage", station_id), WINDOWS)
    rates = theil_sen(stages, WINDOWS.rate_h)
    ahead = np.full((grid.size, len(LEADS_H)), np.nan)
    for column, lead_h in enumerate(LEADS_H):
        lead = lead_h * STEPS_PER_HOUR
        ahead[: grid.size - lead, column] = stages[lead:] - stages[: grid.size - lead]
    moments = np.arange(first, last - LEADS_H[-1] * STEPS_PER_HOUR + 1)[::_EVERY]
    usable = ~np.isnan(rates[moments]) & ~np.any(np.isnan(ahead[moments]), axis=1)
    moments = moments[usable]
    if len(moments) < MIN_MOMENTS:
        raise LakeError(
            f"{station_id} has {len(moments)} moments with {WINDOWS.rate_h} h before and {LEADS_H[-1]} h behind them; "
            f"{MIN_MOMENTS} are needed.",
            "Choose a longer range with readings: lake forecast fit --from … --to ….",
        )
    observed = ahead[moments]
    trend_memory_h = _trend_memory(rates[moments], observed)
    kept, lags, correlations, left_out = _lags(grid, stages, inputs, first, last)
    memories, weights = _route(kept, lags, rates, moments, observed)
    changes = _changes(kept, lags, memories[1:], moments)
    routed = np.tensordot(weights[1:], changes, axes=1) if len(weights) > 1 else np.zeros_like(observed)
    leads = np.array(LEADS_H, float)
    predicted = {
        "persistence": np.zeros_like(observed),
        "trend": np.outer(rates[moments], fading(leads, trend_memory_h)),
        "lag_route": weights[0] * np.outer(rates[moments], fading(leads, memories[0])) + routed,
    }
    return StationModel(
        station_id=station_id,
        trend_memory_h=trend_memory_h,
        route_memory_h=_rounded(memories[0]),
        route_trend_weight=_rounded(weights[0]),
        inputs=tuple(
            Input(kind, inputs[kind], lags[kind], _rounded(memory), _rounded(weight), _rounded(correlations[kind]))
            for kind, memory, weight in zip(kept, memories[1:], weights[1:], strict=True)
        ),
        bands={method: _bands(observed - change) for method, change in predicted.items()},
        left_out=left_out,
    )


def _trend_memory(rates: Floats, observed: Floats) -> float:
    """λ of the fading trend, hours."""
    leads = np.array(LEADS_H, float)
    size = np.sqrt(np.mean(observed**2, axis=0))

    def cost(log_memory: float) -> float:
        predicted = np.outer(rates, fading(leads, float(np.exp(log_memory))))
        return float(np.sum(((observed - predicted) / size) ** 2))

    found = minimize_scalar(cost, bounds=tuple(np.log(MEMORY_H)), method="bounded")
    return _rounded(float(np.exp(found.x)))


def _lags(
    grid: Grid, stages: Floats, inputs: Mapping[str, tuple[str, ...]], first: int, last: int
) -> tuple[Mapping[str, Floats], Mapping[str, float], Mapping[str, float], Mapping[str, str]]:
    """Inputs that are kept, the lag of each (hours) at which it moves with the river most, how much, and why others are
    left out.

    Rain and release are held against the rate of the river, an upstream stage by its own rate. Hourly means: the steps
    of ten minutes carry the noise of the gauges.
    """
    rate = theil_sen(stages, 1)
    kept: dict[str, Floats] = {}
    lags: dict[str, float] = {}
    correlations: dict[str, float] = {}
    left_out: dict[str, str] = {}
    for kind, sources in sorted(inputs.items()):
        values = combined(grid, kind, sources, WINDOWS)
        covered = float(np.mean(~np.isnan(values[first : last + 1])))
        if covered < MIN_COVERAGE:
            left_out[kind] = f"readings for {covered:.0%} of the range; {MIN_COVERAGE:.0%} are needed"
            continue
        driver = theil_sen(values, 1) if kind == "stage" else _hourly(complete(values, kind))
        found = [(_correlation(driver, rate, lag, first, last), -lag) for lag in range(MAX_LAG_H * STEPS_PER_HOUR + 1)]
        best, negative_lag = max(found)
        if best < MIN_CORRELATION:
            left_out[kind] = f"correlation {best:.2f} with the rate of rise; {MIN_CORRELATION} is needed"
            continue
        kept[kind] = complete(values, kind)
        lags[kind] = _rounded(-negative_lag / STEPS_PER_HOUR)
        correlations[kind] = best
    return kept, lags, correlations, left_out


def _hourly(values: Floats) -> Floats:
    padded = np.concatenate([np.full(STEPS_PER_HOUR - 1, values[0]), values])
    return np.convolve(padded, np.full(STEPS_PER_HOUR, 1 / STEPS_PER_HOUR), "valid")


def _correlation(driver: Floats, rate: Floats, lag: int, first: int, last: int) -> float:
    begin = max(first, lag)
    moved, rising = driver[begin - lag : last + 1 - lag], rate[begin : last + 1]
    both = ~np.isnan(moved) & ~np.isnan(rising)
    if np.count_nonzero(both) < MIN_MOMENTS or np.std(moved[both]) == 0 or np.std(rising[both]) == 0:
        return -1.0
    return float(np.corrcoef(moved[both], rising[both])[0, 1])


def _changes(
    kept: Mapping[str, Floats], lags: Mapping[str, float], memories: Sequence[float], moments: Floats
) -> Floats:
    """The routed change of each input at the moments: (input, moment, lead)."""
    return np.array(
        [
            routed_change(values, kind, lags[kind], memory)[moments]
            for (kind, values), memory in zip(kept.items(), memories, strict=True)
        ]
    )


def _route(
    kept: Mapping[str, Floats], lags: Mapping[str, float], rates: Floats, moments: Floats, observed: Floats
) -> tuple[list[float], list[float]]:
    """Memories (of the trend, then of each input) and weights likewise.

    For given memories the weights are a linear problem, solved with none below 0: water that comes does not make a
    river fall. The memories are searched for from two beginnings, quick and slow. Every lead time counts alike: errors
    are taken as shares of what the stage changes in that time, else only the longest ones would be fitted.
    """
    leads = np.array(LEADS_H, float)
    size = np.sqrt(np.mean(observed**2, axis=0))

    def solved(memories: Sequence[float]) -> tuple[Floats, float]:
        trend = np.outer(rates[moments], fading(leads, memories[0]))
        changes = [trend, *_changes(kept, lags, memories[1:], moments)]
        return nnls(np.column_stack([(change / size).ravel() for change in changes]), (observed / size).ravel())

    def cost(log_memories: Floats) -> float:
        return solved([float(m) for m in np.exp(log_memories)])[1]

    low, high = np.log(MEMORY_H)
    starts = [np.full(1 + len(kept), np.log(hours)) for hours in (2.0, 8.0)]
    runs = [
        minimize(cost, start, method="Nelder-Mead", bounds=[(low, high)] * len(start), options={"xatol": 1e-3})
        for start in starts
    ]
    best = min(runs, key=lambda run: float(run.fun))
    memories = [_rounded(float(m)) for m in np.exp(best.x)]
    return memories, [float(weight) for weight in solved(memories)[0]]


def _bands(errors: Floats) -> Mapping[str, Band]:
    """By lead time how far four of five observed stages lay from the forecast."""
    lows, highs = np.percentile(errors, _BAND, axis=0)
    return {
        str(lead): Band(_rounded(float(low)), _rounded(float(high)))
        for lead, low, high in zip(LEADS_H, lows, highs, strict=True)
    }


def _rounded(value: float) -> float:
    """Four digits: more is noise of the machine, and would make another set of the same fit."""
    return float(f"{value:.4g}")
