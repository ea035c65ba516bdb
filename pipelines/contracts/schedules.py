"""Cron lines of contracts: when they run, and how long the longest pause between two runs is. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, time, timedelta
from functools import cache
from itertools import islice, pairwise, product

CRON_HINT = "write minute, hour, day, month and weekday, for example `0 2 * * *` for every night at two"
"""What to tell somebody whose line is none."""
_RUNS = 1000
_FRIDAY = datetime(2024, 3, 1)
"""From here the runs of a schedule are looked at: a Friday, so that a free weekend is among the first of them."""


def longest_pause(schedule: str) -> timedelta:
    """The longest time between two runs of a cron line.

    Raises:
        ValueError: it is none, or names no day that comes.
    """
    # One fixed time of the day moves all runs alike: most lines differ in nothing else, and counting runs is slow.
    return _counted_pause(re.sub(r"^(?:[0-9]|[1-5][0-9]) (?:1?[0-9]|2[0-3]) ", "0 0 ", schedule))


@cache
def _counted_pause(schedule: str) -> timedelta:
    from croniter import croniter  # type: ignore[import-untyped]

    runs = list(islice(croniter(schedule, _FRIDAY).all_next(datetime), _RUNS))
    return max((after - before for before, after in pairwise(runs)), default=timedelta.max)


def times_of_day(schedule: str) -> Iterator[time]:
    """Every time of the day at which a cron line runs, in order, on whatever days.

    Raises:
        ValueError: it is no cron line.
    """
    from croniter import croniter

    minutes, hours, *_ = croniter.expand(schedule)[0]
    all_hours, all_minutes = (range(full) if part == ["*"] else part for part, full in ((hours, 24), (minutes, 60)))
    for hour, minute in product(all_hours, all_minutes):
        yield time(int(hour), int(minute))
