"""ODCS files become contracts; what has no place is told with its line, and another version is refused."""

from __future__ import annotations

import json
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from generated_contracts import LAW, Generated, contracts, loaded
from hypothesis import given
from jsonschema import Draft201909Validator
from typer.testing import CliRunner

from pipelines.commands.contracts import contracts_app
from pipelines.contracts.changes import changes, edition
from pipelines.contracts.draft import Draft, check_draft, contract_text
from pipelines.contracts.errors import ContractErrors
from pipelines.contracts.model import Dataset
from pipelines.contracts.odcs_reader import read_odcs
from pipelines.contracts.registry import Registry, resolve_dataset
from pipelines.contracts.rendering import yaml_file
from pipelines.contracts.source import SourceFile
from pipelines.contracts.targets import odcs
from pipelines.runtime.errors import LakeError

SCHEMA = json.loads((files("open_data_contract_standard") / "schema.json").read_text(encoding="utf-8"))
HEAD = "apiVersion: v3.1.0\nkind: DataContract\nid: 53581432-6c55-4ba2-a65f-72344a91553a\nstatus: active\n"
NOISE = (
    HEAD
    + """version: "1.2"
domain: Environment
dataProduct: Noise
tenant: Hue
description:
  purpose: Tiếng ồn tại các điểm đo — Noise at the measuring points
  usage: Compare by hour of day.
  limitations: Single points.
servers:
  - {server: prod, type: kafka, host: "broker:9092"}
  - {server: lake, type: trino, host: query, catalog: lake, schema: published}
team:
  name: Sở Y tế
schema:
  - name: noise_point
    physicalType: table
    businessName: Điểm đo tiếng ồn
    dataGranularityDescription: one minute of one point
    properties:
      - name: pointId
        logicalType: string
        primaryKey: true
        primaryKeyPosition: 1
        logicalTypeOptions: {pattern: "P[0-9]+", maxLength: 12}
      - name: measured_at
        logicalType: date
        physicalType: timestamp
        primaryKey: true
        primaryKeyPosition: 2
      - name: noise_db
        logicalType: number
        physicalType: DECIMAL(5,1)
        required: true
        businessName: Mức ồn — Noise level
        description: Mức trung bình trong phút — Mean level of the minute
        classification: public
        logicalTypeOptions: {minimum: 0, maximum: 160}
        customProperties:
          - {property: unit, value: dB}
          - {property: calibrated, value: true}
        quality:
          - {metric: nullValues, mustBeLessOrEqualTo: 5, unit: percent, businessImpact: operational}
          - {type: sql, query: "select 1", mustBe: 1}
        examples: [55.5]
      - name: ward_code
        logicalType: string
        relationships:
          - {type: foreignKey, to: dim_ward.ward_code}
          - {to: elsewhere.id}
      - name: place
        logicalType: object
        properties: []
      - name: serial_text
        logicalType: string
        unique: true
        classification: restricted
    quality:
      - {metric: rowCount, mustBeGreaterThan: 9}
      - {metric: duplicateValues, mustBe: 0, arguments: {properties: [pointId, measured_at]}}
slaProperties:
  - {property: latency, value: 5, unit: min}
  - {property: frequency, value: 1, unit: min}
  - {property: retention, value: 2, unit: y}
  - {property: generalAvailability, value: 2026-01-01}
  - {property: latency, value: 3, unit: d, element: other_table}
support:
  - {channel: mail, url: "mailto:noise@example.org"}
"""
)


def _file(folder: Path, text: str, name: str = "noise.odcs.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def _refused(folder: Path, text: str, registry: Registry) -> str:
    with pytest.raises(ContractErrors) as caught:
        read_odcs(_file(folder, text), registry)
    return str(caught.value)


def _one(folder: Path, text: str, registry: Registry, **more: Any) -> Draft:
    (draft,) = read_odcs(_file(folder, text), registry, **more)
    return draft


def _unsound(draft: Draft, registry: Registry, **more: Any) -> list[str]:
    """What is wrong with a draft besides texts that the file does not have, which a person writes."""
    found = map(str, check_draft(draft, registry, **more))
    return [text for text in found if "still to be written" not in text]


def test_a_stream_of_v3_1_becomes_a_contract(tmp_path: Path, registry: Registry) -> None:
    draft = _one(tmp_path, NOISE, registry, domain="camera")
    assert draft.contract == {
        "id": "noise_point",
        "domain": "camera",
        "version": "1.2.0",
        "title": {"vi": "Điểm đo tiếng ồn", "en": "Điểm đo tiếng ồn"},
        "description": {
            "purpose": {"vi": "Tiếng ồn tại các điểm đo", "en": "Noise at the measuring points"},
            "usage": "Compare by hour of day.",
            "limitations": "Single points.",
        },
        "owner": "H57.YT",
        "classification": "sensitive",
        "grain": "one minute of one point",
        "key": ["point_id", "measured_at"],
        "fields": [
            {"point_id": {"required": True}},
            {"measured_at": {"required": True}},
            {"noise_db": {"required": True}},
            {"ward_code": {"references": "dim_ward.ward_code"}},
            "serial_text",
        ],
        "stream": {
            "event_time": "measured_at", "watermark": "1 min", "cadence": "1 min", "dedupe": "24 h", "rebuild": "7 d",
        },
        "sla": {"freshness": "5 min"},
        "retention": {"bronze": "90 d", "silver": "2 years"},
        "quality": [
            {"rule": "pattern", "field": "point_id", "pattern": "P[0-9]+"},
            {"rule": "completeness", "field": "noise_db", "minimum_pct": 95},
            {"rule": "unique", "fields": ["serial_text"]},
            {"rule": "row_count", "minimum": 10},
        ],
    }  # fmt: skip
    assert draft.fields["noise_db"] == {
        "type": "decimal(5,1)",
        "unit": "dB",
        "title": {"vi": "Mức ồn", "en": "Noise level"},
        "description": {"vi": "Mức trung bình trong phút", "en": "Mean level of the minute"},
        "classification": "open",
        "minimum": 0,
        "maximum": 160,
    }
    assert draft.fields["measured_at"]["type"] == "timestamp"
    assert draft.fields["serial_text"]["classification"] == "sensitive"


def test_what_is_not_taken_over_is_told_with_its_line(tmp_path: Path, registry: Registry) -> None:
    notes = _one(tmp_path, NOISE, registry).notes
    lines = dict(enumerate(NOISE.splitlines(), 1))

    def line_of(text: str) -> int:
        return next(number for number, line in lines.items() if text in line)

    for text, words in (
        ('version: "1.2"', "version 1.2 is written 1.2.0"),
        ("domain: Environment", "domain is 'environment' here"),
        ("dataProduct", "dataProduct is not taken over"),
        ("tenant", "tenant is not taken over"),
        ("server: lake", "the server 'lake' is not taken over"),
        ("name: pointId", "property 'pointId' is the field 'point_id'"),
        ("maxLength", "logicalTypeOptions.maxLength is not taken over"),
        ("calibrated", "the custom property calibrated is not taken over"),
        ("businessImpact", "businessImpact is not taken over"),
        ("type: sql", "the quality check 'sql' is not taken over"),
        ("examples", "examples is not taken over"),
        ("elsewhere.id", "the relationship to 'elsewhere.id' leads to no key"),
        ("name: place", "property 'place' is of type object and left out"),
        ("generalAvailability", "the service level generalAvailability = 2026-01-01 is not taken over"),
        ("other_table", "the service level of 'other_table' is not taken over"),
        ("support:", "support is not taken over"),
    ):
        assert any(f"noise.odcs.yaml:{line_of(text)}: " in note and words in note for note in notes), (text, notes)


def test_a_table_of_v3_0_is_read_from_its_database(tmp_path: Path, registry: Registry) -> None:
    text = """apiVersion: v3.0.2
kind: DataContract
version: 1.0.0
domain: health
customProperties:
  - {property: owner, value: H57.YT}
servers: [{server: db, type: postgres, schema: soyt, host: h}]
schema:
  - name: Vaccine Stock
    physicalName: soyt.vaccine_stock
    description: Doses in stock
    properties:
      - {name: facility_id, logicalType: string, primaryKey: true}
      - {name: counted_date, logicalType: date, partitioned: true}
      - {name: dose_count, logicalType: integer, physicalType: bigint}
      - {name: ratio, logicalType: number}
      - {name: is_cold, physicalType: bool}
slaProperties: [{property: latency, value: 12, unit: h}]
"""
    draft = _one(tmp_path, text, registry)
    contract = draft.contract
    assert (contract["id"], contract["owner"], contract["partition"]) == ("vaccine_stock", "H57.YT", "counted_date")
    assert contract["sector"] == {
        "source": "soyt", "schema": "soyt", "table": "vaccine_stock", "mode": "snapshot", "schedule": "0 * * * *",
    }  # fmt: skip
    assert contract["sla"] == {"freshness": "12 h"} and "quality" not in contract
    assert {name: entry["type"] for name, entry in draft.fields.items()} == {
        "counted_date": "date",
        "dose_count": "bigint",
        "ratio": "double",
        "is_cold": "boolean",
    }
    assert _unsound(draft, registry) == []


def test_two_objects_may_refer_to_each_other(tmp_path: Path, registry: Registry) -> None:
    text = (
        HEAD
        + """version: 1.0.0
schema:
  - name: depot
    properties: [{name: depot_code, logicalType: string, primaryKey: true}]
  - name: depot_visit
    properties:
      - {name: visit_code, logicalType: string, primaryKey: true}
      - name: depot_code
        logicalType: string
        relationships: [{to: /schema/depot/properties/depot_code}]
"""
    )
    drafts = read_odcs(_file(tmp_path, text), registry)
    assert [draft.id for draft in drafts] == ["depot", "depot_visit"]
    assert drafts[1].contract["fields"][1] == {"depot_code": {"references": "depot.depot_code"}}
    assert [_unsound(draft, registry, beside=drafts) for draft in drafts] == [[], []]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            NOISE.replace("v3.1.0", "v2.2.2"),
            "noise.odcs.yaml:1: is of ODCS v2.2.2, which is not read (allowed: v3.0.0, v3.0.1, v3.0.2, v3.1.0; convert",
        ),
        (NOISE.replace("v3.1.0", "v4.0.0"), "noise.odcs.yaml:1: is of ODCS v4.0.0, which is not read"),
        (NOISE.replace("apiVersion: v3.1.0\n", ""), "key 'apiVersion' is missing (allowed: v3.0.0"),
        (NOISE.replace("kind: DataContract", "kind: Other"), "noise.odcs.yaml:2: kind is 'Other' (allowed: DataContr"),
        ("dataContractSpecification: 1.1.0\nid: x\n", "noise.odcs.yaml:1: is a Data Contract Specification"),
        ("apiVersion: [v3.1.0\n", "not valid YAML"),
        ("- a\n", "noise.odcs.yaml:1: a schema file holds a mapping at its top"),
        (HEAD + "version: 1.0.0\n", "holds no `schema` (list at least one object"),
        (HEAD + "version: first\nschema: [{name: a, properties: [{name: k, logicalType: string, primaryKey: true}]}]\n",
         "noise.odcs.yaml:5: version 'first' is none (write major.minor.patch"),
        (HEAD + "version: 1.0.0\nschema: [{name: a}]\n", "an object has no properties"),
        (HEAD + "version: 1.0.0\nschema: [{name: a, properties: [{name: k, logicalType: string}]}]\n",
         "no property of 'a' is a key (write `primaryKey: true`)"),
        (NOISE.replace("logicalType: object", "logicalType: object\n        primaryKey: true"),
         "the key 'place' is of type object, which has no place in a flat row"),
        (NOISE.replace("        logicalType: number", "        logicalType: blob"),
         "property 'noise_db' has type 'blob' (allowed logicalType: string, boolean, integer, number, date, timest"),
        (NOISE.replace("name: serial_text\n        logicalType: string", "name: stage_m\n        logicalType: boolean"),
         "property 'stage_m' is boolean, the field 'stage_m' of the dictionary is decimal(9,3) (a field has one type"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_contract_is_refused_with_line_and_remedy(
    tmp_path: Path, registry: Registry, text: str, expected: str
) -> None:
    assert expected in _refused(tmp_path, text, registry)


def test_every_finding_is_told_at_once(tmp_path: Path, registry: Registry) -> None:
    text = (
        HEAD
        + """version: one
schema:
  - name: a
    properties: [{name: k, logicalType: string}]
  - properties: [{name: k, logicalType: blob, primaryKey: true}]
"""
    )
    found = _refused(tmp_path, text, registry).splitlines()
    assert len(found) == 3


# ── the command ──────────────────────────────────────────────────────────────────────────────────────────────────


def _import(*words: str) -> Any:
    return CliRunner().invoke(contracts_app, ["import", *words])


def test_import_writes_the_contract_and_prints_what_is_left(project: Path, tmp_path: Path) -> None:
    file = _file(tmp_path, NOISE)
    done = _import(str(file), "--domain", "flood", "--owner", "H57.YT")
    assert done.exit_code == 0, done.output
    path = project / "schemas/datasets/flood/noise_point.yaml"
    assert path.read_text(encoding="utf-8").startswith("id: noise_point\ndomain: flood\nversion: 1.2.0\n")
    for words in ("noise_db: {type:", "dataProduct is not taken over", "Còn phải sửa — still to mend", "legal_basis"):
        assert words in done.output
    again = _import(str(file), "--domain", "flood")
    assert isinstance(again.exception, ContractErrors) and "unknown field" in str(again.exception)


def test_all_objects_are_written_or_none(project: Path, tmp_path: Path) -> None:
    text = (
        HEAD
        + """version: 1.0.0
schema:
  - {name: depot, properties: [{name: station_id, logicalType: string, primaryKey: true}]}
  - {name: river_stage, properties: [{name: station_id, logicalType: string, primaryKey: true}]}
"""
    )
    before = sorted(project.rglob("*"))
    refused = _import(str(_file(tmp_path, text)), "--domain", "flood")
    assert isinstance(refused.exception, ContractErrors)
    assert "the dataset exists already in schemas/datasets/flood/river_stage.yaml" in str(refused.exception)
    assert sorted(project.rglob("*")) == before
    missing = _import(str(tmp_path / "absent.yaml"))
    assert isinstance(missing.exception, LakeError) and "There is no file" in str(missing.exception)


NOT_SAID = {
    "INPUT_FORMAT_REMOVED",
    "RULE_REMOVED",
    "SECTOR_CHANGED",
    "STREAM_CHANGED",
    "TOPIC_SHRUNK",
    "NOTE_CHANGED",
    "END_DATE_CHANGED",
}
"""What ODCS has no words for: formats of a sender, rules between fields, how a source is read, the sample, and until
when a dataset is filled."""


def _resolved(source: SourceFile, registry: Registry) -> Dataset:
    return resolve_dataset(source, registry.dictionary, {one.id: one for one in registry.sector_sources})


@LAW
@given(contracts())
def test_any_contract_comes_back_from_its_odcs_form(one: Generated) -> None:
    registry, dataset = loaded(one)
    contract = odcs.contract(dataset, registry)
    Draft201909Validator(SCHEMA).validate(contract)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draft = _one(folder, yaml_file(contract), registry)
        written = _file(folder, contract_text(draft), "contract.yaml")
        found = _resolved(SourceFile(written, folder), registry)
    differences = changes(edition(registry, dataset), edition(registry, found))
    assert {change.kind.name for change in differences} <= NOT_SAID, list(map(str, differences))


def test_a_field_that_is_called_like_a_column_of_the_platform_comes_back(tmp_path: Path, registry: Registry) -> None:
    text = yaml_file(odcs.contract(registry.dataset("fct_river_stage"), registry))
    assert "qc_flag" in [next(iter(field)) for field in _one(tmp_path, text, registry).contract["fields"]]
    stream = yaml_file(odcs.contract(registry.dataset("river_stage"), registry))
    draft = _one(tmp_path, stream, registry)
    assert "qc_flag" not in str(draft.contract["fields"])
    assert any("the platform adds the column 'qc_flag'" in note for note in draft.notes)


def test_an_end_and_what_is_replaced_come_back(tmp_path: Path, two_majors: Registry) -> None:
    drafts = {d.id: _one(tmp_path, yaml_file(odcs.contract(d, two_majors)), two_majors) for d in two_majors.datasets}
    assert drafts["river_stage"].contract["end_date"] == "2027-06-30"
    assert drafts["river_stage_v2"].contract["supersedes"] == "river_stage"
    assert "supersedes: river_stage\n" in contract_text(drafts["river_stage_v2"])


def test_contracts_of_ours_come_back_from_their_odcs_form(tmp_path: Path, registry: Registry) -> None:
    for dataset in (*registry.streams(), *registry.sector_tables()):
        text = yaml_file(odcs.contract(dataset, registry))
        draft = _one(tmp_path, text, registry)
        assert not draft.fields, f"{dataset.id}: the dictionary has all of its fields"
        written = _file(tmp_path, contract_text(draft), "contract.yaml")
        found = _resolved(SourceFile(written, tmp_path), registry)
        differences = changes(edition(registry, dataset), edition(registry, found))
        assert {change.kind.name for change in differences} <= NOT_SAID, (dataset.id, list(map(str, differences)))
