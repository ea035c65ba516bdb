"""What the alarm rule says, in plain Python, written from the rule and not from the SQL; and readings to try it on."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np
from scipy.interpolate import PchipInterpolator

LOCAL = ZoneInfo("Asia/Ho_Chi_Minh")
HYSTERESIS = Decimal("0.10")
HOLD = timedelta(minutes=30)
STEP = timedelta(minutes=10)

# Published in the bulletins of October and November 2025; local time, metres.
PUBLISHED: Mapping[str, str] = {
    "71520": "26/10 12:30=1.75 27/10 07:00=3.58 27/10 20:00=5.05 28/10 02:00=4.74 28/10 09:00=4.62 28/10 14:00=4.68 "
    "29/10 05:00=3.87 29/10 09:00=3.62 29/10 20:00=4.93 30/10 06:00=3.89 01/11 17:00=2.56 02/11 13:00=2.26 "
    "02/11 21:00=3.50 03/11 06:00=3.54 03/11 08:00=3.89 03/11 12:00=4.43 03/11 13:00=4.47 03/11 14:00=4.42",
    "71518": "26/10 12:30=3.13 27/10 07:00=4.52 27/10 14:00=5.25 27/10 20:00=5.06 28/10 04:00=4.67 28/10 14:00=4.78 "
    "29/10 05:00=4.45 29/10 15:00=4.97 29/10 17:00=5.19 29/10 18:00=5.27 30/10 06:00=4.48 01/11 17:00=3.79 "
    "02/11 13:00=3.86 02/11 21:00=4.18 03/11 06:00=4.50 03/11 08:00=4.81 03/11 13:00=5.31 03/11 14:00=5.29",
}


@dataclass(frozen=True)
class Reading:
    """One reading; ``observed_at`` in UTC."""

    station_id: str
    observed_at: datetime
    stage_m: Decimal
    qc_flag: int = 1

    @property
    def local_date(self) -> date:
        """The day in Huế."""
        return self.observed_at.astimezone(LOCAL).date()


@dataclass(frozen=True)
class Threshold:
    """One alarm level of a station with its validity; ``valid_to`` is exclusive."""

    station_id: str
    alarm_level: int
    threshold_m: Decimal
    valid_from: date
    valid_to: date | None = None


@dataclass(frozen=True)
class Episode:
    """One alarm from its raise to its clear."""

    alert_id: str
    station_id: str
    alarm_level: int
    raised_at: datetime
    cleared_at: datetime | None
    peak_stage_m: Decimal
    peak_at: datetime


def published_readings() -> list[Reading]:
    """The published anchors at 10-minute steps, shape-preserving between them."""
    found = []
    for station_id, text in PUBLISHED.items():
        words = text.split()
        anchors: dict[datetime, Decimal] = {}
        for day, rest in zip(words[::2], words[1::2], strict=True):
            clock, stage = rest.split("=")
            local = datetime.strptime(f"{day}/2025 {clock}", "%d/%m/%Y %H:%M").replace(tzinfo=LOCAL)
            anchors[local.astimezone(UTC)] = Decimal(stage)
        times = sorted(anchors)
        curve = PchipInterpolator([t.timestamp() for t in times], [float(anchors[t]) for t in times])
        steps = int((times[-1] - times[0]) / STEP)
        grid = [times[0] + STEP * i for i in range(steps + 1)]
        values = curve(np.array([t.timestamp() for t in grid]))
        # Rounded to millimetres the curve may touch a peak before its time: keep it 1 mm below the highest anchor.
        highest = max(anchors.values()) - Decimal("0.001")
        found += [
            Reading(station_id, at, anchors.get(at, min(highest, Decimal(f"{value:.3f}"))))
            for at, value in zip(grid, values, strict=True)
        ]
    return found


def walk(seed: int, station_id: str) -> tuple[list[Reading], list[Threshold]]:
    """A seeded random walk about two thresholds: uneven times, failed readings, a threshold that changes at a local
    midnight, and a day on which none is valid."""
    chance = random.Random(seed)
    start = datetime(2025, 11, 9, 14, 0, tzinfo=UTC)
    changed, gap = date(2025, 11, 11), date(2025, 11, 12)
    stage, at, readings = 1000, start, []
    for _ in range(400):
        stage = max(850, min(1200, stage + chance.choice((-80, -40, -10, -1, 0, 1, 10, 40, 80))))
        at += timedelta(minutes=chance.choice((1, 5, 10, 10, 10, 15, 30)))
        qc_flag = chance.choice((1, 1, 1, 2, 3, 4, 9))
        readings.append(Reading(station_id, at, Decimal(stage).scaleb(-3), qc_flag))
    first = Decimal("1.000")
    thresholds = [
        Threshold(station_id, 1, first, date(2020, 3, 15), changed),
        Threshold(station_id, 1, Decimal("1.050"), changed, gap),
        Threshold(station_id, 1, first, gap + timedelta(days=1)),
        Threshold(station_id, 2, Decimal("1.100"), date(2020, 3, 15)),
    ]
    return readings, thresholds


def is_usable(reading: Reading) -> bool:
    """Failed and missing readings are not evaluated."""
    return reading.qc_flag not in (4, 9)


def valid(thresholds: Iterable[Threshold], reading: Reading) -> dict[int, Decimal]:
    """Level → threshold of the station on the reading's local day."""
    return {
        t.alarm_level: t.threshold_m
        for t in thresholds
        if t.station_id == reading.station_id
        and t.valid_from <= reading.local_date
        and (t.valid_to is None or reading.local_date < t.valid_to)
    }


def alarm_level(reading: Reading, thresholds: Iterable[Threshold]) -> int:
    """The highest level that the reading reaches; 0 for none and for a failed reading."""
    if not is_usable(reading):
        return 0
    return max((n for n, limit in valid(thresholds, reading).items() if reading.stage_m >= limit), default=0)


def episodes(readings: Iterable[Reading], thresholds: Sequence[Threshold]) -> list[Episode]:
    """Run the rule as a state machine for every station and level, in event-time order."""
    found = []
    usable = sorted((r for r in readings if is_usable(r)), key=lambda r: r.observed_at)
    for station_id in sorted({r.station_id for r in usable}):
        own = [r for r in usable if r.station_id == station_id]
        for level in sorted({t.alarm_level for t in thresholds if t.station_id == station_id}):
            found += _of_level(own, level, thresholds)
    return found


def _of_level(readings: Iterable[Reading], level: int, thresholds: Sequence[Threshold]) -> Iterable[Episode]:
    raised: datetime | None = None
    below_since: datetime | None = None
    peak, peak_at, station_id = Decimal(0), datetime.min, ""

    def episode(cleared: datetime | None) -> Episode:
        assert raised is not None
        rule = "record" if level == 4 else f"bd{level}"
        alert_id = f"{rule}|{station_id}|{raised:%Y-%m-%dT%H:%M:%SZ}"
        return Episode(alert_id, station_id, level, raised, cleared, peak, peak_at)

    for reading in readings:
        limit = valid(thresholds, reading).get(level)
        if limit is None:
            continue
        station_id, at = reading.station_id, reading.observed_at
        if raised is None:
            if reading.stage_m >= limit:
                raised, below_since, peak, peak_at = at, None, reading.stage_m, at
            continue
        if reading.stage_m > peak:
            peak, peak_at = reading.stage_m, at
        if reading.stage_m >= limit - HYSTERESIS:
            below_since = None
            continue
        below_since = below_since or at
        if at - below_since >= HOLD:
            yield episode(at)
            raised = None
    if raised is not None:
        yield episode(None)


def hours_above(
    readings: Iterable[Reading], thresholds: Sequence[Threshold], cap: timedelta
) -> dict[tuple[str, date], tuple[int, tuple[float, float, float]]]:
    """By station and local day of the reading: usable readings, and hours at or above levels 1, 2 and 3."""
    found: dict[tuple[str, date], tuple[int, list[timedelta]]] = {}
    by_station: dict[str, list[Reading]] = {}
    for reading in readings:
        if is_usable(reading):
            by_station.setdefault(reading.station_id, []).append(reading)
    for own in by_station.values():
        own.sort(key=lambda r: r.observed_at)
        for reading, following in zip(own, [*own[1:], None], strict=True):
            held = min(following.observed_at - reading.observed_at, cap) if following else cap
            count, hours = found.get((reading.station_id, reading.local_date), (0, [timedelta()] * 3))
            reached = alarm_level(reading, thresholds)
            hours = [total + held if reached >= n else total for n, total in enumerate(hours, start=1)]
            found[reading.station_id, reading.local_date] = (count + 1, hours)
    hour = timedelta(hours=1)
    return {key: (count, (a / hour, b / hour, c / hour)) for key, (count, (a, b, c)) in found.items()}
