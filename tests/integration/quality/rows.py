"""Rows that keep every rule of a contract, made from the contract alone, and rows that break one rule."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
from patterns import matching

from pipelines.contracts.model import (
    Comparison,
    Completeness,
    ContractField,
    Dataset,
    Pattern,
    RequiredTogether,
    Share,
    Total,
    Unique,
)
from pipelines.contracts.registry import Registry
from pipelines.contracts.targets.delta import arrow_schema
from pipelines.contracts.targets.great_expectations import COLUMNS, ROW_COUNT, Expectation, quality_rules

START = datetime(2025, 10, 25, tzinfo=UTC)
STEP = timedelta(minutes=10)
UNKNOWN = "không có mã này"
UNKNOWN_NUMBER = -987


def table_schema(dataset: Dataset) -> pa.Schema:
    if dataset.mart:
        return pa.schema([pa.field(f.name, f.type.arrow) for f in dataset.fields])
    return arrow_schema(dataset, "silver")


def valid_rows(
    dataset: Dataset, registry: Registry, count: int = 4, *, is_repeated: bool = False
) -> list[dict[str, Any]]:
    """`count` rows with distinct keys; what no rule asks for is NULL.

    With `is_repeated` keys may come again where their list holds fewer codes than rows are asked for.
    """
    values = _Values(dataset, registry)
    rows = [_row(dataset, values, index) for index in range(count)]
    for rule in dataset.quality:
        if isinstance(rule, Total):
            _share_out(rule, dataset, rows)
    keys = {tuple(row[name] for name in dataset.key) for row in rows}
    assert is_repeated or len(keys) == count, f"{dataset.id}: the keys of {count} rows are not distinct"
    return rows


def valid_table(dataset: Dataset, registry: Registry, count: int = 4) -> pa.Table:
    return pa.Table.from_pylist(valid_rows(dataset, registry, count), schema=table_schema(dataset))


def _row(dataset: Dataset, values: _Values, index: int) -> dict[str, Any]:
    needed = {f.name for f in dataset.fields if f.required} | set(dataset.key) | set(_asked_for(dataset))
    row = {f.name: values.of(f, index) if f.name in needed else None for f in dataset.fields}
    waiting = [rule for rule in dataset.quality if isinstance(rule, RequiredTogether)]
    while missing := [r.field for r in waiting if row[r.when] == r.equals and row[r.field] is None]:
        row |= {name: values.of(dataset.field(name), index) for name in missing}
    row |= {"origin": "replay", "received_at": START + index * STEP}
    if not dataset.mart:
        row |= {"revision": 0, "raw_partition": 0, "raw_offset": index}
        if dataset.stream:
            row |= {"qc_flag": 1, "qc_detail": None}
        if dataset.partition_source:
            row[str(dataset.partition)] = row[dataset.partition_source].date()
    elif "qc_flag" in row:
        row["qc_flag"] = 1
    return row


def _asked_for(dataset: Dataset) -> Iterator[str]:
    """Fields that a rule of the contract wants to see, though they are not required."""
    for rule in dataset.quality:
        match rule:
            case Completeness() | Share() | Total():
                yield rule.field
            case Unique():
                yield from rule.fields


class _Values:
    """Draws the value of a field in the row `index`; the same question has the same answer."""

    def __init__(self, dataset: Dataset, registry: Registry) -> None:
        self._dataset = dataset
        self._registry = registry
        self._patterns = {r.field: r.pattern for r in dataset.quality if isinstance(r, Pattern)}
        self._unlike = {*dataset.key, *(n for r in dataset.quality if isinstance(r, Unique) for n in r.fields)}
        self._shares = {r.field: r for r in dataset.quality if isinstance(r, Share)}
        self._comparisons = [_smaller_and_greater(r) for r in dataset.quality if isinstance(r, Comparison)]

    def of(self, field: ContractField, index: int) -> Any:
        if field.code_list is not None or field.name in self._shares:
            codes = self._codes(field)
            # Only what must differ changes from row to row: broken rows are easier to read beside equal ones.
            is_changing = field.name in self._unlike or self._is_mixed(field.name)
            code = codes[index % len(codes)] if is_changing else codes[0]
            return int(code) if field.type.name in {"integer", "bigint"} else code
        rank = self._rank(field.name)
        low = self._low(field, index) + rank
        match field.type.name:
            case "string":
                pattern = self._patterns.get(field.name)
                return f"{field.name}-{index}" if pattern is None else matching(pattern, index)
            case "boolean":
                return True
            case "integer" | "bigint":
                return int(low)
            case "double":
                return float(low)
            case "decimal":
                return low
            case "date":
                return START.date() + timedelta(days=index + rank)
            case _:
                return START + index * STEP + rank * timedelta(minutes=1)

    def _codes(self, field: ContractField) -> list[str]:
        """The codes that a field may hold in every row; a share within two limits takes turns."""
        share = self._shares.get(field.name)
        if field.code_list is None:
            assert share and share.minimum_pct, f"{field.name}: which words are meant besides those of the share?"
            return list(share.values)
        codes = list(self._registry.code_list(field.code_list).codes)
        pattern = self._patterns.get(field.name)
        if pattern is not None:
            codes = [code for code in codes if re.fullmatch(pattern, code)]
        if share is None:
            return codes
        inside = [code for code in codes if code in share.values]
        outside = [code for code in codes if code not in share.values]
        if self._is_mixed(field.name):
            return [inside[0], outside[0]]
        return inside if share.minimum_pct is not None else outside

    def _is_mixed(self, name: str) -> bool:
        share = self._shares.get(name)
        return share is not None and share.minimum_pct is not None and share.maximum_pct is not None

    def _rank(self, name: str) -> int:
        """How many fields must be smaller than this one, one below the other."""
        return max((self._rank(low) + 1 for low, high in self._comparisons if high == name), default=0)

    def _low(self, field: ContractField, index: int) -> Decimal:
        """A number from which all fields that this one is compared with can count upwards; they change together."""
        together, size = {field.name}, 0
        while len(together) > size:
            size = len(together)
            together |= {name for pair in self._comparisons if together & set(pair) for name in pair}
        limits = [f.minimum for f in self._dataset.fields if f.name in together and f.minimum is not None]
        return max(limits, default=Decimal(1)) + (index if together & self._unlike else 0)


def _smaller_and_greater(rule: Comparison) -> tuple[str, str]:
    return (rule.right, rule.left) if rule.operator.startswith(">") else (rule.left, rule.right)


def _share_out(rule: Total, dataset: Dataset, rows: list[dict[str, Any]]) -> None:
    """Give each row of a group its part of the total; the last one takes what is left."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[tuple(row[name] for name in rule.by)].append(row)
    field = dataset.field(rule.field)
    for group in groups.values():
        part = round(rule.equals / len(group), field.type.scale)
        for row in group:
            row[rule.field] = _number(field, part)
        group[-1][rule.field] = _number(field, rule.equals - part * (len(group) - 1))


def break_rule(dataset: Dataset, rule: str, rows: list[dict[str, Any]], at: int = 0) -> list[dict[str, Any]] | None:
    """The same rows, of which row `at` breaks this rule; all of them where a rule counts rows, None for the rules of
    the table itself."""
    if rule in {ROW_COUNT, COLUMNS}:
        return None
    changed = [dict(row) for row in rows]
    if rule == "key.unique":
        for name in dataset.key:
            changed[at][name] = changed[at - 1][name]
        return changed
    own = quality_rules(dataset).get(rule)
    if own is not None:
        _break_own(dataset, own, changed, at)
        return changed
    subject, _, kind = rule.partition(".")
    match kind:
        case "key_known" | "required":
            changed[at][subject] = None
        case "code_list":
            is_text = table_schema(dataset).field(subject).type == pa.string()
            changed[at][subject] = UNKNOWN if is_text else UNKNOWN_NUMBER
        case "range":
            field = dataset.field(subject)
            limit = field.minimum - 1 if field.minimum is not None else field.maximum + 1  # type: ignore[operator]
            changed[at][subject] = _number(field, limit)
        case _:
            raise NotImplementedError(f"{rule}: nobody has said yet how to break it")
    return changed


def change_rule(item: Expectation, count: int) -> Expectation:
    """A rule that asks more than before of a table of `count` rows, where one row cannot break it: a completeness that
    allows nothing missing, one row more, one column less."""
    kwargs = dict(item.kwargs)
    if item.rule == ROW_COUNT:
        kwargs["min_value"] = count + 1
    elif item.rule == COLUMNS:
        kwargs["column_set"] = kwargs["column_set"][:-1]
    elif "mostly" in kwargs:
        kwargs["mostly"] = 1.0
    return replace(item, kwargs=kwargs)


def _break_own(dataset: Dataset, rule: Any, rows: list[dict[str, Any]], at: int) -> None:
    match rule:
        case Completeness():
            rows[at][rule.field] = None
        case RequiredTogether():
            rows[at] |= {rule.when: rule.equals, rule.field: None}
        case Comparison():
            low, high = _smaller_and_greater(rule)
            field = dataset.field(low)
            days = (date(2020, 1, 1), date(2021, 1, 1))
            numbers = (_number(field, Decimal(1)), _number(field, Decimal(2)))
            small, large = {"date": days, "timestamp": (START, START + STEP)}.get(field.type.name, numbers)
            rows[at] |= {low: large, high: small}
        case Pattern():
            assert not re.fullmatch(rule.pattern, " ")
            rows[at][rule.field] = " "
        case Unique():
            for name in rule.fields:
                rows[at][name] = rows[at - 1][name]
        case Share():
            value = UNKNOWN if rule.minimum_pct is not None else rule.values[0]
            for row in rows:
                row[rule.field] = value
        case Total():
            rows[at][rule.field] += _number(dataset.field(rule.field), rule.tolerance + 1)
        case _:
            raise NotImplementedError(f"{rule.rule}: nobody has said yet how to break it")


def _number(field: ContractField, value: Decimal) -> Any:
    if field.type.name in {"integer", "bigint"}:
        return int(value)
    return float(value) if field.type.name == "double" else value
