"""Spark Connect dies while it works: the step says so and ends, and once more it gives what it would have given."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
from deltalake import DeltaTable
from demo_run import DemoRun

from pipelines.quality import store
from pipelines.runtime.process import lake_executable
from pipelines.runtime.services import running
from pipelines.runtime.settings import Settings
from pipelines.warehouse import manifest as runs

pytestmark = [pytest.mark.long, pytest.mark.timeout(2400)]
SPARK = "spark"
BUSY_CPU_S = 5.0
"""Whoever has used so much of a processor is in the middle of its work."""


@pytest.fixture
def copied(demo_run: DemoRun, lake_services: Any) -> Iterator[Settings]:
    """A namespace with the demo's silver tables, nothing judged and nothing built."""
    settings: Settings = lake_services.namespace("connect")
    root = settings.lake_root / settings.namespace
    shutil.copytree(demo_run.settings.lake_root / demo_run.settings.namespace / "silver", root / "silver")
    yield settings
    shutil.rmtree(root)


def test_a_step_whose_spark_dies_is_repeated_and_nothing_is_missing_or_twice(
    copied: Settings, demo_run: DemoRun, wait_until: Callable[..., None]
) -> None:
    _step(copied, "manifest", "--run-id", "struck")
    for step in (("verdict", "silver"), ("dbt",)):
        process = _begin(copied, *step, "--run-id", "struck")
        _kill_when_busy(copied, process, wait_until)
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 1, f"{step} must not end well: {said[-2000:]}"
        assert "Spark" in said and "Traceback" not in said, said[-2000:]
        _step(copied, *step, "--run-id", "struck")
    _step(copied, "verdict", "gold", "--run-id", "struck")
    for step in (("manifest",), ("verdict", "silver"), ("dbt",)):
        _step(copied, *step, "--run-id", "calm")

    struck, calm = (runs.load(copied, name) for name in ("struck", "calm"))
    assert struck.versions == calm.versions
    assert set(struck.gold) == set(calm.gold) == {f"gold.{mart.id}" for mart in demo_run.registry.marts()}
    for name in sorted(struck.gold):
        path = str(copied.table_path("gold", name.removeprefix("gold.")))
        first, second = (
            DeltaTable(path, version=run.gold[name]).to_pyarrow_table().to_pylist() for run in (struck, calm)
        )
        assert sorted(map(repr, first)) == sorted(map(repr, second)), name
    judged = [(v.layer, v.dataset, v.version) for v in store.verdicts(copied, [("run_id", "=", "struck")])]
    assert len(judged) == len(set(judged)), "each table was judged once"
    assert {dataset for layer, dataset, _ in judged if layer == "silver"} >= {"river_stage", "lane_minute"}


def _begin(settings: Settings, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [lake_executable(), "run", *arguments],
        env={**os.environ, **settings.environment()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _step(settings: Settings, *arguments: str) -> None:
    process = _begin(settings, *arguments)
    said, _ = process.communicate(timeout=900)
    assert process.returncode == 0, said[-4000:]


def _kill_when_busy(settings: Settings, step: subprocess.Popen[str], wait_until: Callable[..., None]) -> None:
    """Kill Spark once it has worked for this step, and wait until another one runs."""
    before = running(settings)[SPARK].pid
    spark = psutil.Process(before)
    idle_s = _cpu_s(spark)
    wait_until(lambda: _cpu_s(spark) > idle_s + BUSY_CPU_S or step.poll() is not None, 300, "Spark works")
    assert step.poll() is None, "the step was over before Spark had worked"
    os.killpg(before, signal.SIGKILL)
    wait_until(lambda: (now := running(settings).get(SPARK)) is not None and now.pid != before, 120, "Spark is back")


def _cpu_s(process: psutil.Process) -> float:
    """Of the process and everything that it started."""
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(t.user + t.system for t in times)
