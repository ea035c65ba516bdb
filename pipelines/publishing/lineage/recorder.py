"""Collects datasets, their columns and the edges between them while lineage is built."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from pipelines.publishing.lineage.graph import ROWS, Column, Edge, How, Lineage, checked
from pipelines.publishing.lineage.sql import Relation, table

log = logging.getLogger(__name__)


class Recorder:
    """Write once, then :meth:`lineage`."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._columns: dict[str, dict[str, str]] = {}
        self._edges: dict[tuple[Column, Column, How, str], Edge] = {}
        self._untraced: list[str] = []

    def dataset(self, name: str, columns: Mapping[str, str]) -> None:
        """Declare a dataset with its columns and their types, or add columns to it."""
        self._columns.setdefault(name, {}).update(columns)

    def relation(self, name: str) -> Relation:
        """A declared dataset as something to select from."""
        return table(name, self._columns[name])

    def edge(
        self, source: str, field: str, target: str, to: str, process: str, how: How = "identity", detail: str = ""
    ) -> None:
        """Record one edge; of two with the same ends and kind the first stays."""
        edge = Edge(Column(source, field), Column(target, to), how, detail, process)
        self._edges.setdefault((edge.source, edge.target, how, process), edge)

    def copy(self, source: str, target: str, names: Iterable[str], process: str) -> None:
        """Columns that go on under their name, and the rows with them."""
        self.rows(source, target, process)
        for name in names:
            self.edge(source, name, target, name, process)

    def rows(self, source: str, target: str, process: str) -> None:
        """The rows of ``target`` come from those of ``source``."""
        self.edge(source, ROWS, target, ROWS, process, "table")

    def select(self, target: str, names: Mapping[str, str], relation: Relation, process: str) -> None:
        """Record what a SELECT writes; ``names`` maps column of the target → column of the SELECT."""
        for item in relation.rows:
            self.edge(item.dataset, item.field, target, ROWS, process, item.how, item.detail)
        for name, selected in names.items():
            for item in relation.columns[selected]:
                self.edge(item.dataset, item.field, target, name, process, item.how, item.detail)

    def untraced(self, what: str, reason: str, sources: Iterable[str], target: str, process: str) -> None:
        """Fall back to edges between tables, and say so: a gap in the lineage must not stop a publication."""
        log.warning("lineage is known between tables only", extra={"step": what, "reason": reason})
        self._untraced.append(f"{what}: {reason}")
        for source in sources:
            self.rows(source, target, process)

    def lineage(self) -> Lineage:
        """The finished graph, sorted.

        Raises:
            ValueError: an edge of or to a column that no dataset has.
        """
        return checked(Lineage(self._columns, tuple(sorted(self._edges.values())), tuple(self._untraced)))
