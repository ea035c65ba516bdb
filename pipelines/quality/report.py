"""The verdicts as a steward reads them: Vietnamese first, what failed, how often, and which rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from rich.table import Table

from pipelines.quality import store
from pipelines.quality.model import Verdict, word
from pipelines.runtime.settings import Settings

LOCAL = ZoneInfo("Asia/Ho_Chi_Minh")
_STYLES = {"passed": "green", "waived": "yellow", "failed": "bold red", "missing": "red"}


@dataclass(frozen=True)
class Entry:
    """The newest verdict of one dataset with the results of the rules that did not hold."""

    verdict: Verdict
    broken: tuple[dict[str, Any], ...]


def entries(settings: Settings, layer: str | None = None, run_id: str | None = None) -> tuple[Entry, ...]:
    """The newest verdict of every dataset (of one layer, of one run), sorted by layer and dataset."""
    filters = [(name, "=", value) for name, value in (("layer", layer), ("run_id", run_id)) if value is not None]
    newest = store.newest(store.verdicts(settings, filters))
    results = store.read(settings, "result", [("success", "=", False)])
    found = []
    for (_, _), verdict in sorted(newest.items()):
        origin = verdict.reused_from or verdict.run_id
        broken = [
            row
            for row in results
            if (row["run_id"], row["layer"], row["dataset"], row["version"])
            == (origin, verdict.layer, verdict.dataset, verdict.version)
        ]
        found.append(Entry(verdict, tuple(sorted(broken, key=lambda row: (row["severity"], row["rule"])))))
    return tuple(found)


def to_json(found: Sequence[Entry]) -> list[dict[str, Any]]:
    """The report as plain values; times ISO 8601 in UTC."""
    return [_plain({**asdict(entry.verdict), "broken": list(entry.broken)}) for entry in found]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, datetime) else value


def table(found: Sequence[Entry]) -> Table:
    """The report as a table; times in Asia/Ho_Chi_Minh."""
    shown = Table(title="Kết luận chất lượng — Verdicts", title_justify="left", show_lines=False)
    for column in ("bộ dữ liệu", "bản", "kết luận", "số dòng", "điều không đạt", "lúc"):
        shown.add_column(column, justify="right" if column in {"bản", "số dòng"} else "left", overflow="fold")
    for entry in found:
        verdict = entry.verdict
        said = "\n".join(_broken(row, verdict) for row in entry.broken)
        shown.add_row(
            f"{verdict.layer}.{verdict.dataset}",
            "—" if verdict.version is None else str(verdict.version),
            f"[{_STYLES[verdict.verdict]}]{word(verdict.verdict)}[/]",
            "" if verdict.row_count is None else f"{verdict.row_count:,}",
            said,
            verdict.judged_at.astimezone(LOCAL).strftime("%d/%m/%Y %H:%M:%S"),
        )
    return shown


def _broken(row: dict[str, Any], verdict: Verdict) -> str:
    """One sentence per rule that did not hold."""
    sign = "cảnh báo" if row["severity"] != "error" else "chấp nhận" if row["rule"] in verdict.waived_rules else "lỗi"
    if row["problem"]:
        count = f"không kiểm tra được ({row['problem']})"
    elif row["broken_count"] is not None:
        count = f"{row['broken_count']:,} dòng"
    else:
        count = f"thấy {row['observed']}"
    sample = f" ví dụ {row['sample_keys'][0]}" if row["sample_keys"] else ""
    text = f"{sign}: {row['text_vi']} [{row['rule']}] — {count}{sample}"
    return text.replace("[", "\\[")
