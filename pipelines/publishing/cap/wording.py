"""A request of a scenario in words: its own declared texts, the wards of its place, and what an end says."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from pipelines.contracts.scenario import CITY
from pipelines.publishing.cap.compose import NOTES, PREFIXES, Desk
from pipelines.publishing.cap.message import HUE, LANGUAGES, Area, Info, Message, MsgType, Reference, Status, told_time
from pipelines.publishing.cap.requests import Request
from pipelines.publishing.cap.rules import HEADLINE_LENGTH
from pipelines.runtime.errors import LakeError

_INSTRUCTIONS = {
    "vi": "Theo dõi thông báo trên Hue-S và làm theo hướng dẫn của chính quyền phường, xã.",
    "en": "Follow the announcements on Hue-S and do as the authorities of your ward say.",
}
"""Where the scenario declares none."""
_ENDS: Mapping[str, Mapping[str, str]] = {
    "recovered": {"vi": "Đã hết: {headline}", "en": "Over: {headline}"},
    "silence": {"vi": "Không còn ghi nhận thêm: {headline}", "en": "Nothing more was reported: {headline}"},
}
_WITHDRAWN_END = {"vi": "Bản tin không còn hiệu lực: {headline}", "en": "No longer in force: {headline}"}
"""The rule was edited or switched off: nobody knows whether it is over."""
_END_INSTRUCTIONS = {
    "vi": "Vẫn thận trọng ở nơi vừa xảy ra; theo dõi thông báo trên Hue-S.",
    "en": "Still take care where it happened; follow the announcements on Hue-S.",
}
_DESCRIPTIONS = {
    "vi": "{event}: {where}. Ghi nhận từ {began}, cập nhật lúc {at}.",
    "en": "{event}: {where}. Noticed since {began}, as of {at}.",
}
_ALL_CLEAR = ("AllClear", "Past", "Minor", "Observed")
_ENDED: Mapping[str, tuple[str, str, str, str]] = {
    "recovered": _ALL_CLEAR,
    # Silence is no recovery: a camera may have drowned.
    "silence": ("Monitor", "Past", "Minor", "Likely"),
}
_UNKNOWN_END = ("Monitor", "Unknown", "Unknown", "Unknown")
"""Response, urgency, severity and certainty of an end."""
_ALL_STATIONS_LEVEL = 99


def validity_of(desk: Desk, detail: Mapping[str, Any]) -> timedelta:
    """How long a request holds: as long as the shortest flood message of its severity, of any where there is none."""
    return timedelta(hours=min(row["validity_h"] for row in _like(desk, detail.get("severity"))))


def areas_of(desk: Desk, request: Request) -> tuple[Area, ...]:
    """The wards of a request, sorted by code: its ward, all of them, or those that its station concerns.

    Raises:
        LakeError: its place is none of these.
    """
    if request.ward_code is not None and request.ward_code in desk.all_wards:
        return (desk.all_wards[request.ward_code],)
    if request.ward_code is None and request.scope_kind == CITY:
        return tuple(desk.all_wards[code] for code in sorted(desk.all_wards))
    if request.ward_code is None and request.scope_key in desk.areas:
        return desk.wards(request.scope_key, _ALL_STATIONS_LEVEL)
    place = request.ward_code or request.scope_key
    raise LakeError(
        f"The scenario {request.scenario_id} asks for an alert about {place!r}, whose wards are not known.",
        "Let it run by ward, or name the station's wards in schemas/codelists/alert_areas.yaml.",
    )


def compose_request(
    desk: Desk,
    request: Request,
    *,
    status: Status,
    msg_type: MsgType,
    sent: datetime | None = None,
    references: tuple[Reference, ...] = (),
) -> Message:
    """The message about a request; ``sent``: when it is sent, else the arrival clock of the request.

    Raises:
        LakeError: its place has no wards, or its action declares too little.
    """
    detail = request.detail
    missing = [name for name in ("event", "category", "urgency", "severity", "certainty") if not detail.get(name)]
    if missing:
        raise LakeError(
            f"The scenario {request.scenario_id} asks for an alert without {', '.join(missing)}.",
            "Its action cap_draft declares them: schemas/scenarios.",
        )
    moment = sent or request.sent
    if request.end_reason is not None:
        response, urgency, severity, certainty = _ENDED.get(request.end_reason, _UNKNOWN_END)
        validity = desk.validity[0]
    else:
        response = _like(desk, detail["severity"])[0]["cap_response_type"]
        urgency, severity, certainty = detail["urgency"], detail["severity"], detail["certainty"]
        validity = validity_of(desk, detail)
    areas = areas_of(desk, request)
    return Message(
        identifier=desk.identifier(request, status),
        sender=desk.sender,
        sent=moment,
        status=status,
        msg_type=msg_type,
        category=detail["category"],
        response_type=response,
        urgency=urgency,
        severity=severity,
        certainty=certainty,
        expires=moment + validity,
        infos=(_info(desk, request, areas, status, "vi"), _info(desk, request, areas, status, "en")),
        areas=areas,
        references=references,
        note=NOTES.get(status, ""),
        parameters={
            "scenario_id": request.scenario_id,
            "scope": request.scope_key,
            "agency_id": request.agency_id,
            "observed_at": request.at.astimezone(HUE).isoformat(),
            "origin": request.origin,
        },
    )


def _info(desk: Desk, request: Request, areas: tuple[Area, ...], status: Status, language: str) -> Info:
    detail = request.detail
    headline = request.headlines[language]
    declared = (detail.get("instruction") or {}).get(language)
    instruction = declared or _INSTRUCTIONS[language]
    if request.end_reason is not None:
        headline = _ENDS.get(request.end_reason, _WITHDRAWN_END)[language].replace("{headline}", headline)
        instruction = _END_INSTRUCTIONS[language]
    values = {
        "event": headline,
        "where": ", ".join(area.name for area in areas),
        "began": told_time(request.chain_started_at, language),
        "at": told_time(request.sent if request.is_renewal else request.at, language),
    }
    return Info(
        language=LANGUAGES[language],
        event=detail["event"][language],
        sender_name=desk.sender_names[language],
        headline=_shortened(PREFIXES.get((status, language), "") + headline),
        description=_DESCRIPTIONS[language].format(**values),
        instruction=instruction,
    )


def _shortened(headline: str) -> str:
    """A headline that a cell broadcast can show; the description has it whole."""
    return headline if len(headline) <= HEADLINE_LENGTH else headline[: HEADLINE_LENGTH - 1].rstrip() + "…"


def _like(desk: Desk, severity: str | None) -> list[Mapping[str, Any]]:
    """The flood messages of a severity, the lowest level first; all of them where there is none."""
    levels = [row for level, row in sorted(desk.templates.items()) if level]
    return [row for row in levels if row["cap_severity"] == severity] or levels
