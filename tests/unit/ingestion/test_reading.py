"""How far a source was read, as the lake keeps it and as the source is asked."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import hypothesis.strategies as st
import pytest
from hypothesis import given

from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry
from pipelines.ingestion.databases import Mark
from pipelines.ingestion.marks import mark_of, number_of

INSTANTS = st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(9999, 1, 1), timezones=st.just(UTC))


def dated(registry: Registry, cursor: str) -> Dataset:
    ticket = registry.dataset("feedback_ticket")
    assert ticket.sector is not None
    sector = ticket.sector.model_copy(update={"cursor": cursor, "lag": timedelta(0)})
    return ticket.model_copy(update={"sector": sector})


@pytest.fixture(scope="module")
def by_instant(registry: Registry) -> Dataset:
    return dated(registry, "updated_at")


@pytest.fixture(scope="module")
def by_number(registry: Registry) -> Dataset:
    return dated(registry, "rating")


@pytest.fixture(scope="module")
def by_day(registry: Registry) -> Dataset:
    price = registry.dataset("med_price")
    ticket = dated(registry, "updated_at")
    assert ticket.sector is not None
    return price.model_copy(update={"sector": ticket.sector.model_copy(update={"cursor": "valid_from"})})


@given(mark=INSTANTS)
def test_an_instant_comes_back(by_instant: Dataset, mark: datetime) -> None:
    assert mark_of(number_of(mark), by_instant) == mark


@given(mark=st.dates(min_value=date(1970, 1, 1)))
def test_a_day_comes_back(by_day: Dataset, mark: date) -> None:
    back: Mark = mark_of(number_of(mark), by_day)
    assert back == mark and not isinstance(back, datetime)


@given(mark=st.integers(0, 2**63 - 1))
def test_a_number_comes_back(by_number: Dataset, mark: int) -> None:
    assert mark_of(number_of(mark), by_number) == mark


def test_a_lag_within_a_day_begins_with_that_day(by_day: Dataset) -> None:
    noon = number_of(datetime(2025, 10, 27, 12, tzinfo=UTC))
    assert mark_of(noon, by_day) == date(2025, 10, 27)
