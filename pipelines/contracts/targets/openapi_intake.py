"""The gateway's part of OpenAPI: how each stream is sent, what comes back, and what the gateway says of itself."""

from __future__ import annotations

from typing import Any

from pipelines.contracts.media_types import CSV, JSON, LD_JSON, NDJSON, entity_types, media_types, takes_observations
from pipelines.contracts.model import Dataset
from pipelines.contracts.targets.kafka import MAX_PAYLOAD_BYTES
from pipelines.contracts.words import both

PREFIX = "/v1/ingest"
_ROOT = [{"url": "/"}]
_COUNT = {"type": "integer", "minimum": 0}
_TEXT = {"type": "string"}
_RETRY = {"Retry-After": {"description": "Chờ (giây) — Seconds to wait", "schema": {"type": "integer", "minimum": 1}}}
_ERRORS = {
    "400": "Unreadable",
    "401": "Unauthorised",
    "403": "Forbidden",
    "404": "NotFound",
    "408": "TooSlow",
    "413": "TooLarge",
    "415": "UnknownFormat",
    "429": "TooFast",
    "503": "Busy",
}
_SAID = {
    "Unreadable": "Nội dung trống hoặc hỏng — The body holds no record, or its encoding is broken",
    "Unauthorised": "Mã truy cập thiếu, sai, hết hạn hoặc bị thu hồi — No valid token",
    "Forbidden": "Nguồn này không được gửi bộ dữ liệu này — The source is not bound to this dataset",
    "NotFound": "Không có bộ dữ liệu này — There is no such stream",
    "TooSlow": "Nội dung đến quá chậm — The body came too slowly",
    "TooLarge": "Nội dung quá lớn hoặc quá nhiều bản ghi — Too many bytes or records; nothing was taken",
    "UnknownFormat": "Định dạng không được nhận — The contract does not accept this media type",
    "TooFast": "Vượt tốc độ của nguồn — The source has used up its rate; nothing was taken",
    "Busy": "Quá tải, hoặc Kafka vắng và đĩa đệm đầy — Too much in flight, or Kafka is away and the spool is full",
}


def path(dataset: Dataset) -> str:
    """Where a stream is sent."""
    return f"{PREFIX}/{dataset.id}"


def operation(dataset: Dataset) -> dict[str, Any]:
    """`POST` of one stream."""
    limit = f"Mỗi bản ghi không quá {MAX_PAYLOAD_BYTES} byte. — At most {MAX_PAYLOAD_BYTES} bytes a record."
    safe = (
        "Trả lời khi mọi bản ghi đã an toàn. — The answer comes when every record is safe: in Kafka, or on disk while "
        "Kafka is away. What is refused is kept and counted all the same."
    )
    return {
        "operationId": f"post_{dataset.id}",
        "summary": both(dataset.title),
        "description": f"{safe} {limit}",
        "tags": [dataset.domain],
        "requestBody": {
            "required": True,
            "content": {kind: {"schema": _body(dataset, kind)} for kind in media_types(dataset)},
        },
        "responses": {
            "202": {"$ref": "#/components/responses/Taken"},
            "207": {"$ref": "#/components/responses/PartlyRefused"},
            "422": {"$ref": "#/components/responses/AllRefused"},
            **{status: {"$ref": f"#/components/responses/{name}"} for status, name in _ERRORS.items()},
        },
    }


def _body(dataset: Dataset, kind: str) -> dict[str, Any]:
    if kind == CSV:
        names = ", ".join(item.source_name for item in dataset.fields)
        return {**_TEXT, "description": f"Dòng đầu là tên trường — The first line names fields: {names}"}
    if kind == NDJSON:
        return {**_TEXT, "description": "Mỗi dòng một bản ghi JSON — One JSON record a line"}
    if kind == LD_JSON:
        return _one_or_more([_entity(dataset)])
    one = [{"$ref": f"#/components/schemas/{dataset.id}_record"}]
    if entity_types(dataset):
        one.append(_entity(dataset))
    if takes_observations(dataset):
        one.append({"$ref": "#/components/schemas/Observation"})
    return _one_or_more(one)


def _one_or_more(one: list[dict[str, Any]]) -> dict[str, Any]:
    several = {"type": "array", "items": one[0] if len(one) == 1 else {"anyOf": one}, "minItems": 1}
    items = {"type": "object", "properties": {"items": several}, "required": ["items"], "additionalProperties": False}
    return {"anyOf": [*one, several, items]}


def _entity(dataset: Dataset) -> dict[str, Any]:
    kinds = {"type": "object", "properties": {"type": {"enum": list(entity_types(dataset))}}}
    return {"allOf": [{"$ref": "#/components/schemas/Entity"}, kinds]}


def operations() -> dict[str, Any]:
    """What the gateway says of itself, by path."""
    parts = {
        "/health": (
            "get_health",
            "Tiến trình đang chạy — The process answers",
            {"200": _told("Health", "Sống — Alive")},
        ),
        "/ready": (
            "get_ready",
            "Nhận được dữ liệu — Whether records can be taken",
            {"200": _told("Readiness", "Sẵn sàng — Ready"), "503": _told("Readiness", "Chưa sẵn sàng — Not ready")},
        ),
        "/metrics": (
            "get_metrics",
            "Số đo cho Prometheus — Counters for Prometheus",
            {"200": {"description": "Số đo — Counters", "content": {"text/plain": {"schema": _TEXT}}}},
        ),
        "/openapi.json": (
            "get_openapi",
            "Mô tả này — This description",
            {"200": {"description": "OpenAPI 3.1", "content": {JSON: {"schema": {"type": "object"}}}}},
        ),
    }
    return {
        path: {"get": {"operationId": name, "summary": said, "tags": ["gateway"], "security": [], "responses": answers}}
        for path, (name, said, answers) in parts.items()
    }


def responses() -> dict[str, Any]:
    """The answers to a `POST`, by component name."""
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    errors: dict[str, Any] = {name: {"description": said, "content": problem} for name, said in _SAID.items()}
    for name in ("TooFast", "Busy"):
        errors[name]["headers"] = _RETRY
    errors["Unauthorised"]["headers"] = {"WWW-Authenticate": {"schema": _TEXT}}
    return {
        "Taken": _told("Receipt", "Mọi bản ghi được nhận — Every record was taken"),
        "PartlyRefused": _told("Receipt", "Một số bị từ chối, có lý do — Some were refused, each with its reason"),
        "AllRefused": _told("Receipt", "Tất cả bị từ chối, có lý do — All were refused, each with its reason"),
        **errors,
    }


def schemas() -> dict[str, Any]:
    """The schemas of the answers and of the formats that are not ours, by component name."""
    return {"Receipt": _receipt(), "Entity": _any_entity(), "Observation": _observation()}


def own_schemas() -> dict[str, Any]:
    """The schemas of what the gateway says of itself."""
    away = {"type": "object", "additionalProperties": _COUNT}
    return {
        "Health": {
            "type": "object",
            "properties": {"status": {"const": "ok"}, "service": _TEXT, "namespace": _TEXT, "pid": _COUNT},
            "required": ["status", "service", "namespace", "pid"],
        },
        "Collector": {
            "type": "object",
            "properties": {
                "kind": {"enum": ["mqtt", "inbox"]},
                "name": _TEXT,
                "state": _TEXT,
                "problem": {**_TEXT, "description": "Rỗng là ổn — Empty when all is well"},
                "waiting": _COUNT,
                "counts": {"type": "object", "additionalProperties": _COUNT},
            },
            "required": ["kind", "name", "state", "problem", "waiting", "counts"],
        },
        "Readiness": {
            "type": "object",
            "properties": {
                "ready": {"type": "boolean"},
                "kafka": {"enum": ["connected", "away"]},
                "kafka_error": {"type": ["string", "null"]},
                "spooled": {**away, "description": "Bản ghi đang chờ Kafka — Records that wait for Kafka, by dataset"},
                "spool_bytes": _COUNT,
                "spool_limit_bytes": _COUNT,
                "problems": {"type": "object", "additionalProperties": _TEXT},
                "collectors": {
                    "type": "array",
                    "items": {"$ref": "#/components/schemas/Collector"},
                    "description": "Máy chủ MQTT và thư mục nhận tệp — Brokers and inboxes",
                },
                "unbound": {
                    **_COUNT,
                    "description": "Thông điệp chưa biết thuộc bộ dữ liệu nào — Messages that belong to no dataset yet",
                },
            },
            "required": [
                "ready",
                "kafka",
                "spooled",
                "spool_bytes",
                "spool_limit_bytes",
                "problems",
                "collectors",
                "unbound",
            ],
        },
    }


def _told(schema: str, said: str) -> dict[str, Any]:
    return {"description": said, "content": {JSON: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}}


def _receipt() -> dict[str, Any]:
    refused = {
        "type": "object",
        "properties": {
            "index": {"type": ["integer", "null"], "minimum": 0, "description": "null: cả nội dung — the whole body"},
            "reason": _TEXT,
            "detail": _TEXT,
        },
        "required": ["index", "reason", "detail"],
    }
    counts = {
        "records": "Số bản ghi trong nội dung — Records in the body",
        "accepted": "Đã vào Kafka — In Kafka",
        "spooled": "Đã ghi đĩa, vào Kafka khi có lại — On disk, in Kafka when it is back",
        "dropped_fields": "Trường hợp đồng không có — Fields that the contract does not have",
    }
    return {
        "type": "object",
        "description": "records = accepted + spooled + refused",
        "properties": {
            "dataset": _TEXT,
            **{name: {**_COUNT, "description": said} for name, said in counts.items()},
            "refused": {"type": "array", "items": refused},
        },
        "required": ["dataset", *counts, "refused"],
    }


def _any_entity() -> dict[str, Any]:
    return {
        "title": "NGSI",
        "description": "Thực thể NGSI-LD hoặc FIWARE — An entity of NGSI-LD, or FIWARE normalised or key-values",
        "type": "object",
        "properties": {"id": _TEXT, "type": _TEXT},
        "required": ["id", "type"],
    }


def _observation() -> dict[str, Any]:
    stream = {"type": "object", "description": "@iot.id đã đăng ký — A registered @iot.id, or with its Thing and unit"}
    return {
        "title": "OGC SensorThings",
        "description": "Observation của SensorThings 1.1 — An observation of SensorThings 1.1",
        "type": "object",
        "properties": {"phenomenonTime": _TEXT, "result": {}, "Datastream": stream},
        "required": ["phenomenonTime", "result", "Datastream"],
    }


def at_the_root(paths: dict[str, Any]) -> dict[str, Any]:
    """The same paths inside a document whose other paths stand below a prefix."""
    return {name: {"servers": _ROOT, **item} for name, item in paths.items()}
