"""Validators of the quality tests of a contract and of the code lists that they read."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from pipelines.contracts import qc
from pipelines.contracts.errors import Finding
from pipelines.contracts.findings import validator
from pipelines.contracts.model import KEYED_JOBS, STATEFUL_QC, CodeList, Dataset, Range, Windowed
from pipelines.contracts.registry import Registry

MAX_READINGS = 300
"""So many readings of an entity the tests of a contract may look back, at its cadence: state stays some kilobytes."""
MIN_READINGS = 3
"""The window of a spike test holds at least so many: the median of fewer says nothing."""
_HOLDS_VALUES = ("double", "decimal", "integer", "bigint")


@validator
def qc_belongs_to_a_stream(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """Only a stream has quality tests: they run in its job. A table is judged by its rules."""
    if dataset.stream is None and dataset.qc.model_fields_set:
        yield Finding("has `qc`, but is no stream", ("qc",), "write rules under `quality`, or a range at the field")


@validator
def qc_tests_name_measures(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """A quality test speaks of a number of the dataset that is no key, whose range is known."""
    for test, name, _ in dataset.qc.by_field():
        pointer = ("qc", test, name)
        if name not in dataset.has:
            yield Finding(f"{test} names the absent field {name!r}", pointer)
        elif dataset.field(name).type.name not in _HOLDS_VALUES or name in dataset.key:
            yield Finding(f"{test} names {name!r}, which is no measure", pointer, "test a number that is no key")
        elif qc.fail_limits(dataset, name) == (None, None) and name not in dataset.qc.gross_range:
            hint = f"write `gross_range: {{{name}: {{suspect: [low, high]}}}}`: it comes before any other test"
            yield Finding(f"{test} tests {name!r}, which has no range", pointer, hint)


@validator
def qc_ranges_nest(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """What is suspect lies outside what is usual and inside what fails; what fails lies inside what is possible."""
    for name, limits in dataset.qc.gross_range.items():
        if name in dataset.has:
            for problem in _nesting(dataset, name, limits.suspect, limits.fail):
                yield Finding(problem, ("qc", "gross_range", name), "what is usual lies inside what is possible")
    if dataset.qc.limits is None or _broken(dataset, registry):
        return
    for one in qc.entity_limits(dataset, registry, "gross_range"):
        if one.field not in dataset.qc.gross_range:
            continue
        common = dataset.qc.gross_range[one.field]
        suspect = _pair(one.suspect_low, one.suspect_high) or common.suspect
        fail = _pair(one.fail_low, one.fail_high) or common.fail
        for problem in _nesting(dataset, one.field, suspect, fail):
            yield Finding(f"{problem} (limits of {one.entity})", ("qc", "limits"))


def _pair(low: Decimal | None, high: Decimal | None) -> tuple[Decimal, Decimal] | None:
    return None if low is None or high is None else (low, high)


def _nesting(
    dataset: Dataset, name: str, suspect: tuple[Decimal, Decimal], fail: tuple[Decimal, Decimal] | None
) -> Iterator[str]:
    item = dataset.field(name)
    if suspect[0] > suspect[1]:
        yield f"gross_range of {name!r} is empty: {suspect[0]} … {suspect[1]}"
    inner = suspect
    for what, outer in (("what fails", fail), ("what is possible", (item.minimum, item.maximum))):
        low, high = outer or (None, None)
        if (low is not None and inner[0] < low) or (high is not None and inner[1] > high):
            yield f"gross_range of {name!r} is wider than {what}"
        inner = fail or inner


@validator
def qc_state_needs_a_keyed_job(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """A test that needs the readings before is only for a job that keeps state."""
    if dataset.stream is None or dataset.is_keyed:
        return
    for test in STATEFUL_QC:
        if getattr(dataset.qc, test):
            hint = f"streams of {', '.join(KEYED_JOBS)} have such a job; here: gross_range, climatology, neighbour"
            yield Finding(f"declares {test}, but its job {dataset.job!r} keeps no state", ("qc", test), hint)


@validator
def qc_windows_are_bounded(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """Tests look back over enough readings to say something, and over no more than state should hold."""
    if dataset.stream is None:
        return
    cadence, longest = dataset.stream.cadence, qc.longest_look_back(dataset)
    if longest > MAX_READINGS * cadence:
        message = f"its tests look {longest} back, which is {longest // cadence} readings of {cadence}"
        yield Finding(message, ("qc",), f"look back at most {MAX_READINGS} readings, {MAX_READINGS * cadence} here")
    for test, name, limits in dataset.qc.by_field():
        least = (MIN_READINGS if test == "spike" else 1) * cadence
        if isinstance(limits, Windowed) and limits.window < least:
            message = f"the window of {test} of {name!r} holds fewer than {least // cadence} readings"
            yield Finding(message, ("qc", test, name, "window"), f"write at least {least}")
    if dataset.qc.gap and dataset.qc.gap.suspect and dataset.qc.gap.suspect < cadence:
        yield Finding("a gap is shorter than the cadence", ("qc", "gap"), f"write more than {cadence}")


@validator
def qc_limits_have_the_digits_of_their_field(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """A limit has no more digits after the point than the values that it is compared with."""
    for test, name, limits in dataset.qc.by_field():
        if name not in dataset.has or dataset.field(name).type.name == "double" or isinstance(limits, Range):
            continue
        scale = dataset.field(name).type.scale or 0
        values = [getattr(limits, part, None) for part in ("suspect", "fail", "tolerance")]
        values += getattr(limits, "exempt", ())
        for value in values:
            if isinstance(value, Decimal) and -int(value.normalize().as_tuple().exponent) > scale:
                message = f"{test} of {name!r} compares with {value}, the field has {scale} digits after the point"
                yield Finding(message, ("qc", test, name))


@validator
def qc_code_lists_hold_what_tests_need(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """The code lists of limits, seasons and neighbours exist, have their columns, and speak of known entities."""
    yield from _broken(dataset, registry)


def _broken(dataset: Dataset, registry: Registry) -> tuple[Finding, ...]:
    declared: list[tuple[tuple[str, ...], str | None, tuple[str, ...]]]
    declared = [(("qc", "limits"), dataset.qc.limits, qc.LIMIT_COLUMNS)]
    declared += [(("qc", "climatology", n), c.limits, qc.SEASON_COLUMNS) for n, c in dataset.qc.climatology.items()]
    declared += [(("qc", "neighbour", n), c.neighbours, qc.NEIGHBOUR_COLUMNS) for n, c in dataset.qc.neighbour.items()]
    known = {code_list.id: code_list for code_list in registry.code_lists}
    found: list[Finding] = []
    for pointer, name, columns in declared:
        if name is None:
            continue
        if name not in known:
            hint = f"write schemas/codelists/{name}.yaml with the columns {', '.join(columns)}"
            found.append(Finding(f"code list {name!r} does not exist", pointer, hint))
            continue
        code_list = known[name]
        missing = [column for column in columns if column not in {c.name for c in code_list.columns}]
        if missing:
            found.append(Finding(f"code list {name!r} has no column {', '.join(missing)}", pointer))
        elif code_list.key not in (*dataset.entity_key, qc.FIELD if columns is qc.SEASON_COLUMNS else ""):
            hint = f"its key is one of: {', '.join(dataset.entity_key)}"
            found.append(Finding(f"code list {name!r} is by {code_list.key!r}, no part of the entity", pointer, hint))
        else:
            unknown = _unknown_entities(dataset, registry, code_list)
            found += [
                Finding(f"{name!r} has limits of the unknown {code_list.key} {one!r}", pointer) for one in unknown
            ]
            found += [Finding(f"{name!r}: {problem}", pointer) for problem in _problems(dataset, code_list, columns)]
    return tuple(found)


def _unknown_entities(dataset: Dataset, registry: Registry, code_list: CodeList) -> list[str]:
    """Entities of the list, neighbours too, that are no codes of their field; everything is known of a free field."""
    if code_list.key not in dataset.has:
        return []
    register = dataset.field(code_list.key).code_list
    if register is None or register not in {one.id for one in registry.code_lists}:
        return []
    codes = set(registry.code_list(register).codes)
    named = {str(row[name]) for row in code_list.rows for name in (code_list.key, "neighbour_id") if name in row}
    return sorted(named - codes)


def _problems(dataset: Dataset, code_list: CodeList, columns: tuple[str, ...]) -> Iterator[str]:
    if columns is qc.LIMIT_COLUMNS:
        yield from _limit_problems(dataset, code_list)
    elif columns is qc.SEASON_COLUMNS:
        yield from _season_problems(code_list)
    else:
        for row in code_list.rows:
            if row[code_list.key] == row["neighbour_id"]:
                yield f"{row['neighbour_id']} is its own neighbour"


def _limit_problems(dataset: Dataset, code_list: CodeList) -> Iterator[str]:
    seen: set[tuple[str, str, str]] = set()
    for row in code_list.rows:
        entity, field, test = row[code_list.key], row[qc.FIELD], row[qc.TEST]
        who = f"{test} of {field} at {entity}"
        if (entity, field, test) in seen:
            yield f"{who} stands twice"
        seen.add((entity, field, test))
        own = qc.OWN_LIMITS.get(test)
        if own is None:
            yield f"{who}: an entity has no limits of its own there; allowed: {', '.join(qc.OWN_LIMITS)}"
            continue
        if field not in getattr(dataset.qc, test):
            yield f"{who}: {dataset.id} does not declare this test"
        values = {name: Decimal(row[name]) for name in qc.LOW_HIGH if row[name] is not None}
        if not values or set(values) - set(own):
            yield f"{who}: give {', '.join(own)}, and no other limit"
        elif test != "gross_range" and min(values.values()) <= 0:
            yield f"{who}: limits are above 0"
        elif test == "gross_range" and len(values) % 2:
            yield f"{who}: a range has two ends"


def _season_problems(code_list: CodeList) -> Iterator[str]:
    seen: set[tuple[str, str, int]] = set()
    for row in code_list.rows:
        entity, field = str(row[code_list.key]), row[qc.FIELD]
        first, last = row["month_from"], row["month_to"]
        if not (1 <= first <= qc.MONTHS and 1 <= last <= qc.MONTHS):
            yield f"months {first} to {last} of {field}: a month is 1 to 12"
            continue
        if Decimal(row["suspect_low"]) >= Decimal(row["suspect_high"]):
            yield f"months {first} to {last} of {field}: the range is empty"
        for month in qc.months_of(first, last):
            if (entity, field, month) in seen:
                yield f"month {month} of {field} stands twice"
            seen.add((entity, field, month))
