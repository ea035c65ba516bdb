"""Messages of one broker on their way into the core: acknowledged when they are safe, held while they cannot be."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from heapq import heapify, heappop, heappush
from itertools import count

from pipelines.contracts.collectors import Collector
from pipelines.gateway.core import Core
from pipelines.gateway.mqtt.acks import Acks, Delivery
from pipelines.gateway.mqtt.binding import NotBound, Router, reason_of
from pipelines.gateway.mqtt.client import BrokerClient, Incoming
from pipelines.gateway.mqtt.connections import Connection
from pipelines.gateway.mqtt.second_try import SecondTries
from pipelines.gateway.mqtt.unbound import Unbound, UnboundFull
from pipelines.gateway.sources import Sources
from pipelines.gateway.submission import Busy, Empty, IntakeError, Receipt, Submission, Throttled
from pipelines.gateway.told import Told
from pipelines.runtime.errors import LakeError

log = logging.getLogger(__name__)
_IN_FLIGHT_BYTES = 32 * 1024 * 1024
_LOOK_S = 0.5
_AGAIN_S = 3.0
_RETRY_S = 5.0
_SETTLE_S = 5.0


@dataclass(order=True, slots=True)
class _Task:
    """A message that is not safe yet, by its place among those that came; with a `reason` it is to be kept as one that
    cannot be bound.
    """

    number: int
    incoming: Incoming = field(compare=False)
    delivery: Delivery = field(compare=False)
    reason: str = field(default="", compare=False)
    detail: str = field(default="", compare=False)


class MqttCollector:
    """One broker as a front of the core. Messages are submitted in the order in which they came, by one thread."""

    def __init__(
        self, core: Core, sources: Sources, collector: Collector, connection: Connection, unbound: Unbound
    ) -> None:
        """Prepare; :meth:`start` connects.

        Raises:
            LakeError: the connection cannot work as it is described.
        """
        self.collector, self.connection = collector, connection
        self._core, self._unbound, self._router = core, unbound, Router(collector, sources)
        self._client = BrokerClient(core.settings, collector, connection, self._arrived, self._connection_changed)
        self._acks = Acks(self._client.ack)
        self._numbers = count()
        # A heap: what has to be tried again goes before what came after it.
        self._tasks: list[_Task] = []
        self._woken = threading.Condition()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"mqtt-{collector.id}", daemon=True)
        self._counts: Counter[str] = Counter()
        self._counting = threading.Lock()
        taken = partial(self._count, "replayed")
        self._second_tries = SecondTries(core, self._router, unbound, collector.id, taken)
        self._submitted = 0
        self._problem = ""
        self._again_at = self._held_until = 0.0

    @property
    def has_failed(self) -> bool:
        """Whether it ended by accident, so that it is to be begun anew."""
        return self._client.link.has_failed or (self._thread.ident is not None and not self._thread.is_alive())

    def start(self) -> None:
        """Connect and take messages in the background."""
        self._thread.start()
        self._client.start()

    def stop(self) -> None:
        """Take nothing more, acknowledge what becomes safe within seconds, and sign off; the broker keeps the rest."""
        self._stopping.set()
        with self._woken:
            self._woken.notify_all()
        self._thread.join()
        deadline = time.monotonic() + _SETTLE_S
        with self._woken:
            self._woken.wait_for(lambda: not self._submitted, timeout=max(0.0, deadline - time.monotonic()))
        self._client.stop()

    def told(self) -> tuple[Told, ...]:
        """How it goes."""
        link = self._client.link
        problems = (self._problem, *link.refused, link.problem)
        with self._counting:
            counts = {**self._counts, "connections": link.connections, "sessions_lost": link.sessions_lost}
        state = "connected" if link.is_connected else "away"
        problem = next((text for text in problems if text), "")
        return (Told("mqtt", self.collector.id, state, problem, self._acks.waiting, counts),)

    def _count(self, what: str, times: int = 1) -> None:
        # The network, the core and the collector's own thread count.
        with self._counting:
            self._counts[what] += times

    # ── called by the network's thread ───────────────────────────────────────────────────────────────────────

    def _arrived(self, incoming: Incoming) -> None:
        """Take a message on; waits while too many are on their way, so that the broker has to wait too.

        A broker of MQTT 5 keeps to the receive maximum by itself; this holds for 3.1.1 and for QoS 0.
        """
        while not self._acks.wait_below(self.collector.receive_maximum, _IN_FLIGHT_BYTES, _LOOK_S):
            if self._stopping.is_set():
                return
        if self._stopping.is_set():
            # Without an acknowledgement it comes again.
            return
        self._count("messages")
        self._count("repeated", incoming.is_repeated)
        self._count("qos0", incoming.mid is None)
        delivery = self._acks.begin(incoming.mid, len(incoming.body))
        with self._woken:
            heappush(self._tasks, _Task(next(self._numbers), incoming, delivery))
            self._woken.notify_all()

    def _connection_changed(self) -> None:
        """What has no acknowledgement comes again: forget what was not submitted yet, unless nobody sends it again."""
        self._acks.forget()
        with self._woken:
            self._tasks = [task for task in self._tasks if task.incoming.mid is None]
            heapify(self._tasks)

    # ── the collector's own thread ───────────────────────────────────────────────────────────────────────────

    def _work(self) -> None:
        while not self._stopping.is_set():
            if time.monotonic() >= self._again_at:
                more = self._second_tries.turn(self._stopping.is_set)
                # New messages have their turn in between.
                self._again_at = 0.0 if more else time.monotonic() + _AGAIN_S
            # One wait for all that are held: each has met the same obstacle.
            self._stopping.wait(max(0.0, self._held_until - time.monotonic()))
            with self._woken:
                if not self._tasks:
                    self._woken.wait(timeout=_LOOK_S)
                    continue
                task = heappop(self._tasks)
            if not self._take(task):
                with self._woken:
                    heappush(self._tasks, task)

    def _take(self, task: _Task) -> bool:
        """Submit or keep a message; false when neither is possible now."""
        if task.reason:
            return self._keep(task)
        incoming = task.incoming
        try:
            bound = self._router.bind(incoming.topic, incoming.content_type)
            submission = Submission(
                bound.dataset, incoming.body, bound.media_type, bound.source, datetime.now(UTC), bound.given
            )
            future = self._core.submit(submission)
        except (Busy, Throttled) as error:
            self._hold(f"held back: {error}", error.retry_after_s)
            return False
        except (NotBound, IntakeError) as error:
            task.reason, task.detail = reason_of(error), str(error)
            return self._keep(task)
        except (LakeError, OSError) as error:
            self._hold(f"held back: {error}")
            return False
        self._problem = ""
        with self._woken:
            self._submitted += 1
        future.add_done_callback(partial(self._settled, task))
        return True

    def _settled(self, task: _Task, future: Future[Receipt]) -> None:
        """Called by the core: it must be quick, so that what needs the disk goes back to the collector's thread."""
        error = future.exception()
        if error is None or isinstance(error, Empty):
            self._count("empty", error is not None)
            self._safe(task)
        elif isinstance(error, Busy):
            self._hold(f"held back: {error}", error.retry_after_s)
        else:
            task.reason, task.detail = reason_of(error), str(error)
        with self._woken:
            self._submitted -= 1
            if not task.delivery.is_safe:
                heappush(self._tasks, task)
            self._woken.notify_all()

    def _safe(self, task: _Task) -> None:
        self._count("safe")
        self._acks.safe(task.delivery)

    def _keep(self, task: _Task) -> bool:
        incoming = task.incoming
        try:
            self._unbound.keep(
                self.collector.id,
                incoming.topic,
                incoming.content_type or "",
                incoming.body,
                task.reason,
                task.detail,
            )
        except (OSError, UnboundFull) as error:
            if not self._problem:
                log.error("a message can neither be bound nor kept", extra={"cause": str(error)})
            self._hold(f"held back, it can neither be bound nor kept: {error}")
            return False
        self._problem = ""
        self._count(task.reason)
        self._safe(task)
        return True

    def _hold(self, problem: str, wait_s: float | None = None) -> None:
        """Take nothing for a while; the broker waits too."""
        self._problem = problem
        self._held_until = time.monotonic() + min(wait_s or _RETRY_S, _RETRY_S)
