"""News of streams: what landing committed since Airflow was last told, and nothing twice."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from catalogue import city

from pipelines.ingestion.announce import Loads, announce, news
from pipelines.ingestion.records import LoadRun
from pipelines.landing.status import Status, TableStatus, write_status
from pipelines.runtime.errors import ServiceError
from pipelines.runtime.settings import Settings

ROOT = Path(__file__).parents[3]
REGISTRY = city()
RIVER = TableStatus("t", "silver.river_stage", "landing", 5, {}, "2026-11-21T00:00:00+00:00", None, {}, {}, None)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load({"LAKE_HOME": str(ROOT), "LAKE_STATE": str(tmp_path), "LAKE_NAMESPACE": "city"})


def _write(settings: Settings, *tables: TableStatus) -> None:
    write_status(settings, Status("city", 1, "", "", None, tables))


def test_without_landing_there_is_no_news(settings: Settings) -> None:
    assert news(settings, REGISTRY, {}) == {}


def test_only_committed_silver_tables_of_streams_are_news(settings: Settings) -> None:
    bronze = replace(RIVER, table="bronze.river_stage")
    alerts = replace(RIVER, table="silver.flood_alert")
    silent = replace(RIVER, table="silver.rain_gauge", last_commit_at=None)
    _write(settings, RIVER, bronze, alerts, silent)
    assert news(settings, REGISTRY, {}) == {"river_stage": RIVER.last_commit_at}


def test_what_was_told_is_news_again_only_after_another_commit(settings: Settings) -> None:
    told = {"river_stage": str(RIVER.last_commit_at)}
    _write(settings, RIVER)
    assert news(settings, REGISTRY, told) == {}
    later = replace(RIVER, last_commit_at="2026-11-21T00:05:00+00:00")
    _write(settings, later)
    assert news(settings, REGISTRY, told) == {"river_stage": later.last_commit_at}


def test_an_airflow_that_is_down_is_told_next_time(settings: Settings) -> None:
    _write(settings, RIVER)
    told: dict[str, str] = {}
    with pytest.raises(ServiceError):
        announce(settings, REGISTRY, told)
    assert told == {}


def test_a_load_is_none_the_worse_for_an_airflow_that_is_down_and_it_is_said_once(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    at = datetime(2026, 11, 21, tzinfo=UTC)
    with caplog.at_level(logging.WARNING), Loads(settings, "H57.YT") as loads:
        for name in ("med_price", "facility"):
            loads.tell(REGISTRY.dataset(name), LoadRun("r", name, at, at))
    assert [record.message for record in caplog.records] == ["Airflow was not told of what was loaded"]
