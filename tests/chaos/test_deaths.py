"""Alone and two at once: whatever dies, under load, each record that was acknowledged is in the lake once.

Flood and traffic run beside each other: the recorded flood with its simulated clock, which must give the tables of an
undisturbed run, and live lane readings over HTTP, whose sender keeps a book.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Mapping

import pytest
from demo_run import PLAN, DemoRun, rows

from pipelines.commands.demo import wait_until_settled
from pipelines.commands.flood_night import forecast_second_wave
from pipelines.landing.ledger import ledger
from pipelines.replay.catalog import make_replay
from pipelines.replay.sender import send_replay
from pipelines.runtime.errors import LakeError
from pipelines.runtime.services import endpoints, running
from pipelines.runtime.settings import Settings

from .conftest import LaneSender, in_silver, landed

pytestmark = [pytest.mark.long, pytest.mark.timeout(2400)]
RECORDED_SECONDS_PER_SECOND = 1_500
"""Nine days of flood in about 520 s: the deaths fall into it."""
OWN = ("gateway", "landing", "jobs")
"""Daemons of a namespace; the others are servers of the installation."""
DEATHS = (
    ("kafka",),
    ("flink-jobmanager",),
    ("gateway",),
    ("gateway", "kafka"),
    ("kafka", "flink-taskmanager"),
    ("landing", "flink-jobmanager"),
    ("flink-taskmanager", "landing"),
    ("gateway", "landing"),
    ("kafka", "landing"),
    ("gateway", "flink-taskmanager"),
    ("gateway", "flink-jobmanager"),
    ("flink-taskmanager", "flink-jobmanager"),
    ("kafka", "flink-jobmanager"),
    ("jobs", "flink-taskmanager"),
)


def test_deaths_alone_and_in_pairs_lose_and_double_nothing(
    demo_run: DemoRun, night: Settings, lanes: Callable[[], LaneSender], wait_until: Callable[..., None]
) -> None:
    registry = demo_run.registry
    sender = lanes()
    flood = threading.Thread(target=_flood, args=(night, demo_run), daemon=True)
    flood.start()
    wait_until(lambda: min(landed(night), landed(night, "river_stage")) > 0, 120, "the first readings in silver")

    for together in DEATHS:
        before = {name: running(night)[_process(night, name)].pid for name in together}
        for pid in before.values():
            os.killpg(pid, signal.SIGKILL)
        wait_until(lambda before=before: _are_new(night, before), 120, f"{together} come back by themselves")
        sent = len(sender.acknowledged)
        wait_until(lambda sent=sent: landed(night) > sent, 300, f"after {together} readings arrive in silver again")

    flood.join(timeout=600)
    assert not flood.is_alive()
    sender.stop()
    assert sender.unexpected == []
    wait_until_settled(night, registry, 300)
    forecast_second_wave(night, registry)
    wait_until_settled(night, registry, 300)

    wait_until(lambda: landed(night) >= len(sender.acknowledged), 300, "what was acknowledged is in silver")
    assert in_silver(night) == sender.acknowledged
    for dataset in registry.streams("flood") + registry.derived("flood"):
        if dataset.id != "alert_cap":  # its identifiers carry the namespace
            assert rows(night, dataset).equals(rows(demo_run.settings, dataset)), dataset.id
    assert ledger(night, registry).violations == ()


def _flood(settings: Settings, demo: DemoRun) -> None:
    """Send the flood; where the broker is away for too long, once more from its beginning, as a sender would."""
    replay = make_replay("flood-2025", demo.registry, settings.home / "data", PLAN.faults)
    speed = float(RECORDED_SECONDS_PER_SECOND)
    while True:
        try:
            send_replay(replay, settings, demo.registry, endpoints(settings).kafka, speed=speed)
            return
        except LakeError:
            speed = 0.0


def _are_new(settings: Settings, before: Mapping[str, int]) -> bool:
    """Whether each of these processes runs, and is another than it was."""
    now = running(settings)
    return all((found := now.get(_process(settings, n))) and found.pid != pid for n, pid in before.items())


def _process(settings: Settings, name: str) -> str:
    return settings.group(name) if name in OWN else name
