"""Scenarios: the city's are sound and complete, a wrong one is named with file, line and what is allowed, and what the
engine reads follows from the file alone."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from catalogue import city

from pipelines.contracts.errors import ContractErrors, Untranslatable
from pipelines.contracts.registry import Registry, resolve_scenario
from pipelines.contracts.scenario import FORMS, Scenario
from pipelines.contracts.scenario_checks import SCENARIO_VALIDATORS, check_scenarios
from pipelines.contracts.scenario_places import is_grouped, is_sequenced, lag
from pipelines.contracts.source import SourceFile
from pipelines.contracts.targets import scenario_rule
from pipelines.contracts.targets.scenario_rule import compile_rule
from pipelines.contracts.targets.scenarios import render
from pipelines.contracts.validators import check

SCHEMAS = Path(__file__).parents[3] / "schemas"
RISING = "river_rising_fast.yaml"
JAM = "traffic_standstill.yaml"
LIGHTS = "street_lighting_out.yaml"
FIRE = "forest_fire_confirmed.yaml"
ALARM = "river_alarm_two.yaml"
CAMERAS = "cameras_silent.yaml"
TIDE = "tide_gauge_stuck.yaml"


def _scenario(registry: Registry, scenario_id: str, **parts: object) -> Scenario:
    data = registry.scenario(scenario_id).model_dump(by_alias=True)
    return Scenario.model_validate({**data, **parts})


def test_every_department_has_a_scenario_of_its_own_and_the_communes_have_one_together() -> None:
    registry = city()
    owners = {scenario.owner for scenario in registry.scenarios if scenario.kind != "commune_common"}
    assert owners == set(registry.code_list("agencies").codes), "I.2.d: at least one for each department"
    common = [scenario for scenario in registry.scenarios if scenario.kind == "commune_common"]
    assert [scenario.scope.by for scenario in common] == ["ward"] and not common[0].scope.only
    used = {type(form) for scenario in registry.scenarios for form in scenario.trigger.conditions}
    assert used == set(FORMS), "the city's scenarios show every form"


def test_what_is_unverified_says_so_and_only_the_legal_levels_begin_switched_on() -> None:
    for scenario in city().scenarios:
        assert scenario.status == "verified" or scenario.unverified
    assert [scenario.id for scenario in city().scenarios if scenario.enabled] == ["river_alarm_two"]


def test_a_namespace_holds_the_scenarios_whose_datasets_it_has() -> None:
    demo = city().only("demo")
    held = {dataset.id for dataset in demo.datasets}
    assert {s.id for s in demo.scenarios} == {s.id for s in city().scenarios if set(s.datasets) <= held}
    assert "river_alarm_two" in {s.id for s in demo.scenarios} != {s.id for s in city().scenarios}


CONFIRMED = (
    "kind: threshold, dataset: fire_event, where: {fire_kind: [forest]}, "
    'field: review_status, operator: "==", value: confirmed'
)
WRONG = [
    (RISING, "dataset: river_stage", "dataset: river_stages", "dataset 'river_stages' does not exist", "allowed: ai_"),
    (RISING, "dataset: river_stage", "dataset: fct_river_stage", "'fct_river_stage' is no live dataset", "allowed: "),
    (ALARM, "dataset: flood_alert", "dataset: scenario_run_v2", "could start itself for ever", "allowed: "),
    (RISING, "field: stage_m", "field: level_m", "river_stage has no field 'level_m'", "allowed: station_id, "),
    (
        "school_danger.yaml", "field: severity", "field: evidence_uri",
        "field 'evidence_uri' of school_safety_event is sensitive, but the rows of a run are internal", "allowed: ",
    ),
    (RISING, "by: entity", "by: detector_id", "river_stage cannot be told by 'detector_id'",
     "entity, ward, city, observed_at"),
    ("platform_service_down.yaml", "by: entity", "by: ward", "platform_slo cannot be told by 'ward'", "a ward needs"),
    (RISING, "by: entity", 'by: entity, only: ["71520", "99"]', "'99' is no entity", "allowed: 71518, 71520"),
    (RISING, "by: entity", "by: city, only: [hue]", "the city is one", "remove `only`"),
    (RISING, "amount: 0.4", "amount: 0", "greater than 0", ""),
    (RISING, "over: 3 h", "over: 5 min", "over 0:05:00 is shorter than 0:10:00: readings come every 0:10:00", ""),
    (RISING, "over: 3 h", "over: 8 d", "less than or equal to", ""),
    (RISING, "direction: rise", "direction: up", "'rise', 'fall' or 'either'", ""),
    (RISING, "kind: delta", "kind: slope", "'threshold', 'change', 'delta', 'frozen', 'absence'", ""),
    (RISING, "amount: 0.4", "amount: 0.4, tolerance: 1", "unknown key 'trigger.conditions.0.delta.tolerance'",
     "allowed: amount"),
    (FIRE, "kind: threshold", "kind: delta, direction: rise, amount: 1, over: 1 h", "unknown key", "allowed: "),
    (ALARM, 'value: raise', 'value: rise', "'rise' is no code of alert_transitions", "allowed: raise, clear"),
    (ALARM, 'operator: "=="', 'operator: ">"', "> orders numbers, but 'transition' is a string", "allowed: ==, !="),
    (ALARM, "alarm_level: [2]", "alarm_level: [two]", "'alarm_level' is of type integer, not 'two'", "write a number"),
    (ALARM, "alarm_level: [2]", "transition_at: [x]", "it has no codes to compare", "use another field"),
    (ALARM, "alarm_level: [2]", "stage_m: [2.5]", "it has no codes to compare", "use another field"),
    (LIGHTS, "value: 180", "value: [180, 190]", "'voltage_v' is compared with several numbers", "write one"),
    (LIGHTS, "value: 180", "value: true", "'voltage_v' is of type double, not true", "write a number"),
    (LIGHTS, "clear_value: 200", "clear_value: 150", "on the wrong side of 180", "with < it lies above the value"),
    (ALARM, "value: raise", "value: raise, clear_value: 1", "a clear value is for a number", "remove it"),
    (LIGHTS, "  within: 1 h\n", "", "does not say for how long a fact counts", "write `within: 1 h` beside"),
    (RISING, "  conditions:", "  within: 1 h\n  conditions:", "`within` has no meaning for one series", "remove it"),
    (RISING, "over: 3 h", "over: 3 h, at_least: 2", "there is one series of river_stage in each entity", "remove it"),
    (CAMERAS, "for: 10 min", "for: 30 s", "for 0:00:30 is shorter than 0:01:00", ""),
    (TIDE, "for: 3 h", "for: 15 min", "for 0:15:00 is shorter than 0:20:00", ""),
    (JAM,
     "kind: threshold, dataset: lane_flow_5min, field: mean_speed_kmh, operator: \"<\", value: 12, clear_value: 18",
     "kind: absence, dataset: lane_flow_5min, for: 1 h", "is computed: it is silent when its readings are",
     "name the stream: lane_minute"),
    (FIRE, "on: silence, after: 12 h", "on: recovery", "an event of fire_event does not recover", "on: silence"),
    (FIRE,
     CONFIRMED,
     "kind: change, dataset: fire_event, field: review_status", "it can only meet a threshold", "tell it by a field"),
    (FIRE, "on: silence, after: 12 h", "on: silence", "silence has to last", ""),
    (TIDE, "field: tide_level_m, ", "field: tide_station_id, ", "frozen of 'tide_station_id', which is a string",
     "for codes"),
    ("signal_fallback.yaml", "field: control_mode, to: [flashing]", "field: green_s",
     "a change of 'green_s', which is a decimal(9,1)", "use delta"),
    ("signal_fallback.yaml", "to: [flashing]", "to: [blinking]", "'blinking' is no code of signal_control_modes",
     "allowed: fixed"),
    (RISING, "owner: H57.NNMT", "owner: H57.XX", "'H57.XX' is no code of agencies", "allowed: H57.KHCN"),
    (RISING, "severity: medium", "severity: grave", "'grave' is no code of severities",
     "allowed: low, medium, high, critical"),
    (TIDE, "agency: H57.NNMT", "agency: H57.XX", "'H57.XX' is no code of agencies", "allowed: "),
    (ALARM, "urgency: Immediate", "urgency: Soon", "'Soon' is no code of cap_urgencies", "allowed: Immediate"),
    (RISING, "lúc {at}", "lúc {when}", "nothing is called {when}",
     "allowed: {scope}, {value}, {before}, {count}, {at}"),
    (RISING, "status: unverified", "status: verified", "status unverified needs", ""),
    (RISING, "cool_down: 3 h", "cool_off: 3 h", "unknown key 'cool_off'", "allowed: actions, "),
    (RISING, "id: river_rising_fast", "id: river_rising",
     "the file of 'river_rising' is scenarios/river_rising.yaml", ""),
]  # fmt: skip


ELSEWHERE = {"for how long a fact counts": "trigger:", "status unverified needs": "id: river_rising_fast"}
"""Where a finding does not stand in the line that was edited: what stands there instead."""


def _broken(root: Path, file: str, old: str, new: str) -> Registry:
    """The city's contracts with one scenario that says something else."""
    source_path = SCHEMAS / "scenarios" / file
    text = source_path.read_text(encoding="utf-8")
    assert old in text, f"{old!r} is not in {file}: the case no longer breaks anything"
    path = root / "schemas" / "scenarios" / file
    path.parent.mkdir(parents=True)
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    source = SourceFile(path, root)
    scenario = resolve_scenario(source)
    return replace(city(), scenarios=(scenario,), scenario_sources={scenario.id: source})


def _findings(root: Path, file: str, old: str, new: str) -> list[str]:
    try:
        return [str(error) for error in check_scenarios(_broken(root, file, old, new))]
    except ContractErrors as errors:
        return [str(error) for error in errors.errors]


@pytest.mark.parametrize(("file", "old", "new", "message", "hint"), WRONG)
def test_a_wrong_scenario_is_named_with_its_line_and_what_is_allowed(
    tmp_path: Path, file: str, old: str, new: str, message: str, hint: str
) -> None:
    found = _findings(tmp_path, file, old, new)
    said = [text for text in found if message in text and hint in text]
    assert said, found
    expected = next((text for part, text in ELSEWHERE.items() if part in message), new.splitlines()[0] if new else "")
    lines = (tmp_path / "schemas" / "scenarios" / file).read_text(encoding="utf-8").splitlines()
    place, number, _ = said[0].split(":", 2)
    assert place == f"schemas/scenarios/{file}"
    assert expected in lines[int(number) - 1], said


def test_the_check_of_the_contracts_looks_at_scenarios(tmp_path: Path) -> None:
    with pytest.raises(ContractErrors, match="river_stage has no field 'level_m'"):
        check(_broken(tmp_path, RISING, "field: stage_m", "field: level_m"))


def test_every_validator_has_a_case() -> None:
    words = " ".join(message for *_, message, _ in WRONG)
    said = {
        "fields_exist_and_may_be_shown": "has no field",
        "scope_fits_every_dataset": "cannot be told by",
        "scope_is_limited_to_what_exists": "is no entity",
        "values_are_of_the_fields_type": "is no code of alert_transitions",
        "groups_say_how_long_a_fact_counts": "for how long a fact counts",
        "forms_fit_what_flows": "is shorter than",
        "codes_are_listed": "is no code of severities",
        "headline_names_what_is_known": "nothing is called",
    }
    assert said.keys() == SCENARIO_VALIDATORS.keys()
    assert all(sentence in words for sentence in said.values())


def test_entities_of_two_datasets_are_different_things(tmp_path: Path) -> None:
    found = _findings(tmp_path, "commune_flooding.yaml", "by: ward", "by: entity")
    assert any("ai_event and urban_flood_depth are about different things" in text for text in found), found


def test_the_engine_gets_everything_written_out() -> None:
    registry = city()
    compiled = compile_rule(registry.scenario("commune_flooding"), registry)
    depth, camera = compiled.rule["conditions"]
    assert depth["topic"] == "clean.urban_flood_depth" and depth["group"] == {"fields": ["ward_code"], "codes": None}
    assert (depth["operator"], depth["limit"], depth["clear_limit"]) == (">=", "30", "20")
    assert camera["where"] == {"camera_event_type": ["flooding"]} and camera["words"] == ["rejected"]
    assert camera["series"] == ["event_id"] and depth["series"] == ["site_id"]
    assert compiled.rule["within_ms"] == 1_800_000 and compiled.rule["sequenced"] is True
    assert compiled.rule["output"]["names"]["19753"] == "Phường Phú Xuân"
    alarm = compile_rule(registry.scenario("river_alarm_two"), registry).rule["conditions"][0]
    assert alarm["series"] is None, "raise and clear of a station are one series"
    assert alarm["ward"]["codes"]["71520"] == "19774", "the ward of a station comes from its code list"
    assert json.loads(json.dumps(compiled.rule)) == compiled.rule, "nothing that JSON would change"


def test_an_aggregate_waits_for_its_window_and_an_alarm_for_nothing() -> None:
    registry = city()
    flow = registry.dataset("lane_flow_5min")
    assert lag(flow) == flow.sla.freshness > timedelta(0)
    assert lag(registry.dataset("flood_alert")) == lag(registry.dataset("river_stage")) == timedelta(0)


def test_what_comes_from_several_partitions_is_put_in_order() -> None:
    registry = city()
    assert registry.dataset("river_stage").stream.partitions == 2  # type: ignore[union-attr]
    rising = registry.scenario("river_rising_fast")
    assert not is_sequenced(rising, registry) and not is_grouped(rising, registry)
    by_ward = _scenario(registry, rising.id, scope={"by": "ward"})
    assert is_sequenced(by_ward, registry) and is_grouped(by_ward, registry)
    assert not is_sequenced(registry.scenario("traffic_standstill"), registry), "one partition keeps its own order"
    assert is_sequenced(registry.scenario("commune_flooding"), registry), "two topics have none"


def test_words_change_the_content_and_conditions_the_rule() -> None:
    registry = city()
    before = compile_rule(registry.scenario("river_rising_fast"), registry)
    words = compile_rule(_scenario(registry, "river_rising_fast", severity="high"), registry)
    assert words.rule_hash == before.rule_hash and words.content_hash != before.content_hash
    limit = compile_rule(_scenario(registry, "river_rising_fast", hold="10 min"), registry)
    assert limit.rule_hash != before.rule_hash and limit.content_hash != before.content_hash


def test_a_rule_that_no_record_holds_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenario_rule, "MAX_BYTES", 100)
    with pytest.raises(
        Untranslatable, match=r"river_alarm_two: scenario_rule cannot express scope: it takes \d+ bytes"
    ):
        compile_rule(city().scenario("river_alarm_two"), city())


def test_the_page_says_every_scenario_in_words() -> None:
    page = render(city())["docs/catalog/scenarios.md"]
    for scenario in city().scenarios:
        assert f"\n## {scenario.id}\n" in page and scenario.title.vi in page
        assert all(text in page for text in scenario.unverified)
    assert "`river_stage.stage_m` tăng 0.4 trong 3 h — `river_stage.stage_m` has risen by 0.4 within 3 h" in page
    assert "nothing of `camera_health` for 10 min, of at least 3" in page


def test_the_guide_names_every_scenario_with_its_owner_and_its_datasets() -> None:
    guide = (SCHEMAS.parent / "docs" / "scenarios.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in guide.splitlines() if line.startswith("| `")]
    said = {row[0].strip("| `"): (row[1], row[3].rstrip(" |")) for row in rows if len(row) == 4}
    common = "40 phường, xã"
    assert said == {
        scenario.id: (
            common if scenario.kind == "commune_common" else scenario.owner,
            ", ".join(f"`{name}`" for name in scenario.datasets),
        )
        for scenario in city().scenarios
    }
