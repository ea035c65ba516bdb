"""dbt target: sources, properties of the marts with their tests, and the column types that fixtures of unit tests need.

Everything is declared: SQL stays with the hand-written models, whose columns must come out as the contract says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, assert_never

from pipelines.contracts import system
from pipelines.contracts.catalogue import is_dimension
from pipelines.contracts.errors import Untranslatable
from pipelines.contracts.logical_types import LogicalType
from pipelines.contracts.model import (
    CodeList,
    Comparison,
    Completeness,
    ContractField,
    Dataset,
    Pattern,
    Qc,
    RequiredTogether,
    RowCount,
    Rule,
    Share,
    Total,
    Unique,
)
from pipelines.contracts.names import backtick, literal
from pipelines.contracts.registry import Registry
from pipelines.contracts.rendering import header, yaml_file
from pipelines.contracts.support import Elsewhere, Native, Refused, Support, flagged_elsewhere
from pipelines.contracts.targets import great_expectations
from pipelines.contracts.targets.delta import PROPERTIES, arrow_schema, comment

TARGET = "dbt"
SUPPORT: Mapping[str, Support] = {
    "columns": Native(),
    "type": Native(),
    "required": Native(),
    "key_known": Native(),
    "key_unique": Native(),
    "code_list": Native(),
    "comparison": Native(),
    "required_when": Native(),
    "completeness": Native(),
    "pattern": Native(),
    "unique": Native(),
    # An empty mart, or a figure, share or total out of bounds, is a matter of the verdict: it must not stop the build.
    "share": Elsewhere("great_expectations"),
    "total": Elsewhere("great_expectations"),
    "row_count": Elsewhere("great_expectations"),
    "range": Elsewhere("great_expectations"),
    **flagged_elsewhere(),
    "neighbour": Native(),
    "freshness": Refused("an age depends on the clock, a build on its inputs alone; see publishing/freshness"),
}
"""Every kind of rule that a contract can hold, and where it is held."""

NEIGHBOUR_MART = "fct_neighbour_check"
"""The mart that computes every neighbour test."""
QUALITY_MART = "kpi_sensor_quality"
"""The mart that counts the results of every other test."""
FOLDERS = ("dbt_project/models", "dbt_project/macros")
"""The folders, relative to the project root, in which a generated file that nobody asks for is an orphan."""

_SILVER = "silver"
_MAX_CODES = 200
_SPARK_OF_ARROW = {"date32[day]": "DATE"}


def render(registry: Registry) -> Mapping[str, str]:
    """Every generated file of the dbt project, path relative to the project root → text with its own hash on top.

    Raises:
        Untranslatable: a contract holds what dbt cannot express.
    """
    files = {"dbt_project/models/staging/_sources.yml": yaml_file(_sources(registry))}
    for domain in sorted({mart.domain for mart in registry.marts()}):
        marts = [mart for mart in registry.marts() if mart.domain == domain]
        path = f"dbt_project/models/marts/{domain}/_{domain}__models.yml"
        files[path] = yaml_file({"version": 2, "models": [_model(mart, registry) for mart in marts]})
    files["dbt_project/macros/generated/contracts.sql"] = _macros(registry)
    return dict(sorted(files.items()))


def _sources(registry: Registry) -> dict[str, Any]:
    tables = [_source(dataset) for dataset in registry.datasets if not dataset.mart]
    tables += [_code_list(code_list) for code_list in registry.code_lists]
    source = {
        "name": _SILVER,
        "description": "Bảng chuẩn hoá theo hợp đồng dữ liệu, đọc đúng phiên bản Delta mà lượt chạy đã ghi. — "
        "Tables of the contracts, read at the Delta version that the run manifest fixed.",
        "tables": sorted(tables, key=lambda table: str(table["name"])),
    }
    return {"version": 2, "sources": [source]}


def _source(dataset: Dataset) -> dict[str, Any]:
    columns = [_column(field) for field in dataset.fields]
    own = dataset.has
    columns += [{"name": name, "data_type": kind} for name, kind in _silver_types(dataset).items() if name not in own]
    return {
        "name": dataset.id,
        "description": _description(dataset),
        "meta": {"owner": dataset.owner, "classification": dataset.classification, "version": dataset.version},
        "columns": columns,
    }


def _code_list(code_list: CodeList) -> dict[str, Any]:
    text = f"{code_list.title.vi} — {code_list.title.en}. {code_list.source} ({code_list.status})."
    return {
        "name": f"code_{code_list.id}",
        "description": _plain(f"code list {code_list.id}", text),
        "columns": [_column(column) for column in code_list.columns],
    }


def _model(mart: Dataset, registry: Registry) -> dict[str, Any]:
    dimensions = {other.key[0]: other.id for other in registry.marts() if len(other.key) == 1 and is_dimension(other)}
    return {
        "name": mart.id,
        "description": f"One row per {_per(mart)}. {_description(mart)}",
        "config": {
            "contract": {"enforced": True},
            "meta": {"owner": mart.owner, "classification": mart.classification, "version": mart.version},
        },
        "data_tests": list(_table_tests(mart)),
        "columns": [_column(field, _codes(mart, field, registry, dimensions)) for field in mart.fields],
    }


def _per(dataset: Dataset) -> str:
    return dataset.grain.removeprefix("one ").rstrip(".")


def _description(dataset: Dataset) -> str:
    said = dataset.description
    english = [said.purpose.en, said.usage, said.limitations]
    parts = [f"{dataset.title.vi}.", said.purpose.vi, "—", f"{dataset.title.en}.", *(p for p in english if p)]
    return _plain(dataset.id, " ".join(parts))


def _plain(subject: str, text: str) -> str:
    """Refuse what dbt would take for a template: descriptions are rendered."""
    for mark in ("{{", "{%", "{#"):
        if mark in text:
            raise Untranslatable(subject, "description", TARGET, f"it holds {mark!r}, which dbt renders as a template")
    return " ".join(text.split())


def _column(field: ContractField, tests: Iterable[Mapping[str, Any]] = ()) -> dict[str, Any]:
    column: dict[str, Any] = {
        "name": field.name,
        "description": _plain(field.name, comment(field)),
        "data_type": field.type.on("spark"),
    }
    found = list(tests)
    return {**column, "data_tests": found} if found else column


def _table_tests(mart: Dataset) -> Iterable[dict[str, Any]]:
    """One test for everything that a single pass over the table can check: a query each would take longer than the
    build."""
    rules = [_rule(mart, rule) for rule in mart.quality]
    yield _test(
        "keeps_contract",
        f"{mart.id}__keeps_contract",
        {
            "key": list(mart.key),
            "known": [field.name for field in mart.fields if field.required or field.name in mart.key],
            "never": dict(rule for rule in rules if rule),
        },
    )
    for rule in mart.quality:
        if isinstance(rule, Completeness):
            name = f"{mart.id}__{rule.field}_is_complete"
            yield _test("complete", name, {"field": rule.field, "minimum_pct": float(rule.minimum_pct)})


def _rule(mart: Dataset, rule: Rule) -> tuple[str, str] | None:
    """What a row that breaks the rule is called, and the SQL condition that finds it; None for a rule of the table."""
    if isinstance(rule, Comparison):
        holds = f"{rule.left} {rule.operator} {rule.right}"
        return f"not {holds}", f"not ({backtick(rule.left)} {rule.operator} {backtick(rule.right)})"
    if isinstance(rule, RequiredTogether):
        condition = f"{backtick(rule.when)} = {literal(rule.equals)} and {backtick(rule.field)} is null"
        return f"{rule.field} is unknown where {rule.when} is {rule.equals}", condition
    if isinstance(rule, Pattern | Unique):
        broken = str(great_expectations.of_rule(mart, rule).breaks)
        if isinstance(rule, Pattern):
            return f"{rule.field} does not match", broken
        return f"{', '.join(rule.fields)} is not unique", broken
    if isinstance(rule, RowCount | Completeness | Share | Total):
        return None
    assert_never(rule)


def _codes(
    mart: Dataset, field: ContractField, registry: Registry, dimensions: Mapping[str, str]
) -> Iterable[dict[str, Any]]:
    """Codes are known ones. A warning only: an unknown code in a stream is flagged there, it stops no mart."""
    warn = {"severity": "warn"}
    dimension = dimensions.get(field.name)
    if dimension and dimension != mart.id:
        target = {"to": f"ref('{dimension}')", "field": field.name}
        yield _test("relationships", f"{mart.id}__{field.name}_is_in_{dimension}", target, warn)
    elif field.code_list:
        code_list = registry.code_list(field.code_list)
        if len(code_list.codes) > _MAX_CODES:
            reason = f"{len(code_list.codes)} codes do not fit a test; make a dimension with the key {field.name}"
            raise Untranslatable(mart.id, f"code list of {field.name}", TARGET, reason)
        values = [int(code) if field.type.is_numeric else code for code in code_list.codes]
        arguments = {"values": values, "quote": not field.type.is_numeric}
        yield _test("accepted_values", f"{mart.id}__{field.name}_is_in_{code_list.id}", arguments, warn)


def _test(kind: str, name: str, arguments: dict[str, Any], config: dict[str, Any] | None = None) -> dict[str, Any]:
    """One test with a name of its own: the one that dbt makes up lists every argument."""
    body: dict[str, Any] = {"name": name, "arguments": arguments}
    return {kind: {**body, "config": config} if config else body}


def _silver_types(dataset: Dataset) -> dict[str, str]:
    """The Spark type of every column of the silver table, system and partition columns included."""
    declared: dict[str, LogicalType] = {field.name: field.type for field in dataset.fields}
    declared |= dict((*system.QC, *system.PROVENANCE))
    return {
        column.name: declared[column.name].on("spark") if column.name in declared else _SPARK_OF_ARROW[str(column.type)]
        for column in arrow_schema(dataset, _SILVER)
    }


def _macros(registry: Registry) -> str:
    """Jinja that hand-written SQL reads: table properties and the types of everything a unit test may stand in for."""
    types: dict[str, dict[str, str]] = {}
    for dataset in registry.datasets:
        if dataset.mart:
            types[dataset.id] = {field.name: field.type.on("spark") for field in dataset.fields}
        else:
            types[dataset.id] = types[f"stg_{dataset.id}"] = _silver_types(dataset)
    for code_list in registry.code_lists:
        columns = {column.name: column.type.on("spark") for column in code_list.columns}
        types[f"code_{code_list.id}"] = types[f"stg_code_{code_list.id}"] = columns
    body = "\n".join(
        [
            "{#- The Delta table properties of every writer of the lake. -#}",
            *_function("lake_table_properties", "", _mapping(PROPERTIES, 8)),
            "",
            "{#- Column -> Spark type of a mart, a silver table or the staging model on it; empty when unknown. -#}",
            "{%- macro contract_columns(name) -%}",
            "    {%- set columns = {",
            *(f"        {literal(name)}: {_mapping(found, 12)}," for name, found in sorted(types.items())),
            "    } -%}",
            "    {%- do return(columns.get(name, {})) -%}",
            "{%- endmacro -%}",
            "",
            "{#- What a contract declares of a neighbour test: qc_neighbour('rain_gauge', 'rain_mm', 'window_s'). -#}",
            "{%- macro qc_neighbour(dataset, field, what) -%}",
            "    {%- set declared = {",
            *(f"        {literal(name)}: {_mapping(found, 12)}," for name, found in _neighbours(registry)),
            "    } -%}",
            "    {{- declared[dataset ~ '.' ~ field][what] -}}",
            "{%- endmacro -%}",
            "",
            "{#- What a contract declares of its stream: stream_setting('lane_minute', 'cadence_s'). -#}",
            "{%- macro stream_setting(dataset, what) -%}",
            "    {%- set declared = {",
            *(f"        {literal(name)}: {_mapping(found, 12)}," for name, found in _streams(registry)),
            "    } -%}",
            "    {{- declared[dataset][what] -}}",
            "{%- endmacro -%}",
            "",
        ]
    )
    return f"{{#- {header(body)} -#}}\n{body}"


def _streams(registry: Registry) -> Iterable[tuple[str, dict[str, str]]]:
    """Every stream → its event time and its periods in seconds, as SQL; one with quality tests has to be counted."""
    counted = _inputs(registry, QUALITY_MART)
    for dataset in registry.streams():
        assert dataset.stream is not None
        if dataset.qc != Qc() and counted is not None and dataset.id not in counted:
            reason = f"{QUALITY_MART} does not count it; add it to its inputs and to the macro flagged_readings"
            raise Untranslatable(dataset.id, "the quality tests", TARGET, reason)
        yield (
            dataset.id,
            {
                "event_time": dataset.stream.event_time,
                "cadence_s": str(int(dataset.stream.cadence.total_seconds())),
                "watermark_s": str(int(dataset.stream.watermark.total_seconds())),
                "freshness_s": str(int(dataset.sla.freshness.total_seconds())),
            },
        )


def _inputs(registry: Registry, name: str) -> Sequence[str] | None:
    # None where the registry, a cut of the catalogue, has no such mart.
    return next((mart.mart.inputs for mart in registry.marts() if mart.id == name and mart.mart), None)


def _neighbours(registry: Registry) -> Iterable[tuple[str, dict[str, str]]]:
    """Dataset and field of every neighbour test → its figures as SQL; an open end is NULL."""
    computed = _inputs(registry, NEIGHBOUR_MART)
    for dataset in registry.streams():
        assert dataset.stream is not None
        needed = {dataset.id, *(f"code_{test.neighbours}" for test in dataset.qc.neighbour.values())}
        if dataset.qc.neighbour and computed is not None and not needed <= set(computed):
            reason = f"{NEIGHBOUR_MART} does not read it; add {', '.join(sorted(needed))} to its inputs and its model"
            raise Untranslatable(dataset.id, "the neighbour test", TARGET, reason)
        for name, test in dataset.qc.neighbour.items():
            bounds = {"low": test.low, "high": test.high}
            yield (
                f"{dataset.id}.{name}",
                {
                    "statistic": test.statistic,
                    "cadence_s": str(int(dataset.stream.cadence.total_seconds())),
                    "window_s": str(int(test.window.total_seconds())),
                    **{f"{end}_factor": literal(bound.factor if bound else None) for end, bound in bounds.items()},
                    **{f"{end}_margin": literal(bound.margin if bound else None) for end, bound in bounds.items()},
                },
            )


def _function(name: str, arguments: str, value: str) -> list[str]:
    return [f"{{%- macro {name}({arguments}) -%}}", f"    {{%- do return({value}) -%}}", "{%- endmacro -%}"]


def _mapping(values: Mapping[str, str], indent: int) -> str:
    pad = " " * indent
    lines = [f"{pad}{literal(key)}: {literal(value)}," for key, value in values.items()]
    return "\n".join(["{", *lines, " " * (indent - 4) + "}"])
