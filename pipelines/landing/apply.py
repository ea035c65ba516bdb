"""The one write path to silver, shared by streams and sector ingestion.

A batch goes in three commits, each with its own offsets: quarantine, outcomes, silver last. After a crash between any
two the batch is read again from silver's offset; what the other tables hold already is skipped there, and the effects
come out the same because silver has not moved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads

from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry
from pipelines.landing.arrow import Column, Int8s, bools, keep, nulls, repeat, take
from pipelines.landing.arrow import kernels as pc
from pipelines.landing.checks import Check, Encrypt, check_rows, compile_checks
from pipelines.landing.landed import Landed, open_landed
from pipelines.landing.resolve import EFFECT_NAMES, INSERTED, compared_columns, group_ids, resolve, version_columns
from pipelines.landing.shared import (
    PART,
    POSITION,
    Aside,
    Batch,
    Quality,
    Step,
    no_step,
    outcome_rows,
    outcome_schema,
    unseen,
    with_source,
    write_parts,
)
from pipelines.landing.sink import COMPACT_EVERY, Sink
from pipelines.landing.tables import silver_spec
from pipelines.runtime.settings import Settings

__all__ = [
    "PART",
    "POSITION",
    "Aside",
    "Batch",
    "BatchResult",
    "Plan",
    "Quality",
    "Silver",
    "Step",
    "apply",
    "outcome_rows",
    "write_parts",
]
_FEW_VALUES = 500
"""A look-up names so many keys one by one; above, the range of the event time alone bounds what is read."""


@dataclass(frozen=True)
class Plan:
    """What a batch does, before anything is written."""

    dataset: Dataset
    batch: Batch
    counts: Mapping[str, int]
    outcomes: pa.Table
    quarantine: pa.Table
    write: pa.Table
    updates: pa.Table

    @property
    def aside(self) -> Aside:
        """What the plan writes beside silver."""
        outcomes = None if self.dataset.derived else self.outcomes
        return Aside(self.batch, outcomes=outcomes, quarantine=self.quarantine)


@dataclass(frozen=True)
class BatchResult:
    """What a batch did: rows per effect (and `duplicate`), and its outcome rows (:data:`system.OUTCOME`)."""

    counts: Mapping[str, int]
    outcomes: pa.Table


@dataclass
class Silver:
    """The silver table of one contract with its compiled checks and what is known of its keys."""

    dataset: Dataset
    sink: Sink
    checks: tuple[Check, ...]
    encrypt: Encrypt | None
    landed: Landed = field(repr=False)

    @classmethod
    def open(
        cls,
        settings: Settings,
        registry: Registry,
        dataset: Dataset,
        encrypt: Encrypt | None,
        *,
        compact_every: int = COMPACT_EVERY,
    ) -> Silver:
        """Create or check the table and read what is needed to judge new rows.

        Raises:
            TableDisagrees: the table is not what the contract says.
        """
        sink = Sink.open(settings, silver_spec(dataset), compact_every=compact_every)
        return cls(dataset, sink, compile_checks(registry, dataset), encrypt, open_landed(dataset, sink.table))

    def reload(self) -> None:
        """Read again what others committed."""
        self.sink.refresh()
        self.landed = open_landed(self.dataset, self.sink.table)

    def plan(self, batch: Batch) -> Plan:
        """Judge every row of a batch against its contract and the table; writes nothing.

        Rows that silver has committed already (an earlier part of the source) are left out.
        """
        rows = unseen(self.sink, batch)
        duplicates = None
        if not self.dataset.derived:
            # A duplicate that violates a constraint stays a duplicate: its first record is the one in quarantine.
            is_duplicate = bools(pc.equal(rows["disposition"], "duplicate"))
            if is_duplicate.any():
                duplicates, rows = keep(rows, is_duplicate), keep(rows, ~is_duplicate)
        checked = check_rows(self.dataset, self.checks, rows, self.encrypt)
        failed = take(rows, checked.positions)
        accepted = self._shaped(checked.ok)
        effects, write, updates = self._resolve(accepted)
        counts = dict(zip(EFFECT_NAMES, np.bincount(effects, minlength=len(EFFECT_NAMES)).tolist(), strict=True))
        counts["quarantined"] = failed.num_rows
        counts["duplicate"] = duplicates.num_rows if duplicates is not None else 0
        outcomes = self._outcomes(accepted, effects, duplicates, failed)
        quarantine = with_source(checked.failed, failed)
        return Plan(self.dataset, batch, counts, outcomes, quarantine, write, updates)

    def _shaped(self, rows: pa.Table) -> pa.Table:
        """Add the partition column that the table derives from an instant."""
        source = self.dataset.partition_source
        if source is None:
            return rows
        days: Column = pc.cast(pc.cast(rows[source], pa.timestamp("us")), pa.date32(), safe=False)
        return rows.append_column(str(self.dataset.partition), days)

    def _resolve(self, accepted: pa.Table) -> tuple[Int8s, pa.Table, pa.Table]:
        """Effects per row, the rows to insert, and the rows that replace others."""
        columns = [f.name for f in self.sink.table.schema().fields]
        new = self.landed.new(accepted)
        if new.all():
            effects = np.full(accepted.num_rows, INSERTED, dtype=np.int8)
            return effects, accepted.select(columns), accepted.slice(0, 0).select(columns)
        stored = self._stored(keep(accepted, ~new))
        resolution = resolve(self.dataset, accepted, stored)
        inserts, updates = take(accepted, resolution.inserts), take(accepted, resolution.updates)
        return resolution.effects, inserts.select(columns), updates.select(columns)

    def _pruned_by(self, rows: pa.Table) -> list[str] | None:
        """The partitions in which rows with these keys must lie; None when a key says nothing about its partition.

        A partition that the key does not fix may change with a correction: looking only there would miss the older
        row and double it.
        """
        name = self.dataset.partition
        source = self.dataset.partition_source or name
        if name is None or source not in self.dataset.key:
            return None
        return [str(value) for value in rows[name].unique().to_pylist()]

    def _stored(self, wanted: pa.Table) -> pa.Table:
        """The table's rows that share a key with `wanted`: what :func:`resolve` compares."""
        dataset = self.dataset
        columns = list(compared_columns(dataset))
        partitions = self._pruned_by(wanted)
        predicate = [(str(dataset.partition), "in", partitions)] if partitions is not None else None
        source = self.sink.table.to_pyarrow_dataset(file_pruning_predicate=predicate)
        condition: pads.Expression | None = None
        for name in dataset.key:
            column = wanted[name]
            distinct = column.unique()
            if pa.types.is_timestamp(column.type):
                limits = pc.min_max(column)
                part = (pads.field(name) >= limits["min"]) & (pads.field(name) <= limits["max"])
            elif len(distinct) <= _FEW_VALUES:
                part = pads.field(name).isin(distinct)
            else:
                continue
            condition = part if condition is None else condition & part
        found: pa.Table = source.to_table(columns=columns, filter=condition).combine_chunks()
        if not found.num_rows:
            return found
        ids = group_ids(pa.concat_tables([found.select(dataset.key), wanted.select(dataset.key)]), dataset.key)
        return keep(found, np.isin(ids[: found.num_rows], ids[found.num_rows :]))

    def _outcomes(self, accepted: pa.Table, effects: Int8s, duplicates: pa.Table | None, failed: pa.Table) -> pa.Table:
        if self.dataset.derived:
            return with_source(outcome_schema().empty_table(), accepted.slice(0, 0))
        names: Column = pa.DictionaryArray.from_arrays(effects, pa.array(EFFECT_NAMES, pa.string()))
        parts = [outcome_rows(self.dataset.id, accepted, names.cast(pa.string()))]
        if duplicates is not None:
            parts.append(outcome_rows(self.dataset.id, duplicates, nulls(duplicates.num_rows, pa.string())))
        if failed.num_rows:
            parts.append(outcome_rows(self.dataset.id, failed, repeat("quarantined", failed.num_rows, pa.string())))
        return pa.concat_tables(parts)

    def commit(self, plan: Plan) -> None:
        """Write a plan to silver, offsets included; an empty one records the offsets.

        Raises:
            CommitFailedError: another writer moved the same offsets or rows; reload and plan again.
        """
        ends = self.sink.behind(plan.batch.app_ends)
        if not plan.updates.num_rows:
            if ends or plan.write.num_rows:
                self.sink.append(plan.write, ends)
        else:
            self._merge(plan, ends)
        self.landed.remember(plan.write)
        if plan.updates.num_rows:
            self.landed.remember(plan.updates)

    def _merge(self, plan: Plan, ends: Mapping[str, int]) -> None:
        """One MERGE for inserts and updates, so that silver moves in one commit."""
        source = pa.concat_tables([plan.write, plan.updates])
        conditions = [f"t.{_quoted(name)} = s.{_quoted(name)}" for name in self.dataset.key]
        partitions = self._pruned_by(plan.updates)
        if partitions is not None:
            days = ", ".join(_sql_text(value) for value in partitions)
            conditions.append(f"t.{_quoted(str(self.dataset.partition))} IN ({days})")
        newest = version_columns(self.dataset)
        (
            self.sink.table.merge(
                source,
                " AND ".join(conditions),
                source_alias="s",
                target_alias="t",
                writer_properties=self.sink.writer_properties,
                commit_properties=self.sink.properties(ends),
            )
            .when_matched_update_all(predicate=_not_older(newest))
            .when_not_matched_insert_all()
            .execute()
        )
        # A MERGE that changes nothing commits nothing, and then records no offsets either.
        missing = {app: end for app, end in ends.items() if self.sink.table.transaction_version(app) != end}
        self.sink.moved(source, {app: end for app, end in ends.items() if app not in missing})
        if missing:
            self.sink.append(source.slice(0, 0), missing)


def apply(silver: Silver, quality: Quality, batch: Batch, step: Step = no_step) -> BatchResult:
    """Land one batch: quarantine, outcomes, then silver; returns what each row did.

    Calling it again with the same batch (or one cut differently) changes nothing.
    """
    plan = silver.plan(batch)
    quality.write([plan.aside], step)
    step(silver.sink.spec.id)
    silver.commit(plan)
    return BatchResult(plan.counts, plan.outcomes.drop_columns([PART, POSITION]))


def _not_older(columns: Sequence[str]) -> str:
    """SQL: the source's version is at least the target's, column by column, most significant first."""
    sql = f"s.{_quoted(columns[-1])} >= t.{_quoted(columns[-1])}"
    for name in reversed(columns[:-1]):
        sql = f"(s.{_quoted(name)} > t.{_quoted(name)} OR (s.{_quoted(name)} = t.{_quoted(name)} AND {sql}))"
    return sql


def _quoted(name: str) -> str:
    return f"`{name}`"


def _sql_text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
