"""Target of the scenario engine: a scenario as the one JSON object that the job ``scenarios`` reads.

Everything that the engine would have to look up is written out: topics, event times, wards of stations, names of codes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from pipelines.contracts import scenario_places as places
from pipelines.contracts.errors import Untranslatable
from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry
from pipelines.contracts.scenario import (
    Absence,
    Action,
    Alert,
    CapDraft,
    Change,
    Delta,
    Form,
    Frozen,
    Operand,
    Scenario,
    Task,
    Threshold,
)

TARGET = "scenario_rule"
MAX_BYTES = 512 * 1024
"""A rule is one Kafka record; maps of some thousand cameras fit."""


@dataclass(frozen=True)
class CompiledRule:
    """``rule`` as the engine reads it. ``rule_hash`` changes when it decides otherwise, so that it begins without
    memory; ``content_hash`` with anything that a run shows or causes."""

    scenario: str
    rule: Mapping[str, Any]
    rule_hash: str
    content_hash: str


def compile_rule(scenario: Scenario, registry: Registry) -> CompiledRule:
    """Compile a scenario that the validators have passed.

    Raises:
        Untranslatable: its code lists make it larger than a record may be.
        KeyError: it names what does not exist.
    """
    trigger, clear = scenario.trigger, scenario.clear
    logic: dict[str, Any] = {
        "of": trigger.of,
        "within_ms": None if trigger.within is None else _ms(trigger.within),
        "hold_ms": _ms(scenario.hold),
        "clear": {"on": clear.on, "after_ms": _ms(clear.after)},
        "cool_down_ms": _ms(scenario.cool_down),
        "sequenced": places.is_sequenced(scenario, registry),
        "only": list(scenario.scope.only) or None,
        "conditions": [_condition(scenario, form, registry) for form in trigger.conditions],
    }
    rule = {**logic, "output": _output(scenario, registry)}
    size = len(json.dumps(rule, ensure_ascii=False).encode())
    if size > MAX_BYTES:
        raise Untranslatable(scenario.id, "scope", TARGET, f"it takes {size} bytes, {MAX_BYTES} are allowed")
    return CompiledRule(scenario.id, rule, _hash(logic), _hash(rule))


def _ms(period: timedelta) -> int:
    return int(period.total_seconds() * 1000)


def _hash(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _condition(scenario: Scenario, form: Form, registry: Registry) -> dict[str, Any]:
    dataset = registry.dataset(form.dataset)
    group = places.group(scenario.scope, dataset, registry)
    if group is None or dataset.topic is None or dataset.event_time is None:
        raise Untranslatable(scenario.id, f"dataset {dataset.id}", TARGET, "it is not live, or has no such place")
    series = places.series(scenario.scope, form, dataset)
    return {
        "kind": form.kind,
        "dataset": dataset.id,
        "topic": dataset.topic,
        "event_time": dataset.event_time,
        "field": getattr(form, "field", None),
        "where": {name: _texts(values) for name, values in form.where.items()},
        "series": None if series is None else list(series),
        "group": _place(group),
        "ward": _place(places.ward(dataset, registry)),
        "at_least": form.at_least,
        "lag_ms": _ms(places.lag(dataset)),
        **_form(form, dataset),
    }


def _form(form: Form, dataset: Dataset) -> dict[str, Any]:
    match form:
        case Threshold() if dataset.field(form.field).type.is_numeric:
            clear = None if form.clear_value is None else _text(form.clear_value)
            return {"operator": form.operator, "limit": _text(form.value[0]), "clear_limit": clear}
        case Threshold():
            return {"operator": form.operator, "words": _texts(form.value)}
        case Change():
            return {"words": _texts(form.to), "before": _texts(form.before)}
        case Delta():
            return {"direction": form.direction, "amount": _text(form.amount), "period_ms": _ms(form.over)}
        case Frozen():
            return {"amount": _text(form.tolerance), "period_ms": _ms(form.period)}
        case Absence():
            return {"period_ms": _ms(form.period)}


def _place(place: places.Place | None) -> dict[str, Any] | None:
    if place is None:
        return None
    return {"fields": list(place.fields), "codes": None if place.codes is None else dict(place.codes)}


def _text(value: Operand) -> str:
    """A value as it stands in a record: numbers plain, truth as JSON writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return format(value, "f") if isinstance(value, Decimal) else value


def _texts(values: Sequence[Operand]) -> list[str]:
    return [_text(value) for value in values]


def _output(scenario: Scenario, registry: Registry) -> dict[str, Any]:
    first = registry.dataset(scenario.datasets[0])
    return {
        "scope_kind": scenario.scope.by,
        "agency": scenario.owner,
        "severity": scenario.severity,
        "headline_vi": scenario.headline.vi,
        "headline_en": scenario.headline.en,
        "names": dict(places.names(scenario.scope, first, registry)),
        "actions": [_action(action, scenario) for action in scenario.actions],
    }


def _action(action: Action, scenario: Scenario) -> dict[str, Any]:
    match action:
        case Alert():
            return {"kind": action.action, "agency": scenario.owner}
        case Task():
            return {
                "kind": action.action,
                "agency": action.agency,
                "due_ms": _ms(action.due),
                "title_vi": action.title.vi,
                "title_en": action.title.en,
            }
        case CapDraft():
            detail = {
                "event": action.event.model_dump(),
                "category": action.category,
                "urgency": action.urgency,
                "severity": action.cap_severity,
                "certainty": action.certainty,
                "instruction": action.instruction.model_dump() if action.instruction else None,
            }
            return {"kind": action.action, "agency": scenario.owner, "detail": detail}
