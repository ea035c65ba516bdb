"""Sensors that break: seeded faults in the readings of the flood, each touched reading labelled.

What was sent is then known to be wrong, so that what quality control says of it can be counted: see
:mod:`pipelines.replay.sensor_score`. Unlike the faults on the way (:mod:`pipelines.replay.faults`), these are already
in what the sensor measures: the bodies are well-formed, on time, and false.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal

from pipelines.replay.readings import Reading

SPIKE, STUCK, DRIFT, DROPOUT, NOISE_LOSS, BLOCKED = "spike", "stuck", "drift", "dropout", "noise_loss", "blocked"
HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Sensor:
    """How the sensors of a dataset break: its entity and measure, and which faults it has how large.

    ``spike`` is the size of a spike, ``drift_per_h`` of a drift, both in the unit of the measure, of either sign;
    ``durations_h`` says how long each lasting fault lasts. ``noise`` is the standard deviation of what a sound sensor
    adds (waves, rounding): the replay's curves have none, and a test that never flags a smooth curve proves little.
    """

    entity: str
    measure: str
    spike: tuple[float, float]
    durations_h: Mapping[str, tuple[float, float]]
    noise: float = 0.0
    drift_per_h: tuple[float, float] = (0.0, 0.0)
    below_zero: bool = True

    @property
    def kinds(self) -> tuple[str, ...]:
        """The faults of this sensor."""
        return (SPIKE, *self.durations_h)


SENSORS: Mapping[str, Sensor] = {
    "river_stage": Sensor(
        "station_id",
        "stage_m",
        (0.2, 3.0),
        {STUCK: (4, 36), DRIFT: (24, 60), DROPOUT: (0.6, 6), NOISE_LOSS: (30, 50)},
        noise=0.012,
        drift_per_h=(0.02, 0.12),
    ),
    "rain_gauge": Sensor(
        "station_id", "rain_mm", (30, 75), {STUCK: (1.5, 12), DROPOUT: (0.6, 6), BLOCKED: (6, 30)}, below_zero=False
    ),
    "reservoir_op": Sensor("reservoir_id", "level_m", (1, 12), {DROPOUT: (2.5, 8)}, noise=0.01),
}
"""The sensors that break. Sizes are ours: from what a test should hardly see to what nobody misses."""

QUIET_H = (10.0, 40.0)
"""How long a sensor is sound between two faults."""
_SHORT_WEIGHT = 3
"""Spikes and dropouts come so much more often than a fault that lasts."""
_DAMPED = 0.004
"""What is left of the movement of a sensor that has lost its signal (a silted inlet pipe)."""


@dataclass(frozen=True)
class Episode:
    """One fault of one sensor: from its first touched reading to its last, both included; of a dropout the first that
    came through again."""

    dataset: str
    entity: str
    kind: str
    first_at: datetime
    last_at: datetime

    def holds(self, at: datetime) -> bool:
        """Whether the fault touched what was measured at this time."""
        return self.first_at <= at <= self.last_at


def break_sensors(readings: Sequence[Reading], seed: int) -> tuple[tuple[Reading, ...], tuple[Episode, ...]]:
    """Break the sensors of :data:`SENSORS`; equal arguments break them equally. A touched reading is synthetic, and a
    published figure no longer."""
    kept: list[Reading] = [r for r in readings if r.dataset not in SENSORS]
    episodes: list[Episode] = []
    for dataset, sensor in SENSORS.items():
        own = [r for r in readings if r.dataset == dataset]
        for entity in sorted({str(r.body[sensor.entity]) for r in own}):
            series = sorted((r for r in own if r.body[sensor.entity] == entity), key=lambda r: r.event_at)
            chance = random.Random(f"{seed}|{dataset}|{entity}")
            broken, faults = _break(dataset, entity, sensor, [_noisy(r, sensor, chance) for r in series], chance)
            kept += broken
            episodes += faults
    return tuple(kept), tuple(episodes)


def _break(
    dataset: str, entity: str, sensor: Sensor, series: Sequence[Reading], chance: random.Random
) -> tuple[list[Reading], list[Episode]]:
    found: list[Reading] = []
    episodes: list[Episode] = []
    sound_until = series[0].event_at + timedelta(hours=chance.uniform(*QUIET_H))
    index = 0
    while index < len(series):
        if series[index].event_at < sound_until:
            found.append(series[index])
            index += 1
            continue
        kind = chance.choices(sensor.kinds, [_SHORT_WEIGHT if k in (SPIKE, DROPOUT) else 1 for k in sensor.kinds])[0]
        until = series[index].event_at + timedelta(hours=chance.uniform(*sensor.durations_h.get(kind, (0, 0))))
        end = next((n for n in range(index, len(series)) if series[n].event_at > until), len(series))
        touched = series[index : max(end, index + 1)]
        index += len(touched)
        if kind == DROPOUT:
            if index < len(series):
                episodes.append(Episode(dataset, entity, kind, series[index].event_at, series[index].event_at))
        else:
            false = list(_touched(sensor, kind, touched, chance))
            found += false
            # A blocked rain gauge in dry weather says the truth.
            if any(one.body != true.body for one, true in zip(false, touched, strict=True)):
                episodes.append(Episode(dataset, entity, kind, touched[0].event_at, touched[-1].event_at))
        sound_until = touched[-1].event_at + timedelta(hours=chance.uniform(*QUIET_H))
    return found, episodes


def _noisy(reading: Reading, sensor: Sensor, chance: random.Random) -> Reading:
    if not sensor.noise:
        return reading
    true = Decimal(str(reading.body[sensor.measure]))
    return _measured(reading, sensor, true + Decimal(str(chance.gauss(0, sensor.noise))))


def _measured(reading: Reading, sensor: Sensor, value: Decimal) -> Reading:
    """The reading with another value, in the digits that it had."""
    digits = Decimal(1).scaleb(int(Decimal(str(reading.body[sensor.measure])).as_tuple().exponent))
    body = {**reading.body, sensor.measure: value.quantize(digits, ROUND_HALF_EVEN)}
    return replace(reading, body=body, origin="synthetic", published=False)


def _touched(sensor: Sensor, kind: str, touched: Sequence[Reading], chance: random.Random) -> Iterator[Reading]:
    begin = Decimal(str(touched[0].body[sensor.measure]))
    sign = chance.choice((-1, 1)) if sensor.below_zero else 1
    size = Decimal(str(sign * chance.uniform(*sensor.spike)))
    rate = Decimal(str(sign * chance.uniform(*sensor.drift_per_h)))
    if kind == STUCK and not begin and not sensor.below_zero:
        begin = Decimal("0.3")  # A rain gauge that is stuck at zero is not to be told from dry weather: see BLOCKED.
    for reading in touched:
        true = Decimal(str(reading.body[sensor.measure]))
        passed_h = Decimal((reading.event_at - touched[0].event_at) // timedelta(seconds=1)) / 3600
        value = {
            SPIKE: true + size,
            STUCK: begin,
            DRIFT: true + rate * passed_h,
            NOISE_LOSS: begin + (true - begin) * Decimal(str(_DAMPED)),
            BLOCKED: Decimal(0),
        }[kind]
        yield _measured(reading, sensor, value)
