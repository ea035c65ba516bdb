"""What the supervisor of the jobs asks of a Flink cluster: jobs, checkpoints, cancelling."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from pipelines.runtime.errors import LakeError

ALIVE = frozenset({"INITIALIZING", "CREATED", "RUNNING", "RESTARTING", "FAILING", "CANCELLING", "RECONCILING"})
_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class RunningJob:
    """One job as the cluster sees it; times in milliseconds since the epoch."""

    job_id: str
    name: str
    state: str
    started_ms: int


class Cluster:
    """A Flink cluster behind its REST API."""

    def __init__(self, rest: str) -> None:
        """``rest`` is the address of the JobManager, without a trailing slash."""
        self._client = httpx.Client(base_url=rest, timeout=_TIMEOUT_S)

    def jobs(self) -> tuple[RunningJob, ...]:
        """Every job the JobManager remembers, alive or ended.

        Raises:
            httpx.HTTPError: the JobManager does not answer.
        """
        answer = self._client.get("/jobs/overview").raise_for_status().json()
        return tuple(RunningJob(j["jid"], j["name"], j["state"], j["start-time"]) for j in answer["jobs"])

    def alive(self, name: str) -> RunningJob | None:
        """The living job of this name, the newest when there are several."""
        found = [job for job in self.jobs() if job.name == name and job.state in ALIVE]
        return max(found, key=lambda job: job.started_ms, default=None)

    def cancel(self, job_id: str, timeout_s: float = 60.0) -> None:
        """Cancel a job and wait until it has ended; its retained checkpoints stay.

        Raises:
            LakeError: it did not end in time.
        """
        self._client.patch(f"/jobs/{job_id}", params={"mode": "cancel"})
        deadline = time.monotonic() + timeout_s
        while any(job.job_id == job_id and job.state in ALIVE for job in self.jobs()):
            if time.monotonic() > deadline:
                raise LakeError(
                    f"Flink job {job_id} did not end within {timeout_s:.0f} s.", "See `lake logs flink-taskmanager`."
                )
            time.sleep(0.2)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def newest_checkpoint(checkpoints: Path, job_id: str) -> Path | None:
    """The newest completed checkpoint that ``job_id`` left below ``checkpoints``; a folder without ``_metadata`` was
    not completed."""
    found = [path.parent for path in (checkpoints / job_id).glob("chk-*/_metadata")]
    return max(found, key=lambda path: int(path.name.removeprefix("chk-")), default=None)
