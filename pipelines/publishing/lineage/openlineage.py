"""The lineage as OpenLineage events (spec 2-0-2), for tools that read them.

The events are the static ones: a DatasetEvent per dataset with its schema and column lineage, a JobEvent per process
with what it reads and writes. They say what the code does, not that it ran; a RunEvent would claim a run.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pipelines.contracts.registry import Registry
from pipelines.gateway.normalise import utc_text
from pipelines.publishing.lineage.graph import ROWS, Column, Edge, How, Lineage

PRODUCER = "https://hue-lakehouse.invalid/lake/lineage"
"""Who says so; a name, not an address: the installation has none of its own."""
_SPEC = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/"
_FACETS = {
    "schema": "1-2-0/SchemaDatasetFacet",
    "columnLineage": "1-2-0/ColumnLineageDatasetFacet",
    "documentation": "1-1-0/DocumentationDatasetFacet",
}
_TRANSFORMATIONS: Mapping[How, tuple[str, str]] = {
    "identity": ("DIRECT", "IDENTITY"),
    "expression": ("DIRECT", "TRANSFORMATION"),
    "aggregate": ("DIRECT", "AGGREGATION"),
    "window": ("DIRECT", "AGGREGATION"),
    "function": ("DIRECT", "TRANSFORMATION"),
    "token": ("DIRECT", "TRANSFORMATION"),
    "condition": ("INDIRECT", "CONDITIONAL"),
    "order": ("INDIRECT", "WINDOW"),
    "filter": ("INDIRECT", "FILTER"),
    "join": ("INDIRECT", "JOIN"),
    "group": ("INDIRECT", "GROUP_BY"),
}
"""Every kind of edge but ``table``, which joins datasets and stands in the events of the jobs."""


def events(lineage: Lineage, registry: Registry, namespace: str, at: datetime) -> list[dict[str, Any]]:
    """All events, datasets first, each group by name; ``namespace`` is that of the lake, ``at`` an aware instant."""
    where = f"lake://{namespace}"
    described = {dataset.id: dataset.description.purpose for dataset in registry.datasets}
    documents = {
        name: f"{purpose.vi} — {purpose.en}"
        for name in lineage.columns
        if (purpose := described.get(name.partition(".")[2])) is not None
    }
    into: dict[str, list[Edge]] = {}
    for edge in lineage.edges:
        into.setdefault(edge.target.dataset, []).append(edge)
    datasets = [
        {
            **_event("DatasetEvent", at),
            "dataset": _dataset(where, name, _facets(lineage, where, name, into.get(name, []), documents.get(name))),
        }
        for name in sorted(lineage.columns)
    ]
    return [*datasets, *_jobs(lineage, where, at)]


def _event(kind: str, at: datetime) -> dict[str, Any]:
    return {"eventTime": utc_text(at), "producer": PRODUCER, "schemaURL": f"{_SPEC}{kind}"}


def _dataset(where: str, name: str, facets: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {"namespace": where, "name": name, **({"facets": dict(facets)} if facets else {})}


def _facet(name: str, content: Mapping[str, Any]) -> dict[str, Any]:
    path = _FACETS[name]
    kind = path.partition("/")[2]
    url = f"https://openlineage.io/spec/facets/{path}.json#/$defs/{kind}"
    return {"_producer": PRODUCER, "_schemaURL": url, **content}


def _facets(lineage: Lineage, where: str, name: str, edges: list[Edge], document: str | None) -> Mapping[str, Any]:
    fields = [
        {"name": column, "type": kind, "ordinal_position": position}
        for position, (column, kind) in enumerate(lineage.columns[name].items(), start=1)
    ]
    found = {"schema": _facet("schema", {"fields": fields})}
    if document:
        found["documentation"] = _facet("documentation", {"description": document})
    columns = {column: _inputs(where, edges, column) for column in lineage.columns[name]}
    whole = _inputs(where, edges, ROWS)
    traced = {column: {"inputFields": inputs} for column, inputs in columns.items() if inputs}
    if traced or whole:
        content = {"fields": traced, **({"dataset": whole} if whole else {})}
        found["columnLineage"] = _facet("columnLineage", content)
    return found


def _inputs(where: str, edges: list[Edge], target: str) -> list[dict[str, Any]]:
    """The input fields of one column, or of the whole dataset; several ways from one field stand together."""
    found: dict[Column, list[dict[str, Any]]] = {}
    for edge in edges:
        # The count of rows has no field that it comes from; the event of its job names the dataset.
        if edge.target.field == target and edge.source.field != ROWS:
            found.setdefault(edge.source, []).append(_transformation(edge))
    return [
        {"namespace": where, "name": source.dataset, "field": source.field, "transformations": ways}
        for source, ways in sorted(found.items())
    ]


def _transformation(edge: Edge) -> dict[str, Any]:
    kind, subtype = _TRANSFORMATIONS[edge.how]
    description = edge.detail or "unchanged"
    return {"type": kind, "subtype": subtype, "description": description, "masking": edge.how == "token"}


def _jobs(lineage: Lineage, where: str, at: datetime) -> list[dict[str, Any]]:
    inputs: dict[str, set[str]] = {}
    outputs: dict[str, set[str]] = {}
    for edge in lineage.edges:
        inputs.setdefault(edge.process, set()).add(edge.source.dataset)
        outputs.setdefault(edge.process, set()).add(edge.target.dataset)
    return [
        {
            **_event("JobEvent", at),
            "job": {"namespace": where, "name": process},
            "inputs": [_dataset(where, name) for name in sorted(inputs[process])],
            "outputs": [_dataset(where, name) for name in sorted(outputs[process])],
        }
        for process in sorted(inputs)
    ]
