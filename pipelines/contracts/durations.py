"""Durations of contracts as other people write them: a number with its unit, ISO 8601, and words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pipelines.contracts.model import Text

# seconds, symbol, ISO 8601 designator, Vietnamese, English
_UNITS: tuple[tuple[int, str, str, str, str], ...] = (
    (365 * 86_400, "y", "P{}Y", "năm", "year"),
    (86_400, "d", "P{}D", "ngày", "day"),
    (3600, "h", "PT{}H", "giờ", "hour"),
    (60, "min", "PT{}M", "phút", "minute"),
    (1, "s", "PT{}S", "giây", "second"),
)


def _largest(value: timedelta) -> tuple[int, tuple[int, str, str, str, str]]:
    seconds = int(value.total_seconds())
    unit = next((unit for unit in _UNITS if seconds and seconds % unit[0] == 0), _UNITS[-1])
    return seconds // unit[0], unit


def parts(value: timedelta) -> tuple[int, str]:
    """The whole number and the largest unit (y, d, h, min, s) that say ``value`` exactly; a year has 365 days."""
    number, unit = _largest(value)
    return number, unit[1]


def iso(value: timedelta) -> str:
    """ISO 8601: ``PT10M``, ``P10Y``."""
    number, unit = _largest(value)
    return unit[2].format(number)


def words(value: timedelta) -> Text:
    """In words: ``10 phút``, ``10 minutes``."""
    number, unit = _largest(value)
    return Text(vi=f"{number} {unit[3]}", en=f"{number} {unit[4]}{'' if number == 1 else 's'}")


def kept_from(kept: timedelta, now: datetime) -> datetime:
    """The first instant that is still kept (UTC): rows before it are older than the contract's retention.

    A whole day: what falls due does so at midnight UTC, so that a second look on one day finds nothing new, and a
    table that lies by days loses whole files. A row stays up to a day longer than the contract says.
    """
    return (now.astimezone(UTC) - kept).replace(hour=0, minute=0, second=0, microsecond=0)
