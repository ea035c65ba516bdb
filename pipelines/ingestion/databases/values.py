"""What a driver gives becomes what :mod:`pipelines.ingestion.protect` takes: an exact Arrow type, or text.

A column of an exact type holds only values that the type of a contract can hold: dates and instants of the years 1 to
9999, finite numbers. In a batch with any other value the whole column is text, as the database itself would write it
(`infinity`, `20025-01-01`, `0044-03-15 BC`): that value is then one bad row and not the end of the load. So the
columns of two batches of one read may differ in type, and never in name or order.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pipelines.landing.arrow import Column, integers
from pipelines.landing.arrow import kernels as pc

INSTANT = pa.timestamp("us", tz="UTC")
_LOCAL = pa.timestamp("us")
_DAY_US = 86_400_000_000
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896
"""0001-01-01 and 9999-12-31 in days since 1970."""
_INFINITY = {
    # PostgreSQL counts from 2000 and keeps the ends of the range for infinity; ADBC moves them with all others.
    "date": {2**31 - 1 + 10_957 - 2**32: "infinity", -(2**31) + 10_957: "-infinity"},
    "timestamp": {
        2**63 - 1 + 10_957 * _DAY_US - 2**64: "infinity",
        -(2**63) + 10_957 * _DAY_US: "-infinity",
    },
}


def exact(column: Column) -> Column:
    """The column itself, or as text when it holds a value that no contract type can hold.

    Integers stay as wide as they are; an extension type becomes what it is stored as.
    """
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return exact(column.storage)
    if pa.types.is_floating(kind):
        return column if pc.all(pc.is_finite(column), min_count=0).as_py() else pc.cast(column, pa.string())
    if pa.types.is_date(kind):
        return _in_range(column, pa.int32(), _FIRST_DAY, _LAST_DAY, "date")
    if pa.types.is_timestamp(kind):
        return _in_range(column, pa.int64(), _FIRST_DAY * _DAY_US, (_LAST_DAY + 1) * _DAY_US - 1, "timestamp")
    return column


def instants(text: Column) -> Column:
    """Times in UTC whose text does not say so, with their zone: `2025-10-27 20:00:00+00:00`."""
    return pc.binary_join_element_wise(text, "+00:00", "")


def localised(column: Column, zone: str) -> Column:
    """Times of a zone, as Arrow's or as text, as instants; text when one of them is none.

    An hour that the clock skips or repeats is no instant: it stays as it came, without a zone.
    """
    if not pa.types.is_timestamp(column.type):
        try:
            column = pc.cast(column, _LOCAL)
        except pa.ArrowInvalid:
            return _localised_one_by_one(column, zone)
    column = exact(column)
    if not pa.types.is_timestamp(column.type):
        return _localised_one_by_one(column, zone)
    try:
        # The earliest and latest hours of the calendar may lie outside of it in UTC.
        return exact(pc.cast(pc.assume_timezone(column, timezone=zone), INSTANT))
    except pa.ArrowInvalid:
        return _localised_one_by_one(pc.cast(column, pa.string()), zone)


def _localised_one_by_one(text: Column, zone: str) -> Column:
    def instant(value: str | None) -> str | None:
        try:
            scalar = pc.assume_timezone(pc.cast(pa.array([value], pa.string()), _LOCAL), timezone=zone)
        except pa.ArrowInvalid:
            return value
        return str(pc.cast(exact(pc.cast(scalar, INSTANT)), pa.string())[0].as_py())

    encoded = text.dictionary_encode()
    values = pa.array([instant(value) for value in encoded.dictionary.to_pylist()], pa.string())
    return values.take(encoded.indices)


def _in_range(column: Column, stored: pa.DataType, first: int, last: int, kind: str) -> Column:
    """The column, or its text when a number that it is stored as lies outside."""
    ends = pc.min_max(pc.cast(column, stored))
    if not ends["min"].is_valid or (ends["min"].as_py() >= first and ends["max"].as_py() <= last):
        return column
    numbers = integers(pc.cast(column, stored))
    outside = (numbers < first) | (numbers > last)
    mask = pa.array(outside)
    good = pc.if_else(mask, pa.scalar(None, column.type), column)
    text = pc.cast(good, pa.string())
    zone = "+00" if pa.types.is_timestamp(column.type) and column.type.tz else ""
    written = [_written(int(number), kind, zone) for number in numbers[np.flatnonzero(outside)]]
    return pc.replace_with_mask(text, mask, pa.array(written, pa.string()))


def _written(number: int, kind: str, zone: str) -> str:
    """A date (days since 1970) or a time (µs since 1970) as PostgreSQL writes it."""
    if number in _INFINITY[kind]:
        return _INFINITY[kind][number]
    days, rest = (number, 0) if kind == "date" else divmod(number, _DAY_US)
    year, month, day = _civil(days)
    text = f"{year if year > 0 else 1 - year:04}-{month:02}-{day:02}"
    if kind == "timestamp":
        seconds, micros = divmod(rest, 1_000_000)
        text += f" {seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        text += (f".{micros:06}".rstrip("0") if micros else "") + zone
    return text if year > 0 else f"{text} BC"


def _civil(days: int) -> tuple[int, int, int]:
    """Year (0 is 1 BC), month and day of a day since 1970, in the calendar that knows no end."""
    era, day = divmod(days + 719_468, 146_097)
    of_era = (day - day // 1460 + day // 36_524 - day // 146_096) // 365
    day -= 365 * of_era + of_era // 4 - of_era // 100
    month = (5 * day + 2) // 153
    number = month + 3 if month < 10 else month - 9
    return of_era + era * 400 + (number <= 2), number, day - (153 * month + 2) // 5 + 1
