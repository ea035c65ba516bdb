"""ODCS: every contract satisfies the published schema, says every rule, and its queries find what breaks one."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb
import pytest
from jsonschema import Draft201909Validator
from open_data_contract_standard.model import OpenDataContractStandard

from pipelines.contracts.model import Reference
from pipelines.contracts.registry import Registry
from pipelines.contracts.rendering import yaml_file
from pipelines.contracts.targets import odcs

SCHEMA = json.loads((files("open_data_contract_standard") / "schema.json").read_text(encoding="utf-8"))
VALIDATOR = Draft201909Validator(SCHEMA, format_checker=Draft201909Validator.FORMAT_CHECKER)
EVERY_RULE: list[dict[str, Any]] = [
    {"rule": "row_count", "minimum": 2},
    {"rule": "completeness", "field": "on_time_pct", "minimum_pct": "97.5"},
    {"rule": "comparison", "left": "closed_count", "operator": "<=", "right": "ticket_count"},
    {"rule": "required_when", "field": "on_time_pct", "when": "origin", "equals": "observed"},
    {"rule": "pattern", "field": "agency_id", "pattern": r"H57\.[A-Z]+"},
    {"rule": "unique", "fields": ["agency_id", "ticket_count"]},
    {"rule": "share", "field": "origin", "values": ["observed"], "minimum_pct": 33, "maximum_pct": 34},
    {"rule": "total", "field": "ticket_count", "by": ["month_start_date"], "equals": 9, "tolerance": 1},
]


def _checks(contract: dict[str, Any]) -> dict[str, dict[str, Any]]:
    table = contract["schema"][0]
    found = [*table["quality"], *(check for item in table["properties"] for check in item.get("quality", []))]
    assert len({check["id"] for check in found}) == len(found), "ids are unique"
    return {check["id"]: check for check in found}


@pytest.mark.parametrize("name", ["river_stage", "feedback_ticket", "kpi_feedback_month", "flood_alert"])
def test_the_contract_of_each_kind(few: Registry, golden: Callable[[str, str], None], name: str) -> None:
    path = next(path for path in odcs.render(few) if path.endswith(f"/{name}.odcs.yaml"))
    golden(f"{name}.odcs.yaml", odcs.render(few)[path])


@pytest.mark.parametrize("name", ["river_stage", "river_stage_v2"])
def test_an_old_major_says_its_end_and_the_new_one_what_it_replaces(
    two_majors: Registry, golden: Callable[[str, str], None], name: str
) -> None:
    contract = odcs.contract(two_majors.dataset(name), two_majors)
    VALIDATOR.validate(contract)
    said = {key: contract[key] for key in ("id", "version", "status", "slaProperties", "customProperties")}
    golden(f"two_majors.{name}.odcs.yaml", yaml_file(said))


def test_every_contract_is_one_of_the_standard(registry: Registry, tmp_path: Path) -> None:
    for dataset in registry.datasets:
        contract = odcs.contract(dataset, registry)
        VALIDATOR.validate(contract)
        path = tmp_path / f"{dataset.id}.odcs.yaml"
        path.write_text(yaml_file(contract), encoding="utf-8")
        read = OpenDataContractStandard.from_file(str(path))
        assert read.schema_ is not None and read.schema_[0].properties is not None
        assert [item.name for item in read.schema_[0].properties][: len(dataset.fields)] == [
            item.name for item in dataset.fields
        ]


def test_the_published_schema_refuses_a_slip(registry: Registry) -> None:
    contract = odcs.contract(registry.dataset("river_stage"), registry)
    contract["schema"][0]["properties"][0]["logicalType"] = "text"
    assert not VALIDATOR.is_valid(contract)


def test_every_kind_of_rule_is_said(changed: Callable[..., Registry]) -> None:
    registry = changed("kpi_feedback_month", quality=EVERY_RULE)
    contract = odcs.contract(registry.dataset("kpi_feedback_month"), registry)
    VALIDATOR.validate(contract)
    checks = _checks(contract)
    assert checks["row_count"]["mustBeGreaterOrEqualTo"] == 2
    assert (
        checks["on_time_pct_completeness"]["metric"],
        checks["on_time_pct_completeness"]["mustBeLessOrEqualTo"],
    ) == (
        "nullValues",
        2.5,
    )
    assert checks["pattern_agency_id"]["arguments"] == {"pattern": r"^(?:H57\.[A-Z]+)$"}
    assert checks["unique_agency_id_ticket_count"]["arguments"] == {"properties": ["agency_id", "ticket_count"]}
    assert checks["key_unique"]["arguments"] == {"properties": ["agency_id", "month_start_date"]}
    ranged = next(item for item in contract["schema"][0]["properties"] if item["name"] == "processed_pct")
    assert ranged["logicalTypeOptions"] == {"minimum": 0, "maximum": 100} | ranged["logicalTypeOptions"]


ROWS = "(5, 4, 'observed', 0.5), (4, 4, 'replay', NULL), (9, 1, 'replay', NULL)"
MONTHS = {5: 1, 4: 1, 9: 2}


@pytest.mark.parametrize(
    ("check", "broken"),
    [
        ("comparison_closed_count_ticket_count", "UPDATE t SET closed_count = 6 WHERE ticket_count = 5"),
        ("required_when_on_time_pct_origin", "UPDATE t SET on_time_pct = NULL"),
        ("share_origin_observed", "UPDATE t SET origin = 'observed'"),
        ("total_ticket_count", "UPDATE t SET month_start_date = DATE '2025-02-01'"),
    ],
)
def test_a_query_counts_what_breaks_its_rule(changed: Callable[..., Registry], check: str, broken: str) -> None:
    registry = changed("kpi_feedback_month", quality=EVERY_RULE)
    query = _checks(odcs.contract(registry.dataset("kpi_feedback_month"), registry))[check]["query"]
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t (ticket_count INT, closed_count INT, origin VARCHAR, on_time_pct DOUBLE)")
        connection.execute(f"INSERT INTO t VALUES {ROWS}")
        connection.execute("ALTER TABLE t ADD COLUMN month_start_date DATE")
        for count, month in MONTHS.items():
            connection.execute(f"UPDATE t SET month_start_date = DATE '2025-0{month}-01' WHERE ticket_count = {count}")
        assert connection.execute(query.format(object="t")).fetchall() == [(0,)]
        connection.execute(broken)
        assert connection.execute(query.format(object="t")).fetchall() != [(0,)]


def test_every_query_runs_on_the_columns_of_its_contract(registry: Registry) -> None:
    kinds = {"string": "VARCHAR", "number": "DOUBLE", "integer": "BIGINT", "timestamp": "TIMESTAMPTZ"}
    with duckdb.connect() as connection:
        connection.execute("CREATE SCHEMA published")
        for code_list in registry.code_lists:
            connection.execute(f'CREATE TABLE published.code_{code_list.id} ("{code_list.key}" VARCHAR)')
        for dataset in registry.datasets:
            contract = odcs.contract(dataset, registry)
            columns = [
                f'"{item["name"]}" {kinds.get(item["logicalType"], item["logicalType"])}'
                for item in contract["schema"][0]["properties"]
            ]
            connection.execute(f"CREATE TABLE {dataset.id} ({', '.join(columns)})")
            for check in _checks(contract).values():
                if "query" in check:
                    assert connection.execute(check["query"].format(object=dataset.id)).fetchall() == [(0,)]


def test_a_streamed_value_out_of_range_must_carry_its_flag(registry: Registry) -> None:
    contract = odcs.contract(registry.dataset("river_stage"), registry)
    checks = _checks(contract)
    for check, station, stage, good, bad in (
        ("stage_m_range", "71520", 80, 4, 3),
        ("stage_m_gross_range", "71520", 7, 3, 1),
        ("stage_m_gross_range_fail", "71520", 61, 4, 3),
        ("stage_m_gross_range_fail", "HUE-TN", 12, 4, 3),
    ):
        rows = f"(SELECT '{station}' AS station_id, {stage}.0 AS stage_m, {{}} AS qc_flag)"
        query = checks[check]["query"]
        assert duckdb.sql(query.format(object=rows.format(good))).fetchall() == [(0,)]
        assert duckdb.sql(query.format(object=rows.format(bad))).fetchall() == [(1,)]
    usual = checks["stage_m_gross_range"]["query"].format(
        object="(SELECT 'HUE-TN' AS station_id, 61.0 AS stage_m, 1 AS qc_flag)"
    )
    assert duckdb.sql(usual).fetchall() == [(0,)], "the mountain gauge has limits of its own"


def test_a_long_code_list_is_looked_up_and_a_short_one_stands_in_the_contract(registry: Registry) -> None:
    lists = {item.id: len(item.codes) for item in registry.code_lists}
    for dataset in registry.datasets:
        checks = _checks(odcs.contract(dataset, registry))
        for item in dataset.fields:
            if item.code_list:
                body = checks[f"{item.name}_code_list"]
                assert ("query" in body) == (lists[item.code_list] > 50)


def test_a_reference_leads_into_the_other_contract(changed: Callable[..., Registry], registry: Registry) -> None:
    fields = [
        item.model_copy(update={"references": Reference(dataset="dim_station", field="station_id")})
        if item.name == "station_id"
        else item
        for item in registry.dataset("river_stage").fields
    ]
    other = changed("river_stage", fields=fields)
    contract = odcs.contract(other.dataset("river_stage"), other)
    VALIDATOR.validate(contract)
    assert contract["schema"][0]["properties"][0]["relationships"] == [
        {"type": "foreignKey", "to": "../flood/dim_station.odcs.yaml#/schema/dim_station/properties/station_id"}
    ]


def test_what_is_not_published_is_marked_and_no_address_is_named(registry: Registry) -> None:
    contract = odcs.contract(registry.dataset("feedback_ticket"), registry)
    marks = {
        item["name"]: {custom["property"]: custom["value"] for custom in item.get("customProperties", [])}
        for item in contract["schema"][0]["properties"]
    }
    assert {name for name, own in marks.items() if own.get("published") is False} == {
        "reporter_token",
        "phone_token",
        "content_text",
        "created_date",
    }
    assert all(server["host"].startswith("${") for server in contract["servers"])
