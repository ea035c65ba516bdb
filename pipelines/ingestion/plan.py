"""What Airflow shall run, compiled from the contracts: frozen plans, free of Airflow, network, secrets and clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from croniter import croniter  # type: ignore[import-untyped]

from pipelines.contracts.model import Dataset, Sector
from pipelines.contracts.registry import Registry
from pipelines.runtime.errors import LakeError

TIMEZONE = "Asia/Ho_Chi_Minh"
"""The zone of every cron line in contracts: agencies think in their own clock."""
WAREHOUSE = "warehouse"
WAREHOUSE_SCHEDULE = "15 * * * *"
"""The fallback when no asset event comes; a run over unchanged tables costs about a minute of Spark."""
_RETRY_DELAY = timedelta(seconds=15)


@dataclass(frozen=True)
class TaskPlan:
    """One call of `lake`: `argv` without `--run-id`, which every task gets; `outlets` and `inlets` name tables
    (`silver/med_price`); an outlet with a cron in `due` has news in a scheduled run of its own time only."""

    id: str
    argv: tuple[str, ...]
    timeout: timedelta
    doc_md: str
    retries: int = 1
    retry_delay: timedelta = _RETRY_DELAY
    outlets: tuple[str, ...] = ()
    inlets: tuple[str, ...] = ()
    due: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class DagPlan:
    """One DAG: starts by any of `crons`, or when every table of one of `asset_groups` has news; at most one run."""

    id: str
    title: str
    owner: str
    crons: tuple[str, ...]
    tasks: tuple[TaskPlan, ...]
    doc_md: str
    edges: tuple[tuple[str, str], ...] = ()
    asset_groups: tuple[tuple[str, ...], ...] = ()
    tags: tuple[str, ...] = ()
    max_active_runs: int = 1
    max_active_tasks: int = 2


def agency_slug(agency: str) -> str:
    """Return an agency's code as identifiers carry it: `H57.KHCN` gives `h57_khcn`."""
    return agency.lower().replace(".", "_").replace("-", "_")


def sector_of(dataset: Dataset) -> Sector:
    """Return where a dataset is read; raises LakeError for one that no sector database feeds."""
    if dataset.sector is None:
        raise LakeError(f"{dataset.id} is not read from a sector database.", "See `lake ingest list`.")
    return dataset.sector


def asset_of(dataset: Dataset) -> str:
    """Return the name, without its namespace, of the asset that stands for a dataset's table."""
    return f"{dataset.layer}/{dataset.id}"


def ingest_dag_id(agency: str) -> str:
    """Return the DAG of an agency: `H57.KHCN` gives `ingest__h57_khcn`."""
    return f"ingest__{agency_slug(agency)}"


def ingestion_plans(registry: Registry) -> tuple[DagPlan, ...]:
    """One DAG per agency that owns sector tables, sorted by agency.

    Its one task loads all of the agency's tables in one process: a process for each table costs 4 s of start-up, which
    for the whole catalogue is longer than the loads. A table that fails stops no other, and a retry reads only what
    the first attempt did not load.
    """
    by_agency: dict[str, list[Dataset]] = {}
    for dataset in registry.sector_tables():
        by_agency.setdefault(dataset.owner, []).append(dataset)
    return tuple(_ingestion(registry, agency, by_agency[agency]) for agency in sorted(by_agency))


def warehouse_plan(registry: Registry) -> DagPlan:
    """The DAG that turns what was landed into published tables, one step after the other.

    It starts when all sector tables have news, or all streams of a domain have (landing says so every few minutes),
    or by the clock: a source that stays silent holds nobody up. Whatever started it, a run reads the versions that
    its own manifest resolved, so that a news item lost or doubled changes nothing.
    """
    sectors = tuple(asset_of(d) for d in registry.sector_tables())
    domains = sorted({d.domain for d in registry.streams()})
    streams = tuple(tuple(asset_of(d) for d in registry.streams() if d.domain == domain) for domain in domains)
    groups = tuple(group for group in (sectors, *streams) if group)
    inputs = tuple(sorted({name for group in groups for name in group}))
    steps = (
        TaskPlan(
            "manifest",
            ("run", "manifest"),
            timedelta(minutes=5),
            "Decides which version of every table this run reads.\n\n**If it fails**: a table is unreadable; "
            "`lake status` names it. Nothing else ran, everything published stays.",
            inlets=inputs,
        ),
        TaskPlan(
            "silver_verdict",
            ("run", "verdict", "silver"),
            timedelta(minutes=30),
            "Judges the silver tables of the manifest.\n\n**If it fails**: the check itself could not run (a table "
            "that fails its rules is a verdict, not a failure). Look for Spark in `lake status`, then clear the task.",
        ),
        TaskPlan(
            "dbt",
            ("run", "dbt"),
            timedelta(hours=1),
            "Builds the marts from the judged versions; a table without a good version enters with its last good "
            "one, and its marts are marked stale.\n\n**If it fails**: the log names the model or test. Marts keep "
            "their published versions. Mend the model, then clear the task.",
        ),
        TaskPlan(
            "gold_verdict",
            ("run", "verdict", "gold"),
            timedelta(minutes=30),
            "Judges the marts.\n\n**If it fails**: as `silver_verdict`.",
        ),
        TaskPlan(
            "publish",
            ("run", "publish"),
            timedelta(minutes=15),
            "Moves the pins of everything that passed, as one group.\n\n**If it fails**: readers still see the last "
            "published versions. Look for Trino in `lake status`, then clear the task: publishing twice is harmless.",
        ),
    )
    return DagPlan(
        id=WAREHOUSE,
        title="Kho dữ liệu: kiểm định, xây dựng, công bố — Warehouse: judge, build, publish",
        owner="platform",
        crons=(WAREHOUSE_SCHEDULE,),
        tasks=steps,
        edges=tuple((left.id, right.id) for left, right in pairwise(steps)),
        asset_groups=groups,
        tags=("warehouse",),
        # One Spark driver owns gold: never two of its steps at once.
        max_active_tasks=1,
        doc_md="Manifest → silver verdict → dbt → gold verdict → publish, over one version of everything.\n\n"
        "Conf: `run_id`, `namespace`, `publish_by`. Starts when every table of one of these groups has news, or "
        f"hourly ({WAREHOUSE_SCHEDULE}, {TIMEZONE}):\n\n" + "\n".join(f"- {', '.join(group)}" for group in groups),
    )


def all_plans(registry: Registry) -> tuple[DagPlan, ...]:
    """Every DAG of the installation."""
    return (*ingestion_plans(registry), warehouse_plan(registry))


def _ingestion(registry: Registry, agency: str, datasets: Iterable[Dataset]) -> DagPlan:
    names = {row["code"]: row["name_vi"] for row in registry.code_list("agencies").rows}
    title = names.get(agency, agency)
    tables = tuple(datasets)
    return DagPlan(
        id=ingest_dag_id(agency),
        title=f"Thu nạp: {title} ({agency})",
        owner=agency,
        crons=tuple(sorted({sector_of(dataset).schedule for dataset in tables})),
        tasks=(_ingest_task(agency, tables),),
        tags=("ingest", agency),
        doc_md=f"Sector tables of {agency} ({title}) → bronze, silver.\n\nConf: `run_id`, `namespace`, `announce` "
        f"(false: no asset event). Times are {TIMEZONE}. A failed table leaves its last good rows, is recorded in "
        "`quality.ingestion`, and stops no other.",
    )


def _ingest_task(agency: str, tables: tuple[Dataset, ...]) -> TaskPlan:
    return TaskPlan(
        id="tables",
        argv=("run", "ingest", agency),
        timeout=timedelta(minutes=30),
        outlets=tuple(asset_of(dataset) for dataset in tables),
        due=tuple((asset_of(dataset), sector_of(dataset).schedule) for dataset in tables),
        doc_md="\n".join(f"- {_how(dataset)}" for dataset in tables)
        + "\n\n**If it fails**: the log names each table that failed, and which column or database. Its last good rows "
        f"stay, the other tables are loaded. A missing, renamed or retyped column is for {agency} to restore, or for a "
        "new version of the contract; afterwards clear the task. Running it twice changes nothing.",
    )


def _how(dataset: Dataset) -> str:
    sector = sector_of(dataset)
    how = f"by `{sector.cursor}` with a lag of {sector.lag}" if sector.cursor else "as a whole"
    names = f"{dataset.title.vi} — {dataset.title.en}"
    return f"{names}: reads `{sector.schema_name}.{sector.table}` {how}, at `{sector.schedule}`"


def is_due(cron: str, at: datetime) -> bool:
    """Whether a cron line of a contract names the minute of an instant."""
    return bool(croniter.match(cron, at.astimezone(ZoneInfo(TIMEZONE))))
