"""The synthetic day of traffic keeps its own laws: signals, timetable, mix of vehicles."""

from collections import defaultdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipelines.contracts.registry import Registry
from pipelines.replay import mobility
from pipelines.replay.readings import LOCAL

Bodies = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def bodies(registry: Registry) -> Bodies:
    found: Bodies = defaultdict(list)
    for reading in mobility.readings(registry, Path("data"), 7):
        assert reading.origin == "synthetic"
        found[reading.dataset].append(dict(reading.body))
    return found


def test_phases_of_a_junction_take_turns_and_no_green_serves_more_than_it_can(bodies: Bodies) -> None:
    events = bodies["signal_event"]
    by_junction = defaultdict(list)
    for event in events:
        by_junction[event["junction_id"]].append(event)
    assert len(by_junction) == 10
    for own in by_junction.values():
        own.sort(key=lambda e: e["observed_at"])
        kinds = [(e["phase_no"], e["signal_event_type"]) for e in own]
        turn = [(p, k) for p in (1, 2, 3, 4) for k in ("green_start", "amber_start", "red_start")]
        assert kinds == turn * (len(kinds) // len(turn)), "one phase is green at a time, in turn"
        ambers = [e for e in own if e["signal_event_type"] == "amber_start"]
        assert all(e["vehicle_count"] <= e["interval_s"] / 2 and 0 <= e["space_s"] <= e["interval_s"] for e in ambers)
    waiting = [e for e in events if e.get("red_occupancy_pct", 0) >= 80]
    easy, hard = (sum(e["junction_id"] == name for e in waiting) for name in (min(by_junction), max(by_junction)))
    assert hard > 3 * easy, "the last junction has more demand than capacity"


def test_buses_run_on_the_timetable_of_the_day_only(bodies: Bodies) -> None:
    positions = bodies["vehicle_position"]
    local = [datetime.fromisoformat(p["observed_at"]).astimezone(LOCAL) for p in positions]
    assert {moment.date().isoformat() for moment in local} == {"2025-11-07"}
    stops = {(p["trip_id"], p["stop_id"]) for p in positions}
    assert len(positions) >= 2 * len(stops) > 1000, "on the way to every stop and as it arrives"
    known = [p["delay_s"] for p in positions if p["delay_s"] is not None]
    assert 0.9 < len(known) / len(positions) < 1


def test_motorcycles_are_most_of_the_traffic_and_every_period_is_there(bodies: Bodies) -> None:
    counts = bodies["lane_class_count"]
    total = sum(c["vehicle_count"] for c in counts)
    assert sum(c["vehicle_count"] for c in counts if c["vehicle_class"] == "motorcycle") / total > 0.6
    periods = {c["observed_at"] for c in counts}
    assert len(periods) == (mobility.COUNTS_UNTIL - mobility.COUNTS_FROM) / timedelta(minutes=5)
    assert len(counts) == len(periods) * 2 * 2 * 8


def test_the_same_seed_gives_the_same_day(registry: Registry) -> None:
    assert mobility.readings(registry, Path("data"), 3) == mobility.readings(registry, Path("data"), 3)
