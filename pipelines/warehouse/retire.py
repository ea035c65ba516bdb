"""Carries retention out: plans, has the holder of each table delete, and records what went in ``catalog.retention``.

The order makes every step one that may be the last: bronze first, then what says something about its records, silver,
files at the end. A run that was killed left plans; the next run finds in the logs which of them were carried out,
records these, and plans the rest anew. A table whose holder does not answer in time is left as it is, and named.

Who reads a pinned version reads its rows until the pin moves on and `lake maintain` has removed the files: a week after
the next publication at the latest.
"""

from __future__ import annotations

import base64
import json
import logging
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads
from deltalake import DeltaTable
from filelock import FileLock, Timeout

from pipelines.contracts.durations import kept_from
from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry
from pipelines.contracts.system import MARKER_KEY, REFUSALS
from pipelines.gateway.limits import KEPT_FOR
from pipelines.gateway.objects import ObjectStore, open_store
from pipelines.landing.lease import LeaseHeld, lease, leases
from pipelines.landing.lookup import on_disk
from pipelines.landing.removal import NotRemoved, Removal, ask, committed, is_answered, remove, withdraw
from pipelines.landing.retired import Retired, closed, open_plans, record, records
from pipelines.landing.tables import DEAD_LETTER, OUTCOME
from pipelines.runtime.delta import arrow_dataset
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import DEFAULT_NAMESPACE, Settings
from pipelines.warehouse.retention import (
    Due,
    Rule,
    all_terms,
    by_table,
    floors,
    floors_of,
    look,
    opened,
    outcome_rule,
    predicate,
    rules,
)

log = logging.getLogger(__name__)
HOLDER_WAIT_S = 120.0
"""How long the holder of one table is waited for: landing answers within seconds, a load of a sector table ends."""
_POLL_S = 0.1
_PLAN_AGE = timedelta(hours=1)
"""A plan of a killed run that is not in the log after so long was not carried out and will not be."""
OBJECTS, LOADS = "_objects", "_loads"
Step = Callable[[str], None]


def no_step(_name: str) -> None:
    """Do nothing; tests end a run here."""


@dataclass(frozen=True)
class Report:
    """What is due in each table, and in ``left`` the tables that could not be reached, each with the reason."""

    due: tuple[Due, ...]
    left: tuple[str, ...]
    is_dry_run: bool

    @property
    def rows(self) -> int:
        """Rows and files that went, or would go."""
        return sum(item.rows for item in self.due if not item.note)


def plan(settings: Settings, registry: Registry, now: datetime) -> tuple[Due, ...]:
    """What is due now and what falls due next, table by table; changes nothing."""
    found = [
        _held_back(settings, registry, look(rule, table))
        for rule in rules(registry, now)
        if (table := opened(settings, rule.table)) is not None
    ]
    ends = {}
    for item in found:
        is_bronze = item.rule.table.startswith("bronze.")
        if is_bronze and item.rows and not item.note and (table := opened(settings, item.rule.table)) is not None:
            ends[item.rule.dataset] = floors(item.rule, table)
    return (*found, *_outcomes(settings, registry, ends), *_files(settings, registry, now))


def retire(
    settings: Settings,
    registry: Registry,
    *,
    by: str,
    run_id: str,
    dry_run: bool = False,
    now: datetime | None = None,
    wait_s: float = HOLDER_WAIT_S,
    step: Step = no_step,
) -> Report:
    """Delete everything that is past its retention and record it; a second call deletes nothing.

    Raises:
        LakeError: the namespace is no city's, or another retention runs.
    """
    at = now or datetime.now(UTC)
    if dry_run:
        return Report(plan(settings, registry, at), (), is_dry_run=True)
    if settings.namespace != DEFAULT_NAMESPACE:
        raise LakeError(
            f"The namespace {settings.namespace} holds a replay, whose rows carry the clock of the past: by today's "
            "clock all of them are too old.",
            "Retention is for the namespace of the city; `lake forget` removes an exercise as a whole.",
        )
    folder = settings.lake_root / settings.namespace / "_locks"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "retention.lock", timeout=0):
            run = _Run(settings, registry, at, by, run_id, wait_s, step)
            return run.go()
    except Timeout:
        raise LakeError("Another retention runs in this namespace.", "Wait for its end.") from None


class _Run:
    """One run; the lock is held."""

    def __init__(
        self, settings: Settings, registry: Registry, now: datetime, by: str, run_id: str, wait_s: float, step: Step
    ) -> None:
        self.settings, self.registry, self.now = settings, registry, now
        self.by, self.run_id, self.wait_s, self.step = by, run_id, wait_s, step
        self.left: list[str] = []

    def go(self) -> Report:
        settle(self.settings)
        found = [item for item in plan(self.settings, self.registry, self.now) if _is_rows(item)]
        tables = by_table(item for item in found if not item.rule.table.endswith(f".{OUTCOME}"))
        # Bronze first: the floors that follow from it say which outcomes are closed.
        self._tables({name: due for name, due in tables.items() if name.startswith("bronze.")})
        outcomes = _outcomes(self.settings, self.registry, {})
        self._tables(by_table(outcomes))
        self._tables({name: due for name, due in tables.items() if not name.startswith("bronze.")})
        files = _files(self.settings, self.registry, self.now)
        self._remove_files(files)
        kept = [item for item in found if not item.rule.table.endswith(f".{OUTCOME}")]
        return Report((*kept, *outcomes, *files), tuple(self.left), is_dry_run=False)

    def _tables(self, tables: Mapping[str, Sequence[Due]]) -> None:
        removals = {name: Removal(uuid.uuid4().hex, name, predicate(all_terms(due))) for name, due in tables.items()}
        record(
            self.settings,
            [self._planned(removals[name].id, item) for name, due in tables.items() for item in due],
        )
        for name, due in tables.items():
            self.step(name)
            try:
                by_holder(self.settings, self.registry, removals[name], due[0].rule.lease, self.wait_s)
            except (LeaseHeld, NotRemoved) as error:
                log.warning("retention left a table", extra={"table": name, "reason": error.what})
                self.left.append(f"{name}: {error.what}")
        self.step("record")
        settle(self.settings)

    def _planned(self, removal_id: str, item: Due) -> Retired:
        rule = item.rule
        table = opened(self.settings, rule.table)
        return Retired(
            removal_id=removal_id,
            table=rule.table,
            dataset=rule.dataset,
            state="planned",
            basis=rule.basis,
            cutoff_at=rule.cutoff_at,
            contract_version=rule.contract_version,
            version=None if table is None else table.version(),
            rows=item.rows,
            bytes=item.bytes,
            inserted=0,
            floors=None,
            run_id=self.run_id,
            removed_by=self.by,
            recorded_at=datetime.now(UTC),
        )

    def _remove_files(self, found: Sequence[Due]) -> None:
        done = []
        for item in found:
            if not item.rows:
                continue
            self.step(item.rule.table)
            for path in _old_files(self.settings, self.registry, item.rule, self.now):
                path.unlink(missing_ok=True)
            planned = self._planned(uuid.uuid4().hex, item)
            done.append(replace(planned, state="done"))
        record(self.settings, done)


def _is_rows(item: Due) -> bool:
    return "." in item.rule.table


def by_holder(settings: Settings, registry: Registry, removal: Removal, table_lease: str, wait_s: float) -> None:
    """Delete or empty rows where nobody holds the table, else ask its holder and wait.

    The shared tables take appends from loads of sector tables, which would fail behind a delete: no load runs
    meanwhile, for this holds the leases of all sector tables.

    Raises:
        LeaseHeld: the holder neither answered nor ended in time. NotRemoved: it could not delete.
    """
    deadline = time.monotonic() + wait_s
    withdraw(settings, removal.table)
    with ExitStack() as stack:
        if removal.table.startswith("quality."):
            loads = [f"silver.{dataset.id}" for dataset in registry.sector_tables()]
            stack.enter_context(leases(settings, loads, wait_s=wait_s))
        while True:
            try:
                with lease(settings, table_lease):
                    withdraw(settings, removal.table)
                    remove(settings, removal)
                    return
            except LeaseHeld:
                if is_answered(settings, removal):
                    withdraw(settings, removal.table)
                    return
                if time.monotonic() > deadline:
                    withdraw(settings, removal.table)
                    raise
                ask(settings, removal)
                time.sleep(_POLL_S)


# ── what was done, read from the logs ────────────────────────────────────────────────────────────────────────────


def settle(settings: Settings) -> None:
    """Record the removals whose commits are in the logs, and drop the plans that nobody will carry out."""
    found = []
    for item in open_plans(records(settings)):
        now = datetime.now(UTC)
        table = opened(settings, item.table)
        version = None
        if table is not None and item.version is not None:
            version = committed(table, item.removal_id, item.version)
        if version is not None:
            found.append(replace(_done(settings, version, item), state="done", version=version, recorded_at=now))
        elif now - item.recorded_at > _PLAN_AGE:
            found.append(replace(item, state="dropped", rows=0, bytes=0, recorded_at=now))
    record(settings, found)


def _done(settings: Settings, version: int, item: Retired) -> Retired:
    """What one removal took out of one dataset: the version of its commit against the one before."""
    before, after = _files_of(settings, item.table, version - 1), _files_of(settings, item.table, version)
    mine = item.dataset if item.table.startswith("quality.") else None
    rows = _sum(before, "num_records", mine) - _sum(after, "num_records", mine)
    size = _sum(before, "size_bytes", mine) - _sum(after, "size_bytes", mine)
    item = replace(item, rows=rows, bytes=size)
    gone = [row["uri"] for row in before.values() if row["path"] not in after and _is_of(row, mine)]
    new = [row["uri"] for row in after.values() if row["path"] not in before and _is_of(row, mine)]
    if item.table.startswith("bronze."):
        places = pads.dataset(gone, format="parquet").to_table(["raw_partition", "raw_offset"])
        return replace(item, floors=json.dumps({str(k): v for k, v in sorted(floors_of(places).items())}))
    if item.table == f"quality.{OUTCOME}":
        inserted, deleted = (_places(gone, effect) - _places(new, effect) for effect in ("inserted", "deleted"))
        return replace(item, inserted=inserted - deleted)
    return item


def _files_of(settings: Settings, name: str, version: int) -> Mapping[str, Mapping[str, Any]]:
    """The files of a version by path: rows, bytes, where they lie, and their dataset in a shared table."""
    folder = settings.table_path(*name.split(".", 1))
    actions = pa.table(DeltaTable(str(folder), version=version).get_add_actions(flatten=True)).to_pylist()
    return {row["path"]: {**row, "uri": str(on_disk(folder, row["path"]))} for row in actions}


def _is_of(row: Mapping[str, Any], dataset: str | None) -> bool:
    return dataset is None or row.get("partition.dataset") == dataset


def _sum(files: Mapping[str, Mapping[str, Any]], column: str, dataset: str | None) -> int:
    return sum(int(row[column]) for row in files.values() if _is_of(row, dataset))


def _places(files: Sequence[str], effect: str) -> int:
    """Distinct raw places with an effect."""
    if not files:
        return 0
    found = pads.dataset(list(files), format="parquet").to_table(
        ["raw_partition", "raw_offset"], filter=pads.field("effect") == effect
    )
    return found.group_by(["raw_partition", "raw_offset"]).aggregate([]).num_rows


# ── what follows from other tables ───────────────────────────────────────────────────────────────────────────────


def _held_back(settings: Settings, registry: Registry, item: Due) -> Due:
    """Say of bronze rows that silver has not read yet that they stay."""
    if not item.rows or not item.rule.table.startswith("bronze."):
        return item
    dataset = registry.dataset(item.rule.dataset)
    if dataset.sector is None or not _is_behind(settings, dataset):
        return item
    note = "silver chưa đọc hết bronze: chạy lại lượt thu nạp — silver lacks rows of bronze, load the table again first"
    return replace(item, note=note)


def _is_behind(settings: Settings, dataset: Dataset) -> bool:
    bronze, silver = opened(settings, f"bronze.{dataset.id}"), opened(settings, f"silver.{dataset.id}")
    app = f"ingest/{dataset.id}"
    end = bronze.transaction_version(app) if bronze is not None else None
    done = silver.transaction_version(app) if silver is not None else None
    return (done or 0) < (end or 0)


def _outcomes(settings: Settings, registry: Registry, coming: Mapping[str, Mapping[int, int]]) -> tuple[Due, ...]:
    """Outcomes below the floors of bronze: those on record, and those that are ``coming`` by the same run."""
    table = opened(settings, f"quality.{OUTCOME}")
    if table is None:
        return ()
    gone, found = records(settings), []
    for dataset in registry.datasets:
        bronze = opened(settings, f"bronze.{dataset.id}") if not (dataset.mart or dataset.derived) else None
        if bronze is None:
            continue
        ends = dict(closed(gone, dataset.id, {f"bronze.{dataset.id}": bronze.version()}).floors)
        for part, first in coming.get(dataset.id, {}).items():
            ends[part] = max(first, ends.get(part, 0))
        rule = outcome_rule(dataset, ends)
        if rule is not None:
            found.append(look(rule, table))
    return tuple(found)


# ── files beside the tables ──────────────────────────────────────────────────────────────────────────────────────


def _files(settings: Settings, registry: Registry, now: datetime) -> tuple[Due, ...]:
    """Payloads that were refused, and what loads left, past their retention."""
    found = []
    for rule in _file_rules(registry, now):
        old = _old_files(settings, registry, rule, now)
        if old:
            found.append(Due(rule, len(old), len(old), sum(path.stat().st_size for path in old)))
    return tuple(found)


def _file_rules(registry: Registry, now: datetime) -> Iterable[Rule]:
    for dataset in registry.datasets:
        kept = dataset.retention.bronze
        if dataset.stream:
            # Records of unknown devices wait so long for their device; their journal names the same files.
            kept = max(kept, KEPT_FOR)
        if dataset.stream or dataset.sector:
            table = OBJECTS if dataset.stream else LOADS
            yield Rule(table, dataset.id, "written_at", kept, kept_from(kept, now), (), dataset.version, "")


def _old_files(settings: Settings, registry: Registry, rule: Rule, now: datetime) -> list[Path]:
    folder = settings.lake_root / settings.namespace / rule.table / rule.dataset
    limit = kept_from(rule.kept, now).timestamp()
    old = [path for path in sorted(folder.glob("*")) if path.is_file() and path.stat().st_mtime < limit]
    if not old:
        return []
    if rule.table == LOADS:
        # Why rows were refused is needed until silver has read them.
        return [] if _is_behind(settings, registry.dataset(rule.dataset)) else old
    # Bytes that were refused again later have one file, of the first time: it goes with the last letter that names it.
    named = _named(settings, open_store(settings), rule.dataset)
    return [path for path in old if f"{rule.dataset}/{path.name}" not in named]


def _named(settings: Settings, store: ObjectStore, dataset: str) -> set[str]:
    """The objects that dead letters of a dataset name."""
    table = opened(settings, f"quality.{DEAD_LETTER}")
    if table is None:
        return set()
    wanted = (pads.field("dataset") == dataset) & pads.field("reason").isin(list(REFUSALS))
    found = set()
    for text in arrow_dataset(table).to_table(["payload"], filter=wanted)["payload"].to_pylist():
        if text is None:
            continue
        data = text.encode("ascii")
        # Letters of protected datasets are encrypted, others are base64.
        body = store.decrypt(data) if data.startswith(b"gAAAA") else base64.b64decode(data)
        if MARKER_KEY.encode() in body[:64]:
            found.add(str(json.loads(body)[MARKER_KEY]["ref"]))
    return found
