"""What the tests of the dry run share: a namespace whose silver tables they write themselves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from catalogue import HOME

from pipelines.runtime.settings import Settings


@pytest.fixture
def namespace(tmp_path: Path) -> Settings:
    """A namespace with tables of its own; the jars are the project's."""
    found = Settings.load({"LAKE_HOME": str(HOME), "LAKE_STATE": str(tmp_path), "LAKE_NAMESPACE": "drill"})
    return replace(found, dist=HOME / ".lake" / "dist")
