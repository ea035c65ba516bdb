"""The supervisor restarts what died, backs off, and leaves alone what somebody stopped."""

import os
import signal
import sys
from collections.abc import Callable

import pytest

from pipelines.runtime import services
from pipelines.runtime.launcher import service_lock, start_service, stop_service
from pipelines.runtime.ports import service_folder
from pipelines.runtime.process import ProcessRecord
from pipelines.runtime.service import Service
from pipelines.runtime.settings import Settings
from pipelines.runtime.supervisor import Backoff, Supervisor

MakeFake = Callable[..., Service]
WaitUntil = Callable[..., None]
MakeDead = Callable[[Service], ProcessRecord]


@pytest.fixture
def killed(settings: Settings, wait_until: WaitUntil) -> MakeDead:
    """Start a service and kill it."""

    def make(service: Service) -> ProcessRecord:
        record = start_service(settings, service, lambda _phrase: None)
        os.kill(record.pid, signal.SIGKILL)
        wait_until(lambda: record.process() is None)
        return record

    return make


def test_a_dead_service_is_restarted_as_it_was(
    settings: Settings, fake: MakeFake, killed: MakeDead, wait_until: WaitUntil
) -> None:
    dead = killed(fake())
    assert Supervisor(settings).look_once() == ["fake"]
    again = ProcessRecord.read(service_folder(settings, "fake"))
    assert again is not None
    assert again.process() is not None
    assert (again.restarts, again.command, again.command_hash) == (1, dead.command, dead.command_hash)
    wait_until(lambda: fake().probe() is None)
    assert start_service(settings, fake(), lambda _phrase: None) == again, "a restarted service is up to date"


def test_a_second_death_at_once_waits(
    settings: Settings, fake: MakeFake, killed: MakeDead, wait_until: WaitUntil
) -> None:
    killed(fake())
    supervisor = Supervisor(settings)
    assert supervisor.look_once() == ["fake"]
    record = ProcessRecord.read(service_folder(settings, "fake"))
    assert record is not None
    os.kill(record.pid, signal.SIGKILL)
    wait_until(lambda: record.process() is None)
    assert supervisor.look_once() == []
    wait_until(lambda: supervisor.look_once() == ["fake"])


def test_a_stopped_service_stays_stopped(settings: Settings, fake: MakeFake) -> None:
    start_service(settings, fake(), lambda _phrase: None)
    stop_service(settings, "fake")
    assert Supervisor(settings).look_once() == []


def test_a_service_that_somebody_starts_or_stops_is_not_touched(
    settings: Settings, fake: MakeFake, killed: MakeDead
) -> None:
    killed(fake())
    with service_lock(service_folder(settings, "fake")):
        assert Supervisor(settings).look_once() == []


@pytest.mark.parametrize(("restarts", "delay_s"), [(1, 0.5), (2, 1.0), (4, 4.0), (9, 30.0)])
def test_the_wait_doubles_up_to_half_a_minute(restarts: int, delay_s: float) -> None:
    backoff = Backoff()
    for _ in range(restarts):
        backoff.after_restart(now_s=100.0, lived_s=1.0)
    assert (backoff.delay_s, backoff.not_before_s) == (delay_s, 100.0 + delay_s)


def test_a_long_life_forgets_the_wait() -> None:
    backoff = Backoff(delay_s=30.0)
    backoff.after_restart(now_s=0.0, lived_s=3600.0)
    assert backoff.delay_s == 0.5


def test_a_daemon_is_supervised_and_ended_with_everything(settings: Settings, wait_until: WaitUntil) -> None:
    argv = [sys.executable, "-c", "import time\nwhile True: time.sleep(0.2)"]
    drill = settings.with_namespace("drill")
    first = services.start_daemon(drill, "landing", argv)
    assert services.start_daemon(drill, "landing", argv) == first
    other = services.start_daemon(settings, "landing", argv)
    assert set(services.running(settings)) == {"supervisor", "drill.landing", "city.landing"}
    os.kill(first.pid, signal.SIGKILL)
    wait_until(lambda: services.running(settings).get("drill.landing", first).pid != first.pid)
    assert services.stop_daemon(settings, "landing") == "stopped"
    outcome = services.down(settings)
    assert outcome == {"supervisor": "stopped", "city.landing": "was not running", "drill.landing": "stopped"}
    assert services.running(settings) == {}
    assert other.process() is None
