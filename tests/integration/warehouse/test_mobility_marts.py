"""The marts of transport, cameras and fires on a real Spark Connect server, over what replays and samples send."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry
from pipelines.contracts.targets.delta import PROPERTIES, arrow_schema
from pipelines.replay.catalog import replay_info
from pipelines.replay.readings import Reading
from pipelines.replay.sample import draw_all
from pipelines.runtime.settings import Settings
from pipelines.warehouse import dbt
from pipelines.warehouse import manifest as runs
from pipelines.warehouse.code_lists import ensure_code_lists

MARTS = (
    "dim_ward",
    "kpi_camera_event_day",
    "kpi_camera_health_day",
    "kpi_camera_share",
    "kpi_fire_event",
    "kpi_junction_hour",
    "kpi_signal_cycle",
    "kpi_toll_day",
    "kpi_traffic_hour",
    "kpi_traffic_source_share",
    "kpi_transit_on_time",
    "kpi_vehicle_mix_hour",
)
REPLAYS = {name: replay_info(name) for name in ("cameras", "mobility", "traffic")}
REPLAYED = tuple(dataset for info in REPLAYS.values() for dataset in info.datasets)
SEED = 7
pytestmark = pytest.mark.timeout(1500)


@dataclass(frozen=True)
class Built:
    """What one build left, and the rows that it read."""

    settings: Settings
    registry: Registry
    result: dbt.DbtResult
    silver: Mapping[str, list[dict[str, Any]]]

    def gold(self, mart: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = (
            DeltaTable(str(self.settings.table_path("gold", mart))).to_pyarrow_table().to_pylist()
        )
        return rows


def rows_of(dataset: Dataset, drawn: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Source rows as silver has them: tokens for clear values, provenance, the partition's day."""
    at = datetime(2025, 11, 9, tzinfo=UTC)
    rows = []
    for number, given in enumerate(drawn):
        row = {f.name: given.get(f.source_name) for f in dataset.fields}
        row |= {"origin": "synthetic", "revision": 0, "raw_partition": 0, "raw_offset": number, "received_at": at}
        if dataset.stream:
            row["qc_flag"] = 1
        if dataset.partition_source:
            row[str(dataset.partition)] = row[dataset.partition_source].date()
        rows.append(row)
    return rows


TYPED: Mapping[str, Callable[[Any], Any]] = {
    "timestamp": datetime.fromisoformat,
    "date": date.fromisoformat,
    "double": float,
    "decimal": lambda value: Decimal(str(value)),
}


def replayed(dataset: Dataset, readings: Iterable[Reading]) -> list[dict[str, Any]]:
    bodies = [dict(reading.body) for reading in readings if reading.dataset == dataset.id]
    for body in bodies:
        for field in dataset.fields:
            given = body.get(field.name)
            if given is not None and field.type.name in TYPED:
                body[field.name] = TYPED[field.type.name](given)
    return rows_of(dataset, bodies)


@pytest.fixture(scope="module")
def built(lake_services: Any, registry: Registry) -> Built:
    remote = lake_services.need("spark").spark_remote
    settings = lake_services.namespace("mobility_marts")
    shutil.rmtree(settings.lake_root / settings.namespace, ignore_errors=True)
    names = {name for mart in MARTS for name in (mart, *registry.dataset(mart).mart.inputs)}
    part = replace(registry, datasets=tuple(d for d in registry.datasets if d.id in names))
    ensure_code_lists(settings, registry)
    wanted = [d.id for d in part.datasets if not d.mart and d.id not in REPLAYED]
    silver = {d.dataset.id: rows_of(d.dataset, d.table.to_pylist()) for d in draw_all(registry, SEED, 1.0, wanted)}
    for info in REPLAYS.values():
        readings = info.source(registry, settings.home / "data", SEED)
        silver |= {name: replayed(registry.dataset(name), readings) for name in info.datasets}
    for name, rows in silver.items():
        dataset = registry.dataset(name)
        path = settings.table_path("silver", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        table = pa.Table.from_pylist(rows, schema=arrow_schema(dataset, "silver"))
        by = [dataset.partition] if dataset.partition else None
        write_deltalake(str(path), table, partition_by=by, configuration=dict(PROPERTIES))
    said: list[str] = []
    manifest = runs.resolve(settings, part, "first")
    try:
        result = dbt.build(settings, part, manifest, spark_remote=remote, unit_tests=True, progress=said.append)
    finally:
        print(*said, sep="\n")
    return Built(settings, part, result, silver)


def test_every_mart_is_built_and_no_other(built: Built) -> None:
    assert set(built.result.gold) == set(MARTS)
    assert "kpi_signal_cycle.a_green_that_is_used_up_while_vehicles_wait_was_too_short" in built.result.seconds
    assert not [name for name in built.result.seconds if "flood" in name or "feedback" in name]
    assert not [w for w in built.result.warnings if "camera_evidence" in w], (
        "the samples keep the limits of their types"
    )


def total(rows: Iterable[Mapping[str, Any]], name: str) -> Any:
    return sum(row[name] for row in rows)


def test_the_figures_of_all_groups_add_up_to_what_was_sent(built: Built) -> None:
    """Every row of silver is in exactly one group of its mart."""
    silver, gold = built.silver, built.gold
    cancelled = [s for s in silver["traffic_source"] if s["work_status"] == "cancelled"]
    events = [*silver["ai_event"], *silver["violation_event"]]
    greens = [e for e in silver["signal_event"] if e["signal_event_type"] == "green_start"]
    phases = {(e["junction_id"], e["phase_no"]) for e in greens}
    for mart, column, wanted in (
        ("kpi_toll_day", "passage_count", len(silver["etc_txn"])),
        ("kpi_traffic_source_share", "inventoried_count", len(silver["traffic_source"]) - len(cancelled)),
        ("kpi_camera_event_day", "event_count", len(events)),
        ("kpi_camera_event_day", "confirmed_count", sum(e["review_status"] == "confirmed" for e in events)),
        ("kpi_camera_share", "query_count", len(silver["camera_share_log"])),
        ("kpi_fire_event", "suspected_count", len(silver["fire_event"])),
        ("kpi_camera_health_day", "reported_minute_count", len(silver["camera_health"])),
        ("kpi_vehicle_mix_hour", "vehicle_count", total(silver["lane_class_count"], "vehicle_count")),
        ("kpi_traffic_hour", "reading_count", len(silver["lane_minute"])),
    ):
        assert total(gold(mart), column) == wanted, f"{mart}.{column}"
    cycles = gold("kpi_signal_cycle")
    assert len(cycles) == len(greens) - len(phases), "the last cycle of a phase is open"
    hours = gold("kpi_junction_hour")
    assert total(hours, "cycle_count") + total(hours, "broken_cycle_count") == len(cycles)
    assert {row["level_of_service"] for row in hours} <= {*"ABCDEF", None}


def test_the_evening_peak_is_read_off_the_signals(built: Built) -> None:
    """The demand of the replay rises from the first junction to the last, and the road behind the first is full."""
    cycles = built.gold("kpi_signal_cycle")
    assert all(cycle["is_complete"] for cycle in cycles)
    blocked = {cycle["junction_id"] for cycle in cycles if cycle["is_congested"]}
    assert "NUT-01" in blocked
    hours = [row for row in built.gold("kpi_junction_hour") if row["hour_start_at"].hour == 10]
    delays = {row["junction_id"]: (row["control_delay_s"], row["split_failure_pct"]) for row in hours}
    easy, hard = delays["NUT-02"], delays["NUT-10"]
    assert hard[0] > easy[0] and hard[1] > 60 > 20 > easy[1]


def test_buses_are_compared_with_the_timetable_of_their_day(built: Built) -> None:
    rows = built.gold("kpi_transit_on_time")
    assert {row["local_date"] for row in rows} == {date(2025, 11, 7)}
    shares = [row["observed_arrival_pct"] for row in rows]
    assert min(shares) > 95, "every trip of the day ran"
    punctual = 100 * total(rows, "punctual_count") / total(rows, "timed_arrival_count")
    assert 70 < punctual < 99
    for row in rows:
        parts = row["punctual_count"] + row["early_count"] + row["late_count"]
        assert parts == row["timed_arrival_count"] <= row["arrival_count"]


def test_sources_that_are_done_are_told_from_those_that_are_heard(built: Built) -> None:
    """The rule written down once more, over the register and every heartbeat."""
    beats: dict[str, datetime] = {}
    for beat in built.silver["device_heartbeat"]:
        beats[beat["device_id"]] = max(beat["observed_at"], beats.get(beat["device_id"], beat["observed_at"]))
    newest = max(beats.values())
    promised = built.registry.dataset("device_heartbeat").sla.freshness
    alive = {device for device, at in beats.items() if newest - at <= promised}
    done = [source for source in built.silver["traffic_source"] if source["work_status"] == "done"]
    rows = built.gold("kpi_traffic_source_share")
    assert {row["heard_as_of_at"] for row in rows} == {newest}
    for row in rows:
        group = ("agency_id", "traffic_source_kind")
        own = [source for source in done if [source[name] for name in group] == [row[name] for name in group]]
        known = [source["device_id"] for source in own if source["device_id"]]
        heard = [device for device in known if device in alive]
        counts = (row["integrated_count"], row["integrated_device_count"], row["integrated_heard_count"])
        assert counts == (len(own), len(known), len(heard))
    assert 0 < total(rows, "integrated_heard_count") < total(rows, "integrated_count")


def test_most_vehicles_are_motorcycles(built: Built) -> None:
    for row in built.gold("kpi_vehicle_mix_hour"):
        assert row["motorcycle_pct"] > 50 and row["pcu_covered_pct"] == 100
        assert row["flow_pcuh"] < row["flow_vehh"] < row["flow_mcuh"]


def test_fires_are_calibrated_to_the_published_baseline(built: Built) -> None:
    rows = {row["fire_kind"]: row for row in built.gold("kpi_fire_event")}
    forest, straw = rows["forest"], rows["straw"]
    assert (forest["baseline_suspected_count"], forest["baseline_verified_count"]) == (2096, 214)
    assert straw["baseline_suspected_count"] == 463
    assert straw["suspected_count"] / forest["suspected_count"] == pytest.approx(463 / 2096, rel=0.25)
    assert forest["verified_count"] / forest["suspected_count"] == pytest.approx(214 / 2096, rel=0.35)


def test_marts_without_a_person_hold_no_token(built: Built) -> None:
    tokens = {
        row[f.name]
        for name, rows in built.silver.items()
        for row in rows
        for f in built.registry.dataset(name).fields
        if f.tokenise
    }
    tokens.discard(None)
    assert tokens, "the samples have plates and officers"
    for mart in MARTS:
        values = {value for row in built.gold(mart) for value in row.values()}
        assert not values & tokens, mart
