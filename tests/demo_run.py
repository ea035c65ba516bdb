"""One run of the demo for the whole test run: the end-to-end test reads it, the chaos test compares with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable

from pipelines.commands.demo import DemoPlan, DemoResult
from pipelines.contracts.registry import Registry
from pipelines.replay.faults import FaultPlan
from pipelines.replay.truth import Truth, load_truth
from pipelines.runtime.settings import Settings

PLAN = DemoPlan(
    faults=FaultPlan(duplicates=0.02, corrections=0.02, late=0.02, malformed=0.002, week_old=3), sector_scale=0.05
)


@dataclass(frozen=True)
class DemoRun:
    """A finished demo: its settings, what it returned, and everything it printed."""

    settings: Settings
    registry: Registry
    result: DemoResult
    output: str

    def truth(self, name: str) -> Truth:
        """What a replay sent and what must have come of it."""
        return load_truth(self.settings, name)


def rows(settings: Settings, dataset: Any) -> pa.Table:
    """The silver rows of a dataset, sorted by key, in column order of the contract."""
    path: Path = settings.table_path("silver", dataset.id)
    table = DeltaTable(str(path)).to_pyarrow_table()
    return table.sort_by([(name, "ascending") for name in dataset.key])
