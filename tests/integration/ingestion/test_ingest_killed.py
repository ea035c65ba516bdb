"""Loads that die by SIGKILL at any step, and loads of one table that run at once: the result is that of one load."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from deltalake import DeltaTable

from pipelines.contracts.registry import Registry
from pipelines.ingestion.load import ingest
from pipelines.landing.ledger import ledger
from pipelines.runtime.settings import Settings

HOME = Path(__file__).resolve().parents[3]
PRICE = "med_price"
# A process of its own, as Airflow starts one; it ends itself as an oom killer would, without a word to anybody.
SCRIPT = """
import os, signal, sys
from pipelines.contracts.registry import load_registry
from pipelines.ingestion.load import ingest
from pipelines.runtime.settings import Settings
settings = Settings.load()
def step(name):
    if name == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)
result = ingest(settings, load_registry(settings.home / "schemas").only("demo"), "med_price", sys.argv[1], step=step)
print("INSERTED", result.inserted)
"""


def price(engine: sa.Engine, first: int, count: int, amount: int = 39_000) -> None:
    """Prices `S<n>`; every hundredth breaks its contract."""
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                f"""
                insert into soyt.med_price
                select 'BVTW', 'Bệnh viện Trung ương Huế', 'S' || n, 'Khám',
                       case when n % 100 = 0 then -1 else {amount} + n end, date '2025-01-01', date '2026-01-01'
                from generate_series({first}, {first + count - 1}) n
                on conflict (facility_id, service_code, valid_from) do update set price_vnd = excluded.price_vnd
                """
            )
        )


def start(settings: Settings, run_id: str, dies_at: str = "never") -> subprocess.Popen[str]:
    environment = {**os.environ, **settings.environment(), "PYTHONPATH": str(HOME)}
    command = [sys.executable, "-c", SCRIPT, run_id, dies_at]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def rows(settings: Settings, layer: str, dataset: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = DeltaTable(str(settings.table_path(layer, dataset))).to_pyarrow_table().to_pylist()
    return found


def silver(settings: Settings) -> dict[str, int]:
    found = Counter(row["service_code"] for row in rows(settings, "silver", PRICE))
    assert set(found.values()) <= {1}, "a key stands twice"
    return {row["service_code"]: int(row["price_vnd"]) for row in rows(settings, "silver", PRICE)}


@pytest.mark.parametrize("step", ["extract", "bronze", "silver"])
def test_a_killed_load_is_finished_by_the_next_and_nothing_is_lost_or_doubled(
    settings: Settings, registry: Registry, database: sa.Engine, step: str
) -> None:
    price(database, 1, 300)
    ingest(settings, registry, PRICE, "r0")
    price(database, 201, 300, amount=41_000)
    process = start(settings, "r1", step)
    _, said = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, said[-2000:]
    before = silver(settings)
    assert len(before) == 297 and all(amount < 41_000 for amount in before.values()), "the last good state is served"
    # The lease of the dead is nobody's, and Airflow tries again under the same run.
    result = ingest(settings, registry, PRICE, "r1")
    assert result.status == "ok"
    expected = {f"S{n}": (39_000 if n <= 200 else 41_000) + n for n in range(1, 501) if n % 100}
    # A price that broke keeps its last good row, and there was none.
    assert silver(settings) == expected
    entry = next(one for one in ledger(settings, registry).datasets if one.dataset == PRICE)
    assert entry.violations == () and entry.in_flight == 0
    refused = Counter(row["raw_offset"] for row in rows(settings, "quality", "quarantine"))
    assert set(refused.values()) == {1}, "a refused row stands once for each place"
    assert ingest(settings, registry, PRICE, "r2").inserted == 0


def test_two_loads_at_once_are_two_loads_one_after_the_other(
    settings: Settings, registry: Registry, database: sa.Engine
) -> None:
    price(database, 1, 99)
    both = [start(settings, run_id) for run_id in ("r1", "r2")]
    ends = [process.communicate(timeout=180) for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    inserted = sorted(int(out.rsplit("INSERTED", 1)[1]) for out, _ in ends)
    assert inserted == [0, 99], "the second finds everything there"
    assert len(silver(settings)) == 99
    assert sorted(row["raw_offset"] for row in rows(settings, "bronze", PRICE)) == list(range(99))
    assert next(one for one in ledger(settings, registry).datasets if one.dataset == PRICE).violations == ()


def test_one_run_that_is_started_twice_loads_once(settings: Settings, registry: Registry, database: sa.Engine) -> None:
    price(database, 1, 50)
    both = [start(settings, "the-run") for _ in range(2)]
    ends = [process.communicate(timeout=180) for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    loads = [row for row in rows(settings, "quality", "load_run") if row["run_id"] == "the-run"]
    assert len(loads) == 1 and len(silver(settings)) == 50
