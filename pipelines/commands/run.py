"""`lake run …`: the steps of a warehouse run, each idempotent, in the order in which Airflow calls them."""

from __future__ import annotations

import os
from typing import Annotated, Literal

import typer
from rich.console import Console

from pipelines.contracts.registry import Registry
from pipelines.ingestion.commands import ingest
from pipelines.ingestion.exits import NO_NEWS
from pipelines.runtime.contracts import registry_of
from pipelines.runtime.errors import LakeError
from pipelines.runtime.services import endpoints
from pipelines.runtime.settings import Settings
from pipelines.runtime.telemetry import configure_logging

run_app = typer.Typer(
    no_args_is_help=True,
    help="One run: manifest, ingest, verdict silver, dbt, verdict gold, publish. Every step may be repeated.",
)
RunId = Annotated[str, typer.Option("--run-id", help="Id of the run; every step of one run names the same.")]
_console = Console(soft_wrap=True)
run_app.command("ingest")(ingest)


def _context() -> tuple[Settings, Registry]:
    configure_logging()
    settings = Settings.load()
    return settings, registry_of(settings)


@run_app.command()
def manifest(
    run_id: RunId,
    if_news: Annotated[
        bool,
        typer.Option("--if-news", envvar="LAKE_IF_NEWS", help="Exit with 99 when the last run worked from the same."),
    ] = False,
) -> None:
    """Fix the version of every table that this run reads, once: a second call returns the first answer."""
    from pipelines.warehouse.code_lists import ensure_code_lists
    from pipelines.warehouse.manifest import finished_before, resolve

    settings, registry = _context()
    ensure_code_lists(settings, registry)
    found = resolve(settings, registry, run_id)
    last = finished_before(settings, found) if if_news else None
    if last is not None:
        _console.print(f"no news since the run {last}: nothing to do", markup=False)
        raise typer.Exit(NO_NEWS)
    for name, version in sorted(found.versions.items()):
        _console.print(f"{name} @ {version}")


@run_app.command()
def verdict(
    layer: Annotated[Literal["silver", "gold"], typer.Argument(help="silver before dbt, gold after it.")],
    run_id: RunId,
) -> None:
    """Judge every table of a layer at the manifest's version; a failed table is a verdict, not an error of the step."""
    from pipelines.quality import store
    from pipelines.quality.gate import judge
    from pipelines.warehouse.manifest import load, reasons, with_last_good

    settings, registry = _context()
    verdicts = judge(settings, registry, load(settings, run_id), layer)
    for item in verdicts:
        rules = f": {', '.join(item.failed_rules)}" if item.failed_rules else ""
        _console.print(f"{layer}.{item.dataset} @ {item.version}: {item.verdict}{rules}")
    if layer == "silver":
        failed = [v.dataset for v in verdicts if v.verdict == "failed"]
        changed = with_last_good(settings, registry, run_id, failed, lambda d: store.last_good(settings, d))
        for name in changed.stale:
            _console.print(f"{name} is marked stale: {'; '.join(reasons(changed, registry, name))}", markup=False)


@run_app.command()
def dbt(
    run_id: RunId,
    unit_tests: Annotated[bool, typer.Option("--unit-tests", help="Run the models' unit tests first.")] = False,
) -> None:
    """Build and test the marts from the manifest's versions; what is published stays until the verdict."""
    from pipelines.warehouse.dbt import build
    from pipelines.warehouse.manifest import load

    settings, registry = _context()
    result = build(
        settings,
        registry,
        load(settings, run_id),
        spark_remote=endpoints(settings).spark_remote,
        unit_tests=unit_tests,
        progress=_console.print,
    )
    for name, version in sorted(result.gold.items()):
        _console.print(f"gold.{name} @ {version}")
    for warning in result.warnings:
        _console.print(f"warning: {warning}")


@run_app.command()
def publish(
    run_id: RunId,
    by: Annotated[str, typer.Option("--by", envvar="LAKE_PUBLISH_BY", help="Who publishes.")] = "",
    reason: Annotated[str, typer.Option("--reason", help="Why.")] = "scheduled run",
) -> None:
    """Move the pins of everything that passed, as one group; what failed keeps its last published version."""
    from pipelines.publishing.publication import publish as move_pins
    from pipelines.publishing.publication import verdicts_of
    from pipelines.warehouse.manifest import finish, load

    settings, registry = _context()
    verdicts = verdicts_of(settings, run_id)
    if not verdicts:
        raise LakeError(f"The run {run_id} has no verdicts.", f"Run `lake run verdict silver --run-id {run_id}` first.")
    moves = move_pins(
        settings, registry, load(settings, run_id), verdicts, by or os.environ.get("USER", "platform"), reason
    )
    for move in moves:
        _console.print(move.sentence)
    finish(settings, run_id)
