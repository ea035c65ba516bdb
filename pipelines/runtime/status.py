"""What runs: services, Flink jobs, and sections that other packages add. Only reads."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import psutil
from rich.markup import escape

from pipelines.runtime.errors import ServiceError
from pipelines.runtime.flink import Cluster, FlinkJob
from pipelines.runtime.ports import remembered_ports, service_folder
from pipelines.runtime.process import ProcessRecord, service_processes
from pipelines.runtime.servers import SPECS
from pipelines.runtime.service import Context, Service
from pipelines.runtime.services import endpoints
from pipelines.runtime.settings import Settings
from pipelines.runtime.turns import Told, told


@dataclass(frozen=True)
class ServiceStatus:
    """One service or daemon; `state` is ready, unready (alive, probe not content), dead (to be restarted) or stopped.

    `rss_bytes` sums its processes; pages that they share count once for each.
    """

    name: str
    state: str
    pid: int | None
    ports: Mapping[str, int]
    uptime_s: float | None
    rss_bytes: int
    restarts: int
    detail: str


@dataclass(frozen=True)
class JobStatus(FlinkJob):
    """One job of the cluster with the age of its newest checkpoint, None before the first."""

    last_checkpoint_age_s: float | None


@dataclass(frozen=True)
class Section:
    """A table that another package adds to `lake status`: title, column names, rows; `is_good` colours it."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    is_good: bool = True


def duties(settings: Settings) -> Section:
    """What the desk of the namespace does again and again; without rows where it never did."""
    now = datetime.now(UTC)
    found = told(settings)
    rows = [
        (
            each.name,
            _duty_state(each, now),
            _ago(each.succeeded_at, now),
            escape(f"{each.done} ({_ago(each.done_at, now)})") if each.done else "—",
            str(each.failures),
            escape(each.problem or ""),
        )
        for each in found
    ]
    return Section(
        title="Bàn trực: dự báo, bản tin — Desk",
        columns=("duty", "", "last success", "last done", "failures", "problem"),
        rows=rows,
        is_good=not any(each.ended_at is None and (each.problem or each.is_late(now)) for each in found),
    )


def _duty_state(each: Told, now: datetime) -> str:
    if each.ended_at is not None:
        return "đã dừng (stopped)"
    if each.is_late(now):
        return "QUÁ HẠN (LATE)"
    return "lỗi (failing)" if each.problem else "tốt (ok)" if each.succeeded_at else "bắt đầu (begins)"


def _ago(at: str | None, now: datetime) -> str:
    if at is None:
        return "chưa lần nào (never)"
    return duration_text((now - datetime.fromisoformat(at)).total_seconds())


def duration_text(seconds: float | None) -> str:
    """A duration for people, in its two largest units; empty where it is unknown."""
    if seconds is None:
        return ""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


# Other packages add theirs when they are imported by the command line: dataset freshness, the ledger.
status_sections: list[Callable[[Settings], Section]] = [duties]


def service_statuses(settings: Settings) -> tuple[ServiceStatus, ...]:
    """Return every service of the installation (an optional one that was started) and every daemon that was, probing
    those that live."""
    services = _services_with_ports(settings)
    known = [spec.name for spec in SPECS if not spec.optional]
    records = {path.parent.name: path.parent for path in sorted((settings.state / "services").glob("*/process.json"))}
    names = [*known, *(name for name in records if name not in known)]
    with ThreadPoolExecutor(max_workers=8) as pool:
        return tuple(pool.map(lambda name: _status(settings, name, services.get(name)), names))


def _services_with_ports(settings: Settings) -> dict[str, Service]:
    ports = {spec.name: remembered_ports(settings, spec.name) for spec in SPECS}
    unknown = {spec.name for spec in SPECS if not set(ports[spec.name]) >= set(spec.ports)}
    if any(spec.name in unknown and not spec.optional for spec in SPECS):
        # Never started here: ports are given by `lake up` alone, a status only reads.
        return {}
    context = Context(settings=settings, ports=ports)
    return {spec.name: spec.build(context) for spec in SPECS if spec.name not in unknown}


def _status(settings: Settings, name: str, service: Service | None) -> ServiceStatus:
    folder = service_folder(settings, name)
    record = ProcessRecord.read(folder)
    if record is None:
        return ServiceStatus(name, "stopped", None, {}, None, 0, 0, "")
    # The one that people connect to comes first.
    uses = next((spec.ports for spec in SPECS if spec.name == name), tuple(record.ports))
    ports = {use: record.ports[use] for use in uses if use in record.ports}
    rss_bytes = sum(_rss_bytes(process) for process in service_processes(folder))
    if record.process() is None:
        detail = "its process is gone; the supervisor restarts it"
        return ServiceStatus(name, "dead", None, ports, None, rss_bytes, record.restarts, detail)
    missing = service.probe() if service is not None else None
    state = "ready" if missing is None else "unready"
    uptime_s = max(0.0, time.time() - record.started_at_s)
    return ServiceStatus(name, state, record.pid, ports, uptime_s, rss_bytes, record.restarts, missing or "")


def _rss_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def flink_jobs(settings: Settings) -> tuple[JobStatus, ...]:
    """Return the newest job of every name, by name, or none when the cluster is down."""
    try:
        with Cluster(endpoints(settings).flink_rest) as cluster:
            return tuple(
                JobStatus(**asdict(job), last_checkpoint_age_s=cluster.last_checkpoint_age_s(job.job_id))
                for job in cluster.newest()
            )
    except ServiceError:
        return ()


def status_json(settings: Settings) -> dict[str, Any]:
    """Return everything as plain values: `services`, `flink_jobs`, and `sections` by title."""
    sections = [section(settings) for section in status_sections]
    return {
        "state_folder": str(settings.state),
        "namespace": settings.namespace,
        "services": [asdict(service) for service in service_statuses(settings)],
        "flink_jobs": [asdict(job) for job in flink_jobs(settings)],
        "sections": {
            section.title: [dict(zip(section.columns, row, strict=True)) for row in section.rows]
            for section in sections
        },
    }
