"""Takes a person out, step by step, so that each may be the last and the next call goes on.

First the records are noted that must not come back; then rows are deleted or emptied in the newest version of every
table by whoever holds it; then what people are shown moves on to a version without the person, judged like any other;
then the older versions go with their files and their log, whose statistics hold values; then it is certified.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from filelock import FileLock, Timeout

from pipelines.contracts import system
from pipelines.contracts.model import Dataset
from pipelines.contracts.names import double_quote, literal
from pipelines.contracts.registry import Registry
from pipelines.contracts.validators import PERSONAL_DAYS
from pipelines.landing.erased import personal_fields, remember
from pipelines.landing.removal import Removal, committed
from pipelines.landing.retired import Retired
from pipelines.landing.retired import record as record_retired
from pipelines.landing.tables import DEAD_LETTER
from pipelines.publishing import ledger
from pipelines.publishing.erasure import certificate
from pipelines.publishing.erasure.find import Found, Place, find
from pipelines.publishing.erasure.register import Erasure, State, erasures, record, subject_of
from pipelines.publishing.maintain import needed_versions, purge
from pipelines.publishing.publication import pinned, publish
from pipelines.publishing.registration import Platform
from pipelines.quality.gate import judge
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings
from pipelines.warehouse.manifest import resolve
from pipelines.warehouse.retire import HOLDER_WAIT_S, by_holder, settle

log = logging.getLogger(__name__)
BASIS = "erasure"
"""What :mod:`pipelines.landing.retired` says of rows that went at a person's request."""
_ROUNDS = 3
"""What arrives while rows are taken out is found by the next look."""
_AT_ONCE = 2_000
"""So many places one removal names."""
Step = Callable[[str], None]


def no_step(_name: str) -> None:
    """Do nothing; tests end an erasure here."""


class NotErased(LakeError):
    """An erasure could not be carried to its end; what was done stays done."""


@dataclass(frozen=True)
class Erased:
    """The newest state of an erasure, and its certificate when it is done."""

    erasure: Erasure
    certificate: Path | None


def erase(
    settings: Settings,
    registry: Registry,
    tokens: Sequence[str],
    *,
    by: str,
    reason: str,
    kept: Iterable[str] = (),
    step: Step = no_step,
    wait_s: float = HOLDER_WAIT_S,
) -> Erased | None:
    """Erase a person, or go on with an erasure of the same tokens that was begun; None when there is nothing of them.

    ``kept`` are datasets that a law wants kept; the certificate names them.

    Raises:
        LakeError: no reason or name, an unknown dataset, or another erasure runs. NotErased: it could not be ended.
        ServiceError: Trino or Spark does not run; rows are gone, and `lake erase resume` goes on.
    """
    if not by.strip() or not reason.strip():
        raise LakeError("An erasure needs a name and a reason.", "Give --by and --reason; both stand in the record.")
    left = tuple(sorted(set(kept)))
    for name in left:
        _dataset(registry, name)
    with _alone(settings):
        run = _Run(settings, registry, step, wait_s)
        item = _begun(settings, tokens)
        ended: Erased | None = None
        if item is not None and item.state == "released":
            # Older versions are going already; what came since is another erasure.
            ended = run.finish(item)
            item = None
        found = _found(settings, registry, tokens, left)
        if item is None and not found:
            return ended
        if item is None:
            item = Erasure(
                erasure_id=uuid.uuid4().hex[:12],
                state="begun",
                subject_sha256=subject_of(tokens),
                reason=reason.strip(),
                erased_by=by.strip(),
                kept_datasets=" ".join(left),
                details_json="{}",
                recorded_at=datetime.now(UTC),
            )
            record(settings, item)
        step("begun")
        for _ in range(_ROUNDS):
            if not found:
                break
            item = run.take_out(item, found)
            found = _found(settings, registry, tokens, left)
        if found:
            tables = sorted(table for one in found for table in one.places)
            raise NotErased(
                f"Records of the person keep arriving in {', '.join(tables)}.",
                "Stop what sends them, and run the same command again.",
            )
        if item.state == "begun":
            item = run.emptied(item)
        step("emptied")
        return run.finish(item)


def resume(
    settings: Settings, registry: Registry, erasure_id: str, *, step: Step = no_step, wait_s: float = HOLDER_WAIT_S
) -> Erased:
    """Carry an erasure to its end whose rows are gone already.

    Raises:
        LakeError: there is no such erasure, or its rows are not all gone: only who knows the token can go on.
        NotErased, ServiceError: as :func:`erase`.
    """
    with _alone(settings):
        item = next((one for one in erasures(settings) if one.erasure_id == erasure_id), None)
        if item is None:
            raise LakeError(f"There is no erasure {erasure_id!r}.", "`lake erase list` names them.")
        if item.state == "begun":
            raise LakeError(
                f"The erasure {erasure_id} ended before all rows were gone, and no token is stored.",
                "Run `lake erase --subject` with the same token again.",
            )
        return _Run(settings, registry, step, wait_s).finish(item)


class _Run:
    """The steps of one erasure; the lock is held."""

    def __init__(self, settings: Settings, registry: Registry, step: Step, wait_s: float) -> None:
        self.settings, self.registry, self.step, self.wait_s = settings, registry, step, wait_s

    def take_out(self, item: Erasure, found: Sequence[Found]) -> Erasure:
        """Delete or empty every row that was found, and remember what may not come back.

        What is to be done is recorded first: what of it was done is then read from the logs of the tables.
        """
        for one in found:
            remember(self.settings, one.dataset, one.records)
        planned = [(one, removal, rows) for one in found for removal, rows in self._removals(one)]
        tables = {name: dict(done) for name, done in item.details.get("tables", {}).items()}
        for one, removal, rows in planned:
            done = tables.setdefault(removal.table, {"how": _how(one, removal.table), "rows": 0})
            done["removals"] = {**done.get("removals", {}), removal.id: [self._version(removal.table), rows]}
        payloads = {path.name for one in found for path in one.objects} | set(item.details.get("payloads", ()))
        item = _moved(self.settings, item, "begun", {**item.details, "tables": tables, "payloads": sorted(payloads)})
        self.step("remembered")
        for one, removal, rows in planned:
            if removal.table.startswith("silver.") and one.whole:
                record_retired(self.settings, [self._planned(item, one.dataset, removal, rows)])
            by_holder(self.settings, self.registry, removal, _lease(one.dataset, removal.table), self.wait_s)
            self.step(removal.table)
        for path in (path for one in found for path in one.objects):
            path.unlink(missing_ok=True)
        settle(self.settings)
        return item

    def emptied(self, item: Erasure) -> Erasure:
        """Note that no newest version holds the person, and how many rows it took."""
        tables = {}
        for name, planned in item.details.get("tables", {}).items():
            table = DeltaTable(str(self._path(name)))
            removals = planned.get("removals", {})
            rows = sum(count for id_, (since, count) in removals.items() if committed(table, id_, since) is not None)
            tables[name] = {"how": planned["how"], "rows": planned["rows"] + rows, "clean_from": table.version()}
        return _moved(self.settings, item, "emptied", {**item.details, "tables": tables})

    def _removals(self, one: Found) -> Iterator[tuple[Removal, int]]:
        """What takes the rows of one dataset out, each with how many it names."""
        for table, places in one.places.items():
            ordered = sorted(places)
            for start in range(0, len(ordered), _AT_ONCE):
                part = ordered[start : start + _AT_ONCE]
                named = _predicate(one.dataset, table, part)
                yield Removal(uuid.uuid4().hex, table, named, _updates(one, table)), len(part)

    def _version(self, table: str) -> int:
        return int(DeltaTable(str(self._path(table))).version())

    def _planned(self, item: Erasure, dataset: Dataset, removal: Removal, rows: int) -> Retired:
        """What the ledger needs to know: so many rows of silver are gone."""
        return Retired(
            removal_id=removal.id,
            table=removal.table,
            dataset=dataset.id,
            state="planned",
            basis=BASIS,
            cutoff_at=None,
            contract_version=dataset.version,
            version=self._version(removal.table),
            rows=rows,
            bytes=0,
            inserted=0,
            floors=None,
            run_id=f"erasure-{item.erasure_id}",
            removed_by=item.erased_by,
            recorded_at=datetime.now(UTC),
        )

    def finish(self, item: Erasure) -> Erased:
        """Move pins, drop older versions, certify."""
        settle(self.settings)
        if item.state == "emptied":
            pins = self._move_pins(item)
            item = _moved(self.settings, item, "released", {**item.details, "pins": pins})
            self.step("released")
        if item.state == "released":
            removed = self._purge(item)
            self.step("purged")
            item = replace(item, details_json=_json({**item.details, **removed}))
            path = certificate.write(self.settings, item.erasure_id, self._statement(item))
            item = _moved(self.settings, item, "done", {**item.details, "certificate": str(path)})
        return Erased(item, Path(str(item.details["certificate"])))

    def _move_pins(self, item: Erasure) -> Mapping[str, int]:
        """Publish what no longer holds the person; returns the versions that people are shown now.

        Raises:
            NotErased: a version did not pass, so that the one with the person is still shown.
        """
        clean = {
            table.partition(".")[2]: int(done["clean_from"])
            for table, done in item.details["tables"].items()
            if table.startswith("silver.")
        }
        platform = Platform(self.settings)

        def behind() -> dict[str, int]:
            return {name: pin for name, pin in pinned(platform).items() if pin < clean.get(name, 0)}

        if behind():
            run_id = f"erasure-{item.erasure_id}-{int(time.time())}"
            manifest = resolve(self.settings, self.registry, run_id)
            domains = sorted({_dataset(self.registry, name).domain for name in behind()})
            verdicts = [
                verdict
                for domain in domains
                for verdict in judge(self.settings, self.registry, manifest, "silver", domain=domain)
                if verdict.dataset in clean
            ]
            moves = publish(
                self.settings, self.registry, manifest, verdicts, item.erased_by, f"erasure {item.erasure_id}"
            )
            if stuck := behind():
                said = "; ".join(move.sentence for move in moves if move.dataset in stuck)
                raise NotErased(
                    f"The person is gone from the tables, but people are still shown older versions: {said}",
                    f"Mend what the verdict says, then `lake erase resume {item.erasure_id}`.",
                )
        shown = pinned(platform)
        return {name: shown[name] for name in clean if name in shown}

    def _purge(self, item: Erasure) -> Mapping[str, Any]:
        """Drop every version that may hold the person; returns what went.

        Raises:
            NotErased: one of them can still be read.
        """
        entries = files = 0
        with ledger.lock(self.settings):
            needed = needed_versions(self.settings, Platform(self.settings), self.registry, datetime.now(UTC))
            for table, done in item.details["tables"].items():
                layer, _, name = table.partition(".")
                path, clean = self._path(table), int(done["clean_from"])
                newest = DeltaTable(str(path)).version()
                keep = tuple(sorted({v for v in needed.get((layer, name), ()) if v >= clean} | {newest}))
                gone = purge(self.settings, layer, path, keep)
                entries, files = entries + gone[0], files + gone[1]
                if clean and _is_readable(path, clean - 1):
                    raise NotErased(
                        f"{table} can still be read at version {clean - 1}, which may hold the person.",
                        f"Look who writes its log, then `lake erase resume {item.erasure_id}`.",
                    )
        return {"log_entries": entries, "data_files": files}

    def _statement(self, item: Erasure) -> Mapping[str, Any]:
        """What the certificate says; it names no person and no token."""
        now = datetime.now(UTC)
        datasets = sorted(
            {name.partition(".")[2] for name in item.details["tables"] if not name.startswith("quality.")}
        )
        streams = [name for name in datasets if _dataset(self.registry, name).stream]
        topics = [self.settings.topic(f"{kind}.{name}") for name in streams for kind in ("raw", "clean")]
        return {
            "erasure_id": item.erasure_id,
            "namespace": self.settings.namespace,
            "subject_sha256": list(item.subjects),
            "reason": item.reason,
            "erased_by": item.erased_by,
            "done_at": now.isoformat(timespec="seconds"),
            "tables": item.details["tables"],
            "refused_payloads": len(item.details.get("payloads", ())),
            "published_versions": item.details.get("pins", {}),
            "log_entries_removed": item.details["log_entries"],
            "data_files_removed": item.details["data_files"],
            "kept_by_law": item.kept_datasets.split(),
            "topics": topics,
            "topics_forget_by": (now + timedelta(days=PERSONAL_DAYS)).isoformat(timespec="seconds") if topics else None,
            "notes": [
                "Change data feed is not enabled on any table; exports are not kept by the platform.",
                "Marts hold counts and no tokens; figures of the past are no longer reproducible row by row.",
                "Records that a source sends again are recognised by a hash of their key and left out or emptied.",
                "Backups of the lake's disk and the source systems are outside of this platform.",
            ],
        }

    def _path(self, table: str) -> Path:
        return self.settings.table_path(*table.split(".", 1))


def _found(settings: Settings, registry: Registry, tokens: Sequence[str], kept: Sequence[str]) -> tuple[Found, ...]:
    return tuple(one for one in find(settings, registry, tokens) if one.dataset.id not in kept)


def _begun(settings: Settings, tokens: Sequence[str]) -> Erasure | None:
    """The newest erasure of any of these tokens that did not come to its end: keys may be rotated in between."""
    asked = set(subject_of(tokens).split(" "))
    open_ones = [one for one in erasures(settings) if asked & set(one.subjects) and one.state != "done"]
    return open_ones[-1] if open_ones else None


def _moved(settings: Settings, item: Erasure, state: State, details: Mapping[str, Any]) -> Erasure:
    item = replace(item, state=state, details_json=_json(details), recorded_at=datetime.now(UTC))
    record(settings, item)
    return item


def _json(details: Mapping[str, Any]) -> str:
    return json.dumps(details, ensure_ascii=False, sort_keys=True)


def _predicate(dataset: Dataset, table: str, places: Sequence[Place]) -> str:
    """SQL that names rows by their raw places alone."""
    parts = []
    for partition in sorted({partition for partition, _ in places}):
        offsets = ", ".join(str(int(offset)) for part, offset in places if part == partition)
        parts.append(f"(raw_partition = {int(partition)} AND raw_offset IN ({offsets}))")
    named = " OR ".join(parts)
    return f"dataset = {literal(dataset.id)} AND ({named})" if table.startswith("quality.") else named


def _updates(one: Found, table: str) -> Mapping[str, str]:
    """Which columns are emptied; none where the row goes."""
    dataset = one.dataset
    if table.startswith("quality.") or (table.startswith("silver.") and one.whole):
        return {}
    return {double_quote(name): value for name, value in _emptied(one, dataset, table)}


def _emptied(one: Found, dataset: Dataset, table: str) -> Iterator[tuple[str, str]]:
    if table.startswith("silver."):
        yield from ((name, "NULL") for name in personal_fields(dataset))
    elif dataset.stream:
        # The bytes as they came, whatever they say: a record of a stream is not written anew.
        yield from (("payload", "NULL"), ("record_key", "NULL"))
    else:
        names = [item.name for item in dataset.fields] if one.whole else personal_fields(dataset)
        yield from ((name, "NULL") for name in (*names, "unknown_json"))
        if one.whole:
            yield from (("record_key", "NULL"), (system.OPERATION, literal(system.ERASED)))


def _how(one: Found, table: str) -> str:
    return "emptied" if _updates(one, table) else "deleted"


def _lease(dataset: Dataset, table: str) -> str:
    """What allows to write a table."""
    if table == f"quality.{DEAD_LETTER}":
        return table
    if table.startswith("quality."):
        return "quality.compaction"
    return table if dataset.stream else f"silver.{dataset.id}"


def _is_readable(path: Path, version: int) -> bool:
    try:
        DeltaTable(str(path), version=version)
    except DeltaError:
        return False
    return True


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """No other erasure runs in the namespace.

    Raises:
        LakeError: one does.
    """
    folder = settings.lake_root / settings.namespace / "_locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "erasure.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise LakeError("Another erasure runs in this namespace.", "Wait for its end.") from None
    try:
        yield
    finally:
        lock.release()


def _dataset(registry: Registry, name: str) -> Dataset:
    try:
        return registry.dataset(name)
    except KeyError as error:
        raise LakeError(f"There is no dataset {name!r}.", str(error.args[0])) from None
