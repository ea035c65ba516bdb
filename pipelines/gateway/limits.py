"""How much the gateway takes: sizes, rates, and what may be in flight."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from pipelines.contracts.targets.kafka import MAX_PAYLOAD_BYTES

KEPT_BYTES = 1024 * 1024 * 1024
"""The disk that messages of no dataset may use, and apart from them records of unknown devices."""
KEPT_FOR = timedelta(days=30)
"""How long either is kept: what the contracts say of bronze, at most."""


@dataclass(frozen=True)
class Limits:
    """The bounds of one gateway; every one of them turns a sender away with a reason instead of growing a queue.

    A body larger than `body_bytes` or with more than `batch_records` records is refused before anything is taken.
    `in_flight_bytes` and `in_flight_submissions` bound what has been submitted and has no receipt yet.
    `spool_bytes` bounds the disk that is used while Kafka is away, `quarantine_bytes` that of unknown devices' records.
    """

    body_bytes: int = 8 * 1024 * 1024
    batch_records: int = 10_000
    in_flight_bytes: int = 64 * 1024 * 1024
    in_flight_submissions: int = 1_000
    spool_bytes: int = 1024 * 1024 * 1024
    quarantine_bytes: int = KEPT_BYTES
    retry_after_s: float = 1.0

    def __post_init__(self) -> None:
        """Refuse bounds that contradict each other."""
        if self.body_bytes < MAX_PAYLOAD_BYTES:
            raise ValueError(f"body_bytes must hold one record of {MAX_PAYLOAD_BYTES} bytes")
        if self.in_flight_bytes < self.body_bytes:
            raise ValueError("in_flight_bytes must hold one body of body_bytes")


class TokenBucket:
    """`rate_per_s` records a second with bursts of `burst` records.

    A batch is counted after it was parsed, so one may take the bucket below zero; the next one waits until it is paid
    back. Not thread-safe: one thread asks.
    """

    def __init__(self, rate_per_s: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with a full bucket."""
        self.rate_per_s, self.burst = rate_per_s, burst
        self._clock = clock
        self._level, self._at = burst, clock()

    def wait_s(self) -> float:
        """Seconds until the next batch may come; 0 when it may come now."""
        self._refill()
        return 0.0 if self._level > 0 else (1 - self._level) / self.rate_per_s

    def take(self, records: int) -> None:
        """Count a batch that was taken."""
        self._refill()
        self._level -= records

    def _refill(self) -> None:
        now = self._clock()
        self._level = min(self.burst, self._level + (now - self._at) * self.rate_per_s)
        self._at = now
