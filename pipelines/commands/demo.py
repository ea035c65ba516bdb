"""`lake demo`: the main job on real input, from sensor bytes and a sector database to a KPI in Trino."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from pipelines.commands.contracts import checked_registry
from pipelines.commands.flood_night import draft_alerts, forecast_second_wave
from pipelines.commands.ledger import Balance, kafka_ranges, print_ledger, read_balance, unsettled
from pipelines.commands.platform import start_namespace
from pipelines.commands.stages import Stages, Track
from pipelines.commands.story import tell
from pipelines.contracts.registry import Registry
from pipelines.ingestion.everything import run_everything
from pipelines.ingestion.plan import all_plans
from pipelines.landing.ledger import Ledger, ledger
from pipelines.replay import sector
from pipelines.replay.catalog import make_replay
from pipelines.replay.faults import FaultPlan
from pipelines.replay.sender import send_replay
from pipelines.runtime import flink
from pipelines.runtime.airflow import AirflowClient
from pipelines.runtime.errors import LakeError
from pipelines.runtime.servers.postgres import SAMPLE_CONNECTION
from pipelines.runtime.services import Report, endpoints, up
from pipelines.runtime.settings import DEFAULT_NAMESPACE, Settings
from pipelines.serving.bootstrap import apply
from pipelines.serving.trino import Client
from pipelines.streaming.job import jobs_of

REPLAYS = ("flood-2025", "traffic", "cameras")
STREAM_SERVICES = ("kafka", "flink")
AIRFLOW_TIMEOUT_S = 1800.0
DRAIN_TIMEOUT_S = 300.0
JOB_TIMEOUT_S = 240.0
DEMO_FAULTS = FaultPlan(duplicates=0.01, corrections=0.01, late=0.01, malformed=0.001)
demo_app = typer.Typer()


@dataclass(frozen=True)
class DemoPlan:
    """What the demo sends: the faults mixed into every replay, the size of the sample sector database; and which part
    of the catalogue its namespace holds (None: all of it)."""

    profile: str | None = "demo"
    faults: FaultPlan = DEMO_FAULTS
    sector_scale: float = 1.0
    replays: tuple[str, ...] = REPLAYS


@dataclass(frozen=True)
class DemoResult:
    """What came of it: the run's id, seconds by stage, the ledger."""

    run_id: str
    seconds: Mapping[str, float]
    balance: Balance


def run_demo(settings: Settings, plan: DemoPlan, console: Console) -> DemoResult:
    """Run everything in the namespace of ``settings``; the services are left running.

    Two tracks share the machine: streams (Kafka, Flink, landing, replays) and the slower servers (Spark, Trino,
    Airflow, PostgreSQL). They meet when the warehouse run begins.

    Raises:
        LakeError: a service, a replay, a DAG run or the ledger failed; the text says what to do.
    """
    stages = Stages(console)
    settings.set_profile(plan.profile)
    settings.set_sector_sample(SAMPLE_CONNECTION)
    registry = checked_registry(settings)
    servers = Track(lambda: _start_servers(settings, registry, plan, stages))
    try:
        _stream(settings, registry, plan, stages)
    finally:
        servers.result()
    run_id = f"demo-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    with stages.stage("serving", "Đăng ký bảng với Trino — registering tables"):
        for line in apply(settings, registry):
            stages.say(f"  {line}")
    with stages.stage("warehouse", "Airflow: nạp CSDL, kiểm định, dbt, công bố — ingest, judge, build, publish"):
        _orchestrate(settings, registry, run_id, stages)
    with stages.stage("ledger", "Đối soát từng bản ghi — balancing every record"):
        balance = read_balance(settings, registry)
    return DemoResult(run_id, dict(stages.seconds), balance)


def _start_servers(settings: Settings, registry: Registry, plan: DemoPlan, stages: Stages) -> None:
    with stages.stage("servers", "Khởi động Spark, Trino, Airflow, PostgreSQL — starting servers"):
        up(settings, ("spark", "trino", "airflow", "postgres"), _ready(stages))
    with stages.stage("sector", "CSDL mẫu của các sở — filling the sample sector database"):
        filled = sector.fill(endpoints(settings).postgres, registry, seed=plan.faults.seed, scale=plan.sector_scale)
        stages.say("  " + ", ".join(f"{name} {rows}" for name, rows in sorted(filled.items())))


def _stream(settings: Settings, registry: Registry, plan: DemoPlan, stages: Stages) -> None:
    with stages.stage("brokers", "Khởi động Kafka, Flink — starting Kafka and Flink"):
        up(settings, STREAM_SERVICES, _ready(stages))
    with stages.stage("jobs", "Chủ đề, bảng, công việc luồng — topics, tables, stream jobs"):
        for line in apply(settings, registry, serving=False):
            stages.say(f"  {line}")
        start_namespace(settings, desk=False)
        for job in jobs_of(registry):
            flink.wait_running(settings, settings.group(job), JOB_TIMEOUT_S)
    with stages.stage("replay", "Phát lại trận lũ 2025, bộ dò xe, camera — sending the replays"):
        for name in plan.replays:
            replay = make_replay(name, registry, settings.home / "data", plan.faults)
            report = send_replay(replay, settings, registry, endpoints(settings).kafka)
            stages.say(f"  {name}: {report.sent.total():,} bản ghi (records)")
    with stages.stage("drain", "Luồng xử lý và nạp hết — everything processed and landed"):
        wait_until_settled(settings, registry, DRAIN_TIMEOUT_S)
    with stages.stage("products", "Dự báo đợt lũ sau, bản tin cảnh báo — forecasts of the second wave, alerts"):
        stages.say(f"  {forecast_second_wave(settings, registry)}")
        stages.say(f"  {draft_alerts(settings, registry)}")
        wait_until_settled(settings, registry, DRAIN_TIMEOUT_S)


def _ready(stages: Stages) -> Report:
    def report(name: str, phrase: str) -> None:
        if phrase == "ready":
            stages.say(f"  {name}: sẵn sàng (ready)")

    return report


def wait_until_settled(settings: Settings, registry: Registry, timeout_s: float) -> Ledger:
    """Wait until every raw record that Kafka holds is in bronze and has an outcome, and return the ledger.

    Raises:
        LakeError: not within ``timeout_s``; the text names the datasets that wait.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        balance = ledger(settings, registry, kafka_ranges(settings, registry, endpoints(settings).kafka))
        waiting = unsettled(balance)
        if not waiting:
            return balance
        if time.monotonic() > deadline:
            raise LakeError(
                f"After {timeout_s:.0f} s records are still in flight: {', '.join(waiting)}.",
                "See `lake status`, `lake jobs list` and `lake landing status`.",
            )
        time.sleep(0.5)


def _orchestrate(settings: Settings, registry: Registry, run_id: str, stages: Stages) -> None:
    shown: dict[tuple[str, str], float] = {}

    def progress(dag: str, task: str, state: str) -> None:
        if task and state in {"running", "success", "failed", "upstream_failed"}:
            began = shown.setdefault((dag, task), time.monotonic())
            took = f" [{time.monotonic() - began:.1f} s]" if state == "success" else ""
            stages.say(f"  {dag}.{task}: {state}{took}")

    with AirflowClient(endpoints(settings).airflow) as client:
        runs = run_everything(
            client,
            all_plans(registry),
            namespace=settings.namespace,
            run_id=run_id,
            publish_by="demo",
            timeout_s=AIRFLOW_TIMEOUT_S,
            progress=progress,
        )
        failed = [run for run in runs if not run.succeeded]
        if failed:
            raise LakeError(
                "\n".join(client.failures(run) for run in failed),
                f"Open {client.run_page(failed[0].dag_id, failed[0].run_id)}.",
            )


def _addresses(settings: Settings) -> Mapping[str, str]:
    where = endpoints(settings)
    return {"Airflow": where.airflow, "Flink": where.flink_rest, "Trino": where.trino}


@demo_app.command()
def demo(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the timings and the ledger as JSON at the end.")
    ] = False,
    sector_scale: Annotated[float, typer.Option(min=0.01, max=100, help="Size of the sample sector database.")] = 1.0,
    everything: Annotated[
        bool,
        typer.Option("--all", help="Toàn bộ danh mục — every dataset of the catalogue, in the namespace demo_all."),
    ] = False,
) -> None:
    """Run the whole system on the flood of 2025 and tell its story; it may be repeated, and the services stay up."""
    namespace = os.environ.get("LAKE_NAMESPACE", "demo_all" if everything else "demo")
    if namespace == DEFAULT_NAMESPACE:
        raise LakeError(
            "The demo is an exercise and does not run among the observed data of the namespace 'city'.",
            "Unset LAKE_NAMESPACE.",
        )
    settings = Settings.load({**os.environ, "LAKE_NAMESPACE": namespace})
    console = Console(stderr=as_json, soft_wrap=False)
    plan = DemoPlan(sector_scale=sector_scale)
    if everything:
        plan = replace(plan, profile=None, replays=(*REPLAYS, "mobility", "sample"))
    result = run_demo(settings, plan, console)
    console.rule("Trận lũ 2025, kể lại từ Trino")
    console.print(f"Namespace {settings.namespace} · số liệu phát lại và tổng hợp — replayed and synthetic figures")
    with Client(settings, user="demo") as client:
        tell(client.query, console)
    print_ledger(result.balance, console)
    times = Table("giai đoạn (stage)", "giây (s)", title="Thời gian — time by stage", title_justify="left")
    for name, seconds in result.seconds.items():
        times.add_row(name, f"{seconds:.1f}")
    console.print(times)
    console.print("Xem tiếp — where to look next:")
    for name, address in _addresses(settings).items():
        console.print(f"  {name:8} {address}", highlight=False)
    console.print(
        f'  LAKE_NAMESPACE={settings.namespace} lake sql "select * from published.kpi_flood_alarm"', highlight=False
    )
    console.print("  lake status · lake logs SERVICE · lake down", highlight=False)
    if as_json:
        print(
            json.dumps(
                {"run_id": result.run_id, "seconds": result.seconds, "ledger": result.balance.to_dict()},
                ensure_ascii=False,
            )
        )
    if result.balance.violations:
        raise LakeError("The ledger does not balance.", "The lines above name the datasets; nothing of it was hidden.")
