"""What a long load tells of itself."""

from __future__ import annotations

import logging

import pytest

from pipelines.ingestion.progress import EVERY_S, Progress


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def told(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    names = ("phase", "rows", "rows_per_s", "rows_expected", "left_s")
    return [{name: getattr(r, name) for name in names if hasattr(r, name)} for r in caplog.records]


def test_rows_rate_and_time_left_are_told_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    progress = Progress("road_asset", "read", 100_000, clock)
    for _ in range(4):
        clock.now += EVERY_S / 2
        progress.add(10_000)
    assert told(caplog) == [
        {"phase": "read", "rows": 20_000, "rows_per_s": 2_000, "rows_expected": 100_000, "left_s": 40},
        {"phase": "read", "rows": 40_000, "rows_per_s": 2_000, "rows_expected": 100_000, "left_s": 30},
    ]


def test_an_estimate_that_was_too_low_promises_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    few, unknown = Progress("a", "read", 10, clock), Progress("a", "read", None, clock)
    clock.now += EVERY_S
    few.add(50)
    unknown.add(50)
    assert told(caplog) == [
        {"phase": "read", "rows": 50, "rows_per_s": 5, "rows_expected": 10},
        {"phase": "read", "rows": 50, "rows_per_s": 5},
    ]


def test_what_is_quick_is_silent(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    progress = Progress("a", "read", 10, clock)
    clock.now += EVERY_S - 0.1
    progress.add(10)
    assert not caplog.records and progress.rows == 10
