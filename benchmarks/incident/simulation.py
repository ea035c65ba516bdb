"""A synthetic road between two stations: the cell transmission model (Daganzo 1994), triangular fundamental diagram.

No pair of neighbouring loop stations with labelled incidents is public with a licence to carry, so that the method of
pairs is measured here. Demand follows the day and is noisy; an incident takes a share of the capacity of one cell for
a while. Occupancy is density times the length that a vehicle occupies, with noise of measurement.

    python benchmarks/incident/simulation.py DAYS INCIDENTS SEED

prints the road in windows of five minutes, as the unit test of the detection reads it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STEP_S = 6.0
MINUTE_STEPS = round(60 / STEP_S)
WINDOW_MIN = 5
FREE_KMH, WAVE_KMH, JAM_VEHKM = 60.0, 15.0, 150.0
CELL_KM = FREE_KMH * STEP_S / 3600
CELLS, UPSTREAM, DOWNSTREAM = 30, 8, 22
"""A road of 3 km; the stations stand in these cells, 1.4 km apart."""
CAPACITY_VEHH = FREE_KMH * WAVE_KMH * JAM_VEHKM / (FREE_KMH + WAVE_KMH)
OCCUPIED_M = 6.5
"""Length of a vehicle and of the detector."""


@dataclass(frozen=True)
class Incident:
    """An incident in minutes since the start: from, to, and the share of the capacity that it takes."""

    start_min: int
    end_min: int
    blocked: float


@dataclass(frozen=True)
class Run:
    """Occupancy in percent by minute at both stations, and the truth."""

    upstream_pct: NDArray[np.float64]
    downstream_pct: NDArray[np.float64]
    incidents: tuple[Incident, ...]


def simulate(days: int, incidents: int, seed: int) -> Run:
    """Simulate ``days`` with ``incidents`` spread over their daytimes, at least three hours apart."""
    chance = np.random.default_rng(seed)
    truth = _incidents(days, incidents, chance)
    minutes = days * 1440
    hour = np.arange(minutes) / 60 % 24
    peaks = np.exp(-(((hour - 7.5) / 1.6) ** 2)) + np.exp(-(((hour - 17.5) / 1.8) ** 2))
    demand = CAPACITY_VEHH * (0.12 + 0.4 * np.clip(np.sin((hour - 5) / 18 * np.pi), 0, None) + 0.35 * peaks)
    demand *= np.repeat(chance.normal(1, 0.06, minutes // 5), 5) * chance.normal(1, 0.05, minutes)
    capacity = np.full((minutes,), CAPACITY_VEHH)
    for incident in truth:
        capacity[incident.start_min : incident.end_min] *= 1 - incident.blocked
    density = np.zeros(CELLS)
    observed = np.empty((2, minutes))
    for minute in range(minutes):
        total = np.zeros(2)
        for _ in range(MINUTE_STEPS):
            sending = np.minimum(FREE_KMH * density, CAPACITY_VEHH)
            receiving = np.minimum(WAVE_KMH * (JAM_VEHKM - density), CAPACITY_VEHH)
            flow = np.minimum(np.concatenate(([demand[minute]], sending)), np.concatenate((receiving, [CAPACITY_VEHH])))
            middle = (UPSTREAM + DOWNSTREAM) // 2
            flow[middle] = min(flow[middle], capacity[minute])
            density = density + (flow[:-1] - flow[1:]) * (STEP_S / 3600 / CELL_KM)
            total += density[[UPSTREAM, DOWNSTREAM]]
        observed[:, minute] = total / MINUTE_STEPS * OCCUPIED_M / 1000 * 100
    noisy = np.clip(observed * chance.normal(1, 0.08, observed.shape) + chance.normal(0, 0.4, observed.shape), 0, 100)
    return Run(noisy[0], noisy[1], truth)


def _incidents(days: int, count: int, chance: np.random.Generator) -> tuple[Incident, ...]:
    """Incidents between 06:00 and 20:00 that last 15 to 45 minutes and block 40 to 90 % of the road."""
    slots = [(day, slot) for day in range(days) for slot in range(4)]
    chosen = sorted(chance.choice(len(slots), count, replace=False))
    found = []
    for day, slot in (slots[index] for index in chosen):
        start = day * 1440 + 360 + slot * 210 + int(chance.integers(0, 30))
        found.append(Incident(start, start + int(chance.integers(15, 46)), float(chance.uniform(0.4, 0.9))))
    return tuple(found)


def windows(run: Run) -> Iterator[str]:
    """The run as text: `incident,<start minute>,<end minute>,<share blocked>` for the truth, then for every window
    `<upstream>,<downstream>`, mean occupancies in percent."""
    for incident in run.incidents:
        yield f"incident,{incident.start_min},{incident.end_min},{incident.blocked:.3f}"
    upstream, downstream = (
        minutes.reshape(-1, WINDOW_MIN).mean(axis=1) for minutes in (run.upstream_pct, run.downstream_pct)
    )
    for up, down in zip(upstream, downstream, strict=True):
        yield f"{up:.3f},{down:.3f}"


if __name__ == "__main__":
    print("\n".join(windows(simulate(*map(int, sys.argv[1:4])))))
