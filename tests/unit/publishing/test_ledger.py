"""Records of pins, what they protect, and checkpoints at a version."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from pipelines.publishing import ledger
from pipelines.publishing.ledger import Publication
from pipelines.publishing.publication import ensure_checkpoint
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings

HOME = Path(__file__).resolve().parents[3]
NOW = datetime(2025, 11, 4, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path):
    return Settings.load({"LAKE_HOME": str(HOME), "LAKE_STATE": str(tmp_path)})


def moved(version, previous, state="published", days_ago=0, dataset="river_stage", action="publish"):
    return Publication(
        dataset,
        "silver",
        version,
        previous,
        state,
        action,
        "passed",
        f"r{version}",
        "",
        "A",
        NOW - timedelta(days=days_ago),
    )


def test_records_come_back_in_order(settings):
    assert ledger.publications(settings) == []
    plan, done = moved(2, 1, "planned", 1), moved(2, 1, "published", 1)
    ledger.record(settings, [done, plan])
    ledger.record(settings, [])
    assert ledger.publications(settings) == [plan, done]
    assert DeltaTable(str(settings.table_path("catalog", "publication"))).version() == 0


def test_a_plan_is_open_until_it_is_finished_or_replaced():
    plan = moved(2, 1, "planned")
    assert ledger.open_plans([plan]) == (plan,)
    assert ledger.open_plans([plan, moved(2, 1)]) == ()
    later = moved(3, 1, "planned")
    assert ledger.open_plans([plan, later]) == (later,)


def test_pins_plans_rollbacks_and_the_last_week_stay():
    records = [
        moved(1, None, days_ago=90),
        moved(2, 1, days_ago=60),
        moved(5, 2, days_ago=40),
        moved(6, 5, "planned", days_ago=39),
        moved(8, None, days_ago=6, dataset="rain_gauge"),
        moved(9, 8, days_ago=5, dataset="rain_gauge"),
    ]
    assert ledger.needed_versions(records, NOW) == {
        ("silver", "river_stage"): frozenset({2, 5, 6}),
        ("silver", "rain_gauge"): frozenset({8, 9}),
    }
    assert ledger.current(records)["river_stage"].version == 5


def test_nobody_goes_back_to_rows_that_retention_has_deleted():
    records = [moved(4, 2, days_ago=60), moved(5, 4, days_ago=3), moved(7, 5, "planned", days_ago=1)]
    retired = {"silver.river_stage": 6, "silver.rain_gauge": 9}
    # What people read stays whatever it holds: it moves on by publishing, and maintenance names it.
    assert ledger.needed_versions(records, NOW, retired=retired) == {("silver", "river_stage"): frozenset({5, 7})}
    assert ledger.needed_versions([moved(9, 8, days_ago=3, dataset="rain_gauge")], NOW, retired=retired) == {
        ("silver", "rain_gauge"): frozenset({9})
    }


def test_checkpoint_is_made_at_the_pinned_version_and_the_pointer_stays_at_the_newest(settings):
    path = settings.table_path("silver", "river_stage")
    for number in range(4):
        write_deltalake(str(path), pa.table({"a": [number]}), mode="append")
    log = path / "_delta_log"
    assert ensure_checkpoint(settings, "silver", "river_stage", 3)
    assert ensure_checkpoint(settings, "silver", "river_stage", 1)
    assert not ensure_checkpoint(settings, "silver", "river_stage", 1)
    assert (log / f"{1:020d}.checkpoint.parquet").exists()
    assert '"version":3' in (log / "_last_checkpoint").read_text()
    assert DeltaTable(str(path), version=1).to_pyarrow_table().num_rows == 2
    assert DeltaTable(str(path)).to_pyarrow_table().num_rows == 4
    with pytest.raises(LakeError, match="bản 9 không đọc được"):
        ensure_checkpoint(settings, "silver", "river_stage", 9)


def test_rollback_counts_as_the_current_pin():
    records = [moved(5, None), replace(moved(3, 5, action="rollback"), published_at=NOW + timedelta(hours=1))]
    assert ledger.current(records)["river_stage"].version == 3
