"""How well quality tests find sensors that were broken on purpose: precision of each test, recall of each fault."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

from pipelines.contracts.model import Dataset, FlatLine, Neighbour, Windowed
from pipelines.replay.sensor_faults import BLOCKED, DRIFT, DROPOUT, NOISE_LOSS, SPIKE, STUCK, Episode

DETECTS: Mapping[str, tuple[str, ...]] = {
    SPIKE: ("spike", "rate_of_change", "gross_range"),
    STUCK: ("flat_line", "attenuated_signal"),
    DRIFT: ("neighbour",),
    DROPOUT: ("gap",),
    NOISE_LOSS: ("attenuated_signal", "flat_line"),
    BLOCKED: ("neighbour",),
}
"""The tests that are meant for each fault."""

Said = Mapping[tuple[str, datetime], Mapping[str, int]]
"""Entity and event time → test → result of every reading; a test that is not named passed."""


@dataclass(frozen=True)
class TestScore:
    """One test: readings that it found (3 or 4), and of these those inside a fault of the sensor itself, those whose
    window still holds one (or one of a neighbour), and those that nothing explains."""

    found: int
    in_fault: int
    after_fault: int
    false: int

    @property
    def precision(self) -> float | None:
        """The share of its findings that a fault explains; None without findings."""
        return (self.found - self.false) / self.found if self.found else None


@dataclass(frozen=True)
class FaultScore:
    """One kind of fault: its readings and episodes, and how many of them a test that is meant for it found; the median
    time until the first finding of those episodes, in hours."""

    readings: int
    found_readings: int
    episodes: int
    found_episodes: int
    delay_h: float | None

    @property
    def recall(self) -> float | None:
        """The share of its readings that were found; None without any."""
        return self.found_readings / self.readings if self.readings else None


@dataclass(frozen=True)
class Score:
    """Everything about one dataset; ``sound`` readings are outside of every fault and its shadow."""

    readings: int
    sound: int
    false_alarms: int
    tests: Mapping[str, TestScore]
    faults: Mapping[str, FaultScore]


def score(
    dataset: Dataset, said: Said, episodes: Iterable[Episode], neighbours: Mapping[str, tuple[str, ...]]
) -> Score:
    """Compare what was said of readings with what was done to their sensors.

    ``neighbours``: of each entity those with which it is compared: their faults explain a finding of that test.
    """
    faults: dict[str, list[Episode]] = defaultdict(list)
    for episode in episodes:
        if episode.dataset == dataset.id:
            faults[episode.entity].append(episode)
    windows = _windows(dataset)
    tests: dict[str, Counter[str]] = defaultdict(Counter)
    sound = false_alarms = 0
    longest = max(windows.values(), default=timedelta(0))
    for (entity, at), results in said.items():
        found = [test for test, flag in results.items() if flag in (3, 4)]
        for test in found:
            tests[test][_explained(test, entity, at, faults, neighbours, windows)] += 1
        near = [e for who in (entity, *neighbours.get(entity, ())) for e in faults[who]]
        if not any(e.first_at <= at <= e.last_at + longest for e in near):
            sound += 1
            false_alarms += bool(found)
    kinds = sorted({e.kind for own in faults.values() for e in own})
    return Score(
        len(said),
        sound,
        false_alarms,
        {
            test: TestScore(counts.total(), counts["in_fault"], counts["after_fault"], counts["false"])
            for test, counts in sorted(tests.items())
        },
        {kind: _recall(kind, said, [e for own in faults.values() for e in own if e.kind == kind]) for kind in kinds},
    )


def _windows(dataset: Dataset) -> dict[str, timedelta]:
    """How far back of a reading each test looks: so long a fault that has ended may still be seen."""
    assert dataset.stream is not None
    found: dict[str, timedelta] = {"gap": dataset.stream.cadence, "gross_range": timedelta(0)}
    for test, _, limits in dataset.qc.by_field():
        if isinstance(limits, Windowed | Neighbour):
            found[test] = limits.window + dataset.stream.cadence
        elif isinstance(limits, FlatLine):
            found[test] = limits.fail or limits.suspect or timedelta(0)
    return found


def _explained(
    test: str,
    entity: str,
    at: datetime,
    faults: Mapping[str, list[Episode]],
    neighbours: Mapping[str, tuple[str, ...]],
    windows: Mapping[str, timedelta],
) -> str:
    if any(episode.holds(at) for episode in faults[entity]):
        return "in_fault"
    among = (entity, *neighbours.get(entity, ())) if test == "neighbour" else (entity,)
    window = windows.get(test, timedelta(0))
    shadows = (e.first_at <= at <= e.last_at + window for who in among for e in faults[who])
    return "after_fault" if any(shadows) else "false"


def _recall(kind: str, said: Said, episodes: list[Episode]) -> FaultScore:
    meant = set(DETECTS[kind])
    times: dict[str, list[datetime]] = defaultdict(list)
    for entity, at in said:
        times[entity].append(at)
    readings = found_readings = found_episodes = 0
    delays = []
    for episode in episodes:
        inside = sorted(at for at in times[episode.entity] if episode.holds(at))
        found = [
            at
            for at in inside
            if any(test in meant and flag in (3, 4) for test, flag in said[episode.entity, at].items())
        ]
        readings += len(inside)
        found_readings += len(found)
        if found:
            found_episodes += 1
            delays.append((found[0] - episode.first_at) / timedelta(hours=1))
    return FaultScore(readings, found_readings, len(episodes), found_episodes, median(delays) if delays else None)
