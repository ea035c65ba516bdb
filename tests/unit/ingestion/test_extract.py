"""What is asked of a source: nothing that retention has deleted or would delete the next night."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipelines.contracts.registry import Registry
from pipelines.ingestion.load import oldest_kept
from pipelines.runtime.settings import Settings
from pipelines.warehouse.retention import rules

HOME = Path(__file__).resolve().parents[3]
NOW = datetime(2026, 6, 15, 19, 30, tzinfo=UTC)


def test_a_load_reads_what_retention_keeps_and_nothing_else(registry: Registry, tmp_path: Path) -> None:
    """The same instant at both ends: a row is never read in one hour and deleted in the next."""
    city = Settings.load({"LAKE_HOME": str(HOME), "LAKE_STATE": str(tmp_path), "LAKE_NAMESPACE": "city"})
    cutoffs = {rule.table: rule.cutoff_at for rule in rules(registry, NOW)}
    tables = [dataset for dataset in registry.sector_tables() if dataset.event_time]
    assert len(tables) > 40
    for dataset in tables:
        assert oldest_kept(city, dataset, NOW) == cutoffs[f"silver.{dataset.id}"], dataset.id


@pytest.mark.parametrize("namespace", ["demo", "drill_2025"])
def test_a_replay_reads_everything(registry: Registry, tmp_path: Path, namespace: str) -> None:
    other = Settings.load({"LAKE_HOME": str(HOME), "LAKE_STATE": str(tmp_path), "LAKE_NAMESPACE": namespace})
    assert oldest_kept(other, registry.sector_tables()[0], NOW + timedelta(days=9000)) is None
