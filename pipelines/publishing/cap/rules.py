"""What a CAP message has to be: valid against the OASIS schema, and true to the rules that a schema cannot say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from importlib import resources
from typing import Any

from lxml import etree

from pipelines.publishing.cap.message import LANGUAGES, NAMESPACE, WARD_CODE
from pipelines.runtime.errors import LakeError

_IDENTIFIER = re.compile(r"[^\s,<&]+")
_NAMES = {"cap": NAMESPACE}
_OFFSET = "+07:00"
HEADLINE_LENGTH = 160
"""The standard suggests at most 160 characters, which is what a cell broadcast shows."""


class InvalidMessage(LakeError):
    """A message that must not leave the desk."""


@cache
def _schema() -> etree.XMLSchema:
    text = (resources.files("pipelines.publishing.cap") / "CAP-v1.2.xsd").read_bytes()
    return etree.XMLSchema(etree.fromstring(text))


def problems(xml: bytes) -> tuple[str, ...]:
    """Every reason why a document is no message of the city; none when it is one."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False)
    try:
        root = etree.fromstring(xml, parser)
    except etree.XMLSyntaxError as error:
        return (f"not XML: {error}",)
    schema = _schema()
    if not schema.validate(root):
        errors: Any = schema.error_log
        return tuple(f"line {error.line}: {error.message}" for error in errors)
    return (*_head(root), *(found for info in root.iterfind("cap:info", _NAMES) for found in _info(info)))


def checked(xml: bytes) -> bytes:
    """The document itself.

    Raises:
        InvalidMessage: it is no message of the city; the text names every problem.
    """
    found = problems(xml)
    if found:
        raise InvalidMessage(
            f"The CAP message is not valid: {'; '.join(found)}.",
            "Mend the wording or areas (schemas/codelists/cap_templates.yaml, alert_areas.yaml).",
        )
    return xml


def _text(node: etree._Element, tag: str) -> str:
    return node.findtext(f"cap:{tag}", "", _NAMES)


def _head(root: etree._Element) -> Iterator[str]:
    for tag in ("identifier", "sender"):
        if not _IDENTIFIER.fullmatch(_text(root, tag)):
            yield f"{tag} {_text(root, tag)!r} is empty or holds a space, comma, < or &"
    if not _text(root, "sent").endswith(_OFFSET):
        yield f"sent {_text(root, 'sent')} is not in the time of Huế ({_OFFSET})"
    references = _text(root, "references").split()
    if _text(root, "msgType") in {"Update", "Cancel"} and not references:
        yield f"msgType {_text(root, 'msgType')} needs references"
    if any(len(reference.split(",")) != 3 for reference in references):
        yield "a reference is not sender,identifier,sent"
    languages = [_text(info, "language") for info in root.iterfind("cap:info", _NAMES)]
    if languages != list(LANGUAGES.values()):
        yield f"languages are {languages}; a message speaks vi-VN first, then en-US"


def _info(info: etree._Element) -> Iterator[str]:
    language = _text(info, "language")
    effective, expires = _text(info, "effective"), _text(info, "expires")
    if not (effective.endswith(_OFFSET) and expires.endswith(_OFFSET)):
        yield f"{language}: effective and expires are not both in the time of Huế ({_OFFSET})"
    elif datetime.fromisoformat(expires) <= datetime.fromisoformat(effective):
        yield f"{language}: it expires at {expires}, before it takes effect"
    for tag in ("headline", "description", "instruction", "senderName"):
        if not _text(info, tag).strip():
            yield f"{language}: {tag} is empty"
        if "{" in _text(info, tag):
            yield f"{language}: {tag} holds a placeholder that was not filled in"
    if len(_text(info, "headline")) > HEADLINE_LENGTH:
        yield f"{language}: the headline has more than {HEADLINE_LENGTH} characters"
    areas = info.findall("cap:area", _NAMES)
    if not areas:
        yield f"{language}: no area"
    for area in areas:
        yield from (f"{language}, {_text(area, 'areaDesc')}: {found}" for found in _area(area))


def _area(area: etree._Element) -> Iterator[str]:
    if area.findtext("cap:geocode/cap:valueName", "", _NAMES) != WARD_CODE:
        yield f"no geocode {WARD_CODE}"
    polygons = [node.text or "" for node in area.iterfind("cap:polygon", _NAMES)]
    if not polygons:
        yield "no polygon"
    for text in polygons:
        try:
            points = [tuple(float(part) for part in point.split(",")) for point in text.split()]
        except ValueError:
            yield "a polygon holds what is no number"
            continue
        if len(points) < 4 or points[0] != points[-1]:
            yield "a polygon is not closed"
        if any(len(point) != 2 or not (-90 <= point[0] <= 90 and -180 <= point[1] <= 180) for point in points):
            yield "a point is not latitude,longitude"
