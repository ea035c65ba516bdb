"""Keeps the jobs of a namespace running: resubmits from the newest checkpoint, rebuilds what has changed.

A standalone cluster forgets its jobs when the JobManager dies, and Flink cannot restore state into a changed set of
statements. So: a job that is gone is submitted again from its newest retained checkpoint; a job whose plan has
changed (a contract was added or edited), or whose state is gone, is *rebuilt*: it reads the raw topics again, and
because every output is a function of the raw records, it writes the same rows again.
"""

from __future__ import annotations

import json
import logging
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from pipelines.contracts.errors import ContractErrors
from pipelines.contracts.registry import Registry
from pipelines.runtime.contracts import registry_of
from pipelines.runtime.errors import LakeError
from pipelines.runtime.files import replace_file
from pipelines.runtime.flink import Cluster
from pipelines.runtime.servers.flink import checkpoint_dir
from pipelines.runtime.services import endpoints
from pipelines.runtime.settings import Settings
from pipelines.streaming.job import Job, jobs_of, plan
from pipelines.streaming.submit import Submission
from pipelines.streaming.topics import ensure_topics

PERIOD_S = 1.0
FAILED_RESTORES = 2
"""After so many restores from one checkpoint that ended at once the job is rebuilt: the checkpoint is not usable."""
_FROM_RAW = {True: "rebuilt from the raw topics", False: "started from the raw topics"}
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobRecord:
    """What is remembered of a job between runs of the supervisor; times are ISO 8601 in UTC."""

    name: str
    fingerprint: str
    job_id: str
    submitted_at: str
    restored_from: str | None
    failed_restores: int = 0
    resubmissions: int = 0
    rebuilds: int = 0
    reason: str = "first start"


class Records:
    """The job records of one namespace, one JSON file each, replaced atomically."""

    def __init__(self, settings: Settings) -> None:
        """Keep them below ``<state>/jobs/<namespace>``."""
        self.folder = settings.state / "jobs" / settings.namespace
        self.folder.mkdir(parents=True, exist_ok=True)

    def _path(self, job: str) -> Path:
        return self.folder / f"{job}.json"

    def read(self, job: str) -> JobRecord | None:
        """The record of a job, None before its first start."""
        path = self._path(job)
        return JobRecord(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None

    def write(self, job: str, record: JobRecord) -> None:
        """Replace the record."""
        replace_file(self._path(job), json.dumps(asdict(record), indent=2), mode=0o644)

    def request_rebuild(self, job: str) -> Path:
        """Ask the supervisor to drop the job's state and read the raw topics again."""
        request = self.folder / f"{job}.rebuild"
        request.touch()
        return request


@dataclass(frozen=True)
class Decision:
    """What to do for one job: from which checkpoint, why, and whether this is a rebuild."""

    restore_from: str | None
    reason: str
    rebuild: bool


def decide(
    job: Job, record: JobRecord | None, *, alive: bool, asked: bool, checkpoint: Callable[[str], Path | None]
) -> Decision | None:
    """Decide for one job; None when it runs as it should. Pure but for ``checkpoint(job_id)``."""
    if record is None:
        return Decision(None, "first start", rebuild=False)
    if asked:
        return Decision(None, "rebuild was asked for", rebuild=True)
    if record.fingerprint != job.fingerprint:
        return Decision(None, "its plan has changed", rebuild=True)
    if alive:
        return None
    newest = checkpoint(record.job_id)
    if newest is not None:
        return Decision(newest.as_uri(), "it was gone", rebuild=False)
    earlier = record.restored_from
    if earlier and record.failed_restores < FAILED_RESTORES and _exists(earlier):
        return Decision(earlier, "it was gone before its first checkpoint", rebuild=False)
    return Decision(None, "it was gone and no usable checkpoint is left", rebuild=True)


def newest_checkpoint(checkpoints: Path, job_id: str) -> Path | None:
    """The newest completed checkpoint that ``job_id`` left below ``checkpoints``; a folder without ``_metadata`` was
    not completed."""
    found = [path.parent for path in (checkpoints / job_id).glob("chk-*/_metadata")]
    return max(found, key=lambda path: int(path.name.removeprefix("chk-")), default=None)


def _exists(uri: str) -> bool:
    return (Path(uri.removeprefix("file://")) / "_metadata").exists()


Submitter = Callable[[Sequence[Submission], Settings], Mapping[str, str]]
"""Submits jobs and returns job name → Flink job id: :func:`pipelines.streaming.submit.submit`."""


class JobSupervisor:
    """One loop over the jobs of one namespace."""

    def __init__(self, settings: Settings, submitter: Submitter) -> None:
        """Look after the jobs of the namespace of ``settings``."""
        self.settings, self._submit = settings, submitter
        self.records = Records(settings)
        self._registry: Registry | None = None
        self._schema_stamp: tuple[float, int] = (0.0, 0)
        self._planned: Mapping[str, Job] = {}
        self._planned_from: Registry | None = None
        self._planned_for = ""

    def registry(self) -> Registry:
        """The contracts; loaded again when a schema file has changed. A broken edit keeps the last good one."""
        files = [p for p in (self.settings.home / "schemas").rglob("*") if p.is_file()]
        stamp = (max((p.stat().st_mtime for p in files), default=0.0), len(files))
        if self._registry is not None and stamp == self._schema_stamp:
            return self._registry
        self._schema_stamp = stamp
        try:
            self._registry = registry_of(self.settings)
        except ContractErrors as errors:
            if self._registry is None:
                raise
            _log.error("contracts do not load; the jobs stay as they are", extra={"error": str(errors)})
            return self._registry
        return self._registry

    def look_once(self) -> dict[str, str]:
        """Bring every job to what it should be; returns job → what was done.

        Raises:
            LakeError: the cluster or Kafka does not answer; the next look tries again.
        """
        where = endpoints(self.settings)
        with Cluster(where.flink_rest) as cluster:
            return self._look(cluster, where.kafka)

    def _look(self, cluster: Cluster, bootstrap: str) -> dict[str, str]:
        registry = self.registry()
        checkpoints = checkpoint_dir(self.settings)
        due: list[tuple[str, Decision]] = []
        for name, job in self._wanted(registry, bootstrap).items():
            request = self.records.folder / f"{name}.rebuild"
            running = cluster.alive(job.name)
            record = self.records.read(name)
            decision = decide(
                job,
                record,
                alive=running is not None,
                asked=request.exists(),
                checkpoint=lambda job_id: newest_checkpoint(checkpoints, job_id),
            )
            if decision is None:
                continue
            if running is not None:
                cluster.cancel(running.job_id)
            due.append((name, decision))
        if not due:
            return {}
        ensure_topics(self.settings, registry)
        # Planned anew: a job says from which moment on it reads.
        now = datetime.now(UTC)
        return self._start(
            [(plan(name, registry, self.settings, bootstrap=bootstrap, now=now), decision) for name, decision in due]
        )

    def _wanted(self, registry: Registry, bootstrap: str) -> Mapping[str, Job]:
        """Job id → what should run; planned once as long as contracts and Kafka's address stay what they are."""
        if self._planned_from is not registry or self._planned_for != bootstrap:
            now = datetime.now(UTC)
            self._planned = {
                name: plan(name, registry, self.settings, bootstrap=bootstrap, now=now) for name in jobs_of(registry)
            }
            self._planned_from, self._planned_for = registry, bootstrap
        return self._planned

    def _start(self, due: Sequence[tuple[Job, Decision]]) -> dict[str, str]:
        ids = self._submit([Submission(job, d.restore_from) for job, d in due], self.settings)
        done = {}
        for job, decision in due:
            old = self.records.read(job.id)
            base = old or JobRecord(job.name, job.fingerprint, "", "", None)
            again = decision.restore_from is not None and decision.restore_from == base.restored_from
            self.records.write(
                job.id,
                replace(
                    base,
                    fingerprint=job.fingerprint,
                    job_id=ids[job.name],
                    submitted_at=datetime.now(UTC).isoformat(),
                    restored_from=decision.restore_from,
                    failed_restores=base.failed_restores + 1 if again else 0,
                    resubmissions=base.resubmissions + int(old is not None and not decision.rebuild),
                    rebuilds=base.rebuilds + int(decision.rebuild),
                    reason=decision.reason,
                ),
            )
            (self.records.folder / f"{job.id}.rebuild").unlink(missing_ok=True)
            how = "restored from a checkpoint" if decision.restore_from else _FROM_RAW[decision.rebuild]
            done[job.name] = how
            _log.info(how, extra={"job": job.name, "reason": decision.reason, "job_id": ids[job.name]})
        return done

    def run(self, stop: threading.Event) -> None:
        """Look every second until ``stop``; what fails is logged once and tried again with a growing pause."""
        pause_s = PERIOD_S
        last = ""
        while not stop.is_set():
            try:
                self.look_once()
                pause_s, last = PERIOD_S, ""
            except LakeError as error:
                if str(error) != last:
                    _log.warning("the jobs could not be looked after", extra={"error": str(error)})
                pause_s, last = min(pause_s * 2, 15.0), str(error)
            stop.wait(pause_s)


def run_forever(settings: Settings, submitter: Submitter) -> None:
    """The daemon: one per namespace, held by a lock; ends at SIGTERM and leaves the jobs running.

    Raises:
        LakeError: another supervisor looks after this namespace.
    """
    supervisor = JobSupervisor(settings, submitter)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        with FileLock(supervisor.records.folder / "supervisor.lock", timeout=0):
            supervisor.run(stop)
    except Timeout:
        raise LakeError(
            f"Another process looks after the jobs of {settings.namespace}.", "See `lake status`; it is the one to end."
        ) from None
