"""A real Kafka for the gateway, and gateways as processes that a test can kill."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipelines.contracts.registry import Registry
from pipelines.gateway.sources import Source, create_token
from pipelines.runtime.ports import is_free
from pipelines.runtime.settings import Settings
from pipelines.streaming.topics import ensure_topics

HOME = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def server(lake_services: Any) -> Settings:
    """The settings of an installation in which Kafka runs."""
    lake_services.need("kafka")
    settings: Settings = lake_services.namespace("gate")
    return settings


class GatewayProcess:
    """`lake gateway serve` in a process of its own, on a free port."""

    def __init__(self, settings: Settings, registry: Registry, log: Path, options: tuple[str, ...] = ()) -> None:
        self.settings, self._log, self._options = settings, log, options
        self._port = next(port for port in range(30_500, 32_000) if is_free(port))
        wanted = Source("test-1", "H57.NNMT", ("river_stage", "rain_gauge", "urban_flood_depth"), rate_per_s=100_000)
        self.token = create_token(settings, registry, wanted)
        self._process: subprocess.Popen[bytes] | None = None
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{self._port}", headers={"Authorization": f"Bearer {self.token}"}, timeout=30
        )

    def start(self) -> None:
        """Start it and wait until it answers."""
        env = {**os.environ, **self.settings.environment(), "PYTHONPATH": str(HOME)}
        command = [sys.executable, "-m", "pipelines.cli", "gateway", "serve", "--port", str(self._port)]
        with self._log.open("ab") as stream:
            self._process = subprocess.Popen([*command, *self._options], env=env, stdout=stream, stderr=stream)
        deadline = time.monotonic() + 60
        while True:
            assert self._process.poll() is None, self._log.read_text()
            try:
                self.client.get("/health").raise_for_status()
                return
            except httpx.TransportError:
                assert time.monotonic() < deadline, self._log.read_text()
                time.sleep(0.05)

    def kill(self) -> None:
        """End it as a loss of power of the process would: SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(timeout=20)

    def stop(self) -> int:
        """End it politely; returns its exit status."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(timeout=40)

    def post(self, body: object, dataset: str = "river_stage") -> httpx.Response:
        """Send JSON."""
        return self.client.post(f"/v1/ingest/{dataset}", json=body)

    def ready(self) -> dict[str, Any]:
        """What `/ready` says."""
        told: dict[str, Any] = self.client.get("/ready").json()
        return told


@pytest.fixture
def start_gateway(server: Settings, registry: Registry, tmp_path: Path) -> Iterator[Callable[..., GatewayProcess]]:
    """Start a gateway in a namespace of the test's own; it is killed at the end."""
    begun: list[GatewayProcess] = []

    def start(*options: str) -> GatewayProcess:
        own = server.with_namespace(f"g{uuid.uuid4().hex[:10]}")
        ensure_topics(own, registry.only("demo"))
        gateway = GatewayProcess(own, registry, tmp_path / "gateway.log", options)
        begun.append(gateway)
        gateway.start()
        return gateway

    yield start
    for gateway in begun:
        gateway.kill()
