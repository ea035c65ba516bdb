"""What Airflow shall run, compiled from the contracts: frozen plans, free of Airflow, network, secrets and clock.

Airflow reads them from the file that :mod:`pipelines.ingestion.plan_file` writes; nothing here loads the contracts'
model when it is imported.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from pipelines.runtime.airflow_plan import Pool
from pipelines.runtime.errors import LakeError

if TYPE_CHECKING:
    from pipelines.contracts.model import Dataset, Sector
    from pipelines.contracts.registry import Registry
    from pipelines.contracts.sources import SectorSource

TIMEZONE = "Asia/Ho_Chi_Minh"
"""The zone of every cron line in contracts: agencies think in their own clock."""
INGEST = "ingest__"
"""How the ids of the agencies' DAGs begin."""
WAREHOUSE = "warehouse"
WAREHOUSE_SCHEDULE = "15 * * * *"
"""The fallback when no asset event comes; a run that finds no news ends with its first step."""
MAINTENANCE = "maintenance"
MAINTENANCE_SCHEDULE = "30 2 * * *"
"""At night, after the loads of the small hours and before anybody works; the day of retention is over by UTC at 07:00
in Huế, so what falls due goes the night after."""
DEFAULT_POOL = "default_pool"
SPARK_POOL = "spark"
"""One slot: a single Spark driver owns gold, and two cores carry no second one."""
_RETRY_DELAY = timedelta(seconds=15)
_SOURCE_RETRIES = 4
"""With a delay that doubles from half a minute, plus up to as much again by chance, about ten to fifteen minutes: a
restart of a database, or a lock; a source that is away longer is read at its next time."""
_SOURCE_RETRY_DELAY = timedelta(seconds=30)
_LONGEST_RETRY_DELAY = timedelta(minutes=10)
_SOURCE_TIMEOUT = timedelta(hours=2)
_MOST_URGENT = 1000


@dataclass(frozen=True)
class TaskPlan:
    """One call of `lake`: `argv` without `--run-id`, which every task gets; `outlets` and `inlets` name assets
    (`silver/med_price`, `loaded/h57_yt`). `due` are the tables that the task reads, as assets, each with its own cron
    line: a scheduled run reads those of its time. `connections` are the ids of those by which its source is read.

    A retry waits `retry_delay`, each further one twice as long and up to that again by chance when `backs_off`. A task
    of a higher `priority` takes a free slot first.
    """

    id: str
    argv: tuple[str, ...]
    timeout: timedelta
    doc_md: str
    title: str = ""
    retries: int = 1
    retry_delay: timedelta = _RETRY_DELAY
    backs_off: bool = False
    longest_retry_delay: timedelta = _LONGEST_RETRY_DELAY
    pool: str = DEFAULT_POOL
    priority: int = 1
    outlets: tuple[str, ...] = ()
    inlets: tuple[str, ...] = ()
    due: tuple[tuple[str, str], ...] = ()
    connections: tuple[str, ...] = ()


@dataclass(frozen=True)
class DagPlan:
    """One DAG: starts by any of `crons`, or when every asset of one of `asset_groups` has news; at most one run."""

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


def asset_of_agency(agency: str) -> str:
    """Return the name, without its namespace, of the asset that has news when a table of an agency was loaded."""
    return f"loaded/{agency_slug(agency)}"


def pool_of(source: SectorSource) -> str:
    """Return the pool whose slots a source lends."""
    return f"source_{source.id}"


def priority_of(freshness: timedelta) -> int:
    """Return the priority of a task by the shortest freshness that is promised of what it makes: an hour goes before a
    day, what may be 40 days old or older goes last."""
    return max(1, _MOST_URGENT - int(freshness / timedelta(hours=1)))


def ingest_dag_id(agency: str) -> str:
    """Return the DAG of an agency: `H57.KHCN` gives `ingest__h57_khcn`."""
    return f"{INGEST}{agency_slug(agency)}"


def ingestion_plans(registry: Registry) -> tuple[DagPlan, ...]:
    """One DAG per agency that owns sector tables, sorted by agency, with one task for each of its sources.

    A task loads all tables of its source in one process: a process for each table costs 2.5 s of start-up, which for
    the whole catalogue is longer than the loads. A table that fails stops no other, and a retry reads only what the
    first attempt did not load. A source that is away keeps none of the agency's others from being read.
    """
    by_agency: dict[str, list[Dataset]] = {}
    for dataset in registry.sector_tables():
        by_agency.setdefault(dataset.owner, []).append(dataset)
    return tuple(_ingestion(registry, agency, by_agency[agency]) for agency in sorted(by_agency))


def warehouse_plan(registry: Registry) -> DagPlan:
    """The DAG that turns what was landed into published tables, one step after the other.

    It starts when any agency has news, or all streams of a domain have (landing says so every few minutes), or by the
    clock: a source that stays silent holds nobody up. While one run is under way, news waits and becomes one run.
    Whatever started it, a run reads the versions that its own manifest resolved, so that a news item lost or doubled
    changes nothing.
    """
    agencies = tuple((asset_of_agency(agency),) for agency in sorted({d.owner for d in registry.sector_tables()}))
    domains = sorted({d.domain for d in registry.streams()})
    streams = tuple(tuple(asset_of(d) for d in registry.streams() if d.domain == domain) for domain in domains)
    groups = tuple(group for group in (*agencies, *streams) if group)
    tables = {asset_of(d) for d in registry.sector_tables()}
    inputs = tuple(sorted(tables | {name for group in groups for name in group}))
    urgent = priority_of(min((d.sla.freshness for d in registry.marts()), default=timedelta.max))
    steps = (
        TaskPlan(
            "manifest",
            ("run", "manifest"),
            timedelta(minutes=5),
            "Decides which version of every table this run reads. When nothing changed since the last run that came to "
            "its end, the run of a schedule or of an asset ends here, skipped.\n\n**If it fails**: a table is "
            "unreadable; `lake status` names it. Nothing else ran, everything published stays.",
            inlets=inputs,
            priority=urgent,
        ),
        TaskPlan(
            "silver_verdict",
            ("run", "verdict", "silver"),
            timedelta(minutes=30),
            "Judges the silver tables of the manifest.\n\n**If it fails**: the check itself could not run (a table "
            "that fails its rules is a verdict, not a failure). Look for Spark in `lake status`, then clear the task.",
            pool=SPARK_POOL,
            priority=urgent,
        ),
        TaskPlan(
            "dbt",
            ("run", "dbt"),
            timedelta(hours=1),
            "Builds the marts from the judged versions; a table without a good version, or of an agency that is away, "
            "enters with its last good one, and its marts are marked stale.\n\n**If it fails**: the log names the "
            "model or test. Marts keep their published versions. Mend the model, then clear the task.",
            pool=SPARK_POOL,
            priority=urgent,
        ),
        TaskPlan(
            "gold_verdict",
            ("run", "verdict", "gold"),
            timedelta(minutes=30),
            "Judges the marts.\n\n**If it fails**: as `silver_verdict`.",
            pool=SPARK_POOL,
            priority=urgent,
        ),
        TaskPlan(
            "publish",
            ("run", "publish"),
            timedelta(minutes=15),
            "Moves the pins of everything that passed, as one group.\n\n**If it fails**: readers still see the last "
            "published versions. Look for Trino in `lake status`, then clear the task: publishing twice is harmless.",
            priority=urgent,
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
        f"Starts when everything in one of these lines has news, or hourly ({WAREHOUSE_SCHEDULE}, {TIMEZONE}):\n\n"
        + "\n".join(f"- {', '.join(group)}" for group in groups),
    )


def all_plans(registry: Registry) -> tuple[DagPlan, ...]:
    """Every DAG of the installation."""
    return (*ingestion_plans(registry), warehouse_plan(registry), maintenance_plan())


def maintenance_plan() -> DagPlan:
    """The DAG of the night: what is too old goes, then tables are compacted and files that nobody needs removed.

    In this order, because the files of deleted rows are the first that maintenance counts down for.
    """
    steps = (
        TaskPlan(
            "retention",
            ("retention",),
            timedelta(hours=1),
            "Deletes the rows and files that are older than their contract's `retention`, and records them in "
            "`catalog.retention`.\n\n**If it fails**: the log names the tables that were left, because a load or "
            "landing held them and did not answer; everything else is done. It is tried again by itself; afterwards "
            "look at `lake landing status`, then clear the task: what is gone is not deleted twice.",
            retries=2,
            retry_delay=timedelta(minutes=10),
        ),
        TaskPlan(
            "maintain",
            ("maintain",),
            timedelta(hours=2),
            "Compacts tables of many small files, writes checkpoints, cuts logs, removes files that no kept version "
            "needs, then reads every published version.\n\n**If it fails**: Trino does not run (`lake status`), and "
            "nothing was touched; or a published version cannot be read, and the log names it: stop this DAG and "
            "restore the named files. Nothing is lost by leaving it out for a night.",
            retry_delay=timedelta(minutes=10),
        ),
    )
    return DagPlan(
        id=MAINTENANCE,
        title="Bảo trì hằng đêm: thời hạn lưu, nén, dọn — Nightly: retention, compaction, cleaning",
        owner="platform",
        crons=(MAINTENANCE_SCHEDULE,),
        tasks=steps,
        edges=tuple((left.id, right.id) for left, right in pairwise(steps)),
        tags=("maintenance",),
        max_active_tasks=1,
        doc_md=f"Retention → maintenance, nightly at {MAINTENANCE_SCHEDULE} ({TIMEZONE}), of the city's namespace "
        "alone: a replay carries the clock of the past.\n\nConf: `run_id`. Both may be repeated at any time; "
        "`lake retention --dry-run` and `lake maintain --dry-run` say beforehand what they would do.",
    )


def pools(registry: Registry) -> tuple[Pool, ...]:
    """The pools that the tasks of all plans name."""
    used = sorted({dataset.sector.source for dataset in registry.sector_tables() if dataset.sector})
    lent = (source for source in registry.sector_sources if source.id in used)
    return (
        Pool(SPARK_POOL, 1, "Spark: one driver owns gold"),
        *(Pool(pool_of(source), source.pool, f"{source.title.vi} ({source.agency})") for source in lent),
    )


def _ingestion(registry: Registry, agency: str, datasets: Iterable[Dataset]) -> DagPlan:
    names = {row["code"]: row["name_vi"] for row in registry.code_list("agencies").rows}
    title = names.get(agency, agency)
    tables = tuple(datasets)
    sources = {source.id: source for source in map(registry.source_of, tables)}
    return DagPlan(
        id=ingest_dag_id(agency),
        title=f"Thu nạp: {title} ({agency})",
        owner=agency,
        crons=tuple(sorted({sector_of(dataset).schedule for dataset in tables})),
        tasks=tuple(
            _ingest_task(agency, sources[name], tuple(d for d in tables if sector_of(d).source == name))
            for name in sorted(sources)
        ),
        tags=("ingest", agency),
        doc_md=f"Sector tables of {agency} ({title}) → bronze, silver: one task for each source.\n\nTimes are "
        f"{TIMEZONE}. A failed table leaves its last good rows, is recorded in `quality.load_run`, and stops no "
        "other; of each table that was loaded its asset tells at once.",
    )


def _ingest_task(agency: str, source: SectorSource, tables: tuple[Dataset, ...]) -> TaskPlan:
    whole = f" (as a whole only {source.window}, `outside_window` reads it nevertheless)" if source.window else ""
    return TaskPlan(
        id=source.id,
        title=f"{source.title.vi} — {source.title.en}",
        argv=("run", "ingest", agency, "--source", source.id),
        timeout=_SOURCE_TIMEOUT,
        retries=_SOURCE_RETRIES,
        retry_delay=_SOURCE_RETRY_DELAY,
        backs_off=True,
        pool=pool_of(source),
        priority=priority_of(min(dataset.sla.freshness for dataset in tables)),
        outlets=(*(asset_of(dataset) for dataset in tables), asset_of_agency(agency)),
        due=tuple((asset_of(dataset), sector_of(dataset).schedule) for dataset in tables),
        connections=(source.connection,),
        doc_md="\n".join(f"- {_how(dataset)}" for dataset in tables)
        + f"\n\nBy the connection `{source.connection}`{whole}.\n\n**If it fails**: the log names each table that "
        "failed, and which column or database. Its last good rows stay, the other tables are loaded. A source that is "
        "away or locked is tried again by itself (exit 75). A missing, renamed or retyped column, a refused password, "
        f"too many bad rows are not (exit 65): they are for {agency} to mend, or for a new version of the contract; "
        "afterwards clear the task. Running it twice changes nothing.",
    )


def _how(dataset: Dataset) -> str:
    sector = sector_of(dataset)
    how = f"by `{sector.cursor}` with a lag of {sector.lag}" if sector.cursor else "as a whole"
    how = "by the changes that it tells" if sector.mode == "capture" else how
    names = f"{dataset.title.vi} — {dataset.title.en}"
    return f"{names}: reads `{sector.place}` {how}, at `{sector.schedule}`"


def is_due(cron: str, at: datetime) -> bool:
    """Whether a cron line of a contract names the minute of an instant."""
    from croniter import croniter  # type: ignore[import-untyped]

    return bool(croniter.match(cron, at.astimezone(ZoneInfo(TIMEZONE))))
