"""Plans from contracts: which tasks, which edges, what starts them, and what each says when it fails."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipelines.contracts.registry import Registry, load_registry
from pipelines.ingestion.plan import DagPlan, all_plans, ingest_dag_id, ingestion_plans, is_due, warehouse_plan

HOME = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_registry(HOME / "schemas")


def plan_of(registry: Registry, dag_id: str) -> DagPlan:
    (found,) = [plan for plan in all_plans(registry) if plan.id == dag_id]
    return found


def test_one_dag_per_agency_whose_task_loads_all_of_its_tables(registry: Registry) -> None:
    tables = {(p.owner, outlet) for p in ingestion_plans(registry) for task in p.tasks for outlet in task.outlets}
    assert tables == {(d.owner, f"silver/{d.id}") for d in registry.sector_tables()}
    assert len(tables) >= 3
    assert all(len(plan.tasks) == 1 for plan in ingestion_plans(registry))
    owners = [plan.owner for plan in ingestion_plans(registry)]
    assert owners == sorted(set(owners))


def test_the_plan_of_an_agency(registry: Registry) -> None:
    plan = plan_of(registry.only("demo"), ingest_dag_id("H57.KHCN"))
    assert plan.id == "ingest__h57_khcn"
    assert plan.title == "Thu nạp: Sở Khoa học và Công nghệ (H57.KHCN)"
    assert plan.crons == ("*/5 * * * *",)
    (task,) = plan.tasks
    assert task.argv == ("run", "ingest", "H57.KHCN")
    assert (task.outlets, task.retries) == (("silver/feedback_ticket",), 1)
    assert task.due == (("silver/feedback_ticket", "*/5 * * * *"),)
    assert "`hues.feedback_ticket` by `updated_at` with a lag of 1:00:00, at `*/5 * * * *`" in task.doc_md


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


def test_the_warehouse_waits_for_all_sector_tables_or_all_streams_of_a_domain(registry: Registry) -> None:
    groups = warehouse_plan(registry).asset_groups
    assert set(groups[0]) == {f"silver/{d.id}" for d in registry.sector_tables()}
    assert {frozenset(group) for group in groups[1:]} == {
        frozenset(f"silver/{d.id}" for d in registry.streams() if d.domain == domain)
        for domain in {d.domain for d in registry.streams()}
    }
    assert set(warehouse_plan(registry).tasks[0].inlets) == {name for group in groups for name in group}


def test_every_task_says_what_its_failure_means(registry: Registry) -> None:
    for plan in all_plans(registry):
        for task in plan.tasks:
            assert "**If it fails**" in task.doc_md, f"{plan.id}.{task.id}"
            assert task.argv[0] == "run"


def test_equal_contracts_give_equal_plans(registry: Registry) -> None:
    assert all_plans(registry) == all_plans(load_registry(HOME / "schemas"))
