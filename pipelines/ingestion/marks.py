"""How far a source was read: as the lake keeps it, one whole number, and as the source is asked."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from pipelines.contracts.model import Dataset
from pipelines.ingestion.databases.dialect import EPOCH, Mark
from pipelines.ingestion.plan import sector_of


def number_of(mark: Mark) -> int:
    """A mark as the lake keeps it: µs since 1970 (a day begins at midnight UTC), or the number itself."""
    if isinstance(mark, int):
        return mark
    at = mark if isinstance(mark, datetime) else datetime.combine(mark, time(tzinfo=UTC))
    return (at - EPOCH) // timedelta(microseconds=1)


def instant_of(number: int) -> datetime:
    """The instant (UTC) that a kept mark means."""
    return EPOCH + timedelta(microseconds=number)


def mark_of(number: int, dataset: Dataset) -> Mark:
    """A kept mark as the cursor of a dataset writes it; an instant of a day is that day."""
    cursor = sector_of(dataset).cursor
    assert cursor is not None, "only a cursor leaves a mark"
    if dataset.cursor_counts:
        return number
    at = instant_of(number)
    found: date = at.date() if dataset.field(cursor).type.name == "date" else at
    return found
