"""The quality tests of a contract in a real Flink, as its job runs them, against the rules written down once more."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from catalogue import city
from flink_cluster import BACKENDS, collect, plan_error, write
from quality_oracle import Oracle, Reading

from pipelines.contracts.model import Dataset
from pipelines.contracts.targets import flink as target

if TYPE_CHECKING:
    from pyflink.table import TableEnvironment

START = datetime(2025, 8, 29, tzinfo=UTC)
"""In the last month of a season: the readings pass into the next one."""
SHAPES: dict[str, dict[str, tuple[float, float]]] = {
    "river_stage": {"stage_m": (3.0, 0.05)},
    "reservoir_op": {"level_m": (45, 0.1), "inflow_m3s": (800, 50), "outflow_m3s": (400, 50)},
    "rain_gauge": {"rain_mm": (1, 2)},
    "tide": {"tide_level_m": (0.3, 0.006), "predicted_tide_m": (0.3, 0.02)},
    "urban_flood_depth": {"depth_cm": (300, 8)},
}
"""Where each field begins and how far it moves in a period."""


def _readings(dataset: Dataset, seed: int, count: int) -> list[Reading]:
    """Arrivals of three entities with every fault there is: holes, spikes, steps, stuck and missing values, readings
    that come late, twice, or corrected."""
    chance = random.Random(seed)
    assert dataset.stream is not None
    entities = [str(code) for code in city().code_list(dataset.field(dataset.entity_key[0]).code_list or "").codes[:3]]
    last = {entity: {name: begin for name, (begin, _) in SHAPES[dataset.id].items()} for entity in entities}
    period, stuck, found = 0, dict.fromkeys(entities, 0), []
    while len(found) < count:
        period += 1
        for entity in entities:
            if chance.random() < 0.04:
                continue
            if chance.random() < 0.01:
                stuck[entity] = chance.choice((20, 40, 160))
            stuck[entity] = max(0, stuck[entity] - 1)
            values: dict[str, Decimal | None] = {}
            for name, (_, move) in SHAPES[dataset.id].items():
                if not stuck[entity]:
                    last[entity][name] = max(0, last[entity][name] + chance.gauss(0, move))
                odd = chance.random()
                value = last[entity][name] + (chance.choice((0.6, 2, 9, 70, -3)) if odd < 0.02 else 0)
                quantum = Decimal(1).scaleb(-dataset.field(name).type.scale)
                values[name] = None if odd > 0.985 else Decimal(str(value)).quantize(quantum)
            at = START + period * dataset.stream.cadence + timedelta(seconds=chance.choice((0, 0, 0, 7)))
            found.append(Reading(entity, at, values))
            if chance.random() < 0.05:
                found.append(found[chance.randrange(max(0, len(found) - 60), len(found))])
            if chance.random() < 0.03:
                old = found[chance.randrange(max(0, len(found) - 60), len(found))]
                found.append(Reading(old.entity, old.at, values, old.revision + chance.choice((0, 1))))
            if chance.random() < 0.03:
                back = chance.choice((2, 9, 50, 200)) * dataset.stream.cadence + timedelta(seconds=30)
                found.append(Reading(entity, at - back, values))
            if chance.random() < 0.004:
                period += chance.choice((3, 13, 170))
    return found[:count]


def _said(flag: int, results: dict[str, int]) -> tuple[int, dict[str, int]]:
    return flag, {test: result for test, result in results.items() if result != 1}


def _parsed(detail: str | None) -> dict[str, int]:
    return {test: int(flag) for test, flag in (part.split("=") for part in (detail or "").split(";") if part)}


@pytest.fixture
def judge(flink: TableEnvironment, tmp_path: Path) -> Iterator[Any]:
    """Run the generated views of a contract over readings: what each of them is said, in order of arrival."""
    made: list[str] = []

    def run(dataset: Dataset, readings: Sequence[Reading]) -> list[tuple[int, dict[str, int]]]:
        event_time, entity = str(dataset.event_time), dataset.entity_key[0]
        lines = [
            {entity: r.entity, event_time: r.at.strftime("%Y-%m-%dT%H:%M:%SZ"), "revision": r.revision, "_offset": n}
            | {name: None if value is None else float(value) for name, value in r.values.items()}
            for n, r in enumerate(readings)
        ]
        columns = [f"`{field.name}` {field.type.on('flink')}" for field in dataset.fields]
        # Flink's json: a file has none of Kafka's metadata.
        flink.execute_sql(f"""
            CREATE TEMPORARY TABLE {dataset.id}__read (
                {", ".join(columns)}, revision INT, `_offset` BIGINT,
                `_received_at` AS CAST(`{event_time}` AS TIMESTAMP_LTZ(3)),
                `_rowtime` AS CAST(`{event_time}` AS TIMESTAMP_LTZ(3)),
                WATERMARK FOR `_rowtime` AS `_rowtime` - INTERVAL '99' DAY
            ) WITH ('connector' = 'filesystem', 'format' = 'json', 'json.timestamp-format.standard' = 'ISO-8601',
                    'path' = '{write(tmp_path, [json.dumps(line).encode() for line in lines])}')
        """)
        view = f"{dataset.id}__checked"
        flink.execute_sql(f"""
            CREATE TEMPORARY VIEW {view} AS
            SELECT *, 'replay' AS origin, 0 AS `_partition`, CAST(NULL AS STRING) AS `_reason` FROM {dataset.id}__read
        """)
        made.extend((f"VIEW {view}", f"TABLE {dataset.id}__read"))
        for text in (target.flagged(dataset, city()), target.tested(dataset, city())):
            name, query = text.removeprefix("CREATE VIEW `").split("` AS\n", 1)
            flink.create_temporary_view(name, flink.sql_query(query))
            made.insert(0, f"VIEW {name}")
        rows = collect(flink, f"SELECT `_offset`, `_qc_flag`, `_qc_detail` FROM {dataset.id}__tested")
        assert [row[0] for row in rows] == list(range(len(readings)))
        return [(flag, _parsed(detail)) for _, flag, detail in rows]

    yield run
    for name in made:
        flink.execute_sql(f"DROP TEMPORARY {name}")


@pytest.mark.parametrize(("name", "seed", "backend"), [
    ("river_stage", 1, BACKENDS[0]), ("river_stage", 2, BACKENDS[1]),
    ("reservoir_op", 3, BACKENDS[0]), ("rain_gauge", 4, BACKENDS[0]),
    ("tide", 5, BACKENDS[1]), ("urban_flood_depth", 3, BACKENDS[0]),
])  # fmt: skip
def test_flags_are_those_of_the_rules(flink: TableEnvironment, judge: Any, name: str, seed: int, backend: str) -> None:
    flink.get_config().set("state.backend.type", backend)
    dataset, registry = city().dataset(name), city()
    readings = _readings(dataset, seed, 1500)
    oracle = Oracle(dataset, registry)
    expected = [_said(*oracle.judge(reading)) for reading in readings]
    found = judge(dataset, readings)
    wrong = [(n, readings[n], f, e) for n, (f, e) in enumerate(zip(found, expected, strict=True)) if f != e]
    assert not wrong, wrong[:3]
    seen = {(test.rpartition(".")[2], flag) for _, results in found for test, flag in results.items()}
    tests = {test for test, _, _ in dataset.qc.by_field()} - {"neighbour"} | {"gap"}
    assert {(test, 3) for test in tests} <= seen, "the readings try every test"
    assert {(test, 9) for test in tests - {"gap"}} <= seen, "and every test of a missing value"
    assert {flag for flag, _ in found} >= {1, 3, 4, 9}


def test_a_missing_optional_value_is_named_and_its_row_stays_usable(judge: Any) -> None:
    dataset, at = city().dataset("reservoir_op"), START
    values = {"level_m": Decimal(45), "inflow_m3s": Decimal(800), "outflow_m3s": Decimal(400)}
    entity = str(city().code_list("reservoirs").codes[0])
    rows = [
        values,
        values | {"inflow_m3s": None},
        values | {"inflow_m3s": None, "outflow_m3s": Decimal(19000)},
        values | {"level_m": None},
    ]
    found = judge(dataset, [Reading(entity, at + n * timedelta(minutes=10), row) for n, row in enumerate(rows)])
    named = [(flag, {test: result for test, result in results.items() if result != 2}) for flag, results in found]
    assert named == [
        (1, {}),
        (1, {"inflow_m3s.gross_range": 9}),
        (3, {"inflow_m3s.gross_range": 9, "outflow_m3s.gross_range": 3}),
        (9, {"level_m.gross_range": 9, "level_m.spike": 9, "level_m.rate_of_change": 9}),
    ]


def test_the_limits_of_a_season_and_of_a_station(judge: Any) -> None:
    dataset, night = city().dataset("river_stage"), datetime(2025, 8, 31, 16, 59, tzinfo=UTC)
    minute = timedelta(minutes=1)
    stages = [
        ("71520", night, "3.6"),  # 23:59 of 31 August in Huế
        ("71518", night, "3.6"),
        ("71520", night + minute, "3.6"),  # 1 September: the flood season
        ("HUE-TN", night, "61"),
        ("71520", night + 2 * minute, "61"),
        ("HUE-BM", night, "8.1"),  # a station without limits of its own
        ("HUE-TN", night + minute, "15.5"),
    ]
    found = judge(dataset, [Reading(station, at, {"stage_m": Decimal(stage)}) for station, at, stage in stages])
    told = [
        (flag, {name: result for name, result in results.items() if name == "stage_m.climatology" or result in (3, 4)})
        for flag, results in found
    ]
    assert told == [
        (3, {"stage_m.climatology": 3}),
        (1, {}),
        (1, {"stage_m.climatology": 2}),  # no season of this gauge holds September
        (1, {"stage_m.climatology": 2}),  # and none is of that gauge
        (4, {"stage_m.gross_range": 4, "stage_m.rate_of_change": 4, "stage_m.climatology": 2}),
        (3, {"stage_m.gross_range": 3, "stage_m.climatology": 2}),
        (4, {"stage_m.gross_range": 4, "stage_m.rate_of_change": 4, "stage_m.climatology": 2}),
    ]


def test_tests_that_the_function_cannot_run_are_refused_at_planning(flink: TableEnvironment, tmp_path: Path) -> None:
    flink.execute_sql(f"""
        CREATE TEMPORARY TABLE few (station_id STRING, observed_at TIMESTAMP_LTZ(3), stage_m DECIMAL(9, 3),
            `_revision` INT, `_qc_flag` INT, `_qc_detail` STRING)
        WITH ('connector' = 'filesystem', 'format' = 'json', 'path' = '{write(tmp_path, [])}')
    """)
    call = "SELECT * FROM QualityTests(input => TABLE few PARTITION BY station_id, tests => CAST('{}' AS STRING))"
    head = '"event_time": "observed_at", "cadence_ms": 1, "keep_ms": 1'
    for tests, message in (
        (f"{{{head}}}", "no test is declared"),
        ("no json", "the tests are no JSON"),
        (f'{{{head}, "fields": {{"level_m": {{"spike": {{}}}}}}}}', "no column level_m"),
        (
            f'{{{head}, "fields": {{"stage_m": {{"spike": {{"window_ms": 1, "suspect": "0.0001"}}}}}}}}',
            "0.0001 has more than 3 digits after the point",
        ),
        (f'{{{head}, "gap": {{"suspect_ms": 0}}}}', "`suspect_ms` must be above 0"),
    ):
        assert message in plan_error(flink, call.format(tests))
