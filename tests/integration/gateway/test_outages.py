"""The gateway as a process: what it acknowledged is in Kafka once, in order, whatever was killed in between."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from pipelines.contracts.registry import Registry
from pipelines.gateway.core import Core
from pipelines.gateway.sources import revoke
from pipelines.runtime import kafka, services
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings

from .conftest import GatewayProcess

START = datetime(2025, 10, 27, tzinfo=UTC)
STATIONS = ("71520", "71518", "HUE-TN")
"""Registered river gauges: what another one sends is set aside."""


def readings(first: int, count: int) -> list[dict[str, object]]:
    """Numbered readings: the number is the minute and the stage."""
    return [
        {
            "station_id": STATIONS[n % len(STATIONS)],
            "observed_at": (START + timedelta(minutes=n)).isoformat(),
            "stage_m": n / 100,
        }
        for n in range(first, first + count)
    ]


def in_kafka(settings: Settings, dataset: str = "river_stage") -> list[Message]:
    """Everything that the raw topic holds now, in order per partition."""
    reader = kafka.consumer(settings, "test-reader", {"enable.partition.eof": False})
    try:
        topic = settings.topic(f"raw.{dataset}")
        partitions = reader.list_topics(topic, timeout=20).topics[topic].partitions
        ends = {n: _end(reader, TopicPartition(topic, n)) for n in partitions}
        reader.assign([TopicPartition(topic, number, 0) for number in partitions])
        found: list[Message] = []
        while rest := sum(ends.values()) - len(found):
            found += reader.consume(num_messages=min(rest, 5_000), timeout=5.0)
        return found
    finally:
        reader.close()


def _end(reader: Consumer, partition: TopicPartition) -> int:
    """Where a partition ends; a broker that has just begun, or thawed, does not lead it for a moment."""
    deadline = time.monotonic() + 20
    while True:
        try:
            end: int = reader.get_watermark_offsets(partition, timeout=20)[1]
            return end
        except KafkaException as error:
            if error.args[0].code() != KafkaError.NOT_LEADER_FOR_PARTITION or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def numbers(messages: list[Message]) -> list[int]:
    return [round(100 * json.loads(m.value() or b"")["stage_m"]) for m in messages]


def assert_in_order(messages: list[Message]) -> None:
    """The arrival clock and the readings of each partition go forward."""
    for partition in {m.partition() for m in messages}:
        own = [m for m in messages if m.partition() == partition]
        assert [m.timestamp()[1] for m in own] == sorted(m.timestamp()[1] for m in own)
        assert numbers(own) == sorted(numbers(own))


@contextmanager
def kafka_frozen(settings: Settings) -> Iterator[None]:
    """A broker that holds its connections and answers nothing."""
    pid = services.running(settings)["kafka"].pid
    os.killpg(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGCONT)


def test_a_batch_is_acknowledged_when_kafka_has_it(
    start_gateway: Callable[..., GatewayProcess], wait_until: Callable[..., None]
) -> None:
    gateway = start_gateway()
    wait_until(lambda: gateway.ready()["kafka"] == "connected", what="the gateway finds kafka")
    answer = gateway.post([*readings(0, 200), {"station_id": "71520"}])
    assert answer.status_code == 207
    assert answer.json() == {
        "dataset": "river_stage",
        "records": 201,
        "accepted": 200,
        "spooled": 0,
        "refused": [{"index": 200, "reason": "unusable", "detail": "observed_at is missing"}],
        "dropped_fields": 0,
    }
    messages = in_kafka(gateway.settings)
    assert len(messages) == 201
    assert [m.value() for m in messages if m.key() == b"test-1"] == [b'{"station_id":"71520"}']
    assert sorted(numbers([m for m in messages if m.key() != b"test-1"])) == list(range(200))
    assert gateway.stop() == 0


def test_records_sent_while_kafka_is_frozen_are_spooled_and_follow_in_order(
    start_gateway: Callable[..., GatewayProcess], wait_until: Callable[..., None]
) -> None:
    gateway = start_gateway()
    wait_until(lambda: gateway.ready()["kafka"] == "connected", what="the gateway finds kafka")
    assert gateway.post(readings(0, 50)).json()["accepted"] == 50
    with kafka_frozen(gateway.settings):
        first = gateway.post(readings(50, 50))
        assert (first.status_code, first.json()["spooled"]) == (202, 50)
        # The outage is known now: nobody waits for a timeout again.
        second = gateway.post(readings(100, 50))
        assert second.json()["spooled"] == 50
        assert second.elapsed < timedelta(seconds=2)
        wait_until(lambda: gateway.ready()["kafka"] == "away", what="the outage is told")
    wait_until(lambda: gateway.ready()["spooled"] == {}, timeout_s=60, what="the spool is empty")
    assert gateway.post(readings(150, 50)).json()["accepted"] == 50
    messages = in_kafka(gateway.settings)
    # Records that were in flight when the broker froze may stand twice, as after any repeat.
    assert sorted(set(numbers(messages))) == list(range(200))
    assert_in_order([m for m in messages if numbers([m])[0] >= 100])


def test_a_killed_gateway_and_a_killed_broker_lose_nothing_that_was_acknowledged(
    start_gateway: Callable[..., GatewayProcess], wait_until: Callable[..., None]
) -> None:
    gateway = start_gateway()
    wait_until(lambda: gateway.ready()["kafka"] == "connected", what="the gateway finds kafka")
    acknowledged = 0
    with kafka_frozen(gateway.settings):
        for first in range(0, 300, 50):
            acknowledged += gateway.post(readings(first, 50)).json()["spooled"]
        gateway.kill()
        broker = services.running(gateway.settings)["kafka"].pid
        os.killpg(broker, signal.SIGKILL)
    gateway.start()
    assert gateway.post(readings(300, 50)).json()["accepted"] == 0
    wait_until(lambda: gateway.ready()["spooled"] == {}, timeout_s=90, what="the spool is empty")
    assert gateway.post(readings(350, 1)).json()["accepted"] == 1
    assert acknowledged == 300
    assert sorted(set(numbers(in_kafka(gateway.settings)))) == list(range(351))


def test_a_revoked_token_ends_at_once(start_gateway: Callable[..., GatewayProcess]) -> None:
    gateway = start_gateway()
    assert gateway.post(readings(0, 1)).status_code == 202
    revoke(gateway.settings, "test-1")
    answer = gateway.post(readings(1, 1))
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_second_gateway_of_the_namespace_is_told(
    start_gateway: Callable[..., GatewayProcess], registry: Registry
) -> None:
    gateway = start_gateway()
    with pytest.raises(LakeError, match="Another gateway of the namespace"):
        Core(gateway.settings, registry)
