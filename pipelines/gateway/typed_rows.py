"""Seals native records of open datasets in bulk: what is typed as the contract says needs no second look.

A record that has the contract's fields and nothing else, each of its own JSON type, is decoded into a typed row and
written back, in about a tenth of the time of :func:`pipelines.gateway.envelope.seal`. Everything unusual (another
type, an unknown key, a missing key field, half a surrogate) is left to `seal`; a property test holds that both give the
same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import lru_cache, partial
from typing import Annotated, Any

import msgspec

from pipelines.contracts.logical_types import LogicalType
from pipelines.contracts.model import Dataset
from pipelines.gateway import normalise
from pipelines.gateway.envelope import is_protected
from pipelines.gateway.fields import decimal, finite, iso_date
from pipelines.gateway.normalise import Invalid

_TYPES: dict[str, Any] = {
    "string": str,
    "boolean": bool,
    "integer": Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)],
    "bigint": Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)],
    "double": Decimal,
    "decimal": Decimal,
    "timestamp": str,
    "date": str,
}
_REVISION = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
_utc = lru_cache(maxsize=8192)(normalise.timestamp)


class _Unusual(Exception):
    """A row that the general way has to look at."""


class TypedRows:
    """The typed rows of one dataset and origin; compiled once."""

    def __init__(self, dataset: Dataset, origin: str) -> None:
        """Compile the rows of an open stream.

        Raises:
            ValueError: the dataset may hold personal values; each of its records is looked at.
        """
        if is_protected(dataset) or dataset.stream is None:
            raise ValueError(f"{dataset.id} is not an open stream")
        self._origin = origin
        needed = {*dataset.key, dataset.event_time}
        struct = [(f.name, _TYPES[f.type.name] | None | msgspec.UnsetType, msgspec.UNSET) for f in dataset.fields]
        extra: list[Any] = [("origin", Any, None), ("revision", _REVISION | None, 0)]
        row = msgspec.defstruct(f"{dataset.id}_row", [*struct, *extra], forbid_unknown_fields=True, gc=False)
        self._decode = msgspec.json.Decoder(row).decode
        self._encode = msgspec.json.Encoder(decimal_format="number").encode
        self._fields = tuple((f.name, _check(f.type), f.name in needed) for f in dataset.fields)
        self._key = dataset.entity_key
        self._device = dataset.stream.device

    def seal(self, raws: Sequence[bytes]) -> tuple[list[tuple[bytes, bytes] | None], list[str | None]]:
        """Key and value of each record, None for those that the general way has to seal; and the devices they name."""
        pairs: list[tuple[bytes, bytes] | None] = []
        devices: list[str | None] = []
        for raw in raws:
            pair, device = None, None
            try:
                row = self._decode(raw)
                pair, device = self._row(row)
            except (msgspec.DecodeError, _Unusual, Invalid, UnicodeError, RecursionError):
                pass
            pairs.append(pair)
            devices.append(device)
        return pairs, devices

    def _row(self, row: Any) -> tuple[tuple[bytes, bytes], str | None]:
        for name, check, is_needed in self._fields:
            value = getattr(row, name)
            if value is msgspec.UNSET or value is None:
                if is_needed:
                    raise _Unusual
            elif check is not None:
                checked = check(value)
                if checked is not value:
                    setattr(row, name, checked)
        row.origin = self._origin
        if row.revision is None:
            row.revision = 0
        parts = [str(getattr(row, name)) for name in self._key]
        key = parts[0] if len(parts) == 1 else "|".join(parts)
        device = getattr(row, self._device) if self._device is not None else None
        return (key.encode(), self._encode(row)), device


def _check(kind: LogicalType) -> Callable[[Any], Any] | None:
    """What a decoded value of a type has still to pass; None when its JSON type says it all."""
    match kind.name:
        case "string":
            return _text
        case "timestamp":
            return _utc
        case "date":
            return iso_date
        case "double":
            return _number
        case "decimal":
            return partial(_decimal, kind.precision - kind.scale, -kind.scale, kind)
        case _:
            return None


def _text(value: str) -> str:
    if not value:
        # A key or an event time that is empty is missing; the general way knows which they are.
        raise _Unusual
    return value if value.isascii() else normalise.text(value)


def _decimal(whole: int, exponent: int, kind: LogicalType, value: Decimal) -> Decimal:
    if value:
        _, digits, scale = value.as_tuple()
        # Of the right form already: nothing to round, and not too long.
        if isinstance(scale, int) and exponent <= scale <= 0 and len(digits) + scale <= whole:
            return value
    return decimal(_number(value), kind)


def _number(value: Decimal) -> Decimal:
    # JSON's -0 is a 0 to the general way, and -0 to this one.
    if not value and value.is_signed():
        raise _Unusual
    return finite(value)
