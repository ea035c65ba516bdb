"""Batches with their source offsets, and the tables that all datasets share: outcomes, quarantine, dead letters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipelines.contracts import system
from pipelines.contracts.targets import delta
from pipelines.landing.arrow import Column, keep, repeat
from pipelines.landing.sink import COMPACT_EVERY, Sink
from pipelines.landing.tables import DEAD_LETTER, OUTCOME, QUARANTINE, quality_spec
from pipelines.runtime.settings import Settings

PART, POSITION = "_part", "_position"
"""Columns of a batch beside the contract's: the source partition and offset that each row was read from."""
IS_DELETE = "_is_delete"
"""A column that batches of sector tables have besides: TRUE for a row that takes its key out of silver."""

Step = Callable[[str], None]


def no_step(_name: str) -> None:
    """Do nothing before a commit; tests stop a run here."""


@dataclass(frozen=True)
class Batch:
    """Rows in order of arrival with :data:`PART` and :data:`POSITION`, and how far their source was read.

    `apps`: partition → app id. `ends`: partition → next offset to read; it may pass the last row's.
    """

    rows: pa.Table
    apps: Mapping[int, str]
    ends: Mapping[int, int]

    @property
    def app_ends(self) -> dict[str, int]:
        """App id → next offset, what a commit of the whole batch carries."""
        return {self.apps[part]: end for part, end in self.ends.items()}


@dataclass(frozen=True)
class Aside:
    """What one batch writes to the shared tables, each with :data:`PART` and :data:`POSITION`; None writes nothing."""

    batch: Batch
    outcomes: pa.Table | None = None
    quarantine: pa.Table | None = None
    dead: pa.Table | None = None


def outcome_schema() -> pa.Schema:
    """The Arrow schema of ``quality.outcome``."""
    return delta.system_schema(system.OUTCOME)


@dataclass
class Quality:
    """The shared tables beside silver. Appends of several processes commute, so they need no lease."""

    outcome: Sink
    quarantine: Sink
    dead_letter: Sink

    @classmethod
    def open(cls, settings: Settings, *, compact_every: int = COMPACT_EVERY) -> Quality:
        """Create or check the tables."""
        names = (OUTCOME, QUARANTINE, DEAD_LETTER)
        return cls(*(Sink.open(settings, quality_spec(name), compact_every=compact_every) for name in names))

    @property
    def sinks(self) -> tuple[Sink, ...]:
        """All of them."""
        return self.outcome, self.quarantine, self.dead_letter

    def refresh(self) -> None:
        """Read what others committed since."""
        for sink in self.sinks:
            sink.refresh()

    def write(self, asides: Sequence[Aside], step: Step = no_step) -> None:
        """Write what several batches set aside, one commit per table; what a table holds already is skipped."""
        write_parts(
            self.dead_letter, [(a.dead, a.batch) for a in asides if a.dead is not None and a.dead.num_rows], step
        )
        write_parts(
            self.quarantine,
            [(a.quarantine, a.batch) for a in asides if a.quarantine is not None and a.quarantine.num_rows],
            step,
        )
        write_parts(self.outcome, [(a.outcomes, a.batch) for a in asides if a.outcomes is not None], step)


def write_parts(sink: Sink, parts: Sequence[tuple[pa.Table, Batch]], step: Step = no_step) -> None:
    """Append the rows of several batches that `sink` has not seen, with all their offsets, in one commit."""
    rows: list[pa.Table] = []
    ends: dict[str, int] = {}
    for table, batch in parts:
        behind = sink.behind(batch.app_ends)
        if behind:
            rows.append(unseen_rows(sink, table, batch).drop_columns([PART, POSITION]))
            ends.update(behind)
    if ends:
        step(sink.spec.id)
        sink.append(pa.concat_tables(rows), ends)


def unseen(sink: Sink, batch: Batch) -> pa.Table:
    """The rows of a batch that a table has not committed yet."""
    return unseen_rows(sink, batch.rows, batch)


def unseen_rows(sink: Sink, rows: pa.Table, batch: Batch) -> pa.Table:
    """Those of `rows`, which come from `batch`, that a table has not committed yet."""
    seen = {part: sink.committed(app) or 0 for part, app in batch.apps.items()}
    if not rows.num_rows or not any(seen.values()):
        return rows
    parts = rows[PART].to_numpy()
    positions = rows[POSITION].to_numpy()
    fresh = np.ones(rows.num_rows, dtype=bool)
    for part, start in seen.items():
        if start:
            fresh &= (parts != part) | (positions >= start)
    return keep(rows, fresh)


def with_source(table: pa.Table, rows: pa.Table) -> pa.Table:
    """Give each row of `table` the source place of the same row of `rows`."""
    return table.append_column(PART, rows[PART]).append_column(POSITION, rows[POSITION])


def outcome_rows(dataset: str | Column, rows: pa.Table, effects: Column) -> pa.Table:
    """Outcomes of `rows`, which say the raw place, disposition and source place; `dataset` may differ by row."""
    columns: list[Column] = [
        repeat(dataset, rows.num_rows, pa.string()) if isinstance(dataset, str) else dataset,
        *(rows[name] for name in ("raw_partition", "raw_offset", "disposition")),
        effects,
    ]
    return with_source(pa.table(columns, schema=outcome_schema()), rows)
