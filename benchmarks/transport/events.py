"""Seeded lane readings with a known share of faults, and what a correct job must make of them.

Lanes report in turn, so that the arrival clock of the topic never goes back. Every slot of the sequence is one of

* a reading: a key (detector, lane, event time) that occurs once, up to 0.9 s older than its arrival;
* a duplicate: the bytes of a reading of at most a minute ago once more;
* a late reading: a key of its own, 10 to 60 minutes older than its arrival;
* a malformed record: a reading that lost its last ten bytes.

At the end each partition gets one closing reading two hours ahead on all clocks, which closes every window before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

START_MS = int(datetime(2025, 11, 10, tzinfo=UTC).timestamp() * 1000)
SHARES = {"duplicate": 0.01, "late": 0.01, "malformed": 0.001}
LATE_MINUTES = (10, 15, 20, 30, 40, 50, 60)
CLOSING_MS = 2 * 3600 * 1000
CUT_BYTES = 10
MINUTE_MS = 60_000
_READING, _DUPLICATE, _LATE, _MALFORMED = range(4)
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Load:
    """What to make: `events` records of `detectors` x `lanes`, each lane every `cadence_s` seconds."""

    events: int
    detectors: int
    cadence_s: float
    lanes: int = 4
    seed: int = 334
    partitions: int = 1

    @property
    def entities(self) -> int:
        """How many lanes report."""
        return self.detectors * self.lanes


@dataclass(frozen=True)
class Batch:
    """Records in order of arrival, all lists of one length."""

    partitions: list[int]
    keys: list[bytes]
    values: list[bytes]
    timestamps_ms: list[int]


@dataclass
class Truth:
    """What is right for the records made so far. Closing ones are counted too, but for the windows: those stay open."""

    records: int = 0
    on_time: int = 0
    late: int = 0
    duplicate: int = 0
    malformed: int = 0
    windows_1min: int = 0
    windows_5min: int = 0
    bytes: int = 0


class Generator:
    """Makes the records of a load in batches and counts the truth beside them."""

    def __init__(self, load: Load) -> None:
        """Prepare the lanes; a lane always writes to one partition."""
        self.load, self.truth = load, Truth()
        names = [(f"HUE-D{d:06d}", lane) for d in range(load.detectors) for lane in range(1, load.lanes + 1)]
        self._keys = [f"{d}|{lane}".encode() for d, lane in names]
        self._heads = [f'{{"detector_id":"{d}","lane_no":{lane},"observed_at":"' for d, lane in names]
        self._chance = np.random.default_rng(load.seed)
        self._windows: dict[int, list[Integers]] = {1: [], 5: []}
        # A duplicate repeats one of the last minute, and at most this many records back.
        self._memory = max(1, min(20_000, int(load.entities * 60 / load.cadence_s)))
        self._kept: list[bytes] = []
        self._kept_kind: Integers = np.empty(0, np.int64)

    def batches(self, size: int = 50_000) -> Iterator[Batch]:
        """Yield all records; afterwards `truth` is complete."""
        load = self.load
        for first in range(0, load.events, size):
            yield self._batch(np.arange(first, min(first + size, load.events)))
        last_ms = self._arrival_ms(np.array([load.events]))[0] + CLOSING_MS
        closing = range(load.partitions)
        values = [self._value(lane, int(last_ms), 1, 300, 100) for lane in closing]
        self._count(len(values), sum(map(len, values)), on_time=len(values))
        yield Batch(list(closing), [self._keys[lane] for lane in closing], values, [int(last_ms)] * load.partitions)
        for minutes, found in self._windows.items():
            setattr(self.truth, f"windows_{minutes}min", int(np.unique(np.concatenate(found)).size))

    def _arrival_ms(self, index: Integers) -> Integers:
        load = self.load
        arrival: Integers = START_MS + (index * (load.cadence_s * 1000 / load.entities)).astype(np.int64)
        return arrival

    def _batch(self, index: Integers) -> Batch:
        load, chance, n = self.load, self._chance, index.size
        lane = index % load.entities
        arrival_ms = self._arrival_ms(index)
        kind = chance.choice(4, n, p=[1 - sum(SHARES.values()), *SHARES.values()])
        back = chance.integers(1, self._memory + 1, n)
        past_kind = np.concatenate([self._kept_kind, kind])
        base = self._kept_kind.size
        source = base + np.arange(n) - back
        # What would repeat no good reading is a reading itself.
        repeats = (kind == _DUPLICATE) & (source >= 0)
        repeats[repeats] = past_kind[source[repeats]] == _READING
        kind[(kind == _DUPLICATE) & ~repeats] = _READING
        late = chance.integers(0, len(LATE_MINUTES), n)
        minutes = np.array(LATE_MINUTES)[late]
        # The milliseconds keep keys apart: readings are 0 to 899 ms old, late ones 900 and more, by their minutes.
        delay_ms = np.where(kind == _LATE, minutes * MINUTE_MS + 900 + late, chance.integers(0, 900, n))
        event_ms = arrival_ms - delay_ms
        times = np.datetime_as_string(event_ms.astype("datetime64[ms]"), unit="ms").tolist()
        counts = chance.integers(0, 60, n).tolist()
        speeds = chance.integers(80, 700, n).tolist()
        occupancies = chance.integers(10, 600, n).tolist()
        heads = self._heads
        values = [
            (
                f'{heads[e]}{t}Z","vehicle_count":{c},"mean_speed_kmh":{s / 10},"occupancy_pct":{o / 10},'
                '"origin":"synthetic","revision":0}'
            ).encode()
            for e, t, c, s, o in zip(lane.tolist(), times, counts, speeds, occupancies, strict=True)
        ]
        for i in np.flatnonzero(kind == _MALFORMED).tolist():
            values[i] = values[i][:-CUT_BYTES]
        lanes = np.concatenate([self._kept_lane if base else np.empty(0, np.int64), lane])
        history = self._kept + values
        for i in np.flatnonzero(kind == _DUPLICATE).tolist():
            values[i] = history[source[i]]
            lane[i] = lanes[source[i]]
        self._kept, self._kept_lane = history[-self._memory :], lanes[-self._memory :]
        self._kept_kind = np.concatenate([self._kept_kind, kind])[-self._memory :]
        good = kind == _READING
        for length, found in self._windows.items():
            window = event_ms[good] // (length * MINUTE_MS) * load.entities + lane[good]
            found.append(np.unique(window))
        self._count(
            n,
            sum(map(len, values)),
            on_time=int(good.sum()),
            late=int((kind == _LATE).sum()),
            duplicate=int((kind == _DUPLICATE).sum()),
            malformed=int((kind == _MALFORMED).sum()),
        )
        keys = self._keys
        lane_list = lane.tolist()
        return Batch((lane % load.partitions).tolist(), [keys[e] for e in lane_list], values, arrival_ms.tolist())

    def _value(self, lane: int, event_ms: int, count: int, speed: int, occupancy: int) -> bytes:
        moment = np.datetime_as_string(np.datetime64(event_ms, "ms"), unit="ms")
        text = (
            f'{self._heads[lane]}{moment}Z","vehicle_count":{count},"mean_speed_kmh":{speed / 10},'
            f'"occupancy_pct":{occupancy / 10},"origin":"synthetic","revision":0}}'
        )
        return text.encode()

    def _count(self, records: int, size: int, **kinds: int) -> None:
        self.truth.records += records
        self.truth.bytes += size
        for name, count in kinds.items():
            setattr(self.truth, name, getattr(self.truth, name) + count)
