"""Starting and stopping one service, with a server that misbehaves in every way that we know."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from pipelines.runtime.errors import ServiceError
from pipelines.runtime.launcher import log_tail, relaunch, start_service, stop_service
from pipelines.runtime.ports import service_folder
from pipelines.runtime.process import ProcessRecord, birth_mark, service_processes
from pipelines.runtime.service import Service
from pipelines.runtime.settings import Settings

MakeFake = Callable[..., Service]
WaitUntil = Callable[..., None]


def start(settings: Settings, service: Service) -> ProcessRecord:
    return start_service(settings, service, lambda _phrase: None)


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def test_a_slow_server_is_waited_for_and_recorded(settings: Settings, fake: MakeFake) -> None:
    phrases: list[str] = []
    record = start_service(settings, fake("--delay-s", "0.7"), phrases.append)
    assert record.process() is not None
    assert any("no answer" in phrase for phrase in phrases)
    assert ProcessRecord.read(service_folder(settings, "fake")) == record
    assert stop_service(settings, "fake") == "stopped"
    assert birth_mark(record.pid) == ""
    assert ProcessRecord.read(service_folder(settings, "fake")) is None


def test_a_server_has_its_private_variables_also_after_a_restart(settings: Settings, fake: MakeFake) -> None:
    service = replace(fake(), private={"AIRFLOW_CONN_SECTOR_SOYT": "postgresql://u:hush@h/d"})
    record = start(settings, service)
    folder = service_folder(settings, "fake")
    assert psutil.Process(record.pid).environ()["AIRFLOW_CONN_SECTOR_SOYT"] == "postgresql://u:hush@h/d"
    assert oct((folder / "process.json").stat().st_mode & 0o777) == "0o600"
    assert start(settings, replace(service, private={})).pid == record.pid, "another shell restarts nothing"
    os.killpg(record.pid, signal.SIGKILL)
    again = relaunch(record, folder)
    assert psutil.Process(again.pid).environ()["AIRFLOW_CONN_SECTOR_SOYT"] == "postgresql://u:hush@h/d"
    stop_service(settings, "fake")


def test_a_server_that_dies_at_once_is_told_with_its_log(settings: Settings, fake: MakeFake) -> None:
    begun = time.monotonic()
    with pytest.raises(ServiceError, match=r"fake ended before it was ready.*\n(.*\n)*.*frobnicate") as caught:
        start(settings, fake("--die-after-s", "0"))
    assert "lake doctor" in caught.value.remedy
    assert time.monotonic() - begun < 15, "a dead child must be noticed, not waited for"
    assert ProcessRecord.read(service_folder(settings, "fake")) is None


def test_a_server_that_never_answers_is_ended(settings: Settings, fake: MakeFake) -> None:
    with pytest.raises(ServiceError, match=r"was not ready after 1 s \(no answer"):
        start(settings, fake("--delay-s", "600", start_timeout_s=1.0))
    assert list(service_processes(service_folder(settings, "fake"))) == []


def test_the_answer_of_a_stranger_is_not_ours(settings: Settings, fake: MakeFake) -> None:
    with pytest.raises(ServiceError, match="belongs to another"):
        start(settings, fake("--identity", "another", start_timeout_s=2.0))


def test_a_server_that_ignores_term_is_killed_after_its_grace(settings: Settings, fake: MakeFake) -> None:
    record = start(settings, fake("--ignore-term", stop_grace_s=0.5))
    assert stop_service(settings, "fake") == "killed"
    assert birth_mark(record.pid) == ""


def test_started_twice_is_one_process(settings: Settings, fake: MakeFake) -> None:
    first = start(settings, fake())
    assert start(settings, fake()) == first


def test_a_new_configuration_restarts_it(settings: Settings, fake: MakeFake) -> None:
    first = start(settings, fake())
    second = start(settings, replace(fake(), fingerprint="new jars"))
    assert second.pid != first.pid
    assert birth_mark(first.pid) == ""


def test_a_taken_port_names_who_holds_it(settings: Settings, fake: MakeFake) -> None:
    first = start(settings, fake())
    with pytest.raises(ServiceError, match=rf"Port \d+ of second \(http\) was taken by process {first.pid} "):
        start(settings, fake(name="second"))


def test_a_stale_record_whose_pid_is_a_strangers_is_never_signalled(
    settings: Settings, fake: MakeFake, stranger: subprocess.Popen[bytes]
) -> None:
    start(settings, fake())
    folder = service_folder(settings, "fake")
    record = ProcessRecord.read(folder)
    assert record is not None
    replace(record, pid=stranger.pid).write(folder)
    # Our own process is found by its mark and ended; the stranger, whose birth differs, lives on.
    stop_service(settings, "fake")
    assert birth_mark(record.pid) == ""
    assert stranger.poll() is None


def test_a_torn_record_is_no_record(settings: Settings, fake: MakeFake) -> None:
    first = start(settings, fake())
    folder = service_folder(settings, "fake")
    (folder / "process.json").write_text('{"pid": 1', encoding="utf-8")
    assert ProcessRecord.read(folder) is None
    second = start(settings, fake())
    assert birth_mark(first.pid) == "", "what an unreadable record had begun is ended before another begins"
    assert second.process() is not None


def test_a_crash_between_start_and_record_leaves_nothing(settings: Settings, fake: MakeFake) -> None:
    record = start(settings, fake())
    (service_folder(settings, "fake") / "process.json").unlink()
    assert stop_service(settings, "fake") == "stopped"
    assert birth_mark(record.pid) == ""


def test_children_in_other_sessions_end_too(settings: Settings, fake: MakeFake, wait_until: WaitUntil) -> None:
    start(settings, fake("--detach"))
    folder = service_folder(settings, "fake")
    wait_until(lambda: len(list(service_processes(folder))) == 2)
    found = list(service_processes(folder))
    stop_service(settings, "fake")
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in found)


@pytest.mark.skipif(sys.platform != "linux", reason="the environment is read from /proc")
def test_a_server_that_rewrites_its_environment_is_still_recognised(settings: Settings, fake: MakeFake) -> None:
    record = start(settings, fake("--rename"))
    assert Path(f"/proc/{record.pid}/environ").read_bytes().strip(b"\0") == b""
    assert [process.pid for process in service_processes(service_folder(settings, "fake"))] == [record.pid]


def test_the_record_holds_no_time_of_the_wall_clock_for_identity(settings: Settings, fake: MakeFake) -> None:
    record = start(settings, fake())
    text = json.loads((service_folder(settings, "fake") / "process.json").read_text(encoding="utf-8"))
    assert text["birth"] == birth_mark(record.pid)
    assert oct((service_folder(settings, "fake") / "process.json").stat().st_mode & 0o777) == "0o600"


def test_the_log_keeps_every_start(settings: Settings, fake: MakeFake) -> None:
    start(settings, fake())
    stop_service(settings, "fake")
    start(settings, fake())
    lines = log_tail(service_folder(settings, "fake"), 100)
    assert [bool(re.fullmatch(r"--- \S+Z start fake", line)) for line in lines].count(True) == 2


def test_a_missing_program_is_one_sentence(settings: Settings, fake: MakeFake) -> None:
    with pytest.raises(ServiceError, match="cannot be run") as caught:
        start(settings, replace(fake(), command=("/nonexistent/server",)))
    assert caught.value.remedy == "Run `make setup`."


def test_stop_of_what_never_ran(settings: Settings) -> None:
    assert stop_service(settings, "fake") == "was not running"


def test_a_killed_process_is_noticed_as_dead(settings: Settings, fake: MakeFake, wait_until: WaitUntil) -> None:
    record = start(settings, fake())
    os.kill(record.pid, signal.SIGKILL)
    wait_until(lambda: record.process() is None)
