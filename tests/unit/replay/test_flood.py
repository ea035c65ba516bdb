"""The flood replay: exact at every published figure, and quiet between them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.contracts.registry import Registry
from pipelines.replay import flood
from pipelines.replay.anchors import Anchors, RainSum, Stage, load_anchors
from pipelines.replay.readings import Reading, parse_local
from pipelines.runtime.errors import LakeError

HOME = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def anchors() -> Anchors:
    return load_anchors(HOME / "data")


@pytest.fixture(scope="module")
def readings(registry: Registry) -> tuple[Reading, ...]:
    return flood.readings(registry, HOME / "data")


def stages(readings: tuple[Reading, ...], station: str) -> dict[datetime, Decimal]:
    own = (r for r in readings if r.dataset == "river_stage" and r.body["station_id"] == station)
    return {r.event_at: r.body["stage_m"] for r in own}


def local(day_and_clock: str) -> datetime:
    return parse_local(f"2025-{day_and_clock}:00+07:00")


def test_kim_long_peaks_once_at_five_metres_five(readings: tuple[Reading, ...]) -> None:
    series = stages(readings, "71520")
    peak = max(series.values())
    assert peak == Decimal("5.05")
    assert [t for t, v in series.items() if v == peak] == [local("10-27T20:00")]


def test_phu_oc_has_its_three_peaks(readings: tuple[Reading, ...]) -> None:
    series = stages(readings, "71518")
    for when, peak in (("10-27T14:00", "5.25"), ("10-29T18:00", "5.27"), ("11-03T13:00", "5.31")):
        near = {t: v for t, v in series.items() if abs(t - local(when)) <= timedelta(hours=6)}
        assert max(near, key=lambda t: near[t]) == local(when)
        assert series[local(when)] == Decimal(peak)
        assert list(near.values()).count(Decimal(peak)) == 1
    assert max(series.values()) == Decimal("5.31")


def test_every_anchor_is_met_exactly_and_labelled(readings: tuple[Reading, ...], anchors: Anchors) -> None:
    rows = {(r.body["station_id"], r.event_at): r for r in readings if r.dataset == "river_stage"}
    published = {(s.station_id, s.observed_at) for s in anchors.stages if not s.conflict}
    for stage in anchors.stages:
        if not stage.conflict:
            row = rows[stage.station_id, stage.observed_at]
            assert row.body["stage_m"] == stage.stage_m
    assert {key for key, row in rows.items() if row.origin == "replay"} == published
    assert {row.origin for key, row in rows.items() if key not in published} == {"synthetic"}


def test_conflicting_reports_are_data_and_not_replayed(readings: tuple[Reading, ...], anchors: Anchors) -> None:
    conflicts = [s for s in anchors.stages if s.conflict]
    assert len(conflicts) == 3
    for conflict in conflicts:
        assert stages(readings, conflict.station_id)[conflict.observed_at] != conflict.stage_m


def test_stages_come_every_ten_minutes(readings: tuple[Reading, ...]) -> None:
    for station in ("71520", "71518"):
        times = sorted(stages(readings, station))
        assert (times[0], times[-1], len(times)) == (local("10-26T12:30"), local("11-03T14:00"), 1162)
        assert {b - a for a, b in pairwise(times)} == {timedelta(minutes=10)}


@st.composite
def anchor_lists(draw: st.DrawFn) -> list[Stage]:
    start = datetime(2025, 10, 26, tzinfo=UTC)
    gaps = draw(st.lists(st.integers(1, 80), min_size=2, max_size=10))
    values = draw(st.lists(st.integers(-100, 1500), min_size=len(gaps) + 1, max_size=len(gaps) + 1))
    moments = [start + sum(gaps[:i]) * flood.STEP for i in range(len(values))]
    return [Stage("s", m, Decimal(v) / 100, False, "") for m, v in zip(moments, values, strict=True)]


@given(anchor_lists())
def test_between_anchors_a_stage_stays_between_them(anchors: list[Stage]) -> None:
    series = {r.event_at: r.body["stage_m"] for r in flood.stage_readings(anchors)}
    for earlier, later in pairwise(anchors):
        low, high = sorted((earlier.stage_m, later.stage_m))
        inside = [v for t, v in series.items() if earlier.observed_at < t < later.observed_at]
        assert all(low <= v <= high for v in inside)
        if high - low > Decimal("0.002"):
            assert all(low < v < high for v in inside)
        assert series[earlier.observed_at] == earlier.stage_m


def rain_between(readings: tuple[Reading, ...], published: RainSum) -> Decimal:
    return sum(
        (
            r.body["rain_mm"]
            for r in readings
            if r.dataset == "rain_gauge"
            and r.body["station_id"] == published.station_id
            and published.start < r.event_at <= published.end
        ),
        Decimal(0),
    )


def test_every_published_rain_sum_holds_exactly(readings: tuple[Reading, ...], anchors: Anchors) -> None:
    assert len(anchors.rain_sums) == 7
    for published in anchors.rain_sums:
        assert rain_between(readings, published) == published.rain_mm, published


def test_rain_comes_in_tips_and_within_what_a_gauge_measures(readings: tuple[Reading, ...], registry: Registry) -> None:
    maximum = registry.dataset("rain_gauge").field("rain_mm").maximum
    assert maximum is not None
    for reading in readings:
        if reading.dataset == "rain_gauge":
            rain = reading.body["rain_mm"]
            assert 0 <= rain <= maximum
            assert rain % Decimal("0.1") == 0
            assert reading.origin == "synthetic"


def test_reservoirs_meet_the_published_morning(readings: tuple[Reading, ...], anchors: Anchors) -> None:
    rows = {(r.body["reservoir_id"], r.event_at): r for r in readings if r.dataset == "reservoir_op"}
    for report in anchors.reservoirs:
        row = rows[report.reservoir_id, report.observed_at]
        assert row.origin == "replay"
        assert row.body["level_m"] == report.level_m
        assert row.body["inflow_m3s"] == report.inflow_m3s
        assert row.body["outflow_m3s"] == report.outflow_m3s
    assert sum(r.origin == "replay" for r in rows.values()) == 3


def test_codes_are_known(readings: tuple[Reading, ...], registry: Registry) -> None:
    known = {*registry.code_list("stations").codes, *registry.code_list("reservoirs").codes}
    assert {r.body.get("station_id") or r.body["reservoir_id"] for r in readings} <= known


@pytest.fixture
def broken_data(tmp_path: Path) -> Path:
    folder = tmp_path / "flood_2025"
    folder.mkdir()
    for path in (HOME / "data" / "flood_2025").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_data_that_contradict_a_published_sum_are_refused(broken_data: Path) -> None:
    segments = broken_data / "flood_2025" / "rain_segments.csv"
    segments.write_text(segments.read_text().replace(",1219", ",1220"))
    with pytest.raises(LakeError, match="HUE-BM"):
        load_anchors(broken_data)


def test_a_missing_data_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LakeError, match=r"river_stage\.csv is missing"):
        load_anchors(tmp_path)


def test_official_forecasts_are_those_of_the_bulletins(readings: tuple[Reading, ...]) -> None:
    said = [r.body for r in readings if r.dataset == "flood_forecast"]
    assert [(f["station_id"], f["issued_at"], f["lead_h"], f["forecast_stage_m"]) for f in said] == [
        ("71520", "2025-10-27T00:00:00Z", 6, Decimal("4.60")),
        ("71520", "2025-10-27T00:00:00Z", 12, Decimal("4.70")),
        ("71520", "2025-11-02T14:00:00Z", 16, Decimal("4.40")),
    ]
    assert all(r.origin == "replay" and r.published for r in readings if r.dataset == "flood_forecast")
