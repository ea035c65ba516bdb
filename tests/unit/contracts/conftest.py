"""A small project of contracts that a test may change: the flood datasets, the dictionary and all code lists."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
Edit = Callable[[str, str, str], None]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of a project with the contracts of one domain; `lake` called by the test works there."""
    root = tmp_path / "project"
    shutil.copytree(ROOT / "schemas", root / "schemas")
    for folder in (root / "schemas" / "datasets").iterdir():
        if folder.name != "flood":
            shutil.rmtree(folder)
    (root / "pyproject.toml").write_text("")
    monkeypatch.setenv("LAKE_HOME", str(root))
    return root


@pytest.fixture
def edit(project: Path) -> Edit:
    """Replace a text that must be there in a file below `schemas`."""

    def replace(file: str, old: str, new: str) -> None:
        path = project / "schemas" / file
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{old!r} is not in {file}: the test no longer edits anything"
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    return replace
