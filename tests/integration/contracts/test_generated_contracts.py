"""Contracts that nobody would write on the real engines: each compiles, and what is read back is what it says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import pytest
from generated_contracts import batch

from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry
from pipelines.contracts.targets import delta, documentation, trino
from pipelines.contracts.targets.great_expectations import suite
from pipelines.landing.tables import ensure_tables
from pipelines.publishing.registration import Platform, ensure_serving, view_columns
from pipelines.runtime.forget import forget_namespace
from pipelines.runtime.servers.flink import client_environment
from pipelines.runtime.services import endpoints
from pipelines.runtime.settings import Settings
from pipelines.runtime.spark import session
from pipelines.streaming.job import jobs_of, plan
from pipelines.warehouse.code_lists import ensure_code_lists

EXAMPLES = 7
"""Of each kind; about 22 of the 28 are contracts, the others take a name that is not free."""

FLINK = """
import json, sys
from pipelines.streaming.submit import declare, table_environment
found = {}
for job in json.load(sys.stdin):
    flink = table_environment(dict(job["config"]))
    declare(flink, job).explain()
    for name in flink.list_tables():
        with flink.execute_sql(f"DESCRIBE `{name}`").collect() as rows:
            found[name] = {row[0]: row[1] for row in rows}
print(json.dumps(found))
"""
"""Declares each job and plans its inserts, as a submission does, and prints table → column → type."""


@pytest.fixture(scope="module")
def registry() -> Registry:
    return batch(EXAMPLES)


@pytest.fixture(scope="module")
def settings(lake_services: Any, registry: Registry) -> Iterator[Settings]:
    lake_services.need("kafka", "flink", "trino", "spark")
    found: Settings = lake_services.namespace("generated")
    ensure_tables(found, registry)
    ensure_code_lists(found, registry)
    ensure_serving(found, registry)
    yield found
    forget_namespace(found)


def test_flink_plans_every_stream_with_the_types_of_its_contract(settings: Settings, registry: Registry) -> None:
    kafka = endpoints(settings).kafka
    jobs = [plan(job, registry, settings, bootstrap=kafka, now=datetime.now(UTC)) for job in jobs_of(registry)]
    done = subprocess.run(
        [sys.executable, "-c", FLINK],
        input=json.dumps([asdict(job) for job in jobs]),
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **settings.environment(), **client_environment(settings)},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert {stream.job for stream in registry.streams()} == {"camera", "city"}
    for dataset in registry.streams():
        expected = {item.name: item.type.on("flink") for item in dataset.fields}
        for table in (f"raw_{dataset.id}", f"{dataset.id}__conformed", f"clean_{dataset.id}"):
            assert expected.items() <= found[table].items(), (table, found[table])


def test_spark_reads_every_table_and_every_rule(settings: Settings, registry: Registry) -> None:
    from pyspark.sql.functions import expr

    spark = session(settings)
    try:
        for dataset in registry.datasets:
            frame = spark.read.format("delta").load(str(settings.table_path("silver", dataset.id)))
            found = {field.name: field for field in frame.schema.fields}
            for item in dataset.fields:
                kind = found[item.name].dataType.simpleString().replace(" ", "")
                assert kind == item.type.on("spark").lower().replace(" ", ""), (dataset.id, item.name)
                assert found[item.name].metadata["comment"] == delta.comment(item), (dataset.id, item.name)
            broken = [found.breaks for found in suite(dataset, registry).expectations if found.breaks]
            kinds = frame.select(*map(expr, broken)).dtypes
            assert {kind for _, kind in kinds} == {"boolean"}, dataset.id
    finally:
        spark.stop()


def test_trino_reads_every_table_and_view(settings: Settings, registry: Registry) -> None:
    platform = Platform(settings)
    for dataset in registry.datasets:
        described = platform.query(f'DESCRIBE "{platform.catalog}".silver."{dataset.id}"')
        found = {str(name): (kind, comment) for name, kind, _, comment in described}
        for item in dataset.fields:
            assert found[item.name] == (item.type.on("trino"), delta.comment(item)), (dataset.id, item.name)
        if trino.is_readable(dataset):
            platform.query(trino.published_view(platform.catalog, dataset, 0))
            for query in _queries(platform, dataset, registry):
                assert platform.query(query) == [], query
    views = {(schema, view) for schema in ("published", "live") for view in view_columns(platform, schema)}
    for dataset in registry.datasets:
        assert (("published", dataset.id) in views) == trino.is_readable(dataset)
        assert (("live", dataset.id) in views) == trino.is_live(dataset)


def _queries(platform: Platform, dataset: Dataset, registry: Registry) -> Iterator[str]:
    """What the dataset's page tells people to ask, and its live view as a whole."""
    (example,) = re.findall(r"```sql\n(.*)\n```", documentation.page(dataset, registry))
    yield example.replace("from lake.", f'from "{platform.catalog}".')
    if trino.is_live(dataset):
        yield f'SELECT * FROM "{platform.catalog}".live."{dataset.id}"'
