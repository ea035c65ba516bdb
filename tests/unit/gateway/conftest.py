"""A core without Kafka: what it takes goes to its spool, where a test can look at it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.contracts.registry import Registry
from pipelines.gateway.core import Core
from pipelines.runtime.errors import ServiceError
from pipelines.runtime.settings import Settings

HOME = Path(__file__).resolve().parents[3]


def no_kafka() -> str:
    """The address of a Kafka that is down."""
    raise ServiceError("kafka is not running.")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """An installation of the test's own."""
    return Settings.load({"LAKE_HOME": str(HOME), "LAKE_STATE": str(tmp_path), "LAKE_NAMESPACE": "unit"})


@pytest.fixture
def core(settings: Settings, registry: Registry) -> Iterator[Core]:
    """A running core."""
    with Core(settings, registry, bootstrap=no_kafka) as running:
        yield running
