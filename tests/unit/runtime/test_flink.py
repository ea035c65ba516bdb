"""What is read from a JobManager's answers."""

import time
from functools import partial

import httpx
import pytest

from pipelines.runtime import flink
from pipelines.runtime.errors import ServiceError
from pipelines.runtime.flink import Cluster


def overview(job_id, name, state, started_ms, running=2):
    return {
        "jid": job_id,
        "name": name,
        "state": state,
        "start-time": started_ms,
        "duration": 1500,
        "tasks": {"running": running, "total": 2},
    }


JOBS = [
    overview("new", "demo.flood", "RUNNING", 3000),
    overview("old", "demo.flood", "FAILED", 1000, running=0),
    overview("half", "demo.camera", "RUNNING", 2000, running=1),
    overview("over", "demo.transport", "CANCELED", 2500, running=0),
]


@pytest.fixture
def serve(monkeypatch):
    """Let the JobManager answer as a function of the request does."""

    def start(answer):
        transport = httpx.MockTransport(answer)
        monkeypatch.setattr(flink.httpx, "Client", partial(httpx.Client, transport=transport))
        return Cluster("http://jobmanager")

    return start


def test_the_newest_job_of_a_name_stands_for_it_and_only_a_living_one_is_alive(serve):
    with serve(lambda _request: httpx.Response(200, json={"jobs": JOBS})) as cluster:
        assert [job.job_id for job in cluster.jobs()] == ["old", "half", "over", "new"]
        assert [job.job_id for job in cluster.newest()] == ["half", "new", "over"]
        found = cluster.alive("demo.flood")
        assert found is not None
        assert (found.job_id, found.works, found.started_at_s, found.uptime_s) == ("new", True, 3.0, 1.5)
        assert [cluster.alive(name) for name in ("demo.transport", "demo")] == [None, None]
        half = cluster.alive("demo.camera")
        assert half is not None
        assert not half.works


def test_a_cancelled_job_is_waited_for(serve):
    asked = []

    def answer(request):
        asked.append((request.method, str(request.url.copy_with(host="jm"))))
        state = "CANCELED" if len(asked) > 2 else "CANCELLING"
        return httpx.Response(200, json={"jobs": [overview("new", "demo.flood", state, 3000)]})

    with serve(answer) as cluster:
        cluster.cancel("new")
        assert asked[0] == ("PATCH", "http://jm/jobs/new?mode=cancel")
        assert len(asked) == 3
        asked.clear()
        with pytest.raises(ServiceError, match="new did not end within 0 s"):
            cluster.cancel("new", timeout_s=0.0)


def test_a_checkpoint_has_an_age_once_there_is_one(serve):
    completed = {"latest_ack_timestamp": (time.time() - 60) * 1000}
    with serve(lambda _request: httpx.Response(200, json={"latest": {"completed": completed}})) as cluster:
        assert cluster.last_checkpoint_age_s("new") == pytest.approx(60, abs=5)
    with serve(lambda _request: httpx.Response(200, json={"latest": {"completed": None}})) as cluster:
        assert cluster.last_checkpoint_age_s("new") is None
    with serve(lambda _request: httpx.Response(404)) as cluster:
        assert cluster.last_checkpoint_age_s("new") is None


def test_a_cluster_that_is_down_or_refuses_is_said_in_a_sentence(serve):
    def down(request):
        raise httpx.ConnectError("refused", request=request)

    with serve(down) as cluster, pytest.raises(ServiceError, match=r"does not answer \(ConnectError\)"):
        cluster.jobs()
    with serve(lambda _request: httpx.Response(503)) as cluster, pytest.raises(ServiceError, match="503"):
        cluster.jobs()
