"""Publishes raw records to Kafka: acknowledged by all, in order per entity, bounded, and loud when a record is lost."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from types import TracebackType

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from pipelines.gateway.envelope import RawRecord
from pipelines.runtime.errors import LakeError
from pipelines.runtime.kafka import producer_config
from pipelines.runtime.settings import Settings

QUEUE_RECORDS = 20_000
QUEUE_KBYTES = 65_536
"""The bounds of what waits in memory; a full queue holds the caller back."""
FULL_TIMEOUT_S = 60.0
"""How long a full queue may stand still before publishing is given up."""
FLUSH_TIMEOUT_S = 120.0


class PublishError(LakeError):
    """Records that Kafka did not take, with the first cause."""


def publisher_config(bootstrap: str) -> dict[str, str | int | float | bool]:
    """The producer of every raw topic (librdkafka names): idempotent, acknowledged by all, bounded.

    `murmur2_random` is the partitioner of the Java clients: one entity lands in one partition whoever sends it.
    """
    return {
        **producer_config(bootstrap),
        "partitioner": "murmur2_random",
        "queue.buffering.max.messages": QUEUE_RECORDS,
        "queue.buffering.max.kbytes": QUEUE_KBYTES,
        "delivery.timeout.ms": 60_000,
        "client.id": "lake-gateway",
    }


class Publisher:
    """Sends :class:`RawRecord` values of one namespace; use it as a context manager, which flushes at the end.

    `counts` holds, by topic without namespace, how many records Kafka has acknowledged.
    """

    def __init__(
        self, settings: Settings, bootstrap: str, overrides: Mapping[str, str | int | float | bool] | None = None
    ) -> None:
        """Open the producer for the brokers at `bootstrap` ("host:port,…"); `overrides` are librdkafka settings."""
        self._settings = settings
        self._producer = Producer({**publisher_config(bootstrap), **(overrides or {})})
        self._failures: list[tuple[str, str]] = []
        self.counts: Counter[str] = Counter()

    def publish(self, record: RawRecord) -> None:
        """Queue one record; waits while the queue is full.

        Raises:
            PublishError: an earlier record was not taken, or the queue has not moved for a minute.
        """
        self._raise_failures()
        deadline = time.monotonic() + FULL_TIMEOUT_S
        while True:
            try:
                self._producer.produce(
                    self._settings.topic(record.topic),
                    key=record.key,
                    value=record.value,
                    timestamp=record.timestamp_ms,
                    headers=list(record.headers),
                    on_delivery=self._delivered,
                )
                break
            except BufferError:
                if time.monotonic() > deadline:
                    raise PublishError(
                        f"The queue of {QUEUE_RECORDS} records has not moved for {FULL_TIMEOUT_S:.0f} s.",
                        "See whether Kafka runs: lake status.",
                    ) from None
                self._producer.poll(0.1)
            except KafkaException as error:
                raise PublishError(f"{record.topic}: {error.args[0].str()}.", "See lake logs kafka.") from error
        self._producer.poll(0)

    def flush(self, timeout_s: float = FLUSH_TIMEOUT_S) -> None:
        """Wait until every queued record is acknowledged.

        Raises:
            PublishError: a record was refused, or some are still waiting after `timeout_s` seconds.
        """
        waiting = self._producer.flush(timeout_s)
        self._raise_failures()
        if waiting:
            raise PublishError(
                f"{waiting} records are not acknowledged after {timeout_s:.0f} s.",
                "See whether Kafka runs: lake status.",
            )

    def __enter__(self) -> Publisher:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Flush; after an error only as far as Kafka answers at once, so that the first error stays the one told."""
        if kind is None:
            self.flush()
        else:
            self._producer.flush(5.0)

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        topic = (message.topic() or "").removeprefix(f"{self._settings.namespace}.")
        if error is None:
            self.counts[topic] += 1
        else:
            self._failures.append((topic, error.str()))

    def _raise_failures(self) -> None:
        if not self._failures:
            return
        failures, self._failures = self._failures, []
        topic, cause = failures[0]
        raise PublishError(
            f"Kafka did not take {len(failures)} records; the first was for {topic}: {cause}.",
            "See whether Kafka runs and the topics exist: lake status.",
        )
