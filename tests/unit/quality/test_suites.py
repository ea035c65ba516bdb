"""Suites: equal to the committed files, complete, and every row rule catches a row that breaks it (on DuckDB)."""

import importlib.util
import json
import sys
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from pipelines.contracts.errors import Untranslatable
from pipelines.contracts.model import RULE_KINDS, Comparison, Completeness
from pipelines.contracts.registry import load_registry
from pipelines.contracts.support import Native
from pipelines.contracts.targets import great_expectations as target

HOME = Path(__file__).resolve().parents[3]
REGISTRY = load_registry(HOME / "schemas")
IDS = [dataset.id for dataset in REGISTRY.datasets]


def _rows():
    spec = importlib.util.spec_from_file_location("lake_contract_rows", HOME / "tests/integration/quality/rows.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


ROWS = _rows()


def test_committed_suites_are_those_of_the_contracts():
    folder = HOME / "expectations"
    committed = {str(path.relative_to(HOME)): path.read_text("utf-8") for path in sorted(folder.rglob("*.json"))}
    assert committed == target.render(REGISTRY), "expectations/ is out of date: build the contracts again"
    assert len(committed) == len(IDS) > 10


@pytest.mark.parametrize("dataset_id", IDS)
def test_row_count_stands_first_and_rules_are_named_once(dataset_id):
    found = target.suite(REGISTRY.dataset(dataset_id), REGISTRY)
    rules = [item.rule for item in found.expectations]
    assert rules[:2] == ["row_count", "columns"]
    assert len(set(rules)) == len(rules)
    assert "key.unique" in rules


def test_every_rule_kind_is_native_elsewhere_or_refused():
    kinds = {kind.model_fields["rule"].annotation.__args__[0] for kind in RULE_KINDS}
    assert kinds <= set(target.SUPPORT)
    assert all(isinstance(target.SUPPORT[kind], Native) for kind in kinds)


@pytest.mark.parametrize("dataset_id", IDS)
def test_each_row_rule_holds_on_valid_rows_and_catches_a_broken_one(dataset_id):
    dataset = REGISTRY.dataset(dataset_id)
    valid = ROWS.valid_rows(dataset, REGISTRY, 4)
    schema = ROWS.table_schema(dataset)
    caught = 0
    for item in target.suite(dataset, REGISTRY).expectations:
        if item.breaks is None:
            continue
        assert _broken(valid, schema, item.breaks) == 0, item.rule
        mutated = ROWS.break_rule(dataset, item.rule, valid, 1)
        assert _broken(mutated, schema, item.breaks) >= 1, item.rule
        caught += 1
    assert caught >= 2


def _broken(rows, schema, predicate):
    table = pa.Table.from_pylist(rows, schema=schema)
    connection = duckdb.connect()
    connection.register("found", table)
    quoted = predicate.replace("`", '"')
    return connection.sql(f"SELECT count(*) FROM (SELECT ({quoted}) AS b FROM found) WHERE b").fetchone()[0]


def test_stream_ranges_are_flags_and_ranges_of_windows_are_warnings():
    stream = {i.rule: i for i in target.suite(REGISTRY.dataset("river_stage"), REGISTRY).expectations}
    assert "stage_m.range" not in stream
    assert stream["qc_flag.code_list"].kwargs["value_set"] == [1, 2, 3, 4, 9]
    window = {i.rule: i for i in target.suite(REGISTRY.dataset("lane_flow_1min"), REGISTRY).expectations}
    assert window["vehicle_count.range"].severity == "warning"
    sector = {i.rule: i for i in target.suite(REGISTRY.dataset("med_price"), REGISTRY).expectations}
    assert sector["price_vnd.range"].severity == "error"


def _with(dataset_id, **changes):
    return REGISTRY.dataset(dataset_id).model_copy(update=changes)


def test_a_rule_that_cannot_be_expressed_is_refused_by_name():
    rule = Completeness(rule="completeness", field="nothing", minimum_pct="95")
    with pytest.raises(Untranslatable, match=r"river_stage: great_expectations cannot express nothing.completeness"):
        target.suite(_with("river_stage", quality=(rule,)), REGISTRY)
    rule = Comparison(rule="comparison", left="stage_m", operator="<", right="nothing")
    with pytest.raises(Untranslatable, match="the table has no column nothing"):
        target.suite(_with("river_stage", quality=(rule,)), REGISTRY)
    fields = tuple(
        f.model_copy(update={"code_list": "wards"}) if f.name == "stage_m" else f
        for f in REGISTRY.dataset("river_stage").fields
    )
    with pytest.raises(Untranslatable, match=r"stage_m.code_list: codes are text or whole numbers"):
        target.suite(_with("river_stage", fields=fields), REGISTRY)


def test_completeness_says_its_share():
    rule = Completeness(rule="completeness", field="fps", minimum_pct="95")
    found = {i.rule: i for i in target.suite(_with("camera_health", quality=(rule,)), REGISTRY).expectations}
    assert found["fps.completeness"].kwargs == {"column": "fps", "mostly": 0.95}


def test_the_hash_follows_what_is_checked_not_how_it_is_named():
    one = target.suite(REGISTRY.dataset("river_stage"), REGISTRY)
    same = target.suite(_with("river_stage", version="1.0.1"), REGISTRY)
    other = target.suite(_with("river_stage", quality=()), REGISTRY)
    assert one.sha256 == same.sha256
    assert one.sha256 != other.sha256


def test_files_are_readable_json_with_vietnamese_sentences():
    text = target.render(REGISTRY)["expectations/services/feedback_ticket.json"]
    assert "Mỗi khoá một dòng: ticket_id" in text
    assert json.loads(text)["expectations"][0]["meta"]["rule"] == "row_count"
