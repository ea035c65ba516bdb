"""AsyncAPI of the collectors: the brokers to which devices send, and the topic of every dataset there."""

from __future__ import annotations

from typing import Any

from pipelines.contracts.collectors import SOURCE, Binding, Collector, Topic
from pipelines.contracts.model import Dataset
from pipelines.contracts.words import both

_BINDING = "0.2.0"
_QOS = 1


def servers(collectors: tuple[Collector, ...]) -> dict[str, Any]:
    """One server for each collector; its address belongs to an installation."""
    address = {"description": "Địa chỉ của máy chủ MQTT — The address of the broker", "default": "broker:8883"}
    return {
        f"mqtt_{collector.id}": {
            "host": "{broker}",
            "protocol": "secure-mqtt",
            "description": both(collector.title),
            "variables": {"broker": address},
            "bindings": {
                "mqtt": {
                    "cleanSession": False,
                    "sessionExpiryInterval": int(collector.session_expiry.total_seconds()),
                    "bindingVersion": _BINDING,
                }
            },
        }
        for collector in collectors
    }


def channels(dataset: Dataset, collectors: tuple[Collector, ...]) -> dict[str, Any]:
    """The topics on which a stream's records can be sent; a message is one record or an array of them."""
    found: dict[str, Any] = {}
    for collector in collectors:
        for number, (binding, topic) in enumerate(collector.topics_of(dataset.id), start=1):
            name = f"mqtt_{collector.id}_{dataset.id}" + (f"_{number}" if number > 1 else "")
            found[name] = _channel(dataset, collector, binding, topic)
    return found


def operation(channel: str, domain: str) -> dict[str, Any]:
    """The gateway receives what devices publish there, and acknowledges what is safe."""
    return {
        "action": "receive",
        "channel": {"$ref": f"#/channels/{channel}"},
        "tags": [{"name": domain}],
        "bindings": {"mqtt": {"qos": _QOS, "bindingVersion": _BINDING}},
    }


def _channel(dataset: Dataset, collector: Collector, binding: Binding, topic: Topic) -> dict[str, Any]:
    parameters = {name: {"description": _said(name, dataset)} for name in topic.names}
    return {
        "address": str(topic),
        "title": both(dataset.title),
        "description": both(dataset.description.purpose),
        "servers": [{"$ref": f"#/servers/mqtt_{collector.id}"}],
        "tags": [{"name": dataset.domain}],
        **({"parameters": parameters} if parameters else {}),
        "messages": {
            "record": {
                "name": "record",
                "contentType": binding.media_type,
                "payload": {"$ref": f"json_schema/{dataset.id}.schema.json"},
                "bindings": {"mqtt": {"contentType": binding.media_type, "bindingVersion": _BINDING}},
            }
        },
    }


def _said(name: str, dataset: Dataset) -> str:
    if name == SOURCE:
        return "Tên nguồn gửi — The name of the source"
    return both(dataset.field(name).title)
