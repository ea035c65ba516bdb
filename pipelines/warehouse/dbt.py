"""Builds the marts: one dbt process per run against Spark Connect, its artefacts beside the run manifest.

What is planned (arguments, environment, which tables keep their declaration) is pure and tested alone; only
:func:`build` starts a process.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry
from pipelines.contracts.targets.delta import PROPERTIES, comment
from pipelines.landing.lease import lease
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings
from pipelines.runtime.spark import FEW_ROWS, unbroken
from pipelines.warehouse.manifest import (
    RunManifest,
    affected_marts,
    current_versions,
    missing_inputs,
    rows_at,
    run_folder,
    with_gold,
)

Progress = Callable[[str], None]
"""Told of every step in one line: ``1 of 8 OK created sql table model gold.dim_ward``."""

_SHOWN = {"LogModelResult", "LogTestResult", "LogUnitTestResult", "LogNodeNoOpResult", "LogHookEndLine"}
_BAD = {"error", "fail", "runtime error", "partial success"}
_PARTIAL_PARSE = "partial_parse.msgpack"
GOLD_LEASE = "gold"
"""Who builds marts or merges their files holds it: Spark would let the second of both fail."""
_GOLD_WAIT_S = 900.0


class DbtError(LakeError):
    """A build that failed; ``failing`` are the nodes, ``results`` says the state of every node that was reached."""

    def __init__(self, what: str, remedy: str, failing: Sequence[str] = ()) -> None:
        """Keep the failing nodes apart for callers that report them."""
        super().__init__(what, remedy)
        self.failing = tuple(failing)


@dataclass(frozen=True)
class DbtResult:
    """What a build did.

    ``gold`` maps mart id → Delta version; ``not_built`` are the marts left out because a needed input has no version;
    ``warnings`` the tests that warned, with their message; ``seconds`` how long each node took;
    ``was_built`` is False when the run had been built before and nothing was done.
    """

    run_id: str
    gold: Mapping[str, int]
    not_built: tuple[str, ...]
    warnings: tuple[str, ...]
    seconds: Mapping[str, float]
    was_built: bool


def build(
    settings: Settings,
    registry: Registry,
    manifest: RunManifest,
    *,
    spark_remote: str,
    unit_tests: bool = False,
    force: bool = False,
    progress: Progress = lambda _line: None,
) -> DbtResult:
    """Build and test every mart whose inputs the manifest has, and record the gold versions in the manifest.

    A run whose marts are recorded already is left alone unless ``force``. ``spark_remote`` is the address of the
    Spark Connect server (``sc://host:port``). ``unit_tests`` runs the models' unit tests first.

    Raises:
        DbtError: Spark does not answer, dbt could not start, or a model or a test failed: it names the nodes and the
            compiled SQL. Only marts that were built and passed all their tests are recorded then.
        ServiceError: Spark ended meanwhile; nothing is recorded.
        LeaseHeld: another build or maintenance works on gold for a quarter of an hour already.
    """
    missing = missing_inputs(manifest, registry)
    not_built = affected_marts(registry, missing, needed=True)
    for name in missing:
        without = set(affected_marts(registry, [name], needed=True))
        rest = [mart for mart in affected_marts(registry, [name]) if mart not in {*without, *not_built}]
        said = [f"{', '.join(sorted(without))} left out"] if without else []
        said += [f"{', '.join(rest)} built without it"] if rest else []
        progress(f"silver.{name} has no version in this run: {'; '.join(said)}")
    wanted = [mart for mart in registry.marts() if mart.id not in not_built]
    recorded = {mart.id: manifest.gold.get(f"gold.{mart.id}") for mart in wanted}
    done = {name: version for name, version in recorded.items() if version is not None}
    if not wanted or (len(done) == len(wanted) and not force):
        progress(f"run {manifest.run_id}: {'built before' if wanted else 'no mart has all its inputs'}, nothing to do")
        return DbtResult(manifest.run_id, done, not_built, (), {}, was_built=False)

    _must_answer(spark_remote)
    folder = run_folder(settings, manifest.run_id) / "dbt"
    cache = settings.lake_root / settings.namespace / "_runs" / f".{_PARTIAL_PARSE}"
    folder.mkdir(parents=True, exist_ok=True)
    gold_root = settings.lake_root / settings.namespace / "gold"
    gold_root.mkdir(parents=True, exist_ok=True)
    at_rest = current_versions(settings, "gold", [mart.id for mart in wanted])
    keep = [mart.id for mart in wanted if is_declared(gold_root / mart.id, mart)]
    names = [mart.id for mart in wanted]
    command = arguments(settings.home / "dbt_project", folder, cache, marts=names, unit_tests=unit_tests)
    few = are_few(settings, manifest, wanted)
    extra = environment(settings, manifest, at_rest, keep, spark_remote=spark_remote, few_rows=few)
    with lease(settings, GOLD_LEASE, wait_s=_GOLD_WAIT_S), unbroken(settings):
        status, tail = _run(command, {**os.environ, **extra}, settings.home, progress)

    nodes = _results(folder / "target")
    failing = [name for name, node in nodes.items() if node["status"] in _BAD]
    sound = sound_marts(nodes, [mart.id for mart in wanted])
    gold = current_versions(settings, "gold", sound)
    with_gold(settings, manifest.run_id, gold)
    if failing or status != 0:
        raise _failure(manifest.run_id, folder, nodes, failing, tail)
    _share(folder / "target" / _PARTIAL_PARSE, cache)
    warnings = tuple(f"{_short(name)}: {node['message']}" for name, node in nodes.items() if node["status"] == "warn")
    seconds = {_short(name): float(node["execution_time"]) for name, node in nodes.items()}
    return DbtResult(manifest.run_id, gold, not_built, warnings, seconds, was_built=True)


def arguments(project: Path, folder: Path, cache: Path, *, marts: Collection[str], unit_tests: bool) -> tuple[str, ...]:
    """The dbt command: build these marts with the tests that look at nothing else, artefacts below ``folder``.

    The project has every mart of the catalogue, the namespace perhaps a part of them, and an input of some may be
    missing: so those that can be built are named.
    """
    # Where the cache does not exist yet dbt would warn; it parses in full without the option as well.
    partial = ("--partial-parse-file-path", str(cache)) if cache.exists() else ()
    return (
        *(sys.executable, "-m", "dbt.cli.main", "--log-format", "json", "--log-level", "info"),
        *("--log-level-file", "none", "--no-use-colors", "--no-version-check", *partial),
        "build",
        *("--project-dir", str(project), "--profiles-dir", str(project)),
        *("--target-path", str(folder / "target"), "--log-path", str(folder / "logs")),
        *("--select", *sorted(marts), "--indirect-selection", "buildable"),
        *(() if unit_tests else ("--exclude-resource-type", "unit_test")),
    )


def are_few(settings: Settings, manifest: RunManifest, marts: Iterable[Dataset]) -> bool:
    """Whether every table of silver that the marts read has few rows, so that Spark is quicker without compiling.

    A version that cannot be read is not few: dbt names it.
    """
    read = {f"silver.{name}" for mart in marts if mart.mart for name in mart.mart.inputs}
    try:
        counts = [
            rows_at(settings.table_path("silver", name.removeprefix("silver.")), version)
            for name, version in manifest.inputs.items()
            if name in read
        ]
    except DeltaError:
        return False
    return all(rows is not None and rows <= FEW_ROWS for rows in counts)


def environment(
    settings: Settings,
    manifest: RunManifest,
    at_rest: Iterable[str],
    keep: Iterable[str],
    *,
    spark_remote: str,
    few_rows: bool,
) -> Mapping[str, str]:
    """What the project reads from the environment beside what this process has (see macros/lake/inputs.sql).

    With ``few_rows`` Spark does not compile its plans.
    """
    root = settings.lake_root / settings.namespace
    inputs = {
        "run_id": manifest.run_id,
        "silver_root": str(root / "silver"),
        "gold_root": str(root / "gold"),
        "versions": dict(sorted(manifest.inputs.items())),
        "at_rest": sorted(at_rest),
        "keep": sorted(keep),
        "as_of_date": manifest.local_date.isoformat(),
    }
    return {
        "SPARK_REMOTE": spark_remote,
        "LAKE_GOLD_SCHEMA": settings.gold_schema,
        "LAKE_DBT_INPUTS": json.dumps(inputs, ensure_ascii=False),
        "LAKE_DBT_COMPILED": "false" if few_rows else "true",
        "DO_NOT_TRACK": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore",
    }


def is_declared(path: Path, mart: Dataset) -> bool:
    """Whether the Delta table at ``path`` has exactly the contract's columns, types, comments and properties, so that
    a build only overwrites its rows."""
    if not DeltaTable.is_deltatable(str(path)):
        return False
    table = DeltaTable(str(path))
    stored = [(f.name, f.type, (f.metadata or {}).get(b"comment")) for f in pa.schema(table.schema().to_arrow())]
    wanted = [(f.name, f.type.arrow, comment(f).encode()) for f in mart.fields]
    properties = table.metadata().configuration
    return stored == wanted and all(properties.get(name) == value for name, value in PROPERTIES.items())


def _must_answer(spark_remote: str) -> None:
    """Fail at once where nobody listens: Spark's client would go on trying for ten minutes, in every thread."""
    parts = urlsplit(spark_remote)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 15002), timeout=5):
            return
    except OSError as error:
        what = f"Spark does not answer at {spark_remote} ({error.strerror or error})."
        raise DbtError(what, "Run `lake up --only spark`.") from error


def _run(command: Sequence[str], env: Mapping[str, str], cwd: Path, progress: Progress) -> tuple[int, list[str]]:
    """Run dbt, pass its results on as they come; returns the exit status and what it said of errors."""
    said: list[str] = []
    with subprocess.Popen(
        command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8"
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                event = _event(line)
                if event is None or event.get("level") == "error":
                    said.append(str(event.get("msg")) if event else line.rstrip())
                elif event.get("name") in _SHOWN:
                    progress(str(event["msg"]).strip())
        except BaseException:
            process.terminate()
            raise
    return process.returncode, said[-40:]


def _event(line: str) -> dict[str, Any] | None:
    """The ``info`` part of one line of dbt's JSON log; None for any other text."""
    try:
        info = json.loads(line)["info"]
    except (ValueError, KeyError, TypeError):
        return None
    return info if isinstance(info, dict) else None


def _results(target: Path) -> dict[str, dict[str, Any]]:
    """Unique id of a node → its result and what it depends on, in the order of execution; empty when dbt did not get
    that far."""
    try:
        results = json.loads((target / "run_results.json").read_text(encoding="utf-8"))["results"]
        nodes = json.loads((target / "manifest.json").read_text(encoding="utf-8"))["nodes"]
    except FileNotFoundError:
        return {}
    return {
        result["unique_id"]: {
            **{name: result.get(name) for name in ("status", "message", "failures", "execution_time")},
            "depends_on": nodes.get(result["unique_id"], {}).get("depends_on", {}).get("nodes", []),
        }
        for result in results
    }


def sound_marts(nodes: Mapping[str, Mapping[str, Any]], marts: Collection[str]) -> tuple[str, ...]:
    """The marts that were built and of which no test failed; ``nodes`` as run_results.json and manifest.json say."""
    built = {_short(name) for name, node in nodes.items() if name.startswith("model.") and node["status"] == "success"}
    doubted = {
        _short(parent)
        for name, node in nodes.items()
        if name.startswith("test.") and node["status"] in _BAD
        for parent in node["depends_on"]
    }
    return tuple(sorted((built & set(marts)) - doubted))


def _short(unique_id: str) -> str:
    """``test.hue_lakehouse.dim_ward__keeps_contract.5d2f`` → ``dim_ward__keeps_contract``; a unit test keeps its model:
    ``dim_ward.a_ward_has_its_newest_definition_in_force``."""
    kind, _project, name, *rest = unique_id.split(".")
    return ".".join([name, *rest]) if kind == "unit_test" else name


def _failure(
    run_id: str, folder: Path, nodes: Mapping[str, Mapping[str, Any]], failing: Sequence[str], tail: Sequence[str]
) -> DbtError:
    if not failing:
        said = "\n".join(tail) or "it said nothing"
        return DbtError(f"dbt could not build run {run_id}: {said}", f"Its artefacts are in {folder}.")
    lines = []
    for name in failing:
        node = nodes[name]
        message = " ".join(str(node.get("message") or "").split())[:400]
        failures = node.get("failures")
        count = f" ({failures} rows)" if failures else ""
        lines.append(f"  {_short(name)}: {node['status']}{count}: {message}")
    skipped = sum(1 for node in nodes.values() if node["status"] == "skipped")
    what = f"{len(failing)} of {len(nodes)} nodes of run {run_id} failed, {skipped} were skipped:\n" + "\n".join(lines)
    return DbtError(
        f"{what}\n", f"The compiled SQL is in {folder / 'target' / 'compiled'}.", [_short(n) for n in failing]
    )


def _share(parsed: Path, cache: Path) -> None:
    """Keep dbt's parse of the project for the namespace's next run; the newest one wins."""
    if parsed.exists():
        partial = cache.with_name(f"{cache.name}.{os.getpid()}")
        shutil.copyfile(parsed, partial)
        os.replace(partial, cache)
