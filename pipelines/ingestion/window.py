"""When a source may be read as a whole."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry
from pipelines.ingestion.plan import TIMEZONE, sector_of
from pipelines.ingestion.records import finished_load, last_loads
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings


class OutsideWindow(LakeError):
    """A table would be read as a whole at an hour at which its agency does not want it."""


def is_open(settings: Settings, registry: Registry, dataset: Dataset, now: datetime) -> bool:
    """Whether a table may be read as a whole now; the sample that stands for every source in an exercise has no
    window."""
    window = registry.source_of(dataset).window
    if window is None or settings.sector_sample is not None:
        return True
    return window.holds(now.astimezone(ZoneInfo(TIMEZONE)).time())


def check_window(
    settings: Settings,
    registry: Registry,
    dataset: Dataset,
    run_id: str,
    now: datetime | None = None,
    *,
    again: bool = False,
) -> None:
    """Refuse to read a whole table outside of its source's window; the first read by a cursor is one of those, and so
    is one that reads `again` what was read before: nobody knows how much that is.

    What a run loaded already it does not read again, at whatever hour. A captured table is read when its capture
    starts, and then never.

    Raises:
        OutsideWindow: it is not the hour; the text says which is.
    """
    at = now or datetime.now(UTC)
    if sector_of(dataset).mode == "capture" or is_open(settings, registry, dataset, at):
        return
    source = registry.source_of(dataset)
    load = last_loads(settings).get(dataset.id)
    was_read = load is not None and load.good_at is not None
    by_cursor = sector_of(dataset).cursor is not None and not again
    if was_read and (by_cursor or finished_load(settings, dataset, run_id) is not None):
        return
    raise OutsideWindow(
        f"{dataset.id}: the source {source.id} of {source.agency} is read as a whole only {source.window}, and it is "
        f"{at.astimezone(ZoneInfo(TIMEZONE)):%H:%M} in Huế.",
        "Its schedule lies in the window; with --outside-window (in Airflow: outside_window) it is read now.",
    )
