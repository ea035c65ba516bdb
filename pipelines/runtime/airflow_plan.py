"""The file of what Airflow shall run: where it lies, and which pools it needs of the server."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pipelines.runtime.errors import LakeError

PLAN_FILE = Path("catalog") / "airflow" / "plan.json"
"""Relative to the project root; generated from the contracts."""
T = TypeVar("T")


@dataclass(frozen=True)
class Pool:
    """So many tasks may run at once of those that name the pool."""

    name: str
    slots: int
    description: str


def read_plan(home: Path, read: Callable[[Mapping[str, Any]], T]) -> T:
    """Return what `read` makes of the plan of an installation.

    Raises:
        LakeError: there is no such file, or `read` does not find in it what it asks for.
    """
    path = home / PLAN_FILE
    try:
        return read(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise LakeError(f"Airflow has no plan: {path} does not exist.", "Run `lake contracts build`.") from None
    except (KeyError, TypeError, ValueError) as error:
        raise LakeError(f"{path} is no plan of this version: {error}.", "Run `lake contracts build`.") from error


def pools(home: Path) -> tuple[Pool, ...]:
    """Return the pools that the tasks of the plan name.

    Raises:
        LakeError: as :func:`read_plan`.
    """
    return read_plan(home, lambda data: tuple(Pool(**pool) for pool in data["pools"]))
