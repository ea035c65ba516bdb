"""Mermaid: the entities of a domain with their fields, keys and references.

An edge is what a contract declares (``references``), or what follows from the names: a field that is the whole key of a
dimension. A dataset of another domain is drawn as a bare entity.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.contracts.catalogue import is_dimension
from pipelines.contracts.model import ContractField, Dataset, Reference
from pipelines.contracts.registry import Registry


def entities(domain: str, registry: Registry) -> str:
    """The ``erDiagram`` of one domain."""
    datasets = [dataset for dataset in registry.datasets if dataset.domain == domain]
    lines = ["erDiagram"]
    for dataset in datasets:
        lines += [f"    {dataset.id} {{", *(_attribute(dataset, item, registry) for item in dataset.fields), "    }"]
    for dataset in datasets:
        lines += _edges(dataset, registry)
    return "\n".join(lines)


def reference(dataset: Dataset, item: ContractField, registry: Registry) -> Reference | None:
    """What a field refers to: as declared, else the dimension whose key it is."""
    if item.references is not None:
        return item.references
    for other in registry.datasets:
        if is_dimension(other) and other.id != dataset.id and other.key == (item.name,):
            return Reference(dataset=other.id, field=item.name)
    return None


def _attribute(dataset: Dataset, item: ContractField, registry: Registry) -> str:
    marks = ["PK"] if item.name in dataset.key else []
    marks += ["FK"] if reference(dataset, item, registry) else []
    unit = f", {item.unit}" if item.unit else ""
    said = f"{item.title.vi}{unit}".replace('"', "'")
    return " ".join(part for part in (f"        {item.type.name}", item.name, ", ".join(marks), f'"{said}"') if part)


def _edges(dataset: Dataset, registry: Registry) -> Iterator[str]:
    """Many rows refer to one; the one is missing where the field may be unknown."""
    for item in dataset.fields:
        target = reference(dataset, item, registry)
        if target is not None:
            one = "||" if item.required else "|o"
            yield f"    {target.dataset} {one}--o{{ {dataset.id} : {item.name}"
