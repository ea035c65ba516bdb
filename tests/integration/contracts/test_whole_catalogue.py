"""Every contract of the city on the real engines: what Flink, Delta, Trino and Spark make of it is what it says."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from catalogue import city

from pipelines.contracts.names import literal
from pipelines.contracts.registry import Registry
from pipelines.publishing.registration import Platform
from pipelines.runtime import flink
from pipelines.runtime.flink import Cluster
from pipelines.runtime.forget import forget_namespace
from pipelines.runtime.services import endpoints
from pipelines.runtime.settings import Settings
from pipelines.runtime.spark import session
from pipelines.serving.bootstrap import apply
from pipelines.streaming.job import jobs_of, plan
from pipelines.streaming.submit import Submission, submit

START_TIMEOUT_S = 240.0


@pytest.fixture(scope="module")
def registry() -> Registry:
    return city()


@pytest.fixture(scope="module")
def settings(lake_services: Any, registry: Registry) -> Iterator[Settings]:
    """A namespace that holds the whole catalogue: its topics, tables, code lists and views are made."""
    lake_services.need("kafka", "flink", "trino", "spark")
    found: Settings = lake_services.namespace("whole")
    found.set_profile(None)
    for _ in apply(found, registry):
        pass
    yield found
    forget_namespace(found)


def test_flink_runs_every_stream(settings: Settings, registry: Registry) -> None:
    where = endpoints(settings)
    jobs = [plan(j, registry, settings, bootstrap=where.kafka, now=datetime.now(UTC)) for j in jobs_of(registry)]
    assert {dataset.job for dataset in registry.datasets if dataset.topic} == {job.id for job in jobs}
    try:
        submit([Submission(job) for job in jobs], settings)
        for job in jobs:
            flink.wait_running(settings, job.name, START_TIMEOUT_S)
    finally:
        with Cluster(where.flink_rest) as cluster:
            for job in jobs:
                running = cluster.alive(job.name)
                if running is not None:
                    cluster.cancel(running.job_id)


def test_trino_reads_every_table_with_the_types_of_its_contract(settings: Settings, registry: Registry) -> None:
    platform = Platform(settings)
    rows = platform.query(
        f'SELECT table_name, column_name, data_type FROM "{platform.catalog}".information_schema.columns '
        f"WHERE table_schema = {literal('silver')}"
    )
    found = {(str(table), str(column)): str(kind) for table, column, kind in rows}
    expected = {(d.id, f.name): f.type.on("trino") for d in registry.datasets if not d.mart for f in d.fields}
    expected |= {(f"code_{c.id}", f.name): f.type.on("trino") for c in registry.code_lists for f in c.columns}
    assert len(expected) > 500
    assert {key: found.get(key) for key in expected} == expected


def test_spark_reads_every_table_with_the_types_of_its_contract(settings: Settings, registry: Registry) -> None:
    spark = session(settings)
    try:
        for dataset in registry.datasets:
            if dataset.mart:
                continue
            frame = spark.read.format("delta").load(str(settings.table_path("silver", dataset.id)))
            found = {name: kind.replace(" ", "") for name, kind in frame.dtypes}
            expected = {f.name: f.type.on("spark").lower().replace(" ", "") for f in dataset.fields}
            assert {name: found.get(name) for name in expected} == expected, dataset.id
    finally:
        spark.stop()
