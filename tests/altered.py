"""Contracts of the city, changed as a test needs them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pipelines.contracts.registry import Registry


def sourced(registry: Registry, dataset_id: str, kind: str, **sector: Any) -> Registry:
    """A sector table that is read otherwise: from a source of another kind, with other keys of `sector`."""
    dataset = registry.dataset(dataset_id)
    assert dataset.sector is not None
    changed = dataset.model_copy(update={"sector": dataset.sector.model_copy(update=sector)})
    source = registry.source_of(dataset)
    other = source.model_copy(update={"kind": kind})
    return replace(
        registry,
        datasets=tuple(changed if one is dataset else one for one in registry.datasets),
        sector_sources=tuple(other if one is source else one for one in registry.sector_sources),
    )
