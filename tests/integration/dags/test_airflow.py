"""The ingestion DAGs in a real Airflow, started over its REST API in a namespace of their own."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg2
import pytest
from deltalake import DeltaTable

from pipelines.contracts.registry import Registry
from pipelines.ingestion.plan import WAREHOUSE, all_plans, ingest_dag_id, ingestion_plans, pools
from pipelines.ingestion.records import load_status
from pipelines.replay import sector
from pipelines.runtime.airflow import AirflowClient, AirflowError
from pipelines.runtime.airflow_plan import Pool
from pipelines.runtime.contracts import registry_of
from pipelines.runtime.secret_files import secret_text
from pipelines.runtime.servers.airflow import airflow_home
from pipelines.runtime.servers.postgres import PASSWORD_FILE
from pipelines.runtime.services import Endpoints
from pipelines.runtime.settings import Settings
from pipelines.warehouse import manifest

NAMESPACE = "airflow_test"
TIMEOUT_S = 300.0


@pytest.fixture(scope="module")
def endpoints(lake_services: Any) -> Endpoints:
    found: Endpoints = lake_services.need("airflow")
    return found


@pytest.fixture(scope="module")
def settings(lake_services: Any) -> Settings:
    chosen: Settings = lake_services.namespace(NAMESPACE)
    # A task sees what the server was started with: the installation's own lake.
    return replace(chosen, lake_root=lake_services.settings.lake_root)


@pytest.fixture(scope="module")
def registry(settings: Settings) -> Registry:
    return registry_of(settings)


@pytest.fixture(scope="module")
def client(endpoints: Endpoints, registry: Registry) -> Iterator[AirflowClient]:
    with AirflowClient(endpoints.airflow) as client:
        client.wait_for_dags([plan.id for plan in all_plans(registry)], timeout_s=TIMEOUT_S)
        assert client.import_errors() == []
        yield client


@contextmanager
def renamed(dsn: str, table: str, column: str, other: str) -> Iterator[None]:
    """A column of the sample database under another name, for a while."""
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"alter table {table} rename column {column} to {other}")
            try:
                yield
            finally:
                cursor.execute(f"alter table {table} rename column {other} to {column}")
    finally:
        connection.close()


@contextmanager
def connection(client: AirflowClient, name: str, dsn: str) -> Iterator[None]:
    """A connection kept in Airflow, for a while."""
    url = urlsplit(dsn)
    body = {
        "connection_id": name,
        "conn_type": "postgres",
        "host": url.hostname,
        "port": url.port,
        "login": url.username,
        "password": url.password,
        "schema": url.path[1:],
    }
    assert client._send("POST", "/connections", json=body).is_success
    try:
        yield
    finally:
        assert client._send("DELETE", f"/connections/{name}").is_success


def wait_for(client: AirflowClient, dag_id: str, run_id: str, task_id: str, state: str) -> None:
    """Wait until a task of a run is in a state."""
    deadline = time.monotonic() + TIMEOUT_S
    while (found := client.task_states(dag_id, run_id).get(task_id)) != state:
        assert time.monotonic() < deadline, f"{dag_id}.{task_id} is {found}"
        time.sleep(0.5)


def give_up(client: AirflowClient, dag_id: str, run_id: str) -> None:
    """End a run that would go on."""
    assert client._send("PATCH", f"/dags/{dag_id}/dagRuns/{run_id}", json={"state": "failed"}).is_success


def conf(run_id: str, **more: Any) -> dict[str, Any]:
    return {"run_id": run_id, "namespace": NAMESPACE, **more}


def test_all_agencies_load_and_a_broken_source_is_told(
    client: AirflowClient, endpoints: Endpoints, settings: Settings, registry: Registry
) -> None:
    sector.fill(endpoints.postgres, registry, scale=0.1)
    events: list[tuple[str, str, str]] = []
    plans = ingestion_plans(registry)
    for plan in plans:
        client.trigger(plan.id, "first", conf("r1"))
        client.trigger(plan.id, "first", conf("r1"))
    for plan in plans:
        run = client.wait(plan.id, "first", timeout_s=TIMEOUT_S, progress=lambda *event: events.append(event))
        assert run.succeeded, client.failures(run)
    assert {(dag, state) for dag, task, state in events if not task} >= {(plan.id, "success") for plan in plans}
    for dataset in registry.sector_tables():
        table = DeltaTable(str(settings.table_path("silver", dataset.id))).to_pyarrow_table()
        assert table.num_rows > 0
        assert set(table["origin"].to_pylist()) == {"synthetic"}
        status = load_status(settings, dataset)
        assert status is not None and (status.run_id, status.status) == ("r1", "ok")

    dag_id = ingest_dag_id("H57.YT")
    with renamed(endpoints.postgres, "soyt.med_price", "price_vnd", "gia"):
        client.trigger(dag_id, "broken", conf("r2"))
        broken = client.wait(dag_id, "broken", timeout_s=TIMEOUT_S)
    assert broken.tasks == {"soyt": "failed"}, "at once: trying again would not bring the column back"
    assert "not mended by trying again" in client.failures(broken)
    assert "has no column price_vnd (new and perhaps its new name: gia)" in client.failures(broken)
    status = load_status(settings, registry.dataset("med_price"))
    assert status is not None and status.status == "failed"


def test_without_the_sample_a_missing_connection_is_told_and_no_password_is_logged(
    client: AirflowClient, lake_services: Any, settings: Settings
) -> None:
    bare = replace(settings, namespace="airflow_bare")
    bare.set_profile("demo")
    dag_id = ingest_dag_id("H57.YT")
    client.trigger(dag_id, "bare", {"run_id": "r1", "namespace": bare.namespace})
    run = client.wait(dag_id, "bare", timeout_s=TIMEOUT_S)
    assert not run.succeeded
    assert "Set AIRFLOW_CONN_SECTOR_SOYT" in client.failures(run)
    silver = DeltaTable(str(bare.table_path("silver", "med_price")))
    assert silver.to_pyarrow_table().num_rows == 0, "the sample was not asked for"
    password = secret_text(lake_services.settings, PASSWORD_FILE)
    logs = list((airflow_home(lake_services.settings) / "logs").rglob("*.log"))
    assert any(f"dag_id={dag_id}" in str(path) for path in logs)
    assert [path for path in logs if password in path.read_text(encoding="utf-8", errors="replace")] == []


def test_a_neighbour_of_a_broken_table_tells_of_itself_and_a_source_that_is_away_is_tried_again(
    client: AirflowClient, endpoints: Endpoints, lake_services: Any
) -> None:
    """In the server's own namespace, which alone raises events, by a connection that Airflow keeps."""
    city: Settings = lake_services.settings
    dag_id = ingest_dag_id("H57.YT")
    before = {name: len(client.asset_events(f"city/{name}")) for name in ("silver/facility", "silver/med_price")}
    names = ("facility", "med_price")
    sector.fill(endpoints.postgres, registry_of(city), scale=0.1, datasets=names)
    run_id, again = f"events{uuid4().hex[:8]}", f"away{uuid4().hex[:8]}"
    asked = {"run_id": run_id, "tables": list(names)}
    with (
        connection(client, "sector_soyt", endpoints.postgres),
        renamed(endpoints.postgres, "soyt.med_price", "price_vnd", "gia"),
    ):
        client.trigger(dag_id, run_id, asked)
        run = client.wait(dag_id, run_id, timeout_s=TIMEOUT_S)
    assert run.tasks == {"soyt": "failed"}
    assert "has no column price_vnd" in client.failures(run)
    events = client.asset_events("city/silver/facility")
    assert len(events) == before["silver/facility"] + 1
    assert events[0]["extra"]["run_id"] == run_id and events[0]["extra"]["inserted"] > 0
    assert len(client.asset_events("city/silver/med_price")) == before["silver/med_price"]
    assert client.asset_events("city/loaded/h57_yt")[0]["extra"]["tables"] == 1

    away = "postgresql://lake:hush@127.0.0.1:9/sector"
    with connection(client, "sector_soyt", away):
        client.trigger(dag_id, again, {"run_id": again, "tables": ["med_price"]})
        wait_for(client, dag_id, again, "soyt", "up_for_retry")
    assert "does not answer" in client.log_tail(dag_id, again, "soyt")
    give_up(client, dag_id, again)
    for layer, name in product(("bronze", "silver"), names):
        shutil.rmtree(city.table_path(layer, name), ignore_errors=True)


def test_a_department_that_is_away_leaves_its_marts_stale(
    client: AirflowClient, endpoints: Endpoints, settings: Settings
) -> None:
    dag_id = ingest_dag_id("H57.KHCN")
    client.trigger(dag_id, "good", conf("good"))
    assert client.wait(dag_id, "good", timeout_s=TIMEOUT_S).succeeded
    with renamed(endpoints.postgres, "hues.feedback_ticket", "rating", "diem"):
        client.trigger(dag_id, "gone", conf("gone"))
        assert not client.wait(dag_id, "gone", timeout_s=TIMEOUT_S).succeeded
    client.trigger(WAREHOUSE, "stale", conf("stale", publish_by="test", announce=False))
    wait_for(client, WAREHOUSE, "stale", "manifest", "success")
    give_up(client, WAREHOUSE, "stale")
    found = manifest.load(settings, "stale")
    assert "silver.feedback_ticket" in found.versions, "its last good rows are read"
    assert "kpi_feedback_month" in found.stale
    assert "has no column rating" in found.late["feedback_ticket"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"run_id": 'r"; touch /tmp/x'},
        {"tables": ["camera"]},
        {"tables": []},
        {"namespace": "../city"},
        {"outside_window": "yes"},
    ],
)
def test_a_conf_that_cannot_be_used_starts_no_run(client: AirflowClient, wrong: dict[str, Any]) -> None:
    with pytest.raises(AirflowError, match=r"refused to start ingest__h57_yt \(400"):
        client.trigger(ingest_dag_id("H57.YT"), "unsafe", {**conf("unsafe"), **wrong})


def test_the_pools_of_the_plan_are_there_and_an_administrators_are_left_alone(
    client: AirflowClient, registry: Registry
) -> None:
    assert client.ensure_pools(pools(registry)) == (), "`lake up` made them"
    own = Pool("own", 2, "by hand")
    assert client.ensure_pools([own]) == ("own",)
    wider = replace(own, slots=3)
    assert client.ensure_pools([wider]) == ("own",)
    assert client.ensure_pools(pools(registry)) == () == client.ensure_pools([wider])


def test_assets_are_known_and_a_drill_raises_no_event(client: AirflowClient) -> None:
    assert client.post_asset_event("city/silver/river_stage", {"rows": 10})
    assert not client.post_asset_event(f"{NAMESPACE}/silver/river_stage")
    assert client.asset_events(f"{NAMESPACE}/silver/river_stage") == []
    told = len(client.asset_events("city/silver/river_stage"))
    assert client.post_asset_event("city/silver/river_stage", pause=timedelta(minutes=5))
    assert len(client.asset_events("city/silver/river_stage")) == told, "that was told just now"


def test_a_server_that_is_down_is_one_sentence() -> None:
    with AirflowClient("http://127.0.0.1:9") as client, pytest.raises(AirflowError, match="lake up --only airflow"):
        client.import_errors()
