"""Plans → Airflow DAGs: the one module of the project that imports Airflow."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, Asset, AssetAlias, AssetAll, AssetAny, Connection, Param
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from airflow.timetables.assets import AssetOrTimeSchedule
from airflow.timetables.trigger import CronTriggerTimetable, MultipleCronTriggerTimetable
from pendulum import timezone

from pipelines.ingestion.connections import variable_of
from pipelines.ingestion.exits import REFUSED
from pipelines.ingestion.plan import TIMEZONE, DagPlan, TaskPlan, is_due
from pipelines.runtime.settings import Settings

SCHEDULES_VARIABLE = "LAKE_SCHEDULES"
"""`on` gives DAGs their schedules; otherwise they run when somebody asks, as in a demo or a drill."""
_UNSAFE = re.compile(r"[^A-Za-z0-9_.:+-]")
_RUN_ID_LENGTH = 120
_RUN_ID = rf"^[A-Za-z0-9_.:+-]{{1,{_RUN_ID_LENGTH}}}$"
_BY_ITSELF = ("asset_triggered", "scheduled")
"""The types of runs that nobody asked for."""
_BACKFILL = "backfill"
"""The type of runs that read again what changed from their day on: a source is read as it is now."""


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
        params=_params(plan),
        # The warehouse builds from what the lake holds: there is nothing in it that a past day would change.
        allowed_run_types=[*_BY_ITSELF, "manual", *([_BACKFILL] if any(task.due for task in plan.tasks) else [])],
    )
    tasks = {task.id: LakeOperator(task=task, namespace=namespace, dag=dag) for task in plan.tasks}
    for upstream, downstream in plan.edges:
        tasks[upstream].set_downstream(tasks[downstream])
    return dag


def _params(plan: DagPlan) -> dict[str, Param]:
    """What a run by hand may say, each checked before the run exists; what is left null is as in every other run."""
    tables = sorted(name for task in plan.tasks for name in _tables(task, None))
    asked = {
        "run_id": _text("The lake's name of the run; repeating a run under its name changes nothing.", _RUN_ID),
        "namespace": _text("Another namespace than the server's: a drill, a demo.", r"^[a-z][a-z0-9_]{0,30}$"),
    }
    if not tables:
        return {**asked, "publish_by": _text("Who publishes.", r"^\S(.{0,98}\S)?$")}
    return {
        **asked,
        "tables": Param(
            None,
            "Only these tables; none means all.",
            type=["null", "array"],
            items={"type": "string", "enum": tables},
            examples=tables,
            minItems=1,
            uniqueItems=True,
        ),
        "since": Param(
            None,
            "Read again what changed from this day on (of Huế), by the table's cursor.",
            type=["null", "string"],
            format="date",
        ),
        "outside_window": Param(
            False, "Read a table as a whole outside of its source's window too: ask the agency first.", type="boolean"
        ),
        "announce": Param(None, "Tell by asset events of what was loaded.", type=["null", "boolean"]),
    }


def _text(description: str, pattern: str) -> Param:
    return Param(None, description, type=["null", "string"], pattern=pattern)


def _tables(task: TaskPlan, at: datetime | None) -> tuple[str, ...]:
    """The tables that a task reads, those due at an instant or all."""
    due = (name for name, cron in task.due if at is None or is_due(cron, at))
    return tuple(name.rpartition("/")[2] for name in due)


def _schedule(plan: DagPlan, namespace: str) -> Any:
    zone = timezone(TIMEZONE)
    if not plan.asset_groups:
        return MultipleCronTriggerTimetable(*plan.crons, timezone=zone)
    # The published type asks for the form that an asset has in Airflow's database; authors pass this one.
    anything: Any = AssetAny(*(AssetAll(*(asset(namespace, name) for name in group)) for group in plan.asset_groups))
    return AssetOrTimeSchedule(timetable=CronTriggerTimetable(plan.crons[0], timezone=zone), assets=anything)


class LakeOperator(BashOperator):  # type: ignore[misc]  # Airflow is not typed
    """Runs one `lake` command in the namespace of the run; its exit status says whether trying again is worth it.

    A run of another namespace (a drill, the demo) raises no asset event: it would start the city's warehouse.
    """

    def __init__(self, *, task: TaskPlan, namespace: str, **kwargs: Any) -> None:
        """`namespace` is the server's own; a run's conf may name another."""
        command = shlex.join([str(Path(sys.prefix) / "bin" / "lake"), *task.argv])
        super().__init__(
            task_id=task.id,
            task_display_name=task.title or task.id,
            # The values of a run reach the shell as variables, never as text.
            bash_command=f'exec {command} --run-id "$LAKE_RUN_ID"',
            append_env=True,
            retries=task.retries,
            retry_delay=task.retry_delay,
            # Airflow adds up to as much again by the name of the task: sources that failed together do not come back
            # together.
            retry_exponential_backoff=2 if task.backs_off else 0,
            max_retry_delay=task.longest_retry_delay,
            pool=task.pool,
            priority_weight=task.priority,
            weight_rule="absolute",
            execution_timeout=task.timeout,
            doc_md=task.doc_md,
            inlets=[asset(namespace, name) for name in task.inlets],
            outlets=[AssetAlias(name=f"{namespace}/{outlet}") for outlet in task.outlets],
            **kwargs,
        )
        self.plan = task
        self.namespace = namespace

    def execute(self, context: Any) -> Any:
        """Run the command.

        Raises:
            AirflowFailException: a conf that cannot be used, or what trying again does not mend.
            AirflowSkipException: nothing is due, asked for, or new.
            AirflowException: the command failed; it may be tried again.
        """
        self.env = self.variables_of(context["dag_run"])
        try:
            super().execute(context)
        except AirflowSkipException:
            raise
        except AirflowException as error:
            command = self.subprocess_hook.sub_process
            if command is not None and command.returncode == REFUSED:
                raise AirflowFailException(
                    "What failed is not mended by trying again; the lines above name it."
                ) from error
            raise

    def variables_of(self, run: Any) -> dict[str, str]:
        """Return the environment of the command in a run, passwords included.

        Raises:
            AirflowFailException: a conf that cannot be used.
            AirflowSkipException: no table is due or asked for.
        """
        conf: Mapping[str, Any] = run.conf or {}
        # An agency's DAG runs at the times of all of its tables; each table is read at its own. A backfill is of a day.
        scheduled_at = run.run_after if run.run_type == "scheduled" else None
        tables = _chosen(self.plan, conf, scheduled_at)
        if self.plan.due and not tables:
            raise AirflowSkipException(f"no table of {self.task_id} is read in this run")
        settings = _settings(str(conf.get("namespace") or self.namespace))
        announce = conf.get("announce")
        is_told = settings.namespace == self.namespace and (announce is None or bool(announce))
        return {
            **connections_of(self.plan, settings),
            **settings.environment(),
            "LAKE_RUN_ID": run_id_of(conf, _name(run)),
            "LAKE_PUBLISH_BY": str(conf.get("publish_by") or "airflow"),
            "LAKE_TABLES": " ".join(tables) if scheduled_at or conf.get("tables") else "",
            "LAKE_SINCE": _since(conf, run),
            "LAKE_ANNOUNCE": _flag(is_told),
            "LAKE_OUTSIDE_WINDOW": _flag(conf.get("outside_window") is True),
            "LAKE_IF_NEWS": _flag(run.run_type in _BY_ITSELF),
        }


def _chosen(plan: TaskPlan, conf: Mapping[str, Any], at: datetime | None) -> tuple[str, ...]:
    """The tables that a run reads of a source: those that are due at an instant, or those that its conf asks for."""
    asked: Iterable[str] | None = conf.get("tables")
    return tuple(name for name in _tables(plan, at) if asked is None or name in asked)


def _since(conf: Mapping[str, Any], run: Any) -> str:
    """The day (of Huế) from which on is read again what changed: that of a backfill, or the one a conf asks for."""
    return _day(run.run_after) if run.run_type == _BACKFILL else str(conf.get("since") or "")


def _name(run: Any) -> str:
    """What the lake calls a run that has no name of its own.

    The runs of a backfill that are of one day (of Huế) share one: an agency's DAG runs up to 288 times a day, and what
    one of them has read again the others leave alone. A run that is cleared, as a backfill does with one that is there
    already, or that starts on another day, is asked to read once more.
    """
    if run.run_type != _BACKFILL:
        return str(run.run_id)
    return f"backfill-{_day(run.run_after)}.{_day(run.start_date)}.{run.clear_number or 0}"


def _day(at: datetime) -> str:
    """The day of an instant in Huế, ISO 8601."""
    return at.astimezone(timezone(TIMEZONE)).date().isoformat()


def _flag(value: bool) -> str:
    """A switch as `lake` reads it of its environment; what is empty is not said."""
    return "1" if value else ""


def connections_of(plan: TaskPlan, settings: Settings) -> dict[str, str]:
    """Return the connections by which a task's sources are read in a namespace, as variables of `lake`'s environment.

    What Airflow does not have, or cannot read, is left out: `lake` says so for each table, in its own words and
    without the password that Airflow's would quote.
    """
    found: dict[str, str] = {}
    sample = settings.sector_sample
    for name in (sample,) if sample and plan.connections else plan.connections:
        try:
            found[variable_of(name)] = Connection.get(name).as_json()
        except (AirflowException, ValueError):
            continue
    return found


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
