"""`lake run ingest AGENCY` (mounted under `lake run`), `lake ingest list`, `sources`, `files` and `sample`."""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Collection
from contextlib import nullcontext
from datetime import datetime
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.table import Table

from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry
from pipelines.ingestion.connections import variable_of
from pipelines.ingestion.exits import FAILED, NO_NEWS, exit_status
from pipelines.ingestion.plan import TIMEZONE, agency_slug, sector_of
from pipelines.ingestion.window import check_window
from pipelines.runtime.contracts import registry_of
from pipelines.runtime.errors import LakeError
from pipelines.runtime.servers.postgres import SAMPLE_CONNECTION
from pipelines.runtime.services import endpoints
from pipelines.runtime.settings import Settings
from pipelines.runtime.telemetry import configure_logging

if TYPE_CHECKING:
    from pipelines.ingestion.records import LoadRun

_log = logging.getLogger(__name__)
ingest_app = typer.Typer(name="ingest", help="Thu nạp bảng ngành — Sector tables", no_args_is_help=True)


def ingest(
    agency: Annotated[str, typer.Argument(help="Cơ quan chủ quản, ví dụ H57.KHCN — the agency that owns the tables")],
    run_id: Annotated[str, typer.Option("--run-id", help="Mã lượt chạy — names the run; repeating it changes nothing")],
    source: Annotated[str | None, typer.Option("--source", help="Chỉ một nguồn — only tables of this source")] = None,
    dataset: Annotated[
        list[str] | None, typer.Option("--dataset", envvar="LAKE_TABLES", help="Chỉ bảng này — only this table")
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(
            "--since",
            envvar="LAKE_SINCE",
            formats=["%Y-%m-%d"],
            help="Đọc lại những gì thay đổi từ ngày này (giờ Huế) — read again what changed from this day on",
        ),
    ] = None,
    outside_window: Annotated[
        bool,
        typer.Option(
            "--outside-window",
            envvar="LAKE_OUTSIDE_WINDOW",
            help="Đọc cả bảng ngoài giờ nguồn cho phép — read whole tables outside of their source's window",
        ),
    ] = False,
    announce: Annotated[
        bool,
        typer.Option(
            "--announce",
            envvar="LAKE_ANNOUNCE",
            help="Báo Airflow từng bảng đã nạp — tell Airflow of each loaded table",
        ),
    ] = False,
) -> None:
    """Thu nạp các bảng của một cơ quan vào bronze và silver — Load an agency's sector tables.

    Every table is tried, and the reason of each that failed is printed and recorded. The exit code is then 75 when
    trying again is worth it, 65 when somebody has to mend the source, its connection or the contract first, else 1.
    """
    from pipelines.ingestion import load
    from pipelines.ingestion.announce import Loads

    configure_logging()
    settings = Settings.load()
    registry = registry_of(settings)
    # One result or reason is one line: Airflow shows the log by lines.
    console, problems = Console(soft_wrap=True), Console(stderr=True, soft_wrap=True)
    failures: list[Exception] = []
    with Loads(settings, agency) if announce else nullcontext() as news:
        for chosen in _chosen(settings, registry, agency, source, dataset or ()):
            try:
                if not outside_window:
                    check_window(settings, registry, chosen, run_id, again=since is not None)
                from_then = since.replace(tzinfo=ZoneInfo(TIMEZONE)) if since else None
                result = load.ingest(settings, registry, chosen.id, run_id, since=from_then)
            except Exception as error:  # noqa: BLE001 - no table stops another, whatever befell it
                failures.append(error)
                if exit_status([error]) == FAILED:
                    _log.exception("not loaded, for a reason that is not known", extra={"dataset": chosen.id})
                problems.print(f"{chosen.id}: {error}" if chosen.id not in str(error) else str(error), markup=False)
            else:
                console.print(_sentence(result), markup=False)
                if news is not None:
                    news.tell(chosen, result)
    if failures:
        raise typer.Exit(exit_status(failures))


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
        how = "từng thay đổi" if sector.mode == "capture" else how
        how += f", xoá theo {sector.deletes.column or 'khoá'}" if sector.deletes else ""
        status = load_status(settings, dataset)
        last, outcome = ("—", "chưa thu nạp") if status is None else (_local(status.finished_at), _outcome(status))
        source = f"{sector.source}: {sector.place}"
        table.add_row(dataset.id, dataset.owner, source, how, sector.schedule, last, outcome)
    Console().print(table)


@ingest_app.command("sources")
def list_sources() -> None:
    """Các nguồn, lịch, kết nối — The sources, when they are read, and which connections this environment knows."""
    settings = Settings.load()
    table = Table("nguồn", "cơ quan", "loại", "lịch", "kết nối", "đặt")
    for source in registry_of(settings).sector_sources:
        connection = settings.sector_sample or source.connection
        is_set = "có" if os.environ.get(variable_of(connection)) else "chưa"
        table.add_row(source.id, source.agency, source.kind, source.schedule, connection, is_set)
    Console().print(table)


@ingest_app.command("files")
def list_files(
    source: Annotated[str, typer.Argument(help="Mã nguồn — a file of schemas/sources", metavar="NGUỒN")],
) -> None:
    """Các tệp trong hộp nhận của một nguồn: đã nạp, sắp nạp, bỏ qua — What became of each file of a source.

    Reads the inbox and the tables, changes nothing.
    """
    from pipelines.ingestion.deliveries.overview import overview

    settings = Settings.load()
    registry = registry_of(settings)
    table = Table("tệp", "bytes", "sửa lần cuối", "bộ dữ liệu", "tình trạng")
    for seen in overview(settings, registry, source):
        delivery = seen.delivery
        outcome = f"{seen.state.vi} — {seen.state.en}"
        table.add_row(
            delivery.name, f"{delivery.size_bytes:,}", _local(delivery.modified_at), seen.dataset or "—", outcome
        )
    Console().print(table)


@ingest_app.command("new-columns")
def list_new_columns(
    dataset: Annotated[str, typer.Argument(help="Mã bộ dữ liệu, ví dụ road_asset", metavar="BỘ DỮ LIỆU")],
) -> None:
    """Các cột mới ở nguồn mà hợp đồng chưa biết — Columns at the source that the contract does not know.

    Shows values in clear that nobody has classified yet: for whoever writes the next version of the contract.
    """
    from pipelines.ingestion.unknown import unknown_columns

    settings = Settings.load()
    found = unknown_columns(settings, registry_of(settings).dataset(dataset))
    if not found:
        print("Không có cột nào chưa biết. — No column that the contract does not know.")
        return
    table = Table("cột", "có giá trị", "ví dụ")
    for column in found:
        table.add_row(column.name, f"{column.rows:,} / {column.looked_at:,}", " · ".join(column.examples))
    Console().print(table)


@ingest_app.command("sample")
def use_sample(
    off: Annotated[bool, typer.Option("--off", help="Thôi đọc CSDL mẫu — read every source by its own again")] = False,
) -> None:
    """Không gian này đọc CSDL mẫu thay cho mọi nguồn — This namespace reads the sample database for every source.

    Never the city's. Prints the connection for this shell: eval "$(LAKE_NAMESPACE=demo lake ingest sample)"
    """
    settings = Settings.load()
    if off:
        settings.set_sector_sample(None)
        return
    address = shlex.quote(endpoints(settings).postgres)
    settings.set_sector_sample(SAMPLE_CONNECTION)
    print(f"export {variable_of(SAMPLE_CONNECTION)}={address}")


def _chosen(
    settings: Settings, registry: Registry, agency: str, source: str | None, asked: Collection[str]
) -> tuple[Dataset, ...]:
    """The tables of an agency's source, or those asked for of them.

    Raises:
        LakeError: there is none such; the text lists those there are.
        typer.Exit: the namespace holds a part of the catalogue, and none of it.
    """
    tables = registry.sector_tables()
    owned = tuple(d for d in tables if agency_slug(d.owner) == agency_slug(agency))
    owned = tuple(d for d in owned if source in (None, sector_of(d).source))
    if not owned and settings.profile is not None:
        print(f"The profile {settings.profile} of the namespace {settings.namespace} holds no table of {agency}.")
        raise typer.Exit(NO_NEWS)
    if not owned:
        known = ", ".join(sorted({f"{d.owner} ({sector_of(d).source})" for d in tables}))
        what = f"the source {source}" if source else "a sector table"
        raise LakeError(f"{agency} does not own {what}.", f"Agencies and their sources: {known}.")
    if unknown := sorted(set(asked) - {d.id for d in owned}):
        text = f"{agency} has no sector table {', '.join(unknown)}" + (f" in the source {source}." if source else ".")
        raise LakeError(text, f"Its tables: {', '.join(d.id for d in owned)}.")
    return tuple(d for d in owned if not asked or d.id in asked)


def _sentence(result: LoadRun) -> str:
    new = f"; cột mới không đọc: {', '.join(result.new_columns)}" if result.new_columns else ""
    return (
        f"{result.dataset}: đọc {result.rows_extracted}, thêm {result.inserted}, sửa {result.updated}, "
        f"không đổi {result.unchanged}, xoá {result.deleted}, cách ly {result.quarantined}{new}"
    )


def _outcome(status: LoadRun) -> str:
    return f"tốt: {status.rows_extracted} dòng" if status.status == "ok" else f"hỏng: {status.error}"


def _local(at: datetime) -> str:
    return at.astimezone(ZoneInfo(TIMEZONE)).strftime("%d/%m/%Y %H:%M:%S")
