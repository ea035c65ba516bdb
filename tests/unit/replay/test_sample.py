"""The samples made from the contracts: at any seed and scale within their own contract, and the same everywhere."""

from __future__ import annotations

import operator
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from catalogue import city
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from pipelines.contracts.model import (
    Comparison,
    Completeness,
    Dataset,
    Pattern,
    RequiredTogether,
    RowCount,
    Rule,
    Sample,
    Share,
    Total,
    Unique,
)
from pipelines.contracts.registry import Registry
from pipelines.gateway import normalise
from pipelines.landing.checks import compile_checks
from pipelines.replay.sample import can_be_drawn, draw, draw_all, draw_order
from pipelines.runtime.errors import LakeError

HOME = Path(__file__).resolve().parents[3]
REGISTRY = city()
DRAWN = [d.id for d in REGISTRY.datasets if can_be_drawn(d)]
HOLDS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
RULE: TypeAdapter[Any] = TypeAdapter(Rule)
Rows = list[dict[str, Any]]


def tables(seed: int, scale: float, wanted: list[str] = DRAWN) -> dict[str, pa.Table]:
    return {d.dataset.id: d.table for d in draw_all(REGISTRY, seed, scale, wanted)}


def as_fields(dataset: Dataset, table: pa.Table) -> Rows:
    """The rows by the names of the contract: a clear value stands for its token."""
    return table.rename_columns([f.name for f in dataset.fields]).to_pylist()


def text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def broken_rules(dataset: Dataset, rows: Rows) -> list[str]:
    """The quality rules that the rows do not keep, judged row by row and without the generator's own code."""
    found = []
    for rule in dataset.quality:
        match rule:
            case RowCount():
                holds = len(rows) >= rule.minimum
            case Completeness():
                holds = 100 * sum(r[rule.field] is not None for r in rows) >= rule.minimum_pct * len(rows)
            case Comparison():
                pairs = [(r[rule.left], r[rule.right]) for r in rows]
                holds = all(HOLDS[rule.operator](a, b) for a, b in pairs if a is not None and b is not None)
            case RequiredTogether():
                holds = all(r[rule.field] is not None for r in rows if text(r[rule.when]) == rule.equals)
            case Pattern():
                values = [r[rule.field] for r in rows if r[rule.field] is not None]
                holds = bool(dataset.field(rule.field).tokenise) or all(re.fullmatch(rule.pattern, v) for v in values)
            case Unique():
                keys = [k for r in rows if None not in (k := tuple(r[f] for f in rule.fields))]
                holds = len(set(keys)) == len(keys)
            case Share():
                values = [text(r[rule.field]) for r in rows if r[rule.field] is not None]
                share = 100 * Decimal(sum(v in rule.values for v in values)) / max(1, len(values))
                holds = (rule.minimum_pct or 0) <= share <= (100 if rule.maximum_pct is None else rule.maximum_pct)
                holds = holds or not values
            case Total():
                sums: dict[tuple[Any, ...], Decimal] = defaultdict(Decimal)
                for r in rows:
                    sums[tuple(r[f] for f in rule.by)] += Decimal(str(r[rule.field] or 0))
                holds = all(abs(s - rule.equals) <= rule.tolerance for s in sums.values())
        if not holds:
            found.append(rule.rule)
    return found


def check_contract(dataset: Dataset, table: pa.Table, parents: Mapping[str, pa.Table]) -> None:
    rows = as_fields(dataset, table)
    keys = [tuple(r[k] for k in dataset.key) for r in rows]
    assert len(set(keys)) == len(keys) > 0
    assert broken_rules(dataset, rows) == []
    named = table.rename_columns([f.name for f in dataset.fields]).combine_chunks()
    for check in compile_checks(REGISTRY, dataset):
        # A token's form is checked on the token, which the source does not have.
        if not any(dataset.field(name).tokenise for name in check.fields):
            assert True not in pa.chunked_array(check.failing(named)).to_pylist(), check.reason
    for field in dataset.fields:
        values = [r[field.name] for r in rows if r[field.name] is not None]
        if field.type.is_numeric:
            assert all(field.minimum is None or Decimal(str(v)) >= field.minimum for v in values)
            assert all(field.maximum is None or Decimal(str(v)) <= field.maximum for v in values)
        if field.references and field.references.dataset in parents:
            parent = parents[field.references.dataset].column(field.references.field).to_pylist()
            assert set(values) <= set(parent), field.name
        if field.tokenise:
            assert all(normalise.IDENTIFIERS[field.tokenise.kind](v) for v in values)


@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**40), scale=st.floats(0.001, 0.4))
def test_every_contract_holds_at_any_seed_and_scale(seed: int, scale: float) -> None:
    drawn = tables(seed, scale)
    for dataset_id, table in drawn.items():
        check_contract(REGISTRY.dataset(dataset_id), table, drawn)


def test_every_contract_holds_at_scale_one_with_the_rows_that_it_asks_for() -> None:
    drawn = tables(7, 1.0)
    for dataset_id, table in drawn.items():
        dataset = REGISTRY.dataset(dataset_id)
        check_contract(dataset, table, drawn)
        if dataset.sample:
            assert table.num_rows == dataset.sample.rows, dataset_id


def test_a_running_number_and_a_closed_key_limit_the_rows() -> None:
    wanted = ["facility", "poi", "digital_skill", "maturity_stage"]
    drawn = tables(7, 100.0, wanted)
    assert drawn["facility"].num_rows == 999
    assert drawn["poi"].num_rows == 9999
    for dataset_id in ("digital_skill", "maturity_stage"):
        dataset = REGISTRY.dataset(dataset_id)
        check_contract(dataset, drawn[dataset_id], {})
        assert dataset.sample is not None
        assert drawn[dataset_id].num_rows < 100 * dataset.sample.rows


def test_the_same_seed_is_the_same_table_whatever_else_is_drawn() -> None:
    one, other = tables(7, 0.05), tables(7, 0.05, ["chart", "meter_read"])
    assert all(one[name].equals(table) for name, table in other.items())
    assert not tables(8, 0.05, ["chart"])["chart"].equals(one["chart"])


def test_the_first_values_are_those_of_every_machine() -> None:
    # Written down once: another machine, another order of drawing or a library update must not change them silently.
    row = tables(7, 0.05, ["lighting_cabinet"])["lighting_cabinet"].to_pylist()[0]
    assert row["cabinet_id"] == "TCS-0001"
    assert row["observed_at"] == datetime(2025, 11, 9, tzinfo=UTC)
    assert (row["voltage_v"], row["current_a"], row["energy_kwh"]) == (222.99, 10.618, Decimal("0.589"))
    assert (row["lamp_count"], row["healthy_lamp_count"]) == (38, 36)


def test_parents_come_first_and_their_keys_are_used() -> None:
    order = draw_order(REGISTRY, ["chart", "visit_count"])
    assert order.index("report_registry") < order.index("dashboard") < order.index("chart")
    parents = tables(7, 0.1, ["poi"])
    table = draw(REGISTRY, REGISTRY.dataset("visit_count"), 7, 0.1, parents)
    assert set(table["poi_id"].to_pylist()) <= set(parents["poi"]["poi_id"].to_pylist())


def test_entities_of_a_stream_report_in_turn_at_the_cadence_until_the_end() -> None:
    dataset = REGISTRY.dataset("lighting_cabinet")
    assert dataset.stream is not None
    table = tables(7, 1.0, ["lighting_cabinet"])["lighting_cabinet"]
    times = table["observed_at"].to_pylist()
    assert times == sorted(times)
    assert max(times) == datetime(2025, 11, 10, tzinfo=UTC) - dataset.stream.cadence
    assert Counter(Counter(table["cabinet_id"].to_pylist()).values()) == {96: 20}
    steps = sorted(set(times))
    assert {b - a for a, b in pairwise(steps)} == {timedelta(minutes=15)}
    wards = {(r["cabinet_id"], r["ward_code"]) for r in table.to_pylist()}
    assert len(wards) == 20


def test_a_daily_value_has_its_peak_at_its_hour_in_hue() -> None:
    table = tables(7, 1.0, ["meter_read"])["meter_read"]
    by_hour: dict[int, list[float]] = defaultdict(list)
    for row in table.to_pylist():
        by_hour[(row["observed_at"].hour + 7) % 24].append(float(row["energy_kwh"]))
    means = {hour: sum(v) / len(v) for hour, v in by_hour.items()}
    assert max(means, key=lambda h: means[h]) in {19, 20, 21}


def test_coordinates_lie_in_the_ward_of_the_row() -> None:
    wards = {str(w["ward_code"]): w for w in REGISTRY.code_list("wards").rows}
    for row in tables(7, 1.0, ["school"])["school"].to_pylist():
        ward = wards[row["ward_code"]]
        assert Decimal(ward["min_lon_deg"]) <= row["lon_deg"] <= Decimal(ward["max_lon_deg"])


def test_prices_belong_to_the_facilities_of_the_register() -> None:
    for scale in (0.01, 1.0):
        drawn = tables(7, scale, ["facility", "med_price"])
        known = set(drawn["facility"]["facility_id"].to_pylist())
        assert set(drawn["med_price"]["facility_id"].to_pylist()) <= known


# ── contracts that exist only here ───────────────────────────────────────────────────────────────────────────


def variant(dataset_id: str, *, sample: Mapping[str, Any], quality: list[dict[str, Any]] | None = None) -> Registry:
    """The registry with another sample, and other rules, of one dataset."""
    dataset = REGISTRY.dataset(dataset_id)
    rules = dataset.quality if quality is None else tuple(RULE.validate_python(rule) for rule in quality)
    changed = dataset.model_copy(update={"sample": Sample.model_validate(sample), "quality": rules})
    return replace(REGISTRY, datasets=tuple(changed if d.id == dataset_id else d for d in REGISTRY.datasets))


def drawn_variant(dataset_id: str, registry: Registry, scale: float = 1.0) -> Rows:
    return next(d.table for d in draw_all(registry, 7, scale, [dataset_id])).to_pylist()


def test_a_contradiction_names_dataset_rule_and_file() -> None:
    rule = {"rule": "pattern", "field": "report_id", "pattern": "X[0-9]+"}
    registry = variant(
        "report_registry",
        sample={"rows": 5, "fields": {"report_id": {"kind": "serial", "prefix": "BC-"}}},
        quality=[rule],
    )
    with pytest.raises(LakeError, match=r"report_registry breaks the rule rule=pattern.*report_registry\.yaml"):
        drawn_variant("report_registry", registry)


def test_fields_that_wait_for_each_other_are_a_clear_error() -> None:
    after = {"kind": "after", "to": "1 d"}
    fields = {"updated_at": {**after, "field": "ended_at"}, "ended_at": {**after, "field": "updated_at"}}
    registry = variant("paperless_meeting", sample={"rows": 5, "fields": fields}, quality=[])
    with pytest.raises(LakeError, match=r"paperless_meeting cannot be drawn: fields wait.*ended_at needs updated_at"):
        drawn_variant("paperless_meeting", registry)


def test_a_choice_of_another_type_is_a_clear_error() -> None:
    fields = {"is_active": {"kind": "choice", "values": {"perhaps": 1}}}
    registry = variant("report_registry", sample={"rows": 5, "fields": fields})
    with pytest.raises(LakeError, match="neither true nor false"):
        drawn_variant("report_registry", registry)


def test_without_generators_everything_still_follows_the_contract() -> None:
    for dataset_id in ("account_daily", "paperless_meeting", "digital_skill", "visit_count"):
        rules = [r for r in REGISTRY.dataset(dataset_id).model_dump(mode="json")["quality"] if r["rule"] != "pattern"]
        registry = variant(dataset_id, sample={"rows": 60}, quality=rules)
        rows = drawn_variant(dataset_id, registry)
        assert len(rows) == 60
        assert broken_rules(registry.dataset(dataset_id), rows) == []


def test_a_dataset_without_a_sample_has_a_hundred_rows() -> None:
    registry = variant("report_registry", sample={"rows": 1}, quality=[])
    plain = registry.dataset("report_registry").model_copy(update={"sample": None})
    registry = replace(registry, datasets=tuple(plain if d.id == "report_registry" else d for d in registry.datasets))
    assert len(drawn_variant("report_registry", registry)) == 100
    assert len(drawn_variant("report_registry", registry, 0.001)) == 1


def test_totals_shares_and_unique_rules_are_made_true() -> None:
    fields = {
        "period_start_date": {"kind": "choice", "values": {"2025-01-01": 1, "2025-07-01": 1}},
    }
    codes = REGISTRY.code_list("population_groups").codes[:2]
    fields["population_group"] = {"kind": "choice", "values": dict.fromkeys(codes, 1)}
    quality = [
        {"rule": "total", "field": "score_pct", "by": ["period_start_date"], "equals": 100, "tolerance": 0},
        {"rule": "share", "field": "person_count", "values": ["7"], "maximum_pct": 10},
        {"rule": "unique", "fields": ["skilled_count"]},
    ]
    registry = variant("digital_skill", sample={"rows": 30, "fields": fields}, quality=quality)
    rows = drawn_variant("digital_skill", registry)
    assert broken_rules(registry.dataset("digital_skill"), rows) == []
    assert len(rows) == 30


def test_null_percentages_leave_as_much_as_completeness_asks() -> None:
    fields = {"ended_at": {"kind": "after", "field": "started_at", "to": "1 h", "null_pct": 60}}
    quality = [{"rule": "completeness", "field": "ended_at", "minimum_pct": 75}]
    rows = drawn_variant(
        "paperless_meeting", variant("paperless_meeting", sample={"rows": 200, "fields": fields}, quality=quality)
    )
    assert sum(r["ended_at"] is None for r in rows) == 50


def test_days_of_a_daily_table_reach_back_as_far_as_it_has_rows() -> None:
    days = [r["local_date"] for r in tables(7, 1.0, ["account_daily"])["account_daily"].to_pylist()]
    assert max(days) == date(2025, 11, 10)
    assert max(days) - min(days) == timedelta(days=119)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        tables(7, 0.0, ["chart"])
    with pytest.raises(KeyError, match="no dataset"):
        draw_order(REGISTRY, ["nothing"])


def test_source_names_are_those_of_clear_values() -> None:
    dataset = REGISTRY.dataset("hotline_call")
    assert dataset.field("phone_token").source_name == "reporter_phone"
    assert isinstance(dataset.sample, Sample)
