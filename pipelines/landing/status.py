"""The status file of landing: written by the one process that lands, read by everybody."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipelines.runtime.files import replace_file
from pipelines.runtime.settings import Settings


@dataclass(frozen=True)
class TableStatus:
    """One topic on its way to a table; times are ISO 8601 UTC. `lag` counts records per partition that are not landed
    yet; `state` is `waiting` (no topic), `landing` or `retrying`, then `problem` says why."""

    topic: str
    table: str
    state: str
    rows: int
    counts: Mapping[str, int]
    last_commit_at: str | None
    newest_event_at: str | None
    offsets: Mapping[str, int]
    lag: Mapping[str, int]
    problem: str | None

    @property
    def behind(self) -> int:
        """Records of all partitions that are not landed yet."""
        return sum(self.lag.values())


@dataclass(frozen=True)
class Status:
    """What the landing process of a namespace said last."""

    namespace: str
    pid: int
    started_at: str
    written_at: str
    problem: str | None
    tables: tuple[TableStatus, ...]


def status_path(settings: Settings) -> Path:
    """`<state>/landing/<namespace>.json`."""
    return settings.state / "landing" / f"{settings.namespace}.json"


def write_status(settings: Settings, status: Status) -> None:
    """Replace the status file by an atomic rename."""
    replace_file(status_path(settings), json.dumps(asdict(status), ensure_ascii=False))


def read_status(settings: Settings) -> Status | None:
    """The last status; None when landing never ran in this namespace."""
    try:
        values: dict[str, Any] = json.loads(status_path(settings).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return Status(**{**values, "tables": tuple(TableStatus(**table) for table in values["tables"])})
