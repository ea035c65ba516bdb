"""`lake lineage`: where a column comes from, and what comes of it."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.tree import Tree

from pipelines.contracts.registry import load_registry
from pipelines.publishing.lineage.build import build_lineage
from pipelines.publishing.lineage.graph import ROWS, Column, Edge, Lineage
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings

lineage_app = typer.Typer()
_WIDTH = 200
"""A tree is cut at the console's width; the terminal folds its lines where that is narrower."""
_DETAIL = 110
"""So much of an expression is shown in a tree; `--json` has it whole."""


@lineage_app.command()
def lineage(
    column: Annotated[
        str, typer.Argument(help="<dataset>.<field>, <dataset>, or with its layer: silver.river_stage.stage_m.")
    ] = "",
    down: Annotated[bool, typer.Option("--down", help="What comes of it, instead of where it comes from.")] = False,
    every: Annotated[
        bool, typer.Option("--all", help="Also what only decides: conditions, order, filters, joins, groups.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print every edge on the way as JSON.")] = False,
    openlineage: Annotated[
        Path | None, typer.Option("--openlineage", help="Write the whole lineage as OpenLineage events to this file.")
    ] = None,
) -> None:
    """Show where a column comes from, up to the sensor's or agency's field, and how at every step."""
    if not column and openlineage is None:
        raise LakeError("Thiếu tên cột.", "For example: lake lineage kpi_flood_alarm.peak_stage_m")
    settings = Settings.load()
    registry = load_registry(settings.home / "schemas")
    found = build_lineage(settings.home, registry)
    console = Console(highlight=False, soft_wrap=True)
    if console.width < _WIDTH:
        console = Console(highlight=False, width=_WIDTH)
    if openlineage is not None:
        from pipelines.publishing.lineage.openlineage import events

        written = events(found, registry, settings.namespace, datetime.now(UTC))
        text = json.dumps(written, ensure_ascii=False, indent=1)
        openlineage.write_text(text + "\n", encoding="utf-8")
        typer.echo(f"{openlineage}: {len(written)} events", err=True)
    if not column:
        return
    wanted = found.resolve(column)
    if as_json:
        edges = {edge for item in wanted for edge in found.reach(item, down=down)}
        content = {
            "columns": [str(item) for item in wanted],
            "direction": "down" if down else "up",
            "edges": [asdict(edge) for edge in sorted(edges)],
        }
        typer.echo(json.dumps(content, ensure_ascii=False, indent=1))
        return
    if every and not down:
        # Which rows there are is decided for all columns of a table at once.
        wanted = (*wanted, *dict.fromkeys(Column(item.dataset, ROWS) for item in wanted if item.field != ROWS))
    for item in wanted:
        console.print(_tree(found, item, down=down, every=every))
    hidden = 0 if every else sum(not e.is_value for e in {e for item in wanted for e in found.reach(item, down=down)})
    if hidden:
        console.print(f"[dim]{hidden} cạnh chỉ quyết định (điều kiện, lọc, nối, nhóm) — see them with --all[/]")
    for gap in found.untraced:
        console.print(f"[yellow]chỉ biết đến bảng — known between tables only:[/] {escape(gap)}")


def _tree(found: Lineage, column: Column, *, down: bool, every: bool) -> Tree:
    """A column that was shown before is not unfolded again: the graph is no tree."""
    seen: set[Column] = {column}
    root = Tree(f"[bold]{escape(str(column))}[/]")

    def unfold(branch: Tree, item: Column) -> None:
        for edge in _shown(found.next(item, down=down), every=every):
            other = edge.target if down else edge.source
            is_known = other in seen
            seen.add(other)
            child = branch.add(_said(edge, other, is_known and bool(found.next(other, down=down))))
            if not is_known:
                unfold(child, other)

    unfold(root, column)
    return root


def _shown(edges: tuple[Edge, ...], *, every: bool) -> list[Edge]:
    """What goes into the value; where nothing does, what decides upon it, and at last the tables."""
    if every:
        return list(edges)
    for choice in (
        [edge for edge in edges if edge.is_value],
        [edge for edge in edges if edge.how != "table" and edge.how not in {"filter", "join", "group"}],
    ):
        if choice:
            return choice
    return [edge for edge in edges if edge.how == "table"] or list(edges)


def _said(edge: Edge, other: Column, is_repeated: bool) -> str:
    detail = " ".join(edge.detail.split())
    if len(detail) > _DETAIL:
        detail = f"{detail[: _DETAIL - 1]}…"
    detail = f": {escape(detail)}" if detail else ""
    above = " [dim](như trên — as above)[/]" if is_repeated else ""
    return f"{escape(str(other))}  [cyan]{edge.how}[/]{detail}  [dim]{escape(edge.process)}[/]{above}"
