"""Joins the parts to one graph."""

from __future__ import annotations

from pathlib import Path

from pipelines.contracts.registry import Registry
from pipelines.publishing.lineage.flows import record_contracts
from pipelines.publishing.lineage.graph import Lineage
from pipelines.publishing.lineage.marts import Project, record_marts
from pipelines.publishing.lineage.recorder import Recorder
from pipelines.publishing.lineage.streams import record_streams


def build_lineage(home: Path, registry: Registry) -> Lineage:
    """The lineage of every dataset of the contracts; ``home`` is the project root, whose dbt models are read.

    What cannot be followed column by column is told in :attr:`Lineage.untraced`, never raised.

    Raises:
        ValueError: an edge of or to a column that does not exist: a fault of this package.
    """
    recorder = Recorder()
    record_contracts(recorder, registry)
    record_streams(recorder, registry)
    record_marts(recorder, registry, Project(home / "dbt_project"))
    return recorder.lineage()
