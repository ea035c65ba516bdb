"""AsyncAPI 3.0: the topics of the lake and what travels on them, as the stream jobs see them.

A raw record is what the gateway sealed: typed, tokenised, not yet judged. A clean one says what became of it. Flink
leaves out what is NULL, so a field of a clean record is absent instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.contracts import system
from pipelines.contracts.catalogue import in_order
from pipelines.contracts.logical_types import LogicalType
from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry
from pipelines.contracts.rendering import yaml_file
from pipelines.contracts.support import Support, elsewhere, flagged_elsewhere, native
from pipelines.contracts.targets import asyncapi_mqtt as mqtt
from pipelines.contracts.targets import kafka
from pipelines.contracts.targets.json_schema import REVISION, stored, typed
from pipelines.contracts.words import both

TARGET = "asyncapi"
SUPPORT: Mapping[str, Support] = {
    **native("columns", "type", "key_known"),
    # Whatever breaks another rule travels all the same: flagged, or judged at rest.
    **elsewhere("flink", "range"),
    **flagged_elsewhere(),
    **elsewhere("great_expectations", "required", "key_unique", "code_list", "row_count", "completeness"),
    **elsewhere("great_expectations", "comparison", "required_when", "pattern", "unique", "share", "total"),
    **elsewhere("odcs", "freshness"),
}
"""Every kind of rule that a contract can hold, and where it is held."""

FOLDERS = ("catalog",)
"""The folders, relative to the project root, in which a generated file that nobody asks for is an orphan."""

_BINDING = "0.5.0"
_TEXT = {"type": "string"}
_KAFKA = {"$ref": "#/servers/kafka"}


def render(registry: Registry) -> Mapping[str, str]:
    """The one document, path relative to the project root → text."""
    return {"catalog/asyncapi.yaml": yaml_file(document(registry))}


def document(registry: Registry) -> dict[str, Any]:
    """The document as plain data, channels by dataset."""
    live = [dataset for dataset in in_order(registry) if dataset.topic]
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    schemas: dict[str, Any] = {"dead_letter": _dead_letter(), "refused": _refused()}
    for dataset in live:
        topics = {topic.name: topic for topic in kafka.topics(dataset, simulated_clock=False)}
        if dataset.stream:
            raw = topics[kafka.raw_topic(dataset)]
            channels[f"raw_{dataset.id}"] = _channel(
                raw, dataset, {"record": f"raw_{dataset.id}", "refused": "refused"}
            )
            operations[f"receive_raw_{dataset.id}"] = _operation("receive", f"raw_{dataset.id}", dataset.domain)
            schemas[f"raw_{dataset.id}"] = raw_payload(dataset)
            brokers = registry.collectors if dataset.is_sent else ()
            for topic, channel in mqtt.channels(dataset, brokers).items():
                channels[topic] = channel
                operations[f"receive_{topic}"] = mqtt.operation(topic, dataset.domain)
        name = f"clean_{dataset.id}" if dataset.stream else dataset.id
        channels[name] = _channel(topics[str(dataset.topic)], dataset, {"row": name})
        operations[f"send_{name}"] = _operation("send", name, dataset.domain)
        schemas[name] = clean_payload(dataset)
    channels["dead_letter"] = _dead_letter_channel()
    operations["send_dead_letter"] = _operation("send", "dead_letter")
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Kho dữ liệu đô thị Huế — The urban data lakehouse of Huế",
            "version": "1.0.0",
            "description": "Luồng dữ liệu của hồ dữ liệu. — The live data of the lake. The topics of a namespace have "
            "its name in front; receive and send are meant from the stream jobs, and on MQTT from the gateway.",
            "license": {"name": "Apache 2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "kafka": {"host": "{bootstrap}", "protocol": "kafka", "variables": {"bootstrap": _bootstrap()}},
            **mqtt.servers(registry.collectors),
        },
        "channels": channels,
        "operations": operations,
        "components": {"schemas": schemas, "parameters": {"namespace": _namespace()}},
    }


def raw_payload(dataset: Dataset) -> dict[str, Any]:
    """The schema of a sealed record: the key and the event time are known, everything else may be missing."""
    known = _known(dataset)
    fields = {item.name: stored(item, item.name in known) for item in dataset.fields}
    origin = {"type": "string", "enum": list(system.ORIGINS), "title": "Nguồn gốc — Origin"}
    return {
        **_about(dataset),
        "properties": {**fields, "origin": origin, "revision": REVISION},
        "required": [*known, "origin", "revision"],
        "additionalProperties": not dataset.is_protected,
    }


def clean_payload(dataset: Dataset) -> dict[str, Any]:
    """The schema of a record on the topic from which landing fills silver."""
    added = system.DERIVED_PROVENANCE
    if dataset.stream:
        added = (*system.QC, *system.PROVENANCE, *system.DISPOSITION)
    columns = {name: typed(kind, required=True) for name, kind in added}
    origins = system.ORIGINS_COMPUTED if dataset.derived else system.ORIGINS
    columns["origin"]["enum"] = list(origins)
    if "disposition" in columns:
        columns["disposition"]["enum"] = [*system.ACCEPTED, "duplicate"]
    always = [name for name in columns if name != "qc_detail"]
    return {
        **_about(dataset),
        "properties": {**{item.name: stored(item, required=True) for item in dataset.fields}, **columns},
        "required": [*_known(dataset), *always],
    }


def _about(dataset: Dataset) -> dict[str, Any]:
    return {"title": both(dataset.title), "description": both(dataset.description.purpose), "type": "object"}


def _known(dataset: Dataset) -> list[str]:
    timed = dataset.event_time
    return [*dataset.key, *([timed] if timed and timed not in dataset.key else [])]


def _channel(topic: kafka.Topic, dataset: Dataset, messages: Mapping[str, str]) -> dict[str, Any]:
    headers = {"source": {**_TEXT, "description": "Nguồn gửi — Who sent it: a source of the gateway, or a replay"}}
    raw = topic.name.startswith("raw.")
    return {
        "address": f"{{namespace}}.{topic.name}",
        "servers": [_KAFKA],
        "title": both(dataset.title),
        "description": both(dataset.description.purpose),
        "tags": [{"name": dataset.domain}],
        "parameters": {"namespace": {"$ref": "#/components/parameters/namespace"}},
        "messages": {
            name: {
                "name": name,
                "payload": {"$ref": f"#/components/schemas/{schema}"},
                **({"headers": {"type": "object", "properties": headers}} if raw else {}),
                "bindings": {"kafka": {"key": _key(dataset), "bindingVersion": _BINDING}},
            }
            for name, schema in messages.items()
        },
        "bindings": {"kafka": _topic(topic)},
    }


def _key(dataset: Dataset) -> dict[str, Any]:
    return {"type": "string", "description": " | ".join(dataset.entity_key)}


def _topic(topic: kafka.Topic) -> dict[str, Any]:
    config: dict[str, Any] = {name: int(text) if text.lstrip("-").isdigit() else text for name, text in topic.config}
    return {"partitions": topic.partitions, "topicConfiguration": config, "bindingVersion": _BINDING}


def _operation(action: str, channel: str, domain: str | None = None) -> dict[str, Any]:
    tags = {"tags": [{"name": domain}]} if domain else {}
    return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}, **tags}


def _dead_letter_channel() -> dict[str, Any]:
    return {
        "address": f"{{namespace}}.{kafka.DEAD_LETTER}",
        "servers": [_KAFKA],
        "title": "Bản ghi không dùng được — Records that could not be used",
        "parameters": {"namespace": {"$ref": "#/components/parameters/namespace"}},
        "messages": {"record": {"name": "record", "payload": {"$ref": "#/components/schemas/dead_letter"}}},
        "bindings": {"kafka": _topic(kafka.dead_letter_topic(simulated_clock=False))},
    }


def _dead_letter() -> dict[str, Any]:
    columns = {name: typed(kind, required=True) for name, kind in system.DEAD_LETTER}
    columns["payload"]["contentEncoding"] = "base64"
    return {"type": "object", "properties": columns, "required": [n for n in columns if n not in {"detail", "payload"}]}


def _refused() -> dict[str, Any]:
    """What stands in a raw topic for bytes that must not enter it."""
    reason = {**_TEXT, "enum": list(system.REFUSALS)}
    place = {"reason": reason, "ref": _TEXT, "size_bytes": typed(LogicalType("bigint"), required=True)}
    # Markers of older topics name no origin.
    origin = {**_TEXT, "enum": list(system.ORIGINS)}
    marker = {"type": "object", "properties": {**place, "origin": origin}, "required": list(place)}
    return {"type": "object", "properties": {system.MARKER_KEY: marker}, "required": [system.MARKER_KEY]}


def _namespace() -> dict[str, Any]:
    said = "Không gian tên: city là thành phố, tên khác là diễn tập. — city, or the name of an exercise."
    return {"description": said, "default": "city"}


def _bootstrap() -> dict[str, Any]:
    return {"description": "Địa chỉ của cụm Kafka — The address of the Kafka cluster", "default": "kafka:9092"}
