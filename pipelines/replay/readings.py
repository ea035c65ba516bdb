"""What a recorded or synthetic source measured, before anything happens to it on the way."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from pipelines.contracts.registry import Registry

LOCAL = timezone(timedelta(hours=7), "+07")
"""Local time of Huế; there is no daylight saving time."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of one source: `body` in the field names of its contract (times as UTC text, decimals exact).

    `event_at` is the event time (UTC). A `published` reading is part of a published figure: faults never change or
    delay it, so that the figure can be checked at the far end.
    """

    dataset: str
    body: Mapping[str, Any]
    origin: str
    event_at: datetime
    published: bool = False


Source = Callable[[Registry, Path, int], Sequence[Reading]]
"""Makes the readings of a replay from the contracts, the folder `data/` and a seed."""


def parse_local(text: str) -> datetime:
    """Read an ISO time with its offset into UTC."""
    return datetime.fromisoformat(text).astimezone(UTC)


def stable_number(*parts: object) -> int:
    """A number that depends on the parts alone, on every machine and in every run (never `hash`)."""
    return zlib.crc32("|".join(str(part) for part in parts).encode())
