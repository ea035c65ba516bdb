"""The steps of a run as Airflow calls them: what their exit status says."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pipelines.commands.run import run_app
from pipelines.ingestion.exits import NO_NEWS, REFUSED
from pipelines.runtime.settings import Settings
from pipelines.warehouse import manifest

HOME = Path(__file__).resolve().parents[3]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    env = {"LAKE_HOME": str(HOME), "LAKE_STATE": str(tmp_path), "LAKE_NAMESPACE": "unit"}
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    return Settings.load(env)


def run(*words: str, **env: str) -> Result:
    return CliRunner().invoke(run_app, list(words), env=env)


def test_a_run_of_the_clock_without_news_ends_at_its_first_step(settings: Settings) -> None:
    assert run("manifest", "--run-id", "first", LAKE_IF_NEWS="1").exit_code == 0
    manifest.finish(settings, "first")
    again = run("manifest", "--run-id", "second", LAKE_IF_NEWS="1")
    assert (again.exit_code, "no news since the run first" in again.stdout) == (NO_NEWS, True)
    by_hand = run("manifest", "--run-id", "third", LAKE_IF_NEWS="")
    assert (by_hand.exit_code, "silver.code_" in by_hand.stdout) == (0, True)


def test_a_namespace_that_holds_none_of_a_source_has_nothing_to_load(settings: Settings) -> None:
    settings.set_profile("demo")
    left_out = run("ingest", "H57.CA", "--source", "congan", "--run-id", "r")
    assert (left_out.exit_code, "holds no table of H57.CA" in left_out.stdout) == (NO_NEWS, True)


def test_every_table_that_failed_is_named_and_what_it_is_worth_is_the_exit_status(settings: Settings) -> None:
    found = run("ingest", "H57.YT", "--source", "soyt", "--run-id", "r", LAKE_TABLES="med_price facility")
    assert found.exit_code == REFUSED
    assert [line.partition(":")[0] for line in found.stderr.splitlines() if "AIRFLOW_CONN_SECTOR_SOYT" in line] == [
        "facility",
        "med_price",
    ]


def test_an_unknown_table_is_refused_with_those_there_are(settings: Settings) -> None:
    found = run("ingest", "H57.YT", "--source", "soyt", "--run-id", "r", "--dataset", "camera")
    assert "H57.YT has no sector table camera in the source soyt. Its tables: appointment," in str(found.exception)
