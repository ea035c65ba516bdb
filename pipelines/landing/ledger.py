"""The ledger: what became of every raw record, counted by distinct raw offset, and whether it adds up.

Raw offsets that retention has closed are in no term (see :mod:`pipelines.landing.retired`); rows of silver are counted
across it. No term is the difference of others. A rebuilt job repeats offsets: of several outcomes of one offset that
counts which moved the table most (inserted, deleted, updated, quarantined, unchanged, duplicate, refused). A repeat
finds its own row already there and says `unchanged` (or `updated`, when a newer contract reads more in it), so the
stronger word is the first one, said when it happened.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import duckdb
from deltalake import DeltaTable

from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry
from pipelines.contracts.system import EFFECTS
from pipelines.landing.broker import Range
from pipelines.landing.retired import Retired, closed, records
from pipelines.landing.sink import METADATA_KEY
from pipelines.landing.tables import OUTCOME
from pipelines.runtime.delta import arrow_dataset
from pipelines.runtime.settings import Settings

_LOOK_BACK = 200
"""Versions that are looked at to find the outcomes which belong to a silver version: a busy lake commits outcomes of
all datasets into one table."""
_DISPOSITIONS = ("refused", "duplicate", "on_time", "late", "corrected")
_TERMS = (*_DISPOSITIONS, *EFFECTS)


@dataclass(frozen=True)
class Interval:
    """The raw offsets of one partition in bronze: the closed interval, and how many distinct ones there are."""

    partition: int
    first: int
    last: int
    count: int


@dataclass(frozen=True)
class DatasetLedger:
    """The terms of one dataset in events, each counted on its own.

    `in_flight`: raw records without an outcome yet. `ahead`: outcomes of raw records that bronze does not hold yet
    (they are in no other term). `rows_in_silver` at `silver_version`, `inserted_in_silver` of which outcomes say so,
    folded ones included; `deleted_from_silver` are those that the outcomes which are still there say left it again,
    because their source deleted them; `removed_from_silver` are the rows that left by retention.
    """

    dataset: str
    intervals: tuple[Interval, ...]
    received: int
    refused: int
    duplicate: int
    accepted: int
    on_time: int
    late: int
    corrected: int
    inserted: int
    updated: int
    unchanged: int
    deleted: int
    quarantined: int
    in_flight: int
    ahead: int
    inserted_in_silver: int
    deleted_from_silver: int
    removed_from_silver: int
    rows_in_silver: int
    silver_version: int | None
    violations: tuple[str, ...]


@dataclass(frozen=True)
class Ledger:
    """The ledger of a namespace."""

    namespace: str
    datasets: tuple[DatasetLedger, ...]

    @property
    def violations(self) -> tuple[str, ...]:
        """Every sentence that says what does not add up, each with its dataset's name."""
        return tuple(sentence for entry in self.datasets for sentence in entry.violations)

    @property
    def balances(self) -> bool:
        """Whether everything adds up."""
        return not self.violations

    def to_dict(self) -> dict[str, Any]:
        """The ledger as plain values, for JSON."""
        return {"balances": self.balances, "violations": list(self.violations), **asdict(self)}


def ledger(settings: Settings, registry: Registry, ranges: Mapping[str, Mapping[int, Range]] | None = None) -> Ledger:
    """Count every dataset that has raw records (streams and sector tables), and check the identities.

    `ranges`: what Kafka holds, raw topic with namespace → partition → range; then bronze must hold exactly that.
    """
    gone = records(settings)
    counted = [dataset for dataset in registry.datasets if dataset.stream or dataset.sector]
    entries = [_dataset(settings, dataset, ranges, gone) for dataset in counted]
    return Ledger(settings.namespace, tuple(entries))


def _dataset(
    settings: Settings,
    dataset: Dataset,
    ranges: Mapping[str, Mapping[int, Range]] | None,
    gone: Sequence[Retired],
) -> DatasetLedger:
    silver = _open(settings, "silver", dataset.id)
    outcomes = _outcomes_at(settings, silver)
    bronze = _open(settings, "bronze", dataset.id)
    tables = {f"silver.{dataset.id}": silver, f"bronze.{dataset.id}": bronze, f"quality.{OUTCOME}": outcomes}
    past = closed(gone, dataset.id, {name: table.version() for name, table in tables.items() if table is not None})
    with duckdb.connect() as db:
        _view(db, "bronze", bronze, "raw_partition, raw_offset", "")
        _view(db, "outcome", outcomes, "raw_partition, raw_offset, disposition, effect", dataset.id)
        db.execute("CREATE TABLE floor (raw_partition BIGINT, first BIGINT)")
        if past.floors:
            db.executemany("INSERT INTO floor VALUES (?, ?)", list(past.floors.items()))
        db.execute(_CHOSEN)
        intervals = tuple(Interval(*row) for row in db.execute(_INTERVALS).fetchall())
        # Intervals are closed: an outcome of a record that bronze does not hold yet is told apart.
        ahead, in_flight = _one(db, _PLACES)
        counted = dict(zip(_TERMS, _one(db, _COUNTS), strict=True))
        received, accepted, inserted, deleted = _one(db, _TOTALS)
    rows = silver.count() if silver is not None else 0
    version = silver.version() if silver is not None else None
    entry = DatasetLedger(
        dataset=dataset.id,
        intervals=intervals,
        received=received,
        accepted=accepted,
        in_flight=in_flight,
        ahead=ahead,
        inserted_in_silver=inserted + past.inserted,
        deleted_from_silver=deleted,
        removed_from_silver=past.rows,
        rows_in_silver=rows,
        silver_version=version,
        violations=(),
        **counted,
    )
    asked = None if ranges is None or dataset.stream is None else ranges.get(settings.topic(f"raw.{dataset.id}"), {})
    return DatasetLedger(**{**vars(entry), "violations": tuple(_violations(entry, asked, past.floors))})


_RANK = """CASE WHEN effect = 'inserted' THEN 1 WHEN effect = 'deleted' THEN 2 WHEN effect = 'updated' THEN 3
 WHEN effect = 'quarantined' THEN 4 WHEN effect = 'unchanged' THEN 5 WHEN disposition = 'duplicate' THEN 6 ELSE 7 END"""
_CHOSEN = f"""
CREATE TABLE chosen AS
WITH ranked AS (
    SELECT raw_partition, raw_offset,
           min({{'rank': {_RANK}, 'disposition': disposition, 'effect': coalesce(effect, '')}}) AS best
    FROM outcome GROUP BY ALL
), seen AS (
    SELECT DISTINCT raw_partition, raw_offset FROM bronze LEFT JOIN floor USING (raw_partition)
    WHERE raw_offset >= coalesce(first, 0)
)
SELECT coalesce(r.raw_partition, s.raw_partition) AS raw_partition,
       coalesce(r.raw_offset, s.raw_offset) AS raw_offset,
       s.raw_offset IS NOT NULL AS is_received,
       r.raw_offset IS NOT NULL AS has_outcome,
       r.best.disposition AS disposition,
       nullif(r.best.effect, '') AS effect
FROM ranked AS r FULL JOIN seen AS s USING (raw_partition, raw_offset)"""
_INTERVALS = """
SELECT raw_partition, min(raw_offset), max(raw_offset), count(*) FROM chosen WHERE is_received
GROUP BY raw_partition ORDER BY raw_partition"""
_PLACES = """
SELECT count(*) FILTER (has_outcome AND NOT is_received AND raw_offset >= coalesce(first, 0)),
       count(*) FILTER (is_received AND NOT has_outcome) FROM chosen LEFT JOIN floor USING (raw_partition)"""
_COUNTS = f"""
SELECT {", ".join(f"count(*) FILTER (disposition = '{name}')" for name in _DISPOSITIONS)},
       {", ".join(f"count(*) FILTER (effect = '{name}')" for name in EFFECTS)} FROM chosen WHERE is_received"""
_TOTALS = """
SELECT count(*) FILTER (is_received),
       count(*) FILTER (is_received AND disposition IN ('on_time', 'late', 'corrected')),
       count(*) FILTER (effect = 'inserted'), count(*) FILTER (effect = 'deleted') FROM chosen"""


def _one(db: duckdb.DuckDBPyConnection, sql: str) -> tuple[Any, ...]:
    row = db.execute(sql).fetchone()
    if row is None:
        raise RuntimeError("an aggregate without a row")
    return tuple(row)


def _view(db: duckdb.DuckDBPyConnection, name: str, table: DeltaTable | None, columns: str, dataset_id: str) -> None:
    """Give DuckDB the columns of a table (those rows of one dataset) under a name; an absent table has no rows."""
    if table is None:
        empty = ", ".join(
            f"CAST(NULL AS {'VARCHAR' if c in {'disposition', 'effect'} else 'BIGINT'}) AS {c}"
            for c in columns.split(", ")
        )
        db.execute(f"CREATE TABLE {name} AS SELECT {empty} WHERE FALSE")
        return
    predicate = [("dataset", "=", dataset_id)] if dataset_id else None
    source = arrow_dataset(table, pruned_by=predicate)
    db.register(f"{name}_files", source)
    where = " WHERE dataset = ?" if dataset_id else ""
    db.execute(f"CREATE TABLE {name} AS SELECT {columns} FROM {name}_files{where}", [dataset_id] if dataset_id else [])
    db.unregister(f"{name}_files")


def _open(settings: Settings, layer: str, name: str) -> DeltaTable | None:
    path = settings.table_path(layer, name)
    return DeltaTable(str(path)) if (path / "_delta_log").is_dir() else None


def _outcomes_at(settings: Settings, silver: DeltaTable | None) -> DeltaTable | None:
    """The outcomes that belong to the silver version that was opened.

    Outcomes are committed before silver: while landing works, the newest ones may be of rows that silver gets next.
    """
    outcomes = _open(settings, "quality", OUTCOME)
    if outcomes is None or silver is None:
        return outcomes
    landed = _offsets(silver)
    newest = outcomes.version()
    for version in range(newest, max(newest - _LOOK_BACK, -1), -1):
        if version != newest:
            outcomes.load_as_version(version)
        if all((outcomes.transaction_version(app) or 0) <= end for app, end in landed.items()):
            return outcomes
    return _open(settings, "quality", OUTCOME)


def _offsets(silver: DeltaTable) -> dict[str, int]:
    """App id → next offset as the newest landing commit of the table says."""
    offsets: dict[str, int] = {}
    for commit in silver.history(_LOOK_BACK):
        for app, end in json.loads(str(commit.get(METADATA_KEY, "{}"))).items():
            offsets[app] = max(int(end), offsets.get(app, 0))
    return offsets


def _violations(entry: DatasetLedger, ranges: Mapping[int, Range] | None, floors: Mapping[int, int]) -> list[str]:
    found: list[str] = []

    def equal(left: str, left_value: int, right: str, right_value: int) -> None:
        if left_value != right_value:
            found.append(f"{entry.dataset}: {left} = {left_value}, but {right} = {right_value}")

    equal(
        "received", entry.received, "refused + duplicate + accepted + in flight",
        entry.refused + entry.duplicate + entry.accepted + entry.in_flight,
    )  # fmt: skip
    equal("accepted", entry.accepted, "on time + late + corrected", entry.on_time + entry.late + entry.corrected)
    equal(
        "accepted", entry.accepted, "inserted + updated + unchanged + deleted + quarantined",
        entry.inserted + entry.updated + entry.unchanged + entry.deleted + entry.quarantined,
    )  # fmt: skip
    terms = {
        "inserted": entry.inserted_in_silver,
        "deleted": -entry.deleted_from_silver,
        "removed by retention": -entry.removed_from_silver,
    }
    left = " − ".join(name for name, count in terms.items() if name == "inserted" or count)
    equal("rows in silver", entry.rows_in_silver, left, sum(terms.values()))
    found += [
        f"{entry.dataset}: bronze partition {span.partition} holds {span.count} offsets of "
        f"{span.first} … {span.last}, which are {span.last - span.first + 1}"
        for span in entry.intervals
        if span.count != span.last - span.first + 1
    ]
    if ranges is not None:
        found += _against_kafka(entry, ranges, floors)
    return found


def _against_kafka(entry: DatasetLedger, ranges: Mapping[int, Range], floors: Mapping[int, int]) -> list[str]:
    found: list[str] = []
    if entry.ahead:
        found.append(f"{entry.dataset}: {entry.ahead} outcomes are of raw records that bronze does not hold")
    held = {span.partition: span for span in entry.intervals}
    for partition, range_ in sorted(ranges.items()):
        # Bronze may begin earlier or later: Kafka forgets by its retention, bronze by its own.
        low = max(range_.low, floors.get(partition, 0))
        if low >= range_.high:
            continue
        span = held.get(partition)
        if span is None or span.first > low or span.last != range_.high - 1:
            has = "nothing" if span is None else f"{span.first} … {span.last}"
            found.append(
                f"{entry.dataset}: bronze partition {partition} holds {has}, "
                f"Kafka holds {low} … {range_.high - 1}; `lake landing drain` waits for what is on its way"
            )
    return found
