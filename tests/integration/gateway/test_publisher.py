"""The publisher against a real Kafka: order per entity, exact bytes and times, and errors that are told."""

from __future__ import annotations

import uuid
from collections import defaultdict
from datetime import UTC, datetime, timedelta

import pytest
from confluent_kafka import Message, TopicPartition
from confluent_kafka.admin import NewTopic

from pipelines.contracts.registry import Registry
from pipelines.gateway.envelope import RawRecord
from pipelines.gateway.intake import Gateway
from pipelines.gateway.publisher import Publisher, PublishError
from pipelines.runtime import kafka
from pipelines.runtime.contracts import registry_of
from pipelines.runtime.services import endpoints
from pipelines.runtime.settings import Settings
from pipelines.streaming.topics import ensure_topics

RECEIVED = datetime(2025, 10, 27, 13, 0, 5, tzinfo=UTC)


@pytest.fixture(scope="module")
def registry(server: Settings) -> Registry:
    return registry_of(server)


@pytest.fixture
def settings(server: Settings, registry: Registry) -> Settings:
    """A namespace of the test's own, with its topics."""
    own = server.with_namespace(f"t{uuid.uuid4().hex[:10]}")
    ensure_topics(own, registry)
    return own


def read_all(settings: Settings, topic: str, expected: int) -> list[Message]:
    """Read a topic from its beginning until `expected` messages were seen, in order per partition."""
    reader = kafka.consumer(settings, f"reader-{uuid.uuid4().hex[:8]}", {"enable.partition.eof": False})
    try:
        full = settings.topic(topic)
        partitions = reader.list_topics(full, timeout=10).topics[full].partitions
        reader.assign([TopicPartition(full, number, 0) for number in partitions])
        found: list[Message] = []
        deadline = datetime.now(UTC) + timedelta(seconds=30)
        while len(found) < expected and datetime.now(UTC) < deadline:
            found += reader.consume(num_messages=5000, timeout=1.0)
        assert all(m.error() is None for m in found)
        return found
    finally:
        reader.close()


def stage(gateway: Gateway, station: str, minute: int) -> RawRecord:
    at = RECEIVED + timedelta(minutes=minute)
    body = {"station_id": station, "observed_at": at.isoformat(), "stage_m": minute}
    return gateway.accept("river_stage", body, source="gw-1", origin="synthetic", received_at=at)


def test_records_arrive_exactly_with_their_clock_and_in_order_per_entity(
    settings: Settings, registry: Registry
) -> None:
    gateway = Gateway.open(registry, settings)
    stations = [f"S{number}" for number in range(20)]
    sent = [stage(gateway, station, minute) for minute in range(50) for station in stations]
    with Publisher(settings, endpoints(settings).kafka) as publisher:
        for record in sent:
            publisher.publish(record)
    assert publisher.counts["raw.river_stage"] == len(sent)

    messages = read_all(settings, "raw.river_stage", len(sent))
    assert len(messages) == len(sent)
    wanted = sorted((r.key, r.timestamp_ms, r.value) for r in sent)
    assert sorted((m.key(), m.timestamp()[1], m.value()) for m in messages) == wanted
    assert dict(messages[0].headers() or []) == dict(sent[0].headers)
    places: dict[bytes, set[int]] = defaultdict(set)
    clocks: dict[bytes, list[int]] = defaultdict(list)
    for message in messages:
        places[message.key()].add(message.partition())
        clocks[message.key()].append(message.timestamp()[1])
    assert all(len(partitions) == 1 for partitions in places.values())
    assert len({next(iter(p)) for p in places.values()}) == 2
    assert all(clock == sorted(clock) for clock in clocks.values())


def test_empty_and_broken_bytes_travel_as_they_came_and_refused_ones_as_markers(
    settings: Settings, registry: Registry
) -> None:
    gateway = Gateway.open(registry, settings)
    payloads = [b"", b"\xff\x00", b"x" * 5_000_000]
    with Publisher(settings, endpoints(settings).kafka) as publisher:
        for data in payloads:
            publisher.publish(
                gateway.accept("river_stage", data, source="gw-1", origin="observed", received_at=RECEIVED)
            )
    values = [m.value() for m in read_all(settings, "raw.river_stage", 3)]
    # The key is the source, so all three lie in one partition, in order.
    assert values[:2] == [b"", b"\xff\x00"]
    assert values[2].startswith(b'{"lake.refused":{"reason":"too_large"')


def test_a_full_queue_holds_the_caller_back_and_loses_nothing(settings: Settings, registry: Registry) -> None:
    gateway = Gateway.open(registry, settings)
    sent = [stage(gateway, "71520", minute) for minute in range(3000)]
    small = {"queue.buffering.max.messages": 50, "linger.ms": 50}
    with Publisher(settings, endpoints(settings).kafka, small) as publisher:
        for record in sent:
            publisher.publish(record)
    assert publisher.counts["raw.river_stage"] == 3000
    assert [m.value() for m in read_all(settings, "raw.river_stage", 3000)] == [r.value for r in sent]


def test_a_record_that_kafka_does_not_take_is_an_error(settings: Settings, registry: Registry) -> None:
    tight = "raw.tight"
    new = NewTopic(settings.topic(tight), 1, 1, config={"max.message.bytes": "2000"})
    admin = kafka.admin(settings)
    admin.create_topics([new])[settings.topic(tight)].result(timeout=15)
    large = RawRecord(tight, b"k", bytes(range(256)) * 40, 1, (("dataset", b"tight"),))
    publisher = Publisher(settings, endpoints(settings).kafka, {"compression.type": "none"})
    publisher.publish(large)
    with pytest.raises(PublishError, match=r"raw\.tight"):
        publisher.flush()
    with pytest.raises(PublishError, match=r"did not take 1 records"), publisher:
        publisher.publish(large)


def test_a_kafka_that_is_not_there_is_an_error(settings: Settings, registry: Registry) -> None:
    record = stage(Gateway.open(registry, settings), "71520", 0)
    publisher = Publisher(settings, "127.0.0.1:1", {"delivery.timeout.ms": 1000, "log_level": 0})
    publisher.publish(record)
    with pytest.raises(PublishError, match="lake status"):
        publisher.flush(15)
