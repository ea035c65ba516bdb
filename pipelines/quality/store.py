"""Where judgements rest: ``quality.result``, ``quality.verdict`` and ``quality.decision`` (delta-rs, append)."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from filelock import FileLock

from pipelines.contracts.targets.delta import PROPERTIES
from pipelines.quality.model import GOOD, Decision, RuleResult, Verdict
from pipelines.runtime.delta import arrow_table
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings

_TEXT, _TEXTS, _COUNT = pa.string(), pa.list_(pa.string()), pa.int64()
_INSTANT = pa.timestamp("us", tz="UTC")


def _schema(columns: Sequence[tuple[str, pa.DataType]]) -> pa.Schema:
    return pa.schema([pa.field(name, kind) for name, kind in columns])


_SCHEMAS: Mapping[str, pa.Schema] = {
    "verdict": _schema(
        [
            ("run_id", _TEXT),
            ("layer", _TEXT),
            ("dataset", _TEXT),
            ("version", _COUNT),
            ("verdict", _TEXT),
            ("failed_rules", _TEXTS),
            ("warned_rules", _TEXTS),
            ("waived_rules", _TEXTS),
            ("row_count", _COUNT),
            ("suite_sha256", _TEXT),
            ("contract_version", _TEXT),
            ("reused_from", _TEXT),
            ("judged_at", _INSTANT),
            ("duration_s", pa.float64()),
        ]
    ),
    "result": _schema(
        [
            ("run_id", _TEXT),
            ("layer", _TEXT),
            ("dataset", _TEXT),
            ("version", _COUNT),
            ("rule", _TEXT),
            ("severity", _TEXT),
            ("success", pa.bool_()),
            ("text_vi", _TEXT),
            ("text_en", _TEXT),
            ("checked_count", _COUNT),
            ("broken_count", _COUNT),
            ("observed", _TEXT),
            ("problem", _TEXT),
            ("sample_keys", _TEXTS),
            ("judged_at", _INSTANT),
        ]
    ),
    "decision": _schema(
        [
            ("decision_id", _TEXT),
            ("dataset", _TEXT),
            ("rule", _TEXT),
            ("reason", _TEXT),
            ("valid_until", pa.date32()),
            ("decided_by", _TEXT),
            ("decided_at", _INSTANT),
        ]
    ),
}
_TITLES = {
    "verdict": "Kết luận chất lượng của từng phiên bản — Verdict of every judged version",
    "result": "Kết quả từng quy tắc chất lượng — Result of every quality rule",
    "decision": "Quyết định của người quản lý dữ liệu — Decisions of data stewards",
}


def lock(settings: Settings) -> FileLock:
    """The lock under which one process reads and appends, so that a retried task doubles nothing."""
    folder = settings.lake_root / settings.namespace / "_locks"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / "quality.lock", timeout=120)


def read(settings: Settings, name: str, filters: Sequence[tuple[str, str, Any]] = ()) -> list[dict[str, Any]]:
    """The rows of one of the tables, ``filters`` joined by and; none when the table does not exist yet."""
    path = str(settings.table_path("quality", name))
    if not DeltaTable.is_deltatable(path):
        return []
    table = arrow_table(DeltaTable(path), filters=list(filters) or None)
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def append(settings: Settings, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Append rows to one of the tables and create it before; no rows write nothing but the empty table."""
    path = settings.table_path("quality", name)
    data = pa.Table.from_pylist([dict(row) for row in rows], schema=_SCHEMAS[name])
    if not data.num_rows and DeltaTable.is_deltatable(str(path)):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_deltalake(
        str(path), data, mode="append", name=name, description=_TITLES[name], configuration=dict(PROPERTIES)
    )


def save(settings: Settings, judged: Sequence[tuple[Verdict, Sequence[RuleResult]]]) -> None:
    """Write results, then verdicts; the caller holds :func:`lock`.

    A verdict makes its results count. What a crash left between the two is replaced when the run is judged again.
    """
    with_results = [(verdict, results) for verdict, results in judged if results]
    if with_results:
        _drop_results(settings, [verdict for verdict, _ in with_results])
    append(
        settings,
        "result",
        (
            {
                **asdict(result),
                "run_id": verdict.run_id,
                "layer": verdict.layer,
                "dataset": verdict.dataset,
                "version": verdict.version,
                "judged_at": verdict.judged_at,
            }
            for verdict, results in with_results
            for result in results
        ),
    )
    append(settings, "verdict", (asdict(verdict) for verdict, _ in judged))


def _drop_results(settings: Settings, verdicts: Sequence[Verdict]) -> None:
    path = str(settings.table_path("quality", "result"))
    if not DeltaTable.is_deltatable(path):
        return
    run_id = verdicts[0].run_id
    found = {(row["layer"], row["dataset"]) for row in read(settings, "result", [("run_id", "=", run_id)])}
    for verdict in verdicts:
        if (verdict.layer, verdict.dataset) in found:
            quoted = {k: v.replace("'", "''") for k, v in asdict(verdict).items() if isinstance(v, str)}
            DeltaTable(path).delete(
                "run_id = '{run_id}' AND layer = '{layer}' AND dataset = '{dataset}'".format(**quoted)
            )


def verdicts(settings: Settings, filters: Sequence[tuple[str, str, Any]] = ()) -> list[Verdict]:
    """Every verdict ever given that matches, oldest first."""
    names = [f.name for f in fields(Verdict)]
    found = []
    for row in read(settings, "verdict", filters):
        values = {name: row[name] for name in names}
        for name in ("failed_rules", "warned_rules", "waived_rules"):
            values[name] = tuple(values[name] or ())
        found.append(Verdict(**values))
    return sorted(found, key=lambda v: (v.judged_at, v.layer, v.dataset))


def newest(found: Iterable[Verdict]) -> dict[tuple[str, str], Verdict]:
    """The newest of some verdicts by layer and dataset."""
    return {(v.layer, v.dataset): v for v in sorted(found, key=lambda v: v.judged_at)}


def last_good(settings: Settings, dataset: str) -> int | None:
    """The newest version of a dataset whose last verdict is passed or waived; None when there is none.

    A version that was waived once and failed since (the waiver expired) does not count.
    """
    last: dict[int, Verdict] = {}
    for verdict in verdicts(settings, [("dataset", "=", dataset)]):
        if verdict.version is not None:
            last[verdict.version] = verdict
    return max((version for version, verdict in last.items() if verdict.verdict in GOOD), default=None)


def decisions(settings: Settings) -> list[Decision]:
    """Every decision, oldest first, expired ones included."""
    found = [Decision(**row) for row in read(settings, "decision")]
    return sorted(found, key=lambda d: (d.decided_at, d.decision_id))


def waive(
    settings: Settings, *, dataset: str, rule: str, reason: str, until: date, by: str, now: datetime | None = None
) -> Decision:
    """Record that a steward accepts a broken rule until a day; the next verdict takes it into account.

    Raises:
        LakeError: no reason or name, or a day that is past.
    """
    at = now or datetime.now(UTC)
    if not reason.strip() or not by.strip():
        raise LakeError(
            "Thiếu lý do hoặc người quyết định.", "Give --reason and --by: a waiver is somebody's decision."
        )
    if until < at.date():
        raise LakeError(f"Ngày {until.isoformat()} đã qua.", "Give --until a day from today on (YYYY-MM-DD).")
    decision = Decision(uuid.uuid4().hex, dataset, rule, reason.strip(), until, by.strip(), at)
    with lock(settings):
        append(settings, "decision", [asdict(decision)])
    return decision
