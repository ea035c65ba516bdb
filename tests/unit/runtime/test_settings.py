"""Settings: names of a namespace, places, and clear refusals."""

import os
from pathlib import Path

import pytest

from pipelines.runtime.secret_files import secret_path, secret_text
from pipelines.runtime.settings import Settings, SettingsError


def test_defaults_stand_below_the_project() -> None:
    settings = Settings.load({})
    assert (settings.home / "pyproject.toml").is_file()
    assert settings.state == settings.home / ".lake"
    assert settings.lake_root == settings.state / "lake"
    assert settings.dist == settings.state / "dist"
    assert settings.namespace == "city"


def test_names_of_the_city_and_of_an_exercise(tmp_path: Path) -> None:
    city = Settings.load({"LAKE_STATE": str(tmp_path)})
    drill = city.with_namespace("drill_2025")
    assert (city.topic("raw.river_stage"), drill.topic("raw.river_stage")) == (
        "city.raw.river_stage",
        "drill_2025.raw.river_stage",
    )
    assert (city.catalog, drill.catalog) == ("lake", "lake_drill_2025")
    assert (city.gold_schema, drill.gold_schema) == ("gold", "drill_2025_gold")
    assert drill.table_path("silver", "rain_gauge") == tmp_path / "lake" / "drill_2025" / "silver" / "rain_gauge"
    assert drill.object_root == tmp_path / "lake" / "drill_2025" / "_objects"


@pytest.mark.parametrize("name", ["City", "2025", "a-b", "a" * 32, "đập", "a.b", " a"])
def test_a_namespace_that_no_engine_would_take_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="Set LAKE_NAMESPACE"):
        Settings.load({"LAKE_NAMESPACE": name})


@pytest.mark.parametrize("uri", ["file:///data/h%E1%BB%93", "file://localhost/data/h%E1%BB%93", "/data/hồ"])
def test_a_file_uri_or_path_is_the_lake(uri: str) -> None:
    assert Settings.load({"LAKE_URI": uri}).lake_root == Path("/data/hồ")


def test_another_scheme_is_refused_with_what_to_do() -> None:
    with pytest.raises(SettingsError, match=r"LAKE_URI=s3://lake has the scheme 's3'.*Set LAKE_URI to a folder"):
        Settings.load({"LAKE_URI": "s3://lake"})


def test_a_home_without_project_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="Set LAKE_HOME"):
        Settings.load({"LAKE_HOME": str(tmp_path)})


def test_a_child_gets_the_same_settings(tmp_path: Path) -> None:
    settings = Settings.load({"LAKE_STATE": str(tmp_path), "LAKE_NAMESPACE": "drill", "LAKE_URI": str(tmp_path / "x")})
    assert Settings.load(settings.environment()) == settings


def test_a_secret_is_made_once_and_private(tmp_path: Path) -> None:
    settings = Settings.load({"LAKE_STATE": str(tmp_path)})
    first = secret_text(settings, "key")
    assert len(first) >= 43
    assert secret_text(settings, "key") == first
    assert secret_text(settings, "other") != first
    assert oct(secret_path(settings, "key").stat().st_mode & 0o777) == "0o600"
    assert sorted(os.listdir(settings.secrets_dir)) == ["key", "other"]


def test_a_namespace_remembers_which_part_of_the_catalogue_it_holds(tmp_path: Path) -> None:
    demo = Settings.load({"LAKE_STATE": str(tmp_path), "LAKE_NAMESPACE": "demo"})
    assert demo.profile is None
    demo.set_profile("demo")
    assert Settings.load({"LAKE_STATE": str(tmp_path), "LAKE_NAMESPACE": "demo"}).profile == "demo"
    assert demo.with_namespace("other").profile is None
    demo.set_profile(None)
    assert demo.profile is None
