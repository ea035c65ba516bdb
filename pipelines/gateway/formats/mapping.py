"""Translates a message of another format into a contract's own fields, as the aliases of fields.yaml say.

Nothing here knows a dataset: paths, units, periods and constants are declared; what a format adds is how it wraps a
value (see `ngsi` and `sensorthings`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation, localcontext
from typing import Any, NamedTuple

from pipelines.contracts.model import Alias, ContractField, Dataset
from pipelines.contracts.units import UnknownUnit, factor

_DIGITS = 60


class Untranslatable(ValueError):
    """A message that cannot be said in the contract's fields; the text names the field and repeats no value."""


class Found(NamedTuple):
    """What stands at a path: the bare value, and the unit that the message itself names for it."""

    value: Any
    unit: str | None = None


Look = Callable[[tuple[str, ...]], Found | None]
"""Finds what stands at a path of the message; None when there is nothing."""


@dataclass(frozen=True)
class _Rule:
    name: str
    paths: tuple[tuple[str, ...], ...]
    alias: Alias
    item: ContractField


class Translation:
    """The aliases of one dataset in one format, ready to be applied to messages."""

    def __init__(self, dataset: Dataset, form: str) -> None:
        """Take the aliases of `form`; a personal field gets its clear value under the name that is tokenised."""
        self._rules = tuple(_rules(dataset, form))
        self.heads = frozenset(path[0] for rule in self._rules for path in rule.paths)

    def apply(self, look: Look, units: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The fields that a message has; `units` are those that are known for it besides, by field.

        Raises:
            Untranslatable: a unit that cannot be converted, or a period where an instant is meant.
        """
        body: dict[str, Any] = {}
        for rule in self._rules:
            if rule.alias.value is not None:
                body[rule.name] = rule.alias.value
                continue
            try:
                found = next((f for f in map(look, rule.paths) if f is not None), None)
                if found is not None:
                    body[rule.name] = _value(rule, found.value, found.unit or (units or {}).get(rule.name))
            except (UnknownUnit, Untranslatable) as error:
                raise Untranslatable(f"{rule.name}: {error}") from None
        return body


def _rules(dataset: Dataset, form: str) -> Iterator[_Rule]:
    for item in dataset.fields:
        if form in item.aliases:
            alias = item.aliases[form]
            yield _Rule(item.source_name, tuple(tuple(path.split(".")) for path in alias.path), alias, item)


def _value(rule: _Rule, value: Any, unit: str | None) -> Any:
    if rule.item.type.name == "timestamp" and isinstance(value, str) and "/" in value:
        return _end(value, rule.alias.interval)
    wanted = rule.item.unit
    given = unit or rule.alias.unit
    if given is None or wanted is None or not rule.item.type.is_numeric:
        return value
    scale = factor(given, wanted)
    if scale == 1 or value is None:
        return value
    return _scaled(value, scale.numerator, scale.denominator)


def _scaled(value: Any, numerator: int, denominator: int) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise Untranslatable("a number is expected")
    try:
        with localcontext(prec=_DIGITS):
            number = Decimal(str(value).strip())
            if not number.is_finite() or abs(number.adjusted()) > _DIGITS:
                raise Untranslatable("a finite number is expected")
            return (number * numerator / denominator).normalize()
    except InvalidOperation:
        raise Untranslatable("a number is expected") from None


def _end(value: str, interval: str | None) -> str:
    """The end of an ISO 8601 interval that is meant."""
    if interval is None:
        raise Untranslatable("a period is given where an instant is meant")
    start, _, end = value.partition("/")
    return start if interval == "start" else end
