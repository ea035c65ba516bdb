"""The sample sector data: calibrated, consistent, and made from the contracts."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from pipelines.contracts.registry import Registry
from pipelines.gateway import normalise
from pipelines.replay.sample import CALIBRATED
from pipelines.replay.sector import create_statements, source_columns
from pipelines.replay.sector_data import Row

HOME = Path(__file__).resolve().parents[3]


def sample(registry: Registry, seed: int, scale: float) -> dict[str, list[Row]]:
    """The rows of every calibrated table by dataset id."""
    return {name: rows(registry, seed, scale) for name, rows in CALIBRATED.items()}


def test_the_baselines_hold(registry: Registry) -> None:
    tickets = sample(registry, 7, 1.0)["feedback_ticket"]
    closed = [t for t in tickets if t["ticket_status"] == "closed"]
    rated = [t for t in closed if t["rating"]]
    assert 0.98 < len(closed) / len(tickets) < 1
    assert 0.92 < sum(t["rating"] >= 4 for t in rated) / len(rated) < 1
    assert all((t["closed_at"] is not None) == (t["ticket_status"] == "closed") for t in tickets)
    assert all(t["rating"] is None for t in tickets if t["ticket_status"] != "closed")


def test_times_are_consistent(registry: Registry) -> None:
    for ticket in sample(registry, 7, 1.0)["feedback_ticket"]:
        assert ticket["created_at"] <= ticket["due_at"]
        assert ticket["created_at"] <= ticket["updated_at"]
        assert ticket["closed_at"] is None or ticket["created_at"] <= ticket["closed_at"] == ticket["updated_at"]
    for asset in sample(registry, 7, 1.0)["road_asset"]:
        assert asset["built_date"] <= asset["inspected_date"]
    for price in sample(registry, 7, 1.0)["med_price"]:
        assert price["valid_to"] is None or price["valid_to"] > price["valid_from"]
        assert price["price_vnd"] > 0
        assert price["price_vnd"] % Decimal(100) == 0


@pytest.mark.parametrize("dataset_id", ["feedback_ticket", "road_asset", "med_price"])
def test_rows_obey_their_contract(registry: Registry, dataset_id: str) -> None:
    dataset = registry.dataset(dataset_id)
    rows = sample(registry, 7, 1.0)[dataset_id]
    names = [name for name, _ in source_columns(dataset)]
    keys = [tuple(row[k] for k in dataset.key) for row in rows]
    assert len(set(keys)) == len(keys)
    for item in dataset.fields:
        if item.tokenise:
            continue
        values = [row[item.name] for row in rows]
        if item.required:
            assert None not in values, item.name
        if item.code_list:
            assert {v for v in values if v} <= set(registry.code_list(item.code_list).codes)
        for value in values:
            if value is not None and item.minimum is not None and item.maximum is not None:
                assert item.minimum <= value <= item.maximum
    assert all(set(row) == set(names) for row in rows)


def test_names_and_numbers_can_be_tokenised_and_some_come_in_two_spellings(registry: Registry) -> None:
    tickets = sample(registry, 7, 1.0)["feedback_ticket"]
    phones = {t["reporter_phone"] for t in tickets}
    assert len({normalise.phone(p) for p in phones}) < len(phones)
    names = {t["reporter_name"] for t in tickets}
    assert len({normalise.name(n) for n in names}) < len(names)


def test_equal_seeds_give_equal_rows(registry: Registry) -> None:
    assert sample(registry, 7, 0.1) == sample(registry, 7, 0.1)
    assert sample(registry, 7, 0.1) != sample(registry, 8, 0.1)


def test_tables_come_from_the_contract(registry: Registry) -> None:
    statements = create_statements(registry.dataset("feedback_ticket"))
    assert statements[0] == 'CREATE SCHEMA IF NOT EXISTS "hues"'
    assert '"reporter_name" text' in statements[1]
    assert "reporter_token" not in " ".join(statements)
    assert '"due_at" timestamptz' in statements[1]
    assert 'PRIMARY KEY ("ticket_id")' in statements[1]
    with pytest.raises(ValueError, match="stream"):
        create_statements(registry.dataset("river_stage"))
