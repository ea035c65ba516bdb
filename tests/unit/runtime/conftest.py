"""An empty installation per test, fake services in it, and nothing left running afterwards."""

import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from pipelines.runtime import services
from pipelines.runtime.service import Service
from pipelines.runtime.settings import Settings

FAKE_SERVER = Path(__file__).with_name("fake_server.py")
MakeFake = Callable[..., Service]


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    """Settings with an empty state folder; whatever a test leaves running is ended."""
    found = Settings.load({"LAKE_STATE": str(tmp_path / "state")})
    yield found
    services.down(found)


@pytest.fixture
def free_port() -> int:
    """A loopback port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def fake(settings: Settings, free_port: int) -> MakeFake:
    """Make a service that runs the fake server with the given options."""

    def make(
        *options: str, name: str = "fake", start_timeout_s: float = 20.0, stop_grace_s: float = 10.0, port: int = 0
    ) -> Service:
        chosen = port or free_port
        return Service(
            name=name,
            command=(sys.executable, str(FAKE_SERVER), "--port", str(chosen), *options),
            cwd=settings.state / "services" / name,
            ports={"http": chosen},
            probe=lambda: answer_of(chosen),
            start_timeout_s=start_timeout_s,
            stop_grace_s=stop_grace_s,
        )

    return make


def answer_of(port: int) -> str | None:
    """Probe a fake server: None when it answers as ours."""
    try:
        answer = httpx.get(f"http://127.0.0.1:{port}/", timeout=2, trust_env=False).text
    except httpx.HTTPError as error:
        return f"no answer ({type(error).__name__})"
    return None if answer == "ours" else f"the server belongs to {answer}"
