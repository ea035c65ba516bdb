"""A namespace of its own per test on the real broker, and a sender that knows what it sent."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry
from pipelines.contracts.targets import kafka
from pipelines.landing.broker import Broker, Range
from pipelines.landing.ledger import Ledger, ledger
from pipelines.runtime.contracts import registry_of
from pipelines.runtime.settings import Settings

T0 = datetime(2025, 10, 27, tzinfo=UTC)
_NAMES = itertools.count()
_RUN = "from pipelines.landing.commands import landing_app; landing_app()"


class City:
    """One namespace: its topics, a sender of river readings, and landing processes."""

    def __init__(self, settings: Settings, registry: Registry, bootstrap: str) -> None:
        self.settings, self.registry, self.bootstrap = settings, registry, bootstrap
        self._admin = AdminClient({"bootstrap.servers": bootstrap})
        self._producer = Producer({"bootstrap.servers": bootstrap})
        self._offsets = {0: 0, 1: 0}
        self.processes: list[psutil.Popen] = []

    def make_topics(self, *names: str, dataset: Dataset | None = None) -> None:
        """Create the topics of a dataset (river_stage) and the dead letters, or those named."""
        wanted = [
            *kafka.topics(dataset or self.registry.dataset("river_stage"), simulated_clock=True),
            kafka.dead_letter_topic(simulated_clock=True),
        ]
        new = [
            NewTopic(self.settings.topic(t.name), t.partitions, 1, config=dict(t.config))
            for t in wanted
            if not names or t.name in names
        ]
        for future in self._admin.create_topics(new).values():
            future.result(30)

    def delete_topic(self, name: str) -> None:
        """Delete a topic and wait until it is gone."""
        for future in self._admin.delete_topics([self.settings.topic(name)]).values():
            future.result(30)
        wait_until(lambda: self.settings.topic(name) not in self._admin.list_topics(timeout=10).topics)

    def delete_records(self, name: str, partition: int, before: int) -> None:
        """Let Kafka forget the records below an offset."""
        place = TopicPartition(self.settings.topic(name), partition, before)
        for future in self._admin.delete_records([place]).values():
            future.result(30)

    def raw(self, step: int, partition: int = 0) -> dict[str, Any]:
        """Send one raw reading; returns its clean record."""
        at = (T0 + timedelta(minutes=10 * step)).strftime("%Y-%m-%dT%H:%M:%SZ")
        value = {"station_id": ("71520", "71518")[partition], "observed_at": at, "stage_m": 1.5, "origin": "replay"}
        offset = self._offsets[partition]
        self._offsets[partition] += 1
        self.send("raw.river_stage", value, partition, headers=[("source", b"test")])
        return {
            **value, "revision": 0, "qc_flag": 1, "qc_detail": None, "disposition": "on_time", "received_at": at,
            "raw_partition": partition, "raw_offset": offset,
        }  # fmt: skip

    def clean(self, record: Mapping[str, Any] | bytes, partition: int = 0) -> None:
        """Send a clean record, or any bytes in its place."""
        self.send("clean.river_stage", record, partition)

    def dead(self, record: Mapping[str, Any], reason: str = "malformed") -> None:
        """Send the dead letter of a raw record."""
        letter = {
            "dataset": "river_stage", "raw_topic": self.settings.topic("raw.river_stage"), "reason": reason,
            "detail": None, "payload": "e30=", "raw_partition": record["raw_partition"],
            "raw_offset": record["raw_offset"], "received_at": record["received_at"],
        }  # fmt: skip
        self.send("dead_letter", letter, 0)

    def send(self, topic: str, value: Any, partition: int = 0, headers: Any = None) -> None:
        """Send a value to a topic of the namespace."""
        data = value if isinstance(value, bytes) else json.dumps(value)
        self._producer.produce(
            self.settings.topic(topic), data, key=str(partition), partition=partition, headers=headers or []
        )
        if len(self._producer) > 50_000:
            self._producer.flush()

    def flush(self) -> None:
        """Wait until Kafka has everything."""
        self._producer.flush(30)

    def start(self, *arguments: str, path: Path | None = None) -> psutil.Popen:
        """Start `lake landing run` as a process of its own."""
        environment = {**os.environ, **self.settings.environment(), "PYTHONPATH": str(path or self.settings.home)}
        command = [sys.executable, "-c", _RUN, "run", "--interval-s", "0.2", *arguments]
        process = psutil.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        self.processes.append(process)
        return process

    def ledger(self) -> Ledger:
        """The ledger against what Kafka holds."""
        broker = Broker(self.bootstrap)
        topics = broker.topics([self.settings.topic("raw.river_stage")])
        ranges: dict[str, dict[int, Range]] = {}
        for (name, partition), span in broker.ranges(topics.values()).items():
            ranges.setdefault(name, {})[partition] = span
        return ledger(self.settings, self.registry, ranges)

    def close(self) -> None:
        """End the processes that are left."""
        for process in self.processes:
            if process.is_running():
                process.kill()
            process.wait(30)


def wait_until(condition: Callable[[], Any], timeout_s: float = 60.0) -> Any:
    """Poll until the condition gives something true, and return that."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"did not come true in {timeout_s} s")


@pytest.fixture(scope="session")
def until() -> Callable[..., Any]:
    """Polls a condition."""
    return wait_until


@pytest.fixture
def city(lake_services: Any) -> Iterator[City]:
    """An empty namespace with its topics."""
    endpoints = lake_services.need("kafka")
    settings = lake_services.namespace(f"land{os.getpid()}x{next(_NAMES)}")
    made = City(settings, registry_of(settings), endpoints.kafka)
    made.make_topics()
    yield made
    made.close()
