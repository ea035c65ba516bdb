"""How a drawn column is held while it is drawn: numbers in numpy, one storage per logical type, until Arrow takes it.

Storage: text as Python strings, booleans as bool, whole numbers as int64, decimals as int64 of their smallest unit,
doubles as float64, days as int64 since 1970-01-01, instants as int64 microseconds since then (UTC).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.contracts.logical_types import LogicalType
from pipelines.contracts.model import ContractField

Array = np.ndarray[Any, np.dtype[Any]]

DAY_US = 86_400_000_000
_EPOCH_DAY = date(1970, 1, 1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WHOLE = frozenset({"integer", "bigint"})
_DOUBLE_DIGITS, _RATIO_DIGITS = 3, 4
_LARGEST = {"integer": 2**31 - 1, "bigint": 2**62}


@dataclass(frozen=True)
class Column:
    """Drawn values of one field: `values` in the storage of `kind` (all rows), `known` is False where NULL stands."""

    kind: LogicalType
    values: Array
    known: Array

    @property
    def arrow(self) -> pa.Array[Any]:
        """The Arrow array of the contract's type."""
        missing = ~self.known
        if self.kind.name == "decimal":
            return _decimals(self.values, self.known, self.kind)
        if self.kind.name == "date":
            return pa.array(self.values.astype(np.int32), pa.int32(), mask=missing).cast(pa.date32())
        if self.kind.name == "timestamp":
            return pa.array(self.values, pa.int64(), mask=missing).cast(self.kind.arrow)
        return pa.array(self.values, self.kind.arrow, mask=missing)

    def is_text(self, text: str) -> Array:
        """Where the known value is the one that a contract writes as `text`.

        Raises:
            ValueError: the text is no value of this type.
        """
        found: Array = (self.values == parse_text(self.kind, text)) & self.known
        return found

    def take(self, rows: Array) -> Column:
        """The column with these rows, in their order."""
        return Column(self.kind, self.values[rows], self.known[rows])


def parse_text(kind: LogicalType, text: str) -> Any:
    """The storage of a value as a contract writes it: `true`, `12.5`, `2025-01-31`, `2025-01-31T08:00:00Z`.

    Raises:
        ValueError: the text is no value of this type.
    """
    if kind.name == "string":
        return text
    if kind.name == "boolean":
        known = {"true": True, "false": False}.get(text.strip().lower())
        if known is None:
            raise ValueError(f"{text!r} is neither true nor false")
        return known
    if kind.name == "date":
        return (date.fromisoformat(text) - _EPOCH_DAY).days
    if kind.name == "timestamp":
        moment = datetime.fromisoformat(text)
        return instant_us(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    try:
        number = Decimal(text)
    except ArithmeticError:
        raise ValueError(f"{text!r} is no number") from None
    return number_storage(kind, number)


def number_storage(kind: LogicalType, number: Decimal) -> int | float:
    """One exact number in the storage of a numeric type, rounded half up to its unit."""
    if kind.name == "double":
        return float(number)
    unit = number.scaleb(kind.scale or 0) if kind.name == "decimal" else number
    return int(unit.to_integral_value(ROUND_HALF_UP))


def instant_us(moment: datetime) -> int:
    """An aware instant as microseconds since 1970 (UTC)."""
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def instant(microseconds: int) -> datetime:
    """The aware instant (UTC) of a storage value."""
    return _EPOCH + timedelta(microseconds=microseconds)


def day_number(day: date) -> int:
    """A day as the number of days since 1970-01-01."""
    return (day - _EPOCH_DAY).days


def storage_type(kind: LogicalType) -> type:
    """The numpy type that holds a logical type."""
    return {"string": object, "boolean": bool, "double": float}.get(kind.name, np.int64)


def storage(kind: LogicalType, items: list[Any]) -> Array:
    """An array of storage values; an empty one keeps its type."""
    return np.array(items, dtype=storage_type(kind))


def from_arrow(kind: LogicalType, array: pa.Array[Any]) -> Array:
    """The known values of an Arrow array in storage, in order."""
    known = array.drop_null()
    if kind.name == "decimal":
        return storage(kind, [number_storage(kind, Decimal(str(value))) for value in known.to_pylist()])
    if kind.name == "date":
        known = known.cast(pa.int32())
    if kind.name == "timestamp":
        known = known.cast(pa.int64())
    return np.asarray(known.to_numpy(zero_copy_only=False), dtype=storage_type(kind))


def numbers(column: Column) -> Array:
    """The values of a numeric column as float64 in the unit of the field."""
    scale = 10.0 ** (column.kind.scale or 0) if column.kind.name == "decimal" else 1.0
    return column.values.astype(float) / scale


def from_numbers(field: ContractField, values: Array) -> Array:
    """Bring float64 numbers into the storage of a field: rounded to its unit, cut off at its range.

    A double keeps three decimals, a ratio between 0 and 1 four: more would only pretend precision.
    """
    kind = field.type
    if kind.name == "double":
        return clip(field, np.round(values, double_digits(field)))
    unit = 10.0 ** (kind.scale or 0) if kind.name == "decimal" else 1.0
    # Beyond 2^62 int64 overflows silently; no field of the city needs it.
    return clip(field, np.rint(np.clip(values * unit, -(2.0**62), 2.0**62)).astype(np.int64))


def clip(field: ContractField, values: Array) -> Array:
    """Cut storage values off at the field's minimum and maximum, and at what its type can hold."""
    low, high = limits(field)
    return values if low is None and high is None else np.clip(values, low, high)


def limits(field: ContractField) -> tuple[Any, Any]:
    """The smallest and largest storage value of a numeric field; None where there is no limit."""
    kind = field.type
    if not kind.is_numeric:
        return None, None
    low = None if field.minimum is None else number_storage(kind, field.minimum)
    high = None if field.maximum is None else number_storage(kind, field.maximum)
    largest = _LARGEST.get(kind.name, 10 ** min(kind.precision or 18, 18) - 1 if kind.name == "decimal" else None)
    if largest is not None:
        low, high = -largest if low is None else low, largest if high is None else high
    return low, high


def double_digits(field: ContractField) -> int:
    """Decimals that a drawn double keeps."""
    return _RATIO_DIGITS if field.maximum is not None and field.maximum <= 1 else _DOUBLE_DIGITS


def smallest_step(field: ContractField) -> Any:
    """The smallest difference between two drawn values of a field, in storage: a unit, a day, a second."""
    if field.type.name == "double":
        return 10.0 ** -double_digits(field)
    return 1_000_000 if field.type.name == "timestamp" else 1


def aligned(left: Column, right: Column) -> tuple[Array, Array]:
    """The values of two columns in a common unit, so that they compare: days with instants, decimals with numbers."""
    if left.kind == right.kind:
        return left.values, right.values
    times = {"date", "timestamp"}
    if left.kind.name in times and right.kind.name in times:
        return _instants(left), _instants(right)
    return numbers(left), numbers(right)


def bring(field: ContractField, source: Column, *, up: bool) -> Array:
    """The values of another column in the storage of `field`, rounded up or down where the units differ."""
    kind = field.type
    if kind == source.kind:
        return source.values
    if kind.name == "timestamp":
        return _instants(source)
    if kind.name == "date":
        return -(-source.values // DAY_US) if up else source.values // DAY_US
    factor = 10.0 ** (double_digits(field) if kind.name == "double" else (kind.scale or 0))
    # The nearest multiple first: 0.3 × 10 is a little more than 3, which rounding up would make 4.
    scaled = np.round(numbers(source) * factor, 6)
    whole = np.ceil(scaled) if up else np.floor(scaled)
    return whole / factor if kind.name == "double" else whole.astype(np.int64)


def is_whole(kind: LogicalType) -> bool:
    """Whether a type counts in whole numbers."""
    return kind.name in _WHOLE


def _instants(column: Column) -> Array:
    values: Array = column.values * DAY_US if column.kind.name == "date" else column.values
    return values


def _decimals(values: Array, known: Array, kind: LogicalType) -> pa.Array[Any]:
    """Decimals from int64 units without a Python object per row: 16 little-endian bytes, sign-extended."""
    units = np.ascontiguousarray(values, dtype="<i8")
    words = np.empty((len(units), 2), dtype="<i8")
    words[:, 0], words[:, 1] = units, units >> 63
    validity = pa.py_buffer(np.packbits(known, bitorder="little").tobytes())
    return pa.Array.from_buffers(kind.arrow, len(units), [validity, pa.py_buffer(words.tobytes())])
