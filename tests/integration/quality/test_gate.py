"""The gate on the real Spark Connect server: what must pass passes, every broken rule is caught and named."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pytest
from catalogue import city

from pipelines.contracts.targets.great_expectations import suite
from pipelines.quality import report, store
from pipelines.quality.checks import Checker
from pipelines.quality.gate import judge
from pipelines.runtime import spark as runtime_spark

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def checker():
    return Checker()


def test_valid_rows_of_every_contract_pass(settings, registry, rows, write, manifest, spark):
    versions = {}
    for dataset in registry.datasets:
        versions[f"{dataset.layer}.{dataset.id}"] = write(dataset.id, rows.valid_rows(dataset, registry, 4))
    run = manifest("r-valid", versions)
    for layer in ("silver", "gold"):
        verdicts = judge(settings, registry, run, layer, spark=spark)
        assert {v.dataset for v in verdicts} == {d.id for d in registry.datasets if d.layer == layer}
        assert [v.sentence for v in verdicts if v.verdict != "passed" or v.warned_rules] == []
        assert {v.row_count for v in verdicts} == {4}
        print(layer, {v.dataset: round(v.duration_s, 2) for v in verdicts})
    again = judge(settings, registry, run, "silver", spark=None)
    assert again == tuple(v for v in judge(settings, registry, run, "silver"))
    assert len(store.verdicts(settings, [("run_id", "=", "r-valid")])) == len(registry.datasets)


RULED = ("river_stage", "lane_flow_1min", "feedback_ticket", "kpi_feedback_month", "alert_cap", "land_parcel", "zoning")
"""Every kind of row rule, and several of one kind on the same columns."""


@pytest.mark.parametrize("dataset_id", RULED)
def test_every_broken_row_rule_is_caught_and_sampled(dataset_id, rows, spark, checker):
    registry = city()
    dataset = registry.dataset(dataset_id)
    wanted = suite(dataset, registry)
    count = len(wanted.expectations) + 2
    found = rows.valid_rows(dataset, registry, count)
    row_rules = [item.rule for item in wanted.expectations if item.breaks is not None]
    # One row breaks one rule; the last one repeats the key of an untouched row before it.
    for index, rule in enumerate(row_rules):
        at = count - 1 if rule == "key.unique" else index
        found = rows.break_rule(dataset, rule, found, at)
    frame = spark.createDataFrame(pa.Table.from_pylist(found, schema=rows.table_schema(dataset)))
    results = {result.rule: result for result in checker.check(dataset, wanted, frame)}
    # One missing value among many may be within what a completeness rule allows.
    kept = [r.rule for r in results.values() if r.success and not r.rule.endswith(".completeness")]
    assert kept == ["row_count", "columns"]
    assert [r.rule for r in results.values() if r.problem] == []
    for rule in row_rules:
        assert (results[rule].broken_count or 0) >= 1, rule
        if not results[rule].success:
            assert set(json.loads(results[rule].sample_keys[0])) <= set(dataset.key), rule


@pytest.fixture
def interpreted(spark):
    with runtime_spark.interpreted(spark) as session:
        yield session


def test_every_rule_of_the_whole_catalogue_sees_what_breaks_it(rows, interpreted, checker):
    """One row breaks one row rule. Rules of the table are changed instead, so that its rows no longer keep them."""
    registry = city()
    unseen = {}
    for dataset in registry.datasets:
        wanted = suite(dataset, registry)
        count = len(wanted.expectations) + 2
        found = rows.valid_rows(dataset, registry, count, is_repeated=True)
        # A share is broken by every row, so before a row breaks anything else.
        for index, item in sorted(
            enumerate(wanted.expectations), key=lambda pair: not pair[1].rule.startswith("share.")
        ):
            at = count - 1 if item.rule == "key.unique" else index
            found = rows.break_rule(dataset, item.rule, found, at) or found
        changed = tuple(rows.change_rule(item, count) for item in wanted.expectations)
        frame = interpreted.createDataFrame(pa.Table.from_pylist(found, schema=rows.table_schema(dataset)))
        verdicts = checker.verdicts(replace(wanted, expectations=changed), frame)
        kept = {rule: problem for rule, (holds, problem) in verdicts.items() if holds or problem}
        if kept:
            unseen[dataset.id] = kept
    assert unseen == {}


def test_missing_column_fails_instead_of_passing(settings, registry, rows, write, manifest, spark):
    dataset = registry.dataset("road_asset")
    schema = rows.table_schema(dataset)
    without = schema.remove(schema.get_field_index("ward_code"))
    found = [{k: v for k, v in row.items() if k != "ward_code"} for row in rows.valid_rows(dataset, registry)]
    version = write("road_asset", found, without)
    (verdict,) = [
        v
        for v in judge(settings, registry, manifest("r-col", {"silver.road_asset": version}), "silver", spark=spark)
        if v.dataset == "road_asset"
    ]
    assert verdict.verdict == "failed"
    assert set(verdict.failed_rules) == {"columns", "ward_code.required", "ward_code.code_list"}
    results = store.read(settings, "result", [("run_id", "=", "r-col")])
    problem = next(r["problem"] for r in results if r["rule"] == "ward_code.required")
    assert "ward_code" in problem


def test_empty_table_fails_and_missing_table_is_missing(settings, registry, rows, write, manifest, spark):
    version = write("rain_gauge", [])
    run = manifest("r-empty", {"silver.rain_gauge": version})
    verdicts = {v.dataset: v for v in judge(settings, registry, run, "silver", spark=spark)}
    assert (verdicts["rain_gauge"].verdict, verdicts["rain_gauge"].failed_rules) == ("failed", ("row_count",))
    assert verdicts["river_stage"].verdict == "missing"
    assert verdicts["river_stage"].version is None


def test_version_of_the_manifest_is_judged_not_the_newest(settings, registry, rows, write, manifest, spark):
    dataset = registry.dataset("river_stage")
    good = write("river_stage", rows.valid_rows(dataset, registry, 3))
    write("river_stage", [])
    run = manifest("r-pin", {"silver.river_stage": good})
    verdicts = {v.dataset: v for v in judge(settings, registry, run, "silver", domain="flood", spark=spark)}
    assert (verdicts["river_stage"].verdict, verdicts["river_stage"].row_count) == ("passed", 3)


def test_waiver_counts_while_it_lasts_and_verdicts_are_reused(settings, registry, rows, write, manifest, spark):
    dataset = registry.dataset("med_price")
    version = write("med_price", rows.break_rule(dataset, "price_vnd.required", rows.valid_rows(dataset, registry)))
    versions = {"silver.med_price": version}

    def verdict(run_id, spark=None):
        found = judge(settings, registry, manifest(run_id, versions), "silver", domain="health", spark=spark)
        return next(v for v in found if v.dataset == "med_price")

    assert verdict("w-1", spark).verdict == "failed"
    until = datetime.now(UTC).date()
    store.waive(settings, dataset="med_price", rule="price_vnd.required", reason="mùa lũ", until=until, by="A")
    # No engine is given from here on: the same version and suite are not read again.
    waived = verdict("w-2")
    assert (waived.verdict, waived.waived_rules, waived.reused_from) == ("waived", ("price_vnd.required",), "w-1")
    assert verdict("w-1").verdict == "waived"
    assert store.last_good(settings, "med_price") == version
    entry = next(e for e in report.entries(settings, run_id="w-2") if e.verdict.dataset == "med_price")
    assert [row["rule"] for row in entry.broken] == ["price_vnd.required"]


def test_expired_waiver_does_not_count(settings, registry, rows, write, manifest, spark):
    dataset = registry.dataset("reservoir_op")
    version = write("reservoir_op", rows.break_rule(dataset, "level_m.required", rows.valid_rows(dataset, registry)))
    past = datetime.now(UTC) - timedelta(days=3)
    store.waive(
        settings, dataset="reservoir_op", rule="level_m.required", reason="x", until=past.date(), by="A", now=past
    )
    run = manifest("w-old", {"silver.reservoir_op": version})
    found = {v.dataset: v for v in judge(settings, registry, run, "silver", domain="flood", spark=spark)}
    assert found["reservoir_op"].verdict == "failed"
    assert date.today() > past.date()


def test_personal_values_never_reach_the_results(settings, registry, rows, write, manifest, spark):
    dataset = registry.dataset("feedback_ticket")
    found = rows.valid_rows(dataset, registry)
    secret = "Nguyễn Văn A ở số 5 phố Lê Lợi"
    found[0] |= {"content_text": secret, "phone_token": "tok-secret", "ward_code": "không có"}
    version = write("feedback_ticket", found)
    run = manifest("r-personal", {"silver.feedback_ticket": version})
    verdicts = judge(settings, registry, run, "silver", domain="services", spark=spark)
    assert verdicts[0].failed_rules == ("ward_code.code_list",)
    stored = json.dumps(
        store.read(settings, "result", [("run_id", "=", "r-personal")]), default=str, ensure_ascii=False
    )
    assert "ticket_id-0" in stored
    assert secret not in stored and "tok-secret" not in stored
