"""What the quality tests of a contract mean together with its code lists: limits of single entities, of the months of a
year, and who is whose neighbour.

The rows of such a list are data, as those of a register of stations: a limit that is confirmed or mended asks for no
new version of a contract, and flags what arrives from then on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry

FIELD, TEST = "field_name", "qc_test"
LOW_HIGH = ("suspect_low", "suspect_high", "fail_low", "fail_high")
LIMIT_COLUMNS = (FIELD, TEST, *LOW_HIGH, "status")
"""The columns of a code list of limits, beside the entity, its key. A test of a range reads all four; one that fails
above its limits (spike, rate_of_change) reads the high ones, one that fails below (attenuated_signal) the low ones."""
SEASON_COLUMNS = (FIELD, "month_from", "month_to", "suspect_low", "suspect_high", "status")
"""The columns of a code list of seasons, beside the entity, if its key is one."""
NEIGHBOUR_COLUMNS = ("neighbour_id", "distance_km", "status")
"""The columns of a code list of neighbours, beside the entity, its key."""
OWN_LIMITS: Mapping[str, tuple[str, ...]] = {
    "gross_range": LOW_HIGH,
    "spike": ("suspect_high", "fail_high"),
    "rate_of_change": ("suspect_high", "fail_high"),
    "attenuated_signal": ("suspect_low", "fail_low"),
}
"""The tests of which an entity may have limits of its own, and the columns that hold them."""
MONTHS = 12


@dataclass(frozen=True)
class EntityLimit:
    """The limits of one entity in one test of one field, in the field's unit; None where it has none."""

    entity: str
    field: str
    test: str
    suspect_low: Decimal | None
    suspect_high: Decimal | None
    fail_low: Decimal | None
    fail_high: Decimal | None

    @property
    def suspect(self) -> Decimal | None:
        """The one suspect limit of a test that is no range."""
        return self.suspect_high if self.suspect_low is None else self.suspect_low

    @property
    def fail(self) -> Decimal | None:
        """The one fail limit of a test that is no range."""
        return self.fail_high if self.fail_low is None else self.fail_low


@dataclass(frozen=True)
class Season:
    """What is usual in some months (1 to 12, of Huế): of one entity, or of all that have no season of their own."""

    entity: str | None
    months: tuple[int, ...]
    low: Decimal
    high: Decimal


def _number(value: Any) -> Decimal | None:
    return None if value is None else Decimal(str(value))


def entity_column(dataset: Dataset, registry: Registry) -> str | None:
    """The field that chooses limits of its own; None when no entity has any.

    Raises:
        KeyError: the contract names a code list that does not exist.
    """
    return registry.code_list(dataset.qc.limits).key if dataset.qc.limits else None


def entity_limits(dataset: Dataset, registry: Registry, *tests: str) -> tuple[EntityLimit, ...]:
    """The limits of single entities in these tests, as the code list ``qc.limits`` has them.

    Raises:
        KeyError: the contract names a code list that does not exist.
    """
    if dataset.qc.limits is None:
        return ()
    code_list = registry.code_list(dataset.qc.limits)
    return tuple(
        EntityLimit(row[code_list.key], row[FIELD], row[TEST], *(_number(row[name]) for name in LOW_HIGH))
        for row in code_list.rows
        if row[TEST] in tests
    )


def months_of(first: int, last: int) -> tuple[int, ...]:
    """The months from the first to the last, over the turn of the year if need be."""
    return tuple(sorted((first - 1 + n) % MONTHS + 1 for n in range((last - first) % MONTHS + 1)))


def seasons(dataset: Dataset, registry: Registry, field: str) -> tuple[Season, ...]:
    """The seasons of one field, as the code list of its climatology has them.

    Raises:
        KeyError: the field has no climatology, or its code list does not exist.
    """
    code_list = registry.code_list(dataset.qc.climatology[field].limits)
    by_entity = code_list.key in dataset.has
    return tuple(
        Season(
            row[code_list.key] if by_entity else None,
            months_of(row["month_from"], row["month_to"]),
            Decimal(str(row["suspect_low"])),
            Decimal(str(row["suspect_high"])),
        )
        for row in code_list.rows
        if row[FIELD] == field
    )


def fail_limits(dataset: Dataset, field: str) -> tuple[Decimal | None, Decimal | None]:
    """Outside of these a value of any entity without limits of its own fails; None is an open end."""
    item, limits = dataset.field(field), dataset.qc.gross_range.get(field)
    return limits.fail if limits and limits.fail else (item.minimum, item.maximum)


def longest_look_back(dataset: Dataset) -> timedelta:
    """How far back of a reading the stateful tests of a contract look; zero when only the reading before counts."""
    qc = dataset.qc
    windows = [t.window for tests in (qc.spike, qc.rate_of_change, qc.attenuated_signal) for t in tests.values()]
    lasting = [t.fail or t.suspect or timedelta(0) for t in qc.flat_line.values()]
    return max([*windows, *lasting], default=timedelta(0))


def limit_lists(dataset: Dataset) -> tuple[str, ...]:
    """Every code list whose limits the stream's job takes over, sorted."""
    named = {dataset.qc.limits, *(test.limits for test in dataset.qc.climatology.values())}
    return tuple(sorted(name for name in named if name))
