"""Sends a replay through the gateway, stamped with its simulated arrival clock.

Keys, values and timestamps are functions of the replay and the installation's keys alone: sending it again sends the
same bytes, which the platform counts as duplicates and which change nothing.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pipelines.contracts.registry import Registry
from pipelines.gateway.envelope import RawRecord
from pipelines.gateway.intake import Gateway
from pipelines.gateway.publisher import Publisher
from pipelines.replay.deliveries import Replay
from pipelines.replay.truth import save_truth
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import DEFAULT_NAMESPACE, Settings

Progress = Callable[[int], None]
"""Told after each record how many have been queued."""


@dataclass(frozen=True)
class SendReport:
    """What one sending did: records acknowledged by dataset, seconds it took, and where its truth was written."""

    sent: Counter[str]
    seconds: float
    truth: Path


def raw_records(replay: Replay, gateway: Gateway) -> Iterator[RawRecord]:
    """The Kafka records of a replay in order of arrival."""
    for item in replay.deliveries:
        yield gateway.accept(
            item.dataset, item.payload, source=item.source, origin=item.origin, received_at=item.received_at
        )


def check_namespace(settings: Settings, *, allow_city: bool) -> None:
    """Keep exercises out of the city's own data.

    Raises:
        LakeError: the namespace is the city's and that was not allowed explicitly.
    """
    if settings.namespace == DEFAULT_NAMESPACE and not allow_city:
        raise LakeError(
            "A replay is an exercise and does not belong among the observed data of the namespace 'city'.",
            "Choose one for it, for example LAKE_NAMESPACE=demo, or insist with --allow-city.",
        )


def send_replay(
    replay: Replay,
    settings: Settings,
    registry: Registry,
    bootstrap: str,
    *,
    speed: float = 0.0,
    allow_city: bool = False,
    progress: Progress | None = None,
) -> SendReport:
    """Write the truth, then send every record; the topics must exist.

    `speed` is how many seconds of the recorded time pass in one second; 0 sends as fast as Kafka takes it.

    Raises:
        LakeError: the namespace is not allowed, or Kafka did not take a record.
        ValueError: a negative speed.
    """
    if speed < 0:
        raise ValueError("the speed is 0 (as fast as possible) or a positive factor")
    check_namespace(settings, allow_city=allow_city)
    path = save_truth(settings, replay.truth)
    started = time.monotonic()
    pace = _Pace(speed)
    with Publisher(settings, bootstrap) as publisher:
        gateway = Gateway.open(registry, settings)
        for number, (item, record) in enumerate(
            zip(replay.deliveries, raw_records(replay, gateway), strict=True), start=1
        ):
            pace.wait_for(item.received_at)
            publisher.publish(record)
            if progress:
                progress(number)
    sent = Counter({topic.removeprefix("raw."): count for topic, count in publisher.counts.items()})
    return SendReport(sent, time.monotonic() - started, path)


class _Pace:
    """Holds the arrival clock of a replay against the wall clock."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._first: tuple[datetime, float] | None = None

    def wait_for(self, received_at: datetime) -> None:
        """Return when it is time for a record that arrives at `received_at`."""
        if not self._speed:
            return
        if self._first is None:
            self._first = (received_at, time.monotonic())
        first, began = self._first
        ahead = (received_at - first).total_seconds() / self._speed - (time.monotonic() - began)
        if ahead > 0:
            time.sleep(ahead)
