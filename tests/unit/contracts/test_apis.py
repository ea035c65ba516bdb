"""JSON Schema, OpenAPI and AsyncAPI: valid by their standards, and true of what the gateway takes and seals."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator, Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from pipelines.contracts import artifacts
from pipelines.contracts.registry import Registry
from pipelines.contracts.targets import asyncapi, json_schema, openapi, trino
from pipelines.gateway.envelope import RawRecord, seal
from pipelines.gateway.tokens import Tokeniser

ROOT = Path(__file__).parents[3]
STANDARDS = Path(__file__).parent / "standards"
ASYNCAPI = Draft7Validator(json.loads((STANDARDS / "asyncapi-3.0.0.json").read_text(encoding="utf-8")))
STAGE = {"station_id": "71520", "observed_at": "2025-10-27T20:00:00+07:00", "stage_m": 5.05}
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
RECORDS = {"river_stage": STAGE, "violation_event": EVENT}


def _schema(registry: Registry, name: str) -> Draft202012Validator:
    schema = json_schema.record(registry.dataset(name), registry, json_schema.in_place)
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


def _sealed(registry: Registry, name: str, record: dict[str, Any]) -> dict[str, Any]:
    found = seal(
        registry.dataset(name),
        record,
        source="gw-1",
        origin="observed",
        received_at=datetime(2025, 10, 27, 13, tzinfo=UTC),
        tokeniser=Tokeniser({1: b"k" * 32}),
    )
    assert isinstance(found, RawRecord) and not found.as_came
    return dict(json.loads(found.value))


@pytest.mark.parametrize("name", ["river_stage", "violation_event"])
def test_the_schema_of_a_record(registry: Registry, golden: Callable[[str, str], None], name: str) -> None:
    golden(f"{name}.schema.json", json_schema.render(registry)[f"catalog/json_schema/{name}.schema.json"])


def test_every_schema_is_one(registry: Registry) -> None:
    files = json_schema.render(registry)
    assert len(files) == len(registry.sent())
    for text in files.values():
        Draft202012Validator.check_schema(json.loads(text))


@pytest.mark.parametrize("name", sorted(RECORDS))
def test_a_record_that_satisfies_the_schema_is_sealed_as_the_raw_topic_says(registry: Registry, name: str) -> None:
    _schema(registry, name).validate(RECORDS[name])
    payload = asyncapi.raw_payload(registry.dataset(name))
    Draft202012Validator(payload, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(
        _sealed(registry, name, RECORDS[name])
    )


@pytest.mark.parametrize(
    ("name", "change", "path"),
    [
        ("river_stage", {"stage_m": 99}, "$.stage_m"),
        ("river_stage", {"stage_m": None}, "$.stage_m"),
        ("river_stage", {"station_id": "nowhere"}, "$.station_id"),
        ("river_stage", {"observed_at": "yesterday"}, "$.observed_at"),
        ("river_stage", {"revision": -1}, "$.revision"),
        ("violation_event", {"plate_token": "v1:x"}, "$"),
        ("violation_event", {"owner_name": "An"}, "$"),
    ],
)
def test_a_record_that_breaks_a_rule_does_not_satisfy_it(
    registry: Registry, name: str, change: dict[str, Any], path: str
) -> None:
    assert [error.json_path for error in _schema(registry, name).iter_errors({**RECORDS[name], **change})] == [path]


def test_rules_of_single_records_are_in_the_schema(changed: Callable[..., Registry]) -> None:
    rules = [
        {"rule": "required_when", "field": "plate_token", "when": "review_status", "equals": "confirmed"},
        {"rule": "pattern", "field": "event_id", "pattern": r"V\d+"},
    ]
    schema = _schema(changed("violation_event", quality=rules), "violation_event")
    schema.validate(EVENT)
    assert not schema.is_valid({**EVENT, "event_id": "X1"})
    assert not schema.is_valid({**EVENT, "review_status": "confirmed", "plate": None})


def test_the_documents_of_the_interfaces(few: Registry, golden: Callable[[str, str], None]) -> None:
    golden("openapi.yaml", openapi.render(few)["catalog/openapi.yaml"])
    golden("asyncapi.yaml", asyncapi.render(few)["catalog/asyncapi.yaml"])


def test_the_standards_refuse_a_slip(few: Registry) -> None:
    rest, stream = openapi.document(few), asyncapi.document(few)
    del rest["info"]["title"], stream["info"]["version"]
    assert list(OpenAPIV31SpecValidator(rest).iter_errors()) != []
    assert not ASYNCAPI.is_valid(stream)


def test_the_whole_catalogue_is_valid_openapi(registry: Registry) -> None:
    document = yaml.safe_load(openapi.render(registry)["catalog/openapi.yaml"])
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []
    schemas = document["components"]["schemas"]
    text = json.dumps(document)
    assert all(f'"#/components/schemas/{name}"' in text for name in schemas), "every component is used"


def test_only_granted_columns_can_be_read(registry: Registry) -> None:
    schemas = openapi.document(registry)["components"]["schemas"]
    for dataset in registry.datasets:
        assert tuple(schemas[f"{dataset.id}_row"]["properties"]) == trino.granted_columns(dataset)


def test_key_and_time_can_be_asked_for(registry: Registry) -> None:
    paths = openapi.document(registry)["paths"]
    asked = {
        name: [each.get("name", each.get("$ref", "").rpartition("/")[2]) for each in parameters]
        for name in ("river_stage", "feedback_ticket", "kpi_feedback_month")
        for parameters in [paths[f"/published/{name}"]["get"]["parameters"]]
    }
    assert asked == {
        "river_stage": ["station_id", "from", "to", "limit", "cursor"],
        "feedback_ticket": ["ticket_id", "from", "to", "limit", "cursor"],
        "kpi_feedback_month": ["agency_id", "month_start_date", "limit", "cursor"],
    }
    sent = {path for path in paths if path.startswith("/v1/ingest/")}
    assert sent == {f"/v1/ingest/{d.id}" for d in registry.sent()}


def test_what_the_gateway_says_of_itself_is_valid_openapi(registry: Registry) -> None:
    document = openapi.gateway_document(registry)
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []
    text = json.dumps(document)
    assert all(f'"#/components/schemas/{name}"' in text for name in document["components"]["schemas"])
    assert all(f'"#/components/responses/{name}"' in text for name in document["components"]["responses"])


def test_the_whole_catalogue_is_valid_asyncapi(registry: Registry) -> None:
    document = yaml.safe_load(asyncapi.render(registry)["catalog/asyncapi.yaml"])
    ASYNCAPI.validate(document)


def test_every_topic_is_a_channel_with_its_retention(registry: Registry) -> None:
    channels = asyncapi.document(registry)["channels"]
    kafka = [channel for channel in channels.values() if channel["servers"] == [{"$ref": "#/servers/kafka"}]]
    topics = {channel["address"].removeprefix("{namespace}.") for channel in kafka}
    live = {dataset.topic for dataset in registry.datasets if dataset.topic}
    assert topics == {"dead_letter", *live, *(f"raw.{dataset.id}" for dataset in registry.streams())}
    personal = channels["raw_violation_event"]["bindings"]["kafka"]["topicConfiguration"]
    assert personal["retention.ms"] == 7 * 86_400_000


def test_what_the_platform_writes_is_offered_to_no_sender(registry: Registry) -> None:
    own = {d.id for d in registry.streams()} - {d.id for d in registry.sent()}
    assert own == {"alert_cap", "flood_forecast_model"}
    gateway, city, live = openapi.gateway_document(registry), openapi.document(registry), asyncapi.document(registry)
    schemas = json_schema.render(registry)
    for name in own:
        assert f"/v1/ingest/{name}" not in {**gateway["paths"], **city["paths"]}
        assert f"{name}_record" not in gateway["components"]["schemas"]
        assert f"/published/{name}" in city["paths"]
        assert f"mqtt_field_{name}" not in live["channels"]
        # The stream jobs read it all the same.
        assert f"raw_{name}" in live["channels"]
        assert f"catalog/json_schema/{name}.schema.json" not in schemas


def test_every_stream_has_its_topic_at_the_broker(registry: Registry) -> None:
    document = asyncapi.document(registry)
    channels = [c for c in document["channels"].values() if c["servers"] == [{"$ref": "#/servers/mqtt_field"}]]
    assert {c["address"] for c in channels} == {f"hue/v1/{{source}}/{d.id}" for d in registry.sent()}
    for dataset in registry.sent():
        payload = document["channels"][f"mqtt_field_{dataset.id}"]["messages"]["record"]["payload"]
        assert (ROOT / "catalog" / payload["$ref"]).is_file()
        assert document["operations"][f"receive_mqtt_field_{dataset.id}"]["bindings"]["mqtt"]["qos"] == 1
    assert document["servers"]["mqtt_field"]["bindings"]["mqtt"]["sessionExpiryInterval"] == 7 * 86_400


def test_a_clean_record_says_what_became_of_it(registry: Registry) -> None:
    payload = Draft202012Validator(asyncapi.clean_payload(registry.dataset("river_stage")))
    record = {
        **{"station_id": "71520", "observed_at": "2025-10-27T13:00:00Z", "stage_m": 99.0},
        **{"qc_flag": 4, "qc_detail": "stage_m.gross_range=4", "origin": "replay", "revision": 0},
        **{"received_at": "2025-10-27T13:00:05Z", "raw_partition": 0, "raw_offset": 1, "disposition": "on_time"},
    }
    payload.validate(record)
    assert not payload.is_valid({**record, "disposition": "refused"})
    assert not payload.is_valid({key: value for key, value in record.items() if key != "station_id"})


def test_the_files_carry_the_mark(registry: Registry) -> None:
    for target in (json_schema, openapi, asyncapi):
        for path, text in target.render(registry).items():
            assert artifacts.MARK in text[:512], path
