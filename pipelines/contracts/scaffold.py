"""Scaffolds a contract from a sample of the data: what can be inferred is written, what cannot is asked."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from pipelines.contracts.draft import Draft
from pipelines.contracts.logical_types import LogicalType, parse
from pipelines.contracts.model import CLASSIFICATIONS, FieldDefinition
from pipelines.contracts.naming import Vocabulary, likely_source, proposed_entry, spelled, title_of
from pipelines.contracts.registry import Registry
from pipelines.contracts.words import UNWRITTEN, unwritten

_compute: Any = pyarrow.compute
_KEY_FIELDS = 3
_KEY_CANDIDATES = 12
_IDENTIFYING = frozenset({"string", "integer", "bigint", "date", "timestamp"})
_CADENCES = (("1 s", 1), ("10 s", 10), ("1 min", 60), ("5 min", 300), ("10 min", 600), ("15 min", 900),
             ("30 min", 1800), ("1 h", 3600), ("6 h", 21_600), ("24 h", 86_400))  # fmt: skip
_NAMED_EVENT = re.compile(r"observ|measur|event|record|captur|detect|phenomenon|(^|_)time$|timestamp|quan_trac")
_NAMED_CHANGE = re.compile(r"updat|modif|chang|cap_nhat")
_NAMED_KEY = re.compile(r"(^|_)(id|code|no|ma|key|token)(_|$)")


@dataclass(frozen=True)
class Sampled:
    """A sample as it was read. ``key`` and ``place`` (schema, table) are what a database says of itself, ``notes`` what
    reading it met; ``name`` says what it is a sample of, without a machine's paths."""

    rows: pa.Table
    name: str
    key: tuple[str, ...] = ()
    place: tuple[str, str] | None = None
    notes: tuple[str, ...] = ()


@dataclass
class _Column:
    """One column on its way to a field."""

    column: str
    values: pa.ChunkedArray[Any]
    kind: LogicalType
    name: str
    entry: Mapping[str, Any] | None = None
    known: FieldDefinition | None = None

    @property
    def is_full(self) -> bool:
        return self.values.null_count == 0

    @property
    def classification(self) -> str:
        return self.known.classification if self.known else str((self.entry or {})["classification"])


@dataclass
class _Scaffold:
    """What is decided so far, and what the author is told."""

    notes: list[str] = field(default_factory=list)
    columns: list[_Column] = field(default_factory=list)


def scaffold(
    dataset_id: str, sampled: Sampled, registry: Registry, *, domain: str | None = None, owner: str | None = None
) -> Draft:
    """Draft a contract called ``dataset_id`` for data like the sample.

    A sample with a key that holds an instant is taken for a stream, any other for a sector table.

    Raises:
        ValueError: the sample has no column that a contract can hold.
    """
    work = _Scaffold(list(sampled.notes))
    work.columns = list(_columns(sampled, registry, work.notes))
    if not work.columns:
        raise ValueError(f"{sampled.name} has no column with single values: a contract has flat rows")
    rows = sampled.rows.num_rows
    if rows < 20:
        work.notes.append(f"the sample has {rows} rows: types, key and cadence are guesses from very little")
    declared = [c for name in sampled.key for c in work.columns if c.column == name]
    key = declared if declared and len(declared) == len(sampled.key) else _guess_key(work)
    times = [c for c in work.columns if c.kind.name == "timestamp" and c.is_full]
    event = None if sampled.place else next((c for c in key if c in times), None)
    chosen = domain or _likely_domain(registry, [c.name for c in work.columns if c.known])
    if domain is None:
        work.notes.append(f"domain: {chosen} has most of these fields; name another with --domain")
    contract: dict[str, Any] = {
        "id": dataset_id,
        "domain": chosen,
        "version": "1.0.0",
        "title": unwritten(title_of(dataset_id), title_of(dataset_id)),
        "description": {"purpose": unwritten(f"dữ liệu như trong {sampled.name}", f"data as in {sampled.name}")},
        "owner": owner or _likely_owner(registry, chosen),
        "classification": _highest(c.classification for c in work.columns),
        "grain": f"{UNWRITTEN.en}: one row per {', '.join(c.name for c in key)}",
        "key": [c.name for c in key],
    }
    if owner is None:
        work.notes.append(f"owner: {contract['owner']} is a guess; name the agency with --owner")
    needed = {c.name for c in key} | ({event.name} if event else set())
    if event:
        contract |= _stream(event, key, registry, chosen, work.notes)
    else:
        contract |= _sector(dataset_id, sampled, times, contract, registry, work.notes)
        needed |= {contract["sector"].get("cursor")} - {None}
    contract["fields"] = [{c.name: {"required": True}} if c.name in needed else c.name for c in work.columns]
    full = [c.name for c in work.columns if c.is_full and c.name not in needed]
    if full:
        work.notes.append(
            f"never empty in the sample, and yet optional: {', '.join(full)}; make `required` what must be"
        )
    contract |= _protection(contract, registry, work.notes)
    contract["quality"] = [{"rule": "row_count", "minimum": 1}]
    fields = {c.name: c.entry for c in work.columns if c.entry is not None}
    return Draft(contract, fields, tuple(work.notes))


# ── columns ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _columns(sampled: Sampled, registry: Registry, notes: list[str]) -> Iterator[_Column]:
    vocabulary = Vocabulary(registry.dictionary)
    taken: set[str] = set()
    for column in sampled.rows.column_names:
        values = sampled.rows[column]
        kind = logical_type(values, declared=sampled.place is not None)
        if kind is None:
            notes.append(f"column {column!r} holds {values.type}, which has no place in a flat row; it is left out")
            continue
        if values.null_count == len(values):
            notes.append(f"column {column!r} is empty in the sample: that it is a text is a guess")
        name = vocabulary.find(column)
        if name is not None and name not in taken:
            known = registry.dictionary[name]
            if not _fits(kind, known.type):
                notes.append(
                    f"column {column!r} looks like {kind}, the field {name!r} is {known.type}: another meaning?"
                )
            yield from _told(_Column(column, values, kind, name, known=known), taken, notes)
            continue
        name, entry = proposed_entry(column, kind, taken={*registry.dictionary, *taken})
        if kind.name == "timestamp" and values.type.tz is None:
            notes.append(f"column {column!r} has times without a zone: they are taken as UTC, the source must say so")
        if entry["classification"] == "personal":
            how = "as a token only" if "tokenise" in entry else "and withheld from readers"
            notes.append(
                f"column {column!r} looks personal: {name!r} is stored {how}; decide whether it is needed at all"
            )
        yield from _told(_Column(column, values, kind, name, entry=entry), taken, notes)


def _told(column: _Column, taken: set[str], notes: list[str]) -> Iterator[_Column]:
    """Take a name, and say so when the source calls the column otherwise."""
    taken.add(column.name)
    tokenise = column.known.tokenise if column.known else (column.entry or {}).get("tokenise")
    if column.column != column.name and not tokenise:
        notes.append(f"column {column.column!r} is the field {column.name!r}: the source has to send it by that name")
    yield column


def logical_type(values: pa.ChunkedArray[Any], *, declared: bool = False) -> LogicalType | None:
    """The logical type of a sample column; None when it holds lists, structures or bytes.

    ``declared``: a database says the type, which holds for all rows to come. Otherwise whole numbers are integers while
    they fit 32 bits, and binary fractions with few digits are exact decimals.
    """
    kind = values.type
    if pa.types.is_null(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return parse("string")
    if pa.types.is_boolean(kind):
        return parse("boolean")
    if declared and kind in (pa.int64(), pa.float64()):
        return parse("bigint" if kind == pa.int64() else "double")
    if pa.types.is_integer(kind):
        limits = _compute.min_max(values)
        small = all(limit is None or -(2**31) <= limit < 2**31 for limit in limits.as_py().values())
        return parse("integer" if small else "bigint")
    if pa.types.is_decimal(kind):
        return LogicalType("decimal", kind.precision, kind.scale)
    if pa.types.is_floating(kind):
        return _decimal(values)
    if pa.types.is_date(kind):
        return parse("date")
    if pa.types.is_timestamp(kind):
        return parse("timestamp")
    return None


def _decimal(values: pa.ChunkedArray[Any]) -> LogicalType:
    """``decimal(9,3)`` as the dictionary's measures where that holds every value, a wider one, or a double."""
    exact = [Decimal(repr(value)) for value in values.to_pylist() if value is not None]
    if not all(number.is_finite() for number in exact):
        return parse("double")
    scale = max((-int(n.normalize().as_tuple().exponent) for n in exact if n), default=0)
    whole = max((n.adjusted() + 1 for n in exact if n), default=1)
    if scale > 6 or whole + scale > 15:
        return parse("double")
    scale = max(scale, 3)
    return LogicalType("decimal", max(9, max(whole, 1) + scale), scale)


def _fits(found: LogicalType, known: LogicalType) -> bool:
    """Whether values of an inferred type may be those of a known field."""
    if found.is_numeric and (known.is_numeric or known.name == "string"):
        return True
    return found.name == known.name or (found.name == "string" and known.name == "string")


# ── key ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _guess_key(work: _Scaffold) -> list[_Column]:
    """The fewest columns that no two rows share: ids before instants before the rest, never a measure."""
    able = [c for c in work.columns if c.is_full and c.kind.name in _IDENTIFYING and not _is_measure(c)]
    ranked = sorted(able, key=_rank)[:_KEY_CANDIDATES]
    # First among what is called an id or says when; other columns are unique by chance more often than by nature.
    likely = [c for c in ranked if _rank(c)[0] < _CHANCE]
    for candidates in (likely, ranked):
        for size in range(1, _KEY_FIELDS + 1):
            for chosen in combinations(candidates, size):
                # An instant alone is unique by chance too: it says when, not what.
                if all(c.kind.name == "timestamp" for c in chosen) and len(able) > 1:
                    continue
                if _is_unique(chosen):
                    names = ", ".join(c.name for c in chosen)
                    work.notes.append(f"key: {names} is unique in the sample; is it in all data, for ever?")
                    return list(chosen)
    fallback = ranked[:1] or work.columns[:1]
    first = fallback[0].name
    work.notes.append(
        f"key: no {_KEY_FIELDS} columns are unique in the sample; {first!r} stands there until you choose"
    )
    return fallback


def _is_measure(column: _Column) -> bool:
    """Whether a column counts or measures something, so that it is unique by chance only."""
    unit = column.known.unit if column.known else (column.entry or {}).get("unit")
    return bool(unit) or column.name.endswith("_count")


_CHANCE = 2


def _rank(column: _Column) -> tuple[int, int]:
    """How likely a column is part of a key: 0 called an id, 1 an instant, from :data:`_CHANCE` on anything else."""
    named = bool(_NAMED_KEY.search(spelled(column.column)) or _NAMED_KEY.search(column.name))
    if named:
        return 0, 0
    if column.kind.name == "timestamp":
        return (1, 0) if _NAMED_EVENT.search(column.name) else (1, 1)
    return _CHANCE, 0 if column.kind.name in {"integer", "bigint", "date"} else 1


def _is_unique(columns: Sequence[_Column]) -> bool:
    count = len(columns[0].values)
    arrays: list[Any] = [column.values for column in columns]
    table = pa.table(arrays, names=[str(number) for number in range(len(arrays))])
    return bool(count) and table.group_by(table.column_names).aggregate([]).num_rows == count


# ── where it comes from ──────────────────────────────────────────────────────────────────────────────────────────


def _stream(
    event: _Column, key: Sequence[_Column], registry: Registry, domain: str, notes: list[str]
) -> dict[str, Any]:
    cadence, seconds = _cadence(event, [c for c in key if c is not event])
    peers = [d.stream.dedupe for d in registry.streams() if d.stream and d.domain == domain]
    dedupe = Counter(peers).most_common(1)[0][0] if peers else timedelta(hours=24)
    hours = max(1, int(dedupe.total_seconds()) // 3600)
    watermark = cadence if seconds >= 60 else "1 min"
    notes.append(
        f"stream: a reading every {cadence} by the sample, hence cadence, watermark and freshness; rebuild is how far "
        "back the raw topic must reach"
    )
    day = f"{event.name.removesuffix('_at')}_date"
    return {
        "partition": day,
        "stream": {
            "event_time": event.name,
            "watermark": watermark,
            "cadence": cadence,
            "dedupe": f"{hours} h",
            "rebuild": f"{max(7, -(-hours // 24))} d",
        },
        "sla": {"freshness": f"{max(2 * seconds, 60) // 60} min"},
    }


def _cadence(event: _Column, entity: Sequence[_Column]) -> tuple[str, int]:
    """The usual time between two readings of one entity, rounded up to a step that people use, and its seconds."""
    instants = event.values.cast(pa.timestamp("us", tz=event.values.type.tz)).cast(pa.int64()).to_numpy()
    owners = list(zip(*(c.values.to_pylist() for c in entity), strict=True)) if entity else [()] * len(instants)
    by_owner: dict[Any, list[int]] = {}
    for owner, instant in zip(owners, instants.tolist(), strict=True):
        by_owner.setdefault(owner, []).append(instant)
    gaps = [gap for own in by_owner.values() for gap in np.diff(np.unique(own)).tolist()]
    usual = float(np.median(gaps)) / 1e6 if gaps else 60.0
    return next(((text, seconds) for text, seconds in _CADENCES if usual <= seconds), _CADENCES[-1])


def _sector(
    dataset_id: str,
    sampled: Sampled,
    times: Sequence[_Column],
    contract: Mapping[str, Any],
    registry: Registry,
    notes: list[str],
) -> dict[str, Any]:
    schema, table = sampled.place or (contract["domain"], dataset_id)
    if sampled.place is None:
        notes.append(f"sector: a file names no database; {schema}.{table} is where the table will be looked for")
    source, note = likely_source(registry, contract["owner"], schema)
    notes += [note] if note else []
    sector: dict[str, Any] = {"source": source, "schema": schema, "table": table}
    cursor = next((c for c in times if _NAMED_CHANGE.search(c.name)), None)
    if cursor:
        sector |= {"mode": "cursor", "cursor": cursor.name, "lag": "1 h", "schedule": "0 * * * *"}
        notes.append(f"sector: read hourly from the newest {cursor.name} on; does every change move it?")
        return {"sector": sector, "sla": {"freshness": "2 h"}}
    notes.append("sector: no time of change was found, so the whole table is read every night at two")
    return {"sector": sector | {"mode": "snapshot", "schedule": "0 2 * * *"}, "sla": {"freshness": "2 d"}}


def _likely_domain(registry: Registry, names: Sequence[str]) -> str:
    """The domain whose datasets share most of these fields."""
    shared: Counter[str] = Counter()
    for dataset in registry.datasets:
        shared[dataset.domain] += len(dataset.has & set(names))
    return min(shared, key=lambda domain: (-shared[domain], domain), default="common")


def _likely_owner(registry: Registry, domain: str) -> str:
    owners = Counter(d.owner for d in registry.datasets if d.domain == domain)
    if owners:
        return min(owners, key=lambda owner: (-owners[owner], owner))
    return registry.code_list("agencies").codes[0]


def _highest(levels: Iterator[str]) -> str:
    order: Sequence[str] = CLASSIFICATIONS
    return max(levels, key=order.index)


def _protection(contract: Mapping[str, Any], registry: Registry, notes: list[str]) -> dict[str, Any]:
    """Retention, and what personal data needs beside it."""
    protected = contract["classification"] in {"personal", "sensitive"}
    short = protected and "stream" in contract
    added: dict[str, Any] = {"retention": {"bronze": "7 d" if short else "90 d", "silver": "5 years"}}
    if protected:
        basis = next((c for c in registry.code_list("legal_bases").codes if c.startswith("luat_91")), None)
        added["personal_purpose"] = contract["description"]["purpose"]
        added["legal_basis"] = [basis] if basis else []
        notes.append("personal data: write the purpose, name its legal basis, and how long rows may be kept")
    else:
        notes.append("retention: 90 days of what arrived and five years of rows are a start; the owner decides")
    return added
