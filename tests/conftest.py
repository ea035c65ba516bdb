"""Shared by all tests: marks by folder, and an environment in which no variable of ours is set."""

import os
import time
from collections.abc import Callable, Iterator
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


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., None]:
    """Poll a condition until it is true: `wait_until(lambda: …, timeout_s=20, what="the table holds 5 rows")`."""

    def wait(condition: Callable[[], bool], timeout_s: float = 20.0, what: str = "the condition") -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not come true within {timeout_s} s"
            time.sleep(0.05)

    return wait
