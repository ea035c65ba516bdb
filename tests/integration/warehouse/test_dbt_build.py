"""The whole dbt project on a real Spark Connect server, over silver tables written as landing writes them."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from pipelines.contracts.registry import Registry
from pipelines.contracts.targets.delta import PROPERTIES, arrow_schema, comment
from pipelines.runtime.contracts import registry_of
from pipelines.runtime.settings import Settings
from pipelines.warehouse import dbt
from pipelines.warehouse import manifest as runs
from pipelines.warehouse.code_lists import ensure_code_lists

_spec = importlib.util.spec_from_file_location("flood_oracle", Path(__file__).with_name("flood_oracle.py"))
assert _spec is not None and _spec.loader is not None
oracle = sys.modules["flood_oracle"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(oracle)

WALKS = {seed: f"WALK-{seed}" for seed in range(1, 7)}
START = datetime(2025, 10, 27, 0, 0, tzinfo=UTC)
CAP = timedelta(minutes=20)
pytestmark = pytest.mark.timeout(1500)


@dataclass(frozen=True)
class Lake:
    """One namespace on the running Spark, its registry, and everything that was written to it."""

    settings: Settings
    registry: Registry
    spark_remote: str
    readings: tuple[Any, ...]
    thresholds: tuple[Any, ...]

    def write(self, name: str, rows: Iterable[Mapping[str, Any]], mode: str = "overwrite") -> None:
        dataset = self.registry.dataset(name)
        path = self.settings.table_path("silver", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        table = pa.Table.from_pylist(list(rows), schema=arrow_schema(dataset, "silver"))
        by = [dataset.partition] if dataset.partition else None
        write_deltalake(str(path), table, mode=mode, partition_by=by, configuration=dict(PROPERTIES))

    def of(self, *marts: str) -> Lake:
        """The same with these marts alone, and the silver tables."""
        kept = tuple(d for d in self.registry.datasets if not d.mart or d.id in marts)
        return replace(self, registry=replace(self.registry, datasets=kept))

    def gold(self, mart: str, version: int | None = None) -> list[dict[str, Any]]:
        table = DeltaTable(str(self.settings.table_path("gold", mart)), version=version)
        return table.to_pyarrow_table().to_pylist()

    def build(self, run_id: str, **options: Any) -> dbt.DbtResult:
        said: list[str] = []
        manifest = runs.resolve(self.settings, self.registry, run_id)
        try:
            return dbt.build(
                self.settings, self.registry, manifest, spark_remote=self.spark_remote, progress=said.append, **options
            )
        finally:
            print(run_id, *said, sep="\n")


def silver(key: int, at: datetime, **fields: Any) -> dict[str, Any]:
    return {"origin": "replay", "revision": 0, "raw_partition": 0, "raw_offset": key, "received_at": at, **fields}


def stages(readings: Iterable[Any]) -> list[dict[str, Any]]:
    return [
        silver(number, reading.observed_at, **asdict(reading), observed_date=reading.observed_at.date())
        for number, reading in enumerate(readings)
    ]


def tickets() -> list[dict[str, Any]]:
    rows = []
    for number in range(60):
        created = datetime(2025, 10, 30, tzinfo=UTC) + timedelta(hours=number)
        closed = created + timedelta(hours=number) if number % 3 else None
        rows.append(
            silver(
                number,
                created,
                ticket_id=f"T{number}",
                created_at=created,
                updated_at=created,
                category_code="traffic",
                ward_code="19774",
                agency_id=("H57.XD", "H57.KHCN")[number % 2],
                ticket_status="closed" if closed else "received",
                due_at=created + timedelta(hours=24),
                closed_at=closed,
                rating=number % 5 + 1 if number % 4 else None,
                reporter_token="token",
                created_date=created.date(),
            )
        )
    return rows


def lanes() -> list[dict[str, Any]]:
    """Ten hours of two lanes. Every 40th reading arrives five minutes late, every 60th was corrected at once."""
    rows = []
    for number in range(1200):
        at = START + timedelta(minutes=number // 2)
        own = {
            "detector_id": "HUE-D01",
            "lane_no": number % 2 + 1,
            "observed_at": at,
            "vehicle_count": number % 11,
            "mean_speed_kmh": Decimal(25 + number % 30),
            "queue_m": Decimal(number % 17) if number % 3 else None,
            "qc_flag": 4 if number % 50 == 49 else 1,
            "observed_date": at.date(),
        }
        arrived = at + (timedelta(minutes=5) if number % 40 == 7 else timedelta(seconds=5))
        rows.append({**silver(number, arrived, **own), "revision": int(number % 60 == 11)})
    return rows


def live_lanes() -> list[dict[str, Any]]:
    """The one-minute windows over them: late readings are missing, corrected ones had counted two vehicles more."""
    return [
        {
            "detector_id": lane["detector_id"],
            "lane_no": lane["lane_no"],
            "window_start_at": lane["observed_at"],
            "window_end_at": lane["observed_at"] + timedelta(minutes=1),
            "reading_count": 1,
            "vehicle_count": lane["vehicle_count"] + 2 * lane["revision"],
            "mean_speed_kmh": lane["mean_speed_kmh"],
            "origin": "replay",
            "received_at": lane["received_at"],
            "window_start_date": lane["observed_date"],
        }
        for lane in lanes()
        if lane["qc_flag"] != 4 and lane["received_at"] - lane["observed_at"] <= timedelta(minutes=2)
    ]


STEP = timedelta(minutes=10)


def rain() -> list[dict[str, Any]]:
    """Twelve hours of a storm over five gauges: Nam Đông stops counting after five, Khe Tre is silent for one, a failed
    reading of Hương Phú counts for nothing."""
    fallen = {"HUE-ND": 6, "HUE-KT": 5, "HUE-HP": 7, "HUE-TNM": 4, "HUE-BM": 12}
    return [
        silver(
            72 * number + step,
            START + step * STEP,
            station_id=station,
            observed_at=START + step * STEP,
            rain_mm=Decimal(0 if station == "HUE-ND" and step >= 30 else mm + step % 3),
            qc_flag=4 if (station, step) == ("HUE-HP", 50) else 1,
            observed_date=(START + step * STEP).date(),
        )
        for number, (station, mm) in enumerate(fallen.items())
        for step in range(72)
        if not (station == "HUE-KT" and 40 <= step < 46)
    ]


def reservoirs() -> list[dict[str, Any]]:
    detail = "level_m.spike=3;level_m.rate_of_change=4"
    at = START + STEP
    own = {"reservoir_id": "TA-TRACH", "observed_at": at, "level_m": Decimal(45), "observed_date": at.date()}
    return [silver(0, at, **own, qc_flag=4, qc_detail=detail)]


def cameras() -> list[dict[str, Any]]:
    own = {"camera_id": "HUE-C19753-1", "observed_at": START, "is_online": True, "ward_code": "19753"}
    return [silver(0, START, **own, qc_flag=1, observed_date=START.date())]


@pytest.fixture(scope="module")
def lake(lake_services: Any) -> Lake:
    remote = lake_services.need("spark").spark_remote
    settings = lake_services.namespace("warehouse_test")
    # In a kept installation this is what a forgotten namespace leaves: Spark's catalogue knows tables without files.
    shutil.rmtree(settings.lake_root / settings.namespace, ignore_errors=True)
    registry = registry_of(settings)
    readings, thresholds = oracle.published_readings(), []
    for code in registry.code_list("alarm_levels").rows:
        limit = Decimal(str(code["threshold_m"]))
        since, until = (code[name] and date.fromisoformat(str(code[name])) for name in ("valid_from", "valid_to"))
        thresholds.append(oracle.Threshold(code["station_id"], code["alarm_level"], limit, since, until))
    for seed, station_id in WALKS.items():
        more, limits = oracle.walk(seed, station_id)
        readings += more
        thresholds += limits
    found = Lake(settings, registry, remote, tuple(readings), tuple(thresholds))
    ensure_code_lists(settings, registry)
    path = str(settings.table_path("silver", "code_alarm_levels"))
    levels = DeltaTable(path).to_pyarrow_table()
    walks = [asdict(t) for t in thresholds if t.station_id in WALKS.values()]
    write_deltalake(path, pa.Table.from_pylist(walks, schema=levels.schema), mode="append")
    found.write("river_stage", stages(readings))
    found.write("flood_alert", alerts(oracle.episodes(readings, thresholds)))
    found.write("flood_forecast", official())
    found.write("flood_forecast_model", forecasts())
    found.write("lane_minute", lanes())
    found.write("lane_flow_1min", live_lanes())
    found.write("rain_gauge", rain())
    found.write("reservoir_op", reservoirs())
    found.write("camera_health", cameras())
    found.write("feedback_ticket", tickets())
    return found


def alerts(episodes: list[Any]) -> list[dict[str, Any]]:
    """The live alarms: all but the first settled one, and one that only the live figure knows."""
    rows = []
    for number, episode in enumerate(episodes[1:]):
        own = {
            "alert_id": episode.alert_id,
            "station_id": episode.station_id,
            "alarm_level": episode.alarm_level,
            "origin": "replay",
            "received_at": START,
            "trigger_partition": 0,
            "trigger_offset": number,
            "transition_date": episode.raised_at.date(),
        }
        rows.append({**own, "transition": "raise", "transition_at": episode.raised_at})
        if episode.cleared_at:
            rows.append({**own, "transition": "clear", "transition_at": episode.cleared_at})
    only_live = {**rows[0], "alert_id": "bd3|71520|2025-10-20T00:00:00Z", "transition_at": START}
    ignored = {**rows[0], "alert_id": "ignored|71520|0|9", "transition": "ignored_older", "alarm_level": None}
    return [*rows, only_live, ignored]


HOUR = timedelta(hours=1)
TRAINED_TO = datetime(2025, 10, 30, 17, tzinfo=UTC)


def official() -> list[dict[str, Any]]:
    """The published forecasts of Kim Long."""
    said = (("2025-10-27T00", 6, "4.60"), ("2025-10-27T00", 12, "4.70"), ("2025-11-02T14", 16, "4.40"))
    rows = []
    for number, (issued, lead, stage) in enumerate(said):
        at = datetime.fromisoformat(f"{issued}:00:00+00:00")
        own = {"station_id": "71520", "issued_at": at, "lead_h": lead, "forecast_issuer": "kttv_hue", "qc_flag": 1}
        rows.append(silver(number, at, **own, forecast_stage_m=Decimal(stage), issued_date=at.date()))
    return rows


def forecasts() -> list[dict[str, Any]]:
    """A model that is 0.30 m low at Kim Long in training and 0.10 m high after it, hourly, one hour and six ahead."""
    stages = {r.observed_at: r.stage_m for r in oracle.published_readings() if r.station_id == "71520"}
    rows: list[dict[str, Any]] = []
    for at in sorted(stages):
        for lead in (1, 6):
            if at.minute == 0 and at + lead * HOUR in stages:
                stage = stages[at + lead * HOUR] + (Decimal("-0.30") if at <= TRAINED_TO else Decimal("0.10"))
                own = {
                    "station_id": "71520", "issued_at": at, "lead_h": lead, "forecast_method": "trend",
                    "parameter_set_id": "0123456789ab", "forecast_stage_m": stage,
                    "forecast_low_m": stage - Decimal("0.20"), "forecast_high_m": stage + Decimal("0.05"),
                    "training_from_at": datetime(2025, 10, 25, 6, tzinfo=UTC), "training_to_at": TRAINED_TO,
                    "training_origin": "synthetic", "qc_flag": 1, "issued_date": at.date(),
                }  # fmt: skip
                rows.append(silver(len(rows), at, **own))
    return rows


@pytest.fixture(scope="module")
def first(lake: Lake) -> dbt.DbtResult:
    """The first run: every model, every data test, every unit test."""
    return lake.build("first", unit_tests=True)


def test_every_mart_is_built_as_its_contract_declares_it(lake: Lake, first: dbt.DbtResult) -> None:
    assert set(first.gold) == {mart.id for mart in lake.registry.marts()}
    assert first.not_built == ()
    for mart in lake.registry.marts():
        table = DeltaTable(str(lake.settings.table_path("gold", mart.id)))
        assert dbt.is_declared(Path(lake.settings.table_path("gold", mart.id)), mart), mart.id
        schema = pa.schema(table.schema().to_arrow())
        assert [(f.name, f.type) for f in schema] == [(f.name, f.type.arrow) for f in mart.fields]
        assert schema.field(0).metadata[b"comment"].decode() == comment(mart.fields[0])
        assert table.version() == first.gold[mart.id]
    assert runs.load(lake.settings, "first").gold == {f"gold.{name}": v for name, v in first.gold.items()}


def test_unit_tests_ran_and_unknown_stations_only_warn(first: dbt.DbtResult) -> None:
    assert "fct_flood_episode.a_dip_of_exactly_the_hold_clears" in first.seconds
    assert any("fct_river_stage__station_id_is_in_dim_station" in warning for warning in first.warnings)


def test_episodes_equal_the_rule_run_as_a_state_machine(lake: Lake, first: dbt.DbtResult) -> None:
    wanted = {e.alert_id: e for e in oracle.episodes(lake.readings, lake.thresholds)}
    found = {row["alert_id"]: row for row in lake.gold("fct_flood_episode")}
    assert set(found) == set(wanted)
    assert len(wanted) > 50, "the walks cross their thresholds often"
    for alert_id, episode in wanted.items():
        row = found[alert_id]
        assert {name: row[name] for name in asdict(episode)} == asdict(episode)
        if episode.cleared_at:
            assert row["duration_h"] == pytest.approx((episode.cleared_at - episode.raised_at) / timedelta(hours=1))


def test_the_published_peaks_are_found(lake: Lake, first: dbt.DbtResult) -> None:
    days = {(row["station_id"], row["local_date"]): row for row in lake.gold("kpi_flood_alarm")}
    kim_long = days["71520", date(2025, 10, 27)]
    assert (kim_long["peak_stage_m"], kim_long["peak_at"]) == (
        Decimal("5.050"),
        datetime(2025, 10, 27, 13, 0, tzinfo=UTC),
    )
    peaks = [days["71518", day]["peak_stage_m"] for day in (date(2025, 10, 27), date(2025, 10, 29), date(2025, 11, 3))]
    assert peaks == [Decimal("5.250"), Decimal("5.270"), Decimal("5.310")]
    settled = lake.gold("fct_flood_episode")
    episodes = [e for e in settled if e["station_id"] == "71520" and e["alarm_level"] == 3]
    assert max(e["peak_stage_m"] for e in episodes) == Decimal("5.050")
    records = sorted(e["peak_stage_m"] for e in settled if e["station_id"] == "71518" and e["alarm_level"] == 4)
    assert records == [Decimal("5.250"), Decimal("5.270"), Decimal("5.310")], "each night beat the record before it"
    assert not [e for e in settled if e["station_id"] == "71520" and e["alarm_level"] == 4], "5.81 m of 1999 stands"


def test_levels_and_hours_equal_the_step_function(lake: Lake, first: dbt.DbtResult) -> None:
    found = {(row["station_id"], row["observed_at"]): row for row in lake.gold("fct_river_stage")}
    assert len(found) == len(lake.readings)
    for reading in lake.readings:
        row = found[reading.station_id, reading.observed_at]
        assert row["alarm_level"] == oracle.alarm_level(reading, lake.thresholds)
        assert row["local_date"] == reading.local_date
    wanted = oracle.hours_above(lake.readings, lake.thresholds, CAP)
    days = {(row["station_id"], row["local_date"]): row for row in lake.gold("kpi_flood_alarm")}
    assert set(days) == set(wanted)
    for key, (count, hours) in wanted.items():
        assert days[key]["reading_count"] == count
        assert [days[key][f"above_bd{n}_h"] for n in (1, 2, 3)] == pytest.approx(hours)


def test_forecasts_are_scored_out_of_sample_and_beside_the_official_ones(lake: Lake, first: dbt.DbtResult) -> None:
    stages = {r.observed_at: r.stage_m for r in lake.readings if r.station_id == "71520"}
    rows = {(r["forecaster"], r["lead_h"], r["alarm_level"]): r for r in lake.gold("kpi_flood_forecast")}
    issued = [f for f in forecasts() if f["lead_h"] == 6]
    tested = [f for f in issued if f["issued_at"] > TRAINED_TO]
    every = rows["trend", 6, 0]
    assert (every["forecast_count"], every["in_sample_count"]) == (len(tested), len(issued) - len(tested))
    assert (every["mae_m"], every["bias_m"], every["in_band_pct"]) == (pytest.approx(0.1), pytest.approx(0.1), 100.0)
    moved = sum((stages[f["issued_at"]] - stages[f["issued_at"] + 6 * HOUR]) ** 2 for f in tested)
    assert every["persistence_skill"] == pytest.approx(1 - len(tested) * 0.01 / float(moved))
    # The bulletin of 2 November said 4.40 for a moment that came to 4.47; the model, six hours before it, 4.57.
    assert every["official_count"] == 1 and every["official_skill"] == pytest.approx(1 - 0.1**2 / 0.07**2)
    bd3 = rows["trend", 6, 3]
    reached = [stages[f["issued_at"] + 6 * HOUR] for f in tested]
    hits = sum(stage >= Decimal("3.5") for stage in reached)
    false_alarms = sum(Decimal("3.4") <= stage < Decimal("3.5") for stage in reached)
    assert (bd3["hit_count"], bd3["miss_count"], bd3["false_alarm_count"]) == (hits, 0, false_alarms)
    assert (bd3["pod"], bd3["far"]) == (1.0, pytest.approx(false_alarms / (hits + false_alarms)))
    bulletins = {lead: rows["kttv_hue", lead, 0] for lead in (6, 12, 16)}
    assert bulletins[16]["mae_m"] == pytest.approx(0.07) and bulletins[6]["forecast_count"] == 1
    warned = {(r["alert_id"], r["forecaster"]): r["warning_lead_h"] for r in lake.gold("kpi_flood_warning")}
    assert warned["bd3|71520|2025-11-02T14:00:00Z", "trend"] == pytest.approx(6.0)


def test_the_difference_names_alarms_of_one_figure_only(lake: Lake, first: dbt.DbtResult) -> None:
    rows = {
        row["alert_id"]: (row["is_in_live"], row["is_in_settled"]) for row in lake.gold("fct_flood_alarm_difference")
    }
    settled = [e.alert_id for e in oracle.episodes(lake.readings, lake.thresholds)]
    assert rows.pop(settled[0]) == (False, True)
    assert rows.pop("bd3|71520|2025-10-20T00:00:00Z") == (True, False)
    assert set(rows.values()) == {(True, True)} and set(rows) == set(settled[1:])


def test_late_and_corrected_lanes_are_the_difference_of_the_hour(lake: Lake, first: dbt.DbtResult) -> None:
    rows = {(row["lane_no"], row["hour_start_at"]): row for row in lake.gold("fct_traffic_difference")}
    hours = {(row["lane_no"], row["hour_start_at"]): row for row in lake.gold("kpi_traffic_hour")}
    assert set(rows) == set(hours) and len(rows) == 20

    for (lane_no, hour), row in rows.items():
        settled = [
            lane
            for lane in lanes()
            if lane["lane_no"] == lane_no and hour <= lane["observed_at"] < hour + HOUR and lane["qc_flag"] != 4
        ]
        late = [lane for lane in settled if lane["received_at"] - lane["observed_at"] > timedelta(minutes=2)]
        corrected = [lane for lane in settled if lane["revision"]]
        counts = ("settled_reading_count", "live_reading_count", "late_reading_count", "corrected_reading_count")
        assert [row[name] for name in counts] == [len(settled), len(settled) - len(late), len(late), len(corrected)]
        wanted = sum(lane["vehicle_count"] for lane in late) - 2 * len(corrected)
        assert row["vehicle_difference_count"] == wanted
        assert row["settled_mean_speed_kmh"] == hours[lane_no, hour]["mean_speed_kmh"]
        queues = [lane["queue_m"] for lane in settled if lane["queue_m"] is not None]
        assert hours[lane_no, hour]["max_queue_m"] == max(queues)
    assert any(row["late_reading_count"] for row in rows.values())
    assert any(row["corrected_reading_count"] for row in rows.values())


def test_feedback_counts_equal_a_plain_count(lake: Lake, first: dbt.DbtResult) -> None:
    rows = {(row["agency_id"], row["month_start_date"]): row for row in lake.gold("kpi_feedback_month")}
    local = [(t, t["created_at"].astimezone(oracle.LOCAL).date().replace(day=1)) for t in tickets()]
    for (agency, month), row in rows.items():
        own = [t for t, of_month in local if t["agency_id"] == agency and of_month == month]
        closed = [t for t in own if t["closed_at"]]
        rated = [t for t in own if t["rating"]]
        in_time = [t for t in closed if t["closed_at"] <= t["due_at"]]
        assert (row["ticket_count"], row["closed_count"], row["on_time_count"]) == (len(own), len(closed), len(in_time))
        assert row["satisfied_pct"] == pytest.approx(100 * sum(t["rating"] >= 4 for t in rated) / len(rated))
        assert row["on_time_pct"] == pytest.approx(100 * len(in_time) / len(closed))
    assert sum(row["ticket_count"] for row in rows.values()) == 60


def test_rain_is_compared_with_the_median_of_the_neighbours(lake: Lake, first: dbt.DbtResult) -> None:
    """The rule written down once more, over all pairs of readings."""
    test, neighbours = lake.registry.dataset("rain_gauge").qc.neighbour["rain_mm"], {}
    for row in lake.registry.code_list("rain_neighbours").rows:
        neighbours.setdefault(row["station_id"], []).append(row["neighbour_id"])
    usable = {(r["station_id"], r["observed_at"]): r["rain_mm"] for r in rain() if r["qc_flag"] != 4}
    sums: dict[tuple[str, datetime], Decimal | None] = {}
    for station, at in usable:
        inside = {t: mm for (s, t), mm in usable.items() if s == station and at - test.window < t <= at}
        covered = len(inside) >= 0.8 * (test.window / STEP) and at - min(inside) >= test.window - 3 * STEP
        sums[station, at] = sum(inside.values()) if covered else None
    wanted = {}
    for (station, at), own in sums.items():
        said = [s for s in (sums.get((other, at)) for other in neighbours[station]) if s is not None]
        flag = 2 if own is None or not said else 1
        if flag == 1:
            expected = Decimal(median(said))
            low = test.low.factor * expected - test.low.margin
            flag = 3 if own < low or own > test.high.factor * expected + test.high.margin else 1
        wanted[station, at] = (flag, len(said))
    found = {
        (row["entity_id"], row["observed_at"]): (row["qc_flag"], row["neighbour_count"])
        for row in lake.gold("fct_neighbour_check")
        if row["dataset_id"] == "rain_gauge"
    }
    assert found == wanted
    assert {station for (station, _), (flag, _) in found.items() if flag == 3} == {"HUE-ND"}
    assert {flag for flag, _ in found.values()} == {1, 2, 3}


def test_flags_are_counted_by_sensor_and_day(lake: Lake, first: dbt.DbtResult) -> None:
    days = {(row["dataset_id"], row["entity_id"], row["local_date"]): row for row in lake.gold("kpi_sensor_quality")}
    mart = lake.registry.dataset("kpi_sensor_quality").mart
    assert mart is not None and {dataset for dataset, *_ in days} == {*mart.inputs} - {"fct_neighbour_check"}
    reservoir = days["reservoir_op", "TA-TRACH", date(2025, 10, 27)]
    names = ("reading_count", "fail_count", "spike_count", "rate_of_change_count", "flat_line_count")
    assert [reservoir[name] for name in names] == [1, 1, 1, 1, 0]
    blocked = [row for row in lake.gold("fct_neighbour_check") if row["entity_id"] == "HUE-ND" and row["qc_flag"] == 3]
    counted = sum(row["neighbour_suspect_count"] for row in days.values())
    assert counted == len(blocked) > 5
    failed = [row for (dataset, *_), row in days.items() if dataset == "lane_minute"]
    assert sum(row["fail_count"] for row in failed) == sum(lane["qc_flag"] == 4 for lane in lanes())


def test_a_run_reads_its_versions_and_overwrites_gold_in_place(lake: Lake, first: dbt.DbtResult) -> None:
    """A second run in harder circumstances: the catalogue lost a table, silver has moved on since the manifest, an
    input never arrived. Older versions of gold stay readable."""
    before = {mart: lake.gold(mart) for mart in first.gold}
    again = lake.build("first")
    assert (again.was_built, again.gold) == (False, first.gold)

    added = lake.readings[0].__class__("71520", datetime(2025, 11, 3, 7, 10, tzinfo=UTC), Decimal("4.400"))
    lake.write("river_stage", stages([added]), mode="append")
    manifest = runs.resolve(lake.settings, lake.registry, "second")
    later = lake.readings[0].__class__("71520", datetime(2025, 11, 3, 7, 20, tzinfo=UTC), Decimal("9.000"))
    lake.write("river_stage", stages([later]), mode="append")
    with_spark(lake, f"drop table {lake.settings.gold_schema}.fct_river_stage")
    withheld = runs.with_last_good(lake.settings, lake.registry, "second", ["lane_minute"], {}.get)
    assert manifest.inputs["silver.river_stage"] == 1

    second = lake.build("second")
    without_lanes = ("fct_traffic_difference", "kpi_traffic_hour")
    assert second.not_built == without_lanes
    assert withheld.stale == ("fct_traffic_difference", "kpi_sensor_quality", "kpi_traffic_hour")
    assert "lane_minute" not in {row["dataset_id"] for row in lake.gold("kpi_sensor_quality")}
    assert second.gold == {mart: version + 1 for mart, version in first.gold.items() if mart not in without_lanes}
    assert len(lake.gold("fct_river_stage")) == len(lake.readings) + 1, "the version of the manifest, not the newest"
    for mart, rows in before.items():
        assert ordered(lake.gold(mart, first.gold[mart])) == ordered(rows), f"{mart}: the older version has changed"


def test_a_broken_table_is_named_and_sound_marts_are_recorded(lake: Lake, first: dbt.DbtResult) -> None:
    lake.write("feedback_ticket", [{**ticket, "agency_id": None} for ticket in tickets()[:3]], mode="append")
    few = lake.of("fct_river_stage", "fct_flood_episode", "kpi_flood_alarm", "kpi_feedback_month")
    with pytest.raises(dbt.DbtError) as caught:
        few.build("third")
    assert caught.value.failing == ("kpi_feedback_month__keeps_contract",)
    assert "kpi_feedback_month__keeps_contract: fail" in caught.value.what
    compiled = lake.settings.lake_root / lake.settings.namespace / "_runs/third/dbt/target/compiled"
    assert str(compiled) in caught.value.remedy and list(compiled.rglob("*kpi_feedback_month__keeps_contract.sql"))
    gold = runs.load(lake.settings, "third").gold
    assert "gold.kpi_feedback_month" not in gold and "gold.kpi_flood_alarm" in gold


def ordered(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(repr(sorted(row.items())) for row in rows)


def with_spark(lake: Lake, statement: str) -> None:
    from pyspark.sql.connect.session import SparkSession

    session = SparkSession.builder.remote(lake.spark_remote).create()
    try:
        session.sql(statement).collect()
    finally:
        session.stop()
