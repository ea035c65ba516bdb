"""`lake run ingest AGENCY` (mounted under `lake run`) and `lake ingest list`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.table import Table

from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry
from pipelines.ingestion.plan import TIMEZONE, agency_slug, is_due, sector_of
from pipelines.runtime.contracts import registry_of
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings
from pipelines.runtime.telemetry import configure_logging

if TYPE_CHECKING:
    from pipelines.ingestion.records import IngestResult

ingest_app = typer.Typer(name="ingest", help="Thu nạp bảng ngành — Sector tables", no_args_is_help=True)


def ingest(
    agency: Annotated[str, typer.Argument(help="Cơ quan chủ quản, ví dụ H57.KHCN — the agency that owns the tables")],
    run_id: Annotated[str, typer.Option("--run-id", help="Mã lượt chạy — names the run; repeating it changes nothing")],
    dataset: Annotated[str | None, typer.Option("--dataset", help="Chỉ một bảng — only this table")] = None,
    due_at: Annotated[
        str,
        typer.Option("--due-at", envvar="LAKE_DUE_AT", help="Chỉ bảng đến lịch lúc này — only tables due then"),
    ] = "",
) -> None:
    """Thu nạp các bảng của một cơ quan vào bronze và silver — Load an agency's sector tables.

    Every table is tried; the exit code is 1 when one failed, and its reason is printed and recorded.
    """
    import sqlalchemy as sa

    from pipelines.ingestion import load

    configure_logging()
    settings = Settings.load()
    registry = registry_of(settings)
    # One result or reason is one line: Airflow shows the log by lines.
    console, problems = Console(soft_wrap=True), Console(stderr=True, soft_wrap=True)
    failed = False
    for chosen in _chosen(registry, agency, dataset):
        if due_at and not is_due(sector_of(chosen).schedule, datetime.fromisoformat(due_at)):
            continue
        try:
            result = load.ingest(settings, registry, chosen.id, run_id)
        except (LakeError, sa.exc.SQLAlchemyError, OSError) as error:
            failed = True
            problems.print(f"{chosen.id}: {error}" if chosen.id not in str(error) else str(error), markup=False)
        else:
            console.print(_sentence(result), markup=False)
    if failed:
        raise typer.Exit(1)


@ingest_app.command("list")
def list_tables() -> None:
    """Các bảng ngành, nguồn và lần thu nạp gần nhất — Sector tables, their sources and newest loads."""
    from pipelines.ingestion.records import load_status

    settings = Settings.load()
    registry = registry_of(settings)
    table = Table("bảng", "cơ quan", "nguồn", "cách đọc", "lịch", "lần cuối", "kết quả")
    for dataset in registry.sector_tables():
        sector = dataset.sector
        assert sector is not None
        how = f"{sector.cursor} − {sector.lag}" if sector.cursor else "toàn bộ"
        status = load_status(settings, dataset)
        last, outcome = ("—", "chưa thu nạp") if status is None else (_local(status.finished_at), _outcome(status))
        source = f"{sector.schema_name}.{sector.table}"
        table.add_row(dataset.id, dataset.owner, source, how, sector.schedule, last, outcome)
    Console().print(table)


def _chosen(registry: Registry, agency: str, dataset: str | None) -> tuple[Dataset, ...]:
    owned = tuple(d for d in registry.sector_tables() if agency_slug(d.owner) == agency_slug(agency))
    if not owned:
        known = ", ".join(sorted({d.owner for d in registry.sector_tables()}))
        raise LakeError(f"{agency} owns no sector table.", f"Agencies with sector tables: {known}.")
    chosen = tuple(d for d in owned if dataset in (None, d.id))
    if not chosen:
        raise LakeError(f"{agency} has no sector table {dataset!r}.", f"Its tables: {', '.join(d.id for d in owned)}.")
    return chosen


def _sentence(result: IngestResult) -> str:
    new = f"; cột mới không đọc: {', '.join(result.new_columns)}" if result.new_columns else ""
    return (
        f"{result.dataset}: đọc {result.rows_extracted}, thêm {result.inserted}, sửa {result.updated}, "
        f"không đổi {result.unchanged}, cách ly {result.quarantined}{new}"
    )


def _outcome(status: IngestResult) -> str:
    return f"tốt: {status.rows_extracted} dòng" if status.status == "ok" else f"hỏng: {status.error}"


def _local(at: datetime) -> str:
    return at.astimezone(ZoneInfo(TIMEZONE)).strftime("%d/%m/%Y %H:%M:%S")
