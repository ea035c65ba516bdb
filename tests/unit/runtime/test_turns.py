"""Duties that are done again and again: no failure ends them, and how they are stands in the status."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import psutil
import pytest

from pipelines.commands import desk
from pipelines.runtime import services
from pipelines.runtime.errors import LakeError
from pipelines.runtime.process import lake_executable
from pipelines.runtime.settings import Settings
from pipelines.runtime.status import duties
from pipelines.runtime.turns import Duty, repeat, told

WaitUntil = Callable[..., None]
LOOP = """
import sys
from pathlib import Path
from pipelines.runtime.errors import LakeError
from pipelines.runtime.process import lake_executable
from pipelines.runtime.settings import Settings
from pipelines.runtime.turns import Duty, repeat
broker = Path(sys.argv[1])
def turn():
    if not broker.exists():
        raise LakeError("Kafka is down.", "Run `lake up`.")
    return broker.read_text()
repeat(Settings.load(), [Duty("cap", 0.1, turn)], print)
"""


def run_for(settings: Settings, found: list[Duty], turns: int) -> list[str]:
    """Do duties until something has been said ``turns`` times; returns what was."""
    said: list[str] = []
    stop = threading.Event()

    def say(text: str) -> None:
        said.append(text)
        if len(said) >= turns:
            stop.set()

    ender = threading.Timer(20, stop.set)
    ender.start()
    repeat(settings, found, say, stop)
    ender.cancel()
    return said


def test_a_failure_is_said_with_its_remedy_and_the_next_turn_goes_on(settings: Settings) -> None:
    outcomes = iter([LakeError("Kafka is down.", "Run `lake up`."), ValueError("odd"), "sent"])

    def turn() -> str:
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    said = run_for(settings, [Duty("cap", 0.01, turn)], 3)
    assert said == ["Kafka is down. Run `lake up`.", "ValueError: odd", "sent"]
    (found,) = told(settings)
    assert (found.turns, found.failures, found.in_a_row, found.problem, found.done) == (1, 2, 0, None, "sent")


def test_the_same_failure_is_said_once_counted_always_and_does_not_stop_another_duty(settings: Settings) -> None:
    def away() -> str:
        raise LakeError("Kafka is down.")

    numbers = iter(range(100))
    said = run_for(settings, [Duty("cap", 0.001, away), Duty("forecast", 0.3, lambda: str(next(numbers)))], 4)
    assert said == ["Kafka is down.", "0", "1", "2"]
    cap, forecast = told(settings)
    assert cap.failures == cap.in_a_row > 1 and cap.succeeded_at is None
    assert forecast.turns == 3 and forecast.failures == 0


def test_nothing_is_done_without_news_and_what_was_seen_outlives_the_process(settings: Settings) -> None:
    news = iter(["a", "a", "b", "b", "b"])
    turns: list[str] = []
    stop = threading.Event()

    def look() -> str:
        seen = next(news, None)
        if seen is None:
            stop.set()
        return seen or "b"

    def turn() -> str:
        turns.append("turn")
        return ""

    repeat(settings, [Duty("cap", 0.001, turn, look)], turns.append, stop)
    assert turns == ["turn", "turn"]
    news = iter(["b"])
    stop.clear()
    repeat(settings, [Duty("cap", 0.001, turn, look)], turns.append, stop)
    assert turns == ["turn", "turn"], "a new process knows what the one before it has done"


def test_what_failed_is_done_again_though_nothing_is_new(settings: Settings) -> None:
    outcomes = iter(["", "sent"])

    def turn() -> str:
        if not (outcome := next(outcomes)):
            raise LakeError("Kafka is down.")
        return outcome

    assert run_for(settings, [Duty("cap", 0.001, turn, lambda: "same")], 2) == ["Kafka is down.", "sent"]


@pytest.mark.parametrize(
    ("every_s", "failures", "pause_s"),
    [(15.0, 0, 15.0), (15.0, 1, 15.0), (15.0, 2, 30.0), (15.0, 9, 60.0), (600.0, 1, 600.0), (600.0, 99, 600.0)],
)
def test_the_wait_grows_up_to_a_minute_or_the_period(every_s: float, failures: int, pause_s: float) -> None:
    assert Duty("cap", every_s, lambda: "").pause_s(failures) == pause_s


def test_two_processes_do_not_do_one_duty(settings: Settings) -> None:
    inner: list[str] = []

    def turn() -> str:
        inner.extend(run_for(settings, [Duty("cap", 0.01, lambda: "mine")], 1))
        return "done"

    assert run_for(settings, [Duty("cap", 0.01, turn)], 1) == ["done"]
    assert inner == [
        "Another process does the duty cap of city. See `lake status`; `lake stop` ends the one of `lake start`."
    ]
    (found,) = told(settings)
    assert (found.done, found.failures) == ("done", 0), "the other one's failure is not written over what holds"


def test_the_status_tells_what_is_late_failing_or_stopped(settings: Settings) -> None:
    assert duties(settings).rows == [] and duties(settings).is_good
    run_for(settings, [Duty("forecast", 600.0, lambda: "12 rows")], 1)
    assert duties(settings).rows[0][:2] == ("forecast", "đã dừng (stopped)") and duties(settings).is_good
    path = settings.state / "desk" / "city" / "forecast.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    for ago, problem, state, is_good in (
        (timedelta(minutes=29), None, "tốt (ok)", True),
        (timedelta(minutes=29), "Kafka [down].", "lỗi (failing)", False),
        (timedelta(minutes=31), None, "QUÁ HẠN (LATE)", False),
    ):
        at = (datetime.now(UTC) - ago).isoformat()
        path.write_text(json.dumps({**record, "ended_at": None, "succeeded_at": at, "problem": problem}))
        section = duties(settings)
        assert (section.rows[0][1], section.is_good) == (state, is_good)
        assert section.rows[0][2].startswith(f"{ago // timedelta(minutes=1)} min")


def test_it_ends_at_term_after_its_turn(settings: Settings, wait_until: WaitUntil) -> None:
    broker = settings.state / "broker"
    broker.parent.mkdir(parents=True)
    broker.write_text("sent")
    env = {**os.environ, **settings.environment()}
    process = subprocess.Popen([sys.executable, "-c", LOOP, str(broker)], env=env, stdout=subprocess.DEVNULL)
    wait_until(lambda: any(each.turns > 2 for each in told(settings)))
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == 0
    (found,) = told(settings)
    assert found.ended_at is not None and not found.is_late(datetime.now(UTC) + timedelta(days=1))


def test_a_killed_daemon_comes_back_and_a_broker_that_was_away_does_not_end_it(
    settings: Settings, wait_until: WaitUntil
) -> None:
    broker = settings.state / "broker"
    first = services.start_daemon(settings, "desk", [sys.executable, "-c", LOOP, str(broker)])
    wait_until(lambda: any(each.failures > 1 for each in told(settings)))
    assert services.running(settings)["city.desk"].pid == first.pid, "a failure does not end it"
    broker.write_text("sent")
    wait_until(lambda: told(settings)[0].done == "sent")
    assert told(settings)[0].problem is None
    os.kill(first.pid, signal.SIGKILL)
    wait_until(lambda: any(each.pid != first.pid and each.turns > 0 for each in told(settings)))
    assert services.running(settings)["city.desk"].pid == told(settings)[0].pid
    assert services.stop_daemon(settings, "desk") == "stopped"
    assert told(settings)[0].ended_at is not None


def test_the_desk_idles_for_next_to_nothing(settings: Settings, wait_until: WaitUntil) -> None:
    """Nothing is imported and no table is opened while there is no news."""
    folder = settings.state / "desk" / "city"
    folder.mkdir(parents=True)
    for name, kind in desk.DUTIES.items():
        quiet = {"name": name, "pid": 0, "every_s": 1.0, "started_at": "2025-01-01T00:00:00+00:00"}
        seen = desk.commits(settings, kind, time.time())
        (folder / f"{name}.json").write_text(json.dumps({**quiet, "seen": seen}))
    env = {**os.environ, **settings.environment()}
    process = subprocess.Popen([lake_executable(), "desk", "run"], env=env, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: all(each.pid == process.pid for each in told(settings)))
        idle = psutil.Process(process.pid)
        before = idle.cpu_times()
        time.sleep(2)
        after = idle.cpu_times()
        assert after.user + after.system - before.user - before.system <= 0.05
        assert idle.memory_info().rss < 60 * 2**20
        assert idle.children() == []
        assert {each.failures for each in told(settings)} == {0}
    finally:
        process.terminate()
        assert process.wait(timeout=10) == 0
