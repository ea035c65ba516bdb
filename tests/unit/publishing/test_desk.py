"""The daemon of the desk: it drafts by itself, outlives what is away, and comes back when it is killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from catalogue import city
from deltalake import write_deltalake

from pipelines.commands.desk import DUTIES, Name, commits
from pipelines.contracts.targets.delta import arrow_schema
from pipelines.publishing.cap import register
from pipelines.runtime import services
from pipelines.runtime.process import lake_executable
from pipelines.runtime.settings import Settings
from pipelines.runtime.turns import told

HOME = Path(__file__).resolve().parents[3]
START = datetime(2025, 10, 27, tzinfo=UTC)
TEN_MINUTES_S = 600.0


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    found = Settings.load({"LAKE_HOME": str(HOME), "LAKE_STATE": str(tmp_path / "state")})
    yield found
    services.down(found)


def alarm(settings: Settings, *levels: int) -> None:
    """The live tables of a gauge that has passed these levels, an hour apart."""
    rows = [
        {
            "alert_id": f"71520|{level}", "transition": "raise", "transition_at": START + timedelta(hours=level),
            "station_id": "71520", "alarm_level": level, "stage_m": Decimal(level), "threshold_m": Decimal(level),
            "origin": "observed", "received_at": START + timedelta(hours=level), "transition_date": START.date(),
        }
        for level in levels
    ]  # fmt: skip
    for name, content in (("river_stage", []), ("flood_alert", rows)):
        dataset = city().dataset(name)
        path = settings.table_path("silver", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        table = pa.Table.from_pylist(content, schema=arrow_schema(dataset, "silver"))
        write_deltalake(str(path), table, mode="overwrite", partition_by=[str(dataset.partition)])


def test_a_commit_is_news_at_once_or_five_minutes_after_a_tenth(settings: Settings) -> None:
    cap = DUTIES[Name.CAP]
    now = time.time()
    nothing = commits(settings, cap, now)
    alarm(settings, 1)
    alarms = settings.table_path("silver", "flood_alert") / "_delta_log"
    stages = settings.table_path("silver", "river_stage") / "_delta_log"
    step = now // TEN_MINUTES_S * TEN_MINUTES_S
    os.utime(alarms, (step, step))
    os.utime(stages, (step, step))
    seen = commits(settings, cap, step + 301)
    assert seen != nothing
    os.utime(stages, (step + 302, step + 302))
    first = commits(settings, cap, step + 303)
    os.utime(stages, (step + 330, step + 330))
    assert commits(settings, cap, step + 331) == first, "stages that go on coming are news every ten minutes"
    os.utime(alarms, (step + 332, step + 332))
    assert commits(settings, cap, step + 333) != first, "an alarm is news at once"
    assert commits(settings, cap, step + 901) != commits(settings, cap, step + 333), "the last stage is not forgotten"


@pytest.mark.timeout(120)
def test_the_daemon_drafts_by_itself_outlives_a_table_that_is_away_and_comes_back(
    settings: Settings, wait_until: Callable[..., None]
) -> None:
    command = [lake_executable(), "desk", "run", "--duty", "cap", "--every", "0.5"]
    first = services.start_daemon(settings, "desk", command)

    def drafted() -> list[int | None]:
        return [entry.alarm_level for entry in register.entries(settings).values()]

    wait_until(lambda: any(each.failures > 1 for each in told(settings)), 40)
    assert "no table silver.flood_alert" in str(told(settings)[0].problem)
    alarm(settings, 1)
    wait_until(lambda: drafted() == [1], 40)
    wait_until(lambda: told(settings)[0].problem is None, 40)
    assert told(settings)[0].done.startswith("1 bản tin mới")
    assert services.running(settings)["city.desk"].pid == first.pid

    os.kill(first.pid, signal.SIGKILL)
    alarm(settings, 1, 2)
    wait_until(lambda: drafted() == [1, 2], 40)
    assert services.running(settings)["city.desk"].pid != first.pid

    def idles() -> bool:
        before = told(settings)[0]
        time.sleep(1.2)
        after = told(settings)[0]
        return after.turns == before.turns and after.succeeded_at != before.succeeded_at

    wait_until(idles, 30)
    assert drafted() == [1, 2], "nothing is said twice"
    assert services.stop_daemon(settings, "desk") == "stopped"
