"""Publication: the pin of a dataset moves to a version that passed, as a group per run, and back.

The order of steps and what a crash leaves is explained in :mod:`pipelines.publishing.ledger`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry
from pipelines.contracts.targets import trino as target
from pipelines.publishing import ledger
from pipelines.publishing.ledger import Publication
from pipelines.publishing.registration import Platform, ensure_serving, view_columns
from pipelines.quality import store
from pipelines.quality.model import GOOD, Verdict, word
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings
from pipelines.warehouse.manifest import RunManifest, reasons

log = logging.getLogger(__name__)
_UNREADABLE = "{}: không trường nào của bộ dữ liệu được công bố."
Outcome = Literal["published", "unchanged", "kept", "missing"]
MANY_FILES = 200
"""A version of so many files is slow for ever after: opening a file costs about 2.5 ms."""


@dataclass(frozen=True)
class Move:
    """What became of one dataset's pin; ``version`` is what people read now, ``sentence`` says it in Vietnamese."""

    dataset: str
    layer: str
    outcome: Outcome
    version: int | None
    sentence: str
    duration_ms: float = 0.0


Checkpoint = Callable[[str], None]


def _nothing(_step: str) -> None:
    """The hook of a crash test: told of every step, in production it does nothing."""


def publish(
    settings: Settings,
    registry: Registry,
    manifest: RunManifest,
    verdicts: Sequence[Verdict],
    by: str,
    reason: str,
    *,
    on_step: Checkpoint = _nothing,
) -> tuple[Move, ...]:
    """Move the pins of one run's good versions; every other dataset keeps its pin and the move says why.

    A version is checkpointed before its pin moves. It is not compacted here: that would make another version than the
    one that was judged; landing and ``lake maintain`` compact, a version of many files is only reported. Doing it
    again changes nothing and finishes what a crash left. A pin never moves to an older version (that is
    :func:`rollback`), nor to a version that a steward rolled back.

    Raises:
        LakeError: a verdict of another run, or a pinned version that cannot be read.
        ServiceError: Trino does not run, or refused a view; what was planned is finished by the next call.
    """
    foreign = sorted({v.run_id for v in verdicts} - {manifest.run_id})
    if foreign:
        raise LakeError(
            f"Kết luận của lượt chạy {', '.join(foreign)} không dùng được cho lượt {manifest.run_id}.",
            "Judge this run first: `lake run verdict`.",
        )
    with ledger.lock(settings):
        ensure_serving(settings, registry)
        platform = Platform(settings)
        pins = pinned(platform)
        _finish_open(settings, pins)
        _withdraw_columns(registry, platform, pins)
        records = ledger.publications(settings)
        moves: dict[str, Move] = {}
        plans: list[Publication] = []
        now = datetime.now(UTC)
        for verdict in sorted(verdicts, key=lambda v: (v.layer != "silver", v.dataset)):
            stale = _stale(manifest, registry, verdict.dataset)
            move = _decide(settings, verdict, pins.get(verdict.dataset), records, stale=stale)
            if move.outcome == "published" and not target.is_readable(_dataset(registry, verdict.dataset)):
                move = replace(move, outcome="kept", version=None, sentence=_UNREADABLE.format(verdict.dataset))
            moves[verdict.dataset] = move
            if move.outcome == "published":
                plan = Publication(
                    dataset=verdict.dataset,
                    layer=verdict.layer,
                    version=_known(verdict),
                    previous_version=pins.get(verdict.dataset),
                    state="planned",
                    action="publish",
                    verdict=verdict.verdict,
                    run_id=manifest.run_id,
                    reason=f"{reason}{stale}",
                    published_by=by,
                    published_at=now,
                )
                plans.append(plan)
            elif move.outcome == "unchanged":
                plans += _unrecorded(verdict, manifest, records, by, reason, now)
        durations = _carry_out(settings, registry, platform, plans, pins, on_step)
    return tuple(replace(move, duration_ms=durations.get(move.dataset, 0.0)) for move in moves.values())


def rollback(
    settings: Settings,
    registry: Registry,
    dataset_id: str,
    to: int,
    *,
    by: str,
    reason: str,
    on_step: Checkpoint = _nothing,
) -> Move:
    """Move the pin of one dataset back to a version that was published before.

    Raises:
        LakeError: an unknown dataset, no reason or name, a version that never was published or is no longer alive.
    """
    if not by.strip() or not reason.strip():
        raise LakeError("Thiếu lý do hoặc người quyết định.", "Give --reason and --by: a rollback is a decision.")
    dataset = _dataset(registry, dataset_id)
    if not target.is_readable(dataset):
        raise LakeError(_UNREADABLE.format(dataset_id), "See the classification of its fields.")
    with ledger.lock(settings):
        records = ledger.publications(settings)
        published = {r.version: r for r in records if r.dataset == dataset_id and r.state == "published"}
        if to not in published:
            listed = ", ".join(str(version) for version in sorted(published)) or "none yet"
            raise LakeError(f"{dataset_id} bản {to} chưa từng được công bố.", f"Published versions: {listed}.")
        ensure_serving(settings, registry)
        platform = Platform(settings)
        pins = pinned(platform)
        _finish_open(settings, pins)
        pin = pins.get(dataset_id)
        if pin == to:
            return Move(dataset_id, dataset.layer, "unchanged", to, f"{dataset_id}: đang công bố bản {to}.")
        plan = Publication(
            dataset=dataset_id,
            layer=dataset.layer,
            version=to,
            previous_version=pin,
            state="planned",
            action="rollback",
            verdict=published[to].verdict,
            run_id=published[to].run_id,
            reason=reason.strip(),
            published_by=by.strip(),
            published_at=datetime.now(UTC),
        )
        durations = _carry_out(settings, registry, platform, [plan], pins, on_step)
    sentence = f"{dataset_id}: đã lùi từ bản {pin} về bản {to}: {reason.strip()}."
    return Move(dataset_id, dataset.layer, "published", to, sentence, durations[dataset_id])


def pinned(platform: Platform) -> dict[str, int]:
    """Dataset → the version that people read, from the views themselves."""
    found = {name: target.pinned_version(text) for name, text in platform.view_definitions(target.PUBLISHED).items()}
    return {name: version for name, version in found.items() if version is not None}


def publications(settings: Settings) -> list[Publication]:
    """Every record of ``catalog.publication``, oldest first."""
    return ledger.publications(settings)


def verdicts_of(settings: Settings, run_id: str) -> tuple[Verdict, ...]:
    """The newest verdict of every dataset in one run, both layers."""
    return tuple(store.newest(store.verdicts(settings, [("run_id", "=", run_id)])).values())


def _stale(manifest: RunManifest, registry: Registry, dataset_id: str) -> str:
    """What is added of a mart that rests on an older version of an input than promised; "" for any other."""
    if dataset_id not in manifest.stale:
        return ""
    why = "; ".join(reasons(manifest, registry, dataset_id))
    return "; số liệu dựa trên bản cũ của đầu vào" + (f" ({why})" if why else "")


def _decide(
    settings: Settings, verdict: Verdict, pin: int | None, records: Sequence[Publication], *, stale: str
) -> Move:
    name, layer = verdict.dataset, verdict.layer
    kept = "chưa công bố bản nào" if pin is None else f"giữ bản {pin} đang công bố"

    def move(outcome: Outcome, version: int | None, sentence: str) -> Move:
        return Move(name, layer, outcome, version, f"{name}: {sentence}.")

    if verdict.verdict == "missing":
        return move("missing", pin, f"chưa có bảng trong lượt chạy này; {kept}")
    version = _known(verdict)
    if verdict.verdict not in GOOD:
        rules = ", ".join(verdict.failed_rules)
        return move("kept", pin, f"bản {version} {word(verdict.verdict)} ({rules}); {kept}")
    if pin == version:
        return move("unchanged", pin, f"bản {version} đang được công bố{stale}")
    if pin is not None and version < pin:
        return move("kept", pin, f"bản {version} cũ hơn; {kept} (muốn lùi: lake publication rollback)")
    last = ledger.current(records).get(name)
    if last is not None and last.action == "rollback" and version <= (last.previous_version or -1):
        return move("kept", pin, f"bản {version} đã bị {last.published_by} lùi lại ({last.reason}); {kept}")
    files = len(DeltaTable(str(settings.table_path(layer, name)), version=version).file_uris())
    slow = f"; bản này có {files} tệp nhỏ nên đọc chậm, hãy chạy lake maintain" if files > MANY_FILES else ""
    was = "lần đầu" if pin is None else f"thay bản {pin}"
    return move("published", version, f"công bố bản {version} ({word(verdict.verdict)}, {was}){stale}{slow}")


def _unrecorded(
    verdict: Verdict, manifest: RunManifest, records: Sequence[Publication], by: str, reason: str, now: datetime
) -> list[Publication]:
    """A plan that records a pin which the view has and the records lost; empty when they agree."""
    last = ledger.current(records).get(verdict.dataset)
    version = _known(verdict)
    if last is not None and last.version == version:
        return []
    plan = Publication(
        dataset=verdict.dataset,
        layer=verdict.layer,
        version=version,
        previous_version=None if last is None else last.version,
        state="planned",
        action="publish",
        verdict=verdict.verdict,
        run_id=manifest.run_id,
        reason=reason,
        published_by=by,
        published_at=now,
    )
    return [plan]


def _finish_open(settings: Settings, pins: Mapping[str, int]) -> None:
    """Record the pins that moved just before a crash; a plan whose pin never moved stays open and protected."""
    moved = [p for p in ledger.open_plans(ledger.publications(settings)) if pins.get(p.dataset) == p.version]
    now = datetime.now(UTC)
    ledger.record(settings, [replace(plan, state="published", published_at=now) for plan in moved])


def _withdraw_columns(registry: Registry, platform: Platform, pins: Mapping[str, int]) -> None:
    """Take a column out of the views at once when its contract no longer grants it, whatever the verdicts say."""
    shown = view_columns(platform, target.PUBLISHED)
    for dataset in registry.datasets:
        granted = target.granted_columns(dataset)
        if dataset.id in pins and not target.is_readable(dataset):
            platform.query(target.drop_view(platform.catalog, target.PUBLISHED, dataset.id))
        elif dataset.id in pins and not set(shown[dataset.id]) <= set(granted):
            # A granted column that the pinned version does not have yet comes with the next version.
            kept = tuple(name for name in granted if name in shown[dataset.id])
            platform.query(target.published_view(platform.catalog, dataset, pins[dataset.id], kept))


def _carry_out(
    settings: Settings,
    registry: Registry,
    platform: Platform,
    plans: Sequence[Publication],
    pins: Mapping[str, int],
    on_step: Checkpoint,
) -> dict[str, float]:
    """Checkpoint, plan, move the views, record; returns milliseconds per dataset."""
    for plan in plans:
        ensure_checkpoint(settings, plan.layer, plan.dataset, plan.version)
        on_step(f"checkpointed {plan.dataset}")
    ledger.record(settings, plans)
    on_step("planned")
    durations: dict[str, float] = {}
    for plan in plans:
        started = time.perf_counter()
        dataset = _dataset(registry, plan.dataset)
        if pins.get(plan.dataset) != plan.version:
            platform.query(target.published_view(platform.catalog, dataset, plan.version))
            log.info("pin moved", extra={"table": plan.dataset, "version": plan.version, "run_id": plan.run_id})
        durations[plan.dataset] = (time.perf_counter() - started) * 1000
        on_step(f"viewed {plan.dataset}")
    now = datetime.now(UTC)
    ledger.record(settings, [replace(plan, state="published", published_at=now) for plan in plans])
    on_step("recorded")
    return durations


def ensure_checkpoint(settings: Settings, layer: str, dataset: str, version: int) -> bool:
    """Write a Delta checkpoint of exactly this version unless there is one; returns whether one was written.

    Raises:
        LakeError: the version cannot be read any more.
    """
    path = settings.table_path(layer, dataset)
    if (path / "_delta_log" / f"{version:020d}.checkpoint.parquet").exists():
        return False
    pointer = path / "_delta_log" / "_last_checkpoint"
    before = pointer.read_bytes() if pointer.exists() else None
    try:
        table = DeltaTable(str(path), version=version)
        table.create_checkpoint()
    except DeltaError as error:
        raise LakeError(
            f"{layer}.{dataset} bản {version} không đọc được nữa ({error}).", "Judge and publish the current version."
        ) from error
    if before is not None and _checkpoint_version(before) > version:
        # The pointer names the newest checkpoint; an older one must not make every reader replay more of the log.
        temporary = pointer.with_name("_last_checkpoint.tmp")
        temporary.write_bytes(before)
        temporary.replace(pointer)
    return True


def _checkpoint_version(pointer: bytes) -> int:
    import json

    return int(json.loads(pointer)["version"])


def _known(verdict: Verdict) -> int:
    if verdict.version is None:
        raise LakeError(f"{verdict.dataset}: kết luận {verdict.verdict} không có phiên bản.", "Judge the run again.")
    return verdict.version


def _dataset(registry: Registry, dataset_id: str) -> Dataset:
    try:
        return registry.dataset(dataset_id)
    except KeyError as error:
        raise LakeError(f"Không có bộ dữ liệu {dataset_id!r}.", str(error.args[0])) from None
