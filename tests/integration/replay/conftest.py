"""A real Kafka and a real PostgreSQL for the replays."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.runtime.settings import Settings


@pytest.fixture(scope="session")
def server(lake_services: Any) -> Settings:
    """The settings of an installation in which Kafka and PostgreSQL run."""
    lake_services.need("kafka", "postgres")
    settings: Settings = lake_services.namespace("exercise")
    return settings


@pytest.fixture(scope="session")
def database(lake_services: Any) -> Settings:
    """A namespace that holds the whole catalogue, of an installation in which PostgreSQL runs."""
    lake_services.need("postgres")
    settings: Settings = lake_services.namespace("sampled")
    settings.set_profile(None)
    return settings
