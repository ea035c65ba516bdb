"""The core of the gateway, which knows no transport: parse → seal → Kafka or spool → receipt.

A front calls :meth:`Core.submit` from any thread and waits for the future. What cannot be taken now is said at once
by an :class:`~pipelines.gateway.submission.IntakeError`. Everything else happens in one thread of the core, so that
records keep the order in which they were submitted.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry
from pipelines.contracts.targets.kafka import raw_topic
from pipelines.gateway.devices import Devices
from pipelines.gateway.envelope import milliseconds, source_headers
from pipelines.gateway.formats.select import check
from pipelines.gateway.limits import Limits, TokenBucket
from pipelines.gateway.outlet import Outlet
from pipelines.gateway.sealing import Sealed, Sealing
from pipelines.gateway.sources import Source
from pipelines.gateway.spool import Batch, Spool
from pipelines.gateway.state import State
from pipelines.gateway.submission import (
    Busy,
    IntakeError,
    NotAllowed,
    Oversized,
    Receipt,
    Submission,
    Throttled,
    UnknownDataset,
)
from pipelines.runtime.errors import LakeError
from pipelines.runtime.services import endpoints
from pipelines.runtime.settings import Settings

log = logging.getLogger(__name__)
_IDLE_S = 0.25
_TURN_S = 0.002
_CLOSE_TIMEOUT_S = 8.0
_AT_ONCE = 64
_LOOK_S = 0.5
_EXPIRE_S = 3600.0


@dataclass(eq=False, slots=True)
class _Job:
    """One submission on its way through the core."""

    submission: Submission
    dataset: Dataset
    future: Future[Receipt]


class Core:
    """Use it as a context manager; `submit` is thread-safe. `limits` bound what it takes."""

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        limits: Limits | None = None,
        bootstrap: Callable[[], str] | None = None,
    ) -> None:
        """`bootstrap` gives Kafka's addresses; by default those of the local services.

        Raises:
            LakeError: another gateway of the namespace runs, or the spool of an earlier one cannot be opened.
        """
        self.settings, self.limits = settings, limits or Limits()
        self.use(registry)
        self._lease = _lease(settings)
        self.sealing = Sealing(settings, registry, self.limits)
        self.spool = Spool(spool_folder(settings), self.limits.spool_bytes)
        self.outlet = Outlet(settings, self.spool, bootstrap or (lambda: endpoints(settings).kafka))
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._buckets: dict[str, TokenBucket] = {}
        self._lock = threading.Lock()
        self._bytes = self._submissions = 0
        self._thread = threading.Thread(target=self._run, name="gateway-core", daemon=True)
        self._is_closing = self.has_failed = False
        self._look_at = 0.0
        self._expire_at = 0.0
        self.quarantined = self.sealing.quarantine.usage()
        self.on_failure: Callable[[], None] = lambda: None
        self.state = self._look()

    def __enter__(self) -> Core:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End as :meth:`close`."""
        self.close()

    def use(self, registry: Registry) -> None:
        """Go on with these contracts; what was taken before is not looked at again."""
        self.registry = registry
        self.streams = {dataset.id: dataset for dataset in registry.streams()}

    @property
    def devices(self) -> Devices:
        """The devices that are known, and when they were heard of."""
        return self.sealing.devices

    def close(self) -> None:
        """Take nothing more, settle what was taken (Kafka or spool), and end."""
        self._is_closing = True
        self._queue.put(None)
        self._thread.join()

    # ── called by the fronts ─────────────────────────────────────────────────────────────────────────────────

    def submit(self, submission: Submission) -> Future[Receipt]:
        """Take a submission on; the future has its receipt when all of it is safe, or an error when nothing counts.

        The future's own errors: :class:`Empty`, :class:`Oversized` (too many records), :class:`Busy` (the spool is
        full: some records may be in Kafka already, sending all again does no harm).

        Raises:
            UnknownDataset, NotAllowed, UnknownFormat, Oversized, Throttled, Busy: nothing was taken.
        """
        size = len(submission.body)
        dataset = self.check(submission.dataset, submission.media_type, submission.source, size)
        with self._lock:
            if self._is_closing:
                raise Busy("The gateway ends.", "Send it again.", self.limits.retry_after_s)
            if (
                self._submissions >= self.limits.in_flight_submissions
                or self._bytes + size > self.limits.in_flight_bytes
            ):
                self.outcomes[dataset.id, "busy"] += 1
                raise Busy("Too much is in flight.", "Send it again later.", self.limits.retry_after_s)
            if self.outlet.is_full and not self.outlet.is_connected:
                self.outcomes[dataset.id, "busy"] += 1
                raise Busy("Kafka is away and the spool is full.", "Send it again later.", 30.0)
            bucket = self._bucket(submission.source)
            if wait_s := bucket.wait_s():
                self.outcomes[dataset.id, "throttled"] += 1
                what = f"{submission.source.name} may send {submission.source.rate_per_s:g} records a second."
                raise Throttled(what, "Send it again later, or ask for a higher rate.", wait_s)
            self._submissions += 1
            self._bytes += size
        future: Future[Receipt] = Future()
        # What was taken is settled, whether or not its sender still waits.
        future.set_running_or_notify_cancel()
        future.add_done_callback(partial(self._release, size))
        self._queue.put(_Job(submission, dataset, future))
        return future

    def check(self, dataset_id: str, media_type: str, source: Source, size_bytes: int) -> Dataset:
        """The dataset of a body that may be taken, as far as can be said without reading it.

        Raises:
            UnknownDataset, NotAllowed, UnknownFormat, Oversized: it may not.
        """
        dataset = self.bound(dataset_id, source)
        if size_bytes > self.limits.body_bytes:
            what = f"The body has {size_bytes} bytes; at most {self.limits.body_bytes} are taken."
            raise Oversized(what, "Send smaller batches.")
        check(dataset, media_type)
        return dataset

    def bound(self, dataset_id: str, source: Source) -> Dataset:
        """The stream of that name, when a source may send to it.

        Raises:
            UnknownDataset, NotAllowed: it may not, whatever it was bound to before the contract said who writes it.
        """
        dataset = self.streams.get(dataset_id)
        if dataset is None:
            raise UnknownDataset(f"There is no stream {dataset_id!r} in {self.settings.namespace}.")
        if not dataset.is_sent:
            what = f"The platform alone writes {dataset_id}: no source may send to it."
            raise NotAllowed(what, "Send what was measured to the stream that it is made from.")
        if not source.may_send(dataset_id):
            what = f"{source.name} may not send to {dataset_id}."
            raise NotAllowed(what, f"It is bound to: {', '.join(source.datasets)}.")
        return dataset

    def _bucket(self, source: Source) -> TokenBucket:
        bucket = self._buckets.get(source.name)
        if bucket is None or bucket.rate_per_s != source.rate_per_s:
            bucket = self._buckets[source.name] = TokenBucket(source.rate_per_s, source.burst)
        return bucket

    def _release(self, size: int, _future: Future[Receipt]) -> None:
        with self._lock:
            self._submissions -= 1
            self._bytes -= size

    # ── the core's own thread ────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        try:
            ends = False
            while not ends:
                jobs, ends = self._next()
                for job in jobs:
                    self._take(job)
                self.outlet.turn(0 if jobs else _TURN_S)
                if time.monotonic() >= self._look_at:
                    self._look_at = time.monotonic() + _LOOK_S
                    self.state = self._look()
                    self._forget_old()
            self.outlet.close(_CLOSE_TIMEOUT_S)
        except Exception:
            log.exception("the core failed; the gateway ends")
            self._is_closing = self.has_failed = True
            self.on_failure()
        finally:
            self.spool.close()
            self.sealing.close()
            self._lease.release()

    def _look(self) -> State:
        return State(
            is_connected=self.outlet.is_connected,
            last_error=self.outlet.last_error,
            waiting={dataset: count for dataset, count in sorted(self.spool.waiting.items()) if count},
            spool_bytes=self.spool.used_bytes,
            spool_limit_bytes=self.limits.spool_bytes,
            is_spool_full=self.outlet.is_full,
            damaged=self.spool.damaged,
            problems=self.outlet.problems,
            in_flight_bytes=self._bytes,
            outcomes=dict(sorted(self.outcomes.items())),
        )

    def _forget_old(self) -> None:
        """Let go of records whose devices nobody registered in time, once an hour, a part at a time.

        By this thread, because it keeps them: bytes must not go while the same bytes come again.
        """
        if time.monotonic() < self._expire_at:
            return
        self._expire_at = time.monotonic() + _EXPIRE_S
        try:
            gone = self.sealing.quarantine.expire(datetime.now(UTC))
        except OSError:
            log.exception("old records of unknown devices stay for now")
            return
        if gone:
            self._expire_at = 0.0
            log.warning("records of unknown devices were kept for long enough", extra={"records": gone})

    def _next(self) -> tuple[list[_Job], bool]:
        """What was submitted since; waits only while nothing is on its way to Kafka."""
        jobs: list[_Job] = []
        wait_s = _IDLE_S if self.outlet.is_idle else 0.0
        try:
            while len(jobs) < _AT_ONCE:
                job = self._queue.get(block=bool(wait_s), timeout=wait_s or None)
                if job is None:
                    return jobs, True
                jobs.append(job)
                wait_s = 0.0
        except queue.Empty:
            pass
        return jobs, False

    def _take(self, job: _Job) -> None:
        try:
            sealed = self.sealing.seal(job.dataset, job.submission)
        except IntakeError as error:
            job.future.set_exception(error)
            return
        except OSError as error:
            # Refused bytes that cannot be kept: then nothing of the submission was taken.
            log.exception("the object store does not keep refused bytes")
            what = f"Refused bytes cannot be kept: {error}."
            job.future.set_exception(Busy(what, "Send it again later.", self.limits.retry_after_s))
            return
        except Exception as error:
            # One submission's fault must not end the others'; its sender is told that nothing counts.
            log.exception("a submission failed", extra={"dataset": job.dataset.id})
            job.future.set_exception(error)
            return
        submission = job.submission
        with self._lock:
            self._bucket(submission.source).take(len(sealed.pairs))
        batch = Batch(
            job.dataset.id,
            raw_topic(job.dataset),
            milliseconds(submission.received_at),
            source_headers(submission.source.name),
            sealed.pairs,
        )
        self.outlet.put(batch, partial(self._settled, job, sealed))

    def _settled(self, job: _Job, sealed: Sealed, sent: int, spooled: int, problem: LakeError | None) -> None:
        """Tell the sender. Refused records are among those sent or spooled: their bytes are safe, but no use."""
        if problem is not None:
            job.future.set_exception(Busy(problem.what, "Send it again later.", 30.0))
            return
        records, refused = len(sealed.pairs), len(sealed.refused)
        accepted = max(0, sent - refused)
        receipt = Receipt(
            job.dataset.id, records, accepted, records - refused - accepted, tuple(sealed.refused), sealed.dropped
        )
        for outcome, count in (("accepted", receipt.accepted), ("spooled", receipt.spooled)):
            self.outcomes[job.dataset.id, outcome] += count
        for item in receipt.refused:
            self.outcomes[job.dataset.id, item.reason] += 1
        job.future.set_result(receipt)


def _lease(settings: Settings) -> FileLock:
    """The right to the spool; the kernel gives it back when the process dies."""
    folder = spool_folder(settings)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    # The thread of the core gives it back, not the one that took it.
    lock = FileLock(folder / "lock", thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        what = f"Another gateway of the namespace {settings.namespace} runs."
        raise LakeError(what, "End it first: lake stop, or the process that holds the spool.") from None
    return lock


def spool_folder(settings: Settings) -> Path:
    """`<state>/gateway/<namespace>/spool`."""
    return settings.state / "gateway" / settings.namespace / "spool"
