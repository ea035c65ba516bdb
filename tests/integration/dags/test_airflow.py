"""The ingestion DAGs in a real Airflow, started over its REST API in a namespace of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psycopg2
import pytest
from deltalake import DeltaTable

from pipelines.contracts.registry import Registry
from pipelines.ingestion.plan import all_plans, ingest_dag_id, ingestion_plans
from pipelines.ingestion.records import load_status
from pipelines.replay import sector
from pipelines.runtime.airflow import AirflowClient, AirflowError
from pipelines.runtime.contracts import registry_of
from pipelines.runtime.services import Endpoints
from pipelines.runtime.settings import Settings

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
    assert broken.tasks == {"tables": "failed"}
    assert "has no column price_vnd (new and perhaps its new name: gia)" in client.failures(broken)
    status = load_status(settings, registry.dataset("med_price"))
    assert status is not None and status.status == "failed"


def test_a_conf_that_cannot_be_used_fails_at_once(client: AirflowClient) -> None:
    dag_id = ingest_dag_id("H57.XD")
    client.trigger(dag_id, "unsafe", conf('r"; touch /tmp/x'))
    run = client.wait(dag_id, "unsafe", timeout_s=TIMEOUT_S)
    assert not run.succeeded
    assert "is not allowed" in client.failures(run)


def test_assets_are_known_and_a_drill_raises_no_event(client: AirflowClient) -> None:
    assert client.post_asset_event("city/silver/river_stage", {"rows": 10})
    assert not client.post_asset_event(f"{NAMESPACE}/silver/river_stage")


def test_a_server_that_is_down_is_one_sentence() -> None:
    with AirflowClient("http://127.0.0.1:9") as client, pytest.raises(AirflowError, match="lake up --only airflow"):
        client.import_errors()
