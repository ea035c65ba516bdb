"""Bringing rules to the job: which records are due, from when on they count, and switching a scenario on and off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from pipelines.contracts.registry import Registry
from pipelines.contracts.scenario import Scenario
from pipelines.contracts.targets.scenario_rule import CompiledRule, compile_rule
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import DEFAULT_NAMESPACE, Settings
from pipelines.scenarios import rules
from pipelines.scenarios.rules import RuleRecord

AHEAD = timedelta(seconds=5)
"""In the city a change counts from so much later on: by then the job knows it, so that a job which reads the same facts
again later, with all changes at hand, judges them by the same rule. (It takes a record in within a second.)"""


def due(registry: Registry, known: Mapping[str, RuleRecord], *, by: str, now: datetime) -> tuple[RuleRecord, ...]:
    """What has to be appended so that the topic says what the files say; whether a scenario is switched on is the
    operators' and stays. ``effective`` is still empty. Pure."""
    at = now.isoformat()
    found = []
    for scenario in registry.scenarios:
        compiled, before = compile_rule(scenario, registry), known.get(scenario.id)
        if before is None or before.change_kind == "removed":
            kind = "enabled" if scenario.enabled else "disabled"
            found.append(_record(compiled, enabled=scenario.enabled, kind=kind, by=by, at=at))
        elif before.content_hash != compiled.content_hash:
            kind = "described" if before.rule_hash == compiled.rule_hash else "edited"
            found.append(_record(compiled, enabled=before.enabled, kind=kind, by=by, at=at))
    declared = {scenario.id for scenario in registry.scenarios}
    for name, record in sorted(known.items()):
        if name not in declared and record.change_kind != "removed":
            found.append(replace(record, enabled=False, change_kind="removed", changed_by=by, changed_at=at))
    return tuple(found)


def _record(compiled: CompiledRule, *, enabled: bool, kind: str, by: str, at: str) -> RuleRecord:
    return RuleRecord(
        scenario=compiled.scenario,
        enabled=enabled,
        change_kind=kind,
        changed_by=by,
        changed_at=at,
        content_hash=compiled.content_hash,
        rule_hash=compiled.rule_hash,
        effective={},
        rule=compiled.rule,
    )


def switched(
    compiled: CompiledRule, before: RuleRecord | None, *, enabled: bool, by: str, now: datetime
) -> RuleRecord | None:
    """The record that switches a scenario on, as its file says it now, or off; None when it is so already. Pure."""
    is_same = before is not None and before.content_hash == compiled.content_hash
    if before and before.enabled == enabled and before.change_kind != "removed" and (is_same or not enabled):
        return None
    kind = "enabled" if enabled else "disabled"
    if before and before.enabled and enabled:
        kind = "described" if before.rule_hash == compiled.rule_hash else "edited"
    return _record(compiled, enabled=enabled, kind=kind, by=by, at=now.isoformat())


def publish(settings: Settings, registry: Registry, *, by: str) -> tuple[RuleRecord, ...]:
    """Append what is due; returns it with its offsets.

    Raises:
        LakeError: nobody is named.
        ServiceError: Kafka does not answer.
    """
    known, now = rules.read_rules(settings), datetime.now(UTC)
    return _append(settings, registry, known, due(registry, known, by=_named(by), now=now), now)


def switch(
    settings: Settings, registry: Registry, scenario_id: str, *, enabled: bool, by: str
) -> tuple[RuleRecord, ...]:
    """Switch one scenario on, as its file says it now, or off; returns its record, none when it is so already.

    Raises:
        LakeError: there is no such scenario in the namespace, or nobody is named.
        ServiceError: Kafka does not answer.
    """
    scenario = find(registry, scenario_id)
    known, now = rules.read_rules(settings), datetime.now(UTC)
    compiled = compile_rule(scenario, registry)
    record = switched(compiled, known.get(scenario_id), enabled=enabled, by=_named(by), now=now)
    return _append(settings, registry, known, (record,) if record else (), now)


def find(registry: Registry, scenario_id: str) -> Scenario:
    """The scenario of a namespace.

    Raises:
        LakeError: there is none; the text lists those there are.
    """
    try:
        return registry.scenario(scenario_id)
    except KeyError as error:
        raise LakeError(f"Không có kịch bản này: {error.args[0]}.", "See `lake scenarios list`.") from None


def _append(
    settings: Settings,
    registry: Registry,
    known: Mapping[str, RuleRecord],
    wanted: tuple[RuleRecord, ...],
    now: datetime,
) -> tuple[RuleRecord, ...]:
    """Append records, each with what it counts from: for every dataset that it or the record before it looks at."""
    clocks: dict[str, str | None] = {}
    complete = []
    for record in wanted:
        before = known.get(record.scenario)
        names = dict.fromkeys((*record.datasets, *(before.datasets if before else ())))
        for name in names:
            if name not in clocks:
                clocks[name] = _clock(settings, registry, name, now)
        complete.append(replace(record, effective={name: clocks[name] for name in names}))
    return rules.append(settings, tuple(complete)) if complete else ()


def _clock(settings: Settings, registry: Registry, dataset: str, now: datetime) -> str | None:
    """The arrival clock after which a change counts: in the city a little later than now; elsewhere, where a recorded
    clock runs, behind the newest fact, and from the beginning where there is none yet."""
    if settings.namespace == DEFAULT_NAMESPACE:
        return (now + AHEAD).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    known = {item.id: item for item in registry.datasets}
    return rules.newest_arrival(settings, known[dataset]) if dataset in known else None


def _named(by: str) -> str:
    if not by.strip():
        raise LakeError("Thiếu người thay đổi.", "Give --by: the account of whoever decides; it is logged.")
    return by.strip()
