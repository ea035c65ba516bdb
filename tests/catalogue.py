"""The contracts of the city, loaded once for the whole test run: a registry is immutable."""

from functools import cache
from pathlib import Path

from pipelines.contracts.registry import Registry, load_registry

HOME = Path(__file__).resolve().parents[1]


@cache
def city() -> Registry:
    """Every contract; `city().only("demo")` is the small part that the demo needs."""
    return load_registry(HOME / "schemas")
