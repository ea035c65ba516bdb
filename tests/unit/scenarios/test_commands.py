"""`lake scenarios`: what it prints, and that a mistake is a sentence that says what to do."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from catalogue import city
from typer.testing import CliRunner, Result

from pipelines.commands import scenarios as commands
from pipelines.commands.scenarios import scenarios_app
from pipelines.contracts.targets.scenario_rule import compile_rule
from pipelines.runtime.errors import LakeError
from pipelines.scenarios import publish
from pipelines.scenarios.rules import RuleRecord

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def namespace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A namespace without tables, whose topic of rules holds one scenario as its file says it and one older edition."""
    monkeypatch.setenv("LAKE_HOME", str(ROOT))
    monkeypatch.setenv("LAKE_STATE", str(tmp_path))
    monkeypatch.setenv("LAKE_NAMESPACE", "drill")
    first, second = "cameras_silent", "commune_flooding"
    due = publish.due(city(), {}, by="truc-ban", now=datetime(2026, 11, 21, tzinfo=UTC))
    known = {record.scenario: record for record in due if record.scenario in {first, second}}
    known[first] = replace(known[first], enabled=True, effective={"camera_health": "2025-10-27T00:00:00Z"}, offset=4)
    known[second] = replace(known[second], content_hash="another")
    monkeypatch.setattr(commands, "read_rules", lambda _: known)
    for name in ("registry_of", "checked_registry"):
        monkeypatch.setattr(commands, name, lambda _: city())


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(scenarios_app, list(arguments))


def test_the_list_says_what_is_on_and_what_the_job_does_not_know_yet() -> None:
    rows = {row["scenario"]: row for row in json.loads(_run("list", "--json").stdout)}
    assert rows.keys() == {scenario.id for scenario in city().scenarios}
    assert (rows["cameras_silent"]["state"], rows["cameras_silent"]["as_the_file"]) == ("bật (on)", True)
    assert (rows["commune_flooding"]["state"], rows["commune_flooding"]["as_the_file"]) == ("tắt (off)", False)
    assert rows["tide_gauge_stuck"]["state"] == "chưa công bố (not published)"
    printed = _run("list").stdout
    assert "lake scenarios publish" in printed and "cameras_silent" in printed


def test_showing_one_says_it_in_words_and_since_when_it_is_in_force() -> None:
    printed = _run("show", "cameras_silent").stdout
    assert "nothing of `camera_health` for 10 min, of at least 3" in printed
    assert "bật (on), Công an thành phố" in printed
    assert "disabled 2026-11-21T00:00:00+00:00 truc-ban @ 4, như tệp (as the file)" in printed
    assert "camera_health: từ (after) 2025-10-27T00:00:00Z" in printed
    rule = json.loads(_run("show", "cameras_silent", "--json").stdout)
    assert rule == compile_rule(city().scenario("cameras_silent"), city()).rule


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "flood"), "no scenario 'flood'; there are: air_harmful, cameras_silent, "),
        (
            ("test", "river_rising_fast", "--from", "soon", "--to", "2025-11-01"),
            "--from 'soon' không phải là thời điểm",
        ),
        (("test", "river_rising_fast", "--from", "2025-11-02", "--to", "2025-11-01"), "--from phải trước --to"),
        (("test", "river_rising_fast", "--from", "2025-10-26", "--to", "2025-11-01"), "river_stage does not exist"),
        (("ack", "x|y|z", "--agency", "H57.XX", "--by", "a"), "'H57.XX' không phải là mã cơ quan"),
        (("ack", "x|y|z", "--agency", "H57.XD", "--by", " "), "Thiếu tài khoản tiếp nhận"),
        (("ack", "x|y|z", "--agency", "H57.XD", "--by", "a"), "Không có lượt chạy 'x|y|z'"),
    ],
)
def test_a_mistake_is_a_sentence(arguments: tuple[str, ...], message: str) -> None:
    result = _run(*arguments)
    assert isinstance(result.exception, LakeError)
    assert message in str(result.exception)


def test_who_changes_a_scenario_must_be_said() -> None:
    for command in ("enable", "disable"):
        result = _run(command, "cameras_silent")
        assert result.exit_code == 2 and "--by" in result.output
    assert _run("publish").exit_code == 2


def test_a_job_that_does_not_take_a_rule_in_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    record = RuleRecord("cameras_silent", True, "enabled", "x", "now", "c", "r", {}, {"conditions": []}, 9)
    monkeypatch.setattr(publish, "switch", lambda *_, **__: (record,))
    monkeypatch.setattr(commands, "wait_until_taken", lambda *_: (record,))
    result = _run("enable", "cameras_silent", "--by", "x")
    assert "cameras_silent: enabled @ 9" in result.output
    assert isinstance(result.exception, LakeError) and "lake jobs list" in str(result.exception)
    assert _run("enable", "cameras_silent", "--by", "x", "--wait", "0").exit_code == 0
    monkeypatch.setattr(publish, "switch", lambda *_, **__: ())
    assert "Nothing to change" in _run("enable", "cameras_silent", "--by", "x").output
