"""`lake catalog …`: how far the catalogue of the city has come."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pipelines.contracts.registry import load_registry
from pipelines.publishing.coverage import STAGES, Coverage, DatasetCoverage, Stage, counts
from pipelines.publishing.coverage import coverage as read_coverage
from pipelines.runtime.settings import Settings

catalog_app = typer.Typer(
    no_args_is_help=True, help="Danh mục dữ liệu của thành phố. The catalogue: what there is, and how far it has come."
)
_HEADINGS: Mapping[str, str] = {
    "contract": "hợp đồng",
    "source": "nguồn",
    "silver": "silver",
    "checked": "kiểm định",
    "mart": "mart",
    "published": "công bố",
    "catalogued": "danh mục",
}
_WIDTH = 110
"""Narrower, the titles of the systems would be columns of single words; a terminal then folds the lines itself."""
_MARKS = {"reached": "[green]✓[/]", "missing": "[red]✗[/]", "not_applicable": "[dim]–[/]"}


@catalog_app.callback()
def catalog() -> None:
    """Keep `coverage` a command of its own: a group of one would swallow its name."""


@catalog_app.command()
def coverage(
    system: Annotated[int | None, typer.Option("--system", help="One system only, by its number (1 to 34).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs, with what was found.")] = False,
) -> None:
    """Show for every system of the city which stages its datasets have reached, read from the tables alone."""
    settings = Settings.load()
    found = read_coverage(settings, load_registry(settings.home / "schemas"), system)
    if as_json:
        typer.echo(json.dumps(found.to_dict(), ensure_ascii=False, indent=1))
        return
    console = Console()
    if console.width < _WIDTH:
        console = Console(width=_WIDTH)
    _print(found, console)


def _print(found: Coverage, console: Console) -> None:
    table = Table(title=f"Độ phủ danh mục — Coverage ({found.namespace})", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("hệ thống / bộ dữ liệu", overflow="fold")
    for stage in STAGES:
        table.add_column(_HEADINGS[stage], justify="center", no_wrap=True)
    for item in found.systems:
        title = f"[bold]{item.system.id}. {item.system.title.vi}[/]"
        table.add_row(title, *_counted(item.datasets))
        _add_datasets(table, item.datasets)
    if found.others:
        table.add_row("[bold]Không thuộc hệ thống nào — of no system[/]", *_counted(found.others))
        _add_datasets(table, found.others)
    served = sum(1 for item in found.systems if item.datasets)
    table.add_section()
    total = f"[bold]Tổng: {len(found.datasets)} bộ dữ liệu, {served}/{len(found.systems)} hệ thống[/]"
    table.add_row(total, *_counted(found.datasets))
    console.print(table)


def _add_datasets(table: Table, datasets: Collection[DatasetCoverage]) -> None:
    for dataset in datasets:
        table.add_row(f"  {dataset.dataset}", *(_mark(name, stage) for name, stage in dataset.stages.items()))


def _mark(name: str, stage: Stage) -> str:
    """The sign of one stage; a verdict says which, for a failed one is a check all the same."""
    if name == "checked" and stage.note:
        word = {"passed": "đạt", "waived": "chấp nhận", "failed": "không đạt"}.get(stage.note.split(":")[0], "bản cũ")
        return f"{_MARKS[stage.state]} {word}"
    return _MARKS[stage.state]


def _counted(datasets: Collection[DatasetCoverage]) -> list[str]:
    if not datasets:
        return ["[dim]0[/]"] * len(STAGES)
    return [f"{count['reached']}/{count['of']}" for count in counts(datasets).values()]
