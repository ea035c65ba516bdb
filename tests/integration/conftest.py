"""The real servers, started when a test first asks for them and stopped at the end."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.runtime import services
from pipelines.runtime.services import Endpoints
from pipelines.runtime.settings import Settings


class LakeServices:
    """One installation for the whole test run, in a state folder of its own.

    It shares the downloads (LAKE_DIST, else `.lake/dist` of the project). Tests keep apart by namespace.
    """

    def __init__(self, state: Path) -> None:
        dist = {"LAKE_DIST": os.environ["LAKE_DIST"]} if "LAKE_DIST" in os.environ else {}
        settings = Settings.load({"LAKE_STATE": str(state), **dist})
        self.settings = settings if dist else replace(settings, dist=settings.home / ".lake" / "dist")

    def need(self, *names: str) -> Endpoints:
        """Start the named services or groups (`kafka`, `flink`, …) unless they run; returns all addresses."""
        services.up(self.settings, names)
        return services.endpoints(self.settings)

    def namespace(self, name: str) -> Settings:
        """Return the settings of a namespace of the test's own: `[a-z][a-z0-9_]{0,30}`."""
        return self.settings.with_namespace(name)

    def stop(self) -> None:
        """Stop everything that was started, daemons included."""
        services.down(self.settings)


@pytest.fixture(scope="session")
def lake_services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LakeServices]:
    """The installation of this test run. LAKE_TEST_STATE names one to use and leave running, for quick repeats."""
    kept = os.environ.get("LAKE_TEST_STATE")
    installation = LakeServices(Path(kept) if kept else tmp_path_factory.mktemp("lake"))
    try:
        yield installation
    finally:
        if not kept:
            installation.stop()
