"""A namespace with tables made from the contracts, and Trino as the platform and as an analyst."""

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from catalogue import city
from deltalake import DeltaTable, write_deltalake

from pipelines.contracts.registry import Registry
from pipelines.contracts.targets.delta import PROPERTIES, partition_by
from pipelines.publishing.registration import Platform, ensure_serving
from pipelines.runtime.settings import Settings

HOME = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def rows() -> Any:
    """`valid_rows`, `valid_table`, `break_rule`: the rows that the tests of the gate use."""
    spec = importlib.util.spec_from_file_location("lake_contract_rows", HOME / "tests/integration/quality/rows.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def registry() -> Registry:
    return city().only("demo")


@pytest.fixture(scope="module")
def settings(lake_services: Any, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Settings:
    """A namespace of the module's own with an empty lake; the lake root is new, so the catalog is made anew."""
    from pipelines.runtime.trino import PLATFORM_USER, execute_at

    name = request.module.__name__.rsplit(".", 1)[-1].removeprefix("test_")
    found = replace(lake_services.namespace(f"pub_{name}"), lake_root=tmp_path_factory.mktemp("lake"))
    trino = lake_services.need("trino").trino
    # An installation that is kept between test runs still has the catalog on a folder that is gone.
    execute_at(trino, PLATFORM_USER, f'DROP CATALOG IF EXISTS "{found.catalog}"')
    return found


@pytest.fixture
def write(settings: Settings, registry: Registry, rows: Any) -> Callable[..., int]:
    """Write rows to the silver table of a dataset; returns the new version."""

    def put(dataset_id: str, found: list[dict[str, Any]], mode: str = "overwrite") -> int:
        dataset = registry.dataset(dataset_id)
        path = settings.table_path("silver", dataset_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_deltalake(
            str(path),
            pa.Table.from_pylist(found, schema=rows.table_schema(dataset)),
            mode=mode,  # type: ignore[arg-type]
            partition_by=partition_by(dataset, "silver"),
            configuration=dict(PROPERTIES),
        )
        return DeltaTable(str(path)).version()

    return put


@pytest.fixture
def platform(settings: Settings, registry: Registry) -> Platform:
    ensure_serving(settings, registry)
    return Platform(settings)
