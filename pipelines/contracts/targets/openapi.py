"""OpenAPI 3.1: the published rows of every dataset and the ingestion of every stream that sources send, as a fragment.

It says what a service in front of the lake offers, not where it runs: an installation puts its own address and
identity provider before it. Rows have the columns of the published view, nothing else can be asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.contracts.catalogue import in_order
from pipelines.contracts.model import ContractField, Dataset
from pipelines.contracts.registry import Registry
from pipelines.contracts.rendering import yaml_file
from pipelines.contracts.support import Support, elsewhere, flagged_elsewhere, native
from pipelines.contracts.system import TYPES
from pipelines.contracts.targets import openapi_intake as intake
from pipelines.contracts.targets.json_schema import code_components, in_components, record, typed, value
from pipelines.contracts.targets.trino import column_comments, granted_columns, is_granted
from pipelines.contracts.words import both

TARGET = "openapi"
SUPPORT: Mapping[str, Support] = {
    **native("columns", "type", "required", "key_known", "code_list"),
    # Said of what is sent, see json_schema; of what is read they are promises of the published version.
    **elsewhere("json_schema", "range", "required_when", "pattern"),
    **elsewhere("great_expectations", "key_unique", "row_count", "completeness", "comparison", "unique"),
    **elsewhere("great_expectations", "share", "total"),
    **flagged_elsewhere(),
    **elsewhere("odcs", "freshness"),
}
"""Every kind of rule that a contract can hold, and where it is held."""

FOLDERS = ("catalog",)
"""The folders, relative to the project root, in which a generated file that nobody asks for is an orphan."""

_LANGUAGES = "Tiếng Việt trước, tiếng Anh sau. — Vietnamese first, then English."
_LICENSE = {"name": "Apache 2.0", "identifier": "Apache-2.0"}
_PROBLEM = {"$ref": "#/components/responses/Problem"}
_PAGE = [{"$ref": "#/components/parameters/limit"}, {"$ref": "#/components/parameters/cursor"}]
_RANGE = [{"$ref": "#/components/parameters/from"}, {"$ref": "#/components/parameters/to"}]
_INSTANT = {"type": "string", "format": "date-time"}


def render(registry: Registry) -> Mapping[str, str]:
    """The one document, path relative to the project root → text."""
    return {"catalog/openapi.yaml": yaml_file(document(registry))}


def document(registry: Registry) -> dict[str, Any]:
    """The document as plain data, paths by dataset."""
    readable = [dataset for dataset in in_order(registry) if any(is_granted(item) for item in dataset.fields)]
    streams = [dataset for dataset in in_order(registry) if dataset.is_sent]
    shown = [item for dataset in readable for item in dataset.fields if is_granted(item)]
    shown += [item for dataset in streams for item in dataset.fields if item.tokenise is None]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Kho dữ liệu đô thị Huế — The urban data lakehouse of Huế",
            "description": f"Số liệu đã công bố và cửa nhận dữ liệu. — Published rows and the intake. {_LANGUAGES}",
            "version": "1.0.0",
            "license": _LICENSE,
        },
        "servers": [{"url": "/api/v1"}],
        "security": [{"bearer": []}],
        "tags": [{"name": domain} for domain in sorted({dataset.domain for dataset in (*readable, *streams)})],
        "paths": {
            **{f"/published/{dataset.id}": {"get": _read(dataset, registry)} for dataset in readable},
            **intake.at_the_root({intake.path(dataset): {"post": intake.operation(dataset)} for dataset in streams}),
        },
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "parameters": _parameters(),
            "responses": _responses(),
            "schemas": {
                "Problem": _problem(),
                **intake.schemas(),
                **{f"{dataset.id}_row": row(dataset, registry) for dataset in readable},
                **{f"{dataset.id}_record": record(dataset, registry, in_components) for dataset in streams},
                **code_components(shown, registry),
            },
        },
    }


def gateway_document(registry: Registry) -> dict[str, Any]:
    """What the gateway serves of itself: the intake of the registry's streams alone."""
    streams = [dataset for dataset in in_order(registry) if dataset.is_sent]
    sent = [item for dataset in streams for item in dataset.fields if item.tokenise is None]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Cửa nhận dữ liệu của Huế — The gateway of Huế's lakehouse",
            "description": f"Gửi bản ghi của từng luồng. — How the records of each stream are sent. {_LANGUAGES}",
            "version": "1.0.0",
            "license": _LICENSE,
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "tags": [{"name": name} for name in ("gateway", *sorted({dataset.domain for dataset in streams}))],
        "paths": {
            **{intake.path(dataset): {"post": intake.operation(dataset)} for dataset in streams},
            **intake.operations(),
        },
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "responses": intake.responses(),
            "schemas": {
                "Problem": _problem(),
                **intake.schemas(),
                **intake.own_schemas(),
                **{f"{dataset.id}_record": record(dataset, registry, in_components) for dataset in streams},
                **code_components(sent, registry),
            },
        },
    }


def row(dataset: Dataset, registry: Registry) -> dict[str, Any]:
    """The schema of one published row: the granted fields and the columns that the platform adds."""
    said = column_comments(dataset)
    columns: dict[str, Any] = {}
    for name in granted_columns(dataset):
        if name in dataset.has:
            columns[name] = read(dataset, dataset.field(name), registry)
        else:
            columns[name] = {"title": said[name], **typed(TYPES[name], required=name in {"origin", "qc_flag"})}
    known = [item.name for item in dataset.fields if is_granted(item) and item.required]
    return {
        "title": both(dataset.title),
        "description": both(dataset.description.purpose),
        "type": "object",
        "properties": columns,
        "required": known,
    }


def read(dataset: Dataset, item: ContractField, registry: Registry) -> dict[str, Any]:
    """The schema of a field as it is read: without its limits, because a streamed value beyond them is flagged."""
    schema = value(dataset, item, registry, in_components)
    for name in ("minimum", "maximum", "pattern"):
        schema.pop(name, None)
    return schema


def _read(dataset: Dataset, registry: Registry) -> dict[str, Any]:
    rows = {"type": "array", "items": {"$ref": f"#/components/schemas/{dataset.id}_row"}}
    version = {"type": "integer", "minimum": 0, "description": "Phiên bản Delta được ghim. — The pinned Delta version."}
    page = {
        "type": "object",
        "properties": {"version": version, "rows": rows, "next": {"type": ["string", "null"]}},
        "required": ["version", "rows"],
    }
    return {
        "operationId": f"get_{dataset.id}",
        "summary": both(dataset.title),
        "description": both(dataset.description.purpose),
        "tags": [dataset.domain],
        "parameters": [*_filters(dataset, registry), *_PAGE],
        "responses": {
            "200": {"description": "Các dòng — Rows", "content": {"application/json": {"schema": page}}},
            "400": _PROBLEM,
            "401": _PROBLEM,
            "404": _PROBLEM,
        },
    }


def _filters(dataset: Dataset, registry: Registry) -> Iterator[dict[str, Any]]:
    """The granted fields of the key by value, the event time by a range where it is an instant."""
    timed = dataset.event_time
    ranged = timed is not None and dataset.field(timed).type.name == "timestamp"
    for name in dataset.key:
        item = dataset.field(name)
        if is_granted(item) and not (ranged and name == timed):
            schema = read(dataset, item.model_copy(update={"required": True}), registry)
            yield {"name": name, "in": "query", "description": schema.pop("title"), "schema": schema}
    if timed and ranged and is_granted(dataset.field(timed)):
        yield from _RANGE


def _parameters() -> dict[str, Any]:
    return {
        "from": {
            "name": "from",
            "in": "query",
            "description": "Từ thời điểm — From this instant on",
            "schema": _INSTANT,
        },
        "to": {"name": "to", "in": "query", "description": "Trước thời điểm — Before this instant", "schema": _INSTANT},
        "limit": {
            "name": "limit",
            "in": "query",
            "description": "Số dòng nhiều nhất — At most so many rows",
            "schema": {"type": "integer", "minimum": 1, "maximum": 10000, "default": 1000},
        },
        "cursor": {
            "name": "cursor",
            "in": "query",
            "description": "Giá trị `next` của trang trước — `next` of the page before",
            "schema": {"type": "string"},
        },
    }


def _responses() -> dict[str, Any]:
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    failed = {"Problem": {"description": "Không thực hiện được — The request failed", "content": problem}}
    return {**failed, **intake.responses()}


def _problem() -> dict[str, Any]:
    """RFC 9457."""
    return {
        "type": "object",
        "properties": {
            "type": {"type": "string", "format": "uri-reference"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
        },
    }
