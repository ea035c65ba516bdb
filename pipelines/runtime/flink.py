"""What the Flink cluster says of its jobs, for people and for waiting."""

import time
from dataclasses import dataclass

import httpx

from pipelines.runtime.errors import ServiceError
from pipelines.runtime.services import endpoints
from pipelines.runtime.settings import Settings

_TIMEOUT_S = 5.0
_POLL_S = 0.2


@dataclass(frozen=True)
class FlinkJob:
    """One job: state as Flink names it; ages in seconds, None before the first checkpoint."""

    job_id: str
    name: str
    state: str
    running_tasks: int
    tasks: int
    uptime_s: float
    last_checkpoint_age_s: float | None

    @property
    def works(self) -> bool:
        """Whether the job and every one of its tasks runs."""
        return self.state == "RUNNING" and self.running_tasks == self.tasks > 0


def jobs(settings: Settings) -> tuple[FlinkJob, ...]:
    """Return the newest job of every name, by name; raises ServiceError when the JobManager is down or silent."""
    rest = endpoints(settings).flink_rest
    try:
        with httpx.Client(base_url=rest, timeout=_TIMEOUT_S) as client:
            overview = client.get("/jobs/overview").raise_for_status().json()["jobs"]
            newest = {job["name"]: job for job in sorted(overview, key=lambda job: job["start-time"])}
            return tuple(_job(client, newest[name]) for name in sorted(newest))
    except httpx.HTTPError as error:
        raise ServiceError(
            f"Flink at {rest} does not answer ({type(error).__name__}).", "See `lake logs flink-jobmanager`."
        ) from error


def wait_running(settings: Settings, name: str, timeout_s: float = 120.0) -> FlinkJob:
    """Wait until the job `name` (full, with its namespace) and all its tasks run; raises ServiceError after that."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = next((job for job in jobs(settings) if job.name == name), None)
        if found is not None and found.works:
            return found
        if time.monotonic() > deadline:
            state = "is not there" if found is None else f"is {found.state}"
            raise ServiceError(
                f"The Flink job {name} {state} after {timeout_s:.0f} s.", "See `lake logs flink-taskmanager`."
            )
        time.sleep(_POLL_S)


def _job(client: httpx.Client, overview: dict[str, object]) -> FlinkJob:
    job_id = str(overview["jid"])
    now_s = time.time()
    # A job that is being initialised has no checkpoint statistics yet: the server answers 404 or 503 until then.
    answer = client.get(f"/jobs/{job_id}/checkpoints")
    checkpoints = answer.json() if answer.is_success else {}
    completed = (checkpoints.get("latest") or {}).get("completed")
    age_s = None if completed is None else max(0.0, now_s - completed["latest_ack_timestamp"] / 1000)
    tasks = overview["tasks"]
    if not isinstance(tasks, dict):
        raise ServiceError(f"Flink describes the tasks of {job_id} in a way that is not known here.")
    return FlinkJob(
        job_id=job_id,
        name=str(overview["name"]),
        state=str(overview["state"]),
        running_tasks=int(tasks["running"]),
        tasks=int(tasks["total"]),
        uptime_s=float(str(overview["duration"])) / 1000,
        last_checkpoint_age_s=age_s,
    )
