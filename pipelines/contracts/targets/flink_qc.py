"""The quality tests of a stream in Flink: those of one reading as SQL, those that need the readings before as the text
that the table function ``QualityTests`` reads.

Results are QARTOD's: 1 pass, 2 not evaluated, 3 suspect, 4 fail, 9 missing. ``qc_flag`` is the worst of all tests, in
the order 4, 3, 9, 1, 2; ``qc_detail`` names every test that did not pass: ``stage_m.gross_range=3;stage_m.spike=4``.
A 9 counts in the flag where the field is required only: a row without a measure that is optional is a good row.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from pipelines.contracts import qc, qc_sql
from pipelines.contracts.errors import Untranslatable
from pipelines.contracts.model import ContractField, Dataset, Lasting, Windowed
from pipelines.contracts.names import backtick, literal
from pipelines.contracts.registry import Registry

HUE_OFFSET = "INTERVAL '7' HOUR"
"""Jobs run in UTC; the months of a climatology are those of Huế, which knows no daylight saving time."""
HOLE_PERIODS = 3
"""So many periods without a reading are a hole, see QualityTestsLogic. A reading that is late by as much, or by the
watermark's delay, still finds those before it."""


@dataclass(frozen=True)
class Test:
    """A test of one reading of one field: the SQL of what fails, of what is suspect, and of what is not evaluated."""

    name: str
    fail: str | None
    suspect: str | None
    idle: str | None = None


def stateless(dataset: Dataset, registry: Registry) -> tuple[str, str]:
    """The SQL of the flag and of the detail of the tests that see one reading: gross range and climatology."""
    fields = [item for item in dataset.fields if item.type.is_numeric and item.name not in dataset.key]
    tested = [(item, tests) for item in fields if (tests := tuple(_tests(dataset, registry, item)))]
    if not tested:
        return "2", "CAST(NULL AS STRING)"
    fails = [f"({test.fail})" for _, tests in tested for test in tests if test.fail]
    suspects = [f"({test.suspect})" for _, tests in tested for test in tests if test.suspect]
    idle = [f"({test.idle})" for _, tests in tested for test in tests if test.idle]
    required = [f"{backtick(item.name)} IS NULL" for item, _ in tested if item.required]
    known = [f"{backtick(item.name)} IS NOT NULL" for item, _ in tested]
    cases = [(fails, 4), (suspects, 3), (required, 9), (known, 1)]
    flag = "CASE " + " ".join(f"WHEN {' OR '.join(sql)} THEN {value}" for sql, value in cases if sql) + " ELSE 2 END"
    details = [_detail(dataset, item, test) for item, tests in tested for test in tests]
    missing = [f"{backtick(item.name)} IS NULL" for item, _ in tested if _names_missing(dataset, item)]
    # Nearly every reading passes: its detail is decided by the conditions, no text is made.
    said = " OR ".join((*fails, *suspects, *missing, *idle))
    return flag, f"CASE WHEN {said} THEN CONCAT_WS(';', {', '.join(details)}) END"


def _names_missing(dataset: Dataset, item: ContractField) -> bool:
    """Whether an absent value is named: of a required field, or of one whose tests the contract declares.

    A field that ``qc`` does not name has only the range of what is possible, which says nothing of an absent value.
    """
    return item.required or any(item.name == name for _, name, _ in dataset.qc.by_field())


def _detail(dataset: Dataset, item: ContractField, test: Test) -> str:
    missing = f"{backtick(item.name)} IS NULL" if _names_missing(dataset, item) else None
    branches = [(test.fail, 4), (test.suspect, 3), (missing, 9), (test.idle, 2)]
    said = f"{item.name}.{test.name}="
    return "CASE " + "".join(f"WHEN {sql} THEN {literal(said + str(flag))} " for sql, flag in branches if sql) + "END"


def _tests(dataset: Dataset, registry: Registry, item: ContractField) -> Iterator[Test]:
    fail, suspect = qc_sql.gross_range(dataset, registry, item, backtick)
    if fail or suspect:
        yield Test("gross_range", fail, suspect)
    if item.name in dataset.qc.climatology:
        yield _climatology(dataset, registry, item)


def _climatology(dataset: Dataset, registry: Registry, item: ContractField) -> Test:
    """A value outside what is usual in its month is suspect; one that no season covers is not evaluated."""
    column = backtick(registry.code_list(dataset.qc.climatology[item.name].limits).key)
    suspects = []
    months: dict[str | None, set[int]] = defaultdict(set)
    for season in qc.seasons(dataset, registry, item.name):
        outside = qc_sql.outside(backtick(item.name), season.low, season.high)
        suspects.append(f"({_in_season(dataset, column, season.entity, season.months)} AND ({outside}))")
        months[season.entity].update(season.months)
    covered = [f"({_in_season(dataset, column, entity, sorted(known))})" for entity, known in months.items()]
    idle = f"NOT ({' OR '.join(covered)})" if covered else "TRUE"
    return Test("climatology", None, " OR ".join(suspects) or None, None if len(months[None]) == qc.MONTHS else idle)


def _in_season(dataset: Dataset, column: str, entity: str | None, months: Sequence[int]) -> str:
    of_entity = f"{column} = {literal(entity)} AND " if entity is not None else ""
    month = f"EXTRACT(MONTH FROM {backtick(str(dataset.event_time))} + {HUE_OFFSET})"
    return f"{of_entity}{month} IN ({', '.join(map(str, months))})"


def stateful(dataset: Dataset, registry: Registry) -> str:
    """The tests that need the readings before, as QualityRules.java reads them: equal contracts give equal texts.

    Raises:
        Untranslatable: the stream's job keeps no state.
    """
    if dataset.stream is None or not dataset.is_keyed:
        reason = "it needs the readings before, and the job of this stream keeps none"
        raise Untranslatable(dataset.id, "a stateful quality test", "flink", reason)
    tests = dataset.qc
    own = qc.entity_limits(dataset, registry, "spike", "rate_of_change", "attenuated_signal")
    fields: dict[str, dict[str, Any]] = {}
    for test in ("spike", "rate_of_change", "attenuated_signal"):
        for name, limits in getattr(tests, test).items():
            fields.setdefault(name, {})[test] = _windowed(limits)
    for name, flat in tests.flat_line.items():
        values = {"tolerance": literal(flat.tolerance), "except": [literal(value) for value in flat.exempt]}
        fields.setdefault(name, {})["flat_line"] = {**values, **_lasting(flat)}
    late = max(dataset.stream.watermark, HOLE_PERIODS * dataset.stream.cadence)
    content = {
        "event_time": dataset.event_time,
        "entity": qc.entity_column(dataset, registry) if own else None,
        "cadence_ms": _ms(dataset.stream.cadence),
        "keep_ms": _ms(qc.longest_look_back(dataset) + late),
        "gap": _lasting(tests.gap) if tests.gap else None,
        "fields": {item.name: fields[item.name] for item in dataset.fields if item.name in fields},
        "overrides": [
            {"entity": one.entity, "field": one.field, "test": one.test, **_values(one.suspect, one.fail)}
            for one in own
        ],
    }
    return json.dumps({key: value for key, value in content.items() if value}, ensure_ascii=False)


def _windowed(test: Windowed) -> dict[str, Any]:
    return {"window_ms": _ms(test.window), **_values(test.suspect, test.fail)}


def _values(suspect: Decimal | None, fail: Decimal | None) -> dict[str, str]:
    return {name: literal(value) for name, value in (("suspect", suspect), ("fail", fail)) if value is not None}


def _lasting(test: Lasting) -> dict[str, int]:
    found = (("suspect_ms", test.suspect), ("fail_ms", test.fail))
    return {name: _ms(value) for name, value in found if value is not None}


def _ms(duration: timedelta) -> int:
    return int(duration.total_seconds() * 1000)
