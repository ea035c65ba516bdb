"""The views and inserts of the transport job on a real Flink mini cluster, from conformed rows to what they write."""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from flink_cluster import jar

from pipelines.contracts.registry import Registry
from pipelines.streaming.job import FUNCTIONS, job_sql

if TYPE_CHECKING:
    from pyflink.table import TableEnvironment

START = datetime(2025, 10, 27, tzinfo=UTC)
COLUMNS = {
    "lane_minute": "detector_id STRING, lane_no INT, vehicle_count INT, mean_speed_kmh DECIMAL(9, 3), "
    "occupancy_pct DECIMAL(9, 3), travel_time_s DECIMAL(9, 3), queue_m DECIMAL(9, 3)",
    "lane_class_count": "detector_id STRING, lane_no INT, vehicle_class STRING, vehicle_count INT",
    "signal_event": "junction_id STRING, phase_no INT, signal_event_type STRING, interval_s DECIMAL(9, 1), "
    "space_s DECIMAL(9, 1), vehicle_count INT",
}
_INSERT = re.compile(r"INSERT INTO (?P<table>\w+) \((?P<columns>[^)]*)\)\s*(?P<select>SELECT.*)", re.DOTALL)


def at(minute: float) -> str:
    return (START + timedelta(minutes=minute)).strftime("%Y-%m-%dT%H:%M:%SZ")


class Job:
    """The transport job's SQL over files of conformed rows."""

    def __init__(self, env: TableEnvironment, registry: Registry, folder: Path, rows: Mapping[str, Iterable[Any]]):
        self.env = env
        for name, columns in COLUMNS.items():
            self._source(name, columns, folder, rows.get(name, ()))
        self.selects: dict[str, tuple[list[str], str]] = {}
        for statement in job_sql("transport", registry):
            if match := _INSERT.match(statement):
                names = [column.strip() for column in match["columns"].split(",")]
                self.selects[match["table"]] = (names, match["select"])
            else:
                view = statement.split()[2]
                env.execute_sql(f"DROP TEMPORARY VIEW IF EXISTS {view}")
                env.execute_sql(statement.replace("CREATE VIEW", "CREATE TEMPORARY VIEW", 1))

    def _source(self, name: str, columns: str, folder: Path, rows: Iterable[Mapping[str, Any]]) -> None:
        path = folder / f"{uuid.uuid4().hex}.jsonl"
        given = ({"disposition": "on_time", "qc_flag": 1, "origin": "replay", **row} for row in rows)
        path.write_text("".join(json.dumps(row) + "\n" for row in given), encoding="utf-8")
        self.env.execute_sql(f"DROP TEMPORARY TABLE IF EXISTS {name}__conformed")
        self.env.execute_sql(f"""
            CREATE TEMPORARY TABLE {name}__conformed (
                {columns}, observed_at TIMESTAMP_LTZ(3), disposition STRING, qc_flag INT, origin STRING,
                received_at AS observed_at, rowtime AS observed_at,
                WATERMARK FOR rowtime AS rowtime - INTERVAL '10' SECOND
            ) WITH ('connector' = 'filesystem', 'path' = '{path.as_uri()}', 'format' = 'json',
                    'json.timestamp-format.standard' = 'ISO-8601', 'scan.watermark.emit.strategy' = 'on-event')
        """)

    def written(self, table: str) -> list[dict[str, Any]]:
        """The rows that the job inserts into a table, in the order in which they come; times as text."""
        names, select = self.selects[table]
        view = f"{table}_{uuid.uuid4().hex}"
        self.env.execute_sql(f"CREATE TEMPORARY VIEW {view} ({', '.join(names)}) AS {select}")
        shown = [f"CAST({n} AS STRING)" if n.endswith("_at") else n for n in names]
        with self.env.execute_sql(f"SELECT {', '.join(shown)} FROM {view}").collect() as rows:
            return [dict(zip(names, row, strict=True)) for row in rows]


@pytest.fixture(scope="module")
def flink() -> TableEnvironment:
    os.environ.setdefault("_python_worker_execution_mode", "process")
    from pyflink.table import EnvironmentSettings, TableEnvironment  # after the variable is set

    env = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
    for key, value in (
        ("pipeline.jars", jar().as_uri()),
        ("parallelism.default", "1"),
        ("table.local-time-zone", "UTC"),
    ):
        env.get_config().set(key, value)
    for name, java in FUNCTIONS:
        env.execute_sql(f"CREATE TEMPORARY SYSTEM FUNCTION {name} AS '{java}'")
    return env


def test_five_minutes_of_a_lane(flink: TableEnvironment, registry: Registry, tmp_path: Path) -> None:
    lane = {"detector_id": "HUE-D01", "lane_no": 1}
    rows = [
        {**lane, "observed_at": at(0), "vehicle_count": 30, "mean_speed_kmh": 60, "occupancy_pct": 10},
        {**lane, "observed_at": at(1), "vehicle_count": 10, "mean_speed_kmh": 20, "occupancy_pct": 30, "queue_m": 40},
        {**lane, "observed_at": at(2), "mean_speed_kmh": 90},  # not counted: in no harmonic mean
        {**lane, "observed_at": at(3), "vehicle_count": 0},
        {**lane, "observed_at": at(4), "vehicle_count": 99, "mean_speed_kmh": 1, "qc_flag": 4},
        {**lane, "observed_at": at(4), "vehicle_count": 99, "mean_speed_kmh": 1, "disposition": "late"},
        {"detector_id": "HUE-D03", "lane_no": 1, "observed_at": at(4), "travel_time_s": 76},
        {"detector_id": "HUE-D04", "lane_no": 1, "observed_at": at(4), "vehicle_count": 5},
        {**lane, "observed_at": at(60), "vehicle_count": 1},
    ]
    found = Job(flink, registry, tmp_path, {"lane_minute": rows}).written("lane_flow_5min")
    first, times, uncompared = sorted(found, key=lambda row: (row["window_start_at"], row["detector_id"]))[:3]
    assert (first["_key"], first["window_start_at"], first["window_end_at"]) == (
        "HUE-D01|1",
        "2025-10-27 00:00:00.000",
        "2025-10-27 00:05:00.000",
    )
    assert (first["reading_count"], first["vehicle_count"], first["flow_vehh"]) == (4, 40, 480.0)
    assert first["mean_speed_kmh"] == Decimal("50.976")  # weighted by vehicles, the uncounted one as a single vehicle
    assert first["harmonic_speed_kmh"] == pytest.approx(40 / (30 / 60 + 10 / 20))
    assert first["density_vehkm"] == pytest.approx(480 / 40)
    assert (first["occupancy_pct"], first["queue_m"], first["origin"]) == (Decimal(20), Decimal(40), "replay")
    assert first["free_flow_ratio_pct"] == pytest.approx(100 * 40 / 109.033)
    assert first["is_congested"] is True
    assert times["free_flow_ratio_pct"] == pytest.approx(75.0) and times["is_congested"] is False
    assert (times["flow_vehh"], times["harmonic_speed_kmh"], times["density_vehkm"]) == (None, None, None)
    assert uncompared["flow_vehh"] == 60.0
    assert (uncompared["free_flow_ratio_pct"], uncompared["is_congested"]) == (None, None)


def test_a_slow_station_and_a_pair_whose_far_end_empties(
    flink: TableEnvironment, registry: Registry, tmp_path: Path
) -> None:
    """One incident by each method, several lanes and readings a window, the detectors' rows out of step."""
    speeds = [100, 100, 40, 40, 40, 100, 100, 100]
    up, down = [20, 20, 20, 34, 36, 36, 20, 20, 20], [20, 20, 20, 8, 8, 8, 19, 19, 19]
    rows = []
    for window, (speed, above, below) in enumerate(zip([*speeds, 100], up, down, strict=True)):
        for minute in range(5):
            moment = at(window * 5 + minute)
            rows.append({"detector_id": "HUE-D01", "lane_no": 1, "observed_at": moment, "mean_speed_kmh": speed})
            for lane, change in ((1, 2), (2, -2)):
                for detector, occupancy in (("HUE-D04", below), ("HUE-D02", above)):
                    place = {"detector_id": detector, "lane_no": lane, "observed_at": moment}
                    rows.append({**place, "occupancy_pct": occupancy + change, "origin": "synthetic"})
    found = Job(flink, registry, tmp_path, {"lane_minute": rows}).written("traffic_incident")
    story = {
        (
            row["section_id"],
            row["detector_id"],
            row["transition"],
            row["started_at"][11:16],
            row["transition_at"][11:16],
        )
        for row in found
    }
    assert story == {
        ("HUE-D01", "HUE-D01", "raise", "00:10", "00:20"),
        ("HUE-D01", "HUE-D01", "clear", "00:10", "00:35"),
        ("HUE-D02-D04", "HUE-D02", "raise", "00:15", "00:25"),
        ("HUE-D02-D04", "HUE-D02", "clear", "00:15", "00:40"),
    }
    pair = next(row for row in found if row["incident_method"] == "california")
    assert pair["_key"] == "california|HUE-D02-D04|2025-10-27T00:25:00Z|raise"
    assert (pair["upstream_occupancy_pct"], pair["downstream_occupancy_pct"]) == (36.0, 8.0)
    assert (pair["free_flow_ratio_pct"], pair["origin"]) == (None, "synthetic")
    assert next(row for row in found if row["section_id"] == "HUE-D01")["origin"] == "replay"


def test_vehicle_units_by_the_factors_of_the_day(flink: TableEnvironment, registry: Registry, tmp_path: Path) -> None:
    lane = {"detector_id": "HUE-D01", "lane_no": 1}
    rows = [
        {**lane, "vehicle_class": "motorcycle", "observed_at": at(0), "vehicle_count": 100},
        {**lane, "vehicle_class": "car", "observed_at": at(0), "vehicle_count": 20},
        {**lane, "vehicle_class": "truck_2_axles", "observed_at": at(0), "vehicle_count": 5},  # no motorcycle units
        {**lane, "vehicle_class": "car", "observed_at": at(0), "vehicle_count": 7, "disposition": "corrected"},
        {**lane, "vehicle_class": "car", "observed_at": at(5), "vehicle_count": 0},
        {**lane, "vehicle_class": "car", "observed_at": at(60), "vehicle_count": 1},
    ]
    full, empty, *_ = Job(flink, registry, tmp_path, {"lane_class_count": rows}).written("lane_class_flow_5min")
    assert (full["reading_count"], full["vehicle_count"], full["flow_vehh"]) == (3, 125, 1500.0)
    assert full["flow_pcuh"] == pytest.approx(12 * (100 * 0.3 + 20 * 1 + 5 * 2))
    assert full["flow_mcuh"] == pytest.approx(12 * (100 * 1 + 20 * 3.4))
    assert (full["pcu_covered_pct"], full["mcu_covered_pct"]) == (100.0, pytest.approx(96.0))
    assert (empty["vehicle_count"], empty["flow_pcuh"], empty["pcu_covered_pct"]) == (0, 0.0, None)


def test_saturation_of_every_green(flink: TableEnvironment, registry: Registry, tmp_path: Path) -> None:
    phase = {"junction_id": "NUT-01", "phase_no": 2, "signal_event_type": "amber_start"}
    rows = [
        {**phase, "observed_at": at(0), "interval_s": 40, "space_s": 20, "vehicle_count": 12},
        {**phase, "observed_at": at(1), "interval_s": 40, "space_s": 2, "vehicle_count": 6},  # they hardly move
        {**phase, "observed_at": at(2), "interval_s": 40, "space_s": 0, "vehicle_count": 0},  # nobody moves
        {**phase, "observed_at": at(3), "interval_s": 40, "space_s": 40, "vehicle_count": 0},  # nobody is there
        {**phase, "observed_at": at(4), "interval_s": 40, "space_s": 2, "vehicle_count": 6, "disposition": "duplicate"},
        {**phase, "observed_at": at(5), "interval_s": 40, "vehicle_count": 6},
        {
            **phase,
            "observed_at": at(6),
            "interval_s": 40,
            "space_s": 20,
            "vehicle_count": 12,
            "signal_event_type": "red",
        },
    ]
    found = Job(flink, registry, tmp_path, {"signal_event": rows}).written("signal_green")
    ratios = [(row["degree_of_saturation"], row["volume_ratio"], row["is_congested"]) for row in found]
    assert ratios == [
        (pytest.approx(0.8), pytest.approx(0.8 * 40 / 2 / 12), False),
        (pytest.approx(1.1), pytest.approx(1.1 * 40 / 2 / 6), True),
        (1.0, None, True),
        (0.0, None, False),
    ]
    assert (found[0]["_key"], found[0]["vehicle_count"], found[0]["space_s"]) == ("NUT-01|2", 12, Decimal(20))


def test_a_wrong_list_ends_at_planning(flink: TableEnvironment, registry: Registry, tmp_path: Path) -> None:
    from py4j.protocol import Py4JJavaError

    Job(flink, registry, tmp_path, {})
    for call, said in (
        (
            "CodeListJoin(input => TABLE lane_5min__summed, list => 'a:key;1', valid_at => 'window_start')",
            "no column a",
        ),
        (
            "CodeListJoin(input => TABLE lane_5min__summed, list => 'a:key', valid_at => 'window_start')",
            "no row is given",
        ),
        (
            "TrafficIncident(input => TABLE section_5min PARTITION BY section_id, thresholds => 'a:number;1')",
            "the key []",
        ),
    ):
        with pytest.raises(Py4JJavaError) as caught:
            flink.explain_sql(f"SELECT * FROM {call[:-1]}, uid => 'x')")
        assert said in str(caught.value)
