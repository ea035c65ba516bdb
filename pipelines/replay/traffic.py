"""Real loop-detector series on lanes of Huế, and a fast synthetic load for benchmarks.

The series were recorded elsewhere in 2015. They are shifted by whole weeks, so that weekday and clock stay, and their
clock is read as the local time of Huế. Each is given its own detector; they are real readings of another place and
carry `origin: replay`.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path

import numpy as np

from pipelines.contracts.registry import Registry
from pipelines.gateway.normalise import utc_text
from pipelines.replay.readings import LOCAL, Reading
from pipelines.runtime.errors import LakeError

SHIFT = timedelta(weeks=522)
"""From 2015 to 2025: 522 whole weeks keep weekday and clock."""
KMH_PER_MPH = Decimal("1.609344")
_THOUSANDTH = Decimal("0.001")
_LANE = 1


@dataclass(frozen=True)
class Series:
    """One file of `data/traffic_loops`: which field it measures and the factor to the field's unit."""

    file: str
    measure: str
    factor: Decimal


SERIES = (
    Series("speed_7578.csv", "mean_speed_kmh", KMH_PER_MPH),
    Series("occupancy_6005.csv", "occupancy_pct", Decimal(1)),
    Series("TravelTime_387.csv", "travel_time_s", Decimal(1)),
)


def readings(registry: Registry, data: Path, seed: int = 0) -> tuple[Reading, ...]:
    """All readings of the replay: lane_minute, one detector a series, lane 1. `seed` is unused: the data are recorded.

    Raises:
        LakeError: a file is missing.
    """
    detectors = registry.code_list("detectors").codes
    return tuple(
        reading
        for detector, series in zip(detectors, SERIES, strict=False)
        for reading in _series(data / "traffic_loops", detector, series)
    )


def _series(folder: Path, detector_id: str, series: Series) -> Iterator[Reading]:
    path = folder / series.file
    if not path.is_file():
        raise LakeError(f"The data file {path} is missing.", "It is part of the project: restore the folder data/.")
    with path.open(encoding="utf-8", newline="") as handle:
        for row in csv.DictReader(handle):
            local = datetime.fromisoformat(row["timestamp"]).replace(tzinfo=LOCAL) + SHIFT
            moment = local.astimezone(UTC)
            value = (Decimal(row["value"]) * series.factor).quantize(_THOUSANDTH, ROUND_HALF_EVEN)
            body = {
                "detector_id": detector_id,
                "lane_no": _LANE,
                "observed_at": utc_text(moment),
                series.measure: value,
            }
            yield Reading("lane_minute", body, "replay", moment)


@dataclass(frozen=True)
class LoadBatch:
    """Encoded lane_minute records: Kafka keys, values and receipt times (ms since 1970, UTC), all of one length."""

    keys: list[bytes] = field(repr=False)
    values: list[bytes] = field(repr=False)
    timestamps_ms: list[int] = field(repr=False)


def load_events(
    n: int,
    seed: int,
    rate: float,
    *,
    start: datetime = datetime(2025, 11, 10, tzinfo=UTC),
    detectors: tuple[str, ...] = ("HUE-D01", "HUE-D02", "HUE-D03", "HUE-D04"),
    lanes: int = 12,
    batch: int = 10_000,
) -> Iterator[LoadBatch]:
    """Make `n` synthetic lane_minute records at `rate` events per second of event time, in batches, for benchmarks.

    Keys are distinct: the lanes take turns and the event time moves by whole milliseconds. The receipt time is the
    event time, so that every record is on time; the values are already in the gateway's form.

    Raises:
        ValueError: the rate is so high that one lane would have two events in one millisecond.
    """
    entities = [(d, lane) for d in detectors for lane in range(1, lanes + 1)]
    if not 0 < rate <= len(entities) * 1000:
        raise ValueError(f"a rate above 0 and at most {len(entities) * 1000} events/s is possible with these lanes")
    keys = [f"{d}|{lane}".encode() for d, lane in entities]
    heads = [f'{{"detector_id":"{d}","lane_no":{lane},"observed_at":"' for d, lane in entities]
    chance = np.random.default_rng(seed)
    start_ms = int(start.timestamp() * 1000)
    for first in range(0, n, batch):
        index = np.arange(first, min(first + batch, n))
        at_ms = start_ms + (index * (1000.0 / rate)).astype(np.int64)
        times = np.datetime_as_string(at_ms.astype("datetime64[ms]"), unit="ms").tolist()
        entity = (index % len(entities)).tolist()
        counts = chance.integers(0, 60, index.size).tolist()
        speeds = chance.integers(80, 700, index.size).tolist()
        occupancies = chance.integers(10, 600, index.size).tolist()
        values = [
            (
                f'{heads[e]}{t}Z","vehicle_count":{c},"mean_speed_kmh":{s / 10},"occupancy_pct":{o / 10},'
                '"origin":"synthetic","revision":0}'
            ).encode()
            for e, t, c, s, o in zip(entity, times, counts, speeds, occupancies, strict=True)
        ]
        yield LoadBatch([keys[e] for e in entity], values, at_ms.tolist())
