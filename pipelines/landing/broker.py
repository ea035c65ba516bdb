"""What landing asks of Kafka: which topics there are, under which ids, and which offsets they hold."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from pipelines.runtime.errors import LakeError

_TIMEOUT_S = 15.0
_PAUSE_S = 0.1
_NO_LEADER_YET = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)
_client_log = logging.getLogger("pipelines.landing.kafka")
_client_log.setLevel(logging.ERROR)


class OffsetOutOfRange(LakeError):
    """A table asks for records that the topic does not hold; nothing is skipped silently."""


@dataclass(frozen=True)
class Topic:
    """One topic as it exists now; a topic that is deleted and made again has another `id`."""

    name: str
    id: str
    partitions: tuple[int, ...]


@dataclass(frozen=True)
class Range:
    """The records of one partition: `low` is the first offset, `high` the one that the next record gets."""

    low: int
    high: int


class Broker:
    """Metadata of one Kafka cluster."""

    def __init__(self, bootstrap: str) -> None:
        """Connect to `host:port`; nothing is asked yet."""
        self.bootstrap = bootstrap
        self._admin = AdminClient({"bootstrap.servers": bootstrap}, logger=_client_log)
        self._cluster_id = ""

    @property
    def cluster_id(self) -> str:
        """The id that the cluster got when its storage was formatted."""
        if not self._cluster_id:
            cluster = self._admin.describe_cluster(request_timeout=_TIMEOUT_S).result(_TIMEOUT_S)
            self._cluster_id = str(cluster.cluster_id)
        return self._cluster_id

    def app(self, topic: Topic, partition: int) -> str:
        """The app id under which tables record offsets of a partition."""
        return f"{self.cluster_id}/{topic.id}/{partition}"

    def topics(self, names: Iterable[str]) -> dict[str, Topic]:
        """Those of `names` that exist."""
        existing = self._admin.list_topics(timeout=_TIMEOUT_S).topics
        wanted = sorted(set(names) & set(existing))
        if not wanted:
            return {}
        found: dict[str, Topic] = {}
        for name, future in self._admin.describe_topics(TopicCollection(wanted), request_timeout=_TIMEOUT_S).items():
            described = future.result(_TIMEOUT_S)
            parts = tuple(sorted(p.id for p in described.partitions))
            found[name] = Topic(name, str(described.topic_id), parts)
        return found

    def ranges(self, topics: Iterable[Topic]) -> dict[tuple[str, int], Range]:
        """The range of every partition of `topics`, by topic name and partition."""
        places = [TopicPartition(t.name, p) for t in topics for p in t.partitions]
        if not places:
            return {}
        spec: Any = OffsetSpec
        low, high = self._offsets(places, spec.earliest()), self._offsets(places, spec.latest())
        return {place: Range(low[place], high[place]) for place in low}

    def settled(self, topic: Topic) -> Range:
        """The range of a topic of one partition that a reader of committed records can read to its end now."""
        spec: Any = OffsetSpec
        place = TopicPartition(topic.name, topic.partitions[0])
        low, high = self._offsets([place], spec.earliest()), self._offsets([place], spec.latest(), committed=True)
        found = (topic.name, topic.partitions[0])
        return Range(low[found], high[found])

    def _offsets(
        self, places: list[TopicPartition], which: Any, *, committed: bool = False
    ) -> dict[tuple[str, int], int]:
        """Ask for offsets; a topic that was just made has no leader for a moment."""
        level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
        deadline = time.monotonic() + _TIMEOUT_S
        while True:
            try:
                wanted = dict.fromkeys(places, which)
                answers = self._admin.list_offsets(wanted, request_timeout=_TIMEOUT_S, isolation_level=level)
                return {(p.topic, p.partition): future.result(_TIMEOUT_S).offset for p, future in answers.items()}
            except KafkaException as error:
                if error.args[0].code() not in _NO_LEADER_YET or time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSE_S)

    def consumer(self) -> Consumer:
        """A consumer without a group: partitions are assigned by hand, offsets live in the tables."""
        return Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": "lake-landing-unused",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "isolation.level": "read_committed",
                # Never a silent seek: an offset that is gone is an error of its table.
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": 100,
                "fetch.min.bytes": 1,
                "fetch.max.bytes": 16 * 1024 * 1024,
                "queued.max.messages.kbytes": 64 * 1024,
            },
            logger=_client_log,
        )


def starts(
    topic: Topic, committed: Mapping[int, int | None], ranges: Mapping[tuple[str, int], Range]
) -> dict[int, int]:
    """Where to read on per partition: at the committed offset, or at the beginning when there is none.

    Raises:
        OffsetOutOfRange: the committed offset is not between the topic's first and next one.
    """
    found: dict[int, int] = {}
    for partition in topic.partitions:
        span, offset = ranges[topic.name, partition], committed[partition]
        if offset is None:
            found[partition] = span.low
        elif span.low <= offset <= span.high:
            found[partition] = offset
        elif offset < span.low:
            raise OffsetOutOfRange(
                f"{topic.name}[{partition}] begins at offset {span.low}, but the table has landed only up to {offset}: "
                f"{span.low - offset} records are gone from Kafka.",
                f"Restore them, or rebuild the topic's job from raw; to accept the loss on record run "
                f"`lake landing accept-loss {topic.name} {partition}`.",
            )
        else:
            raise OffsetOutOfRange(
                f"{topic.name}[{partition}] ends at offset {span.high}, but the table has landed up to {offset}: "
                "the topic lost its end or is another one under the same id.",
                "Delete and create the topic anew (it then has its own id and is read from its beginning).",
            )
    return found
