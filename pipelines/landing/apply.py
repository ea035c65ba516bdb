"""The one write path to silver, shared by streams and sector ingestion.

A batch goes in three commits, each with its own offsets: quarantine, outcomes, silver last. After a crash between any
two the batch is read again from silver's offset; what the other tables hold already is skipped there, and the effects
come out the same because silver has not moved.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from pipelines.contracts.model import Dataset
from pipelines.contracts.names import backtick
from pipelines.contracts.registry import Registry
from pipelines.landing.arrow import Bools, Column, Int8s, bools, keep, nulls, repeat, take
from pipelines.landing.arrow import kernels as pc
from pipelines.landing.checks import Check, Encrypt, check_rows, compile_checks
from pipelines.landing.erased import Suppression, set_aside
from pipelines.landing.landed import Landed, open_landed
from pipelines.landing.lookup import find, not_plain, scan_keys
from pipelines.landing.resolve import (
    EFFECT_NAMES,
    INSERTED,
    compared_columns,
    content_columns,
    differing,
    group_ids,
    partners,
    resolve,
    version_columns,
)
from pipelines.landing.rewrite import Replacement, rewrite
from pipelines.landing.shared import (
    IS_DELETE,
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
    "IS_DELETE",
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
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What a batch does, before anything is written: it inserts rows, or replaces and deletes some besides."""

    dataset: Dataset
    batch: Batch
    counts: Mapping[str, int]
    outcomes: pa.Table
    quarantine: pa.Table
    inserts: pa.Table
    change: Replacement | None

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
    suppress: Suppression
    _landed: Landed | None = field(default=None, repr=False)

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
        """Create or check the table; its rows are not read before there are new ones to judge.

        Raises:
            TableDisagrees: the table is not what the contract says.
        """
        sink = Sink.open(settings, silver_spec(dataset), compact_every=compact_every)
        return cls(dataset, sink, compile_checks(registry, dataset), encrypt, Suppression(settings, dataset))

    @property
    def landed(self) -> Landed:
        """What is known of the keys in the table, read at first use."""
        if self._landed is None:
            self._landed = open_landed(self.dataset, self.sink.table)
        return self._landed

    def reload(self) -> None:
        """Read again what others committed."""
        self.sink.refresh()
        self._landed = None

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
        rows, is_erased = self.suppress(rows)
        erased, rows = keep(rows, is_erased), keep(rows, ~is_erased)
        deletes = rows.slice(0, 0)
        if IS_DELETE in rows.column_names and (is_delete := bools(rows[IS_DELETE])).any():
            # What is deleted has to say nothing but its key.
            deletes, rows = keep(rows, is_delete), keep(rows, ~is_delete)
        checked = check_rows(self.dataset, self.checks, rows, self.encrypt)
        failed = take(rows, checked.positions)
        accepted = checked.ok
        if deletes.num_rows:
            accepted = pa.concat_tables([accepted, deletes]).sort_by([(POSITION, "ascending")])
        accepted = self._shaped(accepted)
        effects, inserts, change = self._resolve(accepted)
        counts = dict(zip(EFFECT_NAMES, np.bincount(effects, minlength=len(EFFECT_NAMES)).tolist(), strict=True))
        counts["quarantined"] = failed.num_rows + erased.num_rows
        counts["duplicate"] = duplicates.num_rows if duplicates is not None else 0
        outcomes = self._outcomes(accepted, effects, duplicates, pa.concat_tables([failed, erased]))
        quarantine = with_source(checked.failed, failed)
        if erased.num_rows:
            quarantine = pa.concat_tables([quarantine, with_source(set_aside(self.dataset.id, erased), erased)])
        return Plan(self.dataset, batch, counts, outcomes, quarantine, inserts, change)

    def holds(self, rows: pa.Table) -> Bools:
        """TRUE for each row whose key the table holds with the same content; of a contract that compares content."""
        key, names = list(self.dataset.key), content_columns(self.dataset)
        result: Bools = np.zeros(rows.num_rows, dtype=bool)
        found = find(self.sink.table, self.sink.path, key, names, rows.select(key)).rows
        if not found.num_rows:
            return result
        columns = list(dict.fromkeys((*key, *names)))
        both = pa.concat_tables([found.select(columns), rows.select(columns)]).combine_chunks()
        ids = group_ids(both, key)
        stored = partners(ids[: found.num_rows], ids[found.num_rows :])
        known = np.flatnonzero(stored >= 0)
        result[known] = ~differing(both, names, stored[known], known + found.num_rows)
        return result

    def has(self, rows: pa.Table) -> Bools:
        """TRUE for each row whose key the table holds."""
        key = list(self.dataset.key)
        found = find(self.sink.table, self.sink.path, key, [], rows.select(key)).rows
        ids = group_ids(pa.concat_tables([found, rows.select(key)]), key)
        known: Bools = partners(ids[: found.num_rows], ids[found.num_rows :]) >= 0
        return known

    def all_keys(self) -> Iterator[pa.Table]:
        """The keys of all rows, in parts."""
        return scan_keys(self.sink.table, self.dataset.key)

    def _shaped(self, rows: pa.Table) -> pa.Table:
        """Add the partition column that the table derives from an instant."""
        source = self.dataset.partition_source
        if source is None:
            return rows
        days: Column = pc.cast(pc.cast(rows[source], pa.timestamp("us")), pa.date32(), safe=False)
        return rows.append_column(str(self.dataset.partition), days)

    def _resolve(self, accepted: pa.Table) -> tuple[Int8s, pa.Table, Replacement | None]:
        """Effects per row, the rows to insert, and what replaces rows of the table."""
        columns = [f.name for f in self.sink.table.schema().fields]
        new = self.landed.new(accepted)
        if new.all():
            effects = np.full(accepted.num_rows, INSERTED, dtype=np.int8)
            return effects, accepted.select(columns), None
        key = self.dataset.key
        wanted = keep(accepted, ~new).select(list(key))
        found = find(self.sink.table, self.sink.path, key, compared_columns(self.dataset), wanted)
        deletes = bools(accepted[IS_DELETE]) if IS_DELETE in accepted.column_names else None
        resolution = resolve(self.dataset, accepted, found.rows, deletes)
        inserts = take(accepted, resolution.inserts).select(columns)
        if self.dataset.sector:
            # Few files then hold the keys between any two, and a look-up opens no others.
            inserts = inserts.sort_by([(name, "ascending") for name in key])
        if not len(resolution.updates) and not len(resolution.deletes):
            return resolution.effects, inserts, None
        updates = take(accepted, resolution.updates).select(columns)
        removes = take(accepted, resolution.deletes).select(columns)
        return resolution.effects, inserts, Replacement(found, updates, inserts, removes)

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

        Rows that replace none are appended. Else the files that hold replaced and deleted rows are written anew,
        inserted rows among them; only a table that has more than plain files, which an administrator must have asked
        for, is merged.

        Raises:
            CommitFailedError: another writer moved the same offsets or rows; reload and plan again.
        """
        ends = self.sink.behind(plan.batch.app_ends)
        if plan.change is None:
            if ends or plan.inserts.num_rows:
                self.sink.append(plan.inserts, ends)
        elif plan.change.found.files is not None:
            rewrite(self.sink, self.dataset.key, plan.change, ends)
        else:
            log.warning("merged as a whole", extra={"table": self.sink.spec.id, "reason": not_plain(self.sink.table)})
            self._merge(plan.change, ends)
        self.landed.remember(plan.inserts)
        if plan.change is not None:
            self.landed.remember(plan.change.updates)

    def _merge(self, change: Replacement, ends: Mapping[str, int]) -> None:
        """One MERGE for inserts, updates and deletes, so that silver moves in one commit."""
        source = pa.concat_tables([change.inserts, change.updates, change.deletes])
        written = change.inserts.num_rows + change.updates.num_rows
        marked = source.append_column(IS_DELETE, pa.array(np.arange(source.num_rows) >= written))
        newest = version_columns(self.dataset)
        merge = self.sink.table.merge(
            marked if change.deletes.num_rows else source,
            " AND ".join(f"t.{backtick(name)} = s.{backtick(name)}" for name in self.dataset.key),
            source_alias="s",
            target_alias="t",
            writer_properties=self.sink.writer_properties,
            commit_properties=self.sink.properties(ends),
        )
        if change.deletes.num_rows:
            merge = merge.when_matched_delete(f"s.{IS_DELETE}")
        merge = merge.when_matched_update_all(_not_older(newest), except_cols=[IS_DELETE])
        merge.when_not_matched_insert_all(except_cols=[IS_DELETE]).execute()
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
    sql = f"s.{backtick(columns[-1])} >= t.{backtick(columns[-1])}"
    for name in reversed(columns[:-1]):
        sql = f"(s.{backtick(name)} > t.{backtick(name)} OR (s.{backtick(name)} = t.{backtick(name)} AND {sql}))"
    return sql
