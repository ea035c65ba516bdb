"""What a validator is and what it finds; the validators themselves stand in `validators` and `format_rules`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry


@dataclass(frozen=True)
class Finding:
    """What one validator found: the sentence, where, and what to do."""

    message: str
    pointer: tuple[str | int, ...] = ()
    hint: str = ""


Validator = Callable[[Dataset, Registry], Iterator[Finding]]
VALIDATORS: dict[str, Validator] = {}


def validator(function: Validator) -> Validator:
    """Register a validator under its function name."""
    VALIDATORS[function.__name__] = function
    return function


def field_pointer(dataset: Dataset, name: str) -> tuple[str | int, ...]:
    """Where a field stands in its contract's file."""
    for index, item in enumerate(dataset.fields):
        if item.name == name:
            return ("fields", index)
    return ("fields",)
