"""`lake publication …` and `lake maintain`: what is published, going back, and keeping it alive."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.table import Table

from pipelines.publishing import ledger, publication
from pipelines.publishing import maintain as maintenance
from pipelines.runtime.contracts import registry_of
from pipelines.runtime.settings import Settings

publication_app = typer.Typer(no_args_is_help=True, help="Phiên bản đang công bố. What is published, and going back.")
maintain_app = typer.Typer(help="Keep tables small and every published version alive.")
_console = Console()
_LOCAL = ZoneInfo("Asia/Ho_Chi_Minh")


def _time(value: datetime) -> str:
    return value.astimezone(_LOCAL).strftime("%d/%m/%Y %H:%M:%S")


def _megabytes(size: int) -> str:
    return f"{size / 2**20:.1f}" if size else ""


@publication_app.command(name="list")
def list_publications(
    every: Annotated[bool, typer.Option("--all", help="Every move of every pin, not only the current ones.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs; times in UTC.")] = False,
) -> None:
    """Show which version of every dataset people read, since when, and why."""
    records = ledger.publications(Settings.load())
    shown = records if every else sorted(ledger.current(records).values(), key=lambda r: r.dataset)
    if as_json:
        rows = [{**asdict(item), "published_at": item.published_at.isoformat()} for item in shown]
        typer.echo(json.dumps(rows, ensure_ascii=False, indent=1))
        return
    table = Table(title="Phiên bản công bố — Publications", title_justify="left")
    for column in ("bộ dữ liệu", "bản", "trước", "kết luận", "lượt chạy", "lý do", "ai", "lúc"):
        table.add_column(column, justify="right" if column in {"bản", "trước"} else "left", overflow="fold")
    for item in shown:
        state = "" if item.state == "published" else " (đang dở)"
        table.add_row(
            f"{item.layer}.{item.dataset}",
            f"{item.version}{state}",
            "—" if item.previous_version is None else str(item.previous_version),
            item.verdict,
            item.run_id,
            f"lùi lại: {item.reason}" if item.action == "rollback" else item.reason,
            item.published_by,
            _time(item.published_at),
        )
    _console.print(table)


@publication_app.command()
def rollback(
    dataset: Annotated[str, typer.Argument(help="The dataset, for example kpi_flood_alarm.")],
    to: Annotated[
        int, typer.Option("--to", help="A version that was published before (`lake publication list --all`).")
    ],
    reason: Annotated[str, typer.Option("--reason", help="Why people should read the older version.")],
    by: Annotated[str, typer.Option("--by", help="Who decides.")],
) -> None:
    """Let people read an older version again; newer ones than the one left are published as before."""
    settings = Settings.load()
    registry = registry_of(settings)
    move = publication.rollback(settings, registry, dataset, to, by=by, reason=reason)
    _console.print(move.sentence, highlight=False, soft_wrap=True)


@maintain_app.command()
def maintain(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be cleaned.")] = False,
    run_id: Annotated[str, typer.Option("--run-id", help="Names the run in the log.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Compact, checkpoint, clean logs and vacuum; then read every published version through Trino."""
    settings = Settings.load()
    report = maintenance.maintain(settings, registry_of(settings), dry_run=dry_run)
    if as_json:
        typer.echo(json.dumps(asdict(report), ensure_ascii=False, indent=1))
        return
    table = Table(title="Bảo trì — Maintenance" + (" (dry run)" if dry_run else ""), title_justify="left")
    numbers = ("nén tệp", "trong phần", "MB ghi lại", "thống kê", "mốc", "nhật ký bỏ", "tệp bỏ", "MB bỏ")
    for column in ("bảng", "giữ bản", *numbers, "ghi chú"):
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for item in report.tables:
        kept = ", ".join(str(version) for version in item.kept_versions) or "—"
        counts = (
            str(item.compacted_files or ""),
            str(item.compacted_partitions or ""),
            _megabytes(item.rewritten_bytes),
            str(item.mended_files or ""),
            str(item.checkpoints or ""),
            str(item.removed_log_entries or ""),
            str(item.removed_files or ""),
            _megabytes(item.freed_bytes),
        )
        if any(counts) or item.kept_versions or item.note:
            table.add_row(item.table, kept, *counts, item.note)
    _console.print(table)
    _console.print(
        f"{len(report.checked_pins)} bản công bố và bản cần giữ đều đọc được qua Trino; {report.duration_s:.1f} giây.",
        highlight=False,
    )
