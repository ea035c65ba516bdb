"""Validators of scenarios: small registered generators, as :mod:`pipelines.contracts.validators` has for datasets."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta

from pipelines.contracts.errors import ContractError, Finding
from pipelines.contracts.model import SCENARIO_JOB, ContractField, Dataset
from pipelines.contracts.registry import Registry
from pipelines.contracts.scenario import (
    CITY,
    ENTITY,
    WARD,
    Absence,
    CapDraft,
    Condition,
    Delta,
    Frozen,
    Scenario,
    Threshold,
)
from pipelines.contracts.scenario_places import group, is_event, is_grouped, names, series
from pipelines.contracts.scenario_values import listed, value_findings

ScenarioValidator = Callable[[Scenario, Registry], Iterator[Finding]]
SCENARIO_VALIDATORS: dict[str, ScenarioValidator] = {}
PLACEHOLDERS = ("scope", "value", "before", "count", "at")
"""What a headline may name in braces."""
_PLACEHOLDER = re.compile(r"\{([^}]*)\}")


def scenario_validator(function: ScenarioValidator) -> ScenarioValidator:
    """Register a validator under its function name."""
    SCENARIO_VALIDATORS[function.__name__] = function
    return function


def check_scenarios(registry: Registry) -> Iterator[ContractError]:
    """Run every validator over every scenario. One that names a dataset which is not there is looked at no further."""
    for scenario in registry.scenarios:
        absent = list(datasets_can_be_read(scenario, registry))
        rules = {} if absent else SCENARIO_VALIDATORS
        for finding in [*absent, *(found for rule in rules.values() for found in rule(scenario, registry))]:
            where = registry.where_scenario(scenario, *finding.pointer)
            yield ContractError(finding.message, where=where, dataset=scenario.id, hint=finding.hint)


def datasets_can_be_read(scenario: Scenario, registry: Registry) -> Iterator[Finding]:
    """Every condition looks at a live dataset: a stream, or what a job computes from streams."""
    known = {dataset.id: dataset for dataset in registry.datasets}
    for index, condition in enumerate(scenario.trigger.conditions):
        dataset = known.get(condition.dataset)
        if dataset is None or dataset.topic is None or dataset.job == SCENARIO_JOB:
            live = sorted(d.id for d in registry.datasets if d.topic and d.job != SCENARIO_JOB)
            problem = "does not exist" if dataset is None else "is no live dataset"
            if dataset is not None and dataset.job == SCENARIO_JOB:
                problem = "is what scenarios write: a scenario could start itself for ever"
            yield Finding(
                f"dataset {condition.dataset!r} {problem}",
                (*_at(index), "dataset"),
                f"allowed: {', '.join(live)}",
            )


def _at(index: int) -> tuple[str | int, ...]:
    return ("trigger", "conditions", index)


def _conditions(scenario: Scenario, registry: Registry) -> Iterator[tuple[int, Condition, Dataset]]:
    for index, condition in enumerate(scenario.trigger.conditions):
        yield index, condition, registry.dataset(condition.dataset)


@scenario_validator
def fields_exist_and_may_be_shown(scenario: Scenario, registry: Registry) -> Iterator[Finding]:
    """Conditions name fields that the dataset has and that a run, which is internal, may show."""
    for index, condition, dataset in _conditions(scenario, registry):
        named: list[tuple[str, str | int]] = [(name, "where") for name in condition.where]
        field = getattr(condition, "field", None)
        if field is not None:
            named.append((field, "field"))
        for name, key in named:
            pointer = (*_at(index), key)
            if name not in dataset.has:
                yield Finding(
                    f"{dataset.id} has no field {name!r}",
                    pointer,
                    f"allowed: {', '.join(f.name for f in dataset.fields)}",
                )
            elif not _may_be_shown(dataset.field(name)):
                yield Finding(_withheld(dataset, name), pointer, _showable(dataset))


def _may_be_shown(item: ContractField) -> bool:
    return item.classification in {"open", "internal"} and not item.free_text


def _withheld(dataset: Dataset, name: str) -> str:
    item = dataset.field(name)
    what = "free text" if item.free_text else item.classification
    return f"field {name!r} of {dataset.id} is {what}, but the rows of a run are internal"


def _showable(dataset: Dataset) -> str:
    return f"allowed: {', '.join(f.name for f in dataset.fields if _may_be_shown(f))}"


@scenario_validator
def scope_fits_every_dataset(scenario: Scenario, registry: Registry) -> Iterator[Finding]:
    """Every dataset of the trigger has the place for which the scenario runs."""
    for index, _, dataset in _conditions(scenario, registry):
        place = group(scenario.scope, dataset, registry)
        if place is None:
            allowed = [ENTITY, WARD, CITY, *sorted(_common_fields(scenario, registry))]
            message = f"{dataset.id} cannot be told by {scenario.scope.by!r}"
            yield Finding(message, ("scope", "by"), f"allowed: {', '.join(allowed)}; a ward needs the field ward_code")
            continue
        hidden = [name for name in place.fields if not _may_be_shown(dataset.field(name))]
        for name in hidden:
            yield Finding(_withheld(dataset, name), ("scope", "by"), "tell it by ward, by city or by another field")
        if scenario.scope.by == ENTITY and index and dataset.id != scenario.datasets[0]:
            message = f"{dataset.id} and {scenario.datasets[0]} are about different things"
            hint = "with several datasets tell it by ward, by city or by a field that all of them have"
            yield Finding(message, ("scope", "by"), hint)


def _common_fields(scenario: Scenario, registry: Registry) -> set[str]:
    shown = [{f.name for f in d.fields if _may_be_shown(f)} for _, _, d in _conditions(scenario, registry)]
    return set.intersection(*shown)


@scenario_validator
def scope_is_limited_to_what_exists(scenario: Scenario, registry: Registry) -> Iterator[Finding]:
    """`only` names codes of the list that the place of the scope has."""
    known = set(names(scenario.scope, registry.dataset(scenario.datasets[0]), registry))
    for index, code in enumerate(scenario.scope.only if known else ()):
        if code not in known:
            yield Finding(f"{code!r} is no {scenario.scope.by}", ("scope", "only", index), listed(sorted(known)))
    if scenario.scope.by == CITY and scenario.scope.only:
        yield Finding("the city is one: it cannot be limited", ("scope", "only"), "remove `only`")


@scenario_validator
def values_are_of_the_fields_type(scenario: Scenario, registry: Registry) -> Iterator[Finding]:
    """Numbers are compared with numbers, codes with codes of their list, truth values with true and false."""
    for index, condition, dataset in _conditions(scenario, registry):
        yield from value_findings(condition, dataset, registry, _at(index))


@scenario_validator
def groups_say_how_long_a_fact_counts(scenario: Scenario, registry: Registry) -> Iterator[Finding]:
    """Where several series are judged together the trigger says `within`: one that is silent would count for ever."""
    grouped = is_grouped(scenario, registry)
    if grouped and scenario.trigger.within is None:
        message = "judges several series together, but does not say for how long a fact counts"
        yield Finding(message, ("trigger",), "write `within: 1 h` beside `conditions`")
    if not grouped and scenario.trigger.within is not None:
        yield Finding("`within` has no meaning for one series", ("trigger", "within"), "remove it")
    for index, condition, dataset in _conditions(scenario, registry):
        if condition.at_least > 1 and series(scenario.scope, condition, dataset) is None:
            message = (
                f"at_least {condition.at_least}, but there is one series of {dataset.id} in each {scenario.scope.by}"
            )
            yield Finding(message, (*_at(index), "at_least"), "remove it, or tell the scenario by ward or city")


@scenario_validator
def forms_fit_what_flows(scenario: Scenario, registry: Registry) -> Iterator[Finding]:
    """Periods fit the cadence of the stream; an absence is that of readings; events end by silence."""
    for index, condition, dataset in _conditions(scenario, registry):
        at = _at(index)
        if isinstance(condition, Absence) and dataset.stream is None:
            inputs = ", ".join(dataset.derived.inputs) if dataset.derived else ""
            message = f"{dataset.id} is computed: it is silent when its readings are"
            yield Finding(message, (*at, "dataset"), f"name the stream: {inputs}")
        cadence = dataset.stream.cadence if dataset.stream else timedelta(0)
        for key, least, period in _periods(condition, cadence):
            if period < least:
                yield Finding(f"{key} {period} is shorter than {least}: readings come every {cadence}", (*at, key))
        lone_events = is_event(dataset) and (condition.at_least > 1 or scenario.scope.by == ENTITY)
        if lone_events and not isinstance(condition, Threshold):
            message = f"an event of {dataset.id} is reported once: it can only meet a threshold"
            yield Finding(message, (*at, "kind"), "tell it by a field, ward or city to look at the series of events")
        elif lone_events and scenario.clear.on != "silence":
            message = f"an event of {dataset.id} does not recover"
            yield Finding(message, ("clear",), "write `clear: {on: silence, after: 2 h}`")


def _periods(condition: Condition, cadence: timedelta) -> Iterator[tuple[str, timedelta, timedelta]]:
    """The key, the shortest period that tells something, and the period."""
    if isinstance(condition, Absence):
        yield "for", cadence, condition.period
    if isinstance(condition, Frozen):
        yield "for", 2 * cadence, condition.period
    if isinstance(condition, Delta):
        yield "over", cadence, condition.over


@scenario_validator
def codes_are_listed(scenario: Scenario, registry: Registry) -> Iterator[Finding]:
    """Owner, kind, severity, agencies of tasks and the words of CAP are codes of their lists."""
    wanted: list[tuple[str, str, tuple[str | int, ...]]] = [
        ("agencies", scenario.owner, ("owner",)),
        ("scenario_kinds", scenario.kind, ("kind",)),
        ("severities", scenario.severity, ("severity",)),
    ]
    wanted += [("agencies", task.agency, ("actions", index, "agency")) for index, task in scenario.tasks()]
    for index, action in enumerate(scenario.actions):
        if isinstance(action, CapDraft):
            wanted += [
                ("cap_categories", action.category, ("actions", index, "category")),
                ("cap_urgencies", action.urgency, ("actions", index, "urgency")),
                ("cap_certainties", action.certainty, ("actions", index, "certainty")),
                ("cap_severities", action.cap_severity, ("actions", index, "severity")),
            ]
    for code_list, code, pointer in wanted:
        codes = registry.code_list(code_list).codes
        if code not in codes:
            yield Finding(f"{code!r} is no code of {code_list}", pointer, listed(codes))


@scenario_validator
def headline_names_what_is_known(scenario: Scenario, registry: Registry) -> Iterator[Finding]:
    """A headline names in braces only what a run knows."""
    for language in ("vi", "en"):
        for name in _PLACEHOLDER.findall(getattr(scenario.headline, language)):
            if name not in PLACEHOLDERS:
                allowed = ", ".join(f"{{{known}}}" for known in PLACEHOLDERS)
                yield Finding(f"nothing is called {{{name}}}", ("headline", language), f"allowed: {allowed}")
