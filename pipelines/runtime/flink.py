"""The Flink cluster over its REST API: which jobs there are, how they do, and cancelling."""

import time
from dataclasses import dataclass
from typing import Any, Self

import httpx

from pipelines.runtime.errors import ServiceError
from pipelines.runtime.services import endpoints
from pipelines.runtime.settings import Settings

_ALIVE = frozenset({"INITIALIZING", "CREATED", "RUNNING", "RESTARTING", "FAILING", "CANCELLING", "RECONCILING"})
_TIMEOUT_S = 5.0
_POLL_S = 0.2
_SEE_LOG = "See `lake logs flink-jobmanager`."


@dataclass(frozen=True)
class FlinkJob:
    """One job: state as Flink names it; start in seconds since the epoch (UTC)."""

    job_id: str
    name: str
    state: str
    running_tasks: int
    tasks: int
    started_at_s: float
    uptime_s: float

    @property
    def is_alive(self) -> bool:
        """Whether the job has not ended."""
        return self.state in _ALIVE

    @property
    def works(self) -> bool:
        """Whether the job and every one of its tasks runs."""
        return self.state == "RUNNING" and self.running_tasks == self.tasks > 0


class Cluster:
    """A session with one JobManager; use it as a context manager. Every method raises ServiceError when it is down."""

    def __init__(self, rest: str) -> None:
        """`rest` is the address of the JobManager, without a trailing slash; nothing is sent yet."""
        self._rest = rest
        self._client = httpx.Client(base_url=rest)

    def __enter__(self) -> Self:
        """Return the session."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self._client.close()

    def jobs(self) -> tuple[FlinkJob, ...]:
        """Return every job that the JobManager remembers, alive or ended, oldest first."""
        answer = self._send("GET", "/jobs/overview")
        if not answer.is_success:
            raise ServiceError(f"Flink at {self._rest} does not list its jobs ({answer.status_code}).", _SEE_LOG)
        return tuple(sorted((_job(entry) for entry in answer.json()["jobs"]), key=lambda job: job.started_at_s))

    def newest(self) -> tuple[FlinkJob, ...]:
        """Return the newest job of every name, alive or ended, by name."""
        found = {job.name: job for job in self.jobs()}
        return tuple(found[name] for name in sorted(found))

    def alive(self, name: str) -> FlinkJob | None:
        """Return the living job of this name (full, with its namespace), the newest when there are several."""
        return next((job for job in reversed(self.jobs()) if job.name == name and job.is_alive), None)

    def last_checkpoint_age_s(self, job_id: str) -> float | None:
        """Return the age of a job's newest completed checkpoint in seconds; None before the first."""
        # A job that is being initialised has no checkpoint statistics yet: the server answers 404 or 503 until then.
        answer = self._send("GET", f"/jobs/{job_id}/checkpoints")
        checkpoints = answer.json() if answer.is_success else {}
        completed = (checkpoints.get("latest") or {}).get("completed")
        return None if completed is None else max(0.0, time.time() - completed["latest_ack_timestamp"] / 1000)

    def cancel(self, job_id: str, timeout_s: float = 60.0) -> None:
        """Cancel a job and wait until it has ended; its retained checkpoints stay.

        Raises ServiceError when it did not end within `timeout_s`. A job that had ended already is left as it is.
        """
        self._send("PATCH", f"/jobs/{job_id}?mode=cancel", timeout_s)
        deadline = time.monotonic() + timeout_s
        while any(job.job_id == job_id and job.is_alive for job in self.jobs()):
            if time.monotonic() > deadline:
                raise ServiceError(
                    f"Flink job {job_id} did not end within {timeout_s:.0f} s.", "See `lake logs flink-taskmanager`."
                )
            time.sleep(_POLL_S)

    def _send(self, method: str, path: str, timeout_s: float = _TIMEOUT_S) -> httpx.Response:
        try:
            return self._client.request(method, path, timeout=timeout_s)
        except httpx.HTTPError as error:
            raise ServiceError(f"Flink at {self._rest} does not answer ({type(error).__name__}).", _SEE_LOG) from error


def wait_running(settings: Settings, name: str, timeout_s: float = 120.0) -> FlinkJob:
    """Wait until the job `name` (full, with its namespace) and all its tasks run; raises ServiceError after that."""
    deadline = time.monotonic() + timeout_s
    with Cluster(endpoints(settings).flink_rest) as cluster:
        while True:
            found = next((job for job in cluster.newest() if job.name == name), None)
            if found is not None and found.works:
                return found
            if time.monotonic() > deadline:
                state = "is not there" if found is None else f"is {found.state}"
                raise ServiceError(
                    f"The Flink job {name} {state} after {timeout_s:.0f} s.", "See `lake logs flink-taskmanager`."
                )
            time.sleep(_POLL_S)


def _job(overview: dict[str, Any]) -> FlinkJob:
    return FlinkJob(
        job_id=overview["jid"],
        name=overview["name"],
        state=overview["state"],
        running_tasks=overview["tasks"]["running"],
        tasks=overview["tasks"]["total"],
        started_at_s=overview["start-time"] / 1000,
        uptime_s=overview["duration"] / 1000,
    )
