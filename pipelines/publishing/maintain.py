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
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote

from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties
from deltalake.exceptions import CommitFailedError

from pipelines.contracts.names import double_quote, literal
from pipelines.contracts.registry import Registry
from pipelines.contracts.targets import trino as target
from pipelines.landing.lease import LeaseHeld, lease
from pipelines.publishing import ledger
from pipelines.publishing.publication import ensure_checkpoint, pinned
from pipelines.publishing.registration import Platform, ensure_serving
from pipelines.quality import store
from pipelines.quality.model import GOOD
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings
from pipelines.warehouse import manifest as runs

log = logging.getLogger(__name__)
LAYERS = ("bronze", "silver", "quality", "catalog", "gold")
COMPACTED_LAYERS = ("bronze", "silver", "quality", "catalog")
"""Those that delta-rs writes; only Spark commits to gold."""
LOG_AGE = timedelta(days=1)
"""A log entry younger than this stays: a reader that has just listed it must find it."""
FILE_AGE = timedelta(days=7)
"""A data file younger than this stays: a writer may be about to commit it, a long query may still read it."""
RUN_AGE = timedelta(days=1)
"""A run that began so recently may still be judging and building: its versions stay."""
SMALL_FILES = 8
"""A table is compacted when it has more files than this beyond its partitions."""
TARGET_BYTES = 128 * 1024 * 1024
_LOG_ENTRY = re.compile(r"(\d{20})\.(?:json|checkpoint(?:\.\d+\.\d+)?\.parquet|crc|checkpoint\.[0-9a-f-]+\.\w+)\Z")
_NO_CLEANING = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)


class DeadPin(LakeError):
    """A published version cannot be read any more; nothing hides it."""


@dataclass(frozen=True)
class TableReport:
    """What maintenance did, or in a dry run would do, to one table; ``note`` says what was left and why."""

    table: str
    kept_versions: tuple[int, ...]
    compacted_files: int = 0
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

    Pins cannot move meanwhile (the same lock). A table that landing is writing is not compacted: landing does it; nor
    is gold, which Spark rebuilds whole.

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
            _maintain_table(settings, layer, path, needed.get((layer, path.name), frozenset()), at, dry_run)
            for layer, path in _tables(settings)
        ]
        checked = check_pins(settings, platform, needed)
    return MaintenanceReport(tuple(reports), checked, time.perf_counter() - started, dry_run)


def needed_versions(
    settings: Settings, platform: Platform, registry: Registry, now: datetime
) -> Mapping[tuple[str, str], frozenset[int]]:
    """The versions that must stay readable, by layer and table.

    Pins (recorded and real), what a rollback may return to, the last good version (dbt reads it when the newest one
    fails), and everything that a recent run reads or wrote.
    """
    needed: dict[tuple[str, str], set[int]] = {}

    def need(layer: str, table: str, version: int) -> None:
        needed.setdefault((layer, table), set()).add(version)

    for (layer, table), versions in ledger.needed_versions(ledger.publications(settings), now).items():
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
    return {key: frozenset(versions) for key, versions in needed.items()}


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
    settings: Settings, layer: str, path: Path, needed: frozenset[int], now: datetime, dry_run: bool
) -> TableReport:
    name = f"{layer}.{path.name}"
    may_compact = layer in COMPACTED_LAYERS and not dry_run
    compacted, note = _compact(settings, name, path) if may_compact else (0, "")
    keep = _checkpoints(settings, layer, path, needed, dry_run)
    entries = cut_log(path, keep, now, dry_run)
    files, size = _vacuum(path, keep, dry_run)
    return TableReport(name, tuple(sorted(needed)), compacted, entries, files, size, note)


def _compact(settings: Settings, name: str, path: Path) -> tuple[int, str]:
    """Compact a table of many small files unless landing holds its lease; returns files removed and a note."""
    table = DeltaTable(str(path))
    partitions = len(table.partitions()) if table.metadata().partition_columns else 1
    if len(table.file_uris()) <= partitions + SMALL_FILES:
        return 0, ""
    try:
        with lease(settings, name):
            metrics = table.optimize.compact(
                target_size=TARGET_BYTES,
                commit_properties=CommitProperties(custom_metadata={"lake.maintenance": "compact"}),
                post_commithook_properties=_NO_CLEANING,
            )
    except LeaseHeld:
        return 0, "landing đang ghi và tự nén — landing writes and compacts it"
    except CommitFailedError as error:
        log.warning("compaction lost to another commit", extra={"table": name, "reason": str(error)})
        return 0, "một lần ghi khác thắng; lần sau nén tiếp — another commit won"
    return int(metrics["numFilesRemoved"]), ""


def _checkpoints(settings: Settings, layer: str, path: Path, needed: frozenset[int], dry_run: bool) -> tuple[int, ...]:
    """A checkpoint at every needed version and at the newest; returns these versions, oldest first."""
    keep = sorted({*needed, DeltaTable(str(path)).version()})
    if not dry_run:
        for version in keep:
            ensure_checkpoint(settings, layer, path.name, version)
    return tuple(keep)


def cut_log(path: Path, keep: tuple[int, ...], now: datetime, dry_run: bool) -> int:
    """Delete old log entries below the oldest kept checkpoint, and nothing else; returns how many.

    Entries above it stay, checkpoints or not: between two pins every version remains readable from the log.
    """
    folder, oldest = path / "_delta_log", keep[0]
    if not (folder / f"{oldest:020d}.checkpoint.parquet").exists():
        # Without its checkpoint the oldest version rests on every entry below it.
        return 0
    limit = (now - LOG_AGE).timestamp()
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
