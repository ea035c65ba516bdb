"""A CAP 1.2 message and its XML. Pure: no clock, no files.

Element order and names follow the OASIS standard; times carry the offset of Huế, never `Z`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

from lxml import etree

NAMESPACE = "urn:oasis:names:tc:emergency:cap:1.2"
HUE = ZoneInfo("Asia/Ho_Chi_Minh")
WARD_CODE = "vn.ward_code"
"""The name under which an area gives the code of its ward (Nghị quyết 1675/NQ-UBTVQH15)."""
LANGUAGES: Mapping[str, Literal["vi-VN", "en-US"]] = {"vi": "vi-VN", "en": "en-US"}
"""The language of our texts → its name in a message; a message speaks them in this order."""

Status = Literal["Actual", "Exercise", "Draft"]
MsgType = Literal["Alert", "Update", "Cancel"]
Ring = tuple[tuple[float, float], ...]
"""A closed ring of (latitude, longitude) in degrees, WGS84: CAP's order, the other way round than GeoJSON's."""


@dataclass(frozen=True)
class Reference:
    """An earlier message as `references` names it."""

    sender: str
    identifier: str
    sent: datetime

    def __str__(self) -> str:
        """Render as sender,identifier,sent."""
        return f"{self.sender},{self.identifier},{cap_time(self.sent)}"


@dataclass(frozen=True)
class Info:
    """What a message says in one language; the rest of `info` is the same in all."""

    language: Literal["vi-VN", "en-US"]
    event: str
    sender_name: str
    headline: str
    description: str
    instruction: str


@dataclass(frozen=True)
class Area:
    """A ward: its name, its outlines (several where it has several parts), its code."""

    ward_code: str
    name: str
    rings: tuple[Ring, ...]


@dataclass(frozen=True)
class Message:
    """One message of the flood desk, public."""

    identifier: str
    sender: str
    sent: datetime
    status: Status
    msg_type: MsgType
    response_type: str
    urgency: str
    severity: str
    certainty: str
    expires: datetime
    infos: tuple[Info, ...]
    areas: tuple[Area, ...]
    references: tuple[Reference, ...] = ()
    note: str = ""
    category: str = "Met"
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def reference(self) -> Reference:
        """This message as a later one refers to it."""
        return Reference(self.sender, self.identifier, self.sent)


def cap_time(moment: datetime) -> str:
    """An instant as CAP writes it, whole seconds in the time of Huế: ``2025-10-27T14:00:00+07:00``."""
    return moment.astimezone(HUE).replace(microsecond=0).isoformat()


def told_time(moment: datetime, language: str) -> str:
    """An instant in the time of Huế as a text of ``language`` says it: ``14:00 27/10/2025``."""
    return moment.astimezone(HUE).strftime("%H:%M %d/%m/%Y" if language == "vi" else "%H:%M %Y-%m-%d")


def polygon(ring: Ring) -> str:
    """A ring as CAP writes it: ``lat,lon lat,lon …``, the first point again at the end."""
    return " ".join(f"{lat},{lon}" for lat, lon in ring)


def to_xml(message: Message) -> bytes:
    """The message as a UTF-8 document; equal messages give equal bytes."""
    default: dict[Any, str] = {None: NAMESPACE}
    root = etree.Element(f"{{{NAMESPACE}}}alert", nsmap=default)
    _add(root, "identifier", message.identifier)
    _add(root, "sender", message.sender)
    _add(root, "sent", cap_time(message.sent))
    _add(root, "status", message.status)
    _add(root, "msgType", message.msg_type)
    _add(root, "scope", "Public")
    if message.note:
        _add(root, "note", message.note)
    if message.references:
        _add(root, "references", " ".join(str(reference) for reference in message.references))
    for info in message.infos:
        _info(root, message, info)
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8", pretty_print=True)


def _info(root: etree._Element, message: Message, info: Info) -> None:
    part = _add(root, "info")
    _add(part, "language", info.language)
    _add(part, "category", message.category)
    _add(part, "event", info.event)
    _add(part, "responseType", message.response_type)
    _add(part, "urgency", message.urgency)
    _add(part, "severity", message.severity)
    _add(part, "certainty", message.certainty)
    _add(part, "effective", cap_time(message.sent))
    _add(part, "expires", cap_time(message.expires))
    _add(part, "senderName", info.sender_name)
    _add(part, "headline", info.headline)
    _add(part, "description", info.description)
    _add(part, "instruction", info.instruction)
    for name, value in message.parameters.items():
        _pair(part, "parameter", name, value)
    for area in message.areas:
        place = _add(part, "area")
        _add(place, "areaDesc", area.name)
        for ring in area.rings:
            _add(place, "polygon", polygon(ring))
        _pair(place, "geocode", WARD_CODE, area.ward_code)


def _pair(parent: etree._Element, tag: str, name: str, value: str) -> None:
    pair = _add(parent, tag)
    _add(pair, "valueName", name)
    _add(pair, "value", value)


def _add(parent: etree._Element, tag: str, text: str | None = None) -> etree._Element:
    child = etree.SubElement(parent, f"{{{NAMESPACE}}}{tag}")
    child.text = text
    return child
