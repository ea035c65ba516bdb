"""Rows that keep every rule of a contract, made from the contract alone."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa

from pipelines.contracts.model import ContractField, Dataset
from pipelines.contracts.registry import Registry
from pipelines.contracts.targets.delta import arrow_schema

START = datetime(2025, 10, 25, tzinfo=UTC)
STEP = timedelta(minutes=10)


def table_schema(dataset: Dataset) -> pa.Schema:
    if dataset.mart:
        return pa.schema([pa.field(f.name, f.type.arrow) for f in dataset.fields])
    return arrow_schema(dataset, "silver")


def valid_rows(dataset: Dataset, registry: Registry, count: int = 4) -> list[dict[str, Any]]:
    """`count` rows with distinct keys; what is not required is NULL."""
    return [_row(dataset, registry, index) for index in range(count)]


def valid_table(dataset: Dataset, registry: Registry, count: int = 4) -> pa.Table:
    return pa.Table.from_pylist(valid_rows(dataset, registry, count), schema=table_schema(dataset))


def _row(dataset: Dataset, registry: Registry, index: int) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for field in dataset.fields:
        is_needed = field.required or field.name in dataset.key
        row[field.name] = _value(field, registry, index) if is_needed else None
    at = START + index * STEP
    row |= {"origin": "replay", "received_at": at}
    if not dataset.mart:
        row |= {"revision": 0, "raw_partition": 0, "raw_offset": index}
        if dataset.stream:
            row |= {"qc_flag": 1, "qc_detail": None}
        if dataset.partition_source:
            row[str(dataset.partition)] = row[dataset.partition_source].date()
    elif "qc_flag" in row:
        row["qc_flag"] = 1
    return row


def _value(field: ContractField, registry: Registry, index: int) -> Any:
    if field.code_list is not None:
        codes = registry.code_list(field.code_list).codes
        return codes[index % len(codes)] if field.name.endswith(("_id", "_code")) else codes[0]
    low = field.minimum if field.minimum is not None else Decimal(1)
    match field.type.name:
        case "string":
            return f"{field.name}-{index}"
        case "boolean":
            return True
        case "integer" | "bigint":
            return int(low)
        case "double":
            return float(low)
        case "decimal":
            return low
        case "date":
            return date(2025, 10, 25) + timedelta(days=index)
        case _:
            return START + index * STEP


def break_rule(dataset: Dataset, rule: str, rows: list[dict[str, Any]], at: int = 0) -> list[dict[str, Any]] | None:
    """The same rows, of which row `at` breaks exactly this rule; None for rules of the whole table."""
    if rule in {"row_count", "columns"}:
        return None
    changed = [dict(row) for row in rows]
    if rule == "key.unique":
        for name in dataset.key:
            changed[at][name] = changed[at - 1][name]
        return changed
    subject, _, kind = rule.partition(".")
    if subject == "comparison":
        left, right = kind.split(".")
        return _break_comparison(dataset, left, right, changed, at)
    if subject == "required_when":
        field, when = kind.split(".")
        equals = next(r.equals for r in dataset.quality if r.rule == "required_when" and r.field == field)
        changed[at] |= {when: equals, field: None}
        return changed
    match kind:
        case "key_known" | "required" | "completeness":
            changed[at][subject] = None
        case "code_list":
            changed[at][subject] = 7 if isinstance(changed[at][subject], int) else "không có mã này"
        case "range":
            field = dataset.field(subject)
            limit = field.minimum - 1 if field.minimum is not None else field.maximum + 1  # type: ignore[operator]
            changed[at][subject] = float(limit) if field.type.name == "double" else limit
            if field.type.name in {"integer", "bigint"}:
                changed[at][subject] = int(limit)
    return changed


def _break_comparison(
    dataset: Dataset, left: str, right: str, rows: list[dict[str, Any]], at: int
) -> list[dict[str, Any]]:
    operator = next(
        r.operator for r in dataset.quality if r.rule == "comparison" and (r.left, r.right) == (left, right)
    )
    low, high = (left, right) if operator.startswith(">") else (right, left)
    kind = dataset.field(left).type.name
    small, large = {"date": (date(2020, 1, 1), date(2021, 1, 1)), "timestamp": (START, START + STEP)}.get(kind, (1, 2))
    rows[at] |= {low: small, high: large}
    return rows
