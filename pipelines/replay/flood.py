"""The flood of October–November 2025 in 10-minute steps, exact at every published figure.

Stages are interpolated with PCHIP, which keeps the shape: it never rises above the higher or falls below the lower of
two neighbouring anchors. A reading between anchors stays at least 1 mm inside them, so that a published peak is the
only maximum after rounding to millimetres.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any

import numpy as np
from scipy.interpolate import PchipInterpolator

from pipelines.contracts.registry import Registry
from pipelines.gateway.normalise import utc_text
from pipelines.replay.anchors import Anchors, OfficialForecast, RainSum, ReservoirReport, Stage, load_anchors
from pipelines.replay.readings import Reading, parse_local

STEP = timedelta(minutes=10)
HOUR = timedelta(hours=1)
_MM = Decimal("0.001")
_TIP_MM = Decimal("0.1")
_BURST_MM = 0.8
"""A segment with a lower mean per 10 minutes falls in showers with dry steps between."""
_RESERVOIR_WINDOW = (parse_local("2025-10-26T13:00:00+07:00"), parse_local("2025-11-03T14:00:00+07:00"))
_INFLOW_PULSES = tuple(
    (parse_local(centre), width_h, height)
    for centre, width_h, height in (
        ("2025-10-27T10:00:00+07:00", 9.0, 1.0),
        ("2025-10-29T15:00:00+07:00", 8.0, 0.6),
        ("2025-11-03T09:00:00+07:00", 10.0, 0.7),
    )
)
_LEVEL_SWING_M = 1.2


def readings(registry: Registry, data: Path, seed: int = 0) -> tuple[Reading, ...]:
    """All readings of the replay: river_stage, rain_gauge, reservoir_op and the official flood_forecast.

    `seed` is unused: the flood happened once.
    """
    anchors = load_anchors(data)
    stages = [r for station in anchors.river_stations for r in stage_readings(anchors.stage_anchors(station))]
    rain = [r for segment in anchors.segments for r in rain_readings(segment, anchors)]
    reservoirs = [r for report in anchors.reservoirs for r in reservoir_readings(report)]
    return (*stages, *rain, *reservoirs, *map(forecast_reading, anchors.forecasts))


def stage_readings(anchors: Sequence[Stage]) -> Iterator[Reading]:
    """One station's stages from its first to its last anchor; a row at an anchor is `replay`, any other `synthetic`."""
    at = np.array([a.observed_at.timestamp() for a in anchors])
    curve = PchipInterpolator(at, np.array([float(a.stage_m) for a in anchors]))
    known = {a.observed_at: a.stage_m for a in anchors}
    for earlier, later in itertools.pairwise(anchors):
        moment = earlier.observed_at
        while moment < later.observed_at:
            value = known.get(moment)
            if value is None:
                value = _inside(float(curve(moment.timestamp())), earlier.stage_m, later.stage_m)
            yield _stage(earlier.station_id, moment, value, published=moment in known)
            moment += STEP
    last = anchors[-1]
    yield _stage(last.station_id, last.observed_at, last.stage_m, published=True)


def rain_readings(segment: RainSum, anchors: Anchors) -> Iterator[Reading]:
    """One segment's 10-minute sums, in tips of 0.1 mm that add up to the segment exactly. All rows are synthetic."""
    published = any(
        s.station_id == segment.station_id and s.start <= segment.start and segment.end <= s.end
        for s in anchors.rain_sums
    )
    steps = (segment.end - segment.start) // STEP
    tips = int(segment.rain_mm / _TIP_MM)
    weights = _rain_weights(segment, steps)
    total, running, fallen = sum(weights), 0, 0
    for index, weight in enumerate(weights, start=1):
        running += weight
        # Round the running total, not the steps: the tips then add up, whatever the weights.
        now = tips * running // total
        moment = segment.start + index * STEP
        body = {
            "station_id": segment.station_id,
            "observed_at": utc_text(moment),
            "rain_mm": (now - fallen) * _TIP_MM,
        }
        yield Reading("rain_gauge", body, "synthetic", moment, published)
        fallen = now


def reservoir_readings(report: ReservoirReport) -> Iterator[Reading]:
    """Hourly reports around the published one, which they meet exactly; the shape of the rest is synthetic."""
    start, end = _RESERVOIR_WINDOW
    shape_then = _flow_shape(report.observed_at)
    level_then = _level_shape(report.observed_at)
    moment = start
    while moment <= end:
        published = moment == report.observed_at
        flow = _flow_shape(moment) / shape_then
        swing = Decimal(str(_LEVEL_SWING_M * (_level_shape(moment) - level_then)))
        body: dict[str, Any] = {
            "reservoir_id": report.reservoir_id,
            "observed_at": utc_text(moment),
            "level_m": report.level_m + swing.quantize(Decimal("0.01"), ROUND_HALF_EVEN),
            "inflow_m3s": report.inflow_m3s if published else _whole(report.inflow_m3s, flow),
            "outflow_m3s": report.outflow_m3s if published else _whole(report.outflow_m3s, flow),
        }
        yield Reading("reservoir_op", body, "replay" if published else "synthetic", moment, published)
        moment += HOUR


def forecast_reading(forecast: OfficialForecast) -> Reading:
    """One published forecast. The bulletins were those of the city's station of the hydro-meteorological service."""
    body = {
        "station_id": forecast.station_id,
        "issued_at": utc_text(forecast.issued_at),
        "lead_h": forecast.lead_h,
        "forecast_issuer": "kttv_hue",
        "forecast_stage_m": forecast.stage_m,
    }
    return Reading("flood_forecast", body, "replay", forecast.issued_at, published=True)


def _stage(station_id: str, moment: datetime, stage_m: Decimal, *, published: bool) -> Reading:
    body = {"station_id": station_id, "observed_at": utc_text(moment), "stage_m": stage_m.quantize(_MM)}
    return Reading("river_stage", body, "replay" if published else "synthetic", moment, published)


def _inside(value: float, first: Decimal, second: Decimal) -> Decimal:
    """Round to millimetres, at least one inside the two anchors where there is room."""
    low, high = min(first, second), max(first, second)
    rounded = Decimal(str(value)).quantize(_MM, ROUND_HALF_EVEN)
    margin = _MM if high - low > 2 * _MM else Decimal(0)
    return min(max(rounded, low + margin), high - margin)


def _rain_weights(segment: RainSum, steps: int) -> list[int]:
    """Positive whole weights of the steps: two slow waves and noise, seeded by the segment itself."""
    chance = random.Random(f"{segment.station_id}|{segment.start.isoformat()}")
    phase, bursty = chance.uniform(0, math.tau), float(segment.rain_mm) / steps < _BURST_MM
    weights = []
    for index in range(steps):
        wave = 1 + 0.25 * math.sin(math.tau * index / 54 + phase) + 0.1 * math.sin(math.tau * index / 17 + 2 * phase)
        noise = chance.uniform(0.8, 1.2)
        shower = max(0.0, math.sin(math.tau * index / 108 + phase)) ** 2 if bursty else 1.0
        weights.append(round(1_000_000 * wave * noise * shower))
    return weights


def _flow_shape(moment: datetime) -> float:
    """A base flow and three flood pulses (centre, width in hours, height)."""
    return 0.12 + sum(
        height * math.exp(-(((moment - centre) / HOUR / width_h) ** 2)) for centre, width_h, height in _INFLOW_PULSES
    )


def _level_shape(moment: datetime) -> float:
    """Slower than the flow: the reservoir fills behind the pulses (0 to about 1)."""
    return math.tanh(sum(_flow_shape(moment - lag * HOUR) for lag in (2, 5, 8)) / 3)


def _whole(value: Decimal, factor: float) -> Decimal:
    return (value * Decimal(str(round(factor, 6)))).quantize(Decimal(1), ROUND_HALF_EVEN)
