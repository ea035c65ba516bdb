"""A contract from a sample: what it infers, what it asks, and that it is sound once its fields are defined."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from pipelines.commands.contracts import contracts_app
from pipelines.commands.samples import read_sample, read_table
from pipelines.contracts.draft import Draft, check_draft, contract_text
from pipelines.contracts.errors import ContractErrors
from pipelines.contracts.logical_types import parse
from pipelines.contracts.names import identifier
from pipelines.contracts.naming import Vocabulary, proposed_entry, spelled
from pipelines.contracts.registry import Registry, load_registry
from pipelines.contracts.scaffold import Sampled, logical_type, scaffold
from pipelines.contracts.validators import check
from pipelines.runtime.errors import LakeError

T0 = datetime(2026, 10, 27, tzinfo=UTC)


def _parking(rows: int = 40) -> str:
    """Two car parks that report every ten minutes, as an office would export it."""
    lines = ["MaBai;Thời gian;laneId;so_xe;nhiet_do_c;dang_mo;ward_code;driver_phone;zip"]
    for number in range(rows):
        at = (T0 + timedelta(minutes=10 * (number // 2))).isoformat()
        phone = f"09123{number:05}" if number % 3 else ""
        lines.append(f"P{number % 2};{at};1;{number % 7};{20 + number / 4};true;19753;{phone};0070{number % 10}")
    return "\n".join(lines) + "\n"


def _sample(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def _new(*words: str) -> Any:
    return CliRunner().invoke(contracts_app, ["new", *words], terminal_width=200)


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("Mực nước (m)", "muc_nuoc_m"),
        ("laneId", "lane_id"),
        ("Đường", "duong"),
        ("2nd value", "field_2nd_value"),
        ("%", "field"),
        ("HTTPStatus", "httpstatus"),
        ("a__b", "a_b"),
    ],
)
def test_names_are_spelled_as_the_lake_spells_them(column: str, name: str) -> None:
    assert spelled(column) == name


@given(st.text(max_size=100), st.sampled_from(["string", "timestamp", "date", "boolean", "integer", "decimal(9,3)"]))
def test_every_column_gets_a_lawful_name(column: str, kind: str) -> None:
    identifier(spelled(column))
    name, entry = proposed_entry(column, parse(kind))
    identifier(name)
    assert entry["classification"] in {"internal", "personal"}


@pytest.mark.parametrize(
    ("column", "kind", "name", "more"),
    [
        ("created", "timestamp", "created_at", {}),
        ("Timestamp", "timestamp", "observed_at", {}),
        ("start_time", "timestamp", "start_at", {}),
        ("built", "date", "built_date", {}),
        ("open", "boolean", "is_open", {}),
        ("has_roof", "boolean", "has_roof", {}),
        ("water_m", "decimal(9,3)", "water_m", {"unit": "m"}),
        ("noise_db", "integer", "noise_db", {"unit": "dB"}),
        ("bien_so", "string", "bien_so_token", {"tokenise": {"source": "bien_so", "kind": "plate"}}),
        ("so_cccd", "bigint", "so_cccd_token", {"tokenise": {"source": "so_cccd", "kind": "citizen_id"}}),
        ("ho_ten", "string", "ho_ten_token", {"tokenise": {"source": "ho_ten", "kind": "name"}}),
        ("email", "string", "email", {"classification": "personal"}),
        ("road_name", "string", "road_name", {"classification": "internal"}),
    ],
)
def test_a_new_field_obeys_the_naming_law(column: str, kind: str, name: str, more: dict[str, Any]) -> None:
    found, entry = proposed_entry(column, parse(kind))
    assert found == name
    assert {key: entry.get(key) for key in more} == more


def test_a_taken_name_is_numbered_before_its_ending() -> None:
    assert proposed_entry("total_vnd", parse("bigint"), taken=["total_vnd"])[0] == "total_2_vnd"
    assert proposed_entry("Total vnd", parse("bigint"), taken=["total_vnd", "total_2_vnd"])[0] == "total_3_vnd"


def test_the_dictionary_is_asked_by_name_alias_and_clear_value(registry: Registry) -> None:
    words = Vocabulary(registry.dictionary)
    assert words.find("stage_m") == "stage_m"
    assert words.find("Stage M") == "stage_m"
    assert words.find("laneId") == "lane_no"
    assert words.find("phenomenonTime") == "observed_at"
    assert words.find("reporter_phone") == "phone_token"
    assert words.find("id") is None, "several fields have this alias"
    assert words.find("colour") is None


# ── types ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["a", None], "string"),
        ([None, None], "string"),
        ([True, False], "boolean"),
        ([1, -5], "integer"),
        ([1, 2**31], "bigint"),
        ([1.5, 2.25], "decimal(9,3)"),
        ([100.0, 2.0], "decimal(9,3)"),
        ([0.0001, 1.0], "decimal(9,4)"),
        ([123456789.25], "decimal(12,3)"),
        ([1 / 3], "double"),
        ([float("nan")], "double"),
        ([Decimal("1.50")], "decimal(3,2)"),
        ([T0.date()], "date"),
        ([T0], "timestamp"),
    ],
)
def test_types_are_inferred_exactly(values: list[Any], kind: str) -> None:
    assert str(logical_type(pa.chunked_array([pa.array(values)]))) == kind


def test_what_a_database_declares_is_not_narrowed() -> None:
    assert str(logical_type(pa.chunked_array([pa.array([1], pa.int64())]), declared=True)) == "bigint"
    assert str(logical_type(pa.chunked_array([pa.array([1.5])]), declared=True)) == "double"
    assert logical_type(pa.chunked_array([pa.array([[1]])])) is None
    assert logical_type(pa.chunked_array([pa.array([{"a": 1}])])) is None


def _kinds(sampled: Sampled) -> dict[str, str]:
    return {name: str(logical_type(sampled.rows[name])) for name in sampled.rows.column_names}


def test_a_csv_is_read_as_it_was_meant(tmp_path: Path) -> None:
    kinds = _kinds(read_sample(_sample(tmp_path, "p.csv", "\ufeff" + _parking())))
    assert kinds == {
        "MaBai": "string",
        "Thời gian": "timestamp",
        "laneId": "integer",
        "so_xe": "integer",
        "nhiet_do_c": "decimal(9,3)",
        "dang_mo": "boolean",
        "ward_code": "integer",
        "driver_phone": "string",
        "zip": "string",
    }
    dates = _kinds(read_sample(_sample(tmp_path, "d.csv", "day,at,one\n2026-01-02,2026-01-02 10:00,a\n")))
    assert dates == {"day": "date", "at": "timestamp", "one": "string"}


def test_json_is_a_list_or_one_object_per_line(tmp_path: Path) -> None:
    rows = [{"id": "a", "at": "2026-10-27T00:00:00Z", "n": 1}, {"id": "b", "at": "2026-10-27T00:10:00+07:00", "n": "x"}]
    for name, text in (("a.json", json.dumps(rows)), ("b.jsonl", "\n".join(json.dumps(row) for row in rows))):
        assert _kinds(read_sample(_sample(tmp_path, name, text))) == {"id": "string", "at": "timestamp", "n": "string"}


def test_parquet_keeps_its_types_and_nested_columns_are_told(tmp_path: Path, registry: Registry) -> None:
    table = pa.table({"id": ["a", "b"], "place": [{"x": 1}, {"x": 2}], "level_m": [1.5, 2.0], "note": [None, None]})
    pq.write_table(table, tmp_path / "t.parquet")
    draft = scaffold("tank", read_sample(str(tmp_path / "t.parquet")), registry)
    assert "place" not in draft.contract["fields"] and "level_m" in draft.contract["fields"]
    assert any("'place' holds struct<x: int64>" in note for note in draft.notes)
    assert any("'note' is empty in the sample" in note for note in draft.notes)
    with pytest.raises(ValueError, match="has no column with single values"):
        scaffold("tank", Sampled(table.select(["place"]), "t"), registry)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("absent.csv", None, "There is no file"),
        ("a.xlsx", b"x", "Allowed are .csv, .tsv, .json, .jsonl, .ndjson, .parquet"),
        ("latin.csv", "Tên\nHuế\n".encode("utf-16"), "is not UTF-8"),
        ("empty.csv", b"", "empty.csv cannot be read"),
        ("header.csv", b"a,b\n", "header.csv"),
        ("twice.csv", b"a,a\n1,2\n", "the column a stands there more than once"),
        ("ragged.csv", b"a,b\n1,2\n3\n", "ragged.csv cannot be read"),
        ("broken.json", b"{", "broken.json cannot be read"),
        ("numbers.json", b"[1, 2]", "a list of objects is expected"),
        ("not.parquet", b"PAR0", "not.parquet cannot be read"),
    ],
)
def test_a_sample_that_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(LakeError) as caught:
        read_sample(str(tmp_path / name))
    assert words in str(caught.value) and name in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:secret@h/db",
        "postgresql://u:secret@h/db?table=orders",
        "mysql://u:secret@h/db?table=a.b",
        "postgresql://u:secret@h:port/db?table=a.b",
    ],
)
def test_a_url_that_names_no_table_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(LakeError) as caught:
        read_sample(url)
    assert "table=schema.table" in str(caught.value) and "secret" not in str(caught.value)


# ── tables of a database ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def engine() -> sa.Engine:
    engine = sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool)
    meta = sa.MetaData()
    table = sa.Table(
        "permit",
        meta,
        sa.Column("permit_id", sa.BigInteger, primary_key=True),
        sa.Column("ward_code", sa.String(10)),
        sa.Column("fee_vnd", sa.Numeric(12, 0)),
        sa.Column("area", sa.Numeric),
        sa.Column("score", sa.Float),
        sa.Column("Status", sa.String(10)),
        sa.Column("papers", sa.LargeBinary),
        sa.Column("updated_at", sa.DateTime(timezone=True)),
        schema="main",
    )
    meta.create_all(engine)
    with engine.begin() as connection:
        for number in range(30):
            row = {"permit_id": number, "ward_code": "19753", "fee_vnd": Decimal(1000 + number), "score": 0.5}
            more = {"area": Decimal("12.34567"), "Status": "open", "papers": b"x", "updated_at": T0 + timedelta(number)}
            connection.execute(table.insert().values(row | more))
    return engine


def test_a_table_gives_its_key_its_types_and_its_cursor(engine: sa.Engine, registry: Registry) -> None:
    draft = scaffold("building_permit", read_table(engine, "main", "permit"), registry, domain="services")
    contract = draft.contract
    assert contract["key"] == ["permit_id"]
    assert contract["sector"] == {
        "source": "hues", "schema": "main", "table": "permit", "mode": "cursor", "cursor": "updated_at",
        "lag": "1 h", "schedule": "0 * * * *",
    }  # fmt: skip
    assert {name: entry["type"] for name, entry in draft.fields.items()} == {
        "permit_id": "bigint",
        "fee_vnd": "decimal(12,0)",
        "area": "decimal(18,5)",
        "score": "double",
    }
    assert {"permit_id": {"required": True}} in contract["fields"] and "ward_code" in contract["fields"]
    notes = "\n".join(draft.notes)
    assert "'papers' is BLOB, which a contract does not hold" in notes
    assert "'Status' needs a view" in notes
    assert _left(draft, registry) == (5 + 2 * len(draft.fields), [])


def test_an_absent_or_empty_table_is_refused(engine: sa.Engine) -> None:
    with pytest.raises(LakeError, match=r"There is no table main\.permits.*Tables of main: permit"):
        read_table(engine, "main", "permits")
    with engine.begin() as connection:
        connection.execute(sa.text("delete from permit"))
    with pytest.raises(LakeError, match="holds no rows"):
        read_table(engine, "main", "permit")


def _left(draft: Draft, registry: Registry) -> tuple[int, list[str]]:
    """How many texts a person still has to write, and whatever else is wrong."""
    found = [str(finding) for finding in check_draft(draft, registry)]
    other = [text for text in found if "still to be written" not in text]
    return len(found) - len(other), other


# ── the contract ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_readings_become_a_stream_and_personal_values_tokens(tmp_path: Path, registry: Registry) -> None:
    sampled = read_sample(_sample(tmp_path, "parking.csv", _parking()))
    draft = scaffold("parking_bay", sampled, registry, domain="transport", owner="H57.XD")
    contract = draft.contract
    assert contract["key"] == ["ma_bai", "thoi_gian_at"]
    assert contract["partition"] == "thoi_gian_date"
    assert contract["stream"]["event_time"] == "thoi_gian_at" and contract["stream"]["cadence"] == "10 min"
    assert contract["classification"] == "personal" and contract["retention"]["bronze"] == "7 d"
    assert draft.fields["driver_phone_token"]["tokenise"] == {"source": "driver_phone", "kind": "phone"}
    assert {"lane_no", "ward_code"}.isdisjoint(draft.fields), "the dictionary has them"
    assert _left(draft, registry) == (7 + 2 * len(draft.fields), [])
    assert "#" not in contract_text(draft)
    notes = "\n".join(draft.notes)
    for words in ("'laneId' is the field 'lane_no'", "'driver_phone' looks personal", "every 10 min", "is it in all"):
        assert words in notes


def _rows(registry: Registry, **columns: list[Any]) -> Draft:
    return scaffold("thing", Sampled(pa.table(columns), "things.csv"), registry)


def test_a_key_is_guessed_from_ids_and_instants_before_chance(registry: Registry) -> None:
    count = list(range(30))
    assert _rows(registry, amount=count, ma_don=[f"D{n}" for n in count]).contract["key"] == ["ma_don"]
    pairs = {"shop_id": [n % 3 for n in count], "day_no": [n // 3 for n in count], "label": [str(n) for n in count]}
    assert _rows(registry, **pairs).contract["key"] == ["shop_id", "day_no"]
    measured = _rows(registry, vehicle_count=count, road=["a"] * 30)
    assert measured.contract["key"] == ["road"]
    assert any("no 3 columns are unique" in note for note in measured.notes)
    alone = _rows(registry, recorded_at=[T0 + timedelta(hours=n) for n in count])
    assert alone.contract["key"] == ["recorded_at"] and alone.contract["stream"]["cadence"] == "1 h"


def test_what_differs_from_the_dictionary_is_told(registry: Registry) -> None:
    draft = _rows(registry, ticket_id=["a", "b"], stage_m=["low", "high"], at=[datetime(2026, 1, 1)] * 2)
    notes = "\n".join(draft.notes)
    assert "'stage_m' looks like string, the field 'stage_m' is decimal(9,3): another meaning?" in notes
    assert "'at' has times without a zone" in notes and "2 rows" in notes


def test_new_writes_a_contract_that_is_sound_once_its_fields_are_added(project: Path, tmp_path: Path) -> None:
    sample = _sample(tmp_path, "parking.csv", _parking())
    done = _new("parking_bay", "--from", sample, "--domain", "flood", "--owner", "H57.XD")
    assert done.exit_code == 0, done.output
    path = project / "schemas/datasets/flood/parking_bay.yaml"
    assert "schemas/datasets/flood/parking_bay.yaml" in done.output and str(tmp_path) not in path.read_text()
    entries = [line for line in done.output.splitlines() if ": {type:" in line]
    assert len(entries) == 7
    with pytest.raises(ContractErrors, match="unknown field 'ma_bai'"):
        load_registry(project / "schemas")
    with (project / "schemas/fields.yaml").open("a", encoding="utf-8") as handle:
        handle.write("\n".join(entries) + "\n")
    found = _findings(project)
    assert found and all("still to be written" in line for line in found), found
    # A person writes the texts; what stands behind the marks will do here.
    for written in (path, project / "schemas/fields.yaml"):
        text = written.read_text(encoding="utf-8")
        written.write_text(text.replace("CẦN VIẾT: ", "").replace("TO WRITE: ", ""), encoding="utf-8")
    assert not _findings(project)

    text = path.read_text()
    again = _new("parking_bay", "--from", sample, "--domain", "transport")
    assert isinstance(again.exception, ContractErrors)
    assert "the dataset exists already in schemas/datasets/flood/parking_bay.yaml" in str(again.exception)
    assert path.read_text() == text and not (project / "schemas/datasets/transport").exists()


def _findings(project: Path) -> list[str]:
    """What a check says of the new contract and its fields; the project lacks the other domains."""
    try:
        check(load_registry(project / "schemas"))
    except ContractErrors as errors:
        others = ("used by no dataset", "which is no dataset")
        return [line for line in str(errors).splitlines() if not line.partition(" (")[0].endswith(others)]
    return []


def test_new_never_overwrites_a_file(project: Path, tmp_path: Path) -> None:
    path = project / "schemas/datasets/transport/parking_bay.yaml"
    path.parent.mkdir()
    sample = _sample(tmp_path, "parking.csv", _parking())
    (project / "schemas/datasets/transport/parking_bay.yaml.old").write_text("kept")
    done = _new("parking_bay", "--from", sample, "--domain", "transport")
    assert done.exit_code == 0 and path.exists()
    path.write_text("id: another_one\n")
    broken = _new("parking_bay", "--from", sample, "--domain", "transport")
    assert isinstance(broken.exception, ContractErrors) and path.read_text() == "id: another_one\n"


@pytest.mark.parametrize(("name", "domain"), [("Parking", None), ("2bays", None), ("parking_bay", "Giao thông")])
def test_names_that_are_not_allowed_are_refused(project: Path, tmp_path: Path, name: str, domain: str | None) -> None:
    words = [name, "--from", _sample(tmp_path, "p.csv", _parking()), *(("--domain", domain) if domain else ())]
    refused = _new(*words)
    assert isinstance(refused.exception, LakeError) and "is not an identifier" in str(refused.exception)


@pytest.mark.parametrize("command", ["new", "import", "diff", "publish"])
def test_help_teaches_in_both_languages(command: str) -> None:
    shown = CliRunner().invoke(contracts_app, [command, "--help"])
    assert shown.exit_code == 0 and " — " in shown.output and "hợp đồng" in shown.output.lower()
