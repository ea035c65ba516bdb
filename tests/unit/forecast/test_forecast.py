"""Forecasts: what each method computes, what a fit finds, and what a forecast of the past may know."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from catalogue import city
from deltalake import write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.contracts.targets.delta import arrow_schema
from pipelines.forecast import run, store
from pipelines.forecast.fit import WINDOWS, entities_of, fit_station, inputs_of
from pipelines.forecast.model import (
    LEADS_H,
    METHODS,
    Band,
    Input,
    StationModel,
    Windows,
    combined,
    complete,
    fading,
    forecast,
    routed_change,
)
from pipelines.forecast.series import STEP, Floats, Grid, Series, filled, read_grid, theil_sen
from pipelines.forecast.store import ParameterSet
from pipelines.replay import flood
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings

HOME = Path(__file__).resolve().parents[3]
REGISTRY = city()
LOCAL = timezone(timedelta(hours=7))
FLOOD = flood.readings(REGISTRY, HOME / "data")
BEGIN, END = datetime(2025, 10, 25, 13, tzinfo=LOCAL), datetime(2025, 11, 3, 14, tzinfo=LOCAL)
SPLIT = datetime(2025, 10, 31, tzinfo=LOCAL)
KIM_LONG, PHU_OC = "71520", "71518"
NO_BANDS = {method: {str(lead): Band(-0.1, 0.2) for lead in LEADS_H} for method in METHODS}
_TABLES = {
    "river_stage": ("stage", "station_id", "stage_m"),
    "rain_gauge": ("rain", "station_id", "rain_mm"),
    "reservoir_op": ("outflow", "reservoir_id", "outflow_m3s"),
}


def micros(moment: datetime) -> int:
    return round(moment.timestamp() * 1e6)


def grid_of(series: Mapping[tuple[str, str], Floats], start: datetime = BEGIN) -> Grid:
    """A grid whose readings arrive when they are observed."""
    size = max(len(values) for values in series.values())
    arrivals = np.array([micros(start + i * STEP) for i in range(size)], dtype=np.int64)
    return Grid(start, size, {key: Series(values, arrivals, {"replay": size}) for key, values in series.items()})


@pytest.fixture(scope="module")
def grid() -> Grid:
    """The replay of the flood, every reading received when it was observed."""
    size = (END - BEGIN) // STEP + 1
    values: dict[tuple[str, str], Floats] = {}
    for reading in FLOOD:
        if reading.dataset in _TABLES and BEGIN <= reading.event_at <= END:
            kind, entity, measure = _TABLES[reading.dataset]
            own = values.setdefault((kind, reading.body[entity]), np.full(size, np.nan))
            own[(reading.event_at - BEGIN) // STEP] = float(reading.body[measure])
    return grid_of(values)


# ── methods ────────────────────────────────────────────────────────────────────────────────────────────────────────


def model(inputs: tuple[Input, ...] = ()) -> StationModel:
    return StationModel("s", 4.0, 4.0, 1.0, inputs, NO_BANDS, {})


def by_method(found: tuple[object, ...], method: str) -> list[float]:
    return [f.stage_m for f in found if f.method == method]  # type: ignore[attr-defined]


def test_persistence_keeps_the_stage_and_a_trend_fades() -> None:
    rising = grid_of({("stage", "s"): np.arange(40) / 60})  # 0.1 m an hour
    found = forecast(model(), WINDOWS, rising, 39)
    assert by_method(found, "persistence") == [pytest.approx(39 / 60)] * 12
    trend = by_method(found, "trend")
    assert trend[0] == pytest.approx(39 / 60 + 0.1 * 4 * (1 - np.exp(-1 / 4)))
    assert trend[-1] == pytest.approx(39 / 60 + 0.1 * 4 * (1 - np.exp(-3)))
    assert by_method(found, "lag_route") == trend, "without an input only the trend is on its way"
    assert {(round(f.low_m - f.stage_m, 6), round(f.high_m - f.stage_m, 6)) for f in found} == {(-0.1, 0.2)}


def test_a_silent_gauge_has_no_forecast_and_a_young_one_no_trend() -> None:
    silent = grid_of({("stage", "s"): np.r_[np.arange(20.0), [np.nan] * 10]})
    assert forecast(model(), WINDOWS, silent, 29) == ()
    assert {f.method for f in forecast(model(), WINDOWS, grid_of({("stage", "s"): np.arange(5.0)}), 4)} == {
        "persistence"
    }


def test_a_reading_that_comes_after_the_grace_is_not_known() -> None:
    made = grid_of({("stage", "s"): np.r_[np.full(39, 1.0), 2.0]})
    found = made.series["stage", "s"]
    for late, stage in ((timedelta(minutes=5), 2.0), (timedelta(minutes=6), 1.0)):
        received = found.received + round(late.total_seconds() * 1e6)
        known = replace(made, series={("stage", "s"): replace(found, received=received)})
        assert by_method(forecast(model(), WINDOWS, known, 39), "persistence")[0] == stage


def test_what_is_on_its_way_arrives_after_its_lag_and_nothing_is_known_of_later_rain() -> None:
    rain = np.zeros(200)
    rain[100] = 6.0
    change = routed_change(rain, "rain", 3.0, 2.0)
    assert np.allclose(change[99], 0), "before it falls nobody knows"
    assert change[100][1] == 0 and change[100][3] > 0, "it arrives after three hours"
    out = np.zeros(400)
    decay = np.exp(-1 / 12)
    for i in range(1, 400):
        out[i] = decay * out[i - 1] + (1 - decay) * (rain[i - 18] if 18 <= i < 218 else 0)
    for lead in LEADS_H:
        assert change[100][lead - 1] == pytest.approx(out[100 + 6 * lead] - out[100])


def test_a_release_is_taken_to_stay() -> None:
    release = np.r_[np.full(100, 1.0), np.full(100, 3.0)]
    change = routed_change(release, "outflow", 0.0, 2.0)
    assert np.allclose(change[50], 0)
    assert change[199][0] == pytest.approx(0, abs=1e-3)
    assert change[106][-1] == pytest.approx(3.0 - (3 - 2 * np.exp(-7 / 12)), abs=0.02)


@given(
    st.lists(st.floats(0, 100), min_size=30, max_size=80), st.floats(0, 12), st.floats(0.5, 48),
    st.sampled_from(["rain", "outflow"]), st.integers(1, 29),
)  # fmt: skip
@settings(deadline=None)
def test_no_forecast_knows_what_came_later(
    values: list[float], lag_h: float, memory_h: float, kind: str, step: int
) -> None:
    known = np.array(values[: step + 1])
    whole = routed_change(np.array(values), kind, lag_h, memory_h)
    assert np.allclose(whole[step], routed_change(known, kind, lag_h, memory_h)[-1], atol=1e-9)


def test_inputs_are_means_of_gauges_and_sums_of_releases() -> None:
    found = grid_of(
        {
            ("rain", "a"): np.array([1.0, np.nan, np.nan]),
            ("rain", "b"): np.array([3.0, 5.0, np.nan]),
            ("outflow", "r"): np.array([1000.0, np.nan, 3000.0]),
            ("outflow", "q"): np.array([500.0, 500.0, 500.0]),
        }
    )
    rain = combined(found, "rain", ("a", "b", "absent"), WINDOWS)
    assert rain[:2].tolist() == [2.0, 5.0] and np.isnan(rain[2])
    assert complete(rain, "rain").tolist() == [2.0, 5.0, 0.0]
    assert combined(found, "outflow", ("r", "q"), WINDOWS).tolist() == [1.5, 1.5, 3.5], (
        "a report stands for three hours"
    )
    assert complete(np.array([np.nan, 2.0, np.nan]), "stage").tolist() == [2.0, 2.0, 2.0]


def test_gaps_are_held_for_a_while_only() -> None:
    held = filled(np.array([1.0, np.nan, np.nan, np.nan]), 2)
    assert held[:3].tolist() == [1.0, 1.0, 1.0] and np.isnan(held[3])


def test_the_rate_of_rise_of_kim_long_is_that_of_the_bulletins(grid: Grid) -> None:
    """27 October, 07:00 = 3.58 m and 20:00 = 5.05 m: 0.113 m an hour."""
    stages = grid.known("stage", KIM_LONG)
    peak = grid.step(datetime(2025, 10, 27, 20, tzinfo=LOCAL))
    assert theil_sen(stages, 13)[peak] == pytest.approx(0.113, abs=0.02)
    hourly = [theil_sen(stages, 1)[peak - 6 * back] for back in range(13)]
    assert np.mean(hourly) == pytest.approx(0.113, abs=0.002)


# ── fitting ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_fit_finds_the_lag_memory_and_weight_that_made_the_river() -> None:
    chance = np.random.default_rng(7)
    size = 1500
    release = np.repeat(chance.gamma(1.0, 1000.0, size // 50), 50)
    decay, level = np.exp(-1 / (6 * 4.0)), np.zeros(size)
    for i in range(1, size):
        level[i] = decay * level[i - 1] + (1 - decay) * release[max(0, i - 12)] / 1000
    made = grid_of({("stage", "s"): 2 + 0.8 * level, ("outflow", "r"): release, ("rain", "x"): chance.random(size)})
    found = fit_station(made, "s", {"outflow": ("r",), "rain": ("x",), "stage": ("none",)}, BEGIN, made.time(size - 1))
    (release_input,) = [each for each in found.inputs if each.kind == "outflow"]
    assert release_input.lag_h == pytest.approx(2.0, abs=0.6), "hourly means blur half an hour"
    assert release_input.memory_h == pytest.approx(4.0, rel=0.4)
    assert release_input.weight == pytest.approx(0.8, rel=0.3)
    assert found.left_out["stage"].startswith("readings for 0% of the range")
    assert "rain" in found.left_out or next(e for e in found.inputs if e.kind == "rain").weight < 0.2


def test_too_short_a_range_is_refused(grid: Grid) -> None:
    with pytest.raises(LakeError, match=r"71520 has 0 moments .* are needed"):
        fit_station(grid, KIM_LONG, {}, BEGIN, BEGIN + timedelta(hours=10))


def test_fitted_on_the_first_wave_the_route_beats_persistence_on_the_second(grid: Grid) -> None:
    """One flood, its first wave to fit and its second to test, most readings interpolated and the releases synthetic:
    this holds the machinery, and says little about another flood."""
    for station_id, own in inputs_of(REGISTRY).items():
        fitted = fit_station(grid, station_id, own, BEGIN, SPLIT)
        stages = grid.known("stage", station_id)
        errors: dict[tuple[str, int], list[float]] = {}
        for step in range(grid.step(datetime(2025, 11, 1, tzinfo=LOCAL)), grid.size, 6):
            for each in forecast(fitted, WINDOWS, grid, step):
                if step + 6 * each.lead_h < grid.size:
                    error = each.stage_m - stages[step + 6 * each.lead_h]
                    errors.setdefault((each.method, each.lead_h), []).append(error)
        mse = {key: float(np.mean(np.square(found))) for key, found in errors.items()}
        for lead in LEADS_H:
            assert mse["lag_route", lead] < mse["persistence", lead], (station_id, lead)
        assert 1 - mse["lag_route", 6] / mse["persistence", 6] > 0.2


# ── parameter sets ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def parameters(grid: Grid) -> ParameterSet:
    stations = {name: fit_station(grid, name, own, BEGIN, SPLIT) for name, own in inputs_of(REGISTRY).items()}
    return ParameterSet(
        BEGIN.astimezone(UTC), SPLIT.astimezone(UTC), {"replay": 36, "synthetic": 9000}, stations, WINDOWS
    )


def test_a_set_is_named_by_its_content_and_reads_back(parameters: ParameterSet, tmp_path: Path) -> None:
    assert ParameterSet.read(parameters.content) == parameters
    assert len(parameters.id) == 12 and parameters.training_origin == "mixed"
    assert replace(parameters, training_readings={"observed": 1}).training_origin == "observed"
    other = replace(parameters, fitted_to=parameters.fitted_to + timedelta(hours=1))
    assert other.id != parameters.id
    lake = Settings.load({"LAKE_HOME": str(HOME), "LAKE_STATE": str(tmp_path), "LAKE_NAMESPACE": "drill"})
    with pytest.raises(LakeError, match=r"drill has no forecast parameters.*lake forecast fit"):
        store.load(lake, None)
    assert [store.save(lake, parameters), store.save(lake, parameters), store.save(lake, other)] == [True, False, True]
    assert list(store.sets(lake)) == [parameters.id, other.id]
    assert store.load(lake, None) == other and store.load(lake, parameters.id) == parameters
    with pytest.raises(LakeError, match=rf"no parameter set 'x'. There are: {parameters.id}"):
        store.load(lake, "x")


def test_a_forecast_takes_the_windows_of_its_set(grid: Grid, parameters: ParameterSet) -> None:
    """Another choice makes another set, and never another forecast of a set that is known."""
    moment = datetime(2025, 11, 2, 13, tzinfo=LOCAL)
    trend = [row["forecast_stage_m"] for row in run.forecasts(grid, parameters, [moment])]
    slower = replace(parameters, windows=replace(WINDOWS, rate_h=6))
    assert slower.id != parameters.id and ParameterSet.read(slower.content) == slower
    assert [row["forecast_stage_m"] for row in run.forecasts(grid, slower, [moment])] != trend
    silent = grid_of({("stage", "s"): np.r_[np.arange(20.0), [np.nan] * 2]})
    assert forecast(model(), WINDOWS, silent, 21) and not forecast(
        model(), replace(WINDOWS, stage_held_h=0), silent, 21
    )


def test_a_set_from_before_sets_said_their_windows_keeps_its_name_and_its_forecasts(
    grid: Grid, parameters: ParameterSet
) -> None:
    said = json.loads(parameters.content)
    del said["windows"]
    content = json.dumps(said, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    old = ParameterSet.read(content)
    assert old.content == content and old.id == hashlib.sha256(content.encode()).hexdigest()[:12]
    moment = datetime(2025, 11, 2, 13, tzinfo=LOCAL)
    first = replace(parameters, windows=Windows(3, 0.5, {"rain": 0.0, "outflow": 3.0, "stage": 1.0}))
    before, after = (
        {
            tuple(row[name] for name in ("station_id", "lead_h", "forecast_method")): row["forecast_stage_m"]
            for row in rows
        }
        for rows in (run.forecasts(grid, each, [moment]) for each in (old, first))
    )
    assert before == after and len(before) == 2 * 3 * 12


def test_every_row_keeps_the_contract_and_says_what_it_was_trained_on(grid: Grid, parameters: ParameterSet) -> None:
    dataset = REGISTRY.dataset("flood_forecast_model")
    moment = datetime(2025, 11, 2, 13, tzinfo=LOCAL)
    rows = list(run.forecasts(grid, parameters, [moment]))
    assert len(rows) == 2 * 3 * 12
    for row in rows:
        assert set(row) == dataset.has
        assert Decimal(row["forecast_low_m"]) <= Decimal(row["forecast_stage_m"]) <= Decimal(row["forecast_high_m"])
        assert (row["training_to_at"], row["training_origin"]) == ("2025-10-30T17:00:00Z", "mixed")
    assert len({tuple(row[name] for name in dataset.key) for row in rows}) == len(rows)


def test_inputs_name_known_gauges_and_reservoirs() -> None:
    known = {
        "stage": set(REGISTRY.code_list("stations").codes),
        "rain": set(REGISTRY.code_list("stations").codes),
        "outflow": set(REGISTRY.code_list("reservoirs").codes),
    }
    for kind, names in entities_of(inputs_of(REGISTRY)).items():
        assert names <= known[kind], kind


# ── what the lake holds ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_forecast_of_the_past_knows_what_had_been_received_then(tmp_path: Path) -> None:
    lake = Settings.load({"LAKE_HOME": str(HOME), "LAKE_STATE": str(tmp_path), "LAKE_NAMESPACE": "drill"})
    start = datetime(2025, 11, 1, tzinfo=UTC)
    dataset = REGISTRY.dataset("river_stage")
    rows = []
    for i in range(40):
        late = timedelta(hours=2) if i == 35 else timedelta(seconds=5)
        at = start + i * STEP
        rows.append(
            {
                "station_id": KIM_LONG, "observed_at": at, "stage_m": Decimal(i) / 10, "qc_flag": 4 if i == 37 else 1,
                "origin": "synthetic" if i % 2 else "replay", "revision": 0, "received_at": at + late,
                "raw_partition": 0, "raw_offset": i, "observed_date": at.date(),
            }
        )  # fmt: skip
    path = lake.table_path("silver", "river_stage")
    path.parent.mkdir(parents=True)
    write_deltalake(str(path), pa.Table.from_pylist(rows, schema=arrow_schema(dataset, "silver")))
    read = read_grid(lake, start, start + 39 * STEP, {"stage": frozenset({KIM_LONG, PHU_OC})})
    assert (read.size, read.origins()) == (40, {"replay": 20, "synthetic": 19})
    settled, then = read.known("stage", KIM_LONG), read.known("stage", KIM_LONG, start + 39 * STEP)
    assert np.isnan(settled[37]), "a failed reading is none"
    assert settled[35] == pytest.approx(3.5) and np.isnan(then[35]), "it came two hours late"
    assert np.isnan(then[39]) and then[38] == pytest.approx(3.8), "one that is five seconds under way has not arrived"
    assert np.all(np.isnan(read.known("stage", PHU_OC)))
    assert run.newest_reading(lake, REGISTRY) == start + 39 * STEP
    with pytest.raises(LakeError, match=r"no table silver\.rain_gauge"):
        read_grid(lake, start, start + STEP, {"rain": frozenset({"HUE-BM"})})
    with pytest.raises(LakeError, match="shorter than a day"):
        run.fit(lake, REGISTRY, start, start + timedelta(hours=5))


def test_fading_is_a_rate_for_a_while() -> None:
    assert fading(0.0, 4.0) == 0
    assert fading(100.0, 4.0) == pytest.approx(4.0)
