"""What a validator is and where it points; the validators themselves stand in `validators`,
`format_rules` and `qc_validators`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pipelines.contracts.errors import Finding
from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry

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
