"""Where the facts of a dataset belong in a scenario: which series they are of, and in which group they are judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry
from pipelines.contracts.scenario import CITY, ENTITY, WARD, Condition, Scenario, Scope

WARD_FIELD = "ward_code"
NOWHERE = timedelta(0)


@dataclass(frozen=True)
class Place:
    """The values of ``fields`` joined by ``|``, looked up in ``codes`` when there are any; no field: the city."""

    fields: tuple[str, ...]
    codes: Mapping[str, str] | None = None


def is_event(dataset: Dataset) -> bool:
    """Whether every fact is a thing of its own (a fire, a violation) and not a reading in a series."""
    return dataset.event_time not in dataset.key


def ward(dataset: Dataset, registry: Registry) -> Place | None:
    """How a fact finds its ward: its own field, else the code list of the station, camera … that it names."""
    if WARD_FIELD in dataset.has:
        return Place((WARD_FIELD,))
    for name in (*dataset.entity_key, *(item.name for item in dataset.fields)):
        listed = dataset.field(name).code_list
        wards = _column(registry, listed, WARD_FIELD) if listed else None
        if wards:
            return Place((name,), wards)
    return None


def group(scope: Scope, dataset: Dataset, registry: Registry) -> Place | None:
    """How a fact finds its group; None when the dataset has no such place."""
    if scope.by == CITY:
        return Place(())
    if scope.by == WARD:
        return ward(dataset, registry)
    if scope.by == ENTITY:
        return Place(dataset.entity_key)
    return Place((scope.by,)) if scope.by in dataset.has else None


def series(scope: Scope, condition: Condition, dataset: Dataset) -> tuple[str, ...] | None:
    """The fields that tell one series of a group from another; None when all facts of a group are one series.

    The events of a group are one series, in which the newest counts, unless several of them are asked for.
    """
    if scope.by == ENTITY or (is_event(dataset) and condition.at_least == 1):
        return None
    return None if dataset.entity_key == (scope.by,) else dataset.entity_key


def is_grouped(scenario: Scenario, registry: Registry) -> bool:
    """Whether facts of several series are judged together, so that it matters for how long one counts."""
    if len(scenario.trigger.conditions) > 1:
        return True
    condition = scenario.trigger.conditions[0]
    return series(scenario.scope, condition, registry.dataset(condition.dataset)) is not None


def is_sequenced(scenario: Scenario, registry: Registry) -> bool:
    """Whether the facts of a group come from several partitions: then they are judged in the order of the arrival
    clock, and not as they are read."""
    datasets = [registry.dataset(name) for name in scenario.datasets]
    if len(datasets) > 1:
        return True
    partitions = datasets[0].stream.partitions if datasets[0].stream else 1
    place = group(scenario.scope, datasets[0], registry)
    return partitions > 1 and (place is None or place.fields != datasets[0].entity_key or place.codes is not None)


def lag(dataset: Dataset) -> timedelta:
    """How much later than its inputs a row arrives: an aggregate waits for its window, as long as its contract says; an
    alarm waits for nothing."""
    return dataset.sla.freshness if dataset.topic and dataset.topic.startswith("agg.") else NOWHERE


def names(scope: Scope, dataset: Dataset, registry: Registry) -> Mapping[str, str]:
    """The Vietnamese names of the groups, where a code list has them."""
    field = WARD_FIELD if scope.by == WARD else dataset.entity_key[0] if scope.by == ENTITY else scope.by
    if scope.by == ENTITY and len(dataset.entity_key) > 1:
        return {}
    listed = "wards" if scope.by == WARD else dataset.field(field).code_list if field in dataset.has else None
    return _column(registry, listed, "name_vi") if listed else {}


def _column(registry: Registry, code_list: str, column: str) -> Mapping[str, str]:
    """Code → what a code list says of it in one column; the newest where validity dates repeat a code. Empty for a list
    that is not there: that is a finding of the dataset which names it."""
    found = next((item for item in registry.code_lists if item.id == code_list), None)
    return (
        {}
        if found is None
        else {str(row[found.key]): str(row[column]) for row in found.rows if row.get(column) is not None}
    )
