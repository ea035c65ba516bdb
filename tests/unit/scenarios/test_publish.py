"""What has to be told to the job follows from the files and from what it knows; who and from when is always said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from catalogue import city

from pipelines.contracts.registry import Registry
from pipelines.contracts.scenario import Scenario
from pipelines.contracts.targets.kafka import scenario_rule_topic
from pipelines.contracts.targets.scenario_rule import compile_rule
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings
from pipelines.scenarios import publish, rules
from pipelines.scenarios.publish import due, switched
from pipelines.scenarios.rules import RuleRecord

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ROOT = Path(__file__).parents[3]


@pytest.fixture
def registry() -> Registry:
    """Two scenarios: one that begins switched on, one that does not."""
    names = ("river_alarm_two", "river_rising_fast")
    return replace(city(), scenarios=tuple(city().scenario(name) for name in names))


def _edited(registry: Registry, scenario_id: str, **parts: object) -> Registry:
    data = {**registry.scenario(scenario_id).model_dump(by_alias=True), **parts}
    edited = Scenario.model_validate(data)
    return replace(registry, scenarios=tuple(edited if s.id == scenario_id else s for s in registry.scenarios))


def _known(records: tuple[RuleRecord, ...]) -> dict[str, RuleRecord]:
    return {record.scenario: replace(record, offset=number) for number, record in enumerate(records)}


def _said(records: tuple[RuleRecord, ...]) -> list[tuple[str, str, bool]]:
    return [(record.scenario, record.change_kind, record.enabled) for record in records]


def test_a_new_namespace_gets_every_scenario_as_its_file_begins(registry: Registry) -> None:
    found = due(registry, {}, by="truc-ban", now=NOW)
    assert _said(found) == [("river_alarm_two", "enabled", True), ("river_rising_fast", "disabled", False)]
    assert {(record.changed_by, record.changed_at) for record in found} == {("truc-ban", NOW.isoformat())}
    assert due(registry, _known(found), by="x", now=NOW) == (), "and then nothing more"


def test_edits_are_told_and_the_switch_stays_with_the_operators(registry: Registry) -> None:
    known = _known(due(registry, {}, by="x", now=NOW))
    known["river_rising_fast"] = replace(known["river_rising_fast"], enabled=True)
    edited = _edited(_edited(registry, "river_rising_fast", hold="20 min"), "river_alarm_two", severity="critical")
    assert _said(due(edited, known, by="x", now=NOW)) == [
        ("river_alarm_two", "described", True),
        ("river_rising_fast", "edited", True),
    ]


def test_a_scenario_whose_file_is_gone_is_switched_off_once_and_may_come_back(registry: Registry) -> None:
    known = _known(due(registry, {}, by="x", now=NOW))
    without = replace(registry, scenarios=registry.scenarios[1:])
    gone = due(without, known, by="x", now=NOW)
    assert _said(gone) == [("river_alarm_two", "removed", False)]
    known |= _known(gone)
    assert due(without, known, by="x", now=NOW) == ()
    assert _said(due(registry, known, by="x", now=NOW)) == [("river_alarm_two", "enabled", True)]


def test_switching_says_what_changes(registry: Registry) -> None:
    compiled = compile_rule(registry.scenario("river_rising_fast"), registry)

    def kind(before: RuleRecord | None, enabled: bool, of: Registry = registry) -> str | None:
        rule = compile_rule(of.scenario("river_rising_fast"), of)
        record = switched(rule, before, enabled=enabled, by="x", now=NOW)
        return record.change_kind if record else None

    on = switched(compiled, None, enabled=True, by="x", now=NOW)
    off = switched(compiled, on, enabled=False, by="x", now=NOW)
    assert on is not None and off is not None
    assert (kind(None, True), kind(on, True), kind(on, False), kind(off, False), kind(off, True)) == (
        "enabled", None, "disabled", None, "enabled",
    )  # fmt: skip
    harder = _edited(registry, "river_rising_fast", hold="20 min")
    graver = _edited(registry, "river_rising_fast", severity="high")
    assert (kind(on, True, harder), kind(on, True, graver), kind(off, False, harder)) == ("edited", "described", None)
    removed = replace(off, change_kind="removed")
    assert (kind(removed, False), kind(removed, True)) == ("disabled", "enabled")


def test_a_record_is_read_as_it_was_written(registry: Registry) -> None:
    record = replace(
        due(registry, {}, by="trực ban", now=NOW)[0], effective={"flood_alert": None, "tide": "2025"}, offset=7
    )
    assert RuleRecord.parse(record.scenario, 7, record.value()) == record
    assert record.datasets == ("flood_alert",)
    assert "trực ban" in record.value().decode(), "as UTF-8, not escaped"


class Topic:
    """Stands for Kafka: what is on the topic of rules, and the newest arrival by dataset."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, newest: Mapping[str, str]) -> None:
        self.records: list[RuleRecord] = []
        monkeypatch.setattr(rules, "read_rules", lambda _: {r.scenario: r for r in self.records})
        monkeypatch.setattr(rules, "newest_arrival", lambda _, dataset: newest.get(dataset.id))
        monkeypatch.setattr(rules, "append", self._append)

    def _append(self, _: Settings, records: tuple[RuleRecord, ...]) -> tuple[RuleRecord, ...]:
        self.records += [replace(r, offset=len(self.records) + i) for i, r in enumerate(records)]
        return tuple(self.records[-len(records) :])


def _settings(namespace: str) -> Settings:
    return Settings.load({"LAKE_HOME": str(ROOT), "LAKE_NAMESPACE": namespace})


def test_a_change_counts_behind_the_newest_fact_of_a_recorded_clock(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = Topic(monkeypatch, {"river_stage": "2025-10-27T13:00:02Z"})
    publish.publish(_settings("drill"), registry, by="x")
    assert {r.scenario: r.effective for r in topic.records} == {
        "river_alarm_two": {"flood_alert": None},
        "river_rising_fast": {"river_stage": "2025-10-27T13:00:02Z"},
    }


def test_in_the_city_a_change_counts_when_the_job_surely_knows_it(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = Topic(monkeypatch, {})
    begin = datetime.now(UTC)
    publish.switch(_settings("city"), registry, "river_rising_fast", enabled=True, by="x")
    effective = datetime.fromisoformat(str(topic.records[0].effective["river_stage"]))
    assert publish.AHEAD <= effective - begin < publish.AHEAD + timedelta(seconds=30)


def test_a_rule_that_now_looks_elsewhere_ends_where_it_looked_before(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = Topic(monkeypatch, {"river_stage": "2025-10-27T13:00:02Z", "tide": "2025-10-27T13:00:05Z"})
    publish.switch(_settings("drill"), registry, "river_rising_fast", enabled=True, by="x")
    trigger = json.loads(registry.scenario("river_rising_fast").trigger.model_dump_json(by_alias=True))
    trigger["conditions"][0] |= {"dataset": "tide", "field": "tide_level_m"}
    publish.publish(_settings("drill"), _edited(registry, "river_rising_fast", trigger=trigger), by="x")
    last = {record.scenario: record for record in topic.records}["river_rising_fast"]
    assert last.change_kind == "edited"
    assert last.effective == {"tide": "2025-10-27T13:00:05Z", "river_stage": "2025-10-27T13:00:02Z"}


def test_nobody_changes_a_scenario_without_a_name_and_no_unknown_one(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    Topic(monkeypatch, {})
    with pytest.raises(LakeError, match="Thiếu người thay đổi"):
        publish.publish(_settings("drill"), registry, by=" ")
    with pytest.raises(LakeError, match="no scenario 'flood'; there are: river_alarm_two, river_rising_fast"):
        publish.switch(_settings("drill"), registry, "flood", enabled=True, by="x")


def test_replaced_rules_stay_as_long_as_facts_do() -> None:
    config = dict(scenario_rule_topic().config)
    assert config["cleanup.policy"] == "compact"
    assert timedelta(milliseconds=int(config["min.compaction.lag.ms"])) == timedelta(days=7)
