"""Suites: equal to the committed files, complete, and every row rule catches a row that breaks it (on DuckDB)."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from catalogue import city

from pipelines.contracts.errors import Untranslatable
from pipelines.contracts.model import RULE_KINDS, Comparison, Completeness, Pattern, RequiredTogether
from pipelines.contracts.support import Native
from pipelines.contracts.targets import great_expectations as target

HOME = Path(__file__).resolve().parents[3]
REGISTRY = city()
IDS = [dataset.id for dataset in REGISTRY.datasets]


def _rows():
    spec = importlib.util.spec_from_file_location("lake_contract_rows", HOME / "tests/integration/quality/rows.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


ROWS = _rows()
CONNECTION = duckdb.connect()


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
def test_each_rule_holds_on_valid_rows_and_catches_a_broken_one(dataset_id):
    dataset = REGISTRY.dataset(dataset_id)
    schema = ROWS.table_schema(dataset)
    valid = ROWS.valid_rows(dataset, REGISTRY, 4)
    # The first two rules are those of the table itself: how many rows it has, and which columns.
    items = target.suite(dataset, REGISTRY).expectations[2:]
    assert _counts(valid, schema, items) == {item.rule: 0 for item in items}
    for item in items:
        assert _counts(ROWS.break_rule(dataset, item.rule, valid, 1), schema, [item])[item.rule] >= 1, item.rule


def _counts(rows, schema, items):
    """How many rows break each rule, by what the gate and Great Expectations ask of a table, in DuckDB's words."""
    table = pa.Table.from_pylist(rows, schema=schema)
    CONNECTION.register("found", table)
    broken, by_gate, by_query = [], [], []
    for number, item in enumerate(items):
        if item.breaks is not None:
            broken.append(f"({_duckdb(item.breaks)}) AS b{number}")
        by_gate.append("NULL" if item.breaks is None else f"(SELECT count(*) FILTER (WHERE b{number}) FROM broken)")
        by_query.append(_by_library(item))
    head = f"WITH broken AS (SELECT {', '.join(broken)} FROM found) " if broken else ""
    found = CONNECTION.execute(f"{head}SELECT {', '.join([*by_gate, *by_query])}").fetchone()
    counted = {}
    for item, *both in zip(items, found[: len(items)], found[len(items) :], strict=True):
        known = [count for count in both if count is not None]
        # Rows of the query may be groups; either both find something or neither does.
        assert known and len({count > 0 for count in known}) == 1, item.rule
        counted[item.rule] = max(known)
    return counted


def _by_library(item):
    """How much Great Expectations would find: rows of a query, or whether a measure leaves its limits."""
    if item.type == target.MEASURE:
        measure = _duckdb(item.kwargs["measure"])
        outside = [f"m < {item.kwargs['min_value']}"] if "min_value" in item.kwargs else []
        outside += [f"m > {item.kwargs['max_value']}"] if "max_value" in item.kwargs else []
        return f"(SELECT count(*) FROM (SELECT {measure} AS m FROM found) WHERE {' OR '.join(outside)})"
    query = item.kwargs.get("unexpected_rows_query")
    return "NULL" if query is None else f"(SELECT count(*) FROM ({_duckdb(query.format(batch='found'))}))"


def _duckdb(spark):
    """Spark doubles a backslash in a literal, and matches a pattern by an operator where DuckDB calls a function."""
    called = re.sub(
        r"`(\w+)` RLIKE ('(?:[^']|'')*')",
        lambda m: f"regexp_matches(`{m[1]}`, {m[2].replace(chr(92) * 2, chr(92))})",
        spark,
    )
    assert "RLIKE" not in called
    tupled = re.sub(r"DISTINCT struct\(([^)]*)\)", r"DISTINCT row(\1)", called)
    # Several columns are a tuple to DuckDB, and a tuple with a NULL inside is counted: the rule's own rows only.
    return re.sub(r"count_if\((.+?)\) - count\(DISTINCT (`[^)]+)\)", _distinct, tupled).replace("`", '"')


def _distinct(match):
    known, listed = match[1], match[2]
    return f"count_if({known}) - count(DISTINCT ({listed})) FILTER (WHERE {known})"


def test_every_kind_of_rule_stands_in_some_contract():
    used = {rule.rule for dataset in REGISTRY.datasets for rule in dataset.quality}
    assert used == {kind.model_fields["rule"].annotation.__args__[0] for kind in RULE_KINDS}


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


def test_two_rules_about_the_same_are_named_by_what_they_ask_in_any_order():
    rules = (
        RequiredTogether(rule="required_when", field="cap_references", when="cap_msg_type", equals="Update"),
        RequiredTogether(rule="required_when", field="cap_references", when="cap_msg_type", equals="Cancel"),
        Comparison(rule="comparison", left="expires_at", operator=">", right="effective_at"),
    )
    named = target.quality_rules(_with("alert_cap", quality=rules))
    assert list(named) == [
        "required_when.cap_references.cap_msg_type.Update",
        "required_when.cap_references.cap_msg_type.Cancel",
        "comparison.expires_at.effective_at",
    ]
    assert target.quality_rules(_with("alert_cap", quality=rules[::-1])) == named
    first, *_ = target.quality_rules(_with("alert_cap", quality=rules[1:]))
    assert first == "required_when.cap_references.cap_msg_type"
    with pytest.raises(Untranslatable, match=r"expires_at.effective_at.>: the rule stands twice"):
        target.quality_rules(_with("alert_cap", quality=(*rules, rules[2])))


def test_every_kind_of_rule_may_ask_two_things_of_the_same_fields():
    twice = {
        "completeness": [{"field": "a", "minimum_pct": pct} for pct in ("50", "90")],
        "comparison": [{"left": "a", "right": "b", "operator": operator} for operator in ("<", ">=")],
        "required_when": [{"field": "a", "when": "b", "equals": code} for code in ("x", "y")],
        "pattern": [{"field": "a", "pattern": pattern} for pattern in ("x.*", ".*y")],
        "share": [{"field": "a", "values": ["x"], **limit} for limit in ({"minimum_pct": "5"}, {"maximum_pct": "9"})],
        "total": [{"field": "a", "by": by, "equals": "100"} for by in ((), ("b",))],
    }
    kinds = {kind.model_fields["rule"].annotation.__args__[0]: kind for kind in RULE_KINDS}
    # A second `unique` of the same fields, or row count, asks nothing else.
    assert set(twice) == set(kinds) - {"unique", "row_count"}
    rules = [kinds[name](rule=name, **given) for name, both in twice.items() for given in both]
    assert list(target.quality_rules(_with("river_stage", quality=tuple(rules))).values()) == rules


@pytest.mark.parametrize(("value", "broken"), [("A-1'", 0), ("A-12'", 1), ("xA-1'", 1), ("A-1'\n", 1), (None, 0)])
def test_a_pattern_is_a_whole_text_with_its_backslashes_and_quotes(value, broken):
    rule = Pattern(rule="pattern", field="station_id", pattern=r"A-\d'")
    (item,) = [
        i for i in target.suite(_with("river_stage", quality=(rule,)), REGISTRY).expectations if "RLIKE" in str(i)
    ]
    table = pa.schema([pa.field("station_id", pa.string())])
    assert _counts([{"station_id": value}], table, [item]) == {"pattern.station_id": broken}


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
