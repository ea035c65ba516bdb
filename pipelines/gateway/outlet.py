"""Brings sealed records to Kafka, or to the disk while Kafka is away, in order per dataset.

A state machine of one thread. Each dataset has a lane that is *open* (records go to Kafka) or *spooling* (they go
behind those that wait on disk, because records of one partition may stand at most seconds out of order by their
arrival clock). When Kafka does not take a record in time, everything outstanding is taken back and spooled in order;
when it is back, each lane is emptied from its oldest record on, and opens again when nothing waits.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from pipelines.gateway.publisher import publisher_config
from pipelines.gateway.spool import Batch, Spool, SpoolFailed, SpoolFull
from pipelines.runtime.errors import LakeError, ServiceError
from pipelines.runtime.settings import Settings

log = logging.getLogger(__name__)
DELIVERY_TIMEOUT_S = 5.0
"""A record that Kafka has not acknowledged after this long is spooled; half the slack of the arrival clock."""
_QUEUE_RECORDS = 200_000
_QUEUE_KBYTES = 262_144
_DRAIN_RECORDS = 2_000
_PROBE_PERIOD_S = 0.5
_PROBE_TIMEOUT_S = 3.0
_LANE_RETRY_S = 5.0
_PURGE_TIMEOUT_S = 5.0
_OUTAGE = frozenset(
    {
        KafkaError._MSG_TIMED_OUT,
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TIMED_OUT,
        KafkaError._PURGE_QUEUE,
        KafkaError._PURGE_INFLIGHT,
        KafkaError._FATAL,
        KafkaError._DESTROY,
        KafkaError.NOT_ENOUGH_REPLICAS,
        KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.REQUEST_TIMED_OUT,
    }
)
Settled = Callable[[int, int, LakeError | None], None]
"""Told once per consignment: how many records Kafka has, how many are spooled, and why neither is true of the rest."""


@dataclass(eq=False, slots=True)
class Consignment:
    """A batch on its way. `left` records wait for Kafka's answer, those at `failed` it did not take."""

    batch: Batch
    settled: Settled
    left: int = 0
    failed: list[int] = field(default_factory=list)
    was_sent: bool = False


@dataclass(eq=False, slots=True)
class _Drain:
    """A part of the spool on its way to Kafka; `sent` holds the places of records that it has."""

    left: int
    sent: list[int] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Lane:
    """The way of one dataset. `problem` says why its records wait although Kafka answers."""

    dataset: str
    is_open: bool
    outstanding: deque[Consignment] = field(default_factory=deque)
    behind: list[Consignment] = field(default_factory=list)
    drain: _Drain | None = None
    problem: str = ""
    retry_at: float = 0.0


class Outlet:
    """`put` consignments, then call `turn` again and again; both in the same thread."""

    def __init__(self, settings: Settings, spool: Spool, bootstrap: Callable[[], str]) -> None:
        """`bootstrap` gives the brokers' addresses now; it raises ServiceError while Kafka is down."""
        self._settings, self._spool, self._bootstrap = settings, spool, bootstrap
        self._lanes = {dataset: Lane(dataset, is_open=False) for dataset in spool.waiting}
        self._producer: Producer | None = None
        self._lost = ""
        self._found: deque[Producer] = deque()
        self._prober: threading.Thread | None = None
        self._closing = threading.Event()
        self.last_error = "not connected yet"
        self.is_full = False

    # ── what others see ──────────────────────────────────────────────────────────────────────────────────────

    @property
    def is_connected(self) -> bool:
        """Whether Kafka answers, as far as is known."""
        return self._producer is not None

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits for Kafka's answer."""
        return not any(lane.outstanding or lane.behind or lane.drain for lane in self._lanes.values())

    @property
    def problems(self) -> dict[str, str]:
        """Datasets whose records wait although Kafka answers, with the reason."""
        return {lane.dataset: lane.problem for lane in self._lanes.values() if lane.problem}

    # ── the one thread ───────────────────────────────────────────────────────────────────────────────────────

    def put(self, batch: Batch, settled: Settled) -> None:
        """Take records on; `settled` is called in a later `turn`."""
        lane = self._lanes.get(batch.dataset)
        if lane is None:
            lane = self._lanes[batch.dataset] = Lane(batch.dataset, is_open=True)
        consignment = Consignment(batch, settled)
        if lane.is_open and self._producer is not None:
            lane.outstanding.append(consignment)
            self._produce(self._producer, lane, consignment)
        else:
            lane.is_open = False
            lane.behind.append(consignment)

    def turn(self, wait_s: float) -> None:
        """Do what is to be done now; waits up to `wait_s` seconds for Kafka's answers when some are outstanding."""
        if self._producer is not None:
            waits = any(lane.outstanding or lane.drain for lane in self._lanes.values())
            self._producer.poll(wait_s if waits else 0)
        if self._lost:
            self._lose()
        if self._found and self._producer is None:
            self._producer, self.last_error = self._found.popleft(), ""
            log.info("kafka answers")
        self._settle()
        if self._producer is None:
            self._probe()
        else:
            for lane in self._lanes.values():
                if not lane.is_open:
                    self._empty_or_say(self._producer, lane)

    def close(self, timeout_s: float) -> None:
        """Wait for what is outstanding, spool what Kafka has not taken by then, and end."""
        deadline = time.monotonic() + timeout_s
        while any(lane.outstanding or lane.behind for lane in self._lanes.values()):
            self.turn(0.05)
            if time.monotonic() > deadline:
                self._lost = self._lost or "the gateway ends"
        self._closing.set()
        if self._prober is not None:
            self._prober.join()
        if self._producer is not None:
            self._producer.purge()
            self._producer.flush(1.0)

    # ── to Kafka ─────────────────────────────────────────────────────────────────────────────────────────────

    def _produce(self, producer: Producer, lane: Lane, consignment: Consignment) -> None:
        batch = consignment.batch
        topic, headers = self._settings.topic(batch.topic), list(batch.headers)
        consignment.left, consignment.was_sent = len(batch.pairs), True
        for index, (key, value) in enumerate(batch.pairs):
            told = partial(self._told, lane, consignment, index)
            self._send(producer, topic, key, value, batch.timestamp_ms, headers, told)

    def _send(
        self,
        producer: Producer,
        topic: str,
        key: bytes,
        value: bytes,
        timestamp_ms: int,
        headers: list[tuple[str, bytes]],
        told: Callable[[KafkaError | None, Any], None],
    ) -> None:
        while True:
            try:
                producer.produce(topic, value, key, on_delivery=told, timestamp=timestamp_ms, headers=headers)
                return
            except BufferError:
                # What is in flight is bounded below the queue: only a Kafka that has stopped fills it.
                producer.poll(0.05)
            except KafkaException as error:
                told(error.args[0], None)
                return

    def _told(self, lane: Lane, consignment: Consignment, index: int, error: KafkaError | None, _message: Any) -> None:
        consignment.left -= 1
        if error is not None:
            consignment.failed.append(index)
            self._note(lane, error)

    def _note(self, lane: Lane, error: KafkaError) -> None:
        """Close the lane after a failure; an outage closes all of them, in the next `turn`."""
        lane.is_open = False
        if error.code() in _OUTAGE:
            self._lost = self._lost or error.str()
        elif not lane.problem:
            log.error("kafka does not take records", extra={"dataset": lane.dataset, "cause": error.str()})
            lane.problem = error.str()
        lane.retry_at = time.monotonic() + _LANE_RETRY_S

    def _lose(self) -> None:
        """Give up the connection: every outstanding record comes back, and a new producer is looked for.

        The old one is not used again: an idempotent producer whose records were taken back has a gap in its numbers.
        """
        producer, self._producer = self._producer, None
        self.last_error = self._lost
        if producer is not None:
            log.warning("kafka is away; records are spooled", extra={"cause": self._lost})
            producer.purge(in_queue=True, in_flight=True, blocking=True)
            producer.flush(_PURGE_TIMEOUT_S)
        for lane in self._lanes.values():
            lane.is_open = False
            lane.retry_at = 0.0
        self._lost = ""

    # ── to the disk ──────────────────────────────────────────────────────────────────────────────────────────

    def _settle(self) -> None:
        waiting: list[Consignment] = []
        for lane in self._lanes.values():
            if lane.is_open:
                done = [c for c in lane.outstanding if not c.left]
                if done:
                    lane.outstanding = deque(c for c in lane.outstanding if c.left)
                for consignment in done:
                    consignment.settled(len(consignment.batch.pairs), 0, None)
            elif not any(c.left for c in lane.outstanding):
                # What was sent before and came back goes to the disk before what came later.
                waiting += lane.outstanding
                waiting += lane.behind
                lane.outstanding.clear()
                lane.behind.clear()
        if waiting:
            self._spool_all(waiting)

    def _spool_all(self, consignments: Sequence[Consignment]) -> None:
        """One sync for all of them; when they do not fit together, each that fits by itself."""
        batches = [_unsent(consignment) for consignment in consignments]
        try:
            self._spool.append([batch for batch in batches if batch.pairs])
            errors: list[LakeError | None] = [None] * len(batches)
        except (SpoolFull, SpoolFailed) as error:
            errors = [error] if len(batches) == 1 else [self._spool_one(batch) for batch in batches]
        for consignment, batch, problem in zip(consignments, batches, errors, strict=True):
            if isinstance(problem, SpoolFull) and not self.is_full:
                self.is_full = True
                log.error("the spool is full", extra={"path": str(self._spool.path)})
            sent = len(consignment.batch.pairs) - len(batch.pairs)
            consignment.settled(sent, 0 if problem else len(batch.pairs), problem)

    def _spool_one(self, batch: Batch) -> LakeError | None:
        try:
            self._spool.append([batch])
        except (SpoolFull, SpoolFailed) as error:
            return error
        return None

    # ── from the disk ────────────────────────────────────────────────────────────────────────────────────────

    def _empty_or_say(self, producer: Producer, lane: Lane) -> None:
        try:
            self._empty(producer, lane)
        except SpoolFailed as error:
            log.exception("the spool does not give its records back", extra={"dataset": lane.dataset})
            lane.problem, lane.retry_at = str(error), time.monotonic() + _LANE_RETRY_S

    def _empty(self, producer: Producer, lane: Lane) -> None:
        """Send the oldest part of what waits; open the lane when nothing does."""
        if lane.drain is not None:
            if lane.drain.left:
                return
            drained, lane.drain = lane.drain, None
            self._spool.forget(lane.dataset, drained.sent)
            self.is_full = False
        if lane.outstanding or lane.behind or time.monotonic() < lane.retry_at:
            return
        records = self._spool.oldest(lane.dataset, _DRAIN_RECORDS)
        if not records:
            lane.is_open, lane.problem = True, ""
            return
        lane.drain = drain = _Drain(left=len(records))
        for record in records:
            told = partial(self._drained, lane, drain, record.seq)
            topic, headers = self._settings.topic(record.topic), list(record.headers)
            self._send(producer, topic, record.key, record.value, record.timestamp_ms, headers, told)

    def _drained(self, lane: Lane, drain: _Drain, seq: int, error: KafkaError | None, _message: Any) -> None:
        drain.left -= 1
        if error is None:
            drain.sent.append(seq)
        else:
            self._note(lane, error)

    # ── looking for Kafka ────────────────────────────────────────────────────────────────────────────────────

    def _probe(self) -> None:
        if self._found or self._closing.is_set() or (self._prober is not None and self._prober.is_alive()):
            return
        self._prober = threading.Thread(target=self._look, name="gateway-kafka", daemon=True)
        self._prober.start()

    def _look(self) -> None:
        """Until Kafka answers: find its address, connect, and ask for its topics."""
        address, producer = "", None
        while not self._closing.is_set():
            try:
                now = self._bootstrap()
                if producer is None or now != address:
                    address, producer = now, Producer(self._config(now))
                producer.list_topics(timeout=_PROBE_TIMEOUT_S)
                # Errors from before it answered are history.
                producer.poll(0)
            except (ServiceError, KafkaException) as error:
                self.last_error = str(error)
                self._closing.wait(_PROBE_PERIOD_S)
            else:
                self._found.append(producer)
                return

    def _config(self, bootstrap: str) -> dict[str, Any]:
        return {
            **publisher_config(bootstrap),
            "delivery.timeout.ms": int(DELIVERY_TIMEOUT_S * 1000),
            "queue.buffering.max.messages": _QUEUE_RECORDS,
            "queue.buffering.max.kbytes": _QUEUE_KBYTES,
            "error_cb": self._on_error,
            # What it would say of an outage is said once, by the gateway itself.
            "log_level": 2,
        }

    def _on_error(self, error: KafkaError) -> None:
        # Served inside `poll`: at once when every connection is gone, instead of after the delivery timeout.
        if error.code() == KafkaError._ALL_BROKERS_DOWN and self._producer is not None:
            self._lost = self._lost or error.str()


def _unsent(consignment: Consignment) -> Batch:
    if not consignment.was_sent:
        return consignment.batch
    return replace(consignment.batch, pairs=[consignment.batch.pairs[i] for i in sorted(consignment.failed)])
