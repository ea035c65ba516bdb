"""Maintenance that never kills a pin: compaction, checkpoints, clean-up of logs, vacuum; then every pin is read.

What dies otherwise: `cleanup_metadata` removes the log below the newest checkpoint whatever is pinned, and a vacuum by
age removes the files of a pinned version that later versions replaced. So the versions that must stay are taken from
``catalog.publication``, the views themselves, the verdicts and the recent runs, first; a checkpoint is written at each
of them; and the log is cut below the oldest of these checkpoints only.

Which files are free is asked of delta-rs (`vacuum` as a dry run, with ``keep_versions``), and they are deleted here: no
commit of a vacuum then makes another version of a table that nobody changed, and gold, which Spark alone may commit
to, is cleaned by the same rule. Spark's own VACUUM would not do: since Delta 4.4 it ignores RETAIN and goes by
``delta.deletedFileRetentionDuration``; it killed a pin of 30 days in the test.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote

from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties
from deltalake.exceptions import CommitFailedError

from pipelines.contracts.names import double_quote, literal
from pipelines.contracts.registry import Registry
from pipelines.contracts.targets import trino as target
from pipelines.landing import retired
from pipelines.landing.lease import LeaseHeld, is_held, lease
from pipelines.landing.sink import FILE_BYTES
from pipelines.publishing import ledger, statistics
from pipelines.publishing.compaction import optimize_by_spark, planned_merge
from pipelines.publishing.erasure.register import clean_from
from pipelines.publishing.publication import ensure_checkpoint, pinned
from pipelines.publishing.registration import Platform, ensure_serving
from pipelines.quality import store
from pipelines.quality.model import GOOD
from pipelines.runtime.errors import LakeError, ServiceError
from pipelines.runtime.settings import Settings
from pipelines.warehouse import manifest as runs
from pipelines.warehouse.dbt import GOLD_LEASE

log = logging.getLogger(__name__)
GOLD = "gold"
"""The layer that Spark alone commits to; all others are written by delta-rs."""
LAYERS = ("bronze", "silver", "quality", "catalog", GOLD)
LOG_AGE = timedelta(days=1)
"""A log entry younger than this stays: a reader that has just listed it must find it."""
FILE_AGE = timedelta(days=7)
"""A data file younger than this stays: a writer may be about to commit it, a long query may still read it."""
RUN_AGE = timedelta(days=1)
"""A run that began so recently may still be judging and building: its versions stay."""
SMALL_FILES = 8
"""A table is compacted when that leaves it more files fewer than this."""
TARGET_BYTES = 128 * 1024 * 1024
"""Size of compacted files; silver without partitions, whose rows are replaced one by one, keeps the small ones that a
load writes (:data:`pipelines.landing.sink.FILE_BYTES`)."""
_LOG_ENTRY = re.compile(r"(\d{20})\.(?:json|checkpoint(?:\.\d+\.\d+)?\.parquet|crc|checkpoint\.[0-9a-f-]+\.\w+)\Z")
_HELD = (
    "landing đang ghi và tự nén — landing writes and compacts it",
    "dbt đang dựng, lần sau nén — dbt is building it",
)
"""Why a table is left: of delta-rs, of Spark."""
_NO_CLEANING = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)


class DeadPin(LakeError):
    """A published version cannot be read any more; nothing hides it."""


@dataclass(frozen=True)
class TableReport:
    """What maintenance did, or in a dry run would do, to one table; ``note`` says what was left and why.

    ``compacted_files`` of ``rewritten_bytes`` in ``compacted_partitions`` are merged into larger ones; ``mended_files``
    lacked statistics; ``checkpoints`` were missing at kept versions.
    """

    table: str
    kept_versions: tuple[int, ...]
    compacted_files: int = 0
    compacted_partitions: int = 0
    rewritten_bytes: int = 0
    mended_files: int = 0
    checkpoints: int = 0
    removed_log_entries: int = 0
    removed_files: int = 0
    freed_bytes: int = 0
    note: str = ""


@dataclass(frozen=True)
class MaintenanceReport:
    """The reports per table, and the pins that were read afterwards as ``published.<dataset>@<version>``."""

    tables: tuple[TableReport, ...]
    checked_pins: tuple[str, ...]
    duration_s: float
    is_dry_run: bool


def maintain(
    settings: Settings,
    registry: Registry,
    *,
    dry_run: bool = False,
    now: datetime | None = None,
) -> MaintenanceReport:
    """Compact, checkpoint, clean and vacuum every table of the namespace, then read every pin through Trino.

    Pins cannot move meanwhile (the same lock). A table that landing is writing is not compacted: landing does it. Gold
    is compacted by Spark, and not while dbt builds. A dry run tells from the logs what would be done, and does nothing.

    Raises:
        DeadPin: a pinned version cannot be read afterwards; all of them are named.
        ServiceError: Trino does not run; nothing was touched.
    """
    started, at = time.perf_counter(), now or datetime.now(UTC)
    with ledger.lock(settings):
        ensure_serving(settings, registry)
        platform = Platform(settings)
        needed = needed_versions(settings, platform, registry, at)
        reports = [
            _maintain_table(settings, registry, layer, path, needed.get((layer, path.name), frozenset()), at, dry_run)
            for layer, path in _tables(settings)
        ]
        gone = _emptied(settings, at)
        reports = [_still_holding(report, gone.get(report.table, 0)) for report in reports]
        checked = check_pins(settings, platform, needed)
    return MaintenanceReport(tuple(reports), checked, time.perf_counter() - started, dry_run)


def needed_versions(
    settings: Settings, platform: Platform, registry: Registry, now: datetime
) -> Mapping[tuple[str, str], frozenset[int]]:
    """The versions that must stay readable, by layer and table.

    Pins (recorded and real), what a rollback may return to, the last good version (dbt reads it when the newest one
    fails), and everything that a recent run reads or wrote. A week after retention deleted rows, nobody can go back to
    a version that held them; once an erasure is carried out, nobody can at once.
    """
    needed: dict[tuple[str, str], set[int]] = {}

    def need(layer: str, table: str, version: int) -> None:
        needed.setdefault((layer, table), set()).add(version)

    gone = _emptied(settings, now)
    for (layer, table), versions in ledger.needed_versions(ledger.publications(settings), now, retired=gone).items():
        for version in versions:
            need(layer, table, version)
    layers = {dataset.id: dataset.layer for dataset in registry.datasets}
    for table, version in pinned(platform).items():
        need(layers.get(table, "silver"), table, version)
    good: dict[tuple[str, str], dict[int, str]] = {}
    for verdict in store.verdicts(settings):
        if verdict.version is not None:
            good.setdefault((verdict.layer, verdict.dataset), {})[verdict.version] = verdict.verdict
    for (layer, table), judged in good.items():
        passed = [version for version, verdict in judged.items() if verdict in GOOD]
        if passed:
            need(layer, table, max(passed))
    for folder in sorted((settings.lake_root / settings.namespace / "_runs").glob("*/manifest.json")):
        manifest = runs.load(settings, folder.parent.name)
        if now - datetime.fromisoformat(manifest.created_at) <= RUN_AGE:
            for name, version in [*manifest.versions.items(), *manifest.inputs.items(), *manifest.gold.items()]:
                layer, _, table = name.partition(".")
                need(layer, table, version)
    clean = clean_from(settings)
    return {
        (layer, table): frozenset(version for version in versions if version >= clean.get(f"{layer}.{table}", 0))
        for (layer, table), versions in needed.items()
    }


def _emptied(settings: Settings, now: datetime) -> Mapping[str, int]:
    """Table → the version below which it holds rows that retention deleted a week ago or more."""
    return retired.emptied(retired.records(settings), now - timedelta(days=ledger.ROLLBACK_DAYS))


def check_pins(
    settings: Settings, platform: Platform, needed: Mapping[tuple[str, str], frozenset[int]]
) -> tuple[str, ...]:
    """Read every published view, and every version that must stay, through Trino; returns what was read.

    Files are read, not only counted: a checksum of the first column opens every file of a version.

    Raises:
        DeadPin: one or more cannot be read; all are named, with Trino's reason.
    """
    catalog = double_quote(platform.catalog)
    registered = {
        (str(schema), str(table))
        for schema, table in platform.query(f"SELECT table_schema, table_name FROM {catalog}.information_schema.tables")
    }
    statements: dict[str, str] = {}
    for table, version in sorted(pinned(platform).items()):
        name = f"{catalog}.{double_quote(target.PUBLISHED)}.{double_quote(table)}"
        statements[f"published.{table}@{version}"] = _read_statement(platform, target.PUBLISHED, table, name)
    for (layer, table), versions in sorted(needed.items()):
        for version in sorted(versions) if (layer, table) in registered else ():
            name = f"{catalog}.{double_quote(layer)}.{double_quote(table)} FOR VERSION AS OF {version}"
            statements[f"{layer}.{table}@{version}"] = _read_statement(platform, layer, table, name)
    dead = []
    for said, statement in statements.items():
        try:
            platform.query(statement)
        except LakeError as error:
            dead.append(f"{said}: {error.what}")
    if dead:
        raise DeadPin(
            f"{len(dead)} bản công bố không đọc được nữa:\n  " + "\n  ".join(dead) + "\n",
            "Stop maintenance, restore the named files from the backup, or publish a version that can be read.",
        )
    return tuple(statements)


def _read_statement(platform: Platform, schema: str, table: str, name: str) -> str:
    rows = platform.query(
        f"SELECT column_name FROM {double_quote(platform.catalog)}.information_schema.columns "
        f"WHERE table_schema = {literal(schema)} AND table_name = {literal(table)} ORDER BY ordinal_position LIMIT 1"
    )
    column = double_quote(str(rows[0][0])) if rows else "1"
    return f"SELECT count(*), checksum({column}) FROM {name}"


def _tables(settings: Settings) -> list[tuple[str, Path]]:
    return [
        (layer, folder)
        for layer in LAYERS
        for folder in sorted(settings.table_path(layer, "_").parent.glob("[a-z]*"))
        if (folder / "_delta_log").is_dir() and DeltaTable.is_deltatable(str(folder))
    ]


def _maintain_table(
    settings: Settings, registry: Registry, layer: str, path: Path, needed: frozenset[int], now: datetime, dry_run: bool
) -> TableReport:
    report = TableReport(f"{layer}.{path.name}", tuple(sorted(needed)))
    report = _compact(settings, layer, path, report, dry_run)
    report = _mend(settings, registry, layer, path, report, dry_run)
    newest = DeltaTable(str(path)).version()
    # What compacting and mending would commit is a version that a dry run does not see.
    comes = dry_run and bool(report.compacted_files or report.mended_files)
    keep, written = _checkpoints(settings, layer, path, needed, newest + comes, dry_run)
    entries = cut_log(path, keep, now, dry_run)
    files, size = _vacuum(path, tuple(min(version, newest) for version in keep), dry_run)
    return replace(report, checkpoints=written, removed_log_entries=entries, removed_files=files, freed_bytes=size)


def _still_holding(report: TableReport, floor: int) -> TableReport:
    """Say it when a version that people or dbt still read holds rows whose retention was over a week ago."""
    old = [str(version) for version in report.kept_versions if version < floor]
    if not old:
        return report
    said = f"bản {', '.join(old)} còn dòng quá hạn lưu: công bố bản mới — still holds rows past their retention"
    return replace(report, note="; ".join(filter(None, (report.note, said))))


def _compact(settings: Settings, layer: str, path: Path, report: TableReport, dry_run: bool) -> TableReport:
    """Merge small files where it leaves a table many fewer, unless somebody else holds the table."""
    table = DeltaTable(str(path))
    is_small = layer == "silver" and not table.metadata().partition_columns
    target_bytes = FILE_BYTES if is_small else TARGET_BYTES
    planned = planned_merge(table, target_bytes)
    if planned.excess <= SMALL_FILES:
        return report
    would = replace(
        report,
        compacted_files=planned.files,
        compacted_partitions=planned.partitions,
        rewritten_bytes=planned.bytes,
    )
    held = GOLD_LEASE if layer == GOLD else report.table
    if dry_run:
        return replace(would, note=_HELD[layer == GOLD]) if is_held(settings, held) else would
    try:
        with lease(settings, held):
            if layer == GOLD:
                return replace(would, compacted_files=optimize_by_spark(settings, path))
            metrics = DeltaTable(str(path)).optimize.compact(
                target_size=target_bytes,
                commit_properties=CommitProperties(custom_metadata={"lake.maintenance": "compact"}),
                post_commithook_properties=_NO_CLEANING,
            )
    except LeaseHeld:
        return replace(report, note=_HELD[layer == GOLD])
    except ServiceError as error:
        return replace(report, note=f"Spark: {error.what}")
    except CommitFailedError as error:
        log.warning("compaction lost to another commit", extra={"table": report.table, "reason": str(error)})
        return replace(report, note="một lần ghi khác thắng; lần sau nén tiếp — another commit won")
    return replace(would, compacted_files=int(metrics["numFilesRemoved"]))


def _mend(
    settings: Settings, registry: Registry, layer: str, path: Path, report: TableReport, dry_run: bool
) -> TableReport:
    """Give files the statistics that they lack; of gold Spark writes them."""
    if layer == GOLD:
        return report
    table = DeltaTable(str(path))
    wanted = statistics.columns(registry, layer, path.name, table)
    lacking = len(statistics.lacking(table, wanted))
    if not lacking or dry_run:
        return replace(report, mended_files=lacking)
    try:
        with lease(settings, report.table):
            return replace(report, mended_files=statistics.repair(path, wanted))
    except (LeaseHeld, CommitFailedError) as error:
        log.warning("statistics left as they are", extra={"table": report.table, "reason": str(error)})
        return replace(report, note=f"{lacking} tệp thiếu thống kê, bảng đang bận — files lack statistics, table busy")


def _checkpoints(
    settings: Settings, layer: str, path: Path, needed: frozenset[int], newest: int, dry_run: bool
) -> tuple[tuple[int, ...], int]:
    """A checkpoint at every needed version and at the newest; returns these versions, oldest first, and how many
    checkpoints were missing."""
    keep = sorted({*needed, newest})
    folder = path / "_delta_log"
    missing = [version for version in keep if not (folder / f"{version:020d}.checkpoint.parquet").exists()]
    for version in missing if not dry_run else ():
        ensure_checkpoint(settings, layer, path.name, version)
    return tuple(keep), len(missing)


def cut_log(path: Path, keep: tuple[int, ...], now: datetime, dry_run: bool, age: timedelta = LOG_AGE) -> int:
    """Delete log entries of that age below the oldest kept checkpoint, and nothing else; returns how many.

    Entries above it stay, checkpoints or not: between two pins every version remains readable from the log.
    """
    folder, oldest = path / "_delta_log", keep[0]
    if not dry_run and not (folder / f"{oldest:020d}.checkpoint.parquet").exists():
        # Without its checkpoint the oldest version rests on every entry below it; a dry run counts on its being made.
        return 0
    limit = (now - age).timestamp()
    removed = 0
    for entry in sorted(folder.iterdir()):
        match = _LOG_ENTRY.match(entry.name)
        if match and int(match[1]) < oldest and entry.stat().st_mtime < limit:
            removed += 1
            if not dry_run:
                entry.unlink()
    return removed


def _vacuum(path: Path, keep: tuple[int, ...], dry_run: bool) -> tuple[int, int]:
    """Delete files that no kept version holds and that are older than :data:`FILE_AGE`; returns count and bytes."""
    table = DeltaTable(str(path))
    hours = int(FILE_AGE.total_seconds() // 3600)
    free = table.vacuum(retention_hours=hours, dry_run=True, full=True, keep_versions=list(keep))
    return _remove(path, free, keep, dry_run)


def purge(settings: Settings, layer: str, path: Path, keep: tuple[int, ...]) -> tuple[int, int]:
    """Make every version of a table unreadable but these, at once, whatever its age; returns how many log entries and
    data files went.

    Only files that the log knows as removed go: those that a writer is about to commit are nobody's yet. A query that
    reads an older version at this moment fails.
    """
    for version in keep:
        ensure_checkpoint(settings, layer, path.name, version)
    table = DeltaTable(str(path))
    free = table.vacuum(
        retention_hours=0, dry_run=True, enforce_retention_duration=False, full=False, keep_versions=list(keep)
    )
    files, _ = _remove(path, free, keep, dry_run=False)
    return cut_log(path, keep, datetime.now(UTC), dry_run=False, age=timedelta(0)), files


def _remove(path: Path, free: Sequence[str], keep: tuple[int, ...], dry_run: bool) -> tuple[int, int]:
    held = {
        Path(unquote(uri.removeprefix("file://"))) for v in keep for uri in DeltaTable(str(path), version=v).file_uris()
    }
    removed = size = 0
    for name in free:
        file = path / name if (path / name).exists() else path / unquote(name)
        if not file.exists() or file in held:
            continue
        removed, size = removed + 1, size + file.stat().st_size
        if not dry_run:
            file.unlink()
    return removed, size
