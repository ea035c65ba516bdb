"""Plans → Airflow DAGs: the one module of the project that imports Airflow."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, Asset, AssetAlias, AssetAll, AssetAny
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from airflow.timetables.assets import AssetOrTimeSchedule
from airflow.timetables.trigger import CronTriggerTimetable, MultipleCronTriggerTimetable
from pendulum import timezone

from pipelines.ingestion.plan import TIMEZONE, DagPlan, TaskPlan, is_due
from pipelines.runtime.settings import Settings

SCHEDULES_VARIABLE = "LAKE_SCHEDULES"
"""`on` gives DAGs their schedules; otherwise they run when somebody asks, as in a demo or a drill."""
_UNSAFE = re.compile(r"[^A-Za-z0-9_.:+-]")
_RUN_ID_LENGTH = 120


def asset(namespace: str, name: str) -> Asset:
    """Return the asset of a table: `city/silver/med_price`."""
    return Asset(name=f"{namespace}/{name}", uri=f"lake://{namespace}/{name}", group="lake")


def build_dag(plan: DagPlan, env: Mapping[str, str]) -> DAG:
    """Build the DAG of a plan; `env` gives the server's namespace (LAKE_NAMESPACE) and whether schedules are on."""
    namespace = Settings.load(env).namespace
    dag = DAG(
        dag_id=plan.id,
        dag_display_name=plan.title,
        schedule=_schedule(plan, namespace) if env.get(SCHEDULES_VARIABLE) == "on" else None,
        catchup=False,
        max_active_runs=plan.max_active_runs,
        max_active_tasks=plan.max_active_tasks,
        default_args={"owner": plan.owner, "do_xcom_push": False},
        tags=list(plan.tags),
        doc_md=plan.doc_md,
    )
    tasks = {task.id: LakeOperator(task=task, namespace=namespace, dag=dag) for task in plan.tasks}
    for upstream, downstream in plan.edges:
        tasks[upstream].set_downstream(tasks[downstream])
    return dag


def _schedule(plan: DagPlan, namespace: str) -> Any:
    zone = timezone(TIMEZONE)
    if not plan.asset_groups:
        return MultipleCronTriggerTimetable(*plan.crons, timezone=zone)
    # The published type asks for the form that an asset has in Airflow's database; authors pass this one.
    anything: Any = AssetAny(*(AssetAll(*(asset(namespace, name) for name in group)) for group in plan.asset_groups))
    return AssetOrTimeSchedule(timetable=CronTriggerTimetable(plan.crons[0], timezone=zone), assets=anything)


class LakeOperator(BashOperator):  # type: ignore[misc]  # Airflow is not typed
    """Runs one `lake` command in the namespace of the run, and tells of a changed table when that is the server's.

    A run of another namespace (a drill, the demo) raises no asset event: it would start the city's warehouse.
    """

    def __init__(self, *, task: TaskPlan, namespace: str, **kwargs: Any) -> None:
        """`namespace` is the server's own; a run's conf may name another."""
        command = shlex.join([str(Path(sys.prefix) / "bin" / "lake"), *task.argv])
        super().__init__(
            task_id=task.id,
            # The values of a run reach the shell as variables, never as text.
            bash_command=f'exec {command} --run-id "$LAKE_RUN_ID"',
            append_env=True,
            retries=task.retries,
            retry_delay=task.retry_delay,
            execution_timeout=task.timeout,
            doc_md=task.doc_md,
            inlets=[asset(namespace, name) for name in task.inlets],
            outlets=[AssetAlias(name=f"{namespace}/{outlet}") for outlet in task.outlets],
            **kwargs,
        )
        self.plan = task
        self.namespace = namespace

    def execute(self, context: Any) -> Any:
        """Run the command; raises AirflowFailException for a conf that cannot be used."""
        run = context["dag_run"]
        conf: Mapping[str, Any] = run.conf or {}
        # An agency's DAG runs at the times of all of its tables; each table is read at its own.
        scheduled_at = run.run_after if run.run_type == "scheduled" else None
        due = [name for name, cron in self.plan.due if scheduled_at is None or is_due(cron, scheduled_at)]
        if self.plan.due and not due:
            raise AirflowSkipException(f"no table of {self.dag_id} is read at this time")
        settings = _settings(str(conf.get("namespace") or self.namespace))
        self.env = {
            **settings.environment(),
            "LAKE_RUN_ID": run_id_of(conf, str(run.run_id)),
            "LAKE_PUBLISH_BY": str(conf.get("publish_by") or "airflow"),
            "LAKE_DUE_AT": scheduled_at.isoformat() if scheduled_at else "",
        }
        super().execute(context)
        if bool(conf.get("announce", settings.namespace == self.namespace)) and settings.namespace == self.namespace:
            for name in due:
                alias = AssetAlias(name=f"{self.namespace}/{name}")
                extra = {"run_id": self.env["LAKE_RUN_ID"]}
                context["outlet_events"][alias].add(asset(self.namespace, name), extra=extra)


def run_id_of(conf: Mapping[str, Any], dag_run_id: str) -> str:
    """Return the lake's run id: `run_id` of the conf as it is, else Airflow's with unsafe characters replaced.

    Raises:
        AirflowFailException: the conf's run id has characters that are not allowed, or is too long.
    """
    asked = conf.get("run_id")
    if asked is None:
        return _UNSAFE.sub("-", dag_run_id)[:_RUN_ID_LENGTH]
    if not isinstance(asked, str) or not asked or _UNSAFE.search(asked) or len(asked) > _RUN_ID_LENGTH:
        raise AirflowFailException(
            f"conf run_id {asked!r} is not allowed: 1 to {_RUN_ID_LENGTH} letters, digits and _ . : + - only."
        )
    return asked


def _settings(namespace: str) -> Settings:
    from pipelines.runtime.settings import SettingsError

    try:
        return Settings.load().with_namespace(namespace)
    except SettingsError as error:
        raise AirflowFailException(str(error)) from error
