"""What the contracts give to dbt: committed, up to date, complete."""

import re
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.contracts import artifacts
from pipelines.contracts.errors import Untranslatable
from pipelines.contracts.model import RULE_KINDS, CodeList, Dataset, Qc
from pipelines.contracts.registry import Registry, load_registry
from pipelines.contracts.support import Elsewhere, Native
from pipelines.contracts.targets import dbt
from pipelines.contracts.targets.great_expectations import SUPPORT as GX_SUPPORT
from pipelines.publishing.lineage.marts import Project
from pipelines.streaming.job import job_sql

HOME = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def rendered(registry: Registry) -> dict[str, str]:
    return dbt.render(registry)


@pytest.fixture(scope="module")
def models(rendered: dict[str, str]) -> dict[str, dict[str, Any]]:
    found = {}
    for path, text in rendered.items():
        if path.endswith("__models.yml"):
            found |= {model["name"]: model for model in yaml.safe_load(text)["models"]}
    return found


def changed(registry: Registry, dataset_id: str, **parts: object) -> Registry:
    data = {**dict(registry.dataset(dataset_id)), **parts}
    datasets = tuple(Dataset.model_validate(data) if d.id == dataset_id else d for d in registry.datasets)
    return replace(registry, datasets=datasets)


def test_the_committed_files_are_what_the_contracts_say(rendered: dict[str, str]) -> None:
    assert not artifacts.compare(HOME, rendered, dbt.FOLDERS), "run `lake contracts build`"


def test_every_mart_has_a_model_and_every_model_of_the_marts_a_contract(registry: Registry) -> None:
    marts = {f"dbt_project/models/marts/{mart.domain}/{mart.id}.sql" for mart in registry.marts()}
    assert marts == {str(path.relative_to(HOME)) for path in (HOME / "dbt_project/models/marts").rglob("*.sql")}


def test_rendering_is_repeatable_and_marked(rendered: dict[str, str]) -> None:
    assert rendered == dbt.render(load_registry(HOME / "schemas"))
    for path, text in rendered.items():
        assert artifacts.MARK in text[:512], path
        assert not any(line != line.rstrip() for line in text.splitlines()), f"{path}: trailing blanks"


def test_columns_stand_in_contract_order_with_types_and_both_languages(
    registry: Registry, models: dict[str, dict[str, Any]]
) -> None:
    model = models["fct_flood_episode"]
    mart = registry.dataset("fct_flood_episode")
    assert [column["name"] for column in model["columns"]] == [field.name for field in mart.fields]
    peak = model["columns"][5]
    assert (peak["data_type"], peak["description"]) == (
        "DECIMAL(9, 3)",
        "Đỉnh mực nước trong đợt (m) — Peak stage of the episode",
    )
    assert model["description"].startswith("One row per episode of one level at one station. Đợt báo động lũ đã chốt.")
    assert model["config"]["contract"] == {"enforced": True}


def test_key_required_fields_and_comparisons_are_one_test(models: dict[str, dict[str, Any]]) -> None:
    tests = models["kpi_feedback_month"]["data_tests"]
    assert [next(iter(test)) for test in tests] == ["keeps_contract"]
    arguments = tests[0]["keeps_contract"]["arguments"]
    assert arguments["key"] == ["agency_id", "month_start_date"]
    assert "on_time_pct" not in arguments["known"] and "ticket_count" in arguments["known"]
    assert arguments["never"]["not closed_count <= ticket_count"] == "not (`closed_count` <= `ticket_count`)"


def test_codes_are_checked_in_the_dimension_where_there_is_one(
    registry: Registry, models: dict[str, dict[str, Any]]
) -> None:
    station = models["kpi_flood_alarm"]["columns"][0]["data_tests"][0]
    assert station["relationships"]["arguments"] == {"to": "ref('dim_station')", "field": "station_id"}
    agency = models["kpi_feedback_month"]["columns"][0]["data_tests"][0]["accepted_values"]
    assert agency["arguments"]["values"] == list(registry.code_list("agencies").codes)
    assert agency["config"] == {"severity": "warn"}


def test_sources_are_the_silver_tables_and_the_code_lists_with_system_columns(
    registry: Registry, rendered: dict[str, str]
) -> None:
    text = rendered["dbt_project/models/staging/_sources.yml"]
    tables = {table["name"]: table for table in yaml.safe_load(text)["sources"][0]["tables"]}
    silver = {dataset.id for dataset in registry.datasets if not dataset.mart}
    assert set(tables) == silver | {f"code_{code_list.id}" for code_list in registry.code_lists}
    columns = {column["name"]: column["data_type"] for column in tables["river_stage"]["columns"]}
    assert (columns["qc_flag"], columns["raw_offset"], columns["observed_date"]) == ("INT", "BIGINT", "DATE")


def test_every_kind_of_rule_is_held_somewhere() -> None:
    kinds = {str(kind.model_fields["rule"].annotation.__args__[0]) for kind in RULE_KINDS}
    assert kinds <= set(dbt.SUPPORT)
    assert set(dbt.SUPPORT) == set(GX_SUPPORT), "both targets speak of the same kinds"
    for kind, support in dbt.SUPPORT.items():
        if isinstance(support, Elsewhere) and support.target == "great_expectations":
            assert isinstance(GX_SUPPORT[kind], Native), kind


def test_a_description_that_dbt_would_render_is_refused(registry: Registry) -> None:
    said = registry.dataset("dim_ward").description.model_copy(update={"usage": "SELECT {{ x }}"})
    with pytest.raises(Untranslatable, match=r"dim_ward: dbt cannot express description: it holds '\{\{'"):
        dbt.render(changed(registry.only("demo"), "dim_ward", description=said))


def test_a_code_list_too_long_for_a_test_is_refused(registry: Registry) -> None:
    agencies = registry.code_list("agencies")
    rows = [dict(agencies.rows[0], code=f"H57.{number}") for number in range(201)]
    long = CodeList.model_validate({**dict(agencies), "rows": rows})
    lists = tuple(long if each.id == "agencies" else each for each in registry.code_lists)
    with pytest.raises(Untranslatable, match="201 codes do not fit a test; make a dimension with the key agency_id"):
        dbt.render(replace(registry.only("demo"), code_lists=lists))


def test_a_neighbour_test_that_no_mart_computes_is_refused(registry: Registry) -> None:
    qc = registry.dataset("river_stage").qc
    small = registry.only("demo")
    declared = qc.model_copy(update={"neighbour": {"level_m": qc.neighbour["stage_m"]}})
    message = (
        "reservoir_op: dbt cannot express the neighbour test: fct_neighbour_check does not read it; add code_stage"
    )
    with pytest.raises(Untranslatable, match=message):
        dbt.render(changed(small, "reservoir_op", qc=declared))


def test_every_stream_that_declares_tests_is_counted(registry: Registry) -> None:
    tested = {dataset.id: dataset for dataset in registry.streams() if dataset.qc != Qc()}
    assert {"tide", "urban_flood_depth", "env_monitoring"} < set(tested)
    sql = Project(HOME / "dbt_project").sql("kpi_sensor_quality")
    read = re.findall(
        r"select\s+'(\w+)' as dataset_id,\s+(?:concat_ws\('\|', ([\w, ]+)\)|'all') as entity_id,"
        r"\s+(\w+) as observed_at,"
        r"[\s\w,]+?from silver__(\w+)",
        sql,
    )
    assert {dataset_id for dataset_id, *_ in read} == set(tested) and len(read) == len(tested)
    for dataset_id, entity, event_time, table in read:
        dataset = tested[dataset_id]
        assert (event_time, table) == (dataset.event_time, dataset_id)
        if not entity:
            assert dataset.classification == "personal", f"{dataset_id}: its things can be told apart"
            continue
        fields = [dataset.field(name) for name in entity.split(", ")]
        assert all(field.required for field in fields), f"{dataset_id}: without its entity a reading has no row"
        assert not any(field.tokenise for field in fields), f"{dataset_id}: a token is a person"
        if dataset.stream and dataset.stream.device:
            assert dataset.stream.device in entity.split(", "), dataset_id
    mart = registry.dataset("kpi_sensor_quality").mart
    assert mart is not None and set(mart.inputs) == {*tested, "fct_neighbour_check"}


def test_a_stream_with_tests_that_nobody_counts_is_refused(registry: Registry) -> None:
    mart = registry.dataset("kpi_sensor_quality").mart
    assert mart is not None
    lacking = mart.within({"river_stage", "rain_gauge", "fct_neighbour_check"})
    message = "dbt cannot express the quality tests: kpi_sensor_quality does not count it; add it to its inputs"
    with pytest.raises(Untranslatable, match=message):
        dbt.render(changed(registry, "kpi_sensor_quality", mart=lacking))


def test_a_period_of_lane_minute_is_the_cadence_of_its_contract(registry: Registry) -> None:
    stream = registry.dataset("lane_minute").stream
    assert stream is not None
    project = Project(HOME / "dbt_project")
    assert f"3600.0D / {stream.cadence.total_seconds():.0f}\n" in project.sql("kpi_traffic_hour")
    assert f"- {stream.watermark.total_seconds():.0f} * 1000000L as is_late" in project.sql("fct_traffic_difference")
    slower = stream.model_copy(update={"cadence": 5 * stream.cadence})
    macros = dbt.render(changed(registry, "lane_minute", stream=slower))["dbt_project/macros/generated/contracts.sql"]
    declared = re.search(r"'lane_minute': \{\s+'event_time': 'observed_at',\s+'cadence_s': '(\d+)'", macros)
    assert declared is not None and int(declared[1]) == 5 * stream.cadence.total_seconds()


def test_the_hold_of_a_reading_is_two_cadences_of_the_gauge(registry: Registry) -> None:
    variables = yaml.safe_load((HOME / "dbt_project/dbt_project.yml").read_text(encoding="utf-8"))["vars"]
    stream = registry.dataset("river_stage").stream
    assert stream is not None
    assert variables["flood_reading_hold_minutes"] * 60 == 2 * stream.cadence.total_seconds()


def test_the_settled_alarm_has_the_hysteresis_and_the_hold_of_the_live_one(registry: Registry) -> None:
    variables = yaml.safe_load((HOME / "dbt_project/dbt_project.yml").read_text(encoding="utf-8"))["vars"]
    live = next(statement for statement in job_sql("flood", registry) if "FROM FloodAlarm(" in statement)
    said = dict(re.findall(r"(hysteresis_m|hold_ms) => CAST\(([0-9.]+) AS", live))
    assert said.keys() == {"hysteresis_m", "hold_ms"}
    assert Decimal(said["hysteresis_m"]) == Decimal(str(variables["flood_hysteresis_m"]))
    assert int(said["hold_ms"]) == variables["flood_hold_minutes"] * 60_000
