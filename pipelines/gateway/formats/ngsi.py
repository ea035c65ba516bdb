"""NGSI-LD, and FIWARE (NGSI v2) in its normalised and key-values forms: entities of a declared type.

The three forms differ only in how an attribute wraps its value, so one reader takes them all, also mixed in a batch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from pipelines.contracts.media_types import FIWARE, entity_types
from pipelines.contracts.model import Dataset
from pipelines.gateway.formats.entry import Entry
from pipelines.gateway.formats.mapping import Found, Translation, Untranslatable

CONTAINER = "data"
"""The key under which a context broker's notification holds its entities."""
_URN = re.compile(r"urn:ngsi-ld:[^:]+:(.+)", re.DOTALL)
_WRAPPED = ("value", "object", "languageMap", "json", "vocab", "@value")
_ABOUT = frozenset({"id", "type", "@context", "@id", "@type"})


class Entities:
    """Reads entities for one dataset; `types` are those that its contract accepts."""

    def __init__(self, dataset: Dataset) -> None:
        """Take the translations of every accepted type."""
        self._translations = {kind: Translation(dataset, FIWARE + kind) for kind in entity_types(dataset)}

    def holds(self, body: Mapping[str, Any]) -> bool:
        """Whether a JSON object looks like an entity, and not like a native record."""
        return "type" in body and "id" in body

    def translate(self, raw: bytes, entity: Mapping[str, Any]) -> Entry:
        """One entity in the contract's fields."""
        kind = _short(str(entity.get("type", entity.get("@type", ""))))
        translation = self._translations.get(kind)
        if translation is None:
            allowed = ", ".join(sorted(self._translations))
            return Entry(raw, problem=f"type: an entity of another type; accepted: {allowed}")
        plain = {_short(name): value for name, value in entity.items()}
        try:
            body = translation.apply(partial(_look, plain))
        except Untranslatable as error:
            return Entry(raw, problem=str(error))
        return Entry(raw, body, dropped=len(plain.keys() - translation.heads - _ABOUT), is_foreign=True)


def _look(entity: Mapping[str, Any], path: tuple[str, ...]) -> Found | None:
    node: Any = entity
    unit: str | None = None
    for step in path:
        if isinstance(node, Mapping) and step not in node:
            node = _bare(node)
        if not isinstance(node, Mapping) or step not in node:
            return None
        node = _only(node[step])
        if isinstance(node, Mapping):
            unit = _unit(node)
    value = _bare(node)
    if isinstance(value, str) and (urn := _URN.fullmatch(value)):
        value = urn[1]
    return Found(value, unit)


def _only(node: Any) -> Any:
    """An attribute may have several instances (datasetId); one is taken, more would be a choice."""
    if isinstance(node, list) and node and all(isinstance(n, Mapping) and "type" in n for n in node):
        if len(node) > 1:
            raise Untranslatable("an attribute with several values")
        return node[0]
    return node


def _bare(node: Any) -> Any:
    """The value inside an attribute, as deep as it is wrapped."""
    while isinstance(node, Mapping):
        inner = next((name for name in _WRAPPED if name in node), None)
        if inner is None:
            return node
        node = node[inner]
    return node


def _unit(node: Mapping[str, Any]) -> str | None:
    """`unitCode` of NGSI-LD, or the metadata of that name in NGSI v2."""
    metadata = node.get("metadata")
    told = node.get("unitCode")
    if told is None and isinstance(metadata, Mapping):
        told = _bare(metadata.get("unitCode", metadata.get("unit")))
    return told if isinstance(told, str) and told else None


def _short(name: str) -> str:
    """The last part of a name that is written out as an IRI."""
    return re.split(r"[/#]", name)[-1] if "://" in name else name
