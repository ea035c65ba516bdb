"""The topic ``scenario.rule``, by which the job judges: reading it, appending to it, hearing that the job took it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from pipelines.contracts.model import Dataset
from pipelines.contracts.targets.kafka import SCENARIO_RULE
from pipelines.landing.broker import Broker
from pipelines.runtime import kafka
from pipelines.runtime.errors import LakeError, ServiceError
from pipelines.runtime.services import endpoints
from pipelines.runtime.settings import Settings

CHANGES = "alert.scenario_change"
"""Where the job says which record it has taken in."""
_TIMEOUT_S = 15.0
_POLL_S = 0.5


@dataclass(frozen=True)
class RuleRecord:
    """One record. ``effective``: by dataset the arrival clock (ISO 8601, UTC) after which it judges, None: from the
    beginning. ``rule`` is the compiled scenario. ``offset`` is -1 before it is on the topic."""

    scenario: str
    enabled: bool
    change_kind: str
    changed_by: str
    changed_at: str
    content_hash: str
    rule_hash: str
    effective: Mapping[str, str | None]
    rule: Mapping[str, Any]
    offset: int = -1

    def value(self) -> bytes:
        """The JSON that the job reads."""
        names = ("enabled", "change_kind", "changed_by", "changed_at", "content_hash", "rule_hash", "rule")
        content = {name: getattr(self, name) for name in names}
        return json.dumps({**content, "from": dict(self.effective)}, ensure_ascii=False).encode()

    @classmethod
    def parse(cls, scenario: str, offset: int, value: bytes) -> RuleRecord:
        """Read what :meth:`value` writes."""
        content = json.loads(value)
        return cls(scenario=scenario, offset=offset, effective=content.pop("from"), **content)

    @property
    def datasets(self) -> tuple[str, ...]:
        """The datasets that its conditions look at, each once."""
        return tuple(dict.fromkeys(condition["dataset"] for condition in self.rule["conditions"]))


def read_rules(settings: Settings) -> dict[str, RuleRecord]:
    """The newest record of every scenario, removed ones included; none when the topic is not there yet.

    Raises:
        ServiceError: Kafka does not answer.
    """
    found: dict[str, RuleRecord] = {}
    with _consumer(settings) as consumer:
        for place, low, high in _ranges(settings, settings.topic(SCENARIO_RULE)):
            for message in _read(consumer, place, low, high):
                key, value = message.key(), message.value()
                if key is not None and value is not None:
                    found[key.decode()] = RuleRecord.parse(key.decode(), int(message.offset() or 0), value)
    return found


def append(settings: Settings, records: tuple[RuleRecord, ...]) -> tuple[RuleRecord, ...]:
    """Write records in their order; returns them with their offsets.

    Raises:
        ServiceError: Kafka did not take one of them; those before it count.
    """
    offsets: list[int] = []
    problems: list[str] = []

    def done(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            problems.append(error.str())
        else:
            offsets.append(int(message.offset() or 0))

    producer = kafka.producer(settings)
    for record in records:
        producer.produce(
            settings.topic(SCENARIO_RULE), key=record.scenario.encode(), value=record.value(), on_delivery=done
        )
    waiting = producer.flush(_TIMEOUT_S)
    if problems or waiting:
        why = problems[0] if problems else f"no answer within {_TIMEOUT_S:.0f} s"
        raise ServiceError(f"Kafka did not take the rules: {why}.", "See `lake status`; run the command again.")
    return tuple(replace(record, offset=offset) for record, offset in zip(records, offsets, strict=True))


def newest_arrival(settings: Settings, dataset: Dataset) -> str | None:
    """The newest arrival clock on the topic of a dataset (ISO 8601, UTC); None when nothing has arrived.

    Raises:
        ServiceError: Kafka does not answer.
    """
    found: list[str] = []
    with _consumer(settings) as consumer:
        for place, low, high in _ranges(settings, settings.topic(str(dataset.topic))):
            for message in _read(consumer, place, max(low, high - 1), high):
                value = json.loads(message.value() or b"{}")
                if value.get("received_at"):
                    found.append(str(value["received_at"]))
    return max(found, default=None)


def wait_until_taken(settings: Settings, records: tuple[RuleRecord, ...], timeout_s: float) -> tuple[RuleRecord, ...]:
    """Wait until the job has said that it took the records in; returns those that it has not by then.

    Raises:
        ServiceError: Kafka does not answer.
    """
    waiting = {f"{record.scenario}|{record.offset}": record for record in records}
    deadline = time.monotonic() + timeout_s
    with _consumer(settings) as consumer:
        places = [
            TopicPartition(place.topic, place.partition, low)
            for place, low, _ in _ranges(settings, settings.topic(CHANGES))
        ]
        consumer.assign(places)
        while places and waiting and time.monotonic() < deadline:
            message = consumer.poll(_POLL_S)
            if message is not None and message.error() is None and message.key() is not None:
                waiting.pop(message.key().decode(), None)
    return tuple(waiting.values())


@contextmanager
def _consumer(settings: Settings) -> Iterator[Consumer]:
    consumer = kafka.consumer(settings, "scenarios-cli", {"fetch.wait.max.ms": 100})
    try:
        yield consumer
    except KafkaException as error:
        raise ServiceError(f"Kafka does not answer: {error.args[0].str()}.", "See `lake status`.") from error
    finally:
        consumer.close()


def _ranges(settings: Settings, topic: str) -> list[tuple[TopicPartition, int, int]]:
    """Every partition of a topic with its first and next offset; none when there is no such topic."""
    broker = Broker(endpoints(settings).kafka)
    ranges = broker.ranges(broker.topics([topic]).values())
    return [(TopicPartition(topic, number), span.low, span.high) for (_, number), span in sorted(ranges.items())]


def _read(consumer: Consumer, place: TopicPartition, low: int, high: int) -> Iterator[Message]:
    """The records of one partition from ``low`` up to ``high``, which is not among them."""
    if low >= high:
        return
    consumer.assign([TopicPartition(place.topic, place.partition, low)])
    deadline = time.monotonic() + _TIMEOUT_S
    while time.monotonic() < deadline:
        for message in consumer.consume(500, _POLL_S):
            if message.error() is not None:
                # The end of a compacted partition may lie behind its last record.
                if message.error().code() == KafkaError._PARTITION_EOF:
                    return
                raise KafkaException(message.error())
            yield message
            if int(message.offset() or 0) >= high - 1:
                return
    raise LakeError(f"Reading {place.topic} took longer than {_TIMEOUT_S:.0f} s.", "See `lake status`.")
