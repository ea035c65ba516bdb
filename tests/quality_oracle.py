"""The quality tests written down a second time: exact decimals, the whole past of an entity, no state to spare.

The Java function keeps what a test can need and no more; whatever it says must be what a plain reading of the rules
over all readings that came before says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from statistics import median
from typing import Any

from pipelines.contracts import qc
from pipelines.contracts.model import Dataset, FlatLine, Windowed
from pipelines.contracts.registry import Registry
from pipelines.contracts.targets.flink_qc import HOLE_PERIODS

HOUR, MICROSECOND = timedelta(hours=1), timedelta(microseconds=1)
PASS, NOT_EVALUATED, SUSPECT, FAIL, MISSING = 1, 2, 3, 4, 9
_WORST_FIRST = (FAIL, SUSPECT, MISSING, PASS, NOT_EVALUATED)
_STATEFUL = ("spike", "rate_of_change", "flat_line", "attenuated_signal")
_OF_A_FIELD = ("gross_range", "climatology", *_STATEFUL, "neighbour")


@dataclass(frozen=True)
class Reading:
    """One arrival: the entity, its event time, the values of its fields, and the source's revision number."""

    entity: str
    at: datetime
    values: Mapping[str, Decimal | None]
    revision: int = 0


@dataclass
class _Kept:
    values: Mapping[str, Decimal | None]
    revision: int
    failed: frozenset[str]
    outliers: frozenset[str]


@dataclass
class Oracle:
    """Judges readings in order of arrival: the aggregated flag and every result, `field.test` → flag."""

    dataset: Dataset
    registry: Registry
    past: dict[str, dict[datetime, _Kept]] = field(default_factory=dict)

    def judge(self, reading: Reading) -> tuple[int, dict[str, int]]:
        """What is said of one reading; it is remembered for the next."""
        stream = self.dataset.stream
        assert stream is not None
        past = self.past.setdefault(reading.entity, {})
        keep = qc.longest_look_back(self.dataset) + max(stream.watermark, HOLE_PERIODS * stream.cadence)
        forgotten = bool(past) and reading.at < max(past) - keep
        before = {} if forgotten else {at: kept for at, kept in sorted(past.items()) if at < reading.at}
        results: dict[str, int] = {}
        if self.dataset.qc.gap:
            since = reading.at - max(before) if before else None
            limits = self.dataset.qc.gap
            results[f"{self.dataset.event_time}.gap"] = (
                NOT_EVALUATED if since is None else _above(since, limits.suspect, limits.fail)
            )
        failed = frozenset(name for name, value in reading.values.items() if self._fails(reading, name, value))
        outliers: set[str] = set()
        for item in self.dataset.fields:
            value = reading.values.get(item.name)
            if value is None:
                results |= {f"{item.name}.{test}": MISSING for test in _STATEFUL if item.name in self._tests(test)}
            else:
                own = self._field(reading, item.name, value, before, item.name in failed)
                results |= {f"{item.name}.{test}": flag for test, flag in own.items()}
                if {own.get("spike"), own.get("rate_of_change")} & {SUSPECT, FAIL}:
                    outliers.add(item.name)
        known = past.get(reading.at)
        if not forgotten and (known is None or reading.revision >= known.revision):
            past[reading.at] = _Kept(reading.values, reading.revision, failed, frozenset(outliers))
            for at in [at for at in past if at < max(past) - keep]:
                del past[at]
        every = {**self._gross(reading), **results}
        counted = {flag for test, flag in every.items() if flag != MISSING or self._is_required(test)}
        return next((flag for flag in _WORST_FIRST if flag in counted), NOT_EVALUATED), every

    def _tests(self, test: str) -> Mapping[str, Any]:
        declared: Mapping[str, Any] = getattr(self.dataset.qc, test)
        return declared

    def _is_required(self, test: str) -> bool:
        """Only a required field makes a row without it one that lacks something."""
        return self.dataset.field(test.partition(".")[0]).required

    def _limit(self, test: str, name: str, entity: str, common: Windowed) -> tuple[Decimal | None, Decimal | None]:
        own = qc.entity_limits(self.dataset, self.registry, test)
        found = next((one for one in own if (one.entity, one.field) == (entity, name)), common)
        return found.suspect, found.fail

    def _fails(self, reading: Reading, name: str, value: Decimal | None) -> bool:
        return value is not None and self._gross(reading).get(f"{name}.gross_range") == FAIL

    def _gross(self, reading: Reading) -> dict[str, int]:
        """Gross range and climatology of every measure; one that the contract's tests do not name and that may be
        absent has no result while it is."""
        found = {}
        own = qc.entity_limits(self.dataset, self.registry, "gross_range")
        for item in self.dataset.fields:
            if not item.type.is_numeric or item.name in self.dataset.key:
                continue
            usual = self.dataset.qc.gross_range.get(item.name)
            fail = qc.fail_limits(self.dataset, item.name)
            suspect = usual.suspect if usual else (None, None)
            one = next((o for o in own if (o.entity, o.field) == (reading.entity, item.name)), None)
            if one is not None:
                fail = (one.fail_low, one.fail_high) if one.fail_low is not None else fail
                suspect = (one.suspect_low, one.suspect_high) if one.suspect_low is not None else suspect
            if (*fail, *suspect) == (None, None, None, None):
                continue
            value = reading.values.get(item.name)
            is_seasonal = item.name in self.dataset.qc.climatology
            if value is None:
                if item.required or any(item.name in self._tests(test) for test in _OF_A_FIELD):
                    found[f"{item.name}.gross_range"] = MISSING
                if is_seasonal:
                    found[f"{item.name}.climatology"] = MISSING
                continue
            flag = FAIL if _outside(value, *fail) else SUSPECT if _outside(value, *suspect) else PASS
            found[f"{item.name}.gross_range"] = flag
            if is_seasonal:
                found[f"{item.name}.climatology"] = self._season(reading, item.name, value)
        return found

    def _season(self, reading: Reading, name: str, value: Decimal) -> int:
        month = (reading.at + timedelta(hours=7)).month
        for season in qc.seasons(self.dataset, self.registry, name):
            if month in season.months and season.entity in (None, reading.entity):
                return SUSPECT if _outside(value, season.low, season.high) else PASS
        return NOT_EVALUATED

    def _field(
        self, reading: Reading, name: str, value: Decimal, before: Mapping[datetime, _Kept], is_failed: bool
    ) -> dict[str, int]:
        tests, said = self.dataset.qc, {}
        if name in tests.spike:
            test = tests.spike[name]
            values = [
                kept.values[name]
                for at, kept in before.items()
                if at >= reading.at - test.window and kept.values.get(name) is not None and name not in kept.failed
            ]
            limits = self._limit("spike", name, reading.entity, test)
            said["spike"] = (
                NOT_EVALUATED
                if len(values) < 3
                else _above(abs(Fraction(value) - median(map(Fraction, values))), *limits)
            )
        if name in tests.rate_of_change:
            said["rate_of_change"] = self._rate(reading, name, value, before)
        if name in tests.flat_line:
            said["flat_line"] = self._flat(reading.at, name, value, before, tests.flat_line[name])
        if name in tests.attenuated_signal:
            counts = not is_failed and not {said.get("spike"), said.get("rate_of_change")} & {SUSPECT, FAIL}
            said["attenuated_signal"] = self._attenuated(reading, name, value if counts else None, before)
        return said

    def _rate(self, reading: Reading, name: str, value: Decimal, before: Mapping[datetime, _Kept]) -> int:
        test = self.dataset.qc.rate_of_change[name]
        good = [
            (at, kept.values[name])
            for at, kept in before.items()
            if at >= reading.at - test.window
            and kept.values.get(name) is not None
            and name not in kept.failed | kept.outliers
        ]
        if not good:
            return NOT_EVALUATED
        at, last = good[-1]
        assert last is not None
        hours = Fraction((reading.at - at) // MICROSECOND, HOUR // MICROSECOND)
        change = Fraction(abs(value - last)) / hours
        return _above(change, *self._limit("rate_of_change", name, reading.entity, test))

    def _flat(self, at: datetime, name: str, value: Decimal, before: Mapping[datetime, _Kept], test: FlatLine) -> int:
        if value in test.exempt:
            return PASS
        since, values, moved = at, [value], False
        for earlier, kept in reversed(before.items()):
            known = kept.values.get(name)
            if known is None or since - earlier > self._hole:
                break
            values.append(known)
            if max(values) - min(values) > test.tolerance:
                moved = True
                break
            since = earlier
        lasted = at - since
        if test.fail is not None and lasted >= test.fail:
            return FAIL
        if test.suspect is not None and lasted >= test.suspect:
            return SUSPECT
        return PASS if moved else NOT_EVALUATED

    def _attenuated(self, reading: Reading, name: str, value: Decimal | None, before: Mapping[datetime, _Kept]) -> int:
        test = self.dataset.qc.attenuated_signal[name]
        assert self.dataset.stream is not None
        begin = reading.at - test.window
        inside = {at: kept for at, kept in before.items() if at >= begin}
        values = [
            known
            for kept in inside.values()
            if (known := kept.values.get(name)) is not None and name not in kept.failed | kept.outliers
        ]
        values += [] if value is None else [value]
        due = test.window / self.dataset.stream.cadence
        if min([*inside, reading.at]) - begin > self._hole or len(values) < 0.8 * due:
            return NOT_EVALUATED
        suspect, fail = self._limit("attenuated_signal", name, reading.entity, test)
        moved = max(values) - min(values)
        if fail is not None and moved < fail:
            return FAIL
        return SUSPECT if suspect is not None and moved < suspect else PASS

    @property
    def _hole(self) -> timedelta:
        assert self.dataset.stream is not None
        return HOLE_PERIODS * self.dataset.stream.cadence


def _outside(value: Decimal, low: Decimal | None, high: Decimal | None) -> bool:
    return (low is not None and value < low) or (high is not None and value > high)


def _above(value: Any, suspect: Any, fail: Any) -> int:
    """Fractions and decimals compare exactly, and so do times."""
    if fail is not None and value > fail:
        return FAIL
    return SUSPECT if suspect is not None and value > suspect else PASS


def judged(dataset: Dataset, registry: Registry, readings: Iterable[Reading]) -> list[tuple[int, dict[str, int]]]:
    """The verdicts on readings in order of arrival."""
    oracle = Oracle(dataset, registry)
    return [oracle.judge(reading) for reading in readings]
