"""Whether what a condition compares a field with is of the field's type, and a code of its list."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

from pipelines.contracts.errors import Finding
from pipelines.contracts.model import CodeList, ContractField, Dataset
from pipelines.contracts.registry import Registry
from pipelines.contracts.scenario import Change, Condition, Delta, Frozen, Operand, Threshold

_ORDERED = ("<", "<=", ">", ">=")
_SHOWN = 40

Place = tuple[str | int, ...]
"""The pointer of a value in the scenario's file."""


def value_findings(condition: Condition, dataset: Dataset, registry: Registry, at: Place) -> Iterator[Finding]:
    """What one condition compares wrongly; a field that does not exist is another validator's finding."""
    for name, values in condition.where.items():
        if name in dataset.has:
            yield from _of_type(dataset.field(name), values, registry, (*at, "where", name), exact=True)
    field = getattr(condition, "field", None)
    if field in dataset.has:
        yield from _form(condition, dataset.field(str(field)), registry, at)


def listed(codes: Sequence[str]) -> str:
    """The hint that names the codes there are, the first of many."""
    shown = ", ".join(codes[:_SHOWN])
    return f"allowed: {shown}{f' … ({len(codes)})' if len(codes) > _SHOWN else ''}"


def _form(condition: Condition, item: ContractField, registry: Registry, at: Place) -> Iterator[Finding]:
    if isinstance(condition, Delta | Frozen) and not item.type.is_numeric:
        numeric = "a form for numbers; for codes there are threshold and change"
        yield Finding(
            f"{type(condition).__name__.lower()} of {item.name!r}, which is a {item.type}", (*at, "field"), numeric
        )
    if isinstance(condition, Change):
        for key in ("before", "to"):
            yield from _of_type(item, getattr(condition, key), registry, (*at, key), exact=True)
        if item.type.is_numeric and item.type.name not in {"integer", "bigint"}:
            yield Finding(
                f"a change of {item.name!r}, which is a {item.type}", (*at, "field"), "use delta for a measure"
            )
    if not isinstance(condition, Threshold):
        return
    if condition.operator in _ORDERED and not item.type.is_numeric:
        yield Finding(
            f"{condition.operator} orders numbers, but {item.name!r} is a {item.type}",
            (*at, "operator"),
            "allowed: ==, !=",
        )
    if item.type.is_numeric and len(condition.value) > 1:
        yield Finding(f"{item.name!r} is compared with several numbers", (*at, "value"), "write one; for codes several")
    yield from _of_type(item, condition.value, registry, (*at, "value"), exact=False)
    yield from _hysteresis(condition, item, at)


def _hysteresis(condition: Threshold, item: ContractField, at: Place) -> Iterator[Finding]:
    if condition.clear_value is None or not isinstance(condition.value[0], Decimal):
        if condition.clear_value is not None:
            yield Finding("a clear value is for a number that is ordered", (*at, "clear_value"), "remove it")
        return
    rises = condition.operator in {">", ">="}
    is_right = condition.clear_value <= condition.value[0] if rises else condition.clear_value >= condition.value[0]
    if condition.operator not in _ORDERED or not is_right:
        side = "below" if rises else "above"
        message = f"clear value {condition.clear_value} of {item.name!r} is on the wrong side of {condition.value[0]}"
        yield Finding(message, (*at, "clear_value"), f"with {condition.operator} it lies {side} the value, or is equal")


def _of_type(
    item: ContractField, values: Sequence[Operand], registry: Registry, pointer: Place, *, exact: bool
) -> Iterator[Finding]:
    kind = item.type.name
    if kind in {"timestamp", "date"} or (exact and kind in {"decimal", "double"}):
        yield Finding(f"{item.name!r} is a {item.type}: it has no codes to compare", pointer, "use another field")
        return
    codes = _list_of(item, registry)
    for value in values:
        if kind == "boolean" and not isinstance(value, bool):
            yield Finding(f"{item.name!r} is true or false, not {_shown(value)}", pointer, "allowed: true, false")
        elif item.type.is_numeric and not _is_number(value, whole=kind in {"integer", "bigint"}):
            yield Finding(f"{item.name!r} is of type {item.type}, not {_shown(value)}", pointer, "write a number")
        elif kind == "string" and not isinstance(value, str):
            yield Finding(f"{item.name!r} is a text, not {_shown(value)}", pointer, "put it into quotes")
        elif codes is not None and str(value) not in codes.codes:
            message = f"{_shown(value)} is no code of {codes.id}"
            yield Finding(message, pointer, listed(codes.codes))


def _list_of(item: ContractField, registry: Registry) -> CodeList | None:
    return next((found for found in registry.code_lists if found.id == item.code_list), None)


def _is_number(value: Operand, *, whole: bool) -> bool:
    return isinstance(value, Decimal) and (not whole or value == value.to_integral_value())


def _shown(value: Operand) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value) if isinstance(value, Decimal) else repr(value)
