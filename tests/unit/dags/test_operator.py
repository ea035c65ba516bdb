"""What a task of Airflow hands to `lake`, the connections of its own source among it, and what it makes of the answer.

The answers are those of the real command, which finds no connection, or a source that is away.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from pipelines.ingestion.connections import find_connection, parse_connection
from pipelines.runtime.servers.postgres import SAMPLE_CONNECTION
from pipelines.runtime.settings import Settings

HOME = Path(__file__).resolve().parents[3]
OWN = "postgresql://s%E1%BB%9F:p%40ss%3A%2F%25%20%22@db.hue.local:5433/c%C6%A1?sslmode=require"
BROKEN = "postgresql://u:hush@h:port/d"
# In a process of its own: Airflow reads its configuration when it is imported, and changes logging for good.
SCRIPT = """
import json
from pipelines.ingestion.airflow import build_dag, connections_of
from pipelines.ingestion.plan import ingest_dag_id
from pipelines.ingestion.plan_file import read
from pipelines.runtime.settings import Settings
settings = Settings.load()
plans = {plan.id: plan for plan in read(settings.home)}
found = {}
for agency in ("H57.YT", "H57.KHCN", "H57.XD"):
    plan = plans[ingest_dag_id(agency)]
    (task,) = build_dag(plan, {}).tasks
    found[agency] = {"env": connections_of(plan.tasks[0], settings), "command": task.bash_command, "asked": task.env}
print("RESULT" + json.dumps(found))
"""


# As a worker does: the run that asked, its conf, and the task.
EXECUTE = """
import json, sys
from datetime import datetime
from types import SimpleNamespace
from pipelines.ingestion.airflow import build_dag
from pipelines.ingestion.plan import ingest_dag_id
from pipelines.ingestion.plan_file import read
from pipelines.runtime.settings import Settings
plans = {plan.id: plan for plan in read(Settings.load().home)}
found = []
for asked in json.loads(sys.argv[1]):
    task = build_dag(plans[ingest_dag_id("H57.YT")], {"LAKE_NAMESPACE": "drill"}).tasks[0]
    at = asked.get("at")
    run = SimpleNamespace(
        conf=asked.get("conf"),
        run_id="by hand",
        run_type=asked.get("type") or ("scheduled" if at else "manual"),
        run_after=at and datetime.fromisoformat(at),
        start_date=datetime.fromisoformat(asked.get("started", "2026-11-21T18:00:00+00:00")),
        clear_number=asked.get("cleared", 0),
    )
    result, env = "success", {}
    try:
        if asked.get("execute"):
            task.execute({"dag_run": run})
        else:
            env = task.variables_of(run)
    except Exception as error:
        result = f"{type(error).__name__}: {error}"
    found.append({"result": result, "env": env})
print("RESULT" + json.dumps(found))
"""


def handed_on(settings: Settings, script: str = SCRIPT, *arguments: str, **env: str) -> tuple[Any, str]:
    """What a script found, by default what the tasks of three agencies hand on, and everything that was printed."""
    variables = {**os.environ, **settings.environment(), "AIRFLOW_HOME": str(settings.state), "PYTHONPATH": str(HOME)}
    command = [sys.executable, "-c", script, *arguments]
    run = subprocess.run(command, env={**variables, **env}, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    printed, _, result = run.stdout.partition("RESULT")
    return json.loads(result), printed + run.stderr


def test_a_task_hands_on_the_connections_of_its_own_sources(tmp_path: Path) -> None:
    settings = Settings.load({"LAKE_STATE": str(tmp_path), "LAKE_NAMESPACE": "drill"})
    own = {"AIRFLOW_CONN_SECTOR_SOYT": OWN, "AIRFLOW_CONN_SECTOR_HUES": BROKEN, "AIRFLOW_CONN_LAKE_SAMPLE": OWN}
    found, printed = handed_on(settings, **own)
    health = found["H57.YT"]
    assert list(health["env"]) == ["AIRFLOW_CONN_SECTOR_SOYT"], "of no other agency, and not the sample"
    assert find_connection("sector_soyt", health["env"]) == parse_connection("sector_soyt", OWN)
    assert found["H57.XD"]["env"] == {} == found["H57.KHCN"]["env"], "`lake` says what is missing or broken"
    assert "p@ss" not in health["command"] and health["asked"] is None
    assert "p@ss" not in printed and "hush" not in printed


def test_a_task_of_an_exercise_hands_on_the_sample_alone(tmp_path: Path) -> None:
    settings = Settings.load({"LAKE_STATE": str(tmp_path), "LAKE_NAMESPACE": "drill"})
    settings.set_sector_sample(SAMPLE_CONNECTION)
    sample = "postgresql://lake:hush@127.0.0.1:5999/sector"
    found, _ = handed_on(settings, AIRFLOW_CONN_SECTOR_SOYT=OWN, AIRFLOW_CONN_LAKE_SAMPLE=sample)
    for agency in found.values():
        assert list(agency["env"]) == ["AIRFLOW_CONN_LAKE_SAMPLE"]
        assert find_connection("lake_sample", agency["env"]) == parse_connection("lake_sample", sample)


def test_what_somebody_has_to_mend_is_not_tried_again_and_a_source_that_is_away_is(tmp_path: Path) -> None:
    settings = Settings.load({"LAKE_STATE": str(tmp_path), "LAKE_NAMESPACE": "drill"})
    price = {"execute": True, "conf": {"tables": ["med_price"], "outside_window": True}}
    (missing,), printed = handed_on(settings, EXECUTE, json.dumps([price]))
    assert missing["result"].startswith("AirflowFailException: What failed is not mended by trying again")
    assert "Set AIRFLOW_CONN_SECTOR_SOYT" in printed and "med_technique" not in printed
    away = "postgresql://lake:hush@127.0.0.1:9/soyt"
    (gone,), printed = handed_on(settings, EXECUTE, json.dumps([price]), AIRFLOW_CONN_SECTOR_SOYT=away)
    assert gone["result"].startswith("AirflowException: ") and "exit code 75" in gone["result"]
    assert "med_price" in printed and "does not answer" in printed and "hush" not in printed


def test_a_run_hands_on_what_is_due_or_asked_for(tmp_path: Path) -> None:
    settings = Settings.load({"LAKE_STATE": str(tmp_path), "LAKE_NAMESPACE": "drill"})
    asked = [
        {"conf": {"namespace": "other"}},
        {"conf": {"tables": ["facility", "med_price"]}},
        {"at": "2026-11-21T19:00:00+00:00"},  # 02:00 in Huế
        {"at": "2026-11-21T19:01:00+00:00"},
        {"conf": {"tables": ["camera"]}},
        {"conf": {"since": "2026-10-01"}},
        {"at": "2026-10-31T19:00:00+00:00", "type": "backfill"},
    ]
    found, _ = handed_on(settings, EXECUTE, json.dumps(asked))
    envs = [one["env"] for one in found]
    assert [set(env["LAKE_TABLES"].split()) for env in envs[:3]] == [
        set(),
        {"facility", "med_price"},
        {"appointment", "med_price"},
    ]
    assert [env.get("LAKE_ANNOUNCE") for env in envs[:3]] == ["", "1", "1"], "another namespace tells nobody"
    assert [env.get("LAKE_IF_NEWS") for env in envs[:3]] == ["", "", "1"]
    assert [env.get("LAKE_SINCE") for env in envs] == ["", "", "", None, None, "2026-10-01", "2026-11-01"], (
        "the day of a backfill is that of Huế"
    )
    assert envs[6]["LAKE_TABLES"] == "", "and it reads all tables of the source, whenever they are due"
    for nothing in found[3:5]:
        assert nothing["result"] == "AirflowSkipException: no table of soyt is read in this run"


def test_the_runs_of_a_backfill_read_a_day_once_and_again_when_they_are_asked_to(tmp_path: Path) -> None:
    settings = Settings.load({"LAKE_STATE": str(tmp_path), "LAKE_NAMESPACE": "drill"})
    # 00:00, 00:05 and 23:55 in Huế, and the midnight after.
    times = ("2026-10-31T17:00Z", "2026-10-31T17:05Z", "2026-11-01T16:55Z", "2026-11-01T17:00Z")
    asked: list[dict[str, Any]] = [{"at": at, "type": "backfill"} for at in times]
    asked += [
        {**asked[0], "cleared": 1},
        {**asked[0], "started": "2026-11-22T18:00:00+00:00"},
        {**asked[0], "conf": {"run_id": "by-hand", "tables": ["appointment"]}},
        {"at": times[0]},
    ]
    found, _ = handed_on(settings, EXECUTE, json.dumps(asked))
    names = [one["env"]["LAKE_RUN_ID"] for one in found]
    day = "backfill-2026-11-01.2026-11-22.0"
    assert names[:4] == [day, day, day, "backfill-2026-11-02.2026-11-22.0"]
    assert names[4:] == ["backfill-2026-11-01.2026-11-22.1", "backfill-2026-11-01.2026-11-23.0", "by-hand", "by-hand"]
    assert [one["env"]["LAKE_TABLES"] for one in found[:7]] == ["", "", "", "", "", "", "appointment"]
