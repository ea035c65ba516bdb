"""The DAG files as Airflow loads them: complete, without errors, thin, and quick to parse."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from catalogue import city

from pipelines.ingestion.plan import ingest_dag_id
from pipelines.runtime.airflow_plan import PLAN_FILE

HOME = Path(__file__).resolve().parents[3]
FILES = sorted((HOME / "dags").glob("*.py"))
# In a process of its own: Airflow reads its configuration when it is imported, and changes logging for good.
SCRIPT = """
import json, logging, sys, time
import airflow.sdk, airflow.timetables.assets, airflow.timetables.trigger, airflow.providers.standard.operators.bash
from airflow.dag_processing.dagbag import DagBag
began = time.process_time()
bag = DagBag(sys.argv[1])
seconds = time.process_time() - began
dags = {}
for dag_id, dag in bag.dags.items():
    dags[dag_id] = {
        "tasks": {t.task_id: sorted(t.downstream_task_ids) for t in dag.tasks},
        "commands": {t.task_id: t.bash_command for t in dag.tasks},
        "outlets": {t.task_id: [o.name for o in t.outlets] for t in dag.tasks},
        "owners": sorted({t.owner for t in dag.tasks}),
        "documented": bool(dag.doc_md) and all(t.doc_md for t in dag.tasks),
        "pools": {t.task_id: t.pool for t in dag.tasks},
        "retries": {t.task_id: [t.retries, t.retry_exponential_backoff, str(t.max_retry_delay)] for t in dag.tasks},
        "weights": {t.task_id: [t.priority_weight, str(t.weight_rule)] for t in dag.tasks},
        "params": {name: dag.params.get_param(name).schema for name in dag.params},
        "run_types": sorted(str(kind.value) for kind in dag.allowed_run_types),
        "scheduled": type(dag.timetable).__name__,
        "runs": dag.max_active_runs,
        "catchup": dag.catchup,
    }
ours = sorted(name for name in sys.modules if name.startswith("pipelines."))
print("RESULT" + json.dumps({"errors": bag.import_errors, "seconds": seconds, "modules": ours, "dags": dags}))
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
    agencies = {ingest_dag_id(dataset.owner) for dataset in city().sector_tables()}
    assert {"ingest__h57_khcn", "ingest__h57_xd", "ingest__h57_yt"} <= agencies
    assert set(bag["dags"]) == {*agencies, "warehouse", "maintenance"}
    assert [name for name in bag["modules"] if name.startswith("pipelines.contracts")] == [], "only the compiled plan"


def test_tasks_edges_and_commands(bag: Any) -> None:
    assert bag["dags"]["warehouse"]["tasks"] == {
        "manifest": ["silver_verdict"],
        "silver_verdict": ["dbt"],
        "dbt": ["gold_verdict"],
        "gold_verdict": ["publish"],
        "publish": [],
    }
    nightly = bag["dags"]["maintenance"]
    assert nightly["tasks"] == {"retention": ["maintain"], "maintain": []}
    assert nightly["commands"]["retention"].endswith('/lake retention --run-id "$LAKE_RUN_ID"')
    assert nightly["commands"]["maintain"].endswith('/lake maintain --run-id "$LAKE_RUN_ID"')
    ingest = bag["dags"]["ingest__h57_yt"]
    assert ingest["tasks"] == {"soyt": []}
    assert {"city/silver/med_price", "city/loaded/h57_yt"} <= set(ingest["outlets"]["soyt"])
    assert ingest["owners"] == ["H57.YT"]
    assert ingest["commands"]["soyt"].endswith('/lake run ingest H57.YT --source soyt --run-id "$LAKE_RUN_ID"')
    for dag in bag["dags"].values():
        assert dag["documented"] and dag["runs"] == 1 and dag["catchup"] is False


def test_pools_priorities_and_retries(bag: Any) -> None:
    health, land, warehouse = (bag["dags"][name] for name in ("ingest__h57_yt", "ingest__h57_nnmt", "warehouse"))
    assert health["pools"] == {"soyt": "source_soyt"}
    assert {name for name, pool in warehouse["pools"].items() if pool == "spark"} == {
        "silver_verdict",
        "dbt",
        "gold_verdict",
    }
    assert health["retries"]["soyt"] == [4, 2, "0:10:00"], "the delay doubles, up to ten minutes"
    assert health["weights"]["soyt"][0] > land["weights"]["nnmt"][0], (
        "an hour is promised of one, two days of the other"
    )
    assert health["weights"]["soyt"][1] == "absolute"


def test_a_run_by_hand_says_only_what_the_load_can_do(bag: Any) -> None:
    params = bag["dags"]["ingest__h57_yt"]["params"]
    assert set(params) == {"run_id", "namespace", "tables", "since", "outside_window", "announce"}
    assert params["tables"]["items"]["enum"] == [
        "appointment",
        "facility",
        "med_price",
        "med_technique",
        "project_progress",
    ]
    assert set(bag["dags"]["warehouse"]["params"]) == {"run_id", "namespace", "publish_by"}
    kinds = ["asset_triggered", "manual", "scheduled"]
    for name, dag in bag["dags"].items():
        by_date = ["backfill"] if name.startswith("ingest__") else []
        assert dag["run_types"] == sorted([*kinds, *by_date]), "a past day changes nothing of what the lake holds"


def test_a_hundred_sources_are_parsed_in_two_seconds(tmp_path: Path) -> None:
    """CPU time of this process, without the import of Airflow itself, which every parse of any DAG file pays."""
    plan = json.loads((HOME / PLAN_FILE).read_text(encoding="utf-8"))
    like = next(dag for dag in plan["dags"] if dag["id"] == "ingest__h57_yt")
    (task,) = like["tasks"]
    assert len(task["due"]) == 5
    many = [{**like, "id": f"ingest__a{n}", "tasks": [{**task, "id": f"s{n}"}]} for n in range(100)]
    others = [dag for dag in plan["dags"] if not dag["id"].startswith("ingest__")]
    home = tmp_path / "home"
    (home / PLAN_FILE).parent.mkdir(parents=True)
    (home / PLAN_FILE).write_text(json.dumps({**plan, "dags": [*many, *others]}), encoding="utf-8")
    (home / "pyproject.toml").touch()
    bag = load(tmp_path, LAKE_HOME=str(home), LAKE_SCHEDULES="on")
    assert bag["errors"] == {}
    assert len(bag["dags"]) == 100 + len(others)
    assert bag["seconds"] <= 2


def test_without_a_plan_airflow_says_which_command_makes_it(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "pyproject.toml").touch()
    bag = load(tmp_path, LAKE_HOME=str(home))
    assert bag["dags"] == {}
    assert len(bag["errors"]) == len(FILES)
    assert all("Run `lake contracts build`" in text for text in bag["errors"].values())


def test_without_being_told_nothing_is_scheduled(bag: Any) -> None:
    assert {dag["scheduled"] for dag in bag["dags"].values()} == {"NullTimetable"}


def test_schedules_and_namespace_come_from_the_environment(tmp_path: Path) -> None:
    bag = load(tmp_path, LAKE_SCHEDULES="on", LAKE_NAMESPACE="drill")
    assert bag["errors"] == {}
    assert bag["dags"]["warehouse"]["scheduled"] == "AssetOrTimeSchedule"
    assert bag["dags"]["ingest__h57_yt"]["scheduled"] == "MultipleCronTriggerTimetable"
    assert bag["dags"]["maintenance"]["scheduled"] == "MultipleCronTriggerTimetable"
    assert "drill/silver/med_price" in bag["dags"]["ingest__h57_yt"]["outlets"]["soyt"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_dag_file_is_thin(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 30
    assert not any("import airflow" in line or "from airflow" in line for line in lines)
