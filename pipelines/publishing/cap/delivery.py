"""From the register to the readers: the rows of ``alert_cap``, one for each ward, through the gateway like any reading.

What is sent is what the register holds and silver does not yet: a call that fails is finished by the next one, and a
row that is sent twice is a duplicate.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any

from deltalake import DeltaTable
from lxml import etree

from pipelines.contracts.registry import Registry
from pipelines.gateway.intake import Gateway
from pipelines.gateway.normalise import utc_text
from pipelines.gateway.publisher import Publisher
from pipelines.publishing.cap import register
from pipelines.publishing.cap.message import NAMESPACE
from pipelines.publishing.cap.register import Entry
from pipelines.runtime.delta import arrow_table
from pipelines.runtime.services import endpoints
from pipelines.runtime.settings import Settings

DATASET = "alert_cap"
_SOURCE = "cap-desk"
_NAMES = {"cap": NAMESPACE}


def rows(entry: Entry) -> Iterator[Mapping[str, Any]]:
    """The rows of a message in the fields of the contract, read from its XML: what is published is what was checked.

    The table holds one ring per ward; of one with several parts it is the one with the most points.
    """
    root = etree.fromstring(entry.xml.encode())
    vi, en = root.findall("cap:info", _NAMES)

    def said(node: etree._Element, tag: str) -> str:
        return node.findtext(f"cap:{tag}", "", _NAMES)

    for area in vi.iterfind("cap:area", _NAMES):
        rings = [node.text or "" for node in area.iterfind("cap:polygon", _NAMES)]
        yield {
            "cap_identifier": entry.cap_identifier,
            "ward_code": area.findtext("cap:geocode/cap:value", "", _NAMES),
            "cap_sender": entry.sender,
            "issued_at": utc_text(entry.issued_at),
            "cap_status": entry.cap_status,
            "cap_msg_type": entry.cap_msg_type,
            "cap_scope": said(root, "scope"),
            "cap_references": entry.cap_references or None,
            "cap_category": said(vi, "category"),
            "cap_event": said(vi, "event"),
            "cap_urgency": said(vi, "urgency"),
            "cap_severity": said(vi, "severity"),
            "cap_certainty": said(vi, "certainty"),
            "effective_at": utc_text(entry.issued_at),
            "expires_at": utc_text(entry.expires_at),
            "released_at": utc_text(entry.issued_at) if entry.cap_status == "Actual" else None,
            "headline_vi": said(vi, "headline"),
            "headline_en": said(en, "headline"),
            "instruction_vi": said(vi, "instruction"),
            "instruction_en": said(en, "instruction"),
            "area_text": said(area, "areaDesc"),
            "area_polygon": max(rings, key=lambda ring: ring.count(" ")),
            "station_id": entry.station_id,
            "alarm_level": entry.alarm_level or None,
        }


def undelivered(settings: Settings) -> tuple[Entry, ...]:
    """The messages of the register that are no drafts and not in silver, oldest first."""
    path = str(settings.table_path("silver", DATASET))
    there: set[Any] = set()
    if DeltaTable.is_deltatable(path):
        table = arrow_table(DeltaTable(path), columns=["cap_identifier"])
        there = set(table["cap_identifier"].unique().to_pylist())
    return tuple(
        entry
        for entry in register.entries(settings).values()
        if entry.cap_status != "Draft" and entry.cap_identifier not in there
    )


def deliver(settings: Settings, registry: Registry, entries: Iterable[Entry]) -> int:
    """Send the rows of messages; returns how many Kafka has acknowledged.

    A row arrives when its message is sent, also in a replay, whose clock is the recorded one.

    Raises:
        LakeError: Kafka is down or did not take a row; nothing is lost, call it again.
    """
    gateway = Gateway.open(registry, settings)
    with Publisher(settings, endpoints(settings).kafka) as publisher:
        for entry in entries:
            origin = "observed" if entry.cap_status == "Actual" else entry.origin
            for row in rows(entry):
                received_at = entry.issued_at + timedelta(milliseconds=1)
                publisher.publish(gateway.accept(DATASET, row, source=_SOURCE, origin=origin, received_at=received_at))
    return publisher.counts.total()
