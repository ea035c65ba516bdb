"""The city's contracts, a few of them that stand for their kind, and golden files."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry, load_registry

ROOT = Path(__file__).parents[3]
FEW = ("feedback_ticket", "flood_alert", "kpi_feedback_month", "river_stage")
"""A sector table with personal fields, a derived table, a mart and a stream."""

Change = Callable[..., Registry]


@pytest.fixture(scope="session")
def registry() -> Registry:
    """Everything that the schemas of the city define."""
    return load_registry(ROOT / "schemas")


@pytest.fixture(scope="session")
def few(registry: Registry) -> Registry:
    """Only the datasets of which there are golden files."""
    return replace(registry, datasets=tuple(registry.dataset(name) for name in FEW))


@pytest.fixture(scope="session")
def changed(registry: Registry) -> Change:
    """``changed("river_stage", grain="…")``: a registry in which one contract says something else."""

    def change(dataset_id: str, **parts: object) -> Registry:
        data = {**dict(registry.dataset(dataset_id)), **parts}
        datasets = tuple(Dataset.model_validate(data) if d.id == dataset_id else d for d in registry.datasets)
        return replace(registry, datasets=datasets)

    return change


@pytest.fixture(scope="session")
def golden() -> Callable[[str, str], None]:
    """``golden(name, text)``: the text is that of the golden file; ``UPDATE_GOLDEN=1 pytest …`` rewrites it."""

    def compare(name: str, text: str) -> None:
        path = Path(__file__).parent / "golden" / name
        if os.environ.get("UPDATE_GOLDEN"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.read_text(encoding="utf-8") == text, f"{name} changed; read the difference, then UPDATE_GOLDEN=1"

    return compare
