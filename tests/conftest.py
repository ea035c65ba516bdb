"""Shared by all tests: marks by folder, and an environment in which no variable of ours is set."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

HOME = Path(__file__).resolve().parents[1]
_KINDS = ("unit", "integration", "e2e", "chaos")
# A test run may be told where downloads are and which running installation to use; nothing else.
_KEPT = {"LAKE_DIST", "LAKE_CACHE", "LAKE_TEST_STATE"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test by the first folder below tests/."""
    for item in items:
        kind = item.path.relative_to(HOME / "tests").parts[0]
        if kind in _KINDS:
            item.add_marker(kind)


@pytest.fixture(scope="session", autouse=True)
def clean_environment() -> Iterator[None]:
    """Take away the variables that would point a test at another installation, and give them back."""
    foreign = [name for name in os.environ if name.startswith("LAKE_") and name not in _KEPT]
    kept = {name: os.environ.pop(name) for name in [*foreign, "SPARK_REMOTE"] if name in os.environ}
    yield
    os.environ.update(kept)
