"""The catalogue as tables: what the contracts say, written once."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from catalogue import city
from deltalake import DeltaTable

from pipelines.contracts.targets import trino as target
from pipelines.publishing import catalog
from pipelines.publishing.catalog import DATASET, FIELD, write_catalog
from pipelines.publishing.lineage.build import build_lineage
from pipelines.runtime.settings import Settings

HOME = Path(__file__).resolve().parents[3]
REGISTRY = city()


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    found = Settings.load({"LAKE_HOME": str(HOME), "LAKE_STATE": str(tmp_path_factory.mktemp("lake"))})
    write_catalog(found, REGISTRY)
    return found


def rows(settings, name):
    return DeltaTable(str(settings.table_path("catalog", name))).to_pyarrow_table().to_pylist()


def test_every_dataset_and_field_has_one_row(settings):
    assert sorted(row["id"] for row in rows(settings, "dataset")) == [d.id for d in REGISTRY.datasets]
    found = {(row["dataset"], row["position"]): row["name"] for row in rows(settings, "field")}
    assert found == {(d.id, n): f.name for d in REGISTRY.datasets for n, f in enumerate(d.fields, start=1)}


def test_a_dataset_says_what_its_contract_says(settings):
    row = next(row for row in rows(settings, "dataset") if row["id"] == "feedback_ticket")
    contract = REGISTRY.dataset("feedback_ticket")
    assert (row["kind"], row["layer"], row["owner"]) == ("sector", "silver", contract.owner)
    assert row["title_vi"] == contract.title.vi and row["title_en"] == contract.title.en
    assert (row["systems"], row["legal_basis"]) == (list(contract.systems), list(contract.legal_basis))
    assert row["freshness_s"] == 3600


def test_a_field_says_what_it_holds_and_whether_people_see_it(settings):
    found = {(row["dataset"], row["name"]): row for row in rows(settings, "field")}
    stage = found["river_stage", "stage_m"]
    assert (stage["type"], stage["unit"], stage["minimum"], stage["maximum"]) == ("decimal(9,3)", "m", "-2", "75")
    assert (stage["required"], stage["is_key"], stage["granted"]) == (True, False, True)
    assert found["river_stage", "station_id"]["code_list"] == "stations"
    token = found["feedback_ticket", "phone_token"]
    assert (token["granted"], token["token_of"]) == (False, "reporter_phone")


def test_unchanged_contracts_make_no_version_and_a_changed_one_makes_one(settings):
    before = write_catalog(settings, REGISTRY)
    assert set(before.values()) == {0}
    first, *rest = REGISTRY.datasets
    renamed = first.model_copy(update={"version": "9.0.0"})
    changed = write_catalog(settings, type(REGISTRY)(**{**vars_of(REGISTRY), "datasets": (renamed, *rest)}))
    assert (changed["dataset"], changed["field"]) == (1, 0)
    assert write_catalog(settings, REGISTRY)["dataset"] == 2


def test_the_lineage_is_built_again_only_when_a_definition_or_a_table_changed(tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    (home / "pyproject.toml").touch()
    shutil.copytree(HOME / "dbt_project", home / "dbt_project", ignore=shutil.ignore_patterns("target", "logs"))
    settings = Settings.load({"LAKE_HOME": str(home), "LAKE_STATE": str(tmp_path / "state")})
    built = []
    monkeypatch.setattr(catalog, "build_lineage", lambda *given: built.append(given) or build_lineage(*given))
    small = replace(REGISTRY, datasets=tuple(d for d in REGISTRY.datasets if d.domain == "common"))

    def changes(registry=small):
        before = len(built)
        write_catalog(settings, registry)
        return len(built) > before

    assert changes() and not changes()
    model = next((home / "dbt_project" / "models").rglob("dim_ward.sql"))
    model.write_text(f"{model.read_text()}-- another word\n")
    assert changes() and not changes()
    renamed = small.datasets[0].model_copy(update={"version": "9.0.0"})
    assert changes(replace(small, datasets=(renamed, *small.datasets[1:]))) and changes() and not changes()
    table = str(settings.table_path("catalog", "lineage"))
    DeltaTable(table).delete()
    assert changes() and rows(settings, "lineage") and not changes()
    shutil.rmtree(table)
    assert changes() and rows(settings, "lineage")


def vars_of(registry):
    return {name: getattr(registry, name) for name in registry.__dataclass_fields__}


def test_columns_are_explained_in_both_languages_and_all_tables_have_a_view(settings):
    written = {path.name for path in settings.table_path("catalog", "_").parent.iterdir() if path.is_dir()}
    assert written == set(target.CATALOG_TABLES)
    assert all(" — " in said for columns in (DATASET, FIELD) for _, _, said in columns)
    view = target.catalog_views("lake")["field"]
    assert view.startswith('CREATE OR REPLACE VIEW "lake"."live"."catalog_field" SECURITY DEFINER')
