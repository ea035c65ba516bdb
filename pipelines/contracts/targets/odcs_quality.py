"""The rules of a contract in ODCS form: a library metric where the standard has one, else a query on Trino that counts
what breaks the rule.

A limit of a table that is refused on the way in is a ``logicalTypeOptions`` of the field. In a stream a value out of
range is kept and flagged, in a window computed from flagged readings it is a warning: there the limit is a query.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, assert_never

from pipelines.contracts import qc_sql, qc_words
from pipelines.contracts.model import (
    Comparison,
    Completeness,
    ContractField,
    Dataset,
    Pattern,
    RequiredTogether,
    RowCount,
    Rule,
    Share,
    Text,
    Total,
    Unique,
)
from pipelines.contracts.names import double_quote, literal
from pipelines.contracts.registry import Registry
from pipelines.contracts.rendering import number
from pipelines.contracts.targets import great_expectations as gx
from pipelines.contracts.targets.trino import PUBLISHED
from pipelines.contracts.words import both, limits

_MAX_CODES = 50
"""A longer code list is looked up where it is published instead of being repeated in every contract."""
_NO_ROWS: dict[str, Any] = {"mustBe": 0, "unit": "rows"}
_SUSPECT, _FAIL = 3, 4


@dataclass(frozen=True)
class Checks:
    """The quality checks of one dataset: those of the table, and those of its fields by name."""

    table: list[dict[str, Any]] = field(default_factory=list)
    fields: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Flagged:
    """A quality test of a stream as a check; ``field`` is None for a test of the whole row."""

    field: str | None
    rule: str
    text: Text
    body: dict[str, Any]


def checks(dataset: Dataset, registry: Registry) -> Checks:
    """Every rule of a contract that ODCS says as a check; types, required fields and keys are said by the schema.

    Raises:
        Untranslatable: as :func:`great_expectations.suite`.
    """
    suite = {item.rule: item for item in gx.suite(dataset, registry).expectations}
    found = Checks()
    ids: Counter[str] = Counter()

    def add(name: str | None, rule: str, text: Text, body: dict[str, Any], severity: str = "error") -> None:
        stable = re.sub(r"[^A-Za-z0-9_-]+", "_", rule).strip("_")
        ids[stable] += 1
        check = {
            "id": stable if ids[stable] == 1 else f"{stable}_{ids[stable]}",
            "description": both(text),
            "severity": severity,
            **body,
        }
        (found.table if name is None else found.fields.setdefault(name, [])).append(check)

    add(None, "key.unique", suite["key.unique"].text, _duplicates(dataset.key))
    for item in dataset.fields:
        if item.code_list is not None:
            said = suite[f"{item.name}.code_list"]
            add(item.name, said.rule, said.text, _codes(item, registry))
        if dataset.derived:
            condition = qc_sql.outside(double_quote(item.name), item.minimum, item.maximum)
            if condition:
                text = limits(item, item.minimum, item.maximum)
                add(item.name, f"{item.name}.range", text, _rows(condition), "warning")
    for flagged in _flagged(dataset, registry):
        add(flagged.field, f"{flagged.field or dataset.event_time}.{flagged.rule}", flagged.text, flagged.body)
    for rule in dataset.quality:
        said = gx.of_rule(dataset, rule)
        add(
            rule.field if isinstance(rule, Completeness | Pattern) else None,
            said.rule,
            said.text,
            _body(rule),
            said.severity,
        )
    return found


def type_limits(dataset: Dataset, item: ContractField) -> dict[str, int | float]:
    """The limits that hold for every row of the table, in ODCS's names; none where a value is flagged instead."""
    if dataset.stream or dataset.derived:
        return {}
    limits = {"minimum": item.minimum, "maximum": item.maximum}
    return {name: number(value) for name, value in limits.items() if value is not None}


def _query(query: str, dimension: str) -> dict[str, Any]:
    return {"dimension": dimension, "type": "sql", "query": query, **_NO_ROWS}


def _metric(metric: str, dimension: str, **arguments: Any) -> dict[str, Any]:
    return {"dimension": dimension, "metric": metric, "arguments": arguments, **_NO_ROWS}


def _duplicates(names: tuple[str, ...]) -> dict[str, Any]:
    return _metric("duplicateValues", "uniqueness", properties=list(names))


def _codes(item: ContractField, registry: Registry) -> dict[str, Any]:
    code_list = registry.code_list(str(item.code_list))
    if len(code_list.codes) > _MAX_CODES:
        listed = f"SELECT {double_quote(code_list.key)} FROM {PUBLISHED}.{double_quote(f'code_{code_list.id}')}"
        unknown = f"SELECT COUNT(*) FROM {{object}} WHERE {double_quote(item.name)} NOT IN ({listed})"
        return _query(unknown, "conformity")
    values = [int(code) if item.type.is_numeric else code for code in code_list.codes]
    return _metric("invalidValues", "conformity", validValues=values)


def _flagged(dataset: Dataset, registry: Registry) -> Iterator[_Flagged]:
    """The quality tests of a stream: a range as the rows whose flag is too good, the others, which need more than the
    row, in words."""
    said = list(qc_words.sentences(dataset, registry))
    for (test, name), texts in groupby(said, key=lambda one: (one.test, one.field)):
        every = [one.text for one in texts]
        text = Text(vi="; ".join(one.vi for one in every), en="; ".join(one.en for one in every))
        if test == "range":
            item = dataset.field(str(name))
            possible = qc_sql.outside(double_quote(item.name), item.minimum, item.maximum)
            yield _Flagged(name, test, text, _rows(f"({possible}) AND qc_flag <> {_FAIL}"))
        elif test == "gross_range":
            fail, suspect = qc_sql.gross_range(dataset, registry, dataset.field(str(name)), double_quote)
            yield _Flagged(name, test, text, _rows(f"({suspect}) AND qc_flag NOT IN ({_SUSPECT}, {_FAIL})"))
            if len(every) > 1:
                yield _Flagged(name, f"{test}_fail", text, _rows(f"({fail}) AND qc_flag <> {_FAIL}"))
        else:
            yield _Flagged(name, test, text, {"dimension": "accuracy", "type": "text"})


def _rows(condition: str) -> dict[str, Any]:
    """A check that counts rows."""
    return _query(f"SELECT COUNT(*) FROM {{object}} WHERE {condition}", "conformity")


def _body(rule: Rule) -> dict[str, Any]:
    match rule:
        case RowCount():
            least = {"mustBeGreaterOrEqualTo": rule.minimum, "unit": "rows"}
            return {"dimension": "coverage", "metric": "rowCount", **least}
        case Completeness():
            most = {"mustBeLessOrEqualTo": number(100 - rule.minimum_pct), "unit": "percent"}
            return {"dimension": "completeness", "metric": "nullValues", **most}
        case Pattern():
            return _metric("invalidValues", "conformity", pattern=f"^(?:{rule.pattern})$")
        case Unique():
            return _duplicates(rule.fields)
        case Comparison():
            holds = f"{double_quote(rule.left)} {rule.operator} {double_quote(rule.right)}"
            return _query(f"SELECT COUNT(*) FROM {{object}} WHERE NOT ({holds})", "consistency")
        case RequiredTogether():
            broken = f"{double_quote(rule.when)} = {literal(rule.equals)} AND {double_quote(rule.field)} IS NULL"
            return _query(f"SELECT COUNT(*) FROM {{object}} WHERE {broken}", "consistency")
        case Share():
            return _query(_share(rule), "consistency")
        case Total():
            return _query(_total(rule), "consistency")
        case _:
            assert_never(rule)


def _share(rule: Share) -> str:
    name = double_quote(rule.field)
    among = f"COUNT_IF({name} IN ({', '.join(literal(value) for value in rule.values)}))"
    # 1e2: a decimal quotient would be rounded to the digits of its operands.
    share = f"SELECT 1e2 * {among} / COUNT({name}) AS pct FROM {{object}} HAVING COUNT({name}) > 0"
    outside = qc_sql.outside(double_quote("pct"), rule.minimum_pct, rule.maximum_pct)
    return f"SELECT COUNT(*) FROM ({share}) AS shares WHERE {outside}"


def _total(rule: Total) -> str:
    group = f" GROUP BY {', '.join(double_quote(name) for name in rule.by)}" if rule.by else ""
    totals = f"SELECT SUM({double_quote(rule.field)}) AS total FROM {{object}}{group}"
    off = f"ABS(total - {literal(rule.equals)}) > {literal(rule.tolerance)}"
    return f"SELECT COUNT(*) FROM ({totals}) AS totals WHERE {off}"
