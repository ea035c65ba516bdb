"""What a dbt run is told: arguments, environment, which tables keep their declaration, which marts are sound."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from pipelines.contracts.registry import Registry
from pipelines.contracts.targets.delta import PROPERTIES, comment
from pipelines.runtime.settings import Settings
from pipelines.warehouse import dbt
from pipelines.warehouse.manifest import RunManifest, resolve, with_gold

HOME = Path(__file__).resolve().parents[3]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load({"LAKE_HOME": str(HOME), "LAKE_STATE": str(tmp_path), "LAKE_NAMESPACE": "unit"})


def test_a_build_names_the_marts_and_runs_only_tests_that_look_at_them(tmp_path: Path) -> None:
    project, folder = Path("/lake/dbt_project"), tmp_path / "dbt"
    command = dbt.arguments(project, folder, tmp_path / "none", marts=["kpi_b", "dim_a"], unit_tests=False)
    text = " ".join(command[1:])
    assert "--select dim_a kpi_b --indirect-selection buildable" in text
    assert "--exclude-resource-type unit_test" in text
    assert f"--target-path {folder}/target --log-path {folder}/logs" in text
    assert "--partial-parse-file-path" not in text, "there is no cache yet"


def test_a_cache_is_used_and_unit_tests_may_run(tmp_path: Path) -> None:
    cache = tmp_path / "partial_parse.msgpack"
    cache.touch()
    text = " ".join(dbt.arguments(tmp_path, tmp_path, cache, marts=["dim_a"], unit_tests=True))
    assert f"--partial-parse-file-path {cache}" in text
    assert "--exclude" not in text, "unit tests run"


def test_the_environment_names_versions_folders_and_the_local_day(settings: Settings) -> None:
    manifest = RunManifest(
        "run",
        "unit",
        "2025-10-26T17:00:00+00:00",
        versions={"silver.river_stage": 7, "silver.lane_minute": 3},
        substitutes={"silver.river_stage": 5},
        withheld=("silver.lane_minute",),
    )
    found = dbt.environment(
        settings, manifest, ["dim_ward", "dim_station"], ["dim_ward"], spark_remote="sc://127.0.0.1:1", few_rows=True
    )
    assert found["LAKE_DBT_COMPILED"] == "false"
    assert (found["SPARK_REMOTE"], found["LAKE_GOLD_SCHEMA"]) == ("sc://127.0.0.1:1", "unit_gold")
    root = settings.lake_root / "unit"
    assert json.loads(found["LAKE_DBT_INPUTS"]) == {
        "run_id": "run",
        "silver_root": f"{root}/silver",
        "gold_root": f"{root}/gold",
        "versions": {"silver.river_stage": 5},
        "at_rest": ["dim_station", "dim_ward"],
        "keep": ["dim_ward"],
        "as_of_date": "2025-10-27",
    }


def declared(path: Path, registry: Registry, **properties: str) -> None:
    fields = registry.dataset("dim_ward").fields
    schema = pa.schema([pa.field(f.name, f.type.arrow, metadata={"comment": comment(f)}) for f in fields])
    write_deltalake(str(path), schema.empty_table(), configuration={**PROPERTIES, **properties})


def test_a_table_as_the_contract_declares_it_is_kept(tmp_path: Path, registry: Registry) -> None:
    mart = registry.dataset("dim_ward")
    assert not dbt.is_declared(tmp_path / "nothing", mart)
    declared(tmp_path / "same", registry)
    assert dbt.is_declared(tmp_path / "same", mart)


def test_a_table_with_other_properties_or_comments_is_declared_anew(tmp_path: Path, registry: Registry) -> None:
    mart = registry.dataset("dim_ward")
    declared(tmp_path / "properties", registry, **{"delta.checkpointInterval": "10"})
    assert not dbt.is_declared(tmp_path / "properties", mart)
    renamed = mart.fields[1].model_copy(update={"title": mart.fields[1].title.model_copy(update={"vi": "Tên"})})
    declared(tmp_path / "comment", registry)
    other = mart.model_copy(update={"fields": (mart.fields[0], renamed, *mart.fields[2:])})
    assert not dbt.is_declared(tmp_path / "comment", other)


def test_a_mart_of_which_a_test_failed_is_not_sound() -> None:
    nodes = {
        "model.p.a": {"status": "success", "depends_on": []},
        "model.p.b": {"status": "success", "depends_on": ["model.p.a"]},
        "model.p.c": {"status": "skipped", "depends_on": []},
        "test.p.b__keeps_contract.1f": {"status": "fail", "depends_on": ["model.p.b"]},
        "test.p.a__station_id.2e": {"status": "warn", "depends_on": ["model.p.a"]},
    }
    assert dbt.sound_marts(nodes, ["a", "b", "c"]) == ("a",)


def test_a_run_that_was_built_is_left_alone(settings: Settings, registry: Registry) -> None:
    resolve(settings, registry, "run")
    wanted = {mart.id: 4 for mart in registry.marts()}
    manifest = with_gold(settings, "run", wanted)
    complete = {f"silver.{name}": 0 for mart in registry.marts() for name in mart.mart.inputs}
    manifest = RunManifest("run", "unit", manifest.created_at, complete, manifest.gold)
    said: list[str] = []
    result = dbt.build(settings, registry, manifest, spark_remote="sc://127.0.0.1:1", progress=said.append)
    assert (result.was_built, result.gold) == (False, wanted)
    assert said == ["run run: built before, nothing to do"]


def test_a_server_that_is_down_is_one_clear_error(settings: Settings, registry: Registry) -> None:
    complete = {f"silver.{name}": 0 for mart in registry.marts() for name in mart.mart.inputs}
    manifest = resolve(settings, registry, "run")
    manifest = RunManifest("run", "unit", manifest.created_at, complete)
    with pytest.raises(
        dbt.DbtError, match=r"Spark does not answer at sc://127\.0\.0\.1:1 .* Run `lake up --only spark`"
    ):
        dbt.build(settings, registry, manifest, spark_remote="sc://127.0.0.1:1")


def test_plans_are_compiled_where_an_input_is_large_or_cannot_be_counted(
    settings: Settings, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dbt, "FEW_ROWS", 2)
    marts = [registry.dataset("kpi_feedback_month")]
    path = settings.table_path("silver", "feedback_ticket")
    path.parent.mkdir(parents=True)
    for rows in ([1, 2], [1, 2, 3]):
        write_deltalake(str(path), pa.table({"id": rows}), mode="overwrite")
    for version, few in ((0, True), (1, False), (2, False)):
        versions = {"silver.feedback_ticket": version, "silver.not_read": 0}
        manifest = RunManifest("run", "unit", "2025-10-26T17:00:00+00:00", versions)
        assert dbt.are_few(settings, manifest, marts) == few, version
