"""The quality tests of a stream in Flink: those of one reading as SQL, those that need the readings before as the text
that the table function ``QualityTests`` reads.

Results are QARTOD's: 1 pass, 2 not evaluated, 3 suspect, 4 fail, 9 missing. ``qc_flag`` is the worst of all tests, in
the order 4, 3, 9, 1, 2; ``qc_detail`` names every test that did not pass: ``stage_m.gross_range=3;stage_m.spike=4``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
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
    """A test of one reading of one field: the SQL of what fails and of what is suspect."""

    name: str
    fail: str | None
    suspect: str | None


def stateless(dataset: Dataset, registry: Registry) -> tuple[str, str]:
    """The SQL of the flag and of the detail of the tests that see one reading: gross range and climatology."""
    fields = [item for item in dataset.fields if item.type.is_numeric and item.name not in dataset.key]
    tested = [(item, tests) for item in fields if (tests := tuple(_tests(dataset, registry, item)))]
    if not tested:
        return "2", "CAST(NULL AS STRING)"
    fails = [f"({test.fail})" for _, tests in tested for test in tests if test.fail]
    suspects = [f"({test.suspect})" for _, tests in tested for test in tests if test.suspect]
    required = [f"{backtick(item.name)} IS NULL" for item, _ in tested if item.required]
    known = [f"{backtick(item.name)} IS NOT NULL" for item, _ in tested]
    cases = [(fails, 4), (suspects, 3), (required, 9), (known, 1)]
    flag = "CASE " + " ".join(f"WHEN {' OR '.join(sql)} THEN {value}" for sql, value in cases if sql) + " ELSE 2 END"
    details = [_detail(item, test) for item, tests in tested for test in tests]
    # Nearly every reading passes: its detail is decided by the conditions, no text is made.
    said = " OR ".join((*fails, *suspects, *required))
    return flag, f"CASE WHEN {said} THEN CONCAT_WS(';', {', '.join(details)}) END"


def _detail(item: ContractField, test: Test) -> str:
    said = f"{item.name}.{test.name}="
    branches = f"WHEN {test.fail} THEN {literal(said + '4')} " if test.fail else ""
    branches += f"WHEN {test.suspect} THEN {literal(said + '3')} " if test.suspect else ""
    if item.required and test.name == "gross_range":
        branches += f"WHEN {backtick(item.name)} IS NULL THEN {literal(said + '9')} "
    return f"CASE {branches}END"


def _tests(dataset: Dataset, registry: Registry, item: ContractField) -> Iterator[Test]:
    fail, suspect = qc_sql.gross_range(dataset, registry, item, backtick)
    if fail or suspect:
        yield Test("gross_range", fail, suspect)
    if item.name in dataset.qc.climatology:
        yield Test("climatology", None, _unusual(dataset, registry, item))


def _unusual(dataset: Dataset, registry: Registry, item: ContractField) -> str:
    """The condition of a value outside what is usual in its month."""
    found = qc.seasons(dataset, registry, item.name)
    month = f"EXTRACT(MONTH FROM {backtick(str(dataset.event_time))} + {HUE_OFFSET})"
    column = backtick(registry.code_list(dataset.qc.climatology[item.name].limits).key)
    conditions = []
    for season in found:
        months = ", ".join(str(number) for number in season.months)
        of_entity = f"{column} = {literal(season.entity)} AND " if season.entity is not None else ""
        outside = qc_sql.outside(backtick(item.name), season.low, season.high)
        conditions.append(f"({of_entity}{month} IN ({months}) AND ({outside}))")
    return " OR ".join(conditions)


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
