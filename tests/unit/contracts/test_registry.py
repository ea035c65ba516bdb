"""The registry loads the city's contracts, and says file, line and what is allowed when it cannot."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from catalogue import city

from pipelines.contracts.errors import ContractErrors
from pipelines.contracts.model import KEYED_JOBS, SHARED_JOB, next_major
from pipelines.contracts.registry import Registry, load_registry, resolve_dataset
from pipelines.contracts.source import SourceFile
from pipelines.contracts.validators import VALIDATORS, check

SCHEMAS = Path(__file__).parents[3] / "schemas"


@pytest.fixture(scope="module")
def first_versions(tmp_path_factory: pytest.TempPathFactory, reset_versions: Callable[[Path], None]) -> Path:
    """The city's schemas, every contract of them with the version 1.0.0."""
    copied = Path(shutil.copytree(SCHEMAS, tmp_path_factory.mktemp("first") / "schemas"))
    reset_versions(copied)
    return copied


@pytest.fixture(scope="module")
def sound(first_versions: Path) -> Registry:
    """Those contracts, before a test breaks one."""
    return load_registry(first_versions)


@pytest.fixture
def schemas(tmp_path: Path, first_versions: Path) -> Path:
    """A copy of those schemas that a test may break."""
    return Path(shutil.copytree(first_versions, tmp_path / "schemas"))


def _edit(schemas: Path, file: str, old: str, new: str) -> None:
    path = schemas / file
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{old!r} is not in {file}: the fixture no longer breaks anything"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def _beside(sound: Registry, schemas: Path, *files: str) -> Registry:
    """What is loaded when these files alone were edited. Any file may rest on the dictionary and the code lists, none
    on a dataset: one of those is read beside the others, in a quarter of the time."""
    if not all(file.startswith("datasets/") for file in files):
        return load_registry(schemas)
    read = [SourceFile(schemas / file, schemas.parent) for file in files]
    edited = {one.path.stem: resolve_dataset(one, sound.dictionary, sound.sources_by_id) for one in read}
    datasets = tuple(edited.get(dataset.id, dataset) for dataset in sound.datasets)
    return replace(sound, datasets=datasets, sources={**sound.sources, **{one.path.stem: one for one in read}})


def _findings(schemas: Path) -> str:
    with pytest.raises(ContractErrors) as caught:
        check(load_registry(schemas))
    return str(caught.value)


def _findings_beside(sound: Registry, schemas: Path, *files: str) -> str:
    with pytest.raises(ContractErrors) as caught:
        check(_beside(sound, schemas, *files))
    return str(caught.value)


def test_the_contracts_of_the_city_are_sound() -> None:
    registry = city()
    check(registry)
    assert len(registry.code_list("wards").rows) == 40
    assert registry.dataset("river_stage").entity_key == ("station_id",)
    assert [d.id for d in registry.only("demo").streams("transport")] == ["lane_minute"]
    assert {d.domain for d in registry.streams("transport")} == {"transport"}
    assert {d.job for d in registry.streams()} == {*KEYED_JOBS, SHARED_JOB}


def test_a_profile_holds_its_datasets_and_what_they_read() -> None:
    registry = city()
    small = registry.only("demo")
    named = set(registry.profiles["demo"].datasets)
    assert named <= {d.id for d in small.datasets} < {d.id for d in registry.datasets}
    known = {d.id for d in small.datasets} | {f"code_{c.id}" for c in registry.code_lists}
    for part in (d.derived or d.mart for d in small.datasets):
        assert part is None or set(part.inputs) <= known
    assert small.code_lists == registry.code_lists and registry.only(None) is registry
    with pytest.raises(KeyError, match=r"no profile 'tiny' in schemas/profiles.yaml; there are: demo"):
        registry.only("tiny")


def test_an_optional_input_does_not_come_along(schemas: Path) -> None:
    everything, small = city(), city().only("demo")
    mart, kept = (found.dataset("kpi_sensor_quality").mart for found in (everything, small))
    assert mart is not None and kept is not None
    held = {d.id for d in small.datasets}
    assert {"rain_gauge", "river_stage", "fct_neighbour_check", "lane_minute"} <= set(kept.inputs) <= held
    assert "tide" in mart.inputs and "tide" not in held
    assert set(mart.needed) == set(kept.needed) == {"rain_gauge", "river_stage", "fct_neighbour_check"}
    path = "datasets/flood/fct_flood_alarm_difference.yaml"
    _edit(schemas, path, "inputs: [fct_flood_episode, flood_alert]", "inputs: [flood_alert], optional: [tide]")
    assert "tide of `optional` is none of the `inputs`" in _findings(schemas)
    _edit(schemas, path, "optional: [tide]", "optional: [flood_alert]")
    assert "an input is needed that is not `optional`" in _findings(schemas)


def test_a_profile_names_datasets_that_exist(schemas: Path) -> None:
    _edit(schemas, "profiles.yaml", "      - river_stage\n", "      - river_level\n")
    assert "schemas/profiles.yaml: profile 'demo' names 'river_level', which is no dataset" in _findings(schemas)


def test_streams_of_the_shared_job_keep_horizons_of_their_own(schemas: Path) -> None:
    _edit(schemas, "datasets/iot/device_heartbeat.yaml", "dedupe: 24 h", "dedupe: 12 h")
    check(load_registry(schemas))


def test_the_system_columns_that_a_mart_shows_are_fields_of_its_own() -> None:
    assert {"origin", "qc_flag"} <= city().dataset("fct_river_stage").has


def test_a_field_that_is_the_key_of_another_dataset_refers_to_it() -> None:
    own_lists = {"ward_code": "the list of wards is its register", "local_date": "a day is no thing"}
    keys: dict[str, list[str]] = {}
    for dataset in city().datasets:
        if len(dataset.key) == 1 and (dataset.sector or dataset.stream):
            keys.setdefault(dataset.key[0], []).append(dataset.id)
    bare = [
        f"{dataset.id}.{item.name} is the key of {keys[item.name][0]}"
        for dataset in city().datasets
        if dataset.sector or dataset.stream
        for item in dataset.fields
        if item.references is None
        and item.name not in own_lists
        and len(keys.get(item.name, ())) == 1
        and keys[item.name] != [dataset.id]
    ]
    assert not bare


def test_an_unknown_dataset_lists_those_there_are() -> None:
    known = ", ".join(sorted(d.id for d in city().datasets))
    with pytest.raises(KeyError, match=f"no dataset 'nope'; there are: {known}"):
        city().dataset("nope")


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        (
            "datasets/flood/river_stage.yaml",
            "grain:",
            "grian: x\ngrain:",
            "schemas/datasets/flood/river_stage.yaml:13: river_stage: unknown key 'grian'",
        ),
        ("datasets/flood/river_stage.yaml", "grain: one reading of one gauge\n", "", "key 'grain' is missing"),
        ("datasets/flood/river_stage.yaml", "  - stage_m:", "  - stagem:", "unknown field 'stagem'"),
        ("datasets/flood/river_stage.yaml", "watermark: 10 min", "watermark: ten", "'ten' is not a duration"),
        ("datasets/flood/river_stage.yaml", "id: river_stage", "id: river_level", "the file of 'river_level' is"),
        ("datasets/flood/river_stage.yaml", "key: [", "key: [\n  [", "not valid YAML"),
        (
            "datasets/flood/river_stage.yaml",
            "stream: {event_time",
            "stream: {written_by: platform, event_time",
            "what the platform writes is sent by nobody: leave `accepts` and `device` out",
        ),
        (
            "datasets/flood/alert_cap.yaml",
            "written_by: platform",
            "accepts: []",
            "`accepts` names no format; a stream that nobody sends has `written_by: platform`",
        ),
        (
            "datasets/flood/river_stage.yaml",
            "stream: {event_time",
            "stream: {window: 1 h, event_time",
            "unknown key 'stream.window' (allowed: accepts, cadence, dedupe, device, event_time, partitions",
        ),
        (
            "datasets/flood/river_stage.yaml",
            "{rule: row_count, minimum: 1}",
            "{rule: row_count, minimum: 1, at_least: 2}",
            "unknown key 'quality.0.row_count.at_least' (allowed: minimum, rule)",
        ),
        ("fields.yaml", 'stage_m: {type: "decimal(9,3)"', "stage_m: {type: float", "'float' is not a logical type"),
        ("codelists/agencies.yaml", "name_en: Department of Health", "nam_en: Department of Health", "has nam_en"),
        (
            "datasets/flood/river_stage.yaml",
            "stage_m: {window: 1 h, suspect: 0.4, fail: 1.2}",
            "stage_m: {window: 1 h, suspect: 0}",
            "qc.spike.stage_m: limits are above 0",
        ),
        (
            "datasets/flood/river_stage.yaml",
            "suspect: 0.4, fail: 1.2",
            "suspect: 1.2, fail: 0.4",
            "qc.spike.stage_m: `suspect` and `fail` stand the wrong way round",
        ),
        ("datasets/flood/river_stage.yaml", "gap: {suspect: 30 min}", "gap: {}", "qc.gap: a test needs `suspect`"),
        ("codelists/wards.yaml", "file: wards.csv", "file: absent.csv", "the file absent.csv does not exist"),
        ("codelists/wards.csv", "phuong,10.38,", "phuong,ten,", "wards.csv:2: wards: row 1: area_km2 is 'ten', which"),
        ("codelists/wards.csv", "2025-07-01\n19774", "2025-07-32\n19774", "is '2025-07-32', which is no date"),
        ("codelists/wards.csv", "2025-07-01\n19774", "2025-07-01,x\n19774", "row 1 has None, which `columns` does not"),
    ],
)
def test_a_broken_file_is_named_with_its_line(schemas: Path, file: str, old: str, new: str, expected: str) -> None:
    _edit(schemas, file, old, new)
    with pytest.raises(ContractErrors) as caught:
        load_registry(schemas)
    assert expected in str(caught.value)
    assert f"schemas/{file}:" in str(caught.value)


def test_a_code_is_text_however_it_is_written(schemas: Path) -> None:
    path = schemas / "codelists/plain_codes.yaml"
    path.write_text(
        "id: plain_codes\ntitle: {vi: Mã, en: Codes}\nkey: code\nsource: test\nstatus: synthetic\n"
        "columns: [code, name_vi]\nrows:\n"
        "  - {code: 010, name_vi: 1.10}\n  - {code: +1, name_vi: true}\n  - {code: 1e3, name_vi: ~}\n"
        '  - {code: "007", name_vi: no}\n',
        encoding="utf-8",
    )
    rows = load_registry(schemas).code_list("plain_codes").rows
    assert [row["code"] for row in rows] == ["010", "+1", "1e3", "007"]
    assert [row["name_vi"] for row in rows] == ["1.10", "true", None, "no"]


def test_an_id_that_exists_twice_is_refused(schemas: Path) -> None:
    text = (schemas / "datasets/flood/river_stage.yaml").read_text(encoding="utf-8")
    copy = schemas / "datasets/transport/river_stage.yaml"
    copy.write_text(text.replace("domain: flood", "domain: transport"), encoding="utf-8")
    with pytest.raises(ContractErrors) as caught:
        load_registry(schemas)
    assert (
        "schemas/datasets/transport/river_stage.yaml:1: river_stage: this id exists already in "
        "schemas/datasets/flood/river_stage.yaml (an id is the name of one table; give this dataset another id)"
    ) in str(caught.value)


def test_all_findings_are_shown_at_once(schemas: Path) -> None:
    _edit(schemas, "datasets/flood/river_stage.yaml", "grain: one reading of one gauge\n", "")
    _edit(schemas, "datasets/health/med_price.yaml", "grain: one price", "grains: one price")
    with pytest.raises(ContractErrors) as caught:
        load_registry(schemas)
    assert len(caught.value.errors) == 3


BROKEN = {
    "key_is_made_of_required_fields": (
        "datasets/flood/river_stage.yaml",
        "- station_id: {required: true}",
        "- station_id",
        "key field 'station_id' is not required (write `- station_id: {required: true}`)",
    ),
    "event_time_is_a_required_timestamp": (
        "datasets/flood/river_stage.yaml",
        "event_time: observed_at",
        "event_time: stage_m",
        "event time 'stage_m' must be a required timestamp",
    ),
    "partition_follows_from_the_event_time": (
        "datasets/flood/river_stage.yaml",
        "partition: observed_date",
        "partition: measured_date",
        "partition 'measured_date' is derived from no field",
    ),
    "column_names_are_free": (
        "datasets/flood/river_stage.yaml",
        "  - stage_m:",
        "  - qc_flag\n  - stage_m:",
        "column 'qc_flag' would stand twice in its tables, topics or views (give the field another name",
    ),
    "texts_are_written": (
        "datasets/flood/river_stage.yaml",
        "en: River stage}",
        'en: "TO WRITE: River stage"}',
        "title.en is still to be written: 'TO WRITE: River stage'",
    ),
    "classification_covers_its_fields": (
        "datasets/camera/violation_event.yaml",
        "classification: sensitive",
        "classification: internal",
        "is internal, but its field 'plate_token' is personal",
    ),
    "personal_data_has_purpose_and_basis": (
        "datasets/camera/violation_event.yaml",
        "legal_basis: [luat_91_2025, nd_356_2025]\n",
        "",
        "holds personal data without `legal_basis`",
    ),
    "tokens_that_rotate_join_nothing": (
        "datasets/services/hotline_call.yaml",
        "{rule: completeness, field: phone_token, minimum_pct: 90}",
        "{rule: unique, fields: [phone_token, started_at]}",
        "field 'phone_token' joins rows, but its tokens change when the key is rotated (leave `joins: false` out at",
    ),
    "code_lists_exist": ("fields.yaml", "code_list: stations", "code_list: gauges", "code list 'gauges'"),
    "owner_is_an_agency": (
        "datasets/flood/river_stage.yaml",
        "owner: H57.NNMT",
        "owner: H57.NNPTNT",
        "owner 'H57.NNPTNT' is not an agency (allowed: H57.KHCN",
    ),
    "rules_name_fields": (
        "datasets/services/feedback_ticket.yaml",
        "left: closed_at",
        "left: finished_at",
        "rule comparison names the absent field 'finished_at'",
    ),
    "times_agree": (
        "datasets/flood/river_stage.yaml",
        "freshness: 20 min",
        "freshness: 5 min",
        "promises to be fresher than its cadence",
    ),
    "one_dedupe_horizon_per_job": (
        "datasets/flood/river_stage.yaml",
        "dedupe: 24 h",
        "dedupe: 12 h",
        f"dedupe differs within the job 'flood' ({', '.join(d.id for d in city().streams('flood'))})",
    ),
    "formats_can_be_translated": (
        "datasets/flood/rain_gauge.yaml",
        "accepts: [native, sensorthings]",
        "accepts: [native, fiware.WaterObserved]",
        "accepts fiware.WaterObserved, which has no 'rain_mm' (write `aliases: {fiware.WaterObserved: <path>}` at "
        "rain_mm in schemas/fields.yaml)",
    ),
    "observations_have_one_result": (
        "datasets/transport/lane_minute.yaml",
        "accepts: [native, fiware.TrafficFlowObserved]",
        "accepts: [native, sensorthings]",
        "accepts sensorthings, but its result is no field (give exactly one field `aliases: {sensorthings: result}`)",
    ),
    "device_is_registered_somewhere": (
        "datasets/flood/river_stage.yaml",
        "device: station_id",
        "device: stage_m",
        "the device field 'stage_m' has no register (give stage_m a `code_list` or `references: <dataset>.<field>`, or "
        "leave `device` out)",
    ),
    "inputs_exist": (
        "datasets/flood/kpi_flood_alarm.yaml",
        "inputs: [fct_river_stage",
        "inputs: [fct_river_level",
        "input 'fct_river_level' does not exist",
    ),
    "systems_exist": (
        "datasets/flood/river_stage.yaml",
        "systems: [18]",
        "systems: [18, 99]",
        "system 99 is not in schemas/systems.yaml",
    ),
    "legal_bases_are_listed": (
        "datasets/camera/violation_event.yaml",
        "legal_basis: [luat_91_2025",
        "legal_basis: [luat_91",
        "legal basis 'luat_91' is not listed (allowed: kh_334_2026",
    ),
    "references_lead_to_keys": (
        "datasets/flood/river_stage.yaml",
        "- station_id: {required: true}",
        "- station_id: {required: true, references: dim_station.river_name}",
        "field 'station_id' references dim_station.river_name, which is no key",
    ),
    "samples_name_fields": (
        "datasets/flood/river_stage.yaml",
        "sla: {",
        "sample: {rows: 10, fields: {stage_cm: {kind: uniform, parameters: [0, 1]}}}\nsla: {",
        "sample names the absent field 'stage_cm'",
    ),
    "classification_covers_its_code_lists": (
        "fields.yaml",
        "code: {type: string, title: {vi: Mã, en: Code}",
        "code: {type: string, classification: internal, title: {vi: Mã, en: Code}",
        "field 'agency_id' is open, the codes of 'agencies' are internal (write `classification: internal` at agency_",
    ),
    "protected_bronze_is_short": (
        "datasets/camera/violation_event.yaml",
        "bronze: 7 d",
        "bronze: 90 d",
        "keeps personal payloads in bronze for 90 days, their topic for 7 (write at most `bronze: 7 d`)",
    ),
    "shorter_retention_is_listed": (
        "codelists/event_retention.yaml",
        "code: red_light, retention_d: 365",
        "code: red_light, retention_d: 366",
        "event_retention keeps red_light for 366 days, silver 365",
    ),
    "schedule_keeps_the_freshness": (
        "datasets/health/med_price.yaml",
        "mode: snapshot}",
        'mode: snapshot, schedule: "0 2 * * 1-5"}',
        "is read every 3 days, 0:00:00 at the longest, but promises to be at most 2 days, 0:00:00 old",
    ),
    "source_is_of_the_owner": (
        "datasets/health/med_price.yaml",
        "source: soyt",
        "source: hues",
        "is owned by H57.YT, but its source 'hues' is of H57.KHCN (sources of H57.YT: soyt)",
    ),
    "files_are_told_apart": (
        "datasets/finance/funding_plan.yaml",
        "    dates: [dd/MM/yyyy]\n",
        "    dates: [dd/MM/yyyy]\n    columns: {Tỷ lệ: ty_le}\n",
        "'Tỷ lệ' means ty_le, which is none of its columns (its columns: amount_vnd, document_no, "
        "funding_source, plan_year, share_pct)",
    ),
    "cursor_can_be_remembered": (
        "datasets/health/med_technique.yaml",
        "cursor: updated_at",
        "cursor: document_no",
        "cursor 'document_no' is a string, which cannot say what is newer (allowed: timestamp, date, integer, "
        "bigint; without such a field write `mode: snapshot`)",
    ),
    "whole_reads_keep_to_the_window": (
        "datasets/education/school.yaml",
        "mode: snapshot}",
        'mode: snapshot, schedule: "30 1,13 * * *"}',
        "is read as a whole at 13:30 (30 1,13 * * *), outside of the window 22:00–05:00 (read it in the window of "
        "schemas/sources/gddt.yaml, or by a cursor; times are those of Huế)",
    ),
    "deletes_can_be_told": (
        "datasets/health/med_price.yaml",
        "mode: snapshot}",
        "mode: snapshot, deletes: {column: service_code}}",
        "field 'service_code' is a string, which cannot say that a row is deleted (allowed: boolean, timestamp, date; "
        "without such a field write `deletes: keys`)",
    ),
    "capture_carries_nothing_personal": (
        "datasets/services/feedback_ticket.yaml",
        "mode: cursor, cursor: updated_at, lag: 1 h,",
        "mode: capture,",
        "would lie in Kafka before it is protected: its fields ",
    ),
    "history_is_kept": (
        "datasets/health/facility.yaml",
        "retention: {bronze: 10 years, silver: 10 years}",
        "retention: {bronze: 90 d, silver: 10 years}",
        "its history would end where bronze ends, before silver does (write `bronze: 10 years` under `retention`)",
    ),
    "references_form_no_circle": (
        "datasets/flood/river_stage.yaml",
        "- station_id: {required: true}",
        "- station_id: {required: true, references: rain_gauge.station_id}",
        "closes a circle of references: river_stage → rain_gauge → river_stage",
    ),
    "inputs_form_no_circle": (
        "datasets/flood/fct_river_stage.yaml",
        "inputs: [",
        "inputs: [kpi_flood_alarm, ",
        "is computed from itself: fct_river_stage ← kpi_flood_alarm ← fct_river_stage",
    ),
    "superseded_dataset_exists": (
        "datasets/flood/river_stage.yaml",
        "owner: H57.NNMT",
        "supersedes: river_level\nowner: H57.NNMT",
        "supersedes 'river_level', which does not exist",
    ),
    "superseded_dataset_ends": (
        "datasets/flood/river_stage.yaml",
        "owner: H57.NNMT",
        "supersedes: rain_gauge\nowner: H57.NNMT",
        "supersedes 'rain_gauge', which has no end date (write `end_date: <last day>` in "
        "schemas/datasets/flood/rain_gauge.yaml)",
    ),
    "superseding_dataset_is_a_new_major": (
        "datasets/flood/river_stage.yaml",
        "owner: H57.NNMT",
        "supersedes: rain_gauge\nowner: H57.NNMT",
        "supersedes 'rain_gauge' 1.0.0, but is itself 1.0.0 (write `version: 2.0.0`)",
    ),
    "qc_belongs_to_a_stream": (
        "datasets/flood/kpi_flood_alarm.yaml",
        "sla: {",
        "qc: {gross_range: {peak_stage_m: {suspect: [0, 8]}}}\nsla: {",
        "has `qc`, but is no stream (write rules under `quality`",
    ),
    "qc_tests_name_measures": (
        "datasets/flood/river_stage.yaml",
        "  flat_line:\n    stage_m:",
        "  flat_line:\n    level_m:",
        "flat_line names the absent field 'level_m'",
    ),
    "qc_ranges_nest": (
        "datasets/flood/river_stage.yaml",
        "stage_m: {suspect: [-1, 8]",
        "stage_m: {suspect: [-1, 18]",
        "gross_range of 'stage_m' is wider than what fails",
    ),
    "qc_state_needs_a_keyed_job": (
        "datasets/environment/env_monitoring.yaml",
        "qc:\n",
        "qc:\n  spike:\n    ph: {window: 1 h, suspect: 2}\n",
        "declares spike, but its job 'city' keeps no state (streams of flood, transport, camera have such a job",
    ),
    "qc_windows_are_bounded": (
        "datasets/flood/river_stage.yaml",
        "flat_line:\n    stage_m: {suspect: 6 h, fail: 24 h}",
        "flat_line:\n    stage_m: {suspect: 6 h, fail: 51 h}",
        "its tests look 2 days, 3:00:00 back, which is 306 readings of 0:10:00 (look back at most 300 readings",
    ),
    "qc_limits_have_the_digits_of_their_field": (
        "datasets/flood/river_stage.yaml",
        "stage_m: {window: 1 h, suspect: 0.4",
        "stage_m: {window: 1 h, suspect: 0.4001",
        "spike of 'stage_m' compares with 0.4001, the field has 3 digits after the point",
    ),
    "qc_code_lists_hold_what_tests_need": (
        "codelists/stage_limits.yaml",
        'station_id: "71518"',
        'station_id: "71599"',
        "'stage_limits' has limits of the unknown station_id '71599'",
    ),
}
BEFORE: dict[str, tuple[str, str, str]] = {
    "references_form_no_circle": (
        "datasets/flood/rain_gauge.yaml",
        "- station_id: {required: true}",
        "- station_id: {required: true, references: river_stage.station_id}",
    ),
}
"""An edit that another file needs first, so that the broken one breaks what it is meant to."""


def test_every_validator_has_a_failing_fixture() -> None:
    assert set(BROKEN) == set(VALIDATORS)


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_a_validator_finds_what_it_is_for(sound: Registry, schemas: Path, name: str) -> None:
    file, old, new, expected = BROKEN[name]
    edits = [*([BEFORE[name]] if name in BEFORE else []), (file, old, new)]
    for edit in edits:
        _edit(schemas, *edit)
    assert expected in _findings_beside(sound, schemas, *(edited for edited, _, _ in edits))


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        (
            "datasets/camera/violation_event.yaml",
            "rebuild: 7 d",
            "rebuild: 8 d",
            "rebuild looks further back than a personal stream's topic, which keeps 7 days",
        ),
        (
            "datasets/flood/rain_gauge.yaml",
            "dedupe: 24 h",
            "dedupe: 31 d",
            "dedupe looks further back than rebuild (the raw topic would not hold it)",
        ),
        (
            "datasets/services/feedback_ticket.yaml",
            "bronze: 90 d, silver: 5 years",
            "bronze: 6 years, silver: 5 years",
            "keeps personal rows longer in bronze than in silver",
        ),
        (
            "datasets/services/feedback_ticket.yaml",
            "silver: 5 years",
            "silver: 11 years",
            "keeps silver for 4015 days, luat_91_2025 allows 3650",
        ),
        (
            "datasets/flood/flood_alert.yaml",
            "partition: transition_date",
            "partition: raised_date",
            "partition 'raised_date' needs 'raised_at' to be a required timestamp",
        ),
        (
            "datasets/health/med_price.yaml",
            "mode: snapshot}",
            'mode: snapshot, schedule: "at night"}',
            "'at night' is no cron line",
        ),
        (
            "datasets/health/med_price.yaml",
            "mode: snapshot}",
            'mode: snapshot, schedule: "0 0 31 2 *"}',
            "'0 0 31 2 *' is no cron line",
        ),
        (
            "datasets/camera/violation_event.yaml",
            "by: {field: violation_type",
            "by: {field: confidence",
            "`retention.by` needs a text field, 'confidence' is none",
        ),
        (
            "datasets/camera/violation_event.yaml",
            "days: retention_d}",
            "days: legal_basis}",
            "event_retention.legal_basis is no column of whole days in a code list",
        ),
        (
            "datasets/health/med_price.yaml",
            "retention: {bronze: 90 d, silver: 10 years",
            "retention: {by: {field: province_code, code_list: event_retention, days: retention_d}, bronze: 90 d, "
            "silver: 10 years",
            "`retention.by` is for live tables: from a source or a mart the rows come back",
        ),
        (
            "datasets/flood/kpi_flood_alarm.yaml",
            "inputs: [fct_river_stage",
            "inputs: [kpi_flood_alarm",
            "is computed from itself: kpi_flood_alarm ← kpi_flood_alarm",
        ),
        (
            "datasets/flood/river_stage.yaml",
            "owner: H57.NNMT",
            "supersedes: rain_gauge\nowner: H57.NNMT",
            "supersedes 'rain_gauge' under a name of its own (write `id: rain_gauge_v2`)",
        ),
        (
            "datasets/flood/river_stage.yaml",
            "spike:\n    stage_m:",
            "spike:\n    observed_at:",
            "spike names 'observed_at', which is no measure",
        ),
        (
            "datasets/flood/reservoir_op.yaml",
            "    inflow_m3s: {suspect: [0, 15000]}\n",
            "    inflow_m3s: {suspect: [15000, 0]}\n",
            "gross_range of 'inflow_m3s' is empty: 15000 … 0",
        ),
        (
            "codelists/stage_limits.yaml",
            "fail_low: 50, fail_high: 75",
            "fail_low: 50, fail_high: 80",
            "gross_range of 'stage_m' is wider than what is possible (limits of HUE-TN)",
        ),
        (
            "datasets/flood/river_stage.yaml",
            "spike:\n    stage_m: {window: 1 h",
            "spike:\n    stage_m: {window: 20 min",
            "the window of spike of 'stage_m' holds fewer than 3 readings (write at least 0:30:00)",
        ),
        (
            "datasets/flood/river_stage.yaml",
            "gap: {suspect: 30 min}",
            "gap: {suspect: 5 min}",
            "a gap is shorter than the cadence",
        ),
        (
            "datasets/flood/river_stage.yaml",
            "limits: stage_limits",
            "limits: stage_limit",
            "code list 'stage_limit' does not exist (write schemas/codelists/stage_limit.yaml with the columns",
        ),
        (
            "datasets/flood/river_stage.yaml",
            "limits: stage_limits",
            "limits: alarm_levels",
            "code list 'alarm_levels' has no column field_name, qc_test, suspect_low, suspect_high, fail_low",
        ),
        (
            "datasets/flood/reservoir_op.yaml",
            "limits: reservoir_limits",
            "limits: stage_limits",
            "code list 'stage_limits' is by 'station_id', no part of the entity (its key is one of: reservoir_id)",
        ),
        (
            "codelists/stage_limits.yaml",
            "qc_test: rate_of_change",
            "qc_test: flat_line",
            "flat_line of stage_m at HUE-TN: an entity has no limits of its own there; allowed: gross_range, spike,",
        ),
        (
            "codelists/stage_limits.yaml",
            "qc_test: rate_of_change",
            "qc_test: spike",
            "'stage_limits': spike of stage_m at HUE-TN stands twice",
        ),
        (
            "codelists/stage_limits.yaml",
            "suspect_high: 1.2, fail_high: 4",
            "suspect_high: 0, fail_high: 4",
            "spike of stage_m at HUE-TN: limits are above 0",
        ),
        (
            "codelists/stage_limits.yaml",
            "suspect_high: 1.2, fail_high: 4",
            "suspect_low: 1.2, fail_high: 4",
            "spike of stage_m at HUE-TN: give suspect_high, fail_high, and no other limit",
        ),
        (
            "codelists/reservoir_limits.yaml",
            "qc_test: gross_range, suspect_low: 23",
            "qc_test: attenuated_signal, suspect_low: 23",
            "attenuated_signal of level_m at TA-TRACH: reservoir_op does not declare this test",
        ),
        (
            "codelists/stage_seasons.yaml",
            "month_from: 1, month_to: 8",
            "month_from: 0, month_to: 8",
            "'stage_seasons': months 0 to 8 of stage_m: a month is 1 to 12",
        ),
        (
            "codelists/env_seasons.yaml",
            "month_from: 12, month_to: 2",
            "month_from: 12, month_to: 3",
            "'env_seasons': month 3 of air_temp_c stands twice",
        ),
        (
            "codelists/rain_neighbours.yaml",
            "{station_id: HUE-BM, neighbour_id: HUE-HP",
            "{station_id: HUE-BM, neighbour_id: HUE-BM",
            "'rain_neighbours': HUE-BM is its own neighbour",
        ),
    ],
)
def test_a_validator_finds_each_way_to_break_its_rule(
    sound: Registry, schemas: Path, file: str, old: str, new: str, expected: str
) -> None:
    _edit(schemas, file, old, new)
    assert expected in _findings_beside(sound, schemas, file)


def test_a_live_partition_is_the_day_of_its_event_time(schemas: Path) -> None:
    _edit(schemas, "datasets/flood/flood_alert.yaml", "  - raised_at\n", "  - raised_at: {required: true}\n")
    _edit(schemas, "datasets/flood/flood_alert.yaml", "partition: transition_date", "partition: raised_date")
    assert "is not the day of the event time 'transition_at' (write `partition: transition_date`)" in _findings(schemas)


def test_a_table_may_refer_to_itself(schemas: Path) -> None:
    reference = "- station_id: {required: true, references: dim_station.station_id}"
    _edit(schemas, "datasets/flood/dim_station.yaml", "- station_id: {required: true}", reference)
    check(load_registry(schemas))


def test_a_new_major_beside_an_ending_dataset_is_sound(schemas: Path) -> None:
    file = "datasets/flood/river_stage.yaml"
    text = (schemas / file).read_text(encoding="utf-8")
    text = text.replace("id: river_stage", "id: river_stage_v2\nsupersedes: river_stage")
    text = re.sub("version: .*", "version: 2.0.0", text)
    (schemas / "datasets/flood/river_stage_v2.yaml").write_text(text, encoding="utf-8")
    _edit(schemas, file, "owner: H57.NNMT", "end_date: 2027-06-30\nowner: H57.NNMT")
    registry = load_registry(schemas)
    check(registry)
    assert registry.dataset("river_stage").end_date == date(2027, 6, 30)
    assert next_major(registry.dataset("river_stage_v2")) == ("river_stage_v3", "3.0.0")


@pytest.mark.parametrize(
    ("alias", "found"),
    [
        (
            "{path: height, unit: km/h}",
            "its alias in fiware.WaterObserved cannot be converted: its unit is one of speed",
        ),
        ("{path: height, unit: ell}", "its alias in fiware.WaterObserved cannot be converted: its unit is not known"),
        ("{path: height, interval: end}", "names the end of a period, but it is no timestamp"),
    ],
)
def test_an_alias_that_cannot_be_followed_is_found(schemas: Path, alias: str, found: str) -> None:
    _edit(schemas, "fields.yaml", "fiware.WaterObserved: height", f"fiware.WaterObserved: {alias}")
    assert found in _findings(schemas)


@pytest.mark.parametrize("alias", ["{path: a, value: b}", "{unit: m}", "{interval: middle, path: a}"])
def test_an_alias_has_a_path_or_a_constant(schemas: Path, alias: str) -> None:
    _edit(schemas, "fields.yaml", "fiware.WaterObserved: height", f"fiware.WaterObserved: {alias}")
    with pytest.raises(ContractErrors, match=r"fields\.yaml:\d+: aliases\.fiware"):
        load_registry(schemas)


def test_an_unknown_format_is_refused(schemas: Path) -> None:
    _edit(schemas, "datasets/flood/rain_gauge.yaml", "accepts: [native, sensorthings]", "accepts: [native, ngsi]")
    with pytest.raises(ContractErrors, match=r"rain_gauge: stream\.accepts\.1"):
        load_registry(schemas)


def test_a_field_without_a_description_is_found(schemas: Path) -> None:
    entry = "spare_m: {type: double, unit: m, title: {vi: a, en: b}}\n"
    _edit(schemas, "fields.yaml", "stage_m: {type", f"{entry}stage_m: {{type")
    assert "field 'spare_m' has no description (write `description: {vi: …, en: …}`" in _findings(schemas)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "stage_m: {type",
            "stage_x: {type: double, unit: m, title: {vi: a, en: b}}\nstage_m: {type",
            "must end with _m",
        ),
        (
            "is_online: {type",
            "online: {type: boolean, title: {vi: a, en: b}}\nis_online: {type",
            "begin with is_ or has_",
        ),
        ("due_at: {type", "due_time: {type: timestamp, title: {vi: a, en: b}}\ndue_at: {type", "must end with _at"),
        ("due_at: {type", "interval: {type: string, title: {vi: a, en: b}}\ndue_at: {type", "a word that Delta cannot"),
        (
            "ticket_id: {type",
            "spare: {type: string, title: {vi: a, en: b}}\nticket_id: {type",
            "field 'spare' is used by no dataset",
        ),
    ],
)
def test_the_naming_law_holds_in_the_dictionary(schemas: Path, old: str, new: str, expected: str) -> None:
    _edit(schemas, "fields.yaml", old, new)
    assert expected in _findings(schemas)


def test_loading_twice_gives_equal_registries() -> None:
    first: Registry = load_registry(SCHEMAS)
    assert first.datasets == load_registry(SCHEMAS).datasets
