"""Published editions: written once, compared ever after; a version that did not rise as it must is refused."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from catalogue import city
from typer.testing import CliRunner

from pipelines.commands.contracts import contracts_app
from pipelines.contracts import published
from pipelines.contracts.changes import Edition, changes
from pipelines.contracts.errors import ContractErrors
from pipelines.contracts.registry import load_registry
from pipelines.runtime.errors import LakeError

ROOT = Path(__file__).parents[3]
TODAY = date(2026, 11, 21)
STAGE = "datasets/flood/river_stage.yaml"
FILE = "catalog/published/flood/river_stage.json"
Edit = Callable[[str, str, str], None]


def _publish(project: Path, today: date = TODAY) -> published.Release:
    return published.publish(project, load_registry(project / "schemas"), today)


def _refused(project: Path) -> str:
    with pytest.raises(ContractErrors) as caught:
        _publish(project)
    return str(caught.value)


def test_the_contracts_of_the_city_keep_what_was_published() -> None:
    registry = city()
    old = published.read(ROOT / published.FOLDER)
    compared = published.compare_all(old, published.editions(registry), datetime.now(UTC).date())
    found = published.problems(compared, registry)
    assert not found, "run `lake contracts diff`:\n" + "\n".join(str(error) for error in found)


def test_an_edition_reads_back_as_it_was_written(project: Path) -> None:
    registry = city()
    for one in published.editions(registry).values():
        path = project / published.path_of(one.dataset)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(published.render(one), encoding="utf-8")
    assert published.read(project / published.FOLDER) == published.editions(registry)


def test_publishing_twice_writes_once(project: Path, edit: Edit) -> None:
    first = _publish(project)
    assert FILE in first.written and not first.removed
    assert len(first.written) == len(load_registry(project / "schemas").datasets)
    times = {path: path.stat().st_mtime_ns for path in (project / published.FOLDER).rglob("*.json")}
    assert _publish(project) == published.Release((), ())
    assert {path: path.stat().st_mtime_ns for path in times} == times
    edit(STAGE, "version: 1.0.0", "version: 1.0.1")
    edit(STAGE, "Mực nước sông, en: River stage", "Mực nước sông, en: River water stage")
    assert _publish(project) == published.Release((FILE,), ())
    assert json.loads((project / FILE).read_text())["contract"]["version"] == "1.0.1"


def test_an_insufficient_version_is_refused_and_nothing_is_written(project: Path, edit: Edit) -> None:
    _publish(project)
    edit("datasets/flood/rain_gauge.yaml", "version: 1.0.0", "version: 1.0.1")
    edit(STAGE, "  - stage_m: {required: true", "  - level_m\n  - stage_m: {required: true")
    edit(STAGE, "version: 1.0.0", "version: 1.0.1")
    before = {path: path.read_text() for path in (project / published.FOLDER).rglob("*.json")}
    assert _refused(project) == (
        "schemas/datasets/flood/river_stage.yaml:3: river_stage: its version rose only to 1.0.1, but a minor one is "
        "due (level_m optional field added: — → decimal(9,3)) (write `version: 1.1.0`)"
    )
    assert {path: path.read_text() for path in before} == before
    edit(STAGE, "version: 1.0.1", "version: 1.1.0")
    assert set(_publish(project).written) == {FILE, "catalog/published/flood/rain_gauge.json"}


def test_a_breaking_change_goes_beside_the_old_contract(project: Path, edit: Edit) -> None:
    _publish(project)
    text = (project / "schemas" / STAGE).read_text(encoding="utf-8")
    edit(STAGE, "minimum: -2", "minimum: 0")
    edit(STAGE, "version: 1.0.0", "version: 2.0.0")
    assert "put the new form in schemas/datasets/flood/river_stage_v2.yaml" in _refused(project)

    newer = (project / "schemas" / STAGE).read_text(encoding="utf-8")
    newer = newer.replace("id: river_stage", "id: river_stage_v2\nsupersedes: river_stage", 1)
    (project / "schemas/datasets/flood/river_stage_v2.yaml").write_text(newer, encoding="utf-8")
    (project / "schemas" / STAGE).write_text(text.replace("version: 1.0.0", "version: 1.1.0\nend_date: 2026-11-20"))
    assert set(_publish(project).written) == {FILE, "catalog/published/flood/river_stage_v2.json"}
    shown = {
        name: CliRunner().invoke(contracts_app, ["show", name]).output
        for name in ("river_stage", "river_stage_v2", "rain_gauge")
    }
    assert "chỉ cập nhật đến — filled until: 2026-11-20; dùng — use river_stage_v2 2.0.0\n" in shown["river_stage"]
    assert "thay cho — takes the place of: river_stage\n" in shown["river_stage_v2"]
    assert not any(word in shown["rain_gauge"] for word in ("filled until", "takes the place"))

    (project / "schemas" / STAGE).unlink()
    assert "its end date 2026-11-20 has not passed" in "".join(
        one.problem
        for one in published.compare_all(
            published.read(project / published.FOLDER),
            published.editions(load_registry(project / "schemas")),
            date(2026, 11, 20),
        )
    )
    assert _publish(project) == published.Release((), (FILE,))


def test_a_field_of_the_dictionary_changes_every_dataset_that_has_it(project: Path, edit: Edit) -> None:
    _publish(project)
    edit("fields.yaml", "Mực nước, en: Water stage", "Mực nước sông, en: Water stage")
    found = _refused(project)
    assert "river_stage: its version stayed 1.0.0, but a patch one is due" in found
    assert "dim_station: its version" not in found
    assert "flood_alert: its version stayed 1.0.0, but a patch one is due" in found


def test_another_domain_moves_the_file(project: Path, edit: Edit) -> None:
    _publish(project)
    edit(STAGE, "domain: flood\nversion: 1.0.0", "domain: water\nversion: 1.1.0")
    (project / "schemas/datasets/water").mkdir()
    (project / "schemas" / STAGE).rename(project / "schemas/datasets/water/river_stage.yaml")
    assert _publish(project) == published.Release(("catalog/published/water/river_stage.json",), (FILE,))


def test_a_published_file_that_is_broken_or_edited_is_named(project: Path) -> None:
    _publish(project)
    path = project / FILE
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"minimum": "-2"', '"minimum": "-9"'), encoding="utf-8")
    assert f"{FILE}:1: was edited by hand (restore the file from version control" in _refused(project)
    path.write_text(text.replace('"contract": {', '"contract": {{'), encoding="utf-8")
    assert f"{FILE}:4: not valid JSON" in _refused(project)
    path.write_text("[]", encoding="utf-8")
    assert "is no published contract" in _refused(project)
    path.write_text(text, encoding="utf-8")
    (path.parent / "copy.json").write_text(text, encoding="utf-8")
    assert f"the published edition of 'river_stage' is {FILE}" in _refused(project)


def test_an_edition_of_an_older_model_still_reads(project: Path) -> None:
    one = published.editions(load_registry(project / "schemas"))["river_stage"]
    content = json.loads(published.render(one))
    del content["contract"]["data_class"], content["contract"]["qc"]["spike"]["stage_m"]["status"]
    content["sha256"] = published._digest(content)
    path = project / FILE
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    read: Edition = published.read(project / published.FOLDER)["river_stage"]
    assert changes(read, one) == ()
    content["contract"]["colour"] = "red"
    content["sha256"] = published._digest(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    assert "colour: Extra inputs are not permitted" in _refused(project)


# ── the commands ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_diff_shows_changes_and_fails_when_a_version_is_due(project: Path, edit: Edit) -> None:
    _publish(project)
    runner = CliRunner()
    quiet = runner.invoke(contracts_app, ["diff"])
    assert quiet.exit_code == 0 and "0 changed" in quiet.output
    edit(STAGE, "grain: one reading of one gauge", "grain: one reading of one river gauge")
    shown = runner.invoke(contracts_app, ["diff", "river_stage"])
    assert shown.exit_code == 1
    assert "phá vỡ — breaking" in shown.output and "end_date" in shown.output
    listed = runner.invoke(contracts_app, ["diff", "--json"])
    assert listed.exit_code == 1
    (one,) = [entry for entry in json.loads(listed.output) if entry["state"] == "changed"]
    assert one["dataset"] == "river_stage" and one["required_bump"] == "major"
    assert one["changes"][0]["kind"] == "grain_changed" and one["problem"] and one["remedy"]


def test_diff_against_a_folder_and_a_revision(project: Path, edit: Edit) -> None:
    def git(*words: str) -> None:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", str(project), *identity, *words], check=True, capture_output=True)

    git("init", "-q")
    git("add", "-A")
    git("commit", "-q", "-m", "first")
    edit(STAGE, "minimum: -2", "minimum: -3")
    edit(STAGE, "version: 1.0.0", "version: 1.1.0")
    runner = CliRunner()
    since = runner.invoke(contracts_app, ["diff", "river_stage", "--against", "HEAD"])
    assert since.exit_code == 0 and "widened" in since.output
    _publish(project)
    for folder in (project, project / "schemas", project / published.FOLDER):
        same = runner.invoke(contracts_app, ["diff", "--against", str(folder)])
        assert same.exit_code == 0 and "0 changed" in same.output
    lists = str(project / "schemas" / "codelists")
    for wrong, words in (("no-such-revision", "neither a folder nor a git revision"), (lists, "holds no contracts")):
        failed = runner.invoke(contracts_app, ["diff", "--against", wrong])
        assert isinstance(failed.exception, LakeError) and words in str(failed.exception)
    unknown = runner.invoke(contracts_app, ["diff", "river_level"])
    assert isinstance(unknown.exception, LakeError) and "rain_gauge, reservoir_op" in str(unknown.exception)


def test_an_unsound_contract_is_not_published(project: Path, edit: Edit) -> None:
    edit(STAGE, "owner: H57.NNMT", "owner: H57.NNPTNT")
    refused = CliRunner().invoke(contracts_app, ["publish"])
    assert isinstance(refused.exception, ContractErrors)
    assert "owner 'H57.NNPTNT' is not an agency" in str(refused.exception)
    assert not (project / published.FOLDER).exists()
