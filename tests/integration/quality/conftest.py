"""A lake with tables made from the contracts, judged by the real Spark Connect server."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from catalogue import city
from deltalake import write_deltalake

from pipelines.contracts.registry import Registry
from pipelines.contracts.targets.delta import PROPERTIES, partition_by
from pipelines.runtime.settings import Settings
from pipelines.warehouse.manifest import RunManifest

HOME = Path(__file__).resolve().parents[3]


def _rows_module() -> Any:
    spec = importlib.util.spec_from_file_location("lake_contract_rows", HOME / "tests/integration/quality/rows.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def rows() -> Any:
    """`valid_rows`, `valid_table`, `break_rule` of rows.py."""
    return _rows_module()


@pytest.fixture(scope="session")
def registry() -> Registry:
    return city().only("demo")


@pytest.fixture(scope="module")
def settings(lake_services: Any, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A namespace with an empty lake of its own, beside the running servers."""
    from dataclasses import replace

    found = lake_services.namespace("quality_test")
    return replace(found, lake_root=tmp_path_factory.mktemp("lake"))


@pytest.fixture(scope="module")
def spark(lake_services: Any) -> Any:
    from pyspark.sql import SparkSession

    return SparkSession.builder.remote(lake_services.need("spark").spark_remote).getOrCreate()


@pytest.fixture
def write(settings: Settings, registry: Registry, rows: Any) -> Callable[..., int]:
    """Overwrite the table of a dataset with rows; returns the new version."""
    import pyarrow as pa
    from deltalake import DeltaTable

    def put(dataset_id: str, found: list[dict[str, Any]], schema: pa.Schema | None = None) -> int:
        dataset = registry.dataset(dataset_id)
        path = settings.table_path(dataset.layer, dataset_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        table = pa.Table.from_pylist(found, schema=schema or rows.table_schema(dataset))
        keys = partition_by(dataset, "silver") if not dataset.mart and schema is None else None
        write_deltalake(
            str(path),
            table,
            mode="overwrite",
            schema_mode="overwrite",
            partition_by=keys,
            configuration=dict(PROPERTIES),
        )
        return DeltaTable(str(path)).version()

    return put


@pytest.fixture
def manifest(settings: Settings) -> Callable[..., RunManifest]:
    def make(run_id: str, versions: dict[str, int], **more: Any) -> RunManifest:
        return RunManifest(
            run_id=run_id,
            namespace=settings.namespace,
            created_at="2025-11-04T00:00:00+00:00",
            versions={name: v for name, v in versions.items() if name.startswith("silver.")},
            gold={name: v for name, v in versions.items() if name.startswith("gold.")},
            **more,
        )

    return make
