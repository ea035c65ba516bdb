"""The run manifest: the Delta version of every dataset, resolved once, that a run judges, builds from and publishes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from deltalake import DeltaTable
from filelock import FileLock

from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry
from pipelines.ingestion.records import last_loads
from pipelines.runtime.errors import LakeError
from pipelines.runtime.files import replace_file
from pipelines.runtime.settings import Settings
from pipelines.warehouse.code_lists import table_name

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+-]{0,199}")
_LOCAL = ZoneInfo("Asia/Ho_Chi_Minh")
_FINISHED = "finished.json"
_ERROR_LENGTH = 200
_COMPILED = ("schemas", "dbt_project", "expectations")
"""What turns tables into marts and verdicts, below the project root."""
_LEFT_OUT = frozenset({"target", "logs", "dbt_packages"})
"""What dbt leaves behind in its project."""


@dataclass(frozen=True)
class RunManifest:
    """What one run reads and wrote. Names are ``<layer>.<dataset>``; ``created_at`` is ISO 8601 in UTC.

    ``versions`` is the newest version of every table when the run began: what the silver verdict judges. Where that
    verdict failed, ``substitutes`` holds the last good version, which dbt reads instead; a dataset of ``withheld`` has
    none and is read by nobody. ``late`` says, for people, why a sector table is older than promised: its newest load
    failed, or is too long ago; ``lacking`` the same of a dataset that is substituted, withheld or missing. ``stale``
    lists the marts that rest on one of all these; ``gold`` is what dbt wrote. ``basis`` is a hash of everything that a
    run works from: two runs of one basis come to one result.
    """

    run_id: str
    namespace: str
    created_at: str
    versions: Mapping[str, int]
    gold: Mapping[str, int] = field(default_factory=dict)
    stale: tuple[str, ...] = ()
    substitutes: Mapping[str, int] = field(default_factory=dict)
    withheld: tuple[str, ...] = ()
    late: Mapping[str, str] = field(default_factory=dict)
    lacking: Mapping[str, str] = field(default_factory=dict)
    basis: str = ""

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
            late=late_tables(settings, registry),
        )
        lacking = {name: f"{name}: chưa có bảng" for name in missing_inputs(manifest, registry)}
        stale = affected_marts(registry, {*lacking, *manifest.late})
        manifest = replace(manifest, lacking=lacking, stale=stale, basis=_basis(settings, manifest))
        _write(settings, manifest)
        return manifest


def late_tables(settings: Settings, registry: Registry, now: datetime | None = None) -> Mapping[str, str]:
    """The sector tables that are not as fresh as promised, and for each the sentence that says why.

    A table that nobody loaded by :func:`pipelines.ingestion.load.ingest`, as in a drill, is not judged.
    """
    at, loads = now or datetime.now(UTC), last_loads(settings)
    found: dict[str, str] = {}
    for dataset in registry.sector_tables():
        load = loads.get(dataset.id)
        if load is None:
            continue
        since = "chưa từng thu nạp được" if load.good_at is None else f"số liệu lúc {_said(load.good_at)}"
        if load.failed_at is not None:
            reason = (load.error or "").partition("\n")[0][:_ERROR_LENGTH]
            found[dataset.id] = f"{dataset.id}: lần thu nạp lúc {_said(load.failed_at)} hỏng, {since} ({reason})"
        elif load.good_at is not None and at - load.good_at > dataset.sla.freshness:
            found[dataset.id] = f"{dataset.id}: quá hạn thu nạp, {since}"
    return found


def finish(settings: Settings, run_id: str) -> None:
    """Note that a run came to its end: from then on a run of the same basis has no news.

    Raises:
        LakeError: the run has no manifest.
    """
    manifest = load(settings, run_id)
    noted = {"run_id": run_id, "basis": manifest.basis, "gold": dict(manifest.gold)}
    replace_file(_finished_path(settings), json.dumps(noted, sort_keys=True) + "\n")


def finished_before(settings: Settings, manifest: RunManifest) -> str | None:
    """The last run that came to its end, when it worked from the same basis and its marts are as it left them."""
    try:
        last = json.loads(_finished_path(settings).read_text(encoding="utf-8"))
        run_id, basis, gold = str(last["run_id"]), last["basis"], dict(last["gold"])
    except (FileNotFoundError, KeyError, TypeError, ValueError):
        # What cannot be read proves nothing: the run is done again.
        return None
    names = [name.partition(".")[2] for name in gold]
    now = {f"gold.{name}": version for name, version in current_versions(settings, "gold", names).items()}
    return run_id if basis == manifest.basis and now == gold else None


def reasons(manifest: RunManifest, registry: Registry, mart: str) -> tuple[str, ...]:
    """Why a mart is stale: the sentences of those inputs, its own and those of the marts that it reads."""
    known = {**manifest.late, **manifest.lacking}
    return tuple(known[name] for name in sorted(known) if mart in affected_marts(registry, [name]))


def current_versions(settings: Settings, layer: str, names: Iterable[str]) -> Mapping[str, int]:
    """The newest Delta version of each of the tables that exist, by name."""
    paths = {name: str(settings.table_path(layer, name)) for name in sorted(names)}
    return {name: DeltaTable(path).version() for name, path in paths.items() if DeltaTable.is_deltatable(path)}


def rows_at(path: Path, version: int | None) -> int | None:
    """How many rows a version of a table has by its log; None where a file of it does not say."""
    counts = DeltaTable(str(path), version=version).get_add_actions(flatten=True).column("num_records").to_pylist()
    return None if None in counts else sum(counts)


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
        lacking = {name: f"{name}: chưa có bảng" for name in missing_inputs(changed, registry)}
        lacking |= {name: _instead(name, manifest.versions, version) for name, version in found.items()}
        stale = affected_marts(registry, {*lacking, *manifest.late})
        return replace(changed, lacking=lacking, stale=stale)

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


def _instead(name: str, versions: Mapping[str, int], version: int | None) -> str:
    """What is read of a table that failed its verdict, for people."""
    failed = f"{name}: bản {versions.get(f'silver.{name}', '?')} không đạt kiểm định"
    return f"{failed}, chưa có bản nào đạt" if version is None else f"{failed}, dùng bản {version}"


def _said(at: datetime) -> str:
    return at.astimezone(_LOCAL).strftime("%H:%M %d/%m/%Y")


def _basis(settings: Settings, manifest: RunManifest) -> str:
    """A hash of the versions, of who is late, of the stewards' decisions, the day, the contracts and the models."""
    decisions = current_versions(settings, "quality", ["decision"])
    given = {
        "versions": dict(manifest.versions),
        # Not the sentences: a failed load that is tried again changes nothing else in them than the time.
        "late": sorted(manifest.late),
        "decisions": dict(decisions),
        "day": manifest.local_date.isoformat(),
        "profile": settings.profile,
    }
    digest = hashlib.sha256(json.dumps(given, sort_keys=True).encode())
    for path in _compiled_files(settings.home):
        digest.update(f"{path.relative_to(settings.home)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _compiled_files(home: Path) -> Iterator[Path]:
    for folder in _COMPILED:
        for path in sorted((home / folder).rglob("*")):
            if path.is_file() and not _LEFT_OUT & set(path.relative_to(home).parts):
                yield path


def _finished_path(settings: Settings) -> Path:
    return settings.lake_root / settings.namespace / "_runs" / _FINISHED


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
