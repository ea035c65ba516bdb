"""The compiled plan: `lake contracts build` writes it, Airflow reads nothing else.

Airflow parses the DAG files again every minute. From this file that takes no YAML and no model of the contracts, and
what Airflow will do tomorrow is a difference that a reviewer sees.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.ingestion.plan import DagPlan, TaskPlan, all_plans, pools
from pipelines.runtime.airflow_plan import PLAN_FILE, read_plan

if TYPE_CHECKING:
    from pipelines.contracts.registry import Registry

TARGET = "airflow"
FOLDERS = (str(PLAN_FILE.parent),)
"""The folders, relative to the project root, in which a generated file that nobody asks for is an orphan."""
_TIMES = ("timeout", "retry_delay", "longest_retry_delay")


def render(registry: Registry) -> Mapping[str, str]:
    """The one file, path relative to the project root → text; times are in seconds."""
    from pipelines.contracts.rendering import json_file

    data = {
        "pools": [asdict(pool) for pool in pools(registry)],
        "dags": [_written(asdict(plan)) for plan in all_plans(registry)],
    }
    return {str(PLAN_FILE): json_file(data, "notice")}


def read(home: Path) -> tuple[DagPlan, ...]:
    """Read the plans of an installation.

    Raises:
        LakeError: there is no such file, or it is not one of this version.
    """
    return read_plan(home, lambda data: tuple(_dag(dag) for dag in data["dags"]))


def _written(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _written(part) for name, part in value.items()}
    if isinstance(value, tuple):
        return [_written(part) for part in value]
    return int(value.total_seconds()) if isinstance(value, timedelta) else value


def _dag(data: Mapping[str, Any]) -> DagPlan:
    return DagPlan(**{**_frozen(data), "tasks": tuple(_task(task) for task in data["tasks"])})


def _task(data: Mapping[str, Any]) -> TaskPlan:
    return TaskPlan(**{**_frozen(data), **{name: timedelta(seconds=data[name]) for name in _TIMES}})


def _frozen(data: Mapping[str, Any]) -> dict[str, Any]:
    """What a file holds as lists is of tuples in a plan."""
    return {name: _tuples(value) for name, value in data.items()}


def _tuples(value: Any) -> Any:
    return tuple(_tuples(part) for part in value) if isinstance(value, list) else value
