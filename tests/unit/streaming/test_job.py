"""The plan of a job follows from contracts alone, and its fingerprint changes exactly when the job must be rebuilt."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipelines.contracts.model import SCENARIO_JOB
from pipelines.contracts.registry import Registry, load_registry
from pipelines.runtime.settings import Settings
from pipelines.streaming.job import (
    Job,
    alarm_levels,
    job_sql,
    jobs_of,
    plan,
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
        ("datasets/flood/river_stage.yaml", "maximum: 15", "maximum: 16"),
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
    text = (schemas / "datasets/flood/rain_gauge.yaml").read_text(encoding="utf-8")
    folder = schemas / "datasets" / "weather"
    folder.mkdir()
    moved = text.replace("id: rain_gauge", "id: wind").replace("domain: flood", "domain: weather")
    (folder / "wind.yaml").write_text(moved, encoding="utf-8")
    changed = load_registry(schemas)
    job = _plan(changed, "city")
    view = next(s for s in job.ddl if s.startswith("CREATE VIEW `wind__conformed`"))
    assert "Disposition" not in view
    assert "CASE WHEN `_late` THEN 'late' ELSE 'on_time' END AS `disposition`" in view
    assert any(s.startswith("INSERT INTO `clean_wind`") for s in job.inserts)
    for other in ("flood", "transport", "camera"):
        assert _plan(changed, other).fingerprint == _plan(registry, other).fingerprint


def test_alarm_levels_are_instants_of_hue(registry: Registry) -> None:
    lines = alarm_levels(registry).split(";")
    assert "71520|3|3.5|2020-03-14T17:00:00Z|" in lines
    assert len(lines) == len(registry.code_list("alarm_levels").rows)


def test_statements_are_split_at_line_ends_only() -> None:
    text = "-- a; comment\nSELECT 'x;y' AS a;\n\nINSERT INTO b\nSELECT 1;  \n"
    assert split_statements(text) == ("SELECT 'x;y' AS a", "INSERT INTO b\nSELECT 1")
