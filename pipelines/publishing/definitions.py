"""What the catalogue and the lineage follow from, as one fingerprint: equal definitions need no second reading."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pipelines
from pipelines.contracts.registry import Registry

_CODE = ("contracts", "publishing", "streaming")
"""Packages whose statements or reading of them end up in the lineage."""


def fingerprint(home: Path, registry: Registry) -> str:
    """Changes when a contract, a code list, a dbt model, a statement of a stream job or the code that reads them does.

    ``home`` is the project root, whose dbt project is read.
    """
    digest = hashlib.sha256()
    for part in (*registry.datasets, *registry.code_lists):
        digest.update(part.model_dump_json().encode())
    for path in _files(home):
        digest.update(f"\n{path.name}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _files(home: Path) -> Iterator[Path]:
    package = Path(pipelines.__file__).parent
    yield home / "dbt_project" / "dbt_project.yml"
    for folder in ("models", "macros"):
        yield from sorted((home / "dbt_project" / folder).rglob("*.*"))
    for name in _CODE:
        found = (package / name).rglob("*.*")
        yield from sorted(path for path in found if path.suffix in {".py", ".sql", ".yaml"})
