"""The run manifest: the Delta version of every dataset, resolved once, that a run judges, builds from and publishes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from deltalake import DeltaTable
from filelock import FileLock

from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry
from pipelines.runtime.errors import LakeError
from pipelines.runtime.files import replace_file
from pipelines.runtime.settings import Settings
from pipelines.warehouse.code_lists import table_name

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+-]{0,199}")
_LOCAL = ZoneInfo("Asia/Ho_Chi_Minh")


@dataclass(frozen=True)
class RunManifest:
    """What one run reads and wrote. Names are ``<layer>.<dataset>``; ``created_at`` is ISO 8601 in UTC.

    ``versions`` is the newest version of every table when the run began: what the silver verdict judges. Where that
    verdict failed, ``substitutes`` holds the last good version, which dbt reads instead; a dataset of ``withheld`` has
    none and is read by nobody. ``stale`` lists the marts that rest on a substituted, withheld or missing dataset;
    ``gold`` is what dbt wrote.
    """

    run_id: str
    namespace: str
    created_at: str
    versions: Mapping[str, int]
    gold: Mapping[str, int] = field(default_factory=dict)
    stale: tuple[str, ...] = ()
    substitutes: Mapping[str, int] = field(default_factory=dict)
    withheld: tuple[str, ...] = ()

    @property
    def inputs(self) -> Mapping[str, int]:
        """The version of every table that dbt reads."""
        kept = {name: version for name, version in self.versions.items() if name not in self.withheld}
        return {**kept, **self.substitutes}

    @property
    def local_date(self) -> date:
        """The day in Asia/Ho_Chi_Minh on which the run began: what "in force" means in its dimensions."""
        return datetime.fromisoformat(self.created_at).astimezone(_LOCAL).date()

    def to_json(self) -> str:
        """The manifest as it is stored; keys sorted, so that equal manifests are equal files."""
        return json.dumps(asdict(self), indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> RunManifest:
        """Read what :meth:`to_json` wrote.

        Raises:
            KeyError, ValueError, TypeError: another text.
        """
        data = json.loads(text)
        return cls(**{**data, "stale": tuple(data["stale"]), "withheld": tuple(data["withheld"])})


def run_folder(settings: Settings, run_id: str) -> Path:
    """The folder of everything that one run leaves behind.

    Raises:
        LakeError: a run id that is no safe folder name.
    """
    if not _RUN_ID.fullmatch(run_id):
        raise LakeError(
            f"{run_id!r} is not a run id.", "Allowed: letters, digits and _ . : + - (at most 200, the first no sign)."
        )
    return settings.lake_root / settings.namespace / "_runs" / run_id


def manifest_path(settings: Settings, run_id: str) -> Path:
    """The file of one run's manifest."""
    return run_folder(settings, run_id) / "manifest.json"


def load(settings: Settings, run_id: str) -> RunManifest:
    """Read the manifest of a run.

    Raises:
        LakeError: there is none yet, or the file is not one.
    """
    path = manifest_path(settings, run_id)
    try:
        return RunManifest.from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        remedy = f"Run `lake run manifest --run-id {run_id}` first."
        raise LakeError(f"The run {run_id} has no manifest ({path} does not exist).", remedy) from None
    except (KeyError, ValueError, TypeError) as error:
        raise LakeError(f"{path} is not a run manifest: {error}.", "Delete it and resolve the run again.") from error


def resolve(settings: Settings, registry: Registry, run_id: str) -> RunManifest:
    """Fix the version of every silver table that exists, once per run: a second call returns the first answer.

    Raises:
        LakeError: a run id that is no safe folder name, or a manifest that cannot be read.
    """
    with _lock(settings, run_id):
        if manifest_path(settings, run_id).exists():
            return load(settings, run_id)
        names = [d.id for d in registry.datasets if not d.mart] + [table_name(c) for c in registry.code_lists]
        versions = {f"silver.{name}": version for name, version in current_versions(settings, "silver", names).items()}
        manifest = RunManifest(
            run_id=run_id,
            namespace=settings.namespace,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            versions=versions,
        )
        manifest = replace(manifest, stale=affected_marts(registry, missing_inputs(manifest, registry)))
        _write(settings, manifest)
        return manifest


def current_versions(settings: Settings, layer: str, names: Iterable[str]) -> Mapping[str, int]:
    """The newest Delta version of each of the tables that exist, by name."""
    paths = {name: str(settings.table_path(layer, name)) for name in sorted(names)}
    return {name: DeltaTable(path).version() for name, path in paths.items() if DeltaTable.is_deltatable(path)}


def with_last_good(
    settings: Settings,
    registry: Registry,
    run_id: str,
    failed: Collection[str],
    last_good: Callable[[str], int | None],
) -> RunManifest:
    """Record which silver datasets failed their verdict, and what dbt reads of them instead.

    ``failed`` are dataset ids; ``last_good`` returns the newest version of a dataset that passed or was waived, None
    when there is none. Calling it again with the same verdicts changes nothing.

    Raises:
        LakeError: the run has no manifest.
    """

    def change(manifest: RunManifest) -> RunManifest:
        found = {name: last_good(name) for name in sorted(failed)}
        changed = replace(
            manifest,
            substitutes={f"silver.{name}": version for name, version in found.items() if version is not None},
            withheld=tuple(f"silver.{name}" for name, version in found.items() if version is None),
        )
        lacking = {*failed, *missing_inputs(changed, registry)}
        return replace(changed, stale=affected_marts(registry, lacking))

    return _update(settings, run_id, change)


def with_gold(settings: Settings, run_id: str, gold: Mapping[str, int]) -> RunManifest:
    """Add the versions that dbt wrote, mart id → version.

    Raises:
        LakeError: the run has no manifest.
    """
    names = {f"gold.{name}": version for name, version in gold.items()}
    return _update(settings, run_id, lambda manifest: replace(manifest, gold={**manifest.gold, **names}))


def affected_marts(registry: Registry, datasets: Collection[str], *, needed: bool = False) -> tuple[str, ...]:
    """The marts that rest, directly or through other marts, on one of these datasets; sorted.

    With ``needed`` only those that cannot be built without it.
    """
    affected = set(datasets)
    marts = registry.marts()
    while True:
        more = {mart.id for mart in marts if mart.id not in affected and affected & set(_inputs(mart, needed))}
        if not more:
            return tuple(sorted(affected & {mart.id for mart in marts}))
        affected |= more


def missing_inputs(manifest: RunManifest, registry: Registry) -> tuple[str, ...]:
    """The silver tables that some mart reads and this run has no version of; sorted."""
    marts = registry.marts()
    wanted = {name for mart in marts for name in _inputs(mart)} - {mart.id for mart in marts}
    return tuple(sorted(name for name in wanted if f"silver.{name}" not in manifest.inputs))


def _inputs(dataset: Dataset, needed: bool = False) -> tuple[str, ...]:
    if dataset.mart is None:
        return ()
    return dataset.mart.needed if needed else dataset.mart.inputs


def _update(settings: Settings, run_id: str, change: Callable[[RunManifest], RunManifest]) -> RunManifest:
    with _lock(settings, run_id):
        before = load(settings, run_id)
        after = change(before)
        if after != before:
            _write(settings, after)
        return after


def _lock(settings: Settings, run_id: str) -> FileLock:
    """Two steps of one run may finish together; the second must not undo the first."""
    folder = run_folder(settings, run_id)
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / "manifest.lock", timeout=60)


def _write(settings: Settings, manifest: RunManifest) -> None:
    replace_file(manifest_path(settings, manifest.run_id), manifest.to_json())
