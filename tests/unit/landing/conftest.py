"""A lake in a temporary folder, the project's own contracts, and events of a river gauge as batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines.contracts.model import Dataset
from pipelines.contracts.targets import delta
from pipelines.landing.apply import PART, POSITION, Batch
from pipelines.runtime.settings import Settings

HOME = Path(__file__).resolve().parents[3]
T0 = datetime(2025, 10, 27, 0, 0, tzinfo=UTC)
APP = "cluster/topic/0"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of an empty lake."""
    return Settings.load({"LAKE_HOME": str(HOME), "LAKE_STATE": str(tmp_path / "state"), "LAKE_NAMESPACE": "t"})


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Settings]:
    """Gives settings of another empty lake at each call."""

    def settings() -> Settings:
        state = tmp_path_factory.mktemp("lake")
        return Settings.load({"LAKE_HOME": str(HOME), "LAKE_STATE": str(state), "LAKE_NAMESPACE": "t"})

    return settings


class Events:
    """Makes records and batches of them, and reads tables back."""

    app = APP

    @staticmethod
    def reading(station: str = "71520", step: int = 0, stage: str = "1.000", **more: Any) -> dict[str, Any]:
        """One clean record of `river_stage`: `step` counts 10-minute steps."""
        offset = more.pop("raw_offset", 0)
        return {
            "station_id": station,
            "observed_at": T0 + timedelta(minutes=10 * step),
            "stage_m": Decimal(stage),
            "qc_flag": 1,
            "qc_detail": None,
            "origin": "replay",
            "revision": 0,
            "received_at": T0 + timedelta(minutes=10 * step, seconds=offset),
            "raw_partition": 0,
            "raw_offset": offset,
            "disposition": "on_time",
            **more,
        }

    @staticmethod
    def batch_of(
        dataset: Dataset, rows: Sequence[Mapping[str, Any]], start: int = 0, app: str = APP, end: int | None = None
    ) -> Batch:
        """Rows as the records `start`, `start + 1`, … of partition 0 of their topic."""
        schema = pa.schema([pa.field(f.name, f.type) for f in delta.clean_schema(dataset)])
        table = pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
        table = table.append_column(PART, pa.array([0] * len(rows), pa.int32()))
        table = table.append_column(POSITION, pa.array(range(start, start + len(rows)), pa.int64()))
        return Batch(table, {0: app}, {0: start + len(rows) if end is None else end})

    @staticmethod
    def content(table: Any, *, sort: Sequence[str]) -> list[dict[str, Any]]:
        """All rows of a Delta table in order."""
        rows = table.to_pyarrow_table().to_pylist()
        return sorted(rows, key=lambda r: tuple(str(r[name]) for name in sort))


@pytest.fixture(scope="session")
def events() -> Events:
    """The maker of records."""
    return Events()
