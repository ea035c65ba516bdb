"""The DAG files as Airflow loads them: complete, without errors, thin, and quick to parse."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipelines.contracts.registry import load_registry
from pipelines.ingestion.plan import ingest_dag_id

HOME = Path(__file__).resolve().parents[3]
FILES = sorted((HOME / "dags").glob("*.py"))
# In a process of its own: Airflow reads its configuration when it is imported, and changes logging for good.
SCRIPT = """
import json, logging, sys, time
import airflow.sdk, airflow.timetables.trigger, airflow.providers.standard.operators.bash
from airflow.dag_processing.dagbag import DagBag
began = time.monotonic()
bag = DagBag(sys.argv[1])
seconds = time.monotonic() - began
dags = {}
for dag_id, dag in bag.dags.items():
    dags[dag_id] = {
        "tasks": {t.task_id: sorted(t.downstream_task_ids) for t in dag.tasks},
        "commands": {t.task_id: t.bash_command for t in dag.tasks},
        "outlets": {t.task_id: [o.name for o in t.outlets] for t in dag.tasks},
        "owners": sorted({t.owner for t in dag.tasks}),
        "documented": bool(dag.doc_md) and all(t.doc_md for t in dag.tasks),
        "scheduled": type(dag.timetable).__name__,
        "runs": dag.max_active_runs,
        "catchup": dag.catchup,
    }
print("RESULT" + json.dumps({"errors": bag.import_errors, "seconds": seconds, "dags": dags}))
"""


def load(tmp_path: Path, **env: str) -> Any:
    variables = {**os.environ, "AIRFLOW_HOME": str(tmp_path / "airflow"), "PYTHONPATH": str(HOME), **env}
    variables |= {"AIRFLOW__CORE__LOAD_EXAMPLES": "False", "AIRFLOW__CORE__UNIT_TEST_MODE": "False"}
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(HOME / "dags")],
        env=variables,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    return json.loads(run.stdout.split("RESULT", 1)[1])


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load(tmp_path_factory.mktemp("bag"))


def test_every_dag_loads(bag: Any) -> None:
    assert bag["errors"] == {}
    agencies = {ingest_dag_id(dataset.owner) for dataset in load_registry(HOME / "schemas").sector_tables()}
    assert {"ingest__h57_khcn", "ingest__h57_xd", "ingest__h57_yt"} <= agencies
    assert set(bag["dags"]) == {*agencies, "warehouse"}
    assert bag["seconds"] < 10, "the libraries are imported; what is left are contracts and plans"


def test_tasks_edges_and_commands(bag: Any) -> None:
    assert bag["dags"]["warehouse"]["tasks"] == {
        "manifest": ["silver_verdict"],
        "silver_verdict": ["dbt"],
        "dbt": ["gold_verdict"],
        "gold_verdict": ["publish"],
        "publish": [],
    }
    ingest = bag["dags"]["ingest__h57_yt"]
    assert ingest["tasks"] == {"tables": []}
    assert "city/silver/med_price" in ingest["outlets"]["tables"]
    assert ingest["owners"] == ["H57.YT"]
    assert ingest["commands"]["tables"].endswith('/lake run ingest H57.YT --run-id "$LAKE_RUN_ID"')
    for dag in bag["dags"].values():
        assert dag["documented"] and dag["runs"] == 1 and dag["catchup"] is False


def test_without_being_told_nothing_is_scheduled(bag: Any) -> None:
    assert {dag["scheduled"] for dag in bag["dags"].values()} == {"NullTimetable"}


def test_schedules_and_namespace_come_from_the_environment(tmp_path: Path) -> None:
    bag = load(tmp_path, LAKE_SCHEDULES="on", LAKE_NAMESPACE="drill")
    assert bag["errors"] == {}
    assert bag["dags"]["warehouse"]["scheduled"] == "AssetOrTimeSchedule"
    assert bag["dags"]["ingest__h57_yt"]["scheduled"] == "MultipleCronTriggerTimetable"
    assert "drill/silver/med_price" in bag["dags"]["ingest__h57_yt"]["outlets"]["tables"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_dag_file_is_thin(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 30
    assert not any("import airflow" in line or "from airflow" in line for line in lines)
