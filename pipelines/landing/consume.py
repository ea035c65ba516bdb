"""One topic being read: its buffer, its offsets, when it is due, and what went wrong with it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from confluent_kafka import Message

from pipelines.landing.broker import Broker, Range, Topic, starts
from pipelines.landing.decode import Records
from pipelines.landing.routes import Opening, Route, RouteSpec, Work
from pipelines.landing.status import TableStatus

_LINGER_S = 0.2
_FIRST_RETRY_S, _LAST_RETRY_S = 1.0, 60.0
_BUSY_SHARE = 3.0


@dataclass(frozen=True)
class LandingOptions:
    """How often tables are committed, in seconds, and how much is taken at once.

    A table is committed after `silver_interval_s` (1 for the lowest latency; each commit of a busy table costs about
    10 ms) or a quarter of its promised freshness when that is shorter, or at `max_rows`.
    """

    silver_interval_s: float = 2.0
    bronze_interval_s: float = 5.0
    max_rows: int = 100_000
    fetch_records: int = 20_000
    poll_s: float = 0.1
    discover_s: float = 3.0
    status_s: float = 1.0
    compact_every: int = 50
    only: tuple[str, ...] = ()


@dataclass
class Source:
    """A topic on its way to its table. Times are of the monotonic clock."""

    spec: RouteSpec
    name: str
    interval_s: float
    topic: Topic | None = None
    route: Route | None = None
    apps: dict[int, str] = field(default_factory=dict)
    ends: dict[int, int] = field(default_factory=dict)
    committed: dict[int, int] = field(default_factory=dict)
    records: Records = field(default_factory=Records)
    first_at: float = 0.0
    committed_at: float = float("-inf")
    took_s: float = 0.0
    failures: int = 0
    retry_at: float = 0.0
    problem: str | None = None
    counts: Counter[str] = field(default_factory=Counter)
    last_commit: datetime | None = None
    newest: datetime | None = None

    @property
    def is_open(self) -> bool:
        """Whether its partitions are assigned now."""
        return self.route is not None

    def open(self, broker: Broker, topic: Topic, ranges: dict[tuple[str, int], Range], opening: Opening) -> None:
        """Open the table and find where to read on.

        Raises:
            TableDisagrees: the table is not what its contract says.
            OffsetOutOfRange: the topic does not hold what comes next.
        """
        route = opening.open(self.spec)
        apps = {p: broker.app(topic, p) for p in topic.partitions}
        self.ends = starts(topic, {p: route.sink.committed(app) for p, app in apps.items()}, ranges)
        self.topic, self.route, self.apps = topic, route, apps
        self.committed = dict(self.ends)
        self.records = Records()
        self.problem = None

    def close(self) -> None:
        """Forget what is not committed: it stays in Kafka."""
        self.route = None
        self.records = Records()

    def take(self, messages: Sequence[Message]) -> None:
        """Buffer messages of this topic, in their order."""
        if self.route is None:
            return
        if not len(self.records):
            self.first_at = time.monotonic()
        self.ends.update(self.records.add(messages, envelope=self.route.envelope))

    def is_due(self, now: float, max_rows: int, *, flush: bool) -> bool:
        """Whether the buffer should be committed now."""
        if self.route is None or not len(self.records):
            return False
        if flush or len(self.records) >= max_rows:
            return True
        # A table whose commits are slow (a MERGE of big files) gets fewer of them, not all of the time.
        pause = max(self.interval_s, _BUSY_SHARE * self.took_s)
        return now - self.first_at >= min(_LINGER_S, self.interval_s) and now - self.committed_at >= pause

    def work(self) -> Work:
        """Turn the buffer into what is to be committed."""
        if self.route is None:
            raise RuntimeError(f"{self.name} is closed")
        return self.route.work(self.name, self.records, self.apps, dict(self.ends))

    def done(self, work: Work, took_s: float) -> None:
        """Note that the buffer is committed."""
        self.counts.update(work.counts)
        self.counts["records"] += len(self.records)
        if work.newest is not None and (self.newest is None or work.newest > self.newest):
            self.newest = work.newest
        self.records = Records()
        self.committed = dict(self.ends)
        self.committed_at, self.took_s = time.monotonic(), took_s
        self.last_commit = datetime.now(UTC)
        self.failures = 0

    def failed(self, error: BaseException) -> None:
        """Close after an error, and wait longer after each."""
        self.close()
        self.problem = f"{type(error).__name__}: {error}"
        self.retry_at = time.monotonic() + min(_FIRST_RETRY_S * 2**self.failures, _LAST_RETRY_S)
        self.failures += 1

    def status(self, highs: dict[int, int]) -> TableStatus:
        """What people are told."""
        state = "landing" if self.is_open else "retrying" if self.problem else "waiting"
        return TableStatus(
            topic=self.name,
            table=self.spec.table,
            state=state,
            rows=self.counts["records"],
            counts={k: v for k, v in sorted(self.counts.items()) if k != "records"},
            last_commit_at=self.last_commit.isoformat() if self.last_commit else None,
            newest_event_at=self.newest.isoformat() if self.newest else None,
            offsets={str(p): offset for p, offset in self.committed.items()},
            lag={str(p): max(highs.get(p, offset) - offset, 0) for p, offset in self.committed.items()},
            problem=self.problem,
        )
