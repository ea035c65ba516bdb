"""Great Expectations target: the suite of a dataset's settled table (silver, or gold for a mart) as pure data.

Order: the row count first (an empty table passes everything else), the columns, then the rules of single rows. Every
expectation carries its rule id, its severity, and for row rules the Spark predicate of the rows that break it, from
which the gate samples keys. Great Expectations' own query for them loses the quotes of its literals on Spark.

One pass: Great Expectations bundles what it counts by column (not null, in a set, in a range) into one query, and asks
one more for every duplicate, pair of columns or SQL rule. So those are written as measures, aggregates that join the
same pass (``expect_measure_to_be_between``, pipelines/quality/measure.py). Only a total by group asks for its own.

Severity: ``error`` withholds a version from publication, ``warning`` is reported only. In a stream a value out of
range is flagged in ``qc_flag``, never refused, so the suite expects the flag; a window computed from flagged readings
may be out of range too, which is a warning.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, assert_never

from pipelines.contracts import system
from pipelines.contracts.catalogue import in_order
from pipelines.contracts.errors import Untranslatable
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
from pipelines.contracts.names import backtick, literal
from pipelines.contracts.registry import Registry
from pipelines.contracts.rendering import json_file, number
from pipelines.contracts.support import Elsewhere, Native, Refused, Support, flagged_elsewhere
from pipelines.contracts.targets.delta import arrow_schema
from pipelines.contracts.words import limits

TARGET = "great_expectations"
MEASURE = "expect_measure_to_be_between"
"""The type of our own expectation, as the library names its class."""
ROW_COUNT = "row_count"
COLUMNS = "columns"
"""The two rules of every table itself, which stand before those of its rows."""

Severity = Literal["error", "warning"]


SUPPORT: Mapping[str, Support] = {
    "row_count": Native(),
    "columns": Native(),
    "required": Native(),
    "key_known": Native(),
    "key_unique": Native(),
    "code_list": Native(),
    "range": Native(),
    "comparison": Native(),
    "required_when": Native(),
    "completeness": Native(),
    "pattern": Native(),
    "unique": Native(),
    "share": Native(),
    "total": Native(),
    "type": Elsewhere("delta"),
    **flagged_elsewhere(),
    "freshness": Refused("an age depends on the clock, a verdict on the version alone; see publishing/freshness"),
}
"""Every kind of rule that a contract can hold, and where it is held."""

FOLDERS = ("expectations",)
"""The folders, relative to the project root, in which a generated file that nobody asks for is an orphan."""


@dataclass(frozen=True)
class Expectation:
    """One expectation: Great Expectations' type and arguments, our rule id, severity and sentence.

    ``breaks`` is a Spark SQL predicate that is true for exactly the rows that break a row rule; None for table rules.
    """

    rule: str
    type: str
    kwargs: Mapping[str, Any]
    text: Text
    severity: Severity = "error"
    breaks: str | None = None

    def to_data(self) -> dict[str, Any]:
        """The expectation as Great Expectations stores it; everything of ours is below ``meta``."""
        meta = {"rule": self.rule, "severity": self.severity, "vi": self.text.vi, "en": self.text.en}
        if self.breaks is not None:
            meta["breaks"] = self.breaks
        return {"type": self.type, "kwargs": dict(self.kwargs), "meta": meta}


@dataclass(frozen=True)
class Suite:
    """Everything that is expected of one table version; ``columns`` in table order."""

    dataset: str
    domain: str
    layer: str
    contract_version: str
    columns: tuple[str, ...]
    expectations: tuple[Expectation, ...] = field(repr=False)

    def to_data(self) -> dict[str, Any]:
        """The suite as plain JSON data, in a fixed order."""
        return {
            "name": f"{self.layer}.{self.dataset}",
            "meta": {"dataset": self.dataset, "layer": self.layer, "contract_version": self.contract_version},
            "expectations": [item.to_data() for item in self.expectations],
        }

    @property
    def sha256(self) -> str:
        """A hash of what is checked: a verdict may be reused only while it and the table's version are the same."""
        body = {"columns": self.columns, "expectations": [item.to_data() for item in self.expectations]}
        return hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def suite(dataset: Dataset, registry: Registry) -> Suite:
    """Compile the suite of one contract.

    Raises:
        Untranslatable: a rule that the target cannot express (a rule on a column that the table does not have, or a
            code that is no value of the column's type).
    """
    columns = _columns(dataset)
    items = tuple(_expectations(dataset, registry, columns))
    return Suite(dataset.id, dataset.domain, dataset.layer, dataset.version, columns, items)


def of_rule(dataset: Dataset, rule: Rule) -> Expectation:
    """The expectation of one quality rule of a contract: its id, its sentence and its severity.

    Raises:
        Untranslatable: as :func:`suite`.
    """
    if isinstance(rule, RowCount):
        return _row_count(dataset)
    name = next(name for name, named in quality_rules(dataset).items() if named == rule)
    return _quality(dataset, name, rule, _columns(dataset))


def render(registry: Registry) -> dict[str, str]:
    """All suites as files, path relative to the project root → text, sorted, NFC, ending in a line break."""
    return {
        f"expectations/{dataset.domain}/{dataset.id}.json": json_file(suite(dataset, registry).to_data(), "notice")
        for dataset in in_order(registry)
    }


def _columns(dataset: Dataset) -> tuple[str, ...]:
    if dataset.mart:
        return tuple(f.name for f in dataset.fields)
    return tuple(arrow_schema(dataset, "silver").names)


def _expectations(dataset: Dataset, registry: Registry, columns: tuple[str, ...]) -> Iterator[Expectation]:
    yield _row_count(dataset)
    yield Expectation(
        COLUMNS,
        # In whatever order: a column that the contract gained stands last in a table that was there.
        "expect_table_columns_to_match_set",
        {"column_set": list(columns), "exact_match": True},
        Text(vi="Các cột đúng như hợp đồng", en="The columns are those of the contract"),
    )
    for name in dataset.key:
        yield _not_null(
            f"{name}.key_known", dataset.field(name), Text(vi="Khoá luôn có giá trị", en="The key is known")
        )
    yield _key_unique(dataset)
    for item in dataset.fields:
        if item.required and item.name not in dataset.key:
            yield _not_null(f"{item.name}.required", item, Text(vi="Trường bắt buộc", en="The field is required"))
    for item in dataset.fields:
        if item.code_list is not None:
            codes = _codes(dataset, item, registry)
            yield _in_set(f"{item.name}.code_list", item.name, codes, f"danh mục {item.code_list}", item.code_list)
    yield from _system_sets(dataset, registry, columns)
    if dataset.stream is None:
        for item in dataset.fields:
            if item.minimum is not None or item.maximum is not None:
                yield _range(dataset, item, "warning" if dataset.derived else "error")
    for name, rule in quality_rules(dataset).items():
        yield _quality(dataset, name, rule, columns)


def _row_count(dataset: Dataset) -> Expectation:
    """A table without the rule may be empty (no alarm on a dry day); its count is recorded all the same."""
    minimum = max((rule.minimum for rule in dataset.quality if isinstance(rule, RowCount)), default=0)
    text = Text(vi=f"Bảng có ít nhất {minimum} dòng", en=f"The table has at least {minimum} rows")
    return Expectation(ROW_COUNT, "expect_table_row_count_to_be_between", {"min_value": minimum}, text)


def _not_null(rule: str, item: ContractField, text: Text) -> Expectation:
    return Expectation(
        rule,
        "expect_column_values_to_not_be_null",
        {"column": item.name},
        Text(vi=f"{text.vi}: {item.title.vi}", en=f"{text.en}: {item.title.en}"),
        breaks=f"{backtick(item.name)} IS NULL",
    )


def _key_unique(dataset: Dataset) -> Expectation:
    names = ", ".join(dataset.key)
    text = Text(vi=f"Mỗi khoá một dòng: {names}", en=f"One row per key: {names}")
    listed = ", ".join(backtick(name) for name in dataset.key)
    breaks = f"count(*) OVER (PARTITION BY {listed}) > 1"
    # As one struct: among several columns a NULL would take its row out of the count.
    measure = f"count(*) - count(DISTINCT struct({listed}))"
    return _measure("key.unique", measure, dataset.key, text, most=Decimal(0), breaks=breaks)


def _measure(
    rule: str,
    measure: str,
    columns: Iterable[str],
    text: Text,
    *,
    least: Decimal | None = None,
    most: Decimal | None = None,
    breaks: str | None = None,
) -> Expectation:
    """An expectation that an aggregate of the table is within limits; with ``breaks`` it counts rows."""
    kwargs: dict[str, Any] = {"measure": measure, "columns": sorted(set(columns))}
    if least is not None:
        kwargs["min_value"] = number(least)
    if most is not None:
        kwargs["max_value"] = number(most)
    return Expectation(rule, MEASURE, kwargs, text, breaks=breaks)


def _no_row(rule: str, breaks: str, columns: Iterable[str], text: Text) -> Expectation:
    """An expectation that ``breaks`` is true for no row."""
    return _measure(rule, f"count_if({breaks})", columns, text, most=Decimal(0), breaks=breaks)


def _in_set(rule: str, column: str, values: Iterable[object], vi: str, en: str) -> Expectation:
    allowed = list(values)
    listed = ", ".join(literal(value) for value in allowed)
    return Expectation(
        rule,
        "expect_column_values_to_be_in_set",
        {"column": column, "value_set": allowed},
        Text(vi=f"{column} thuộc {vi}", en=f"{column} is one of {en}"),
        breaks=f"{backtick(column)} NOT IN ({listed})",
    )


def _codes(dataset: Dataset, item: ContractField, registry: Registry) -> list[object]:
    codes = registry.code_list(str(item.code_list)).codes
    rule = f"{item.name}.code_list"
    if item.type.name == "string":
        return list(codes)
    if item.type.name in {"integer", "bigint"}:
        try:
            return [int(code) for code in codes]
        except ValueError as error:
            raise Untranslatable(dataset.id, rule, TARGET, f"a code of {item.code_list} is no {item.type}") from error
    raise Untranslatable(dataset.id, rule, TARGET, f"codes are text or whole numbers, {item.name} is {item.type}")


def _system_sets(dataset: Dataset, registry: Registry, columns: tuple[str, ...]) -> Iterator[Expectation]:
    """The columns that the platform adds: QC flag and origin; a mart may join rows of several origins."""
    if "qc_flag" in columns:
        flags = [int(code) for code in registry.code_list("qc_flags").codes]
        yield _in_set("qc_flag.code_list", "qc_flag", flags, "danh mục qc_flags", "qc_flags")
        if not _is_required(dataset, "qc_flag"):
            text = Text(vi="Mỗi dòng có cờ chất lượng", en="Every row has a quality flag")
            yield _known_everywhere("qc_flag", text)
    if "origin" in columns:
        # A row that is computed from several readings may join several origins.
        origins = [*(system.ORIGINS_COMPUTED if dataset.mart or dataset.derived else system.ORIGINS)]
        yield _in_set("origin.code_list", "origin", origins, "nguồn gốc đã biết", ", ".join(origins))
        if not _is_required(dataset, "origin"):
            yield _known_everywhere("origin", Text(vi="Mỗi dòng nói rõ nguồn gốc", en="Every row says its origin"))


def _is_required(dataset: Dataset, name: str) -> bool:
    return name in dataset.has and dataset.field(name).required


def _known_everywhere(column: str, text: Text) -> Expectation:
    kwargs = {"column": column}
    breaks = f"{backtick(column)} IS NULL"
    return Expectation(f"{column}.required", "expect_column_values_to_not_be_null", kwargs, text, breaks=breaks)


def _range(dataset: Dataset, item: ContractField, severity: Severity) -> Expectation:
    if not item.type.is_numeric:
        raise Untranslatable(dataset.id, f"{item.name}.range", TARGET, f"a range needs a number, not {item.type}")
    column = backtick(item.name)
    kwargs: dict[str, Any] = {"column": item.name}
    broken = []
    if item.minimum is not None:
        kwargs["min_value"] = number(item.minimum)
        broken.append(f"{column} < {literal(item.minimum)}")
    if item.maximum is not None:
        kwargs["max_value"] = number(item.maximum)
        broken.append(f"{column} > {literal(item.maximum)}")
    return Expectation(
        f"{item.name}.range",
        "expect_column_values_to_be_between",
        kwargs,
        limits(item, item.minimum, item.maximum),
        severity,
        breaks=" OR ".join(broken),
    )


_OfRows = Completeness | Comparison | RequiredTogether | Pattern | Unique | Share | Total


def quality_rules(dataset: Dataset) -> dict[str, _OfRows]:
    """The contract's own rules by their ids, in its order, but for the row count.

    An id says what a rule is about; only where two rules are about the same it says what each asks, too. Verdicts and
    waivers keep ids, so none depends on the order of the rules.

    Raises:
        Untranslatable: a rule stands twice.
    """
    rules = [rule for rule in dataset.quality if not isinstance(rule, RowCount)]
    plain = Counter(_about(rule) for rule in rules)
    named: dict[str, _OfRows] = {}
    for rule in rules:
        name = _about(rule)
        if plain[name] > 1:
            name = f"{name}.{_asked(rule)}"
        if name in named:
            raise Untranslatable(dataset.id, name, TARGET, "the rule stands twice")
        named[name] = rule
    return named


def _about(rule: _OfRows) -> str:
    match rule:
        case Completeness():
            return f"{rule.field}.completeness"
        case Comparison():
            return f"comparison.{rule.left}.{rule.right}"
        case RequiredTogether():
            return f"required_when.{rule.field}.{rule.when}"
        case Pattern():
            return f"pattern.{rule.field}"
        case Unique():
            return f"unique.{'.'.join(rule.fields)}"
        case Share():
            return f"share.{rule.field}.{'.'.join(rule.values)}"
        case Total():
            return f"total.{rule.field}"
        case _:
            assert_never(rule)


def _asked(rule: _OfRows) -> str:
    match rule:
        case Completeness():
            return f"{rule.minimum_pct:f}"
        case Comparison():
            return rule.operator
        case RequiredTogether():
            return rule.equals
        case Pattern():
            return rule.pattern
        case Unique():
            return "again"
        case Share():
            low = 0 if rule.minimum_pct is None else rule.minimum_pct
            high = 100 if rule.maximum_pct is None else rule.maximum_pct
            return f"{low:f}-{high:f}"
        case Total():
            return ".".join((*rule.by, f"{rule.equals:f}"))
        case _:
            assert_never(rule)


def _quality(dataset: Dataset, name: str, rule: _OfRows, columns: tuple[str, ...]) -> Expectation:
    match rule:
        case Completeness():
            return _completeness(dataset, name, rule, columns)
        case Comparison():
            return _comparison(dataset, name, rule, columns)
        case RequiredTogether():
            return _required_when(dataset, name, rule, columns)
        case Pattern():
            return _pattern(dataset, name, rule, columns)
        case Unique():
            return _unique(dataset, name, rule, columns)
        case Share():
            return _share(dataset, name, rule, columns)
        case Total():
            return _total(dataset, name, rule, columns)
        case _:
            assert_never(rule)


def _known(dataset: Dataset, rule: str, columns: tuple[str, ...], *names: str) -> None:
    for name in names:
        if name not in columns:
            raise Untranslatable(dataset.id, rule, TARGET, f"the table has no column {name}")


def _completeness(dataset: Dataset, name: str, rule: Completeness, columns: tuple[str, ...]) -> Expectation:
    _known(dataset, name, columns, rule.field)
    if not 0 <= rule.minimum_pct <= 100:
        raise Untranslatable(dataset.id, name, TARGET, f"{rule.minimum_pct} is no percentage")
    return Expectation(
        name,
        "expect_column_values_to_not_be_null",
        {"column": rule.field, "mostly": number(rule.minimum_pct / 100)},
        Text(
            vi=f"{rule.field} có giá trị ở ít nhất {rule.minimum_pct:f} % số dòng",
            en=f"{rule.field} is known in at least {rule.minimum_pct:f} % of the rows",
        ),
        breaks=f"{backtick(rule.field)} IS NULL",
    )


_OPPOSITE = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}


def _comparison(dataset: Dataset, name: str, rule: Comparison, columns: tuple[str, ...]) -> Expectation:
    _known(dataset, name, columns, rule.left, rule.right)
    said = f"{rule.left} {rule.operator} {rule.right}"
    text = Text(vi=f"{said} khi cả hai đều có giá trị", en=f"{said} wherever both are known")
    breaks = f"{backtick(rule.left)} {_OPPOSITE[rule.operator]} {backtick(rule.right)}"
    return _no_row(name, breaks, (rule.left, rule.right), text)


def _required_when(dataset: Dataset, name: str, rule: RequiredTogether, columns: tuple[str, ...]) -> Expectation:
    _known(dataset, name, columns, rule.field, rule.when)
    if dataset.field(rule.when).type.name != "string":
        raise Untranslatable(dataset.id, name, TARGET, f"`equals` is text, {rule.when} is not")
    breaks = f"{backtick(rule.when)} = {literal(rule.equals)} AND {backtick(rule.field)} IS NULL"
    text = Text(
        vi=f"{rule.field} có giá trị khi {rule.when} = {rule.equals}",
        en=f"{rule.field} is known where {rule.when} is {rule.equals}",
    )
    return _no_row(name, breaks, (rule.field, rule.when), text)


def _unexpected(name: str, query: str, text: Text) -> Expectation:
    """An expectation that no row comes back from ``query``, whose ``{batch}`` is the table; other braces are doubled,
    because they are the library's placeholders."""
    escaped = query.replace("{", "{{").replace("}", "}}").replace("{{batch}}", "{batch}")
    return Expectation(name, "unexpected_rows_expectation", {"unexpected_rows_query": escaped}, text)


def _text_field(dataset: Dataset, rule: str, name: str) -> None:
    if name in dataset.has and dataset.field(name).type.name != "string":
        raise Untranslatable(dataset.id, rule, TARGET, f"the rule reads text, {name} is {dataset.field(name).type}")


def _pattern(dataset: Dataset, name: str, rule: Pattern, columns: tuple[str, ...]) -> Expectation:
    _known(dataset, name, columns, rule.field)
    _text_field(dataset, name, rule.field)
    # Spark's parser reads a backslash of a literal as an escape.
    escaped = rule.whole.replace("\\", "\\\\")
    breaks = f"NOT {backtick(rule.field)} RLIKE {literal(escaped)}"
    said = Text(vi=f"{rule.field} theo mẫu {rule.pattern}", en=f"{rule.field} matches {rule.pattern}")
    return _no_row(name, breaks, (rule.field,), said)


def _unique(dataset: Dataset, name: str, rule: Unique, columns: tuple[str, ...]) -> Expectation:
    _known(dataset, name, columns, *rule.fields)
    listed = ", ".join(backtick(n) for n in rule.fields)
    known = " AND ".join(f"{backtick(n)} IS NOT NULL" for n in rule.fields)
    said = ", ".join(rule.fields)
    text = Text(vi=f"Không trùng: {said}", en=f"No two rows share: {said}")
    # Among several columns, count(DISTINCT …) leaves out the rows in which one is NULL, as the rule does.
    measure = f"count_if({known}) - count(DISTINCT {listed})"
    breaks = f"{known} AND count(*) OVER (PARTITION BY {listed}) > 1"
    return _measure(name, measure, rule.fields, text, most=Decimal(0), breaks=breaks)


def _share(dataset: Dataset, name: str, rule: Share, columns: tuple[str, ...]) -> Expectation:
    _known(dataset, name, columns, rule.field)
    _text_field(dataset, name, rule.field)
    column = backtick(rule.field)
    among = f"{column} IN ({', '.join(literal(v) for v in rule.values)})"
    low = rule.minimum_pct if rule.minimum_pct is not None else 0
    high = rule.maximum_pct if rule.maximum_pct is not None else 100
    said = f"{rule.field} ∈ {{{', '.join(rule.values)}}}"
    text = Text(vi=f"Tỷ lệ {said} trong [{low:f}; {high:f}] %", en=f"The share of {said} is in [{low:f}; {high:f}] %")
    # NULL where the table holds no value at all: there is no share to judge.
    share = f"100.0 * count_if({among}) / nullif(count({column}), 0)"
    return _measure(name, share, (rule.field,), text, least=rule.minimum_pct, most=rule.maximum_pct)


def _total(dataset: Dataset, name: str, rule: Total, columns: tuple[str, ...]) -> Expectation:
    _known(dataset, name, columns, rule.field, *rule.by)
    if rule.field in dataset.has and not dataset.field(rule.field).type.is_numeric:
        raise Untranslatable(dataset.id, name, TARGET, f"a total needs a number, {rule.field} is not")
    per = f" theo {', '.join(rule.by)}" if rule.by else ""
    per_en = f" per {', '.join(rule.by)}" if rule.by else ""
    text = Text(
        vi=f"Tổng {rule.field}{per} bằng {rule.equals:f} ± {rule.tolerance:f}",
        en=f"The sum of {rule.field}{per_en} is {rule.equals:f} ± {rule.tolerance:f}",
    )
    total = f"sum({backtick(rule.field)})"
    if not rule.by:
        low, high = rule.equals - rule.tolerance, rule.equals + rule.tolerance
        return _measure(name, total, (rule.field,), text, least=low, most=high)
    by = ", ".join(backtick(n) for n in rule.by)
    off = f"abs({total} - {literal(rule.equals)}) > {literal(rule.tolerance)}"
    return _unexpected(name, f"SELECT {total} AS total FROM {{batch}} GROUP BY {by} HAVING {off}", text)
