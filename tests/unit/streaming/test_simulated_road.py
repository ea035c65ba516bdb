"""The road on which the Java test of the incident detection has its floor is the one that the benchmark simulates."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]
ROADS = ROOT / "pipelines/streaming/java/src/test/resources/incident"


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    spec = importlib.util.spec_from_file_location("simulation", ROOT / "benchmarks/incident/simulation.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("road", "incidents"), [("road_with_incidents", 12), ("road_without_incidents", 0)])
def test_the_road_of_the_java_test_is_the_simulated_one(simulation: ModuleType, road: str, incidents: int) -> None:
    kept = (ROADS / f"{road}.csv").read_text(encoding="utf-8").splitlines()
    again = list(simulation.windows(simulation.simulate(days=3, incidents=incidents, seed=3)))
    assert len(again) == incidents + 3 * 288
    assert kept == again, f"python benchmarks/incident/simulation.py 3 {incidents} 3 > …/{road}.csv"
