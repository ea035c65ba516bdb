"""JSON Schema 2020-12: one record of a stream as a sender writes it in the native format, before tokenising.

Where the lake stores a token, the sender gives the clear value under its source name. The gateway takes more than the
schema says (a number as text, a value out of range, which is flagged later): a record that satisfies the schema is
accepted and breaks no rule of single records. The parts here are also those of OpenAPI and AsyncAPI.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

from pipelines.contracts.catalogue import urn
from pipelines.contracts.logical_types import LogicalType
from pipelines.contracts.model import CodeList, ContractField, Dataset, Pattern, RequiredTogether, Text
from pipelines.contracts.registry import Registry
from pipelines.contracts.rendering import json_file, number
from pipelines.contracts.support import Support, elsewhere, flagged_elsewhere, native
from pipelines.contracts.words import both

TARGET = "json_schema"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
SUPPORT: Mapping[str, Support] = {
    **native("type", "required", "key_known", "code_list", "range", "required_when", "pattern"),
    # A schema sees one record: it cannot compare two of its values, and knows no table.
    **elsewhere("great_expectations", "columns", "key_unique", "row_count", "completeness", "comparison", "unique"),
    **elsewhere("great_expectations", "share", "total"),
    **flagged_elsewhere(),
    **elsewhere("odcs", "freshness"),
}
"""Every kind of rule that a contract can hold, and where it is held."""

FOLDERS = ("catalog/json_schema",)
"""The folders, relative to the project root, in which a generated file that nobody asks for is an orphan."""

Codes = Callable[[CodeList, LogicalType], dict[str, Any]]
"""How a code list is written where a field has one: its values in place, or a reference to them."""

_BITS = {"integer": 31, "bigint": 63}
_FORMATS = {"integer": "int32", "bigint": "int64", "double": "double", "date": "date", "timestamp": "date-time"}
_CLEAR = {
    "plate": Text(vi="Biển số xe", en="Number plate"),
    "phone": Text(vi="Số điện thoại", en="Telephone number"),
    "name": Text(vi="Họ và tên", en="Name of a person"),
    "citizen_id": Text(vi="Số định danh cá nhân", en="Citizen identity number"),
}
REVISION: dict[str, Any] = {
    "type": "integer",
    "minimum": 0,
    "maximum": 2**31 - 1,
    "default": 0,
    "title": "Lần sửa của nguồn — Revision at the source",
    "description": "Số lớn hơn thay bản ghi cũ của cùng khoá. — A higher one replaces the record of the same key.",
}


def render(registry: Registry) -> Mapping[str, str]:
    """One file for each stream that sources send, path relative to the project root → text."""
    files = {}
    for dataset in registry.sent():
        identity = {"$schema": DIALECT, "$id": urn("json_schema", f"{dataset.id}.{dataset.version}")}
        schema = {**identity, **record(dataset, registry, in_place)}
        files[f"catalog/json_schema/{dataset.id}.schema.json"] = json_file(schema, "$comment")
    return files


def record(dataset: Dataset, registry: Registry, codes: Codes) -> dict[str, Any]:
    """The schema of one record of a stream as its sender writes it.

    A protected dataset takes no field that it does not know: what is not needed is not to be sent.
    """
    fields = {item.source_name: sent(dataset, item, registry, codes) for item in dataset.fields}
    schema: dict[str, Any] = {
        "title": both(dataset.title),
        "description": both(dataset.description.purpose),
        "type": "object",
        "properties": {**fields, "revision": REVISION},
        "required": [item.source_name for item in dataset.fields if item.required],
        "additionalProperties": not dataset.is_protected,
    }
    conditions = [_condition(dataset, rule) for rule in dataset.quality if isinstance(rule, RequiredTogether)]
    return {**schema, "allOf": conditions} if conditions else schema


def sent(dataset: Dataset, item: ContractField, registry: Registry, codes: Codes) -> dict[str, Any]:
    """The schema of a field as it is sent: the clear value where the lake keeps a token."""
    if item.tokenise is None:
        schema = value(dataset, item, registry, codes)
        # An empty text is no value, and a record without its key is no use.
        is_open = item.type.name == "string" and item.code_list is None
        return schema | {"minLength": 1} if item.name in dataset.key and is_open else schema
    said = f"Được thay bằng mã ({item.name}) trước khi lưu. — Replaced by a token ({item.name}) before it is stored."
    return {
        **_known("string", item.required),
        "title": both(_CLEAR[item.tokenise.kind]),
        "description": said,
        "x-classification": item.classification,
    }


def value(dataset: Dataset, item: ContractField, registry: Registry, codes: Codes) -> dict[str, Any]:
    """The schema of a field as it is stored, with the rules of its contract; NULL unless it is required."""
    schema = stored(item, item.required)
    if item.code_list is None:
        for name, limit in _limits(item).items():
            schema.pop(f"exclusive{name.capitalize()}", None)
            schema[name] = limit
        return schema | _pattern(dataset, item)
    listed = codes(registry.code_list(item.code_list), item.type)
    for name in (*typed(item.type, item.required), "x-code-list"):
        schema.pop(name)
    # Before 2019 a reference hides everything beside it, and AsyncAPI still reads so.
    if "$ref" in listed and item.required:
        return schema | {"allOf": [listed]}
    return schema | (listed if item.required else {"anyOf": [listed, {"type": "null"}]})


def stored(item: ContractField, required: bool) -> dict[str, Any]:
    """The schema of a field by its type alone: what a record may hold before any rule has judged it."""
    said = {
        "title": both(item.title),
        "description": both(item.description) if item.description else None,
        **typed(item.type, required),
        "x-unit": item.unit,
        "x-code-list": item.code_list,
        "x-classification": item.classification,
    }
    return {name: part for name, part in said.items() if part is not None}


def typed(kind: LogicalType, required: bool) -> dict[str, Any]:
    """The schema of a logical type; a decimal is bounded by its digits, whose number no JSON reader knows otherwise."""
    schema = _known(kind.on("json_schema"), required)
    if kind.name in _FORMATS:
        schema["format"] = _FORMATS[kind.name]
    if kind.name in _BITS:
        schema |= {"minimum": -(2 ** _BITS[kind.name]), "maximum": 2 ** _BITS[kind.name] - 1}
    if kind.name == "decimal":
        bound = number(Decimal(10) ** (kind.precision - kind.scale))
        schema |= {"exclusiveMinimum": -bound, "exclusiveMaximum": bound}
    return schema


def in_place(code_list: CodeList, kind: LogicalType) -> dict[str, Any]:
    """The codes themselves, as values of the field's type."""
    return {"type": kind.on("json_schema"), "enum": [int(c) if kind.is_numeric else c for c in code_list.codes]}


def in_components(code_list: CodeList, kind: LogicalType) -> dict[str, Any]:
    """A reference to the codes in the document's components, see :func:`code_components`."""
    return {"$ref": f"#/components/schemas/{_code_component(code_list, kind)}"}


def code_components(fields: Iterable[ContractField], registry: Registry) -> dict[str, dict[str, Any]]:
    """The components to which :func:`in_components` refers, for all ``fields`` of a document, sorted by name."""
    found = {}
    for item in fields:
        if item.code_list is not None:
            code_list = registry.code_list(item.code_list)
            said = {"title": both(code_list.title), "description": f"{code_list.source} ({code_list.status})"}
            found[_code_component(code_list, item.type)] = {**said, **in_place(code_list, item.type)}
    return dict(sorted(found.items()))


def _code_component(code_list: CodeList, kind: LogicalType) -> str:
    return f"code_{code_list.id}" + ("_number" if kind.is_numeric else "")


def _known(kind: str, required: bool) -> dict[str, Any]:
    return {"type": kind if required else [kind, "null"]}


def _limits(item: ContractField) -> dict[str, Any]:
    limits = {"minimum": item.minimum, "maximum": item.maximum}
    return {name: number(limit) for name, limit in limits.items() if limit is not None}


def _pattern(dataset: Dataset, item: ContractField) -> dict[str, Any]:
    """The patterns of a field; more than one must hold together."""
    found = [
        f"^(?:{rule.pattern})$" for rule in dataset.quality if isinstance(rule, Pattern) and rule.field == item.name
    ]
    if len(found) < 2:
        return {"pattern": found[0]} if found else {}
    return {"allOf": [{"pattern": pattern} for pattern in found]}


def _condition(dataset: Dataset, rule: RequiredTogether) -> dict[str, Any]:
    name, when = dataset.field(rule.field).source_name, dataset.field(rule.when).source_name
    return {
        "if": {"properties": {when: {"const": rule.equals}}, "required": [when]},
        "then": {"properties": {name: {"not": {"type": "null"}}}, "required": [name]},
    }
