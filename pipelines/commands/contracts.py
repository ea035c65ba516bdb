"""`lake contracts …`: check the definitions, write what is generated from them, apply them to the running services."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from pipelines.commands import authoring, evolution
from pipelines.contracts import artifacts, validators
from pipelines.contracts import build as files
from pipelines.contracts.catalogue import successor
from pipelines.contracts.registry import Registry, load_registry
from pipelines.contracts.targets import delta, kafka
from pipelines.ingestion import plan_file
from pipelines.runtime.contracts import part_of
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings

contracts_app = typer.Typer(
    no_args_is_help=True, help="The datasets of the city: one YAML file each, everything else is generated."
)
_console = Console()
OTHERS: tuple[files.FileTarget, ...] = (plan_file,)
"""What is generated from contracts by packages that stand above them."""
FOLDERS = (*files.FOLDERS, *(folder for target in OTHERS for folder in target.FOLDERS))
"""All folders with generated files."""


def checked_registry(settings: Settings) -> Registry:
    """Load and check every contract, and return those that the settings' namespace holds.

    Raises:
        ContractErrors: all findings at once.
    """
    registry = _whole(settings)
    validators.check(registry)
    return part_of(settings, registry)


def _whole(settings: Settings) -> Registry:
    """Every contract, whatever the namespace holds: what is generated and checked."""
    return load_registry(settings.home / "schemas")


@contracts_app.command()
def check() -> None:
    """Check every contract, code list, field and scenario; prints each finding with file, line and remedy."""
    settings = Settings.load()
    registry = _whole(settings)
    validators.check(registry)
    drift = artifacts.compare(settings.home, files.render(registry, OTHERS), FOLDERS)
    for word, paths in (("missing", drift.missing), ("out of date", drift.changed), ("orphaned", drift.orphaned)):
        for path in paths:
            _console.print(f"{path}: {word}; run `lake contracts build`")
    if drift:
        raise typer.Exit(1)
    kinds = {"stream": len(registry.streams()), "sector": len(registry.sector_tables()), "mart": len(registry.marts())}
    counted = ", ".join(f"{number} {kind}" for kind, number in kinds.items())
    others = f"{len(registry.code_lists)} code lists, {len(registry.scenarios)} scenarios"
    _console.print(f"{len(registry.datasets)} datasets ({counted}), {others}: sound.")


@contracts_app.command()
def build() -> None:
    """Write the generated files (dbt, quality suites, catalogue, pages, Airflow's plan); never hand-written ones."""
    settings = Settings.load()
    registry = _whole(settings)
    validators.check(registry)
    try:
        drift = artifacts.write(settings.home, files.render(registry, OTHERS), FOLDERS)
    except FileExistsError as error:
        raise LakeError(f"Nothing was written: {error}.") from error
    for word, paths in (("new", drift.missing), ("changed", drift.changed), ("removed", drift.orphaned)):
        for path in paths:
            _console.print(f"{word}: {path}")
    if not drift:
        _console.print("Nothing to write: the generated files are up to date.")


@contracts_app.command()
def apply() -> None:
    """Bring the running services to what the contracts say: topics, tables, code lists, the Trino catalog."""
    from pipelines.serving.bootstrap import apply as apply_contracts

    settings = Settings.load()
    for line in apply_contracts(settings, checked_registry(settings)):
        _console.print(line)


@contracts_app.command()
def show(
    dataset: Annotated[str, typer.Argument(help="Id of the dataset, for example river_stage.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the resolved contract as JSON.")] = False,
) -> None:
    """Show one contract: fields with units and limits, key, times, topics and tables."""
    registry = _whole(Settings.load())
    try:
        found = registry.dataset(dataset)
    except KeyError as error:
        raise LakeError(f"Không có bộ dữ liệu này: {error.args[0]}.") from None
    if as_json:
        print(json.dumps(found.model_dump(mode="json"), ensure_ascii=False, indent=2))
        return
    table = Table(title=f"{found.id} · {found.title.vi} · {found.title.en}", caption=found.description.purpose.vi)
    for heading in ("field", "kiểu", "đơn vị", "khoá", "bắt buộc", "giới hạn", "danh mục", "mức"):
        table.add_column(heading)
    for item in found.fields:
        limits = "" if item.minimum is None and item.maximum is None else f"{item.minimum} … {item.maximum}"
        key = "•" if item.name in found.key else ""
        required = "•" if item.required else ""
        table.add_row(
            item.name, str(item.type), item.unit or "", key, required, limits, item.code_list or "", item.classification
        )
    _console.print(table)
    newer = successor(found, registry)
    if found.end_date:
        use = f"; dùng — use {newer.id} {newer.version}" if newer else ""
        _console.print(f"chỉ cập nhật đến — filled until: {found.end_date}{use}", highlight=False)
    if found.supersedes:
        _console.print(f"thay cho — takes the place of: {found.supersedes}", highlight=False)
    if not found.mart:
        names = ", ".join(delta.arrow_schema(found, "silver").names)
        _console.print(f"silver.{found.id}: {names}")
    if found.topic:
        _console.print("topics: " + ", ".join(t.name for t in kafka.topics(found, simulated_clock=False)))


evolution.add_to(contracts_app)
authoring.add_to(contracts_app)
