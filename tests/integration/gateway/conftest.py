"""A real Kafka for the gateway's publisher."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.runtime.settings import Settings


@pytest.fixture(scope="session")
def server(lake_services: Any) -> Settings:
    """The settings of an installation in which Kafka runs."""
    lake_services.need("kafka")
    settings: Settings = lake_services.namespace("gate")
    return settings
