"""Gives a JSON value the type of its contract field, or says that it cannot: nothing is guessed or cut."""

from __future__ import annotations

from datetime import date
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation, localcontext
from typing import Any

from pipelines.contracts.logical_types import LogicalType
from pipelines.contracts.model import ContractField
from pipelines.gateway import normalise
from pipelines.gateway.normalise import Invalid

_LARGEST = {"integer": 2**31 - 1, "bigint": 2**63 - 1}
_MAX_DIGITS = 40


def coerce(field: ContractField, value: Any) -> Any:
    """Return `value` in the JSON form of the field's logical type; None stays None.

    A text that is a number or a truth value becomes one, a whole number becomes a code, a time becomes UTC, a decimal
    is rounded half up to the scale of the contract. Ranges are not looked at: an extreme value is flagged later, never
    refused.

    Raises:
        Invalid: the value is of another type; the text names the field and never repeats the value.
    """
    if value is None:
        return None
    try:
        return _coerce(field.type, value)
    except Invalid as error:
        raise Invalid(f"{field.name}: {error}") from None


def _coerce(kind: LogicalType, value: Any) -> Any:
    if kind.name == "string":
        return _string(value)
    if kind.name == "boolean":
        known = {"true": True, "false": False}.get(value.strip().lower()) if isinstance(value, str) else value
        if isinstance(known, bool):
            return known
        raise Invalid("true or false is expected")
    if kind.name in {"timestamp", "date"}:
        if not isinstance(value, str):
            raise Invalid("a text with a date or time is expected")
        return normalise.timestamp(value) if kind.name == "timestamp" else iso_date(value)
    number = _number(value)
    if kind.name in _LARGEST:
        return _integer(number, _LARGEST[kind.name])
    return number if kind.name == "double" else decimal(number, kind)


def _string(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Invalid("a text is expected")
    return normalise.text(str(value))


def _number(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise Invalid("a number is expected")
    try:
        number = Decimal(str(value).strip())
    except (InvalidOperation, ValueError):
        raise Invalid("a number is expected") from None
    return finite(number)


def finite(number: Decimal) -> Decimal:
    """A number that every engine can hold.

    Raises:
        Invalid: NaN, infinite, or with more digits than a decimal can have.
    """
    if not number.is_finite() or abs(number.adjusted()) > _MAX_DIGITS or len(number.as_tuple().digits) > _MAX_DIGITS:
        raise Invalid(f"a finite number of at most {_MAX_DIGITS} digits is expected")
    return number


def _integer(number: Decimal, largest: int) -> int:
    if number != number.to_integral_value() or not -largest - 1 <= number <= largest:
        raise Invalid(f"a whole number between {-largest - 1} and {largest} is expected")
    return int(number)


def decimal(number: Decimal, kind: LogicalType) -> Decimal:
    """A finite number rounded half up to the scale of a decimal type.

    Raises:
        Invalid: too many digits before the point.
    """
    exponent = number.as_tuple().exponent
    if isinstance(exponent, int) and -exponent > kind.scale:
        with localcontext(prec=2 * _MAX_DIGITS + 10):
            number = number.quantize(Decimal(1).scaleb(-kind.scale), ROUND_HALF_UP)
    if number and number.adjusted() >= kind.precision - kind.scale:
        raise Invalid(f"a number with at most {kind.precision - kind.scale} digits before the point is expected")
    return number


def iso_date(value: str) -> str:
    """A day as `2025-10-27`.

    Raises:
        Invalid: no such day, or another form.
    """
    try:
        return date.fromisoformat(value.strip()).isoformat()
    except ValueError:
        raise Invalid("a date is written as 2025-10-27") from None
