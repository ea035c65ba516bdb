"""Makes drawn rows keep the quality rules of their contract, and says which rule they break when that is impossible."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.contracts.model import (
    After,
    Comparison,
    Completeness,
    ContractField,
    Dataset,
    Pattern,
    Product,
    RequiredTogether,
    RowCount,
    Share,
    Total,
    Unique,
)
from pipelines.contracts.registry import Registry
from pipelines.replay.sample_columns import (
    Array,
    Column,
    aligned,
    bring,
    clip,
    limits,
    numbers,
    parse_text,
    smallest_step,
    storage,
)
from pipelines.replay.sample_values import Domain, generator
from pipelines.runtime.errors import LakeError

_PASSES = 12
_MORE_ROWS = 1000
_EPSILON = 1e-9


def rule_text(rule: Any) -> str:
    """A rule in a few words, as messages name it."""
    return " ".join(f"{k}={v}" for k, v in rule.model_dump(mode="json", exclude_none=True).items())


def refuse(registry: Registry, dataset: Dataset, what: str) -> LakeError:
    """The error of a sample that cannot be drawn as its contract asks, with the place to mend."""
    where = registry.where(dataset, "sample") if dataset.sample else registry.where(dataset)
    return LakeError(f"The sample of {dataset.id} {what}.", f"Mend `sample` or `quality` in {where}.")


def attainable_rows(dataset: Dataset, rows: int) -> int:
    """The smallest number from `rows` on at which the shares can hold: one row is never 5 to 95 % of its table."""
    shares = [rule for rule in _rules(dataset, Share) if rule.minimum_pct is not None and rule.maximum_pct is not None]
    for more in range(_MORE_ROWS):
        if all(_least(rule, rows + more) <= _most(rule, rows + more) for rule in shares):
            return rows + more
    return rows


def fill_completeness(
    dataset: Dataset, field: str, known: Array, preferred: Array, chance: np.random.Generator
) -> Array:
    """Make so many NULLs known that the field is as complete as its contract promises; `preferred` ones first."""
    least = max((float(r.minimum_pct) for r in _rules(dataset, Completeness) if r.field == field), default=0.0)
    lacking = math.ceil(len(known) * least / 100 - _EPSILON) - int(known.sum())
    if lacking <= 0:
        return known
    order = chance.permutation(len(known))
    candidates = np.concatenate([order[(~known & preferred)[order]], order[(~known & ~preferred)[order]]])
    filled = known.copy()
    filled[candidates[:lacking]] = True
    return filled


def steer_shares(dataset: Dataset, field: str, column: Column, domain: Domain, chance: np.random.Generator) -> Column:
    """Exchange values until the shares of the contract hold; a sample of few rows would miss them by chance."""
    for rule in _rules(dataset, Share):
        if rule.field != field:
            continue
        wanted = storage(column.kind, [parse_text(column.kind, v) for v in rule.values])
        inside, known = np.isin(column.values, wanted) & column.known, int(column.known.sum())
        least, most = _least(rule, known), _most(rule, known)
        if least <= inside.sum() <= most:
            continue
        grows = int(inside.sum()) < least
        surplus = least - int(inside.sum()) if grows else int(inside.sum()) - most
        choices = np.isin(domain.values, wanted) == grows
        if not choices.any():
            continue
        rows = chance.permutation(np.flatnonzero(column.known & (inside != grows)))[:surplus]
        weights = None if domain.weights is None else domain.weights[choices] / domain.weights[choices].sum()
        values = column.values.copy()
        values[rows] = Domain(domain.values[choices], weights).draw(chance, len(rows))
        column = Column(column.kind, values, column.known)
    return column


def make_totals(dataset: Dataset, field: ContractField, column: Column, drawn: Mapping[str, Column]) -> Column:
    """Scale the known values of every group so that their sum is exact."""
    for rule in _rules(dataset, Total):
        if rule.field != field.name:
            continue
        # Doubles in quarters of a hundred add up without an error that a tolerance of zero would see.
        unit = 1.0 if column.kind.name == "double" and not rule.tolerance else 0.01
        if column.kind.name != "double":
            unit = 10.0 ** -(column.kind.scale or 0) if column.kind.name == "decimal" else 1.0
        target = round(float(rule.equals) / unit)
        values = column.values.copy()
        for rows in _groups([drawn[name] for name in rule.by], column.known):
            parts = np.abs(numbers(column)[rows]) + _EPSILON
            whole = np.floor(parts / parts.sum() * target).astype(np.int64)
            rest = target - int(whole.sum())
            whole[np.argsort(-(parts / parts.sum() * target - whole), kind="stable")[:rest]] += 1
            values[rows] = np.round(whole * unit, 2) if column.kind.name == "double" else whole
        column = Column(column.kind, values, column.known)
    return column


def duplicated(columns: list[Column]) -> Array:
    """Rows that repeat an earlier one in all of these columns, wherever all are known."""
    known = np.logical_and.reduce([c.known for c in columns])
    rows = np.flatnonzero(known)
    _, first = np.unique(_group_codes(columns, rows), return_index=True)
    repeats = np.ones(len(rows), dtype=bool)
    repeats[first] = False
    found = np.zeros(len(known), dtype=bool)
    found[rows[repeats]] = True
    return found


def order_comparisons(dataset: Dataset, drawn: dict[str, Column], order: list[str], fixed: frozenset[str]) -> None:
    """Put every compared pair of fields in order, in place; `fixed` fields (keys, event time) are never changed.

    Two fields that were both drawn freely change places; otherwise the one that nothing was drawn from moves up to the
    other one.
    """
    rules = _rules(dataset, Comparison)
    bases = [g.field for f in dataset.fields if isinstance(g := generator(dataset, f.name), After | Product)]
    for _ in range(_PASSES):
        broken = [(rule, rows) for rule in rules if (rows := _out_of_order(rule, drawn)).any()]
        if not broken:
            return
        for rule, _ in broken:
            rows = _out_of_order(rule, drawn)
            left, right = dataset.field(rule.left), dataset.field(rule.right)
            free = [f for f in (left, right) if f.name not in fixed]
            if not free:
                return
            is_loose = all(generator(dataset, f.name) is None and f.name not in bases for f in (left, right))
            if len(free) == 2 and is_loose and left.type == right.type and not _equal(rule, drawn)[rows].any():
                _swap(drawn, rule, rows)
                continue
            free.sort(key=lambda f: (bases.count(f.name), -order.index(f.name)))
            _move(drawn, rule, free[0], dataset.field(rule.right if free[0] is left else rule.left), rows)


def violations(
    registry: Registry, dataset: Dataset, drawn: Mapping[str, Column], parents: Mapping[str, Mapping[str, Array]]
) -> Iterator[str]:
    """Everything of the contract that the rows do not keep, in words; nothing is a sample that fits."""
    if duplicated([drawn[name] for name in dataset.key]).any():
        yield f"repeats its key {', '.join(dataset.key)}"
    for field in dataset.fields:
        yield from _field_violations(registry, field, drawn[field.name], parents, is_key=field.name in dataset.key)
    for rule in dataset.quality:
        if count := _broken(dataset, rule, drawn):
            yield f"breaks the rule {rule_text(rule)} in {count} rows"


def _field_violations(
    registry: Registry,
    field: ContractField,
    column: Column,
    parents: Mapping[str, Mapping[str, Array]],
    *,
    is_key: bool,
) -> Iterator[str]:
    values = column.values[column.known]
    if (field.required or is_key) and not column.known.all():
        yield f"leaves the required field {field.name} empty"
    low, high = limits(field)
    if low is not None and len(values) and values.min() < low:
        yield f"falls below the minimum of {field.name}"
    if high is not None and len(values) and values.max() > high:
        yield f"exceeds the maximum of {field.name}"
    if field.references and field.references.dataset in parents:
        keys = parents[field.references.dataset][field.references.field]
        if not _are_in(values, keys):
            yield f"has values of {field.name} that {field.references} does not have"
    elif field.code_list and field.tokenise is None:
        codes = [parse_text(field.type, code) for code in registry.code_list(field.code_list).codes]
        if not _are_in(values, storage(field.type, codes)):
            yield f"has values of {field.name} that the code list {field.code_list} does not have"


def _broken(dataset: Dataset, rule: Any, drawn: Mapping[str, Column]) -> int:
    """How many rows break a rule; 1 where the rule speaks of the whole table."""
    match rule:
        case RowCount():
            return int(len(drawn[dataset.key[0]].known) < rule.minimum)
        case Completeness():
            known = drawn[rule.field].known
            return int(100 * known.sum() < float(rule.minimum_pct) * len(known) - _EPSILON)
        case Comparison():
            return int(_out_of_order(rule, drawn).sum())
        case RequiredTogether():
            return int((drawn[rule.when].is_text(rule.equals) & ~drawn[rule.field].known).sum())
        case Pattern():
            # A token is checked after ingestion has made it; the sample holds the clear value.
            return 0 if dataset.field(rule.field).tokenise else _unmatched(rule, drawn[rule.field])
        case Unique():
            return int(duplicated([drawn[name] for name in rule.fields]).sum())
        case Share():
            column = drawn[rule.field]
            wanted = storage(column.kind, [parse_text(column.kind, v) for v in rule.values])
            inside = int((np.isin(column.values, wanted) & column.known).sum())
            count = int(column.known.sum())
            return int(not _least(rule, count) <= inside <= _most(rule, count))
        case _:
            column = drawn[rule.field]
            sums = [numbers(column)[g].sum() for g in _groups([drawn[name] for name in rule.by], column.known)]
            return sum(abs(s - float(rule.equals)) > float(rule.tolerance) + _EPSILON for s in sums)


def _least(rule: Share, known: int) -> int:
    return 0 if rule.minimum_pct is None else math.ceil(known * float(rule.minimum_pct) / 100 - _EPSILON)


def _most(rule: Share, known: int) -> int:
    return known if rule.maximum_pct is None else math.floor(known * float(rule.maximum_pct) / 100 + _EPSILON)


def _unmatched(rule: Pattern, column: Column) -> int:
    texts = pa.array(np.unique(column.values[column.known].astype(str)))
    matched = pc.match_substring_regex(texts, rule.whole)
    return len(texts) - int(pc.sum(matched.cast(pa.int64())).as_py() or 0)


def _out_of_order(rule: Comparison, drawn: Mapping[str, Column]) -> Array:
    left, right = drawn[rule.left], drawn[rule.right]
    both = left.known & right.known
    first, second = aligned(left, right)
    broken: Array = both & ~rule.holds(first, second).astype(bool)
    return broken


def _equal(rule: Comparison, drawn: Mapping[str, Column]) -> Array:
    first, second = aligned(drawn[rule.left], drawn[rule.right])
    same: Array = first == second
    return same


def _swap(drawn: dict[str, Column], rule: Comparison, rows: Array) -> None:
    left, right = drawn[rule.left], drawn[rule.right]
    first, second = left.values.copy(), right.values.copy()
    first[rows], second[rows] = right.values[rows], left.values[rows]
    drawn[rule.left] = Column(left.kind, first, left.known)
    drawn[rule.right] = Column(right.kind, second, right.known)


def _move(drawn: dict[str, Column], rule: Comparison, moved: ContractField, other: ContractField, rows: Array) -> None:
    """Set the broken rows of one field to the other field's value, and a step beyond it where they must differ."""
    if moved.type.name == "string":
        return
    up = (rule.operator in {">", ">="}) == (moved.name == rule.left)
    column = drawn[moved.name]
    values = column.values.copy()
    target = bring(moved, drawn[other.name], up=up)[rows]
    if rule.operator in {"<", ">"}:
        target = target + smallest_step(moved) * (1 if up else -1)
    values[rows] = clip(moved, target)
    drawn[moved.name] = Column(column.kind, values, column.known)


def _groups(by: list[Column], known: Array) -> Iterator[Array]:
    """The known rows of every group."""
    rows = np.flatnonzero(known)
    codes = _group_codes(by, rows)
    order = np.argsort(codes, kind="stable")
    bounds = np.flatnonzero(np.diff(codes[order])) + 1
    yield from (rows[part] for part in np.split(order, bounds) if len(part))


def _group_codes(columns: list[Column], rows: Array) -> Array:
    """A number for each of `rows` that is equal where all of these columns are equal."""
    codes: Array = np.zeros(len(rows), dtype=np.int64)
    for column in columns:
        values = column.values[rows]
        _, inverse = np.unique(values.astype(str) if values.dtype == object else values, return_inverse=True)
        # Renumber after every column: the codes stay below the number of rows and cannot overflow.
        _, codes = np.unique(codes * (int(inverse.max(initial=0)) + 1) + inverse, return_inverse=True)
    return codes


def _are_in(values: Array, allowed: Array) -> bool:
    if values.dtype == object:
        return set(values.tolist()) <= set(allowed.tolist())
    return bool(np.isin(values, allowed).all())


def _rules(dataset: Dataset, kind: type[Any]) -> list[Any]:
    return [rule for rule in dataset.quality if isinstance(rule, kind)]
