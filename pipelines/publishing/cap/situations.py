"""What happened at a station: from transitions of its alarm levels to a chain of situations, one message each. Pure.

A chain begins with the first level that is raised and ends when the last one is cleared; every change of the highest
level in force is a situation of it. A situation that lasts longer than its message holds is said again. Identifiers
follow from station, moment and level, so drafting twice, or after the job was rebuilt, gives the same messages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import groupby, zip_longest


@dataclass(frozen=True)
class Transition:
    """One row of ``flood_alert`` that raised or cleared a level; instants in UTC, stages in m."""

    station_id: str
    is_raise: bool
    level: int
    at: datetime
    received_at: datetime
    stage_m: Decimal
    threshold_m: Decimal
    origin: str


@dataclass(frozen=True)
class Situation:
    """The highest level in force at a station since a moment; level 0 is the end of the chain.

    ``sent`` is the arrival clock of the reading, whole seconds; ``threshold_m`` that of the level (of the one that was
    cleared last at level 0). ``is_exercise``: a reading of the chain was not observed.
    """

    station_id: str
    chain_started_at: datetime
    at: datetime
    sent: datetime
    level: int
    stage_m: Decimal
    threshold_m: Decimal
    origin: str
    is_exercise: bool
    is_renewal: bool = False

    @property
    def is_end(self) -> bool:
        """Whether it ends its chain."""
        return not self.level

    @property
    def name(self) -> str:
        """What tells this situation from every other: station, moment, level.

        The moment of a renewal is when it is said: while a station is silent, several repeat the same reading.
        """
        kind, moment = ("R", self.sent) if self.is_renewal else ("L", self.at)
        return f"{self.station_id}-{moment:%Y%m%dT%H%M%SZ}-{kind}{self.level}"

    @property
    def chain(self) -> str:
        """What tells its chain from every other."""
        return f"{self.station_id}-{self.chain_started_at:%Y%m%dT%H%M%SZ}"


Validity = Mapping[int, timedelta]
"""How long a message of each level holds."""

StageAt = Callable[[str, datetime], tuple[datetime, Decimal] | None]
"""The newest usable reading of a station at or before an instant: when, and the stage; None when there is none."""


def situations(
    transitions: Iterable[Transition], validity: Validity, stage_at: StageAt, clock: Mapping[str, datetime]
) -> tuple[Situation, ...]:
    """Every situation of every station in the order of time.

    ``clock`` says by station when its newest reading arrived: until then a situation that still lasts is said again.
    """
    ordered = sorted(transitions, key=lambda t: (t.station_id, t.at, t.level))
    found: list[Situation] = []
    for station_id, own in groupby(ordered, key=lambda t: t.station_id):
        changes = list(_changes(list(own)))
        for situation, following in zip_longest(changes, changes[1:]):
            found.append(situation)
            until = following.sent if following else clock.get(station_id, situation.sent)
            found += _renewals(situation, until, validity, stage_at)
    return tuple(found)


def _changes(transitions: Sequence[Transition]) -> Iterator[Situation]:
    in_force: dict[int, Transition] = {}
    started: datetime | None = None
    is_exercise = False
    last_level = 0
    for at, together in groupby(transitions, key=lambda t: t.at):
        group = list(together)
        for transition in group:
            if transition.is_raise:
                in_force[transition.level] = transition
            else:
                in_force.pop(transition.level, None)
        level = max(in_force, default=0)
        if started is None:
            if not level:
                continue  # the clear of a level whose raise nobody saw
            started, is_exercise = at, False
        is_exercise = is_exercise or any(t.origin != "observed" for t in group)
        if level != last_level:
            newest = group[-1]
            yield Situation(
                newest.station_id,
                started,
                at,
                max(t.received_at for t in group).replace(microsecond=0),
                level,
                newest.stage_m,
                in_force[level].threshold_m if level else newest.threshold_m,
                newest.origin,
                is_exercise,
            )
        last_level = level
        if not level:
            started = None


def _renewals(situation: Situation, until: datetime, validity: Validity, stage_at: StageAt) -> Iterator[Situation]:
    if not situation.level:
        return
    due = situation.sent + validity[situation.level]
    while due < until:
        reading = stage_at(situation.station_id, due)
        if reading is not None:
            yield replace(situation, at=reading[0], sent=due, stage_m=reading[1], is_renewal=True)
        due += validity[situation.level]
