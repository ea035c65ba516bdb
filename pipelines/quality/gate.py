"""The gate: judge the versions of one run, and nothing else.

Reads exactly the versions of the run manifest. A version that was judged by the same suite before keeps its results;
the verdict is taken again from them, because waivers come and expire.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from deltalake import DeltaTable

from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry
from pipelines.contracts.targets.great_expectations import ROW_COUNT, Suite, suite
from pipelines.quality import store
from pipelines.quality.model import READABLE, Decision, RuleResult, Verdict, decide
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings
from pipelines.runtime.spark import FEW_ROWS, interpreted, session, unbroken
from pipelines.warehouse.manifest import RunManifest, rows_at

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from pipelines.quality.checks import Checker

log = logging.getLogger(__name__)
LAYERS = ("silver", "gold")
_UNREADABLE = RuleResult(READABLE, "error", False, "Phiên bản đọc được", "The version can be read")


def judge(
    settings: Settings,
    registry: Registry,
    manifest: RunManifest,
    layer: str,
    *,
    domain: str | None = None,
    spark: SparkSession | None = None,
) -> tuple[Verdict, ...]:
    """Judge every dataset of ``layer`` (of one ``domain``) at the manifest's version; sorted by dataset.

    Verdicts go to ``quality.verdict``, results to ``quality.result``. Judging a run again writes nothing unless a
    waiver was made, or has expired, since. ``spark`` defaults to a session on the running Spark Connect server, and
    is opened only when a version must be read.

    Raises:
        LakeError: a layer without suites.
        ServiceError: Spark does not run, or ended meanwhile: no verdict was written.
    """
    if layer not in LAYERS:
        raise LakeError(f"Lớp {layer!r} không có bộ kiểm tra.", f"Allowed: {', '.join(LAYERS)}.")
    chosen = [d for d in registry.datasets if d.layer == layer and domain in (None, d.domain)]
    with store.lock(settings):
        judge_one = _Judge(settings, manifest, layer, spark)
        with unbroken(settings):
            try:
                judged = [judge_one(dataset, suite(dataset, registry)) for dataset in chosen]
            finally:
                judge_one.close()
        store.save(settings, [(verdict, results) for verdict, results, is_new in judged if is_new])
    for verdict, _, _ in judged:
        log.info("judged", extra={"table": f"{layer}.{verdict.dataset}", "verdict": verdict.verdict})
    return tuple(verdict for verdict, _, _ in judged)


class _Judge:
    """One judgement after the other, with what they share: history, decisions, and the engine once it is needed."""

    def __init__(self, settings: Settings, manifest: RunManifest, layer: str, spark: SparkSession | None) -> None:
        self._settings, self._manifest, self._layer, self._spark = (settings, manifest, layer, spark)
        self._owns_session = spark is None
        self._versions = _versions(manifest, layer)
        self._history = store.verdicts(settings, [("layer", "=", layer)])
        self._decisions: Sequence[Decision] = store.decisions(settings)
        self._checker: Checker | None = None

    def __call__(self, dataset: Dataset, wanted: Suite) -> tuple[Verdict, Sequence[RuleResult], bool]:
        """The verdict, its results unless they were reused, and whether it is to be saved."""
        version = self._versions.get(dataset.id)
        exists = version is not None and DeltaTable.is_deltatable(
            str(self._settings.table_path(self._layer, dataset.id))
        )
        known = self._known(dataset, version if exists else None, wanted)
        results: Sequence[RuleResult] = ()
        started = time.perf_counter()
        if known is not None:
            verdict = replace(known, run_id=self._manifest.run_id, reused_from=known.reused_from or known.run_id)
            if known.run_id == self._manifest.run_id:
                verdict = replace(verdict, reused_from=known.reused_from)
        else:
            row_count = None
            if exists:
                results = self._check(dataset, wanted, version)
                row_count = next((int(r.observed) for r in results if r.rule == ROW_COUNT and r.observed), None)
            verdict = Verdict(
                run_id=self._manifest.run_id,
                layer=self._layer,
                dataset=dataset.id,
                version=version if exists else None,
                verdict="missing",
                failed_rules=tuple(r.rule for r in results if not r.success and r.severity == "error"),
                warned_rules=tuple(r.rule for r in results if not r.success and r.severity != "error"),
                waived_rules=(),
                row_count=row_count,
                suite_sha256=wanted.sha256,
                contract_version=wanted.contract_version,
                reused_from=None,
                judged_at=datetime.now(UTC),
                duration_s=0.0,
            )
        now = datetime.now(UTC)
        judgement, waived = decide(
            exists=exists,
            failed_rules=verdict.failed_rules,
            dataset=dataset.id,
            decisions=self._decisions,
            day=now.date(),
        )
        same = (
            known is not None
            and known.run_id == verdict.run_id
            and (known.verdict, known.waived_rules) == (judgement, waived)
        )
        if known is not None and same:
            return known, (), False
        duration_s = time.perf_counter() - started
        verdict = replace(verdict, verdict=judgement, waived_rules=waived, judged_at=now, duration_s=duration_s)
        return verdict, results, True

    def close(self) -> None:
        """End the session that was opened here; one that was given is its owner's to end."""
        if self._owns_session and self._spark is not None:
            self._spark.stop()

    def _known(self, dataset: Dataset, version: int | None, wanted: Suite) -> Verdict | None:
        """The newest verdict of this version by this suite; this run's own stands before others'."""
        same = [
            v
            for v in self._history
            if v.dataset == dataset.id and v.version == version and v.suite_sha256 == wanted.sha256
        ]
        own = [v for v in same if v.run_id == self._manifest.run_id]
        if version is None:
            # Nothing was read: only this run's own finding that there is no table is worth keeping.
            return own[-1] if own else None
        matching = own or same
        return matching[-1] if matching else None

    def _check(self, dataset: Dataset, wanted: Suite, version: int | None) -> Sequence[RuleResult]:
        from pyspark.errors import AnalysisException

        from pipelines.quality.checks import Checker

        if self._spark is None:
            self._spark = session(self._settings)
        path = self._settings.table_path(self._layer, dataset.id)
        with ExitStack() as interpreting:
            interpreting.enter_context(interpreted(self._spark))
            try:
                frame = self._spark.read.format("delta").option("versionAsOf", str(version)).load(str(path))
                # The plan is made here: a version whose log is gone fails now and not inside a rule.
                frame.columns  # noqa: B018
            except AnalysisException as error:
                return [replace(_UNREADABLE, problem=str(error.getCondition() or "the version cannot be read"))]
            if self._checker is None:
                self._checker = Checker()
            rows = rows_at(path, version)
            if rows is None or rows > FEW_ROWS:
                interpreting.close()
            return self._checker.check(dataset, wanted, frame, rows)


def _versions(manifest: RunManifest, layer: str) -> Mapping[str, int]:
    """Dataset id → version. Silver is judged at the run's own version, not at what dbt reads instead of it."""
    source = manifest.gold if layer == "gold" else manifest.versions
    return {name.removeprefix(f"{layer}."): version for name, version in source.items()}
