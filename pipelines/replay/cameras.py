"""Synthetic camera health and violation events around the first flood peak; every row says `origin: synthetic`.

The plates are made up in the forms that Vietnam uses. They exist only between this generator and the gateway, which
replaces them by tokens.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from pipelines.contracts.registry import Registry
from pipelines.gateway.normalise import utc_text
from pipelines.replay.readings import LOCAL, Reading, parse_local

START = parse_local("2025-10-27T17:00:00+07:00")
END = parse_local("2025-10-27T21:00:00+07:00")
"""The window, start inclusive, end exclusive: the evening peak of traffic and the first peak of the flood."""
MINUTE = timedelta(minutes=1)
EVENTS = 480
_FPS = Decimal(25)
_OFFLINE_SHARE, _FROZEN_SHARE = 0.1, 0.05
_BLURRED_SHARE, _OBSCURED_SHARE, _DRIFTING_SHARE = 0.05, 0.03, 0.1
_SERIES = ("A", "B", "C", "D", "E", "F", "H", "K", "LD")


def readings(registry: Registry, data: Path, seed: int = 0) -> tuple[Reading, ...]:
    """All readings of the replay: camera_health by camera and minute, and violation_event. `data` is unused."""
    cameras = registry.code_list("cameras").rows
    return (*_health(cameras, seed), *_violations(registry, cameras, seed))


def _health(cameras: tuple[dict[str, Any], ...], seed: int) -> Iterator[Reading]:
    minutes = (END - START) // MINUTE
    for camera in cameras:
        chance = random.Random(f"health|{seed}|{camera['camera_id']}")
        kind = chance.random()
        broken = range(0)
        if kind < _OFFLINE_SHARE + _FROZEN_SHARE:
            first = chance.randrange(minutes // 4, minutes // 2)
            broken = range(first, first + chance.randrange(30, minutes // 2))
        flaws = random.Random(f"picture|{seed}|{camera['camera_id']}")
        flaw = flaws.random()
        is_blurred = flaw < _BLURRED_SHARE
        is_obscured = _BLURRED_SHARE <= flaw < _BLURRED_SHARE + _OBSCURED_SHARE
        drift_s = flaws.uniform(5, 90) if flaws.random() < _DRIFTING_SHARE else flaws.uniform(-0.5, 0.5)
        for minute in range(minutes):
            is_online = not (minute in broken and kind < _OFFLINE_SHARE)
            is_frozen = minute in broken and kind >= _OFFLINE_SHARE
            fps = _FPS - Decimal(chance.randrange(0, 30)) / 10 if is_online else Decimal(0)
            moment = START + minute * MINUTE
            body = {
                "camera_id": camera["camera_id"],
                "observed_at": utc_text(moment),
                "is_online": is_online,
                "fps": fps,
                "expected_fps": _FPS,
                "is_frozen": is_frozen,
                "ward_code": camera["ward_code"],
                "is_blurred": is_blurred and is_online,
                "is_obscured": is_obscured and is_online,
                "clock_drift_s": round(drift_s + flaws.uniform(-0.05, 0.05), 3) if is_online else None,
            }
            yield Reading("camera_health", body, "synthetic", moment)


def _violations(registry: Registry, cameras: tuple[dict[str, Any], ...], seed: int) -> Iterator[Reading]:
    chance = random.Random(f"violation|{seed}")
    kinds = registry.code_list("violation_types").codes
    kept_d = {row["code"]: row["retention_d"] for row in registry.code_list("event_retention").rows}
    # A fleet of fewer vehicles than events: some are seen again, so that tokens join.
    fleet = [plate(chance) for _ in range(EVENTS * 3 // 4)]
    seconds = sorted(chance.sample(range(int((END - START).total_seconds())), EVENTS))
    for number, second in enumerate(seconds, start=1):
        moment: datetime = START + timedelta(seconds=second)
        camera = chance.choice(cameras)
        kind = chance.choice(kinds)
        event_id = f"V20251027-{seed:03d}-{number:05d}"
        body: dict[str, Any] = {
            "event_id": event_id,
            "observed_at": utc_text(moment),
            "camera_id": camera["camera_id"],
            "violation_type": kind,
            "plate": chance.choice(fleet) if chance.random() > 0.05 else None,
            "confidence": Decimal(chance.randrange(55, 100)) / 100,
            "review_status": "pending",
            "ward_code": camera["ward_code"],
            "evidence_uri": f"evidence/{event_id}.jpg",
            "retained_until_date": (moment.astimezone(LOCAL).date() + timedelta(days=kept_d[kind])).isoformat(),
        }
        yield Reading("violation_event", body, "synthetic", moment)


def plate(chance: random.Random) -> str:
    """A plausible plate, written as cameras write it: mostly 75A-123.45 of Huế, also motorcycles 75-B1 234.56."""
    province = 75 if chance.random() < 0.8 else chance.choice((43, 74, 73, 29, 51))
    tail = f"{chance.randrange(100, 1000)}.{chance.randrange(0, 100):02d}"
    if chance.random() < 0.5:
        return f"{province}{chance.choice(_SERIES)}-{tail}"
    return f"{province}-{chance.choice('BCDEFGH')}{chance.randrange(1, 10)} {tail}"
