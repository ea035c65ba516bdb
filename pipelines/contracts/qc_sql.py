"""The gross range of a field as SQL conditions that Flink, Trino and DuckDB read alike; the caller says how names are
quoted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal

from pipelines.contracts import qc
from pipelines.contracts.model import ContractField, Dataset
from pipelines.contracts.names import literal
from pipelines.contracts.registry import Registry

Quote = Callable[[str], str]


def outside(column: str, low: Decimal | None, high: Decimal | None) -> str | None:
    """The condition of a value outside two limits, one of which may be open; None when both are."""
    parts = [f"{column} < {literal(low)}"] if low is not None else []
    parts += [f"{column} > {literal(high)}"] if high is not None else []
    return " OR ".join(parts) or None


def gross_range(
    dataset: Dataset, registry: Registry, item: ContractField, quote: Quote
) -> tuple[str | None, str | None]:
    """What fails and what is suspect, with the limits of single entities; None where there is none.

    Raises:
        KeyError: the contract names a code list of limits that does not exist.
    """
    column, usual = quote(item.name), dataset.qc.gross_range.get(item.name)
    fail = outside(column, *qc.fail_limits(dataset, item.name))
    suspect = outside(column, *usual.suspect) if usual else None
    own = [limit for limit in qc.entity_limits(dataset, registry, "gross_range") if limit.field == item.name]
    if not own:
        return fail, suspect
    entity = quote(str(qc.entity_column(dataset, registry)))
    fails = {limit.entity: outside(column, limit.fail_low, limit.fail_high) for limit in own}
    suspects = {limit.entity: outside(column, limit.suspect_low, limit.suspect_high) for limit in own}
    return _by_entity(entity, fails, fail), _by_entity(entity, suspects, suspect)


def _by_entity(column: str, own: Mapping[str, str | None], common: str | None) -> str | None:
    """A condition that is another one for some entities; one without limits of its own has those of all."""
    cases = " ".join(f"WHEN {literal(entity)} THEN {sql}" for entity, sql in sorted(own.items()) if sql)
    return f"CASE {column} {cases} ELSE {common or 'FALSE'} END" if cases else common
