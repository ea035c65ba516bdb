"""The mini cluster that the tests of the streaming functions share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from flink_cluster import environment

if TYPE_CHECKING:
    from pyflink.table import TableEnvironment


@pytest.fixture(scope="package")
def flink() -> TableEnvironment:
    """A table environment whose mini cluster lives as long as the tests of this folder."""
    return environment()
