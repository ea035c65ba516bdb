"""Columns, edges between them, and the ways up and down. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from pipelines.runtime.errors import LakeError

ROWS = "*"
"""The field that stands for the rows of a dataset: what is counted, and what filters and joins decide upon."""

How = Literal[
    "identity",
    "expression",
    "aggregate",
    "window",
    "function",
    "token",
    "condition",
    "order",
    "filter",
    "join",
    "group",
    "table",
]
"""How a column comes from another one. Its value: ``identity`` (unchanged), ``expression``, ``aggregate`` (over a
group), ``window`` (over neighbouring rows or a time window), ``function`` (of a stream job), ``token`` (keyed, no way
back). Only which value: ``condition`` (of a case), ``order`` (or partition of a window). Only which rows: ``filter``,
``join``, ``group``. ``table``: one table is read for another, no more is known at this edge.

What only decides which rows there are stands once, at the rows of the target, and not at each of its columns: a level
that is joined by `stage >= threshold` comes from the thresholds, and the stage decides upon its rows."""

VALUE: Sequence[How] = ("identity", "expression", "aggregate", "window", "function", "token")
"""The kinds whose value goes into the value, weakest first: a chain is as strong as its strongest step."""


@dataclass(frozen=True, order=True)
class Column:
    """One field of one dataset; ``dataset`` is ``<layer>.<name>``: ``gold.kpi_flood_alarm``, ``sender.river_stage``."""

    dataset: str
    field: str

    def __str__(self) -> str:
        """Render as the command line takes it."""
        return f"{self.dataset}.{self.field}"


@dataclass(frozen=True, order=True)
class Edge:
    """``target`` comes from ``source``; ``detail`` is the expression, ``process`` what carries it out."""

    source: Column
    target: Column
    how: How
    detail: str
    process: str

    @property
    def is_value(self) -> bool:
        """Whether the source's value goes into the target's value."""
        return self.how in VALUE


@dataclass(frozen=True)
class Lineage:
    """The whole graph: ``columns`` are those of every dataset with their types (``""`` where nobody declares one)."""

    columns: Mapping[str, Mapping[str, str]]
    edges: tuple[Edge, ...]
    untraced: tuple[str, ...] = field(default=())
    """What could not be read field by field, with the reason: its edges are of the kind ``table`` only."""

    @cached_property
    def _into(self) -> Mapping[Column, tuple[Edge, ...]]:
        return _grouped((edge.target, edge) for edge in self.edges)

    @cached_property
    def _out_of(self) -> Mapping[Column, tuple[Edge, ...]]:
        return _grouped((edge.source, edge) for edge in self.edges)

    def next(self, column: Column, *, down: bool = False) -> tuple[Edge, ...]:
        """The edges one step up (where it comes from) or down (what comes of it)."""
        return (self._out_of if down else self._into).get(column, ())

    def reach(self, column: Column, *, down: bool = False) -> tuple[Edge, ...]:
        """Every edge on the way up to the sources or down to the last table, nearest first."""
        seen, found, waiting = {column}, [], [column]
        while waiting:
            for edge in self.next(waiting.pop(0), down=down):
                found.append(edge)
                other = edge.target if down else edge.source
                if other not in seen:
                    seen.add(other)
                    waiting.append(other)
        return tuple(found)

    def sources(self, column: Column) -> frozenset[Column]:
        """The columns at the upper end: those that come from nothing the platform knows."""
        above = {edge.source for edge in self.reach(column)}
        return frozenset(item for item in above if not self.next(item))

    def resolve(self, text: str) -> tuple[Column, ...]:
        """The columns that a user means: ``kpi_flood_alarm.peak_stage_m``, ``silver.river_stage.stage_m``, or all
        columns of ``kpi_flood_alarm``. A name without its layer is that of the judged table, gold or silver.

        Raises:
            LakeError: no such dataset or field; the text lists what comes nearest.
        """
        for dataset in (text, f"gold.{text}", f"silver.{text}"):
            if dataset in self.columns:
                return tuple(Column(dataset, name) for name in self.columns[dataset])
        head, _, name = text.rpartition(".")
        for dataset in (head, f"gold.{head}", f"silver.{head}"):
            if dataset in self.columns:
                if name == ROWS or name in self.columns[dataset]:
                    return (Column(dataset, name),)
                listed = ", ".join(self.columns[dataset])
                raise LakeError(f"{dataset} không có trường {name!r}.", f"It has: {listed}.")
        part = head.rpartition(".")[2] or text
        near = sorted(dataset for dataset in self.columns if part in dataset) or sorted(self.columns)
        raise LakeError(f"Không có bộ dữ liệu nào cho {text!r}.", f"There are: {', '.join(near[:20])}.")


def checked(lineage: Lineage) -> Lineage:
    """Return the lineage when every edge joins columns that exist.

    Raises:
        ValueError: an edge of or to a column that no dataset has; all of them.
    """
    wrong = [
        f"{edge.source} -> {edge.target} ({edge.process}): no {column}"
        for edge in lineage.edges
        for column in (edge.source, edge.target)
        if column.field
        not in {*lineage.columns.get(column.dataset, {}), *([ROWS] if column.dataset in lineage.columns else [])}
    ]
    if wrong:
        raise ValueError("; ".join(wrong))
    return lineage


def _grouped(pairs: Iterable[tuple[Column, Edge]]) -> Mapping[Column, tuple[Edge, ...]]:
    found: dict[Column, list[Edge]] = {}
    for column, edge in pairs:
        found.setdefault(column, []).append(edge)
    return {column: tuple(edges) for column, edges in found.items()}
