"""`lake retention`: what is older than its contract says goes, every night, and it is recorded."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.table import Table

from pipelines.contracts import durations
from pipelines.runtime.contracts import registry_of
from pipelines.runtime.settings import Settings
from pipelines.runtime.telemetry import configure_logging
from pipelines.warehouse.retention import Due
from pipelines.warehouse.retire import Report, retire

retention_app = typer.Typer(help="Delete what is older than its contract says, and record it.")
_console = Console()
_LOCAL = ZoneInfo("Asia/Ho_Chi_Minh")
_COMING = 10
"""So many tables are named that come next; `--json` has all."""


@retention_app.command()
def retention(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go, and what goes next.")] = False,
    run_id: Annotated[str, typer.Option("--run-id", help="Names the run in the records.")] = "",
    by: Annotated[str, typer.Option("--by", envvar="LAKE_PUBLISH_BY", help="Who or what asked for it.")] = "lake",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs; times in UTC.")] = False,
) -> None:
    """Delete rows and files that are older than their contracts' retention; a second call deletes nothing.

    The exit code is 1 when a table was left because its holder did not answer; running it again goes on.
    """
    configure_logging()
    settings = Settings.load()
    name = run_id or f"retention-{uuid.uuid4().hex[:8]}"
    report = retire(settings, registry_of(settings), by=by, run_id=name, dry_run=dry_run)
    if as_json:
        typer.echo(json.dumps(_plain(report), ensure_ascii=False, indent=1))
    else:
        _show(report)
    if report.left:
        raise typer.Exit(1)


def _plain(report: Report) -> dict[str, Any]:
    return {
        "dry_run": report.is_dry_run,
        "left": list(report.left),
        "due": [
            {
                "table": item.rule.table,
                "dataset": item.rule.dataset,
                "basis": item.rule.basis,
                "cutoff_at": item.rule.cutoff_at.isoformat() if item.rule.cutoff_at else None,
                **{key: value for key, value in asdict(item).items() if key in {"rows", "files", "bytes", "note"}},
                "next_at": item.next_at.isoformat() if item.next_at else None,
            }
            for item in report.due
        ],
    }


def _show(report: Report) -> None:
    title = "Thời hạn lưu — Retention" + (" (dry run)" if report.is_dry_run else "")
    table = Table(title=title, title_justify="left")
    numbers = {"dòng", "tệp", "MB"}
    for column in ("bảng", "bộ dữ liệu", "giữ", "theo", "trước ngày", "dòng", "tệp", "MB", "ghi chú"):
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for item in report.due:
        if item.rows:
            table.add_row(*_cells(item))
    _console.print(table)
    for sentence in report.left:
        _console.print(f"còn lại — left: {sentence}", highlight=False, markup=False, soft_wrap=True)
    for item in coming(report.due)[:_COMING]:
        _console.print(
            f"tới hạn — next: {item.rule.table} ({item.rule.dataset}), {_day(item.next_at)}",
            highlight=False,
            soft_wrap=True,
        )


def _cells(item: Due) -> tuple[str, ...]:
    rule = item.rule
    size = f"{item.bytes / 2**20:.1f}"
    cutoff = _day(rule.cutoff_at) if rule.cutoff_at else "—"
    kept = durations.words(rule.kept).vi
    return (rule.table, rule.dataset, kept, rule.basis, cutoff, str(item.rows), str(item.files), size, item.note)


def coming(due: Sequence[Due]) -> list[Due]:
    """The tables in which something falls due later, the soonest first."""
    dated = [(item.next_at, item.rule.table, item.rule.dataset, item) for item in due if item.next_at is not None]
    return [item for *_, item in sorted(dated, key=lambda entry: entry[:3])]


def _day(value: datetime | None) -> str:
    return "—" if value is None else value.astimezone(_LOCAL).strftime("%d/%m/%Y %H:%M")
