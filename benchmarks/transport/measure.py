"""CPU time of processes with their children, and how far a topic has come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import psutil
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

POLL_S = 0.25


@dataclass(frozen=True)
class Measurement:
    """One run: CPU and wall seconds from the start of its processes, peak memory, and rows written by topic."""

    records: int
    cpu_s: float
    wall_s: float
    peak_rss_mib: int
    rows: Mapping[str, int]
    state_mib: float | None = None


class Meter:
    """CPU seconds (user and system) and memory of processes and all that they start, dead children included."""

    def __init__(self, pids: Iterable[int]) -> None:
        """Begin with the processes of these ids."""
        self._roots = [psutil.Process(pid) for pid in pids]
        self._cpu_s: dict[int, float] = {}
        self.peak_rss_bytes = 0

    def read(self) -> float:
        """Return the CPU seconds so far; a process that has ended counts as it was read last."""
        resident = 0
        for root in self._roots:
            try:
                found = [root, *root.children(recursive=True)]
            except psutil.NoSuchProcess:
                continue
            for process in found:
                try:
                    times = process.cpu_times()
                    resident += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
                self._cpu_s[process.pid] = times.user + times.system
        self.peak_rss_bytes = max(self.peak_rss_bytes, resident)
        return sum(self._cpu_s.values())


class Offsets:
    """Counts the records of topics by their end offsets."""

    def __init__(self, bootstrap: str) -> None:
        """Connect; nothing is read or committed."""
        config = {"bootstrap.servers": bootstrap, "group.id": "bench-offsets", "enable.auto.commit": False}
        self._consumer = Consumer(config)

    def count(self, topic: str) -> int:
        """Return how many records a topic holds (nothing is deleted here)."""
        return sum(self.ends(topic))

    def ends(self, topic: str) -> list[int]:
        """Return the end offset of every partition, in the order of the partitions."""
        partitions = sorted(self._consumer.list_topics(topic, timeout=10).topics[topic].partitions)
        return [self._end(TopicPartition(topic, p)) for p in partitions]

    def _end(self, partition: TopicPartition, tries: int = 20) -> int:
        for left in reversed(range(tries)):
            try:
                return int(self._consumer.get_watermark_offsets(partition, timeout=10)[1])
            except KafkaException:
                # A partition made a moment ago has no leader yet.
                if not left:
                    raise
                time.sleep(POLL_S)
        raise AssertionError("tries is above 0")

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()


def records(bootstrap: str, topic: str, starts: list[int]) -> Iterator[bytes]:
    """Yield the values of a topic's records, from these offsets by partition to the ends of now."""
    config = {"bootstrap.servers": bootstrap, "group.id": "bench-records", "enable.auto.commit": False}
    consumer = Consumer({**config, "enable.partition.eof": True})
    try:
        consumer.assign([TopicPartition(topic, p, offset) for p, offset in enumerate(starts)])
        left = len(starts)
        while left:
            for message in consumer.consume(10_000, 5.0):
                if message.error() is None:
                    yield message.value()
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    left -= 1
                else:
                    raise KafkaException(message.error())
    finally:
        consumer.close()


def wait_for(
    wanted: Mapping[str, int], offsets: Offsets, meter: Meter, alive: Callable[[], None], timeout_s: float
) -> tuple[float, dict[str, int]]:
    """Wait until every topic holds at least the wanted rows; returns CPU seconds at that moment and what they hold.

    Raises:
        TimeoutError: that did not happen, with what is missing.
        RuntimeError: from `alive`, when the engine has failed.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        cpu_s = meter.read()
        found = {topic: offsets.count(topic) for topic in wanted}
        if all(found[topic] >= count for topic, count in wanted.items()):
            return cpu_s, found
        alive()
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {timeout_s:.0f} s the topics hold {found} of {dict(wanted)} rows")
        time.sleep(POLL_S)
