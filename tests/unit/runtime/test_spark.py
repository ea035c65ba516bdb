"""What was asked of a server that was replaced meanwhile is no result."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from pipelines.runtime.errors import ServiceError
from pipelines.runtime.ports import service_folder
from pipelines.runtime.process import ProcessRecord, birth_mark
from pipelines.runtime.settings import Settings
from pipelines.runtime.spark import unbroken


@pytest.fixture
def serve(settings: Settings) -> Iterator[Callable[[], None]]:
    """Make another living process the server of this installation."""
    begun: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        for process in begun:
            process.kill()
            process.wait()
        begun.append(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE))
        pid, folder = begun[-1].pid, service_folder(settings, "spark")
        folder.mkdir(parents=True, exist_ok=True)
        record = ProcessRecord("spark", pid, birth_mark(pid), (), {}, "/", "", {}, time.time(), 0, 15, 1.0)
        record.write(folder)

    yield start
    for process in begun:
        process.kill()
        process.communicate()


def test_what_is_done_with_one_server_is_left_alone(settings: Settings, serve: Callable[[], None]) -> None:
    serve()
    with unbroken(settings):
        pass
    with pytest.raises(KeyError, match="its own"), unbroken(settings):
        raise KeyError("its own")


def test_a_server_that_was_replaced_is_said_whatever_the_client_made_of_it(
    settings: Settings, serve: Callable[[], None]
) -> None:
    serve()
    with (
        pytest.raises(ServiceError, match=r"Spark ended while it was at work.*run the step once more"),
        unbroken(settings),
    ):
        serve()

    def lose_the_session() -> None:
        serve()
        raise KeyError("no session")

    with pytest.raises(ServiceError, match="Spark ended") as caught, unbroken(settings):
        lose_the_session()
    assert isinstance(caught.value.__cause__, KeyError)
