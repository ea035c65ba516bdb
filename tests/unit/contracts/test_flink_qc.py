"""What the tests of one reading say, on an engine that reads their SQL as Flink does; and the rules written again."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import duckdb
import pytest
from quality_oracle import Oracle, Reading

from pipelines.contracts.model import STATEFUL_QC, Dataset
from pipelines.contracts.registry import Registry
from pipelines.contracts.targets import flink_qc

AUGUST, SEPTEMBER = datetime(2025, 8, 31, 16, 59, tzinfo=UTC), datetime(2025, 8, 31, 17, tzinfo=UTC)
"""The last minute of August and the first of September in Huế."""
LONGEST = 450
"""Characters of a detail that names every test of its contract; env_monitoring has 15 measures, others have half."""


def said(dataset: Dataset, registry: Registry, reading: Reading) -> tuple[int, dict[str, int]]:
    """The flag and the results that are named, as the stream's SQL has them."""
    flag, detail = (text.replace("`", '"') for text in flink_qc.stateless(dataset, registry))
    values = {f.name: reading.values.get(f.name) for f in dataset.fields if f.type.is_numeric}
    columns = [f"CAST({'NULL' if value is None else value} AS DECIMAL(18, 3)) AS {n}" for n, value in values.items()]
    columns += [f"'{reading.entity}' AS {dataset.entity_key[0]}"]
    columns += [f"TIMESTAMP '{reading.at:%Y-%m-%d %H:%M:%S}' AS {dataset.event_time}"]
    (found,) = duckdb.sql(f"SELECT {flag}, {detail} FROM (SELECT {', '.join(columns)})").fetchall()
    named = (part.split("=") for part in (found[1] or "").split(";") if part)
    return found[0], {test: int(result) for test, result in named}


@pytest.mark.parametrize(("name", "entity", "at", "values", "flag", "named"), [
    ("river_stage", "71520", AUGUST, {"stage_m": "1.2"}, 1, {}),
    ("river_stage", "71520", AUGUST, {"stage_m": "3.6"}, 3, {"stage_m.climatology": 3}),
    ("river_stage", "71520", SEPTEMBER, {"stage_m": "3.6"}, 1, {"stage_m.climatology": 2}),
    ("river_stage", "HUE-BM", AUGUST, {"stage_m": "3.6"}, 1, {"stage_m.climatology": 2}),
    ("river_stage", "HUE-BM", AUGUST, {"stage_m": "20"}, 4, {"stage_m.gross_range": 4, "stage_m.climatology": 2}),
    ("river_stage", "71520", SEPTEMBER, {}, 9, {"stage_m.gross_range": 9, "stage_m.climatology": 9}),
    ("lane_minute", "HUE-D01", AUGUST, {"vehicle_count": "3", "mean_speed_kmh": "30", "occupancy_pct": "9"}, 1, {}),
    ("lane_minute", "HUE-D01", AUGUST, {"vehicle_count": "3", "mean_speed_kmh": "30"}, 1,
     {"occupancy_pct.gross_range": 9}),
    ("lane_minute", "HUE-D01", AUGUST, {"vehicle_count": "90", "mean_speed_kmh": "30"}, 3,
     {"vehicle_count.gross_range": 3, "occupancy_pct.gross_range": 9}),
    ("lane_minute", "HUE-D01", AUGUST, {}, 2,
     {"vehicle_count.gross_range": 9, "mean_speed_kmh.gross_range": 9, "occupancy_pct.gross_range": 9}),
    ("reservoir_op", "TA-TRACH", AUGUST, {"level_m": "40", "inflow_m3s": "9"}, 1, {"outflow_m3s.gross_range": 9}),
    ("reservoir_op", "TA-TRACH", AUGUST, {"inflow_m3s": "9", "outflow_m3s": "9"}, 9, {"level_m.gross_range": 9}),
])  # fmt: skip
def test_every_declared_test_of_one_reading_has_its_result(
    registry: Registry, name: str, entity: str, at: datetime, values: dict[str, str], flag: int, named: dict[str, int]
) -> None:
    """Only a required value makes 9 of the flag: rows without an optional one stay in windows, alarms and marts."""
    dataset = registry.dataset(name)
    reading = Reading(entity, at, {field: Decimal(value) for field, value in values.items()})
    assert said(dataset, registry, reading) == (flag, named)
    _, known = Oracle(dataset, registry).judge(reading)
    stateless = {test: result for test, result in known.items() if test.rpartition(".")[2] not in STATEFUL_QC}
    assert {test: result for test, result in stateless.items() if result != 1} == named


def test_a_season_of_all_stations_that_holds_every_month_is_always_evaluated(registry: Registry) -> None:
    _, detail = flink_qc.stateless(registry.dataset("env_monitoring"), registry)
    assert "climatology=3" in detail and "climatology=2" not in detail


def test_the_longest_detail_is_bounded(registry: Registry) -> None:
    for dataset in registry.streams():
        values = {item.name: Decimal(0) for item in dataset.fields if item.type.is_numeric}
        _, every = Oracle(dataset, registry).judge(Reading("x", AUGUST, values))
        assert len(";".join(f"{test}={result}" for test, result in every.items())) < LONGEST, dataset.id
