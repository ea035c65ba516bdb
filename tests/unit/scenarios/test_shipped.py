"""Every scenario that ships, over a small history of its own: it stays silent while things come close to its trigger,
and begins at the fact that its file names, told by the dry run and so by the engine's own classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import chain, count
from typing import Any

import pyarrow as pa
import pytest
from catalogue import city
from deltalake import write_deltalake

from pipelines.contracts.model import Dataset
from pipelines.contracts.scenario import Alert, CapDraft, Scenario
from pipelines.contracts.targets.delta import arrow_schema
from pipelines.runtime.settings import Settings
from pipelines.scenarios.dry_run import dry_run

T0 = datetime(2025, 10, 27, tzinfo=UTC)
ARRIVES_AFTER = timedelta(seconds=2)


@dataclass(frozen=True)
class Fact:
    """One row of silver; `minute` is its event time, after T0."""

    dataset: str
    minute: int
    values: Mapping[str, Any]


@dataclass(frozen=True)
class History:
    """What happened. `quiet` comes close to the trigger and is no reason; with `story` runs begin: for which scope, and
    how long after T0."""

    quiet: tuple[Fact, ...]
    story: tuple[Fact, ...]
    begins: Mapping[str, timedelta]


_numbers = count(1)


def _series(
    dataset: str, field: str, values: Iterable[object], *, start: int = 0, step: int = 1, **fixed: object
) -> Iterator[Fact]:
    """Readings of one series, `step` minutes apart; None: no reading."""
    for index, value in enumerate(values):
        if value is not None:
            yield Fact(dataset, start + index * step, {**fixed, field: value})


def _event(dataset: str, minute: int, **values: object) -> Fact:
    """One event; every call is another one."""
    key = city().dataset(dataset).key[0]
    return Fact(dataset, minute, {key: f"E-{next(_numbers):04d}", **values})


def _calls(service: str, status: str, *minutes: int) -> Iterator[Fact]:
    for minute in minutes:
        yield _event("exchange_log", minute, exchange_service=service, exchange_status=status)


def _crowds(ward: str, review: str, *minutes: int) -> Iterator[Fact]:
    for minute in minutes:
        yield _event("ai_event", minute, camera_event_type="crowd", ward_code=ward, review_status=review)


def _alarm(minute: int, level: int, transition: str, station: str = "71520") -> Fact:
    return _event("flood_alert", minute, alarm_level=level, transition=transition, station_id=station)


def _depths(site: str, *depths: float, start: int = 0) -> Iterator[Fact]:
    ward = {row["site_id"]: str(row["ward_code"]) for row in city().code_list("flood_sites").rows}[site]
    return _series("urban_flood_depth", "depth_cm", depths, start=start, step=10, site_id=site, ward_code=ward)


def _lane(start: int, *windows: tuple[float, float]) -> Iterator[Fact]:
    for index, (speed, occupancy) in enumerate(windows):
        values = {"detector_id": "HUE-D01", "lane_no": 1, "mean_speed_kmh": speed, "occupancy_pct": occupancy}
        yield Fact("lane_flow_5min", start + 5 * index, values)


def _modes(junction: str, start: int, *modes: str) -> Iterator[Fact]:
    """The control mode of a junction, told by its changes of plan."""
    where = {"junction_id": junction, "phase_no": 1, "signal_event_type": "plan_change"}
    return _series("signal_event", "control_mode", modes, start=start, **where)


def _camera(number: int, ward: str, *spans: tuple[int, int]) -> Iterator[Fact]:
    """A camera that reports every minute of these spans (the last minute included)."""
    for first, last in spans:
        for minute in range(first, last + 1):
            yield Fact("camera_health", minute, {"camera_id": f"C-{number}", "ward_code": ward, "is_online": True})


def _history(quiet: Iterable[Iterable[Fact]], story: Iterable[Iterable[Fact]], **begins: timedelta) -> History:
    return History(tuple(chain.from_iterable(quiet)), tuple(chain.from_iterable(story)), begins)


def _at(minutes: int, seconds: int = 0) -> timedelta:
    return timedelta(minutes=minutes, seconds=seconds)


def _refusals(service: str, within: int) -> History:
    """Calls of a service of the interchange platform: four failures and a fifth that is too late, then five in time."""
    late = 3 + within
    return _history(
        [
            _calls(service, "failed", 3, 3, 3, 3, late),
            _calls(service, "ok", *range(late)),
            _calls("population", "failed", *range(8)),
        ],
        [_calls(service, "timed_out", *range(100, 105))],
        **{service: _at(104)},
    )


HISTORIES: Mapping[str, History] = {
    # Nearly two hours of dust, and two hours just below the limit; then two hours of it, and a dip above the limit for
    # clearing in between.
    "air_harmful": _history(
        [
            _series("env_monitoring", "pm25_ugm3", [150] * 24 + [99], step=5, env_station_id="MT-001"),
            _series("env_monitoring", "pm25_ugm3", [149.9] * 25, step=5, env_station_id="MT-002"),
        ],
        [_series("env_monitoring", "pm25_ugm3", [150, 120] + [170] * 23, start=125, step=5, env_station_id="MT-001")],
        **{"MT-001": _at(245)},
    ),
    # Two of five are silent for twenty minutes; then three. Absence goes by the arrival clock.
    "cameras_silent": _history(
        [
            *(_camera(number, "19753", (0, 40)) for number in (1, 2, 3)),
            *(_camera(number, "19753", (0, 5), (26, 40)) for number in (4, 5)),
        ],
        [
            *(_camera(number, "19753", (41, 60)) for number in (1, 5)),
            *(_camera(number, "19753", (41, 45)) for number in (2, 3, 4)),
        ],
        **{"19753": _at(55, 2)},
    ),
    # The two services are told apart; a fifth failure comes too late, and another service has five.
    "civil_records_failing": _history(
        [
            _calls("civil_status", "refused", 3, 3, 3, 3),
            _calls("judicial_record", "failed", 4),
            _calls("civil_status", "failed", 33),
            _calls("civil_status", "ok", *range(5, 30)),
            _calls("payment", "failed", *range(5)),
        ],
        [_calls("judicial_record", "refused", *range(100, 105))],
        judicial_record=_at(104),
    ),
    # Water just below the limit; cameras that see flooding half an hour apart, and one that a person rejected.
    "commune_flooding": _history(
        [
            _depths("HUE-N19753-1", 5, 29.9, 29.9),
            [
                _event("ai_event", 5, camera_event_type="flooding", ward_code="19789", review_status="pending"),
                _event("ai_event", 35, camera_event_type="flooding", ward_code="19789", review_status="pending"),
                _event("ai_event", 6, camera_event_type="flooding", ward_code="19789", review_status="rejected"),
                _event("ai_event", 7, camera_event_type="littering", ward_code="19789", review_status="confirmed"),
            ],
        ],
        [
            _depths("HUE-N19753-1", 30, start=60),
            [
                _event("ai_event", minute, camera_event_type="flooding", ward_code="19789", review_status="pending")
                for minute in (70, 80)
            ],
        ],
        **{"19753": _at(60), "19789": _at(80)},
    ),
    "forest_fire_confirmed": _history(
        [
            [
                Fact("fire_event", 0, {"event_id": "F-1", "fire_kind": "forest", "review_status": "pending"}),
                Fact("fire_event", 5, {"event_id": "F-2", "fire_kind": "straw", "review_status": "confirmed"}),
            ]
        ],
        [[Fact("fire_event", 30, {"event_id": "F-3", "fire_kind": "forest", "review_status": "confirmed"})]],
        **{"F-3": _at(30)},
    ),
    # Deep water that stands, shallow water that rises, both but more slowly, and a ward without museums.
    "heritage_flooding": _history(
        [
            _depths("HUE-N19753-1", 20, 20, 20, 20),
            _depths("HUE-N19774-1", 0, 5, 10, 14.9),
            _depths("HUE-N19777-1", 10, 11, 12, 13, 14, 15, 16, 20.9),
            _depths("HUE-N19815-1", 0, 20, 40, 60),
        ],
        [_depths("HUE-N19789-1", 0, 8, 16, start=80)],
        **{"19789": _at(100)},
    ),
    "insurance_records_failing": _refusals("social_insurance", within=30),
    "payment_failing": _refusals("payment", within=15),
    # Below the objective for one period only, and at it for long.
    "platform_service_down": _history(
        [
            _series("platform_slo", "availability_pct", [94, 94, 99.5], step=5, platform_service="query"),
            _series("platform_slo", "availability_pct", [95] * 6, step=5, platform_service="gateway"),
        ],
        [_series("platform_slo", "availability_pct", [90, 96, 94], start=30, step=5, platform_service="query")],
        query=_at(40),
    ),
    "river_alarm_three": _history(
        [[_alarm(0, 2, "raise"), _alarm(10, 2, "clear"), _alarm(20, 3, "clear")]],
        [[_alarm(30, 3, "raise")]],
        **{"71520": _at(30)},
    ),
    "river_alarm_two": _history(
        [[_alarm(0, 1, "raise"), _alarm(10, 3, "raise"), _alarm(20, 2, "clear")]],
        [[_alarm(30, 2, "raise", station="71518")]],
        **{"71518": _at(30)},
    ),
    # As much, but in a longer time.
    "river_rising_fast": _history(
        [
            _series(
                "river_stage",
                "stage_m",
                [Decimal("1.00") + Decimal("0.022") * n for n in range(22)],
                step=10,
                station_id="71520",
            )
        ],
        [_series("river_stage", "stage_m", [1.47, 1.60, 1.80], start=220, step=10, station_id="71520")],
        **{"71520": _at(230)},
    ),
    "school_danger": _history(
        [[_event("school_safety_event", n, school_id="TH-1", severity=s) for n, s in ((0, "low"), (5, "medium"))]],
        [[_event("school_safety_event", 60, school_id="TH-2", severity="critical")]],
        **{"TH-2": _at(60)},
    ),
    # Other changes, and a controller that was flashing when it was first heard of.
    "signal_fallback": _history(
        [
            _modes("N-1", 0, "fixed", "adaptive_ai", "manual", "fixed"),
            _modes("N-2", 0, "flashing", "flashing", "fixed"),
        ],
        [_modes("N-1", 10, "fixed", "flashing")],
        **{"N-1": _at(11)},
    ),
    # One cabinet without power and one with little; two an hour apart.
    "street_lighting_out": _history(
        [
            _series("lighting_cabinet", "voltage_v", [220, 0, 0], step=15, cabinet_id="T-1", ward_code="19753"),
            _series("lighting_cabinet", "voltage_v", [220, 180, 180], step=15, cabinet_id="T-2", ward_code="19753"),
            _series("lighting_cabinet", "voltage_v", [0], cabinet_id="T-3", ward_code="19789"),
            _series("lighting_cabinet", "voltage_v", [0], start=60, cabinet_id="T-4", ward_code="19789"),
        ],
        [
            _series("lighting_cabinet", "voltage_v", [0], start=75, cabinet_id="T-1", ward_code="19753"),
            _series("lighting_cabinet", "voltage_v", [179], start=80, cabinet_id="T-2", ward_code="19753"),
        ],
        **{"19753": _at(80)},
    ),
    # It stands for ten minutes less than is asked for, then moves by more than the tolerance.
    "tide_gauge_stuck": _history(
        [
            _series("tide", "tide_level_m", [0.1] + [0.2] * 18 + [0.3], step=10, tide_station_id="HUE-TA"),
            _series("tide", "tide_level_m", [n / 100 for n in range(20)], step=10, tide_station_id="HUE-TH"),
        ],
        [_series("tide", "tide_level_m", [0.4, *[0.402, 0.4] * 9], start=200, step=10, tide_station_id="HUE-TA")],
        **{"HUE-TA": _at(380)},
    ),
    # Slow on an empty road, dense but flowing, and both for five minutes only.
    "traffic_standstill": _history(
        [_lane(0, (11, 20), (11, 20), (11, 20), (12, 60), (20, 60), (20, 60), (11, 36), (11, 36), (40, 10))],
        [_lane(60, (11, 36), (15, 30), (10, 50))],
        **{"HUE-D01": _at(70)},
    ),
    # Two and one that was rejected; three within more than half an hour; three where few monuments are.
    "visitors_crowded": _history(
        [
            _crowds("19753", "pending", 0, 5),
            _crowds("19753", "rejected", 6),
            _crowds("19753", "confirmed", 35),
            _crowds("19815", "confirmed", 0, 1, 2),
            [_event("ai_event", 3, camera_event_type="littering", ward_code="19753", review_status="confirmed")],
        ],
        [_crowds("19753", "pending", 90, 95, 100)],
        **{"19753": _at(100)},
    ),
}


def _write(namespace: Settings, facts: Sequence[Fact]) -> None:
    """Write the facts to silver, each received two seconds after its event time."""
    for name in {fact.dataset for fact in facts}:
        dataset = city().dataset(name)
        schema = arrow_schema(dataset, "silver")
        own = [fact for fact in facts if fact.dataset == name]
        rows = [_row(dataset, schema, fact, number) for number, fact in enumerate(own)]
        path = str(namespace.table_path("silver", name))
        write_deltalake(path, pa.Table.from_pylist(rows, schema=schema), mode="overwrite")


def _row(dataset: Dataset, schema: pa.Schema, fact: Fact, number: int) -> dict[str, object]:
    at = T0 + timedelta(minutes=fact.minute)
    unknown = set(fact.values) - {item.name for item in dataset.fields}
    assert not unknown, f"{dataset.id} has no {unknown}"
    row = {
        **fact.values,
        str(dataset.event_time): at,
        "origin": "replay",
        "received_at": at + ARRIVES_AFTER,
        "qc_flag": 1,
        "raw_partition": 0,
        "raw_offset": number,
    }
    known = {name: value for name, value in row.items() if name in schema.names}
    return {
        name: Decimal(str(value)) if pa.types.is_decimal(schema.field(name).type) else value
        for name, value in known.items()
    }


def _end(facts: Sequence[Fact]) -> datetime:
    return T0 + timedelta(minutes=max(fact.minute for fact in facts), seconds=30)


def test_every_scenario_that_ships_has_a_history() -> None:
    assert HISTORIES.keys() == {scenario.id for scenario in city().scenarios}


@pytest.mark.parametrize("scenario", city().scenarios, ids=lambda scenario: scenario.id)
def test_it_begins_with_its_story_and_not_before(namespace: Settings, scenario: Scenario) -> None:
    history = HISTORIES[scenario.id]
    _write(namespace, [*history.quiet, *history.story])
    quiet = dry_run(namespace, city(), scenario, T0, _end(history.quiet))
    assert sum(quiet.facts.values()) == len(history.quiet), "the quiet part was judged"
    assert set(quiet.facts) == set(scenario.datasets) and all(quiet.facts.values())
    assert quiet.runs == () and not quiet.rows
    found = dry_run(namespace, city(), scenario, T0, _end(history.story))
    begun = {run["scope_key"]: datetime.fromisoformat(run["started_at"]) - T0 for run in found.runs}
    assert begun == history.begins
    assert len(found.runs) == len(begun), "one run each"
    for run in found.runs:
        assert run["agency_id"] == scenario.owner and run["severity"] == scenario.severity
        assert run["trigger_kind"] == "exercise", "a replay is no real operation"
        assert "{" not in run["headline_vi"] + run["headline_en"] and "null" not in run["headline_vi"]
        assert _outcomes(found.rows["alert.scenario_outcome"], run["run_id"]) == _promised(scenario)


def _outcomes(rows: Sequence[Mapping[str, Any]], run_id: str) -> Counter[tuple[str, str]]:
    """What followed from a run's beginning."""
    begun = {"alert_issued", "task_created", "cap_draft_requested"}
    own = [row for row in rows if row["run_id"] == run_id and row["outcome_kind"] in begun]
    return Counter((row["outcome_kind"], row["agency_id"]) for row in own)


def _promised(scenario: Scenario) -> Counter[tuple[str, str]]:
    """What its file says that follows."""
    kinds = {Alert: "alert_issued", CapDraft: "cap_draft_requested"}
    said = [(kinds[type(a)], scenario.owner) for a in scenario.actions if type(a) in kinds]
    return Counter([*said, *(("task_created", task.agency) for _, task in scenario.tasks())])
