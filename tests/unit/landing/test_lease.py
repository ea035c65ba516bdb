"""One writer per table: the second is told who writes, and a dead holder's lease is free."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from pipelines.landing.lease import LeaseHeld, is_held, lease, leases
from pipelines.runtime.settings import Settings

HOLD = """
import sys
from pipelines.landing.lease import lease
from pipelines.runtime.settings import Settings
with lease(Settings.load(), "silver.river_stage"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_second_is_told_who_writes_and_the_lease_ends_with_its_process(settings: Settings) -> None:
    environment = {**os.environ, **settings.environment(), "PYTHONPATH": str(settings.home)}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    assert is_held(settings, "silver.river_stage")
    with pytest.raises(LeaseHeld, match=f"Process {holder.pid} on .* writes silver.river_stage"):
        with lease(settings, "silver.river_stage"):
            pass
    holder.send_signal(signal.SIGKILL)
    holder.communicate(timeout=30)
    with lease(settings, "silver.river_stage", wait_s=5):
        assert is_held(settings, "silver.river_stage")


def test_leases_are_taken_all_or_none(settings: Settings) -> None:
    with lease(settings, "silver.b"):
        with pytest.raises(LeaseHeld):
            with leases(settings, ["silver.c", "silver.a", "silver.b"]):
                pass
        assert not is_held(settings, "silver.a")
    with leases(settings, ["silver.a", "silver.b"]) as held:
        held.enter_context(lease(settings, "silver.new"))
        assert is_held(settings, "silver.new")
    assert not is_held(settings, "silver.new")


def test_who_only_asks_takes_no_lease_from_the_one_who_starts(settings: Settings) -> None:
    over = threading.Event()
    asked: list[bool] = []

    def ask() -> None:
        while not over.is_set():
            asked.append(is_held(settings, "silver.river_stage"))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for _ in range(300):
            with lease(settings, "silver.river_stage"):
                pass
    finally:
        over.set()
        asking.join()
    assert asked
