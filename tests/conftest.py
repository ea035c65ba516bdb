"""Shared by all tests: marks by folder, an environment without our variables, and one installation of real servers."""

import os

# A worker of xdist says that its terminal has 80 columns, and a console asks when it is imported.
for _size in ("COLUMNS", "LINES"):
    os.environ.pop(_size, None)

import gc
import io
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from catalogue import city
from demo_run import PLAN, DemoRun
from hypothesis import settings as hypothesis_settings
from rich.console import Console
from xdist.scheduler import LoadGroupScheduling

from pipelines.commands.demo import run_demo
from pipelines.commands.ledger import print_ledger
from pipelines.commands.platform import stop_namespace
from pipelines.commands.story import tell
from pipelines.contracts.registry import Registry
from pipelines.runtime import services
from pipelines.runtime.servers.postgres import SAMPLE_CONNECTION
from pipelines.runtime.services import Endpoints
from pipelines.runtime.settings import Settings
from pipelines.serving.trino import Client

# The same code gives the same examples, at whatever speed: a gate must not depend on the day or the machine.
# `make fuzz` draws others each time.
hypothesis_settings.register_profile("gate", derandomize=True, deadline=None)
hypothesis_settings.register_profile("fuzz", print_blob=True)
hypothesis_settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "gate"))

HOME = Path(__file__).resolve().parents[1]
_KINDS = ("unit", "integration", "e2e", "chaos")
_FEW_SERVERS = (
    "tests/integration/gateway",
    "tests/integration/ingestion",
    "tests/integration/landing/test_landing_process.py",
    "tests/integration/quality",
    "tests/integration/replay",
    "tests/integration/streaming",
    "tests/integration/warehouse",
)
"""What needs no more than Kafka, PostgreSQL and Spark. Of two workers one takes these tests, half of which wait for
time to pass; the other has all servers and takes the rest. A second whole installation would cost what it gains."""
# A test run may be told where downloads are and which running installation to use; nothing else.
_KEPT = {"LAKE_DIST", "LAKE_CACHE", "LAKE_TEST_STATE"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test by the first folder below tests/, and run the quick ones first."""
    kinds = {item: item.path.relative_to(HOME / "tests").parts[0] for item in items}
    for item, kind in kinds.items():
        if kind in _KINDS:
            item.add_marker(kind)
    items.sort(key=lambda item: _KINDS.index(kinds[item]) if kinds[item] in _KINDS else len(_KINDS))


class ByServers(LoadGroupScheduling):
    """Two groups of tests, by the servers that they need."""

    def _split_scope(self, nodeid: str) -> str:
        return "few servers" if nodeid.startswith(_FEW_SERVERS) else "all servers"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByServers | None:
    """With ``--dist loadgroup`` the groups are ours: the marks of xdist 3.8 are lost on pytest 9.2."""
    return ByServers(config, log) if config.getvalue("dist") == "loadgroup" else None


@pytest.fixture(scope="session", autouse=True)
def clean_environment() -> Iterator[None]:
    """Take away the variables that would point a test at another installation, and give them back."""
    foreign = [name for name in os.environ if name.startswith("LAKE_") and name not in _KEPT]
    kept = {name: os.environ.pop(name) for name in [*foreign, "SPARK_REMOTE"] if name in os.environ}
    yield
    os.environ.update(kept)


@pytest.fixture(scope="session")
def registry() -> Registry:
    """The contracts of the city."""
    return city()


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., None]:
    """Poll a condition until it is true: `wait_until(lambda: …, timeout_s=20, what="the table holds 5 rows")`."""

    def wait(condition: Callable[[], bool], timeout_s: float = 20.0, what: str = "the condition") -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not come true within {timeout_s} s"
            time.sleep(0.05)

    return wait


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
        """Return the settings of a namespace of the test's own, `[a-z][a-z0-9_]{0,30}`, with the demo's datasets and
        the sample in place of the sources."""
        settings = self.settings.with_namespace(name)
        settings.set_profile("demo")
        settings.set_sector_sample(SAMPLE_CONNECTION)
        return settings

    def stop(self) -> None:
        """Stop everything that was started, daemons included.

        Spark's clients go first: at the interpreter's end each would call its server, and retry for ten minutes.
        """
        for client in [thing for thing in gc.get_objects() if type(thing).__name__ == "SparkConnectClient"]:
            client.close()
        services.down(self.settings)


@pytest.fixture(scope="session")
def lake_services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LakeServices]:
    """The installation of this test run, or of one worker of it. LAKE_TEST_STATE names one to use and leave running,
    for quick repeats."""
    kept, worker = os.environ.get("LAKE_TEST_STATE"), os.environ.get("PYTEST_XDIST_WORKER", "")
    installation = LakeServices(Path(kept, worker) if kept else tmp_path_factory.mktemp("lake"))
    try:
        yield installation
    finally:
        if not kept:
            installation.stop()


@pytest.fixture(scope="session")
def demo_run(lake_services: LakeServices) -> Iterator[DemoRun]:
    """The demo at small size in the namespace `e2e`, run once; its stream jobs end with the test run."""
    settings = lake_services.namespace("e2e")
    console = Console(record=True, width=200, file=io.StringIO())
    result = run_demo(settings, PLAN, console)
    with Client(settings, user="demo") as client:
        tell(client.query, console)
    print_ledger(result.balance, console)
    yield DemoRun(settings, city().only("demo"), result, console.export_text())
    stop_namespace(settings)
