"""One run of each engine over one filled topic, in processes of its own that end with it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
from events import Truth
from flink_jobs import ours, plain
from measure import POLL_S, Measurement, Meter, Offsets, records, wait_for

from pipelines.contracts.registry import Registry
from pipelines.runtime import services
from pipelines.runtime.flink import Cluster
from pipelines.runtime.java import java_home_17
from pipelines.runtime.servers.flink import JOBMANAGER, TASKMANAGER, checkpoint_dir
from pipelines.runtime.settings import Settings
from pipelines.streaming.job import Job
from pipelines.streaming.submit import Submission, submit

PEERS = Path(__file__).parent / "peers"
TIMEOUT_S = 3600.0
QUIET_S = 30.0


@dataclass(frozen=True)
class Case:
    """A filled topic `<namespace>.raw.lane_minute`, and what is right for it."""

    settings: Settings
    bootstrap: str
    truth: Truth

    def topic(self, name: str) -> str:
        """The full name of one of the namespace's topics."""
        return self.settings.topic(name)


Engine = Callable[[Case], Measurement]
Rows = Callable[[Truth], Mapping[str, int]]


def _windows(truth: Truth) -> dict[str, int]:
    return {"agg.lane_flow_1min": truth.windows_1min}


def _all(truth: Truth) -> dict[str, int]:
    kept = truth.on_time + truth.late + truth.duplicate
    return {"clean.lane_minute": kept, "agg.lane_flow_5min": truth.windows_5min, **_windows(truth)}


def _refused(truth: Truth) -> dict[str, int]:
    return {"dead_letter": truth.malformed}


def flink(registry: Registry, make: Callable[..., Job], *, windows_only: bool, refuses: bool) -> Engine:
    """A job on a fresh cluster of the platform's own configuration; it is measured until its last row is in Kafka."""

    def run(case: Case) -> Measurement:
        settings = case.settings
        rows = _windows(case.truth) if windows_only else _all(case.truth)
        rows |= _refused(case.truth) if refuses else {}
        wanted = {case.topic(name): count for name, count in rows.items()}
        job = make(registry, settings, case.bootstrap, windows_only=windows_only)
        shutil.rmtree(checkpoint_dir(settings), ignore_errors=True)
        offsets = Offsets(case.bootstrap)
        before = {topic: offsets.count(topic) for topic in wanted}
        starts = offsets.ends(case.topic("clean.lane_minute"))
        services.up(settings, ("flink",), supervise=False)
        try:
            processes = services.running(settings)
            meter = Meter(processes[name].pid for name in (JOBMANAGER, TASKMANAGER))
            began = time.monotonic()
            job_id = submit([Submission(job)], settings)[job.name]
            rest = services.endpoints(settings).flink_rest
            with Cluster(rest) as cluster:

                def alive() -> None:
                    found = next(j for j in cluster.jobs() if j.job_id == job_id)
                    if not found.is_alive:
                        raise RuntimeError(f"{job.name} is {found.state}; see the log of {TASKMANAGER}")

                targets = {topic: before[topic] + count for topic, count in wanted.items()}
                cpu_s, _ = wait_for(targets, offsets, meter, alive, TIMEOUT_S)
                wall_s = time.monotonic() - began
                # A row too much would show until then.
                state = _state_mib(rest, job_id)
                cluster.cancel(job_id)
            found = {topic: offsets.count(topic) for topic in wanted}
            # Plain windows count some of the late readings, by how often Flink looks at its clock: that may be more.
            if (refuses and found != targets) or any(found[topic] < count for topic, count in targets.items()):
                raise RuntimeError(f"{job.name} wrote {found}, right is {targets}")
        finally:
            services.down(settings, ("flink",))
            offsets.close()
        if refuses and not windows_only:
            _check_dispositions(case, starts)
        written = {name: found[case.topic(name)] - before[case.topic(name)] for name in rows}
        return Measurement(case.truth.records, cpu_s, wall_s, meter.peak_rss_bytes >> 20, written, state)

    return run


def _check_dispositions(case: Case, starts: list[int]) -> None:
    """Count what became of the records in the clean topic and compare it with the truth.

    Raises:
        RuntimeError: they differ.
    """
    found = dict.fromkeys(("on_time", "late", "duplicate", "corrected"), 0)
    marks = {name: f'"disposition":"{name}"'.encode() for name in found}
    for value in records(case.bootstrap, case.topic("clean.lane_minute"), starts):
        for name, mark in marks.items():
            found[name] += mark in value
    truth = {"on_time": case.truth.on_time, "late": case.truth.late, "duplicate": case.truth.duplicate, "corrected": 0}
    if found != truth:
        raise RuntimeError(f"dispositions are {found}, right is {truth}")


def _state_mib(rest: str, job_id: str, timeout_s: float = 120.0) -> float | None:
    """The size of the job's whole state in the next checkpoint, in MiB."""
    now_ms, deadline = time.time() * 1000, time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        answer = httpx.get(f"{rest}/jobs/{job_id}/checkpoints", timeout=10)
        latest = (answer.json().get("latest") or {}).get("completed") if answer.is_success else None
        if latest and latest["trigger_timestamp"] >= now_ms:
            return round(latest["state_size"] / 2**20, 1)
        time.sleep(POLL_S)
    return None


def process(name: str, command: Callable[[Case], list[str]], rows: Rows = _windows, *, says_done: bool) -> Engine:
    """A peer in a process of its own; it is measured until it says DONE, or until its rows are in Kafka."""

    def run(case: Case) -> Measurement:
        offsets = Offsets(case.bootstrap)
        wanted = {case.topic(name): count for name, count in rows(case.truth).items()}
        before = {topic: offsets.count(topic) for topic in wanted}
        log = case.settings.state / "logs" / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        with log.open("wb") as errors:
            peer = subprocess.Popen(
                command(case),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if says_done else errors,
                stderr=errors,
                env={**os.environ, "JAVA_HOME": str(java_home_17()), "PYTHONUNBUFFERED": "1"},
                cwd=log.parent,
                start_new_session=True,
            )
            try:
                meter = Meter([peer.pid])
                if says_done:
                    cpu_s = _until_done(peer, meter, log)
                else:
                    cpu_s = _until_written(peer, meter, log, offsets, wanted, before)
                wall_s = time.monotonic() - began
                found = {topic: offsets.count(topic) for topic in wanted}
            finally:
                _end(peer)
                offsets.close()
        written = {name: found[case.topic(name)] - before[case.topic(name)] for name in rows(case.truth)}
        return Measurement(case.truth.records, cpu_s, wall_s, meter.peak_rss_bytes >> 20, written)

    return run


def _until_done(peer: subprocess.Popen[bytes], meter: Meter, log: Path) -> float:
    """Read the CPU time until the peer says DONE; it then waits for a line before it goes."""
    assert peer.stdout is not None
    os.set_blocking(peer.stdout.fileno(), False)
    said, deadline = b"", time.monotonic() + TIMEOUT_S
    while b"DONE" not in said:
        meter.read()
        said += peer.stdout.read() or b""
        _check(peer, log)
        if time.monotonic() > deadline:
            raise TimeoutError(f"no end after {TIMEOUT_S:.0f} s; see {log}")
        time.sleep(POLL_S)
    return meter.read()


def _until_written(
    peer: subprocess.Popen[bytes],
    meter: Meter,
    log: Path,
    offsets: Offsets,
    wanted: Mapping[str, int],
    before: Mapping[str, int],
) -> float:
    """Read the CPU time when the last row was written: all are there, or no more came for a while.

    An engine may call records late that are not, and never write their windows.
    """
    last, cpu_s, changed = -1, 0.0, time.monotonic()
    began = changed
    while True:
        now_s, found = meter.read(), sum(offsets.count(topic) - before[topic] for topic in wanted)
        if found != last:
            last, cpu_s, changed = found, now_s, time.monotonic()
        if found >= sum(wanted.values()) or (found and time.monotonic() - changed > QUIET_S):
            return cpu_s
        _check(peer, log)
        if time.monotonic() - began > TIMEOUT_S:
            raise TimeoutError(f"{found} of {dict(wanted)} rows after {TIMEOUT_S:.0f} s; see {log}")
        time.sleep(POLL_S)


def _check(peer: subprocess.Popen[bytes], log: Path) -> None:
    if peer.poll() is not None:
        tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
        raise RuntimeError(f"the peer ended with {peer.returncode}:\n  " + "\n  ".join(tail))


def _end(peer: subprocess.Popen[bytes]) -> None:
    """End the peer and what it started: they are one session."""
    found = [peer.pid]
    try:
        import psutil

        found += [child.pid for child in psutil.Process(peer.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        pass
    for pid in found:
        try:
            os.kill(pid, 9)
        except ProcessLookupError:
            continue
    peer.wait(30)


def spark(jars: Sequence[Path], outputs: str) -> Engine:
    """Spark of this environment with its Kafka jars; checkpoints in the state folder."""

    def command(case: Case) -> list[str]:
        checkpoints = case.settings.state / "spark-checkpoints"
        shutil.rmtree(checkpoints, ignore_errors=True)
        listed = ",".join(map(str, jars))
        arguments = [case.bootstrap, case.settings.namespace, str(checkpoints), listed, outputs]
        return [sys.executable, str(PEERS / "spark_windows.py"), *arguments]

    return process(f"spark-{outputs}", command, _windows if outputs == "windows" else _all, says_done=True)


def python_peer(name: str, environment: Path, *, says_done: bool) -> Engine:
    """A peer in a virtual environment of its own."""

    def command(case: Case) -> list[str]:
        script = PEERS / f"{name}_windows.py"
        return [str(environment / "bin" / "python"), str(script), case.bootstrap, case.settings.namespace]

    return process(name, command, says_done=says_done)


def ours_on(registry: Registry, *, windows_only: bool) -> Engine:
    """The platform's job."""
    return flink(registry, ours, windows_only=windows_only, refuses=True)


def plain_on(registry: Registry, *, windows_only: bool) -> Engine:
    """Plain Flink SQL. Its clean rows lack nothing of ours but what could not be parsed."""
    return flink(registry, plain, windows_only=windows_only, refuses=False)


def names() -> Iterable[str]:
    """All engines, as `--engines` takes them."""
    return ("ours", "ours_windows", "flink", "flink_windows", "spark", "spark_windows", "pathway", "bytewax")
