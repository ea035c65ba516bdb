"""The run manifest: resolved once, changed in one place, and honest about what a mart rests on."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from pipelines.contracts.registry import Registry
from pipelines.contracts.targets.delta import arrow_schema
from pipelines.ingestion.records import FAILED, LoadRun, record
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings
from pipelines.warehouse import manifest as runs
from pipelines.warehouse.code_lists import ensure_code_lists

HOME = Path(__file__).resolve().parents[3]
FLOOD = ("fct_flood_alarm_difference", "fct_flood_episode", "fct_river_stage", "kpi_flood_alarm")


@pytest.fixture
def registry(registry: Registry) -> Registry:
    """A namespace of few marts, so that what rests on what can be said in a line."""
    marts = (*FLOOD, "dim_ward", "dim_station", "kpi_feedback_month", "kpi_traffic_hour")
    few = {*marts, "river_stage", "flood_alert", "lane_minute", "feedback_ticket"}
    return replace(registry, datasets=tuple(d for d in registry.datasets if d.id in few))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load({"LAKE_HOME": str(HOME), "LAKE_STATE": str(tmp_path), "LAKE_NAMESPACE": "unit"})


def loaded(settings: Settings, name: str, at: datetime, error: str | None = None) -> None:
    status = {"status": FAILED, "error": error} if error else {}
    record(settings, LoadRun(at.isoformat(), name, at, at + timedelta(seconds=9), **status))


def write(settings: Settings, registry: Registry, name: str) -> None:
    path = settings.table_path("silver", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_deltalake(str(path), arrow_schema(registry.dataset(name), "silver").empty_table(), mode="overwrite")


def test_a_run_keeps_the_versions_of_its_first_resolution(settings: Settings, registry: Registry) -> None:
    write(settings, registry, "river_stage")
    first = runs.resolve(settings, registry, "run-1")
    write(settings, registry, "river_stage")
    assert runs.resolve(settings, registry, "run-1") == first == runs.load(settings, "run-1")
    assert first.versions == {"silver.river_stage": 0}
    assert runs.resolve(settings, registry, "run-2").versions == {"silver.river_stage": 1}


def test_code_lists_are_inputs_like_any_other_table(settings: Settings, registry: Registry) -> None:
    ensure_code_lists(settings, registry)
    found = runs.resolve(settings, registry, "run")
    assert {f"silver.code_{code_list.id}" for code_list in registry.code_lists} == set(found.versions)
    assert runs.missing_inputs(found, registry) == ("feedback_ticket", "flood_alert", "lane_minute", "river_stage")
    assert "dim_ward" not in found.stale
    assert set(FLOOD) < set(found.stale)


def test_a_failed_dataset_is_read_at_its_last_good_version_and_its_marts_are_stale(
    settings: Settings, registry: Registry
) -> None:
    ensure_code_lists(settings, registry)
    for name in ("river_stage", "flood_alert", "lane_minute", "feedback_ticket", "feedback_ticket"):
        write(settings, registry, name)
    assert runs.resolve(settings, registry, "run").stale == ()
    changed = runs.with_last_good(
        settings, registry, "run", ["feedback_ticket", "river_stage"], {"feedback_ticket": 0}.get
    )
    assert changed.versions["silver.feedback_ticket"] == 1, "what was judged stays on record"
    assert changed.inputs["silver.feedback_ticket"] == 0
    assert "silver.river_stage" not in changed.inputs
    assert changed.withheld == ("silver.river_stage",)
    assert changed.stale == (*FLOOD[:3], "kpi_feedback_month", FLOOD[3])
    assert runs.reasons(changed, registry, "kpi_feedback_month") == (
        "feedback_ticket: bản 1 không đạt kiểm định, dùng bản 0",
    )
    assert runs.reasons(changed, registry, FLOOD[1])[-1] == (
        "river_stage: bản 0 không đạt kiểm định, chưa có bản nào đạt"
    )
    assert runs.load(settings, "run") == changed
    assert runs.with_last_good(settings, registry, "run", [], {}.get).stale == ()


def test_a_department_that_is_away_stops_no_mart_and_marks_its_own_stale(
    settings: Settings, registry: Registry
) -> None:
    ensure_code_lists(settings, registry)
    for name in ("river_stage", "flood_alert", "lane_minute", "feedback_ticket"):
        write(settings, registry, name)
    now = datetime.now(UTC)
    promised = registry.dataset("feedback_ticket").sla.freshness
    loaded(settings, "feedback_ticket", now - promised / 2)
    fresh = runs.resolve(settings, registry, "fresh")
    assert (fresh.stale, fresh.late) == ((), {})

    loaded(settings, "feedback_ticket", now, "hues does not answer.\nAsk the agency.")
    away = runs.resolve(settings, registry, "away")
    assert away.versions == fresh.versions, "its last good rows are read"
    assert away.stale == ("kpi_feedback_month",)
    (reason,) = runs.reasons(away, registry, "kpi_feedback_month")
    assert reason.startswith("feedback_ticket: lần thu nạp lúc ")
    assert reason.endswith("(hues does not answer.)")
    assert runs.reasons(away, registry, "fct_river_stage") == ()
    judged = runs.with_last_good(settings, registry, "away", [], {}.get)
    assert judged.stale == away.stale, "its verdict is good, it is old all the same"
    assert runs.resolve(settings, registry, "again").late.keys() == {"feedback_ticket"}

    loaded(settings, "feedback_ticket", now + timedelta(seconds=1))
    assert runs.resolve(settings, registry, "back").stale == ()


def test_a_table_that_nobody_read_for_longer_than_promised_is_late(settings: Settings, registry: Registry) -> None:
    read_at = datetime(2026, 11, 20, 19, tzinfo=UTC)
    promised = registry.dataset("feedback_ticket").sla.freshness
    loaded(settings, "feedback_ticket", read_at)
    assert runs.late_tables(settings, registry, read_at + promised) == {}
    found = runs.late_tables(settings, registry, read_at + promised + timedelta(seconds=1))
    assert found == {"feedback_ticket": "feedback_ticket: quá hạn thu nạp, số liệu lúc 02:00 21/11/2026"}
    loaded(settings, "feedback_ticket", read_at - timedelta(days=1), "an older failure says nothing")
    assert runs.late_tables(settings, registry, read_at + promised) == {}


def test_a_run_has_no_news_until_something_changes(settings: Settings, registry: Registry) -> None:
    write(settings, registry, "river_stage")
    write(settings, registry, "feedback_ticket")
    loaded(settings, "feedback_ticket", datetime.now(UTC))
    first = runs.resolve(settings, registry, "first")
    assert runs.finished_before(settings, first) is None, "it did not come to its end"
    gold = settings.table_path("gold", "fct_river_stage")
    gold.parent.mkdir(parents=True)
    write_deltalake(str(gold), pa.table({"a": [1]}))
    runs.with_gold(settings, "first", {"fct_river_stage": 0})
    runs.finish(settings, "first")
    assert runs.finished_before(settings, runs.resolve(settings, registry, "same")) == "first"

    loaded(settings, "feedback_ticket", datetime.now(UTC), "away")
    assert runs.finished_before(settings, runs.resolve(settings, registry, "away")) is None, "its marts are stale now"
    loaded(settings, "feedback_ticket", datetime.now(UTC))
    assert runs.finished_before(settings, runs.resolve(settings, registry, "back")) == "first"
    write_deltalake(str(gold), pa.table({"a": [2]}), mode="append")
    assert runs.finished_before(settings, runs.resolve(settings, registry, "gold")) is None, "another wrote the mart"
    runs.with_gold(settings, "gold", {"fct_river_stage": 1})
    runs.finish(settings, "gold")
    write(settings, registry, "river_stage")
    assert runs.finished_before(settings, runs.resolve(settings, registry, "news")) is None


def test_a_decision_of_a_steward_and_a_changed_model_are_news(
    settings: Settings, registry: Registry, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    (home / "dbt_project" / "target").mkdir(parents=True)
    model = home / "dbt_project" / "model.sql"
    model.write_text("select 1")
    own = replace(settings, home=home)
    runs.resolve(own, registry, "first")
    runs.finish(own, "first")
    (home / "dbt_project" / "target" / "run.json").write_text("{}")
    assert runs.finished_before(own, runs.resolve(own, registry, "same")) == "first"
    model.write_text("select 2")
    assert runs.finished_before(own, runs.resolve(own, registry, "model")) is None
    runs.finish(own, "model")
    decision = settings.table_path("quality", "decision")
    decision.parent.mkdir(parents=True, exist_ok=True)
    write_deltalake(str(decision), pa.table({"dataset": ["river_stage"]}))
    assert runs.finished_before(own, runs.resolve(own, registry, "waived")) is None


def test_a_mart_is_built_without_an_input_that_it_can_do_without(registry: Registry) -> None:
    """kpi_traffic_hour needs its lanes; let another mart count them where they are."""
    optional = {"inputs": ("river_stage", "lane_minute"), "optional": ("lane_minute",)}
    episode = registry.dataset("fct_flood_episode")
    assert episode.mart is not None
    changed = episode.model_copy(update={"mart": episode.mart.model_copy(update=optional)})
    part = replace(registry, datasets=tuple(changed if d.id == changed.id else d for d in registry.datasets))
    assert runs.affected_marts(part, ["lane_minute"], needed=True) == ("kpi_traffic_hour",)
    resting = runs.affected_marts(part, ["lane_minute"])
    assert {"fct_flood_alarm_difference", "fct_flood_episode", "kpi_traffic_hour"} <= set(resting)


def test_gold_versions_are_added_to_those_recorded(settings: Settings, registry: Registry) -> None:
    runs.resolve(settings, registry, "run")
    runs.with_gold(settings, "run", {"dim_ward": 3})
    assert runs.with_gold(settings, "run", {"dim_station": 1}).gold == {"gold.dim_ward": 3, "gold.dim_station": 1}


def test_the_day_of_a_run_is_the_local_one() -> None:
    created = datetime(2025, 10, 26, 17, 0, tzinfo=UTC).isoformat()
    assert runs.RunManifest("run", "unit", created, {}).local_date == date(2025, 10, 27)


def test_a_manifest_reads_back_as_it_was_written() -> None:
    written = runs.RunManifest("r", "unit", "2025-10-27T00:00:00+00:00", {"silver.a": 1}, {"gold.b": 2}, ("b",))
    assert runs.RunManifest.from_json(written.to_json()) == written


@pytest.mark.parametrize("run_id", ["../x", "", "a/b", "-x", "a" * 201])
def test_a_run_id_is_a_safe_folder_name(settings: Settings, run_id: str) -> None:
    with pytest.raises(LakeError, match="is not a run id"):
        runs.run_folder(settings, run_id)


def test_airflows_run_ids_are_allowed(settings: Settings) -> None:
    assert runs.run_folder(settings, "manual__2025-10-27T13:00:00+00:00").name.startswith("manual__")


def test_a_run_without_a_manifest_says_which_command_makes_one(settings: Settings) -> None:
    with pytest.raises(LakeError, match="Run `lake run manifest --run-id later` first"):
        runs.load(settings, "later")


def test_a_damaged_manifest_is_named(settings: Settings) -> None:
    path = runs.manifest_path(settings, "run")
    path.parent.mkdir(parents=True)
    path.write_text('{"run_id": "run"')
    with pytest.raises(LakeError, match=r"manifest\.json is not a run manifest"):
        runs.load(settings, "run")


def test_empty_tables_have_versions_too(settings: Settings) -> None:
    path = settings.table_path("silver", "anything")
    path.parent.mkdir(parents=True)
    write_deltalake(str(path), pa.table({"a": pa.array([], pa.int64())}))
    assert runs.current_versions(settings, "silver", ["anything", "nothing"]) == {"anything": 0}
