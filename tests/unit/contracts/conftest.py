"""The city's contracts, a few of them that stand for their kind, golden files, and a project that a test may change."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from golden_files import golden_in

from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry

ROOT = Path(__file__).parents[3]
FEW = ("feedback_ticket", "flood_alert", "kpi_feedback_month", "river_stage")
"""A sector table with personal fields, a derived table, a mart and a stream."""

Change = Callable[..., Registry]
Edit = Callable[[str, str, str], None]


@pytest.fixture(scope="session")
def few(registry: Registry) -> Registry:
    """Only the datasets of which there are golden files, and no scenario."""
    return replace(registry, datasets=tuple(registry.dataset(name) for name in FEW), scenarios=())


@pytest.fixture(scope="session")
def two_majors(few: Registry) -> Registry:
    """A contract that ends, and the one that takes its place."""
    old = few.dataset("river_stage")
    ending = old.model_copy(update={"version": "1.1.0", "end_date": date(2027, 6, 30)})
    newer = old.model_copy(update={"id": "river_stage_v2", "version": "2.0.0", "supersedes": "river_stage"})
    return replace(few, datasets=(ending, newer))


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
    """Compare with the golden files of this folder."""
    return golden_in(Path(__file__).parent)


@pytest.fixture(scope="session")
def reset_versions() -> Callable[[Path], None]:
    """Give every contract of a copy of the schemas the first version of its major: a test says what rises then."""

    def reset(schemas: Path) -> None:
        for path in (schemas / "datasets").rglob("*.yaml"):
            text = path.read_text(encoding="utf-8")
            plain = re.sub(r"^version: (\d+).*$", r"version: \1.0.0", text, count=1, flags=re.MULTILINE)
            path.write_text(plain, encoding="utf-8")

    return reset


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reset_versions: Callable[[Path], None]) -> Path:
    """The root of a project with the contracts of one domain; `lake` called by the test works there."""
    root = tmp_path / "project"
    shutil.copytree(ROOT / "schemas", root / "schemas")
    for folder in (root / "schemas" / "datasets").iterdir():
        if folder.name != "flood":
            shutil.rmtree(folder)
    reset_versions(root / "schemas")
    shutil.rmtree(root / "schemas" / "scenarios")
    (root / "pyproject.toml").write_text("")
    monkeypatch.setenv("LAKE_HOME", str(root))
    return root


@pytest.fixture
def edit(project: Path) -> Edit:
    """Replace a text that must be there in a file below `schemas`."""

    def change(file: str, old: str, new: str) -> None:
        path = project / "schemas" / file
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{old!r} is not in {file}: the test no longer edits anything"
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    return change
