"""The envelope: what travels, what is refused, and that no clear personal value ever does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.contracts.registry import Registry
from pipelines.gateway import envelope
from pipelines.gateway.envelope import RawRecord, Refusal, seal
from pipelines.gateway.intake import Gateway
from pipelines.gateway.tokens import Tokeniser
from pipelines.gateway.wire import decode_object, encode_decoded, encode_object
from pipelines.runtime.settings import Settings

HOME = Path(__file__).resolve().parents[3]
RECEIVED = datetime(2025, 10, 27, 13, 0, 5, 250_000, tzinfo=UTC)
TOKENISER = Tokeniser({1: b"k" * 32})
STAGE = {"station_id": "71520", "observed_at": "2025-10-27T20:00:00+07:00", "stage_m": Decimal("5.05")}
EVENT = {
    "event_id": "V1",
    "observed_at": "2025-10-27T13:00:00Z",
    "camera_id": "HUE-C19789-1",
    "violation_type": "red_light",
    "plate": "75A-123.45",
    "confidence": 0.91,
    "review_status": "pending",
    "ward_code": "19789",
    "evidence_uri": "evidence/V1.jpg",
}


def sealed(registry: Registry, dataset: str, payload: bytes | Mapping[str, Any]) -> RawRecord | Refusal:
    return seal(
        registry.dataset(dataset),
        payload,
        source="gw-1",
        origin="observed",
        received_at=RECEIVED,
        tokeniser=TOKENISER,
    )


def record(registry: Registry, dataset: str, payload: bytes | Mapping[str, Any]) -> RawRecord:
    result = sealed(registry, dataset, payload)
    assert isinstance(result, RawRecord), result
    return result


def refusal(registry: Registry, dataset: str, payload: bytes | Mapping[str, Any]) -> Refusal:
    result = sealed(registry, dataset, payload)
    assert isinstance(result, Refusal), result
    return result


def test_an_open_reading_is_normalised_and_completed(registry: Registry) -> None:
    result = record(registry, "river_stage", {**STAGE, "origin": "replay", "note": "Hoà"})
    assert (
        result.value
        == (
            '{"station_id":"71520","observed_at":"2025-10-27T13:00:00Z","stage_m":5.05,"note":"Hoà",'
            '"origin":"observed","revision":0}'
        ).encode()
    )
    assert (result.topic, result.key) == ("raw.river_stage", b"71520")
    assert result.timestamp_ms == 1761570005250
    assert dict(result.headers) == {"source": b"gw-1"}


def test_a_field_that_no_contract_knows_yet_travels_in_nfc(registry: Registry) -> None:
    result = record(registry, "river_stage", {**STAGE, "maker": normalize("NFD", "Điện Quang"), "deep": {"x": 1}})
    assert json.loads(result.value)["maker"] == normalize("NFC", "Điện Quang")
    assert json.loads(result.value)["deep"] == {"x": 1}


def test_bytes_and_mapping_give_the_same_record(registry: Registry) -> None:
    data = b'\xef\xbb\xbf{"station_id":71520,"observed_at":"2025-10-27T20:00:00+07:00","stage_m":"5.05"}'
    assert record(registry, "river_stage", data) == record(registry, "river_stage", STAGE)


def test_the_key_joins_the_entity(registry: Registry) -> None:
    body = {"detector_id": "HUE-D01", "lane_no": 2, "observed_at": "2025-10-27T13:00:00Z", "vehicle_count": 3.0}
    result = record(registry, "lane_minute", body)
    assert result.key == b"HUE-D01|2"
    assert json.loads(result.value)["vehicle_count"] == 3


def test_a_decimal_is_rounded_to_the_scale_of_the_contract(registry: Registry) -> None:
    assert b'"stage_m":5.051,' in record(registry, "river_stage", {**STAGE, "stage_m": Decimal("5.0505")}).value


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not json",
        b"[1,2]",
        b"null",
        b"\xff\xfe",
        b'{"station_id":"71520"',
        b'{"station_id":"71520","observed_at":"2025-10-27T13:00:00Z","stage_m":NaN}',
        b'{"station_id":"71520","observed_at":"2025-10-27T13:00:00Z","stage_m":"abc"}',
        b'{"station_id":"71520","observed_at":"2025-10-27T13:00:00Z","stage_m":1e999999999}',
        b'{"station_id":"71520","observed_at":"2025-10-27T13:00:00Z","stage_m":12345678}',
        b'{"station_id":"71520","observed_at":"2025-10-27T13:00:00","stage_m":1}',
        b'{"station_id":null,"observed_at":"2025-10-27T13:00:00Z","stage_m":1}',
        b'{"station_id":"\\ud800","observed_at":"2025-10-27T13:00:00Z","stage_m":1}',
        b'{"stage_m":1}',
        b"[" * 100_000,
        b'{"station_id":"71520","observed_at":"2025-10-27T13:00:00Z","stage_m":1,"revision":"x"}',
    ],
)
def test_what_cannot_be_used_travels_as_it_came_when_it_is_open(registry: Registry, data: bytes) -> None:
    result = record(registry, "river_stage", data)
    assert result.as_came
    assert result.value == data
    assert result.key == b"gw-1"


def test_a_large_payload_is_refused_whatever_it_is(registry: Registry) -> None:
    data = b'{"x":"' + b"x" * (5 * 1024 * 1024) + b'"}'
    for dataset in ("river_stage", "violation_event"):
        assert refusal(registry, dataset, data).reason == envelope.TOO_LARGE


def test_nobody_can_forge_a_refusal_marker(registry: Registry) -> None:
    forged = b'{"lake.refused":{"reason":"x","ref":"y","size_bytes":1}}'
    assert refusal(registry, "river_stage", forged).reason == envelope.RESERVED_KEY


def test_a_plate_becomes_a_token_and_unknown_fields_are_dropped(registry: Registry) -> None:
    result = record(registry, "violation_event", {**EVENT, "driver": "Nguyễn Văn An", "plate_token": "75A-123.45"})
    value = json.loads(result.value)
    assert value["plate_token"] == TOKENISER.token("plate", "75A12345")
    assert "plate" not in value
    assert "driver" not in value
    assert result.dropped_fields == 2
    assert value["origin"] == "observed"


def test_a_missing_plate_is_no_reason_to_lose_the_event(registry: Registry) -> None:
    value = json.loads(record(registry, "violation_event", {**EVENT, "plate": None}).value)
    assert value["plate_token"] is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"plate": 7512345}, envelope.PERSONAL_INVALID),
        ({"plate": "Nguyễn Văn An"}, envelope.PERSONAL_INVALID),
        ({"confidence": "75A-123.45"}, envelope.PERSONAL_UNPARSEABLE),
        ({"event_id": None}, envelope.PERSONAL_UNPARSEABLE),
        ({"observed_at": None}, envelope.PERSONAL_UNPARSEABLE),
        ({"evidence_uri": "evidence/75A12345.jpg"}, envelope.PERSONAL_LEAK),
        ({"event_id": "V-75a.123.45"}, envelope.PERSONAL_LEAK),
        ({"event_id": "\ud800"}, envelope.PERSONAL_UNPARSEABLE),
    ],
)
def test_a_personal_payload_that_is_not_understood_is_refused(
    registry: Registry, change: dict[str, Any], reason: str
) -> None:
    data = json.dumps({**EVENT, **change}).encode()
    result = refusal(registry, "violation_event", data)
    assert result.reason == reason
    assert result.data == data
    assert "75A" not in result.detail
    assert "Nguyễn" not in result.detail


@pytest.mark.parametrize("data", [b"", b"75A-123.45", b'["75A-123.45"]', b"\xff", b'{"plate":"75A-123.45"'])
def test_personal_bytes_that_do_not_parse_never_travel(registry: Registry, data: bytes) -> None:
    assert refusal(registry, "violation_event", data).reason == envelope.PERSONAL_UNPARSEABLE


PLATES = st.from_regex(r"[1-9][0-9][A-HK-Z][1-9]?[-. ][0-9]{3}\.?[0-9]{2}", fullmatch=True)


@given(plate=PLATES, where=st.sampled_from([*EVENT, "extra", "nested"]), prefix=st.text(max_size=5))
def test_a_clear_plate_never_travels_wherever_it_stands(
    registry: Registry, plate: str, where: str, prefix: str
) -> None:
    body: dict[str, Any] = {**EVENT, "plate": plate}
    if where == "nested":
        body["extra"] = {"deep": [plate]}
    elif where != "plate":
        body[where] = prefix + plate
    result = sealed(registry, "violation_event", json.dumps(body).encode())
    if isinstance(result, RawRecord):
        folded = "".join(c for c in (result.value + result.key).decode().upper() if c.isalnum())
        token = json.loads(result.value)["plate_token"]
        folded = folded.replace("".join(c for c in token.upper() if c.isalnum()), "").replace("20251027T130000Z", "")
        assert "".join(c for c in plate.upper() if c.isalnum()) not in folded


@given(st.binary(max_size=200))
def test_any_bytes_give_a_record_or_a_refusal(registry: Registry, data: bytes) -> None:
    for dataset in ("river_stage", "violation_event"):
        sealed(registry, dataset, data)


def test_a_caller_that_is_wrong_is_told(registry: Registry) -> None:
    dataset = registry.dataset("river_stage")
    with pytest.raises(ValueError, match="origin"):
        seal(dataset, b"", source="x", origin="real", received_at=RECEIVED, tokeniser=TOKENISER)
    with pytest.raises(ValueError, match="source"):
        seal(dataset, b"", source="", origin="observed", received_at=RECEIVED, tokeniser=TOKENISER)
    with pytest.raises(ValueError, match="sector table"):
        seal(
            registry.dataset("road_asset"),
            b"",
            source="x",
            origin="observed",
            received_at=RECEIVED,
            tokeniser=TOKENISER,
        )


def test_the_gateway_keeps_refused_bytes_and_sends_their_marker(registry: Registry, tmp_path: Path) -> None:
    settings = Settings.load({"LAKE_HOME": str(HOME), "LAKE_STATE": str(tmp_path), "LAKE_NAMESPACE": "unit"})
    gateway = Gateway.open(registry, settings)
    data = b'{"plate":"75A-123.45"'
    first, again = (
        gateway.accept("violation_event", data, source="cam", origin="observed", received_at=RECEIVED) for _ in "ab"
    )
    assert first == again
    assert first.value.startswith(b'{"lake.refused":{"reason":"personal_unparseable","ref":"violation_event/')
    marker = json.loads(first.value)["lake.refused"]
    assert (marker["size_bytes"], marker["origin"]) == (len(data), "observed")
    assert gateway.store.get(marker["ref"]) == data
    assert not any(b"75A" in p.read_bytes() for p in settings.lake_root.rglob("*") if p.is_file())
    assert gateway.counts["violation_event", "personal_unparseable"] == 2


JSON_TEXTS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.text()
    | st.decimals(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), JSON_TEXTS))
def test_both_encoders_write_the_same_bytes(body: dict[str, Any]) -> None:
    written = encode_object(body)
    assert encode_decoded(body) == written
    assert encode_decoded(decode_object(written)) == written


@pytest.mark.parametrize("dataset", ["alert_cap", "flood_forecast_model"])
def test_the_platform_seals_what_it_alone_writes(registry: Registry, settings: Settings, dataset: str) -> None:
    gateway = Gateway.open(registry, settings)
    row = {"cap_identifier": "x", "ward_code": "19753", "station_id": "71520", "issued_at": "2025-10-27T13:00:00Z"}
    row |= {"forecast_method": "trend", "parameter_set_id": "0123456789ab"}
    made = gateway.accept(
        dataset, {**row, "lead_h": 1}, source="lake", origin="replay", received_at=datetime(2025, 10, 27, tzinfo=UTC)
    )
    assert (made.topic, made.reason, made.as_came) == (f"raw.{dataset}", "", False)
