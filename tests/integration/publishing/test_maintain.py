"""Maintenance of aged tables: no pin dies, and what one would do without the rules does kill one."""

import json
import os
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from pipelines.landing.lease import lease
from pipelines.publishing import ledger
from pipelines.publishing.ledger import Publication
from pipelines.publishing.maintain import DeadPin, check_pins, maintain, needed_versions
from pipelines.publishing.publication import pinned, publish
from pipelines.publishing.registration import Platform, ensure_serving
from pipelines.quality.model import Verdict
from pipelines.runtime.errors import LakeError
from pipelines.serving.trino import Client
from pipelines.warehouse.dbt import GOLD_LEASE
from pipelines.warehouse.manifest import RunManifest

PAST = timedelta(days=100)


def verdict(layer, dataset, version, run_id):
    return Verdict(
        run_id, layer, dataset, version, "passed", (), (), (), None, "", "1.0.0", None, datetime.now(UTC), 0.0
    )  # fmt: skip


@pytest.fixture
def pin(settings, registry):
    """Publish a version, its verdict given."""

    def go(layer, dataset, version):
        run_id = f"m-{layer}-{dataset}-{version}"
        manifest = RunManifest(run_id, settings.namespace, "2025-09-01T00:00:00+00:00", {})
        publish(settings, registry, manifest, [verdict(layer, dataset, version, run_id)], "A", "test")

    return go


def age(path, by=PAST):
    """Make every file and every entry of the log look older, as if nothing had happened since."""
    milliseconds = int(by.total_seconds() * 1000)
    for entry in sorted((path / "_delta_log").glob("*.json")):
        actions = [json.loads(line) for line in entry.read_text().splitlines()]
        for action in actions:
            for kind, field in (
                ("commitInfo", "timestamp"),
                ("add", "modificationTime"),
                ("remove", "deletionTimestamp"),
            ):
                if kind in action and action[kind].get(field):
                    action[kind][field] -= milliseconds
            if "inCommitTimestamp" in action.get("commitInfo", {}):
                action["commitInfo"]["inCommitTimestamp"] -= milliseconds
        entry.write_text("\n".join(json.dumps(action, separators=(",", ":")) for action in actions) + "\n")
    for file in path.rglob("*"):
        if file.is_file():
            then = file.stat().st_mtime - by.total_seconds()
            os.utime(file, (then, then))
    # Checksums of files and of versions speak of what the entries said before.
    for crc in (path / "_delta_log").rglob("*.crc"):
        crc.unlink()


def read(settings, table):
    with Client(settings, "analyst") as client:
        return client.query(f"SELECT count(*), checksum(station_id) FROM published.{table}")[0][0]


def age_publications(settings):
    """Rewrite the records as if the pins had moved long ago, so that the grace for rollbacks is over."""
    records = ledger.publications(settings)
    shutil.rmtree(settings.table_path("catalog", "publication"))
    ledger.record(settings, [replace(r, published_at=r.published_at - PAST) for r in records])


def test_aged_silver_is_cleaned_and_every_pin_lives(settings, registry, rows, write, pin):
    dataset = registry.dataset("river_stage")
    found = rows.valid_rows(dataset, registry, 40)
    versions = [write("river_stage", found[:1])]
    versions += [write("river_stage", found[n : n + 1], "append") for n in range(1, 12)]
    pin("silver", "river_stage", versions[3])
    pin("silver", "river_stage", versions[6])
    # Everything is replaced: the pinned version's files live on for the pin alone.
    last = write("river_stage", found[:30])
    path = settings.table_path("silver", "river_stage")
    age(path)
    age_publications(settings)
    files = set(path.rglob("*.parquet"))

    planned = maintain(settings, registry, dry_run=True)
    assert set(path.rglob("*.parquet")) == files
    report = maintain(settings, registry)
    mine = next(t for t in report.tables if t.table == "silver.river_stage")
    assert mine.kept_versions == (versions[3], versions[6])
    assert mine.removed_log_entries == versions[3] > 0
    assert mine.removed_files == 12 - 7
    promised = next(t for t in planned.tables if t.table == "silver.river_stage")
    assert replace(promised, table=mine.table) == mine
    assert f"published.river_stage@{versions[6]}" in report.checked_pins
    assert f"silver.river_stage@{versions[3]}" in report.checked_pins
    assert read(settings, "river_stage") == 7
    assert DeltaTable(str(path)).version() == last, "maintenance made another version of a table that nobody changed"
    entries = {e.name for e in (path / "_delta_log").glob("*.json")}
    assert f"{versions[3] - 1:020d}.json" not in entries and f"{versions[3] + 1:020d}.json" in entries
    again = maintain(settings, registry)
    assert next(t for t in again.tables if t.table == "silver.river_stage").removed_files == 0


def test_many_small_files_are_compacted_and_an_old_pin_stays(settings, registry, rows, write, pin):
    dataset = registry.dataset("rain_gauge")
    found = rows.valid_rows(dataset, registry, 30)
    write("rain_gauge", found[:1])
    for n in range(1, 12):
        newest = write("rain_gauge", found[n : n + 1], "append")
    pin("silver", "rain_gauge", newest)
    path = settings.table_path("silver", "rain_gauge")
    size = sum(file.stat().st_size for file in path.rglob("part-*.parquet"))
    planned = maintain(settings, registry, dry_run=True)
    assert DeltaTable(str(path)).version() == newest and len(DeltaTable(str(path)).file_uris()) == 12
    report = maintain(settings, registry)
    mine = next(t for t in report.tables if t.table == "silver.rain_gauge")
    assert mine.compacted_files == 12 and mine.rewritten_bytes == size
    assert mine == next(t for t in planned.tables if t.table == "silver.rain_gauge")
    assert len(DeltaTable(str(path)).file_uris()) == 1
    assert read(settings, "rain_gauge") == 12


@pytest.fixture(scope="module")
def spark(lake_services):
    from pyspark.sql import SparkSession

    return SparkSession.builder.remote(lake_services.need("spark").spark_remote).getOrCreate()


def test_aged_gold_of_spark_is_vacuumed_and_the_pin_lives(settings, registry, rows, pin, spark):
    dataset = registry.dataset("dim_station")
    final = settings.table_path("gold", "dim_station")
    path = final.with_name("_first")

    def build(count, mode="overwrite"):
        table = pa.Table.from_pylist(rows.valid_rows(dataset, registry, count), schema=rows.table_schema(dataset))
        spark.createDataFrame(table).write.format("delta").mode(mode).save(str(path))
        return DeltaTable(str(path)).version()

    def moved(folder):
        # Spark remembers the log of a folder; entries that the test has aged must be new to it.
        shutil.copytree(path, folder)
        shutil.rmtree(path)
        return folder

    build(2)
    build(3)
    # The pinned version shares a file that is older than its own commit.
    build(1)
    age(path, timedelta(days=40))
    path = moved(path.with_name("_second"))
    shared = build(4, "append")
    build(6)
    age(path, timedelta(days=30))
    path = moved(final)
    pin("gold", "dim_station", shared)
    newest = build(7)
    age_publications(settings)
    kept = {u for v in (shared, newest) for u in DeltaTable(str(final), version=v).file_uris()}
    report = maintain(settings, registry)
    assert f"published.dim_station@{shared}" in report.checked_pins
    assert read(settings, "dim_station") == 5
    assert DeltaTable(str(path)).version() == newest
    mine = next(t for t in report.tables if t.table == "gold.dim_station")
    assert mine.removed_log_entries > 0 and mine.removed_files > 0
    # What nobody needs is gone, what Spark wrote just now or a pin needs is there.
    left = {f"file://{f}" for f in path.glob("*.parquet")} | {str(f) for f in path.glob("*.parquet")}
    assert kept <= left
    assert build(2) == newest + 1, "Spark goes on from the cleaned log"
    assert read(settings, "dim_station") == 5


def test_gold_of_many_small_files_is_compacted_by_spark_and_not_while_dbt_builds(settings, registry, rows, spark):
    dataset = registry.dataset("dim_station")
    path = settings.table_path("gold", "dim_station_small")
    table = pa.Table.from_pylist(rows.valid_rows(dataset, registry, 1), schema=rows.table_schema(dataset))
    for _ in range(12):
        spark.createDataFrame(table).coalesce(1).write.format("delta").mode("append").save(str(path))
    before = DeltaTable(str(path)).version()
    with lease(settings, GOLD_LEASE):
        report = maintain(settings, registry)
    mine = next(t for t in report.tables if t.table == "gold.dim_station_small")
    assert mine.compacted_files == 0 and "dbt is building" in mine.note
    planned = next(t for t in maintain(settings, registry, dry_run=True).tables if t.table == mine.table)
    done = next(t for t in maintain(settings, registry).tables if t.table == mine.table)
    assert done.compacted_files == planned.compacted_files == 12
    after = DeltaTable(str(path))
    assert len(after.file_uris()) == 1 and after.version() == before + 1 and after.count() == 12
    assert after.history(1)[0]["operation"] == "OPTIMIZE" and "Spark" in after.history(1)[0]["engineInfo"]
    shutil.rmtree(path)


def test_cleaning_without_the_rules_kills_pins_and_is_found_out(settings, registry, rows, write, pin):
    """The counter-test: what `maintain` prevents does happen."""
    dataset = registry.dataset("reservoir_op")
    found = rows.valid_rows(dataset, registry, 40)
    path = settings.table_path("silver", "reservoir_op")
    versions = [write("reservoir_op", found[:1])]
    versions += [write("reservoir_op", found[n : n + 1], "append") for n in range(1, 8)]
    pin("silver", "reservoir_op", versions[4])
    write("reservoir_op", found[:20])
    age(path)
    safe = path.with_name("kept_copy")
    shutil.copytree(path, safe)
    platform = Platform(settings)
    needed = {("silver", "reservoir_op"): frozenset({versions[4]})}
    assert check_pins(settings, platform, needed)

    def restore():
        shutil.rmtree(path)
        shutil.copytree(safe, path)

    # 1. A vacuum by age.
    DeltaTable(str(path)).vacuum(retention_hours=168, dry_run=False, full=True)
    with pytest.raises(DeadPin, match=r"published\.reservoir_op@4"):
        check_pins(settings, platform, needed)
    restore()
    assert check_pins(settings, platform, needed)
    # 2. The library's own clean-up of the log, after a newer checkpoint.
    table = DeltaTable(str(path))
    table.create_checkpoint()
    age(path)
    DeltaTable(str(path)).cleanup_metadata()
    assert not (path / "_delta_log" / f"{versions[4]:020d}.checkpoint.parquet").exists()
    with pytest.raises(DeadPin, match=r"published\.reservoir_op@4"):
        check_pins(settings, platform, needed)
    restore()
    # 3. Maintenance on the very same state.
    age_publications(settings)
    maintain(settings, registry)
    assert check_pins(settings, platform, needed)
    shutil.rmtree(safe)
    ensure_serving(settings, registry)


def test_versions_of_open_plans_and_recent_runs_stay(settings, registry, rows, write, pin):
    dataset = registry.dataset("river_stage")
    wanted = write("river_stage", rows.valid_rows(dataset, registry, 3))
    plan = Publication(
        "river_stage", "silver", wanted, None, "planned", "publish", "passed", "r", "", "A",
        datetime.now(UTC) - timedelta(days=400),
    )  # fmt: skip
    ledger.record(settings, [plan])
    run = settings.lake_root / settings.namespace / "_runs" / "recent"
    run.mkdir(parents=True)
    manifest = RunManifest("recent", settings.namespace, datetime.now(UTC).isoformat(), {"silver.rain_gauge": 2})
    (run / "manifest.json").write_text(manifest.to_json())
    platform = Platform(settings)
    needed = needed_versions(settings, platform, registry, datetime.now(UTC))
    assert 2 in needed[("silver", "rain_gauge")]
    assert pinned(platform)["river_stage"] in needed[("silver", "river_stage")]


def test_a_pin_cannot_move_while_maintenance_works(settings):
    from filelock import FileLock, Timeout

    with ledger.lock(settings):
        other = FileLock(ledger.lock(settings).lock_file, timeout=0.1)
        with pytest.raises(Timeout):
            other.acquire()


def test_a_dead_pin_fails_loudly(settings, registry, rows, write, pin):
    dataset = registry.dataset("river_stage")
    version = write("river_stage", rows.valid_rows(dataset, registry, 5))
    pin("silver", "river_stage", version)
    path = settings.table_path("silver", "river_stage")
    for uri in DeltaTable(str(path), version=version).file_uris():
        os.unlink(uri.removeprefix("file://"))
    with pytest.raises(LakeError, match="không đọc được nữa"):
        maintain(settings, registry)
