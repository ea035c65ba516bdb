"""From a verdict of the real gate to what people read in the real Trino, and back."""

import subprocess
import sys
from dataclasses import replace

import pytest

from pipelines.publishing import ledger
from pipelines.publishing.publication import pinned, publications, publish, rollback, verdicts_of
from pipelines.publishing.registration import ensure_serving
from pipelines.quality.gate import judge
from pipelines.runtime.errors import LakeError
from pipelines.serving.trino import Client, QueryError
from pipelines.warehouse.manifest import RunManifest


@pytest.fixture(scope="module")
def spark(lake_services):
    from pyspark.sql import SparkSession

    return SparkSession.builder.remote(lake_services.need("spark").spark_remote).getOrCreate()


@pytest.fixture
def run(settings, registry, spark):
    """Judge versions of silver tables of one domain and publish them, as the tasks of a run do."""

    def go(run_id, versions, domain="flood", **options):
        manifest = RunManifest(run_id, settings.namespace, "2025-11-04T00:00:00+00:00", versions)
        judge(settings, registry, manifest, "silver", domain=domain, spark=spark)
        verdicts = verdicts_of(settings, run_id)
        moves = publish(settings, registry, manifest, verdicts, by="airflow", reason="run", **options)
        return {move.dataset: move for move in moves}

    return go


def count(settings, table="published.river_stage", user="analyst"):
    with Client(settings, user) as client:
        return client.query(f"SELECT count(*) FROM {table}")[0][0]


def test_good_versions_are_published_and_bad_ones_keep_the_pin(settings, registry, rows, write, run, platform):
    dataset = registry.dataset("river_stage")
    first = write("river_stage", rows.valid_rows(dataset, registry, 6))
    write("river_stage", rows.valid_rows(dataset, registry, 9))
    moves = run("p1", {"silver.river_stage": first})
    assert (moves["river_stage"].outcome, moves["river_stage"].version) == ("published", first)
    print({name: round(move.duration_ms) for name, move in moves.items() if move.outcome == "published"})
    assert moves["rain_gauge"].outcome == "missing"
    # The pin is the version that was judged, not the newest; live is the newest, labelled.
    assert count(settings) == 6
    assert count(settings, "live.river_stage") == 9
    with Client(settings, "analyst") as client:
        assert client.query("SELECT DISTINCT data_label FROM live.river_stage") == [["live"]]

    bad = write("river_stage", rows.break_rule(dataset, "stage_m.required", rows.valid_rows(dataset, registry, 7)))
    moves = run("p2", {"silver.river_stage": bad})
    assert (moves["river_stage"].outcome, moves["river_stage"].version) == ("kept", first)
    assert moves["river_stage"].sentence == (
        f"river_stage: bản {bad} không đạt (stage_m.required); giữ bản {first} đang công bố."
    )
    assert count(settings) == 6

    good = write("river_stage", rows.valid_rows(dataset, registry, 8))
    assert run("p3", {"silver.river_stage": good})["river_stage"].outcome == "published"
    assert count(settings) == 8
    records = len(publications(settings))
    again = run("p3", {"silver.river_stage": good})["river_stage"]
    assert (again.outcome, len(publications(settings))) == ("unchanged", records)
    # An older run that is repeated moves nothing back.
    assert run("p1", {"silver.river_stage": first})["river_stage"].outcome == "kept"

    move = rollback(settings, registry, "river_stage", first, by="Steward", reason="sai số")
    assert (move.version, count(settings)) == (first, 6)
    assert rollback(settings, registry, "river_stage", first, by="S", reason="x").outcome == "unchanged"
    kept = run("p3", {"silver.river_stage": good})["river_stage"]
    assert (kept.outcome, count(settings)) == ("kept", 6)
    assert "Steward" in kept.sentence
    with pytest.raises(LakeError, match="chưa từng được công bố"):
        rollback(settings, registry, "river_stage", bad, by="S", reason="x")
    newer = write("river_stage", rows.valid_rows(dataset, registry, 10))
    assert run("p4", {"silver.river_stage": newer})["river_stage"].version == newer
    assert count(settings) == 10


class Crash(Exception):
    """The process ends here."""


STEPS = ("checkpointed", "planned", "viewed", "recorded")


@pytest.mark.parametrize("step", STEPS)
def test_a_crash_between_any_two_steps_is_finished_by_the_next_call(
    step, settings, registry, rows, write, run, platform
):
    dataset = registry.dataset("rain_gauge")
    old = write("rain_gauge", rows.valid_rows(dataset, registry, 3))
    run(f"c-{step}-0", {"silver.rain_gauge": old})
    new = write("rain_gauge", rows.valid_rows(dataset, registry, 5))

    def crash(done):
        if done.startswith(step):
            raise Crash

    with pytest.raises(Crash):
        run(f"c-{step}-1", {"silver.rain_gauge": new}, on_step=crash)
    # Whatever the crash left: what people read is one of both versions, whole, and protected.
    pin = pinned(platform)["rain_gauge"]
    assert pin == (new if step in {"viewed", "recorded"} else old)
    assert count(settings, "published.rain_gauge") == {old: 3, new: 5}[pin]
    records = ledger.publications(settings)
    needed = ledger.needed_versions(records, records[-1].published_at)[("silver", "rain_gauge")]
    assert {pin} <= needed
    if step != "checkpointed":
        assert new in needed
    run(f"c-{step}-1", {"silver.rain_gauge": new})
    assert pinned(platform)["rain_gauge"] == new
    done = [r for r in publications(settings) if r.run_id == f"c-{step}-1" and r.state == "published"]
    assert [(r.version, r.previous_version) for r in done] == [(new, old)]
    assert ledger.open_plans(ledger.publications(settings)) == ()


def test_verdicts_of_another_run_are_refused(settings, registry, run):
    manifest = RunManifest("x2", settings.namespace, "2025-11-04T00:00:00+00:00", {})
    judge(settings, registry, replace(manifest, run_id="x1"), "silver", domain="health")
    with pytest.raises(LakeError, match="x1"):
        publish(settings, registry, manifest, verdicts_of(settings, "x1"), "A", "r")


def test_people_read_published_and_live_and_nothing_else(settings, registry, rows, write, run, platform):
    ticket = registry.dataset("feedback_ticket")
    version = write("feedback_ticket", rows.valid_rows(ticket, registry, 4))
    run("a1", {"silver.feedback_ticket": version}, domain="services")
    event = registry.dataset("violation_event")
    run("a2", {"silver.violation_event": write("violation_event", rows.valid_rows(event, registry))}, domain="camera")
    ensure_serving(settings, registry)
    with Client(settings, "analyst") as client:
        columns = [row[0] for row in client.query("SHOW COLUMNS FROM published.feedback_ticket")]
        assert "ticket_id" in columns
        assert not {"content_text", "reporter_token", "phone_token", "raw_offset"} & set(columns)
        for table in ("published.violation_event", "live.violation_event"):
            columns = [row[0] for row in client.query(f"SHOW COLUMNS FROM {table}")]
            assert not {"plate_token", "evidence_uri"} & set(columns)
        assert client.query("SELECT count(*) FROM live.quality_verdict")[0][0] > 0
        refused = [
            "SELECT * FROM silver.feedback_ticket",
            "SELECT * FROM quality.verdict",
            "SELECT * FROM catalog.publication",
            "CREATE TABLE published.mine (a integer)",
            "DROP VIEW published.feedback_ticket",
            "CREATE OR REPLACE VIEW published.feedback_ticket AS SELECT 1 AS a",
            f"CALL {settings.catalog}.system.unregister_table('silver', 'feedback_ticket')",
            'SELECT * FROM silver."feedback_ticket$history"',
            "SELECT content_text FROM published.feedback_ticket",
        ]
        for statement in refused:
            with pytest.raises(QueryError) as error:
                client.query(statement)
            assert error.value.name in {"PERMISSION_DENIED", "COLUMN_NOT_FOUND", "NOT_SUPPORTED"}, statement


def test_a_field_that_becomes_personal_leaves_the_view_at_once(settings, registry, rows, write, run, platform):
    dataset = registry.dataset("reservoir_op")
    version = write("reservoir_op", rows.valid_rows(dataset, registry, 4))
    run("w1", {"silver.reservoir_op": version})
    fields = tuple(
        f.model_copy(update={"classification": "personal"}) if f.name == "inflow_m3s" else f for f in dataset.fields
    )
    narrowed = replace(
        registry,
        datasets=tuple(d.model_copy(update={"fields": fields}) if d is dataset else d for d in registry.datasets),
    )
    publish(settings, narrowed, RunManifest("w2", settings.namespace, "2025-11-04T00:00:00+00:00", {}), (), "A", "r")
    with Client(settings, "analyst") as client:
        columns = [row[0] for row in client.query("SHOW COLUMNS FROM published.reservoir_op")]
    assert "inflow_m3s" not in columns and "outflow_m3s" in columns
    assert pinned(platform)["reservoir_op"] == version


def test_a_dataset_of_which_nothing_may_be_shown_has_no_views_and_stops_nobody(
    settings, registry, rows, write, run, platform
):
    dataset = registry.dataset("reservoir_op")
    version = write("reservoir_op", rows.valid_rows(dataset, registry, 4))
    run("n1", {"silver.reservoir_op": version})
    closed = dataset.model_copy(
        update={"fields": tuple(f.model_copy(update={"classification": "sensitive"}) for f in dataset.fields)}
    )
    narrowed = replace(registry, datasets=tuple(closed if d is dataset else d for d in registry.datasets))
    newer = write("reservoir_op", rows.valid_rows(dataset, registry, 5))
    manifest = RunManifest("n2", settings.namespace, "2025-11-04T00:00:00+00:00", {"silver.reservoir_op": newer})
    verdicts = judge(settings, narrowed, manifest, "silver", domain="flood")
    moves = {move.dataset: move for move in publish(settings, narrowed, manifest, verdicts, "A", "r")}
    assert moves["reservoir_op"].outcome == "kept"
    assert moves["reservoir_op"].sentence == "reservoir_op: không trường nào của bộ dữ liệu được công bố."
    assert "reservoir_op" not in pinned(platform)
    shown = platform.query(f"SHOW TABLES FROM {settings.catalog}.live")
    assert ["reservoir_op"] not in shown
    with pytest.raises(LakeError, match="không trường nào"):
        rollback(settings, narrowed, "reservoir_op", version, by="A", reason="r")


def test_errors_are_one_sentence_with_the_near_names(settings, platform):
    with Client(settings, "analyst") as client:
        with pytest.raises(QueryError, match=r"Near names: .*published\.river_stage"):
            client.query("SELECT * FROM published.river_stages")
        with pytest.raises(QueryError, match=r"Sai cú pháp: line 1:1: mismatched input 'selec'\.?$"):
            client.query("selec 1")
        with pytest.raises(QueryError, match="Không có cột này"):
            client.query("SELECT nothing FROM published.river_stage")
        with pytest.raises(QueryError, match="Không có quyền"):
            client.query("SELECT * FROM silver.river_stage")


def test_lake_sql_prints_all_formats(settings, platform):
    def lake(*arguments):
        command = [sys.executable, "-m", "pipelines.cli", "sql", *arguments]
        import os

        env = {**os.environ, **settings.environment()}
        return subprocess.run(command, capture_output=True, text=True, env=env, cwd=settings.home, check=False)

    query = "SELECT station_id, observed_at FROM river_stage ORDER BY observed_at, station_id LIMIT 1"
    table = lake(query)
    assert table.returncode == 0, table.stderr
    # 25 October 00:00 UTC is 07:00 in Huế.
    assert "2025-10-25 07:00:00" in table.stdout and "(1 dòng)" in table.stdout
    assert "2025-10-25T00:00:00Z" in lake(query, "--format", "csv").stdout
    assert '"observed_at": "2025-10-25T00:00:00Z"' in lake(query, "--format", "json").stdout
    wrong = lake("SELECT * FROM river_stag")
    assert wrong.returncode == 1
    assert "published.river_stage" in wrong.stderr and "Traceback" not in wrong.stderr
