"""Sensors are broken as the labels say, and quality tests find them: floors only, the figures are in benchmarks/qc."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from catalogue import city
from quality_oracle import Oracle
from quality_oracle import Reading as Judged

from pipelines.replay import flood
from pipelines.replay.deliveries import arrival
from pipelines.replay.readings import Reading
from pipelines.replay.sensor_faults import SENSORS, Episode, break_sensors
from pipelines.replay.sensor_score import DETECTS, Score, score

HOME = Path(__file__).resolve().parents[3]
SEEDS = (1, 2)


@pytest.fixture(scope="module")
def sound() -> tuple[Reading, ...]:
    return flood.readings(city(), HOME / "data")


def judged(name: str, readings: tuple[Reading, ...]) -> dict[tuple[str, datetime], tuple[int, dict[str, int]]]:
    """What is said of each reading on arrival: flag, and test → result."""
    dataset, registry = city().dataset(name), city()
    oracle = Oracle(dataset, registry)
    measures = [f.name for f in dataset.fields if f.type.is_numeric and f.name not in dataset.key]
    found = {}
    for reading in sorted((r for r in readings if r.dataset == name), key=arrival):
        entity = str(reading.body[dataset.entity_key[0]])
        values = {m: Decimal(str(reading.body[m])) for m in measures}
        flag, results = oracle.judge(Judged(entity, reading.event_at, values))
        found[entity, reading.event_at] = flag, {test.rpartition(".")[2]: r for test, r in results.items()}
    return found


@pytest.mark.parametrize("name", sorted(SENSORS))
def test_every_reading_of_the_flood_of_2025_passes(sound: tuple[Reading, ...], name: str) -> None:
    """1,739 mm in 24 hours, 104.6 mm in an hour and 5.31 m are real."""
    found = judged(name, sound)
    assert len(found) > 500 and {flag for flag, _ in found.values()} == {1}


def test_faults_are_seeded_and_change_what_they_touch_only(sound: tuple[Reading, ...]) -> None:
    broken, episodes = break_sensors(sound, 1)
    assert (broken, episodes) == break_sensors(sound, 1)
    assert episodes != break_sensors(sound, 2)[1]
    assert {(e.dataset, e.kind) for e in episodes} <= {(n, kind) for n, one in SENSORS.items() for kind in one.kinds}
    for dataset, sensor in SENSORS.items():
        true = {(r.body[sensor.entity], r.event_at): r for r in sound if r.dataset == dataset}
        false = {(r.body[sensor.entity], r.event_at): r for r in broken if r.dataset == dataset}
        own = [e for e in episodes if e.dataset == dataset]
        assert set(false) < set(true), "dropouts only take away"
        for (entity, at), reading in false.items():
            change = abs(reading.body[sensor.measure] - true[entity, at].body[sensor.measure])
            if change > Decimal(str(6 * sensor.noise)):
                assert any(e.entity == entity and e.holds(at) for e in own)
                assert (reading.origin, reading.published) == ("synthetic", False)
            assert {**reading.body, sensor.measure: 0} == {**true[entity, at].body, sensor.measure: 0}


@pytest.fixture(scope="module", params=["river_stage", "rain_gauge"])
def scored(request: pytest.FixtureRequest, sound: tuple[Reading, ...]) -> Score:
    said: dict[tuple[str, datetime], dict[str, int]] = {}
    episodes: list[Episode] = []
    for seed in SEEDS:
        broken, own = break_sensors(sound, seed)
        years = timedelta(days=1000 * seed)
        found = judged(request.param, broken)
        said |= {(entity, at + years): results for (entity, at), (_, results) in found.items()}
        moved = [(e.dataset, e.entity, e.kind, e.first_at + years, e.last_at + years) for e in own]
        episodes += [Episode(*one) for one in moved]
    return score(city().dataset(request.param), said, episodes, {})


def test_quality_tests_find_broken_sensors_and_leave_sound_ones_alone(scored: Score) -> None:
    assert scored.sound > 100 and scored.false_alarms / scored.sound < 0.01
    for kind, found in scored.faults.items():
        if "neighbour" in DETECTS[kind]:
            assert not found.found_readings, "a single sensor does not tell drift from a rising river"
        else:
            assert found.found_episodes >= 0.7 * found.episodes, (kind, found)
    for test, found in scored.tests.items():
        assert found.precision is not None and found.precision > 0.9, (test, found)
