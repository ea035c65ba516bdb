"""What the contracts' retention asks to leave which table: rules from the contracts alone, counts from the tables.

- bronze: rows whose day of receipt is older than ``retention.bronze``. Whole partitions leave, no file is read.
- silver: rows whose event time (else receipt) is older than ``retention.silver``, or than ``by`` says of their code.
- quality.dead_letter and quarantine: by receipt as the dataset's bronze, because they hold what bronze holds.
- quality.outcome: rows below the floor of bronze. Nobody can ask about such a record any more; totals are folded.

Gold is not here: dbt builds it anew from what silver still holds. Nor are verdicts, results and loads, which hold no
rows of datasets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal

import pyarrow as pa
import pyarrow.dataset as pads
from deltalake import DeltaTable

from pipelines.contracts.durations import kept_from
from pipelines.contracts.model import Dataset
from pipelines.contracts.names import double_quote, literal
from pipelines.contracts.registry import Registry
from pipelines.contracts.validators import PERSONAL_DAYS
from pipelines.landing.tables import DEAD_LETTER, OUTCOME, QUARANTINE
from pipelines.runtime.delta import arrow_dataset
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings

UNKNOWN = "unknown"
"""The dataset of dead letters that nobody could read; they may be anybody's, so they go as soon as personal ones."""
_INSTANT: Any = pa.timestamp("us", tz="UTC")
Value = datetime | date | int | str | tuple[str, ...] | None
Operator = Literal["<", "=", "in", "is null"]
_SHARED = (QUARANTINE, DEAD_LETTER)


@dataclass(frozen=True)
class Condition:
    """One comparison of a column with a value; a NULL column matches ``is null`` alone."""

    column: str
    operator: Operator
    value: Value = None

    @property
    def sql(self) -> str:
        """As delta-rs reads it."""
        name = double_quote(self.column)
        if self.operator == "is null":
            return f"{name} IS NULL"
        if isinstance(self.value, tuple):
            return f"{name} IN ({', '.join(literal(item) for item in self.value)})"
        return f"{name} {self.operator} {_literal(self.value)}"

    @property
    def expression(self) -> pads.Expression:
        """As Arrow reads it."""
        column = pads.field(self.column)
        if self.operator == "is null":
            return column.is_null()
        if isinstance(self.value, tuple):
            return column.isin(list(self.value))
        value = pa.scalar(self.value, _INSTANT) if isinstance(self.value, datetime) else self.value
        return column < value if self.operator == "<" else column == value


def _literal(value: Value) -> str:
    if isinstance(value, datetime):
        # A plain TIMESTAMP of DataFusion has another unit than the column, and files could not be left out by it.
        return f"""arrow_cast('{value.isoformat()}', 'Timestamp(Microsecond, Some("UTC"))')"""
    if isinstance(value, date):
        return f"DATE '{value.isoformat()}'"
    return literal(value)


Terms = tuple[tuple[Condition, ...], ...]
"""A row goes when all tests of one of these hold."""


def predicate(terms: Terms) -> str:
    """The terms in the SQL of delta-rs."""
    return " OR ".join(f"({' AND '.join(test.sql for test in tests)})" for tests in terms)


def expression(terms: Terms) -> pads.Expression:
    """The same for Arrow."""
    found: pads.Expression | None = None
    for tests in terms:
        term = tests[0].expression
        for test in tests[1:]:
            term = term & test.expression
        found = term if found is None else found | term
    if found is None:
        raise ValueError("no terms: nothing would be told from everything")
    return found


@dataclass(frozen=True)
class Rule:
    """What leaves one table of one dataset: rows that match ``terms``, told by ``basis``, older than ``cutoff_at``.

    ``kept`` is how long rows stay; ``lease`` is what allows to write the table.
    """

    table: str
    dataset: str
    basis: str
    kept: timedelta
    cutoff_at: datetime | None
    terms: Terms
    contract_version: str
    lease: str


@dataclass(frozen=True)
class Due:
    """A rule with what it finds: ``rows`` go, of ``files`` that are written anew or dropped and hold ``bytes``;
    ``next_at`` is when the next row falls due. ``note`` says why nothing is done although rows are due."""

    rule: Rule
    rows: int = 0
    files: int = 0
    bytes: int = 0
    next_at: datetime | None = None
    note: str = ""


def rules(registry: Registry, now: datetime) -> tuple[Rule, ...]:
    """Every rule of the contracts at an instant, by table; nothing is read.

    Raises:
        LakeError: a contract tells time by a column from which no age follows.
    """
    found: list[Rule] = []
    for dataset in registry.datasets:
        if dataset.mart:
            continue
        if not dataset.derived:
            found.append(_bronze(dataset, now))
        found.append(_silver(dataset, registry, now))
        found += [_shared(name, dataset.id, dataset.retention.bronze, dataset.version, now) for name in _SHARED]
    found.append(_shared(DEAD_LETTER, UNKNOWN, timedelta(days=PERSONAL_DAYS), "", now))
    return tuple(sorted(found, key=lambda rule: (rule.table, rule.dataset)))


def _bronze(dataset: Dataset, now: datetime) -> Rule:
    kept = dataset.retention.bronze
    cutoff = kept_from(kept, now)
    terms = ((Condition("received_date", "<", cutoff.date()),),)
    # A load of a sector table holds the lease of its silver table, and writes both.
    lease = f"{'silver' if dataset.sector else 'bronze'}.{dataset.id}"
    return Rule(f"bronze.{dataset.id}", dataset.id, "received_date", kept, cutoff, terms, dataset.version, lease)


def _silver(dataset: Dataset, registry: Registry, now: datetime) -> Rule:
    name, kept = dataset.event_time, dataset.retention.silver
    terms = list(_older(dataset, kept_from(kept, now)))
    by = dataset.retention.by
    if by is not None:
        codes: dict[int, list[str]] = {}
        code_list = registry.code_list(by.code_list)
        for row in code_list.rows:
            codes.setdefault(int(row[by.days]), []).append(str(row[code_list.key]))
        for days, listed in sorted(codes.items()):
            if timedelta(days=days) < kept:
                chosen = Condition(by.field, "in", tuple(sorted(listed)))
                terms += [(chosen, *tests) for tests in _older(dataset, kept_from(timedelta(days=days), now))]
    table = f"silver.{dataset.id}"
    return Rule(
        table, dataset.id, name or "received_at", kept, kept_from(kept, now), tuple(terms), dataset.version, table
    )


def _older(dataset: Dataset, cutoff: datetime) -> Terms:
    """Rows before an instant by the event time; by the receipt where there is none."""
    received = Condition("received_at", "<", cutoff)
    if dataset.event_time is None:
        return ((received,),)
    item = dataset.field(dataset.event_time)
    if item.type.name not in {"timestamp", "date"}:
        raise LakeError(
            f"{dataset.id}: no age follows from {item.name}, which is {item.type}.",
            "Retention needs an event time or a cursor that is a timestamp or a date.",
        )
    dated = Condition(item.name, "<", cutoff if item.type.name == "timestamp" else cutoff.date())
    return ((dated,),) if item.required else ((dated,), (Condition(item.name, "is null"), received))


def _shared(name: str, dataset: str, kept: timedelta, version: str, now: datetime) -> Rule:
    cutoff = kept_from(kept, now)
    terms = ((Condition("dataset", "=", dataset), Condition("received_at", "<", cutoff)),)
    # Landing writes dead letters as a table of its own, and compacts the others.
    lease = f"quality.{DEAD_LETTER}" if name == DEAD_LETTER else "quality.compaction"
    return Rule(f"quality.{name}", dataset, "received_at", kept, cutoff, terms, version, lease)


def outcome_rule(dataset: Dataset, floors: Mapping[int, int]) -> Rule | None:
    """Outcomes below the floors of bronze, raw partition → first offset that stays; None without a floor."""
    own = Condition("dataset", "=", dataset.id)
    terms = tuple(
        (
            own,
            Condition("raw_partition", "=", part),
            Condition("raw_offset", "<", first),
        )
        for part, first in sorted(floors.items())
    )
    if not terms:
        return None
    kept = dataset.retention.bronze
    table = f"quality.{OUTCOME}"
    return Rule(table, dataset.id, "raw_offset", kept, None, terms, dataset.version, "quality.compaction")


# ── what the tables say ──────────────────────────────────────────────────────────────────────────────────────────


def opened(settings: Settings, table: str) -> DeltaTable | None:
    """The newest version of a table; None when there is none, or the name is that of a folder of files."""
    if "." not in table:
        return None
    path = settings.table_path(*table.split(".", 1))
    return DeltaTable(str(path)) if (path / "_delta_log").is_dir() else None


def look(rule: Rule, table: DeltaTable) -> Due:
    """Count what is due.

    The statistics of the log leave out the files that cannot hold such a row; of the others the tested columns are
    read. A table in which nothing is due costs a look at its log.
    """
    wanted = expression(rule.terms)
    source = arrow_dataset(table)
    touched = {fragment.path for fragment in source.get_fragments(filter=wanted)}
    rows = source.count_rows(filter=wanted) if touched else 0
    if not rows:
        return Due(rule, next_at=_next(rule, table))
    actions = pa.table(table.get_add_actions(flatten=True)).select(["path", "size_bytes"]).to_pylist()
    return Due(rule, rows, len(touched), sum(item["size_bytes"] for item in actions if item["path"] in touched))


def floors(rule: Rule, table: DeltaTable) -> dict[int, int]:
    """Raw partition → the offset after the last one that the rule takes out of bronze."""
    places = arrow_dataset(table).to_table(["raw_partition", "raw_offset"], filter=expression(rule.terms))
    return floors_of(places)


def floors_of(places: pa.Table) -> dict[int, int]:
    """Raw partition → the offset after the highest of these."""
    highest = places.group_by("raw_partition").aggregate([("raw_offset", "max")]).to_pylist()
    return {int(row["raw_partition"]): int(row["raw_offset_max"]) + 1 for row in highest}


def _next(rule: Rule, table: DeltaTable) -> datetime | None:
    """When the oldest row falls due, as the statistics of the log know it; None for an empty table, or without a time.

    Where kinds of rows are kept differently it is the table's own retention: a row may be due earlier.
    """
    if rule.cutoff_at is None:
        return None
    actions = pa.table(table.get_add_actions(flatten=True))
    if "partition.dataset" in actions.column_names:
        actions = actions.filter(pads.field("partition.dataset") == rule.dataset)
    for name in (f"partition.{rule.basis}", f"min.{rule.basis}"):
        if name in actions.column_names:
            known = [value for value in actions[name].to_pylist() if value is not None]
            return due_at(_instant(min(known)), rule.kept) if known else None
    return None


def _instant(value: Any) -> datetime:
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    return datetime.combine(value, time(), UTC)


def due_at(oldest: datetime, kept: timedelta) -> datetime:
    """The midnight (UTC) from which on a row of this time is older than what is kept."""
    day = (oldest + kept).replace(hour=0, minute=0, second=0, microsecond=0)
    return day + timedelta(days=1)


def by_table(found: Iterable[Due]) -> dict[str, list[Due]]:
    """What is due, by table."""
    tables: dict[str, list[Due]] = {}
    for item in found:
        if item.rows and not item.note:
            tables.setdefault(item.rule.table, []).append(item)
    return tables


def all_terms(found: Sequence[Due]) -> Terms:
    """The terms of several rules of one table."""
    return tuple(tests for item in found for tests in item.rule.terms)
