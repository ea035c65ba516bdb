"""The plan of a job follows from contracts alone, and its fingerprint changes exactly when the job must be rebuilt."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipelines.contracts.model import SCENARIO_JOB
from pipelines.contracts.registry import Registry, load_registry
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings
from pipelines.streaming.code_lists import code_list_rows, list_texts
from pipelines.streaming.job import (
    Job,
    alarm_levels,
    durations,
    job_sql,
    jobs_of,
    plan,
    reservoir_tables,
    split_statements,
)

ROOT = Path(__file__).parents[3]
NOW = datetime(2026, 11, 21, tzinfo=UTC)


def _settings(namespace: str = "demo") -> Settings:
    return Settings.load({"LAKE_HOME": str(ROOT), "LAKE_NAMESPACE": namespace})


def _plan(registry: Registry, domain: str = "flood", namespace: str = "demo", bootstrap: str = "127.0.0.1:1") -> Job:
    return plan(domain, registry, _settings(namespace), bootstrap=bootstrap, now=NOW)


def test_every_stream_has_its_sink_and_its_dead_letter(registry: Registry) -> None:
    for domain in jobs_of(registry):
        inserts = "\n".join(_plan(registry, domain).inserts)
        for stream in registry.streams(domain):
            assert f"INSERT INTO `clean_{stream.id}`" in inserts
            assert f"'{stream.id}', 'demo.raw.{stream.id}'" in inserts


def test_every_derived_table_is_written_by_its_domains_sql(registry: Registry) -> None:
    for table in (d for d in registry.datasets if d.derived and d.job != SCENARIO_JOB):
        assert table.derived is not None
        written = [s for s in job_sql(table.derived.job, registry) if s.startswith(f"INSERT INTO {table.id} (")]
        assert len(written) == 1, f"{table.id} is written {len(written)} times by sql/{table.derived.job}.sql"


def test_the_scenarios_write_their_tables_in_java(registry: Registry) -> None:
    java = ROOT / "pipelines" / "streaming" / "java" / "src" / "main" / "java" / "vn" / "hue" / "lake" / "scenario"
    source = (java / "Rows.java").read_text(encoding="utf-8")
    acknowledged = {"acknowledged_by"}
    for table in registry.derived(SCENARIO_JOB):
        assert f'"{table.topic}"' in source
        unwritten = {item.name for item in table.fields if f'"{item.name}"' not in source}
        assert unwritten <= acknowledged, f"{table.id}: Rows.java does not write {unwritten}"


def test_neither_a_rule_nor_a_new_stream_changes_the_job_of_the_scenarios(registry: Registry) -> None:
    job = _plan(registry, SCENARIO_JOB)
    assert job.program is not None and not job.ddl and not job.inserts
    without = replace(registry, scenarios=(), datasets=tuple(d for d in registry.datasets if d.id != "tide"))
    assert _plan(without, SCENARIO_JOB).fingerprint == job.fingerprint
    assert _plan(registry, SCENARIO_JOB, bootstrap="127.0.0.1:2").fingerprint == job.fingerprint
    assert _plan(registry, SCENARIO_JOB, "city").fingerprint != job.fingerprint
    aggregates = {d.topic for d in registry.datasets if (d.topic or "").startswith("agg.")}
    assert json.loads(job.program.arguments)["lags_ms"].keys() == aggregates
    assert jobs_of(replace(registry, datasets=registry.streams())) == jobs_of(registry)[:-1]


def test_a_replay_namespace_reads_from_the_beginning_and_the_city_from_its_horizon(registry: Registry) -> None:
    assert "'scan.startup.mode' = 'earliest-offset'" in "\n".join(_plan(registry).ddl)
    city = "\n".join(_plan(registry, namespace="city").ddl)
    thirty_days_ago_ms = int((NOW.timestamp() - 30 * 86_400) * 1000)
    assert f"'scan.startup.timestamp-millis' = '{thirty_days_ago_ms}'" in city


def test_where_kafka_listens_and_when_it_is_planned_do_not_rebuild_a_job(registry: Registry) -> None:
    later = plan("flood", registry, _settings("city"), bootstrap="127.0.0.1:2", now=datetime(2027, 1, 1, tzinfo=UTC))
    assert later.fingerprint == _plan(registry, namespace="city").fingerprint


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("datasets/flood/river_stage.yaml", "fail: [-2, 15]", "fail: [-2, 16]"),
        ("datasets/flood/river_stage.yaml", "gap: {suspect: 30 min}", "gap: {suspect: 40 min}"),
        ("codelists/stage_limits.yaml", "suspect_high: 1.2", "suspect_high: 1.3"),
        ("codelists/stage_seasons.yaml", "suspect_high: 3.5", "suspect_high: 3.6"),
        ("datasets/flood/river_stage.yaml", "watermark: 10 min", "watermark: 11 min"),
        ("codelists/alarm_levels.yaml", "threshold_m: 3.5", "threshold_m: 3.6"),
        ("datasets/flood/rain_gauge.yaml", "  - rain_mm: {", "  - stage_m\n  - rain_mm: {"),
    ],
)
def test_what_a_job_computes_changes_its_fingerprint(
    registry: Registry, tmp_path: Path, file: str, old: str, new: str
) -> None:
    schemas = Path(shutil.copytree(ROOT / "schemas", tmp_path / "schemas"))
    path = schemas / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    changed = load_registry(schemas)
    assert _plan(changed).fingerprint != _plan(registry).fingerprint
    assert _plan(changed, "camera").fingerprint == _plan(registry, "camera").fingerprint


def test_a_stream_of_a_new_domain_is_read_by_the_shared_job_without_state(registry: Registry, tmp_path: Path) -> None:
    schemas = Path(shutil.copytree(ROOT / "schemas", tmp_path / "schemas"))
    text = (schemas / "datasets/flood/flood_forecast.yaml").read_text(encoding="utf-8")
    folder = schemas / "datasets" / "weather"
    folder.mkdir()
    moved = text.replace("id: flood_forecast", "id: wind").replace("domain: flood", "domain: weather")
    (folder / "wind.yaml").write_text(moved, encoding="utf-8")
    changed = load_registry(schemas)
    job = _plan(changed, "city")
    view = next(s for s in job.ddl if s.startswith("CREATE VIEW `wind__conformed`"))
    assert "Disposition" not in view
    assert "CASE WHEN `_late` THEN 'late' ELSE 'on_time' END AS `disposition`" in view
    assert any(s.startswith("INSERT INTO `clean_wind`") for s in job.inserts)
    for other in ("flood", "transport", "camera"):
        assert _plan(changed, other).fingerprint == _plan(registry, other).fingerprint


def test_quality_tests_with_state_stand_between_stateless_ones_and_the_disposition(registry: Registry) -> None:
    """And only where they are declared: any other stream keeps the plan that it had."""
    flood, transport = (_plan(registry, job) for job in ("flood", "transport"))
    views = [view[1] for s in flood.ddl if (view := re.match(r"CREATE VIEW `(river_stage__\w+)`", s))]
    assert views == [f"river_stage__{step}" for step in ("checked", "flagged", "tested", "by_block", "conformed")]
    assert any("FROM `river_stage__tested`" in s and "AS `_block`" in s for s in flood.ddl)
    assert "QualityTests(" not in "".join(transport.ddl)
    assert any("FROM `lane_minute__flagged`" in s and "AS `_block`" in s for s in transport.ddl)
    assert any("FROM `env_monitoring__flagged`" in s for s in _plan(registry, "city").ddl)


def test_alarm_levels_are_instants_of_hue(registry: Registry) -> None:
    lines = alarm_levels(registry).split(";")
    assert "71520|3|3.5|2020-03-14T17:00:00Z|" in lines
    assert "71518|4|5.25|2025-10-27T17:00:00Z|2025-10-29T17:00:00Z" in lines, "a record holds from the day after it"
    assert len(lines) == len(registry.code_list("alarm_levels").rows)


def test_a_part_of_the_catalogue_leaves_out_what_nobody_reads(registry: Registry) -> None:
    """A namespace without flood sites has no view over them: Flink would not find its source."""
    part = registry.only("demo")
    assert "urban_flood_depth" not in {d.id for d in part.datasets}
    written = job_sql("flood", part)
    assert {s.split("(")[0].split()[-1] for s in written if s.startswith("INSERT")} == {
        "flood_alert", "rain_accumulation", "reservoir_state", "river_trend",
    }  # fmt: skip
    assert not [s for s in written if "urban" in s]
    assert [s for s in job_sql("flood", registry) if s.startswith("CREATE VIEW urban_flood_depth__evaluated")]


def test_parameters_come_from_contracts_and_code_lists(registry: Registry) -> None:
    assert durations(registry)["rain_gauge_cadence_ms"] == "600000"
    assert durations(registry)["river_stage_dedupe_ms"] == str(24 * 3_600_000)
    assert {"TA-TRACH|normal|45", "TA-TRACH|45|509.8"} <= set(reservoir_tables(registry).split(";"))
    assert "A-LUOI" not in reservoir_tables(registry), "its normal level is not known"


def test_a_part_of_the_catalogue_leaves_out_what_it_has_no_table_for(registry: Registry) -> None:
    demo = "\n".join(job_sql("transport", registry.only("demo")))
    assert "INSERT INTO traffic_incident (" in demo and "CREATE VIEW section_5min AS" in demo
    assert "signal_green" not in demo and "lane_class_count" not in demo
    whole = "\n".join(job_sql("transport", registry))
    assert "INSERT INTO signal_green (" in whole and "INSERT INTO lane_class_flow_5min (" in whole
    assert "$" not in whole


def test_code_lists_are_lines_with_their_validity_as_instants_of_hue(registry: Registry) -> None:
    texts = list_texts(registry)
    assert texts["vehicle_factors"].startswith("vehicle_class:key|pcu_factor:number|mcu_factor:number|valid_from:from|")
    assert ";truck_2_axles|2||2024-12-31T17:00:00Z|;" in texts["vehicle_factors"]
    assert texts["detector_sections"].splitlines()[0].startswith("detector_id:key|section_id:text|section_role:text|")
    assert texts["congestion_limits"].split(";")[1].startswith("50|0.95|2.4|1.0|1800|")


def test_a_value_that_would_break_the_lines_is_refused(registry: Registry) -> None:
    sections = registry.code_list("detector_sections")
    rows = ({**sections.rows[0], "section_id": "A|B"},)
    with pytest.raises(LakeError, match=r"detector_sections: section_id is 'A\|B'; .* no \| and no ;"):
        code_list_rows(sections.model_copy(update={"rows": rows}), {"detector_id": "detector_id"}, ["section_id"])


def test_every_detector_is_watched_and_every_pair_has_both_ends(registry: Registry) -> None:
    rows = registry.code_list("detector_sections").rows
    assert {r["detector_id"] for r in rows if r["section_role"] == "station"} == set(
        registry.code_list("detectors").codes
    )
    roles: dict[str, list[str]] = {}
    for row in rows:
        roles.setdefault(row["section_id"], []).append(row["section_role"])
    assert {tuple(sorted(found)) for found in roles.values()} == {("station",), ("downstream", "upstream")}


def test_every_type_of_camera_event_has_its_retention_and_none_outlives_its_table(registry: Registry) -> None:
    days = {row["code"]: row["retention_d"] for row in registry.code_list("event_retention").rows}
    for codes, dataset in (("violation_types", "violation_event"), ("camera_event_types", "ai_event")):
        kept = registry.dataset(dataset).retention.silver.days
        for code in registry.code_list(codes).codes:
            assert days.pop(code) <= kept, code
    assert not days, "a type that no list has"


def test_statements_are_split_at_line_ends_only() -> None:
    text = "-- a; comment\nSELECT 'x;y' AS a;\n\nINSERT INTO b\nSELECT 1;  \n"
    assert split_statements(text) == ("SELECT 'x;y' AS a", "INSERT INTO b\nSELECT 1")
