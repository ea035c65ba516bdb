"""Open Data Contract Standard 3.1: the contract of each dataset as other tools read it.

A contract of ours is wider than the standard; what has no place there stands in ``customProperties``. Servers are
named by placeholders, as an environment fills them in: an address belongs to an installation, not to a contract.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.contracts.catalogue import (
    agency,
    basis_title,
    in_order,
    inputs,
    legal_bases,
    source_kind,
    successor,
    urn,
)
from pipelines.contracts.model import QC_TESTS, ContractField, Dataset
from pipelines.contracts.registry import Registry
from pipelines.contracts.rendering import number, yaml_file
from pipelines.contracts.support import Support, native
from pipelines.contracts.system import TYPES
from pipelines.contracts.targets.odcs_quality import Checks, checks, type_limits
from pipelines.contracts.targets.odcs_service import custom, roles, servers, sla
from pipelines.contracts.targets.trino import column_comments, is_granted
from pipelines.contracts.words import both

TARGET = "odcs"
API_VERSION = "v3.1.0"
SUPPORT: Mapping[str, Support] = {
    **native("columns", "type", "required", "key_known", "key_unique", "code_list", "range", *QC_TESTS),
    **native("row_count", "completeness", "comparison", "required_when", "pattern", "unique", "share", "total"),
    **native("freshness"),
}
"""Every kind of rule that a contract can hold, and where it is said: the standard has a form for each."""

FOLDERS = ("catalog/odcs",)
"""The folders, relative to the project root, in which a generated file that nobody asks for is an orphan."""

_FORMATS = {"integer": "i32", "bigint": "i64", "double": "f64"}
_EXAMPLES = 3


def render(registry: Registry) -> Mapping[str, str]:
    """One file for each dataset, path relative to the project root → text.

    Raises:
        Untranslatable: as :func:`pipelines.contracts.targets.great_expectations.suite`.
    """
    return {
        f"catalog/odcs/{dataset.domain}/{dataset.id}.odcs.yaml": yaml_file(contract(dataset, registry))
        for dataset in in_order(registry)
    }


def contract(dataset: Dataset, registry: Registry) -> dict[str, Any]:
    """The contract as plain data in the order of the standard.

    Raises:
        Untranslatable: as :func:`render`.
    """
    owner = agency(dataset.owner, registry)
    return {
        "apiVersion": API_VERSION,
        "kind": "DataContract",
        "id": urn("dataset", dataset.id),
        "name": dataset.id,
        "version": dataset.version,
        "status": "deprecated" if dataset.end_date else "active",
        "domain": dataset.domain,
        "tags": [source_kind(dataset), dataset.classification],
        "description": _description(dataset, registry),
        "servers": list(servers(dataset, registry)),
        "schema": [_table(dataset, registry)],
        "team": {"name": both(owner), "description": f"Chủ quản dữ liệu — data owner ({dataset.owner})"},
        "roles": list(roles(dataset)),
        "slaProperties": list(sla(dataset)),
        "customProperties": list(custom(_own_words(dataset, registry))),
    }


def _description(dataset: Dataset, registry: Registry) -> dict[str, Any]:
    said = dataset.description
    sources = [{"type": "planClause", "url": urn("clause", clause)} for clause in dataset.clauses]
    for row in legal_bases(dataset, registry):
        title = basis_title(row)
        sources.append({"type": "legalBasis", "url": urn("legal_basis", row["code"]), "description": title})
    description = {
        "purpose": both(said.purpose),
        "usage": said.usage,
        "limitations": said.limitations,
        "authoritativeDefinitions": sources or None,
    }
    return {key: value for key, value in description.items() if value is not None}


def _table(dataset: Dataset, registry: Registry) -> dict[str, Any]:
    found = checks(dataset, registry)
    return {
        "id": dataset.id,
        "name": dataset.id,
        "physicalName": f"{dataset.layer}.{dataset.id}",
        "physicalType": "table",
        "logicalType": "object",
        "businessName": both(dataset.title),
        "dataGranularityDescription": dataset.grain,
        "properties": [*(_field(dataset, item, registry, found) for item in dataset.fields), *_added(dataset)],
        "quality": found.table,
    }


def _field(dataset: Dataset, item: ContractField, registry: Registry, found: Checks) -> dict[str, Any]:
    own = {
        "unit": item.unit,
        "codeList": item.code_list,
        "minimum": number(item.minimum) if item.minimum is not None else None,
        "maximum": number(item.maximum) if item.maximum is not None else None,
        "tokenOf": item.tokenise.model_dump(mode="json", exclude_defaults=True) if item.tokenise else None,
        "freeText": True if item.free_text else None,
        "published": None if is_granted(item) else False,
    }
    options = _options(dataset, item)
    examples = list(registry.code_list(item.code_list).codes[:_EXAMPLES]) if item.code_list else None
    entry: dict[str, Any] = {
        "id": item.name,
        "name": item.name,
        "businessName": both(item.title),
        "description": both(item.description) if item.description else None,
        "logicalType": item.type.on("odcs"),
        "logicalTypeOptions": options or None,
        "physicalType": item.type.on("spark"),
        "required": item.required,
        "primaryKey": True if item.name in dataset.key else None,
        "primaryKeyPosition": dataset.key.index(item.name) + 1 if item.name in dataset.key else None,
        "partitioned": True if item.name == dataset.partition else None,
        "partitionKeyPosition": 1 if item.name == dataset.partition else None,
        "classification": item.classification,
        "examples": [int(code) for code in examples] if examples and item.type.is_numeric else examples,
        "relationships": [{"type": "foreignKey", "to": _target(item, registry)}] if item.references else None,
        "quality": found.fields.get(item.name),
        "customProperties": list(custom(own)) or None,
    }
    return {key: value for key, value in entry.items() if value is not None}


def _options(dataset: Dataset, item: ContractField) -> dict[str, Any]:
    options: dict[str, Any] = dict(type_limits(dataset, item))
    if item.type.name in _FORMATS:
        options["format"] = _FORMATS[item.type.name]
    if item.type.name == "timestamp":
        options |= {"timezone": True, "defaultTimezone": "Etc/UTC"}
    return options


def _target(item: ContractField, registry: Registry) -> str:
    """A reference into another contract: relative file, then the path by ids."""
    assert item.references is not None
    other = registry.dataset(item.references.dataset)
    return f"../{other.domain}/{other.id}.odcs.yaml#/schema/{other.id}/properties/{item.references.field}"


def _added(dataset: Dataset) -> Iterator[dict[str, Any]]:
    """The columns of the published view that the platform adds, and the partition column of the table."""
    for name, said in column_comments(dataset).items():
        if name not in dataset.has:
            kind = TYPES[name]
            types = {"logicalType": kind.on("odcs"), "physicalType": kind.on("spark")}
            yield {"id": name, "name": name, "businessName": said, **types, "required": name in {"origin", "qc_flag"}}
    if dataset.partition_source:
        yield {
            "id": dataset.partition,
            "name": dataset.partition,
            "logicalType": "date",
            "physicalType": "DATE",
            "required": True,
            "partitioned": True,
            "partitionKeyPosition": 1,
            "transformSourceObjects": [dataset.partition_source],
            "transformDescription": "UTC day — ngày UTC",
            "customProperties": list(custom({"published": False})),
        }


def _own_words(dataset: Dataset, registry: Registry) -> dict[str, Any]:
    titles = {system.id: system.title for system in registry.systems}
    purpose, newer = dataset.personal_purpose, successor(dataset, registry)
    return {
        "titleVi": dataset.title.vi,
        "titleEn": dataset.title.en,
        "dataClass": dataset.data_class,
        "classification": dataset.classification,
        "owner": dataset.owner,
        "clauses": list(dataset.clauses) or None,
        "systems": [{"id": number, "title": both(titles[number])} for number in dataset.systems] or None,
        "legalBasis": list(dataset.legal_basis) or None,
        "personalPurpose": {"vi": purpose.vi, "en": purpose.en} if purpose else None,
        "unverified": list(dataset.unverified) or None,
        "inputs": list(inputs(dataset)) or None,
        "writtenBy": dataset.stream.written_by if dataset.stream and not dataset.is_sent else None,
        "qc": dataset.qc.model_dump(mode="json", by_alias=True, exclude_defaults=True) or None,
        "retentionBy": by.model_dump(mode="json") if (by := dataset.retention.by) else None,
        "supersedes": dataset.supersedes,
        "supersededBy": newer.id if newer else None,
    }
