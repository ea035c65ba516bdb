"""What a gateway says of itself: to `/ready`, to Prometheus, and in a file that `lake status` reads."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pipelines.gateway.devices import Silence
from pipelines.gateway.quarantine import Gone, Usage
from pipelines.gateway.told import Told, Watched
from pipelines.runtime.files import replace_file
from pipelines.runtime.process import birth_mark
from pipelines.runtime.settings import Settings
from pipelines.runtime.status import Section, status_sections


@dataclass(frozen=True, slots=True)
class State:
    """What the core saw last, at most a second ago.

    `waiting` counts spooled records by dataset, `damaged` those that the disk changed; `problems` says why records of
    a dataset wait although Kafka answers; `outcomes` counts records by dataset and outcome since the start.
    """

    is_connected: bool
    last_error: str
    waiting: Mapping[str, int]
    spool_bytes: int
    spool_limit_bytes: int
    is_spool_full: bool
    damaged: int
    problems: Mapping[str, str]
    in_flight_bytes: int
    outcomes: Mapping[tuple[str, str], int]

    @property
    def is_ready(self) -> bool:
        """Whether records can be taken: Kafka answers, or the spool has room."""
        return self.is_connected or not self.is_spool_full


@dataclass(frozen=True, slots=True)
class Report:
    """The status file of a gateway; `written_at` is ISO 8601 UTC, `problem` what keeps it from its contracts.

    `collectors` are brokers and inboxes, `unbound` counts kept messages that belong to no dataset. `birth` tells its
    process from every other of the same `pid`. `quarantine` is that of unknown devices' records.
    """

    namespace: str
    pid: int
    written_at: str
    kafka: str
    waiting: Mapping[str, int]
    spool_bytes: int
    spool_limit_bytes: int
    damaged: int
    problems: Mapping[str, str]
    accepted: int
    refused: int
    problem: str | None
    devices: tuple[Silence, ...]
    collectors: tuple[Told, ...] = ()
    unbound: int = 0
    birth: str = ""
    quarantine: Usage = field(default_factory=Usage)

    def is_alive(self, now: datetime) -> bool:
        """Whether its gateway still runs and writes: what a dead or stuck one wrote last says nothing of now."""
        is_young = now - datetime.fromisoformat(self.written_at) <= STALE
        return is_young and bool(self.birth) and birth_mark(self.pid) == self.birth


STALE = timedelta(seconds=30)
"""A gateway writes every five seconds; one that has not for so long is not to be believed."""
_TITLE, _COLUMNS = "Cửa nhận dữ liệu — Gateway", ("gateway", "state")
_TAKEN = frozenset({"accepted", "spooled"})
_NOT_TAKEN = frozenset({"busy", "throttled"})


def report(
    settings: Settings,
    state: State,
    devices: tuple[Silence, ...],
    problem: str | None,
    others: Watched | None = None,
    quarantine: Usage | None = None,
) -> Report:
    """What is written down of a state; `others` are the ways in besides HTTP."""
    counts = state.outcomes.items()
    return Report(
        namespace=settings.namespace,
        pid=os.getpid(),
        written_at=datetime.now(UTC).isoformat(),
        kafka="connected" if state.is_connected else state.last_error or "away",
        waiting=state.waiting,
        spool_bytes=state.spool_bytes,
        spool_limit_bytes=state.spool_limit_bytes,
        damaged=state.damaged,
        problems=state.problems,
        accepted=sum(count for (_, outcome), count in counts if outcome in _TAKEN),
        refused=sum(count for (_, outcome), count in counts if outcome not in _TAKEN | _NOT_TAKEN),
        problem=problem,
        devices=devices,
        collectors=others.told() if others else (),
        unbound=sum(others.unbound().values()) if others else 0,
        birth=birth_mark(os.getpid()),
        quarantine=quarantine or Usage(),
    )


def report_path(settings: Settings) -> Path:
    """`<state>/gateway/<namespace>/status.json`."""
    return settings.state / "gateway" / settings.namespace / "status.json"


def write_report(settings: Settings, told: Report) -> None:
    """Replace the status file by an atomic rename."""
    path = report_path(settings)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    replace_file(path, json.dumps(asdict(told), ensure_ascii=False))


def read_report(settings: Settings) -> Report | None:
    """The last status; None when no gateway ever ran in this namespace."""
    try:
        values: dict[str, Any] = json.loads(report_path(settings).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    devices = tuple(
        Silence(**{**item, "names": tuple(item["names"]), "never_names": tuple(item.get("never_names", ()))})
        for item in values["devices"]
    )
    collectors = tuple(Told(**item) for item in values.get("collectors", ()))
    usage = values.get("quarantine", {})
    quarantine = Usage(**{**usage, "gone": tuple(Gone(**item) for item in usage.get("gone", ()))})
    return Report(**{**values, "devices": devices, "collectors": collectors, "quarantine": quarantine})


def summary(told: Report, now: datetime) -> Iterator[tuple[str, str]]:
    """A report in a few lines for people: what, and how it is; of a gateway that is gone only what lies on its disk."""
    is_alive = told.is_alive(now)
    if is_alive:
        yield "Kafka", told.kafka
        yield "đã nhận · taken", f"{told.accepted:,}"
        yield "từ chối, được giữ · refused, kept", f"{told.refused:,}"
    else:
        yield "không chạy · not running", f"không có cửa nhận từ · no gateway since {told.written_at[:19]}Z"
    waiting = ", ".join(f"{name} {count:,}" for name, count in told.waiting.items())
    spool = f"{told.spool_bytes / 2**20:.1f} / {told.spool_limit_bytes / 2**20:.0f} MB"
    yield "chờ trên đĩa · spooled", f"{waiting} ({spool})" if waiting else f"0 ({spool})"
    if told.damaged:
        yield "đĩa làm hỏng · damaged", f"{told.damaged:,}"
    if is_alive:
        yield from _connections(told)
    if told.unbound:
        remedy = "lake gateway unbound list"
        yield "chưa rõ bộ dữ liệu · messages of no dataset", f"{told.unbound:,} ({remedy})"
    if is_alive:
        yield from _unheard(told)
    unknown = [f"{row.dataset} {row.unknown}" for row in told.devices if row.unknown]
    if unknown:
        kept = f"{told.quarantine.used_bytes / 2**20:.1f} / {told.quarantine.limit_bytes / 2**20:.0f} MB"
        yield "bản ghi của thiết bị lạ · records of unknown devices", f"{'; '.join(unknown)} ({kept})"
    if told.quarantine.gone:
        gone = "; ".join(f"{g.dataset} {g.records:,} {g.why}, {g.last_at[:19]}Z" for g in told.quarantine.gone)
        yield "bản ghi của thiết bị lạ đã bỏ · records of unknown devices let go", gone
    unchecked = [f"{row.dataset} ({row.register})" for row in told.devices if not row.is_checked]
    if unchecked and is_alive:
        yield "chưa có danh mục, không kiểm · no register yet, not checked", ", ".join(unchecked)


def _connections(told: Report) -> Iterator[tuple[str, str]]:
    """What keeps records waiting, and how brokers and inboxes are."""
    yield from told.problems.items()
    if told.problem:
        yield "lỗi · problem", told.problem
    for each in told.collectors:
        counts = ", ".join(f"{name} {count:,}" for name, count in sorted(each.counts.items()) if count)
        waiting = f"{each.waiting:,} đang chờ · waiting" if each.waiting else ""
        yield (
            f"{each.kind} {each.name}",
            "; ".join(part for part in (each.problem, each.state, waiting, counts) if part),
        )


def _unheard(told: Report) -> Iterator[tuple[str, str]]:
    """Registered devices that say nothing: any more, or never yet."""
    silent = [f"{row.dataset} {row.silent} ({_some(row.names, row.silent)})" for row in told.devices if row.silent]
    if silent:
        yield "thiết bị im lặng · silent devices", "; ".join(silent)
    never = [f"{row.dataset} {row.never} ({_some(row.never_names, row.never)})" for row in told.devices if row.never]
    if never:
        yield "đã đăng ký, chưa từng gửi · registered, never reported", "; ".join(never)


def _some(names: tuple[str, ...], count: int) -> str:
    return ", ".join(names) + (", …" if count > len(names) else "")


def section(settings: Settings) -> Section:
    """The gateway in `lake status`; without rows where none ever ran."""
    told = read_report(settings)
    if told is None:
        return Section(_TITLE, _COLUMNS, ())
    now = datetime.now(UTC)
    is_good = not (told.problems or told.problem or told.damaged or told.waiting or told.unbound)
    is_good = is_good and not any(row.silent or row.never for row in told.devices)
    is_good = is_good and not any(c.problem for c in told.collectors) and told.is_alive(now)
    return Section(_TITLE, _COLUMNS, tuple(summary(told, now)), is_good)


status_sections.append(section)
