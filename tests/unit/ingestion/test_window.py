"""Whole tables are read in the hours that their source gives, and changes at any."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from catalogue import city

from pipelines.ingestion.records import FAILED, LastLoad, LoadRun, last_loads, record
from pipelines.ingestion.window import OutsideWindow, check_window
from pipelines.runtime.servers.postgres import SAMPLE_CONNECTION
from pipelines.runtime.settings import Settings

HOME = Path(__file__).resolve().parents[3]
NOON = datetime(2026, 11, 21, 5, tzinfo=UTC)  # 12:00 in Huế
NIGHT = datetime(2026, 11, 21, 19, tzinfo=UTC)  # 02:00 in Huế
WHOLE, CHANGES, ANY_TIME = "gtfs_stop", "building_permit", "med_price"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load({"LAKE_HOME": str(HOME), "LAKE_STATE": str(tmp_path), "LAKE_NAMESPACE": "drill"})


def loaded(settings: Settings, dataset: str, at: datetime, error: str | None = None) -> None:
    status = {"status": FAILED, "error": error} if error else {}
    record(settings, LoadRun(at.isoformat(), dataset, at, at + timedelta(minutes=1), **status))


def test_a_whole_table_waits_for_its_hours(settings: Settings) -> None:
    check_window(settings, city(), city().dataset(WHOLE), "r", NIGHT)
    check_window(settings, city(), city().dataset(ANY_TIME), "r", NOON)
    with pytest.raises(OutsideWindow, match=r"only 22:00–05:00, and it is 12:00 in Huế\. .*--outside-window"):
        check_window(settings, city(), city().dataset(WHOLE), "r", NOON)


def test_changes_are_read_at_any_hour_once_the_whole_was(settings: Settings) -> None:
    permits = city().dataset(CHANGES)
    with pytest.raises(OutsideWindow):
        check_window(settings, city(), permits, "r", NOON)
    loaded(settings, CHANGES, NIGHT, "the database does not answer")
    with pytest.raises(OutsideWindow):
        check_window(settings, city(), permits, "r", NOON)
    loaded(settings, CHANGES, NIGHT)
    check_window(settings, city(), permits, "r", NOON)


def test_a_run_that_is_repeated_outside_of_the_hours_reads_nothing(settings: Settings) -> None:
    loaded(settings, WHOLE, NIGHT)
    check_window(settings, city(), city().dataset(WHOLE), NIGHT.isoformat(), NOON)
    with pytest.raises(OutsideWindow):
        check_window(settings, city(), city().dataset(WHOLE), "another", NOON)


def test_the_sample_has_no_hours(settings: Settings) -> None:
    settings.set_sector_sample(SAMPLE_CONNECTION)
    check_window(settings, city(), city().dataset(WHOLE), "r", NOON)


def test_the_last_load_of_a_table_and_the_last_good_one(settings: Settings) -> None:
    assert last_loads(settings) == {}
    for hours, error in ((2, None), (1, None), (3, "away"), (4, "still away")):
        loaded(settings, WHOLE, NIGHT + timedelta(hours=hours), error)
    loaded(settings, CHANGES, NIGHT, "never was there")
    loaded(settings, ANY_TIME, NIGHT, "away")
    loaded(settings, ANY_TIME, NIGHT + timedelta(hours=1))
    assert last_loads(settings) == {
        WHOLE: LastLoad(NIGHT + timedelta(hours=2), NIGHT + timedelta(hours=4), "still away"),
        CHANGES: LastLoad(None, NIGHT, "never was there"),
        ANY_TIME: LastLoad(NIGHT + timedelta(hours=1)),
    }
