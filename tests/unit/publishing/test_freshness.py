"""Ages from the Delta logs alone."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from catalogue import city
from deltalake import write_deltalake

from pipelines.contracts.targets.delta import arrow_schema
from pipelines.ingestion.records import FAILED, LoadRun, record
from pipelines.publishing import ledger
from pipelines.publishing.freshness import REPLAY_CLOCK, WALL_CLOCK, age_text, freshness, section
from pipelines.publishing.ledger import Publication
from pipelines.runtime.settings import Settings

HOME = Path(__file__).resolve().parents[3]
REGISTRY = city()
START = datetime(2025, 10, 27, 13, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path):
    return Settings.load({"LAKE_HOME": str(HOME), "LAKE_STATE": str(tmp_path)})


def write(settings, minutes, mode="append", dataset="river_stage", key="71520"):
    at = START + timedelta(minutes=minutes)
    measure = {"river_stage": "stage_m", "rain_gauge": "rain_mm"}[dataset]
    row = {
        "station_id": key,
        "observed_at": at,
        measure: Decimal("1.5"),
        "qc_flag": 1,
        "origin": "replay",
        "revision": 0,
        "received_at": at + timedelta(seconds=5),
        "observed_date": date(2025, 10, 27),
    }
    table = pa.Table.from_pylist([row], schema=arrow_schema(REGISTRY.dataset(dataset), "silver"))
    write_deltalake(str(settings.table_path("silver", dataset)), table, mode=mode, partition_by=["observed_date"])


def pin(settings, version):
    record = Publication("river_stage", "silver", version, None, "published", "publish", "passed", "r", "", "A", START)
    ledger.record(settings, [record])


def of(settings, dataset="river_stage", now=None):
    return next(f for f in freshness(settings, REGISTRY, now) if f.dataset == dataset)


def test_pin_and_live_age_on_the_wall_clock(settings):
    write(settings, 0)
    write(settings, 30)
    pin(settings, 0)
    found = of(settings, now=START + timedelta(minutes=40))
    assert (found.pinned_age, found.live_age) == (timedelta(minutes=40), timedelta(minutes=10))
    assert found.clock == WALL_CLOCK
    assert found.is_fresh is False
    assert of(settings, now=START + timedelta(minutes=15)).is_fresh is True


def test_replays_are_compared_with_the_newest_arrival(settings):
    replay = settings.with_namespace("drill")
    write(replay, 0)
    write(replay, 60, dataset="rain_gauge")
    stage, rain = of(replay), of(replay, "rain_gauge")
    assert stage.clock == REPLAY_CLOCK
    assert stage.live_age == timedelta(minutes=60, seconds=5)
    assert (stage.is_fresh, rain.is_fresh) == (False, True)


def test_nothing_is_known_of_a_table_that_is_not_there(settings):
    found = of(settings)
    assert (found.pinned, found.live, found.is_fresh) == (None, None, None)
    shown = section(settings)
    assert {row[0] for row in shown.rows} == {d.id for d in REGISTRY.datasets}
    assert shown.is_good


def test_a_mart_on_stale_inputs_is_stale(settings):
    replay = settings.with_namespace("drill")
    write(replay, 0)
    write(replay, 60, dataset="rain_gauge")
    schema = pa.schema([pa.field(f.name, f.type.arrow) for f in REGISTRY.dataset("fct_river_stage").fields])
    write_deltalake(str(replay.table_path("gold", "fct_river_stage")), schema.empty_table())
    found = of(replay, "fct_river_stage")
    assert found.live_age == timedelta(0)
    assert found.is_fresh is False


def write_prices(settings, at):
    """One row of a table that is read as a whole, as it arrived."""
    schema = arrow_schema(REGISTRY.dataset("med_price"), "silver")
    columns = {name: pa.nulls(1, schema.field(name).type) for name in schema.names}
    columns["received_at"] = pa.array([at], schema.field("received_at").type)
    table = pa.table({name: columns[name] for name in schema.names})
    write_deltalake(str(settings.table_path("silver", "med_price")), table, mode="append")


def load(settings, at, **status):
    record(settings, LoadRun(at.isoformat(), "med_price", at, at, **status))


def test_a_snapshot_that_nobody_changes_is_fresh_while_it_is_read(settings):
    write_prices(settings, START)
    later = START + timedelta(days=30)
    assert of(settings, "med_price", later).is_fresh is False, "nobody said that it was read since"
    load(settings, START)
    load(settings, later - timedelta(hours=3))
    found = of(settings, "med_price", later)
    assert (found.live_age, found.is_fresh) == (timedelta(hours=3), True)


def test_a_load_that_failed_makes_nothing_fresh(settings):
    write_prices(settings, START)
    load(settings, START)
    later = START + timedelta(days=3)
    load(settings, later, status=FAILED, error="away")
    found = of(settings, "med_price", later)
    assert (found.live_age, found.is_fresh) == (timedelta(days=3), False)


def test_a_pin_that_lacks_rows_of_the_live_table_is_as_old_as_its_own(settings):
    write_prices(settings, START)
    record_of = Publication("med_price", "silver", 0, None, "published", "publish", "passed", "r", "", "A", START)
    ledger.record(settings, [record_of])
    later = START + timedelta(days=3)
    load(settings, later)
    assert of(settings, "med_price", later).pinned_age == timedelta(0), "the source had nothing new"
    write_prices(settings, later)
    found = of(settings, "med_price", later)
    assert (found.pinned_age, found.live_age, found.is_fresh) == (timedelta(days=3), timedelta(0), False)


@pytest.mark.parametrize(
    ("age", "said"),
    [(None, "—"), (timedelta(seconds=5), "5 giây"), (timedelta(minutes=59), "59 phút"),
     (timedelta(hours=5, minutes=10), "5 giờ 10 phút"), (timedelta(days=3), "3 ngày")],
)  # fmt: skip
def test_ages_are_said_in_words(age, said):
    assert age_text(age) == said
