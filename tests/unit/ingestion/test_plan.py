"""Plans from contracts: which tasks, which edges, what starts them, and what each says when it fails."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from catalogue import city

from pipelines.contracts.registry import Registry, load_registry
from pipelines.ingestion.plan import (
    DEFAULT_POOL,
    DagPlan,
    all_plans,
    ingest_dag_id,
    ingestion_plans,
    is_due,
    pools,
    priority_of,
    warehouse_plan,
)

HOME = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def registry() -> Registry:
    return city()


def plan_of(registry: Registry, dag_id: str) -> DagPlan:
    (found,) = [plan for plan in all_plans(registry) if plan.id == dag_id]
    return found


def test_one_dag_per_agency_with_a_task_for_each_of_its_sources(registry: Registry) -> None:
    plans = ingestion_plans(registry)
    read = {(plan.owner, task.id, name) for plan in plans for task in plan.tasks for name, _ in task.due}
    tables = registry.sector_tables()
    assert read == {(d.owner, registry.source_of(d).id, f"silver/{d.id}") for d in tables}
    assert len(read) == len(tables) >= 3
    assert all({name for name, _ in task.due} < set(task.outlets) for plan in plans for task in plan.tasks)
    assert [plan.owner for plan in plans] == sorted({d.owner for d in tables})


def test_the_plan_of_an_agency(registry: Registry) -> None:
    plan = plan_of(registry.only("demo"), ingest_dag_id("H57.KHCN"))
    assert plan.id == "ingest__h57_khcn"
    assert plan.title == "Thu nạp: Sở Khoa học và Công nghệ (H57.KHCN)"
    assert plan.crons == ("*/5 * * * *",)
    (task,) = plan.tasks
    assert task.argv == ("run", "ingest", "H57.KHCN", "--source", "hues")
    assert task.outlets == ("silver/feedback_ticket", "loaded/h57_khcn")
    assert (task.retries, task.backs_off, task.pool) == (4, True, "source_hues")
    assert task.connections == ("sector_hues",)
    assert task.due == (("silver/feedback_ticket", "*/5 * * * *"),)
    assert "`hues.feedback_ticket` by `updated_at` with a lag of 1:00:00, at `*/5 * * * *`" in task.doc_md


def test_a_second_source_of_an_agency_is_a_task_of_its_own(registry: Registry) -> None:
    """Let the prices of the health department lie in a database of their own."""
    own = registry.source_of(registry.dataset("med_price")).model_copy(
        update={"id": "soyt_prices", "connection": "sector_prices", "pool": 3}
    )
    price = registry.dataset("med_price")
    assert price.sector is not None
    moved = price.model_copy(update={"sector": price.sector.model_copy(update={"source": own.id})})
    changed = replace(
        registry,
        datasets=tuple(moved if d.id == price.id else d for d in registry.datasets),
        sector_sources=(*registry.sector_sources, own),
    )
    plan = plan_of(changed, ingest_dag_id("H57.YT"))
    assert [task.id for task in plan.tasks] == ["soyt", "soyt_prices"]
    assert plan.tasks[1].outlets == ("silver/med_price", "loaded/h57_yt")
    assert plan.tasks[1].connections == ("sector_prices",)
    assert "silver/med_price" not in plan.tasks[0].outlets
    assert {pool.name: pool.slots for pool in pools(changed)}["source_soyt_prices"] == 3


def test_every_pool_that_a_task_names_is_made(registry: Registry) -> None:
    named = {task.pool for plan in all_plans(registry) for task in plan.tasks} - {DEFAULT_POOL}
    assert named == {pool.name for pool in pools(registry)}


def test_what_is_promised_sooner_goes_first() -> None:
    promised = [timedelta(minutes=20), timedelta(hours=2), timedelta(days=2), timedelta(days=40), timedelta(days=900)]
    found = [priority_of(freshness) for freshness in promised]
    assert found == sorted(set(found), reverse=True)
    assert found[-1] == priority_of(timedelta.max) == 1


def test_a_table_is_due_at_the_minutes_of_its_cron_in_hue() -> None:
    at = datetime(2026, 11, 20, 18, 0, tzinfo=UTC)  # 01:00 of the 21st in Huế
    assert is_due("0 1 * * *", at)
    assert not is_due("0 18 * * *", at)
    assert is_due("*/5 * * * *", at) and not is_due("*/5 * * * *", at + timedelta(minutes=1))


def test_the_warehouse_is_one_chain_that_never_runs_twice_at_once(registry: Registry) -> None:
    plan = warehouse_plan(registry)
    assert [task.id for task in plan.tasks] == ["manifest", "silver_verdict", "dbt", "gold_verdict", "publish"]
    assert plan.edges == (
        ("manifest", "silver_verdict"),
        ("silver_verdict", "dbt"),
        ("dbt", "gold_verdict"),
        ("gold_verdict", "publish"),
    )
    assert (plan.max_active_runs, plan.max_active_tasks) == (1, 1)


def test_the_warehouse_waits_for_any_agency_or_all_streams_of_a_domain(registry: Registry) -> None:
    groups = warehouse_plan(registry).asset_groups
    agencies = [group for group in groups if group[0].startswith("loaded/")]
    assert sorted(agencies) == [(p.tasks[0].outlets[-1],) for p in ingestion_plans(registry)]
    assert {frozenset(group) for group in groups if group not in agencies} == {
        frozenset(f"silver/{d.id}" for d in registry.streams() if d.domain == domain)
        for domain in {d.domain for d in registry.streams()}
    }
    told = {outlet for plan in ingestion_plans(registry) for task in plan.tasks for outlet in task.outlets}
    assert told | {name for group in groups for name in group} == set(warehouse_plan(registry).tasks[0].inlets)


def test_every_task_says_what_its_failure_means(registry: Registry) -> None:
    for plan in all_plans(registry):
        for task in plan.tasks:
            assert "**If it fails**" in task.doc_md, f"{plan.id}.{task.id}"
            assert task.argv[0] in {"run", "retention", "maintain"}


def test_equal_contracts_give_equal_plans(registry: Registry) -> None:
    assert all_plans(registry) == all_plans(load_registry(HOME / "schemas"))
