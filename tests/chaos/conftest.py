"""A namespace whose jobs, landing and gateway run, and a sender that keeps its own book of what was acknowledged."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from catalogue import city
from deltalake import DeltaTable

from pipelines.commands.platform import GATEWAY, start_namespace, stop_namespace
from pipelines.gateway.sources import Source, create_token
from pipelines.runtime import flink
from pipelines.runtime.services import daemon_ports, endpoints
from pipelines.runtime.settings import Settings
from pipelines.serving.bootstrap import apply
from pipelines.streaming.job import jobs_of

BATCH = 100
RETRY_S = 0.2


class LaneSender(threading.Thread):
    """Sends a batch of lane readings a second to the gateway until it is told to stop, as a controller would.

    Whatever is no acknowledgement, a broken connection among it, makes it send the same batch again. Each reading is
    told from every other by its instant; ``vehicle_count`` follows from its number.
    """

    def __init__(self, settings: Settings, token: str) -> None:
        super().__init__(name="lanes", daemon=True)
        port = daemon_ports(settings, GATEWAY, ("http",))["http"]
        self._client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {token}"}, timeout=30
        )
        self._ended = threading.Event()
        self.acknowledged: dict[datetime, int] = {}
        self.spooled = self.turned_away = 0
        self.unexpected: list[str] = []

    def run(self) -> None:
        number = 0
        while not self._ended.is_set():
            now = datetime.now(UTC).replace(microsecond=0)
            # One instant a reading: no batch is sent twice in a second, and a millisecond each.
            instants = [now + timedelta(milliseconds=n) for n in range(BATCH)]
            batch = [
                {
                    "detector_id": f"HUE-D0{1 + (number + n) % 4}",
                    "lane_no": 1,
                    "observed_at": at.isoformat(),
                    "vehicle_count": (number + n) % 60,
                }
                for n, at in enumerate(instants)
            ]
            self._deliver(batch)
            self.acknowledged |= {at: int(str(r["vehicle_count"])) for at, r in zip(instants, batch, strict=True)}
            number += BATCH
            self._ended.wait(max(0.0, (now + timedelta(seconds=1) - datetime.now(UTC)).total_seconds()))

    def _deliver(self, batch: list[dict[str, Any]]) -> None:
        while True:
            try:
                answer = self._client.post("/v1/ingest/lane_minute", json=batch)
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.status_code == 202:
                told = answer.json()
                assert told["accepted"] + told["spooled"] == BATCH
                self.spooled += told["spooled"]
                return
            self.turned_away += 1
            if answer is not None and answer.status_code not in (429, 503):
                self.unexpected.append(f"{answer.status_code} {answer.text[:200]}")
            time.sleep(RETRY_S)

    def stop(self) -> None:
        """End after the batch that is being sent is acknowledged: the book is what must be in the lake, no more."""
        self._ended.set()
        self.join(timeout=120)
        assert not self.is_alive(), "the gateway does not take the last batch"


@pytest.fixture
def night(lake_services: Any) -> Iterator[Settings]:
    """A namespace of its own with everything running that its streams need."""
    lake_services.need("kafka", "flink")
    settings: Settings = lake_services.namespace(f"night{uuid.uuid4().hex[:6]}")
    registry = city().only("demo")
    for _ in apply(settings, registry, serving=False):
        pass
    start_namespace(settings, desk=False)
    for job in jobs_of(registry):
        flink.wait_running(settings, settings.group(job), 240)
    yield settings
    stop_namespace(settings)
    # Its slots are for the next test's jobs.
    with flink.Cluster(endpoints(settings).flink_rest) as cluster:
        for job in jobs_of(registry):
            if (found := cluster.alive(settings.group(job))) is not None:
                cluster.cancel(found.job_id)


@pytest.fixture
def lanes(night: Settings) -> Iterator[Callable[[], LaneSender]]:
    """Start a sender of lane readings in the namespace; it ends with the test."""
    begun: list[LaneSender] = []

    def start() -> LaneSender:
        wanted = Source("lanes", "H57.XD", ("lane_minute",), rate_per_s=100_000, origin="synthetic")
        begun.append(LaneSender(night, create_token(night, city(), wanted)))
        begun[-1].start()
        return begun[-1]

    yield start
    for sender in begun:
        if sender.is_alive():
            sender.stop()


def landed(settings: Settings, dataset: str = "lane_minute") -> int:
    """How many rows a silver table has."""
    path = str(settings.table_path("silver", dataset))
    return DeltaTable(path).count() if DeltaTable.is_deltatable(path) else 0


def in_silver(settings: Settings) -> dict[datetime, int]:
    """The vehicle counts of the lane readings in silver by their instant; fails when an instant is there twice."""
    path = str(settings.table_path("silver", "lane_minute"))
    table = DeltaTable(path).to_pyarrow_table(columns=["observed_at", "vehicle_count"])
    found = dict(zip(table["observed_at"].to_pylist(), table["vehicle_count"].to_pylist(), strict=True))
    assert table.num_rows == len(found), "nothing twice"
    return found
