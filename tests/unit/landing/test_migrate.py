"""A contract that gains an optional field: tables get the column, rows that are read again get the value they had."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry
from pipelines.ingestion.bronze import Bronze
from pipelines.ingestion.judge import judge
from pipelines.ingestion.noted import Note
from pipelines.ingestion.protect import UNKNOWN, refusal_schema
from pipelines.ingestion.staged import Load, Staged
from pipelines.landing.apply import BatchResult, Quality, Silver, apply
from pipelines.landing.migrate import TableDisagrees
from pipelines.landing.spec import TableSpec
from pipelines.landing.tables import bronze_spec, ensure_table, silver_spec
from pipelines.runtime.settings import Settings

T0 = datetime(2025, 10, 27, tzinfo=UTC)
KEPT = ("inserted", "updated", "unchanged")
"""What can become of rows whose source deletes none."""


def without(dataset: Dataset, *names: str) -> Dataset:
    """The contract before it had these fields."""
    return dataset.model_copy(update={"fields": tuple(f for f in dataset.fields if f.name not in names)})


def required(dataset: Dataset, name: str) -> Dataset:
    fields = tuple(f.model_copy(update={"required": True}) if f.name == name else f for f in dataset.fields)
    return dataset.model_copy(update={"fields": fields})


def columns(table: DeltaTable) -> list[str]:
    return [field.name for field in table.schema().fields]


@pytest.fixture(params=["transport", "common"], ids=["keyed job", "shared job"])
def lane(registry: Registry, request: pytest.FixtureRequest) -> Dataset:
    """A stream with optional fields, read by a job that tells duplicates, and by one that leaves it to landing."""
    return registry.dataset("lane_minute").model_copy(update={"domain": request.param})


def minute(registry: Registry, offset: int, **more: Any) -> dict[str, Any]:
    """The clean record that raw record `offset` becomes: one lane, one minute each."""
    at = T0 + timedelta(minutes=offset)
    return {
        "detector_id": registry.code_list("detectors").codes[0],
        "lane_no": 1,
        "observed_at": at,
        "qc_flag": 1,
        "origin": "replay",
        "revision": 0,
        "received_at": at,
        "raw_partition": 0,
        "raw_offset": offset,
        "disposition": "on_time",
        **more,
    }


class Lake:
    """Lands batches of clean records under whichever contract is in force."""

    def __init__(self, settings: Settings, registry: Registry, events: Any) -> None:
        self.settings, self.registry, self.events = settings, registry, events
        self.next = 0

    def land(self, dataset: Dataset, rows: Sequence[dict[str, Any]]) -> dict[str, int]:
        silver = Silver.open(self.settings, self.registry, dataset, None)
        batch = self.events.batch_of(dataset, rows, start=self.next)
        self.next += len(rows)
        result: BatchResult = apply(silver, Quality.open(self.settings), batch)
        return {name: result.counts[name] for name in KEPT}

    def queue(self) -> list[Any]:
        rows = DeltaTable(str(self.settings.table_path("silver", "lane_minute"))).to_pyarrow_table().to_pylist()
        return [row["queue_m"] for row in sorted(rows, key=lambda row: row["observed_at"])]


def test_rows_that_are_read_again_get_the_value_of_a_new_column(
    settings: Settings, registry: Registry, lane: Dataset, events: Any
) -> None:
    lake = Lake(settings, registry, events)
    old = without(lane, "queue_m")
    payloads = [{"queue_m": Decimal("12.000")}, {"queue_m": None}, {"queue_m": Decimal("7.000")}]
    before = [{k: v for k, v in minute(registry, n, vehicle_count=n).items() if k != "queue_m"} for n in range(3)]
    after = [minute(registry, n, vehicle_count=n, **payload) for n, payload in enumerate(payloads)]

    assert lake.land(old, before) == {"inserted": 3, "updated": 0, "unchanged": 0}
    # The job is rebuilt and reads the raw topic again: the same raw records, now with the field.
    assert lake.land(lane, after) == {"inserted": 0, "updated": 2, "unchanged": 1}
    assert lake.queue() == [Decimal("12.000"), None, Decimal("7.000")]
    # Once more, and a record of the older job that was still on its way: nothing changes that was right.
    assert lake.land(lane, after) == {"inserted": 0, "updated": 0, "unchanged": 3}
    assert lake.land(lane, before) == {"inserted": 0, "updated": 0, "unchanged": 3}
    assert lake.land(lane, [before[0], after[0], before[0]]) == {"inserted": 0, "updated": 0, "unchanged": 3}
    assert lake.queue() == [Decimal("12.000"), None, Decimal("7.000")]


def test_a_reading_that_says_more_never_wins_over_a_newer_record(
    settings: Settings, registry: Registry, lane: Dataset, events: Any
) -> None:
    lake = Lake(settings, registry, events)
    first = minute(registry, 0, vehicle_count=1)
    corrected = {**minute(registry, 0, vehicle_count=2), "raw_offset": 5, "revision": 1, "disposition": "corrected"}
    assert lake.land(without(lane, "queue_m"), [first, corrected]) == {"inserted": 1, "updated": 1, "unchanged": 0}
    full = {"mean_speed_kmh": Decimal(30), "queue_m": Decimal(9)}
    assert lake.land(lane, [{**first, **full}]) == {"inserted": 0, "updated": 0, "unchanged": 1}
    assert lake.queue() == [None]
    assert lake.land(lane, [{**first, **full}, {**corrected, "queue_m": Decimal(4)}])["updated"] == 1
    assert lake.queue() == [Decimal(4)]


def test_a_table_gets_the_columns_that_its_contract_gained_once(settings: Settings, lane: Dataset) -> None:
    narrow = ensure_table(settings, silver_spec(without(lane, "queue_m", "travel_time_s")))
    files = narrow.file_uris()
    wide = ensure_table(settings, silver_spec(lane))
    added = {field.name: field for field in wide.schema().fields}
    assert set(added) == set(columns(narrow)) | {"queue_m", "travel_time_s"}
    assert added["queue_m"].nullable and str(added["queue_m"].type) == 'PrimitiveType("decimal(9,3)")'
    assert added["queue_m"].metadata["comment"] == "Chiều dài hàng chờ (m) — Queue length"
    assert wide.file_uris() == files
    assert ensure_table(settings, silver_spec(lane)).version() == wide.version()


def test_texts_follow_the_contract_without_a_rewrite(settings: Settings, lane: Dataset) -> None:
    first = ensure_table(settings, silver_spec(lane))
    title = lane.title.model_copy(update={"vi": "Xe theo làn"})
    fields = tuple(f.model_copy(update={"title": title}) if f.name == "queue_m" else f for f in lane.fields)
    renamed = lane.model_copy(update={"title": title, "fields": fields})
    second = ensure_table(settings, silver_spec(renamed))
    comments = {field.name: field.metadata.get("comment") for field in second.schema().fields}
    assert comments["queue_m"] == "Xe theo làn (m) — Traffic by lane"
    assert (second.metadata().description or "").startswith("Xe theo làn — ")
    assert second.version() == first.version() + 2 and columns(second) == columns(first)
    assert second.metadata().configuration == first.metadata().configuration
    assert ensure_table(settings, silver_spec(renamed)).version() == second.version()


def test_a_required_column_cannot_be_added_to_rows_that_lack_it(
    settings: Settings, registry: Registry, lane: Dataset, events: Any
) -> None:
    lake = Lake(settings, registry, events)
    old, new = without(lane, "queue_m"), required(lane, "queue_m")
    ensure_table(settings, silver_spec(old))
    assert "queue_m" in columns(ensure_table(settings, silver_spec(new))), "an empty table lacks nothing"
    older = without(lane, "travel_time_s")
    fresh = replace(silver_spec(without(older, "queue_m")), name="other")
    table = ensure_table(settings, fresh)
    lake.land(lane, [minute(registry, 0)])
    rows = DeltaTable(str(settings.table_path("silver", "lane_minute"))).to_pyarrow_table().select(columns(table))
    write_deltalake(table, rows, mode="append")
    with pytest.raises(TableDisagrees) as caught:
        ensure_table(settings, replace(silver_spec(required(older, "queue_m")), name="other"))
    assert "silver.other" in str(caught.value)
    assert "column queue_m is new and required, but the table holds rows without it (list it as `- queue_m`)" in str(
        caught.value
    )


def test_nothing_is_added_when_something_else_cannot_be(settings: Settings, lane: Dataset) -> None:
    before = ensure_table(settings, silver_spec(without(lane, "queue_m"))).version()
    spec = silver_spec(lane)
    other = pa.schema([f.with_type(pa.string()) if f.name == "vehicle_count" else f for f in spec.schema])
    with pytest.raises(TableDisagrees, match="column vehicle_count is") as caught:
        ensure_table(settings, replace(spec, schema=other, partition_by=()))
    assert "partitioned by observed_date, the contract says nothing" in str(caught.value)
    assert "`<id>_v<major>`" in str(caught.value)
    table = DeltaTable(str(settings.table_path("silver", "lane_minute")))
    assert table.version() == before and "queue_m" not in columns(table)


def test_processes_that_open_a_table_at_once_add_its_columns_once(settings: Settings, lane: Dataset) -> None:
    ensure_table(settings, silver_spec(without(lane, "queue_m")))
    start = threading.Barrier(4)

    def open_one() -> list[str]:
        start.wait()
        return columns(ensure_table(settings, silver_spec(lane)))

    with ThreadPoolExecutor(4) as pool:
        opened = [future.result() for future in [pool.submit(open_one) for _ in range(4)]]
    assert all("queue_m" in names for names in opened)
    assert columns(DeltaTable(str(settings.table_path("silver", "lane_minute")))).count("queue_m") == 1


def _staged(dataset: Dataset, folder: Path, number: int, rows: list[dict[str, Any]]) -> Staged:
    """Stage rows as ingestion does."""
    schema = pa.schema([pa.field(f.name, f.type.arrow) for f in dataset.fields])
    table = pa.Table.from_pylist(rows, schema=schema)
    for name in (*refusal_schema().names, UNKNOWN):
        table = table.append_column(name, pa.nulls(len(rows), pa.string()))
    path = folder / f"{number}.parquet"
    pq.write_table(Load(number, f"run/{number}", T0, "synthetic", None).stamp(table), path)
    return Staged(path)


def test_a_sector_table_is_read_again_into_its_new_column(
    settings: Settings, registry: Registry, tmp_path: Path
) -> None:
    asset = registry.dataset("road_asset")
    codes = {f.name: registry.code_list(f.code_list).codes[0] for f in asset.fields if f.code_list}
    row = {"asset_id": "A1", **codes, "has_sensor": True, "updated_at": T0, "road_name": "Lê Lợi"}
    old = without(asset, "road_name")

    def load(dataset: Dataset, number: int) -> dict[str, int]:
        bronze, silver = Bronze(settings, dataset), Silver.open(settings, registry, dataset, None)
        staged = _staged(dataset, tmp_path, number, [row])
        judged = judge(staged, silver)
        bronze.append(staged, judged, silver)
        counts = Counter(unchanged=judged.notes.count(Note.UNCHANGED))
        quality = Quality.open(settings)
        for batch in bronze.unapplied(silver.sink.committed(bronze.app) or 0):
            counts.update(apply(silver, quality, batch).counts)
        return {name: counts[name] for name in KEPT}

    assert load(old, 1) == {"inserted": 1, "updated": 0, "unchanged": 0}
    assert load(asset, 2) == {"inserted": 0, "updated": 1, "unchanged": 0}
    assert load(asset, 3) == {"inserted": 0, "updated": 0, "unchanged": 1}
    (landed,) = DeltaTable(str(settings.table_path("silver", "road_asset"))).to_pyarrow_table().to_pylist()
    assert landed["road_name"] == "Lê Lợi" and landed["asset_id"] == "A1"
    kept = DeltaTable(str(settings.table_path("bronze", "road_asset"))).to_pyarrow_table().sort_by("raw_offset")
    assert kept["road_name"].to_pylist() == [None, "Lê Lợi"], "what says nothing new is stored once"
    assert columns(DeltaTable(str(settings.table_path("bronze", "road_asset"))))[-1] == "road_name"


def test_a_specification_says_which_columns_no_row_may_lack(registry: Registry) -> None:
    spec: TableSpec = silver_spec(registry.dataset("lane_minute"))
    assert spec.required == ("detector_id", "lane_no", "observed_at")
    assert bronze_spec(registry.dataset("lane_minute")).required == ()
    assert "asset_id" in bronze_spec(registry.dataset("road_asset")).required
