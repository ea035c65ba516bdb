"""What every schema file is built from: the closed base class, names, durations, exact numbers."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer

from pipelines.contracts.names import identifier

_DURATION = re.compile(r"(\d+)\s*(s|min|h|d|months?|years?)\Z")
_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86_400, "month": 30 * 86_400, "year": 365 * 86_400}


def parse_duration(value: object) -> timedelta:
    """Parse ``10 min``, ``24 h``, ``30 d``, ``10 years`` (a month counts 30, a year 365 days).

    Raises:
        ValueError: another form.
    """
    if isinstance(value, timedelta):
        return value
    match = _DURATION.match(str(value))
    if not match:
        raise ValueError(f"{value!r} is not a duration; write a whole number and s, min, h, d, months or years")
    unit = match[2] if match[2] in {"s", "min", "h", "d"} else match[2].rstrip("s")
    return timedelta(seconds=int(match[1]) * _SECONDS[unit])


def _seconds(value: timedelta) -> str:
    return f"{int(value.total_seconds())} s"


def _decimal(value: object) -> Decimal:
    """Read a limit exactly: through text, because 0.1 as a float is not 0.1."""
    return value if isinstance(value, Decimal) else Decimal(str(value))


Duration = Annotated[timedelta, BeforeValidator(parse_duration), PlainSerializer(_seconds)]
Exact = Annotated[Decimal, BeforeValidator(_decimal)]
Name = Annotated[str, BeforeValidator(lambda v: identifier(str(v)))]


class Model(BaseModel):
    """Base of everything in a schema file: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)
