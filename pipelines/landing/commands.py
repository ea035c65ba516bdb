"""`lake landing …`: run the process, wait for it, look at it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from pipelines.landing.consume import LandingOptions
from pipelines.landing.drain import accept_loss as accept
from pipelines.landing.drain import drain as wait_until_landed
from pipelines.landing.service import run as run_landing
from pipelines.landing.status import read_status
from pipelines.runtime.contracts import registry_of
from pipelines.runtime.errors import LakeError
from pipelines.runtime.services import endpoints
from pipelines.runtime.settings import Settings
from pipelines.runtime.telemetry import configure_logging

landing_app = typer.Typer(name="landing", help="Đưa dữ liệu từ Kafka vào bảng Delta — Kafka to Delta tables.")


def _fail(error: LakeError) -> typer.Exit:
    Console(stderr=True).print(f"[red]{error}[/red]", highlight=False)
    return typer.Exit(1)


@landing_app.command()
def run(
    wait: Annotated[bool, typer.Option(help="Wait for another landing to end, then take over.")] = False,
    interval_s: Annotated[float, typer.Option(help="Seconds between commits of a silver table.")] = 2.0,
    only: Annotated[list[str] | None, typer.Option(help="Land only these datasets (a shard), repeatable.")] = None,
) -> None:
    """Land until TERM or Ctrl-C; what has been read is committed first."""
    configure_logging()
    settings = Settings.load()
    options = LandingOptions(silver_interval_s=interval_s, only=tuple(only or ()))
    try:
        registry = registry_of(settings)
        run_landing(settings, registry, endpoints(settings).kafka, options, wait=wait)
    except LakeError as error:
        raise _fail(error) from error


@landing_app.command()
def drain(timeout_s: Annotated[float, typer.Option(help="Seconds to wait at most.")] = 120.0) -> None:
    """Wait until everything that Kafka holds now is committed."""
    settings = Settings.load()
    try:
        registry = registry_of(settings)
        ends = wait_until_landed(settings, registry, endpoints(settings).kafka, timeout_s=timeout_s)
    except LakeError as error:
        raise _fail(error) from error
    records = sum(end for parts in ends.values() for end in parts.values())
    typer.echo(f"Đã nạp hết / landed: {len(ends)} topics, {records} records.")


@landing_app.command("accept-loss")
def accept_loss(
    topic: Annotated[str, typer.Argument(help="Topic with its namespace, e.g. city.clean.river_stage.")],
    partition: Annotated[int, typer.Argument(help="Partition number.")],
) -> None:
    """Record that records which Kafka no longer holds are lost, and land from the first that is there."""
    settings = Settings.load()
    try:
        registry = registry_of(settings)
        lost = accept(settings, registry, endpoints(settings).kafka, topic, partition)
    except LakeError as error:
        raise _fail(error) from error
    typer.echo(f"{topic}[{partition}]: bỏ qua / passed over {lost} offsets.")


@landing_app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show every table: rows, last commit, lag, problems."""
    found = read_status(Settings.load())
    if found is None:
        typer.echo("Chưa chạy — landing has not run in this namespace.")
        raise typer.Exit(1)
    if as_json:
        typer.echo(json.dumps(asdict(found), ensure_ascii=False))
        return
    table = Table(title=f"landing · {found.namespace} · pid {found.pid} · {found.written_at}")
    for name in (
        "bảng / table",
        "trạng thái / state",
        "dòng / rows",
        "chờ / behind",
        "lần ghi cuối / last commit",
        "lỗi / problem",
    ):
        table.add_column(name)
    for row in found.tables:
        table.add_row(
            row.table, row.state, str(row.rows), str(row.behind), row.last_commit_at or "—", row.problem or ""
        )
    Console().print(table)
