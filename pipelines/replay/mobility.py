"""Synthetic traffic that keeps its own laws: signals with queues, buses on their timetable, counts by class of vehicle.

Every row says `origin: synthetic`. The junctions, trips, stops and calendars are those of the sample sector database
with the same seed, so that the settled figures of junctions and buses have something to say.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.contracts.registry import Registry
from pipelines.gateway.normalise import utc_text
from pipelines.replay.readings import Reading, parse_local
from pipelines.replay.sample import draw_all

DAY = parse_local("2025-11-07T00:00:00+07:00")
"""A Friday of Huế, from its midnight."""
SIGNALS_FROM, SIGNALS_UNTIL = DAY + timedelta(hours=16, minutes=30), DAY + timedelta(hours=18, minutes=30)
"""The evening peak."""
COUNTS_FROM, COUNTS_UNTIL = DAY + timedelta(hours=6), DAY + timedelta(hours=9)
PERIOD = timedelta(minutes=5)
PHASES = 4
_AMBER_S, _ALL_RED_S, _HEADWAY_S, _OCCUPIED_S = 3, 2, 2, 1
"""Seconds: amber and all red of a phase; between two discharging vehicles, and of them over the detector."""
_BLOCKED = (DAY + timedelta(hours=17, minutes=30), DAY + timedelta(hours=17, minutes=45))
"""The road behind the first junction is full: vehicles stand over the detector and few pass."""
_PER_PERIOD = {
    "bicycle": 6,
    "motorcycle": 180,
    "car": 40,
    "minibus": 4,
    "bus": 2,
    "truck_2_axles": 3,
    "truck_3_axles": 1,
    "trailer": 0.3,
}
"""Mean vehicles of a class in five minutes of one lane at the peak; ours, no count is published."""


def readings(registry: Registry, data: Path, seed: int = 0) -> tuple[Reading, ...]:
    """All readings of the replay: signal_event, vehicle_position, lane_class_count. `data` is unused."""
    names = ("smart_junction", "gtfs_calendar", "gtfs_trip", "gtfs_stop", "gtfs_stop_time")
    tables = {d.dataset.id: d.table.to_pylist() for d in draw_all(registry, seed, 1.0, names)}
    junctions = [str(row["junction_id"]) for row in tables["smart_junction"]]
    return (*_signals(junctions, seed), *_buses(tables, seed), *_counts(registry, seed))


@dataclass
class _Phase:
    """One phase of one junction: how many vehicles come in a second, and how many wait."""

    number: int
    arrivals_per_s: float
    waiting: int = 0


def _signals(junctions: list[str], seed: int) -> Iterator[Reading]:
    for index, junction in enumerate(junctions):
        chance = np.random.default_rng([seed, index])
        cycle_s = int(chance.integers(80, 121))
        greens = chance.dirichlet(np.full(PHASES, 8.0)) * (cycle_s - PHASES * (_AMBER_S + _ALL_RED_S))
        # From an easy junction to one whose demand is above its capacity.
        load = 0.5 + 0.6 * index / max(len(junctions) - 1, 1)
        phases = [_Phase(n, load * float(g) / _HEADWAY_S / cycle_s) for n, g in enumerate(greens, start=1)]
        moment = SIGNALS_FROM + timedelta(seconds=int(chance.integers(0, cycle_s)))
        while moment < SIGNALS_UNTIL:
            for phase, planned in zip(phases, greens, strict=True):
                green_s = max(5.0, round(float(planned) * float(chance.uniform(0.9, 1.1)), 1))
                is_blocked = index == 0 and _BLOCKED[0] <= moment < _BLOCKED[1]
                phase.waiting += int(chance.poisson(phase.arrivals_per_s * cycle_s))
                served = min(phase.waiting, int(green_s / _HEADWAY_S)) // (4 if is_blocked else 1)
                phase.waiting -= served
                space_s = 1.0 if is_blocked else max(0.0, round(green_s - served * _OCCUPIED_S, 1))
                red_pct = float(chance.uniform(85, 100) if phase.waiting else chance.uniform(0, 40))
                common = {"control_mode": "adaptive_ai", "cycle_s": cycle_s, "green_s": round(float(planned), 1)}
                amber = {"interval_s": green_s, "vehicle_count": served, "space_s": space_s}
                red = {"interval_s": _AMBER_S, "red_occupancy_pct": round(red_pct, 1)}
                steps: tuple[tuple[str, float, dict[str, Any]], ...] = (
                    ("green_start", 0.0, {}),
                    ("amber_start", green_s, amber),
                    ("red_start", green_s + _AMBER_S, red),
                )
                for kind, after_s, own in steps:
                    at = moment + timedelta(milliseconds=round(after_s * 1000))
                    key = {"junction_id": junction, "phase_no": phase.number, "signal_event_type": kind}
                    yield Reading(
                        "signal_event", {**key, "observed_at": utc_text(at), **common, **own}, "synthetic", at
                    )
                moment += timedelta(milliseconds=round((green_s + _AMBER_S + _ALL_RED_S) * 1000))


def _buses(tables: Mapping[str, list[dict[str, Any]]], seed: int) -> Iterator[Reading]:
    """Two positions of each trip of the day for every stop: on the way to it, and as it arrives."""
    day = (DAY + timedelta(hours=7)).date()
    running = {
        row["gtfs_service_id"]
        for row in tables["gtfs_calendar"]
        if row["is_friday"] and row["service_start_date"] <= day <= row["service_end_date"]
    }
    places = {row["stop_id"]: row for row in tables["gtfs_stop"]}
    stops: dict[str, list[dict[str, Any]]] = {}
    for row in tables["gtfs_stop_time"]:
        stops.setdefault(row["trip_id"], []).append(row)
    trips = [row for row in tables["gtfs_trip"] if row["gtfs_service_id"] in running]
    for number, trip in enumerate(sorted(trips, key=lambda row: row["trip_id"]), start=1):
        chance = random.Random(f"bus|{seed}|{trip['trip_id']}")
        delay_s = chance.gauss(20, 60)
        for stop in sorted(stops.get(trip["trip_id"], ()), key=lambda row: row["stop_sequence"]):
            delay_s += chance.gauss(12, 40)
            place = places[stop["stop_id"]]
            for before_s in (30, 0):
                at = DAY + timedelta(seconds=stop["arrival_s"] + round(delay_s) - before_s)
                body = {
                    "vehicle_id": f"XB-{number:03d}",
                    "observed_at": utc_text(at),
                    "route_id": trip["route_id"],
                    "trip_id": trip["trip_id"],
                    "stop_id": stop["stop_id"],
                    "lon_deg": place["lon_deg"],
                    "lat_deg": place["lat_deg"],
                    "vehicle_speed_kmh": round(chance.uniform(10, 35) if before_s else chance.uniform(0, 8), 1),
                    "bearing_deg": round(chance.uniform(0, 359.9), 1),
                    "delay_s": round(delay_s) if chance.random() > 0.05 else None,
                    "occupancy_status": chance.choice(("EMPTY", "MANY_SEATS_AVAILABLE", "FEW_SEATS_AVAILABLE")),
                }
                yield Reading("vehicle_position", body, "synthetic", at)


def _counts(registry: Registry, seed: int) -> Iterator[Reading]:
    """Counts of two lanes of two detectors over the morning; they follow the way to school and work."""
    chance = np.random.default_rng([seed, 1_000])
    moment: datetime = COUNTS_FROM
    while moment < COUNTS_UNTIL:
        hours = (moment - COUNTS_FROM) / timedelta(hours=1)
        share = 0.4 + 0.6 * float(np.exp(-(((hours - 1.2) / 0.8) ** 2)))
        for detector in registry.code_list("detectors").codes[:2]:
            for lane in (1, 2):
                for vehicle_class, peak in _PER_PERIOD.items():
                    body = {
                        "detector_id": detector,
                        "lane_no": lane,
                        "vehicle_class": vehicle_class,
                        "observed_at": utc_text(moment),
                        "vehicle_count": int(chance.poisson(peak * share)),
                    }
                    yield Reading("lane_class_count", body, "synthetic", moment)
        moment += PERIOD
