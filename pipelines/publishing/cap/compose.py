"""A situation in words: the wording and the wards of the code lists, the outlines of the wards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from pipelines.contracts.registry import Registry
from pipelines.publishing.cap.message import (
    HUE,
    LANGUAGES,
    Area,
    Info,
    Message,
    MsgType,
    Reference,
    Ring,
    Status,
    told_time,
)
from pipelines.publishing.cap.requests import Request
from pipelines.publishing.cap.situations import Situation
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings


@dataclass(frozen=True)
class Desk:
    """Everything that a message is made of beside its situation: the namespace's code lists and outlines."""

    namespace: str
    sender: str
    sender_names: Mapping[str, str]
    stations: Mapping[str, Mapping[str, Any]]
    templates: Mapping[int, Mapping[str, Any]]
    areas: Mapping[str, tuple[tuple[int, Area], ...]]
    all_wards: Mapping[str, Area]

    @classmethod
    def open(cls, settings: Settings, registry: Registry) -> Desk:
        """Read the code lists and the outlines of the wards.

        Raises:
            LakeError: the outlines are missing or lack a ward.
        """
        owner = registry.dataset("alert_cap").owner
        agency = next(row for row in registry.code_list("agencies").rows if row["code"] == owner)
        wards = {row["ward_code"]: row for row in registry.code_list("wards").rows}
        rings = outlines(settings.home / "data" / "wards" / "wards.geojson")
        areas: dict[str, list[tuple[int, Area]]] = {}
        all_wards = {code: Area(code, row["name_vi"], rings[code]) for code, row in wards.items() if code in rings}
        for row in registry.code_list("alert_areas").rows:
            code = row["ward_code"]
            if code not in all_wards:
                raise LakeError(
                    f"data/wards/wards.geojson has no ward {code}.", "Restore the file, or mend alert_areas."
                )
            areas.setdefault(row["station_id"], []).append((row["alarm_level"], all_wards[code]))
        return cls(
            settings.namespace,
            f"hue-lakehouse.{owner}",
            {"vi": agency["name_vi"], "en": agency["name_en"]},
            {row["station_id"]: row for row in registry.code_list("stations").rows},
            {row["alarm_level"]: row for row in registry.code_list("cap_templates").rows},
            {station: tuple(found) for station, found in areas.items()},
            all_wards,
        )

    @property
    def validity(self) -> Mapping[int, timedelta]:
        """How long a message of each level holds."""
        return {level: timedelta(hours=row["validity_h"]) for level, row in self.templates.items()}

    def identifier(self, said: Situation | Request, status: Status) -> str:
        """The identifier of the message about it; a draft and what is released from it are two messages."""
        suffix = "" if status == "Actual" else f".{status.lower()}"
        return f"HUE-{self.namespace}-{said.name}{suffix}"

    def wards(self, station_id: str, level: int) -> tuple[Area, ...]:
        """The wards that a level of a station concerns, sorted by code.

        Raises:
            LakeError: the code list ``alert_areas`` names none.
        """
        found = {area.ward_code: area for since, area in self.areas.get(station_id, ()) if since <= level}
        if not found:
            raise LakeError(
                f"No ward is warned of level {level} at {station_id}.",
                "Add its wards to schemas/codelists/alert_areas.yaml.",
            )
        return tuple(found[code] for code in sorted(found))


def outlines(path: Path) -> Mapping[str, tuple[Ring, ...]]:
    """The outer rings of every ward of a GeoJSON file, latitude first.

    Raises:
        LakeError: the file is missing.
    """
    if not path.is_file():
        raise LakeError(f"The outlines {path} are missing.", "They are part of the project: restore the folder data/.")
    found: dict[str, tuple[Ring, ...]] = {}
    for feature in json.loads(path.read_text(encoding="utf-8"))["features"]:
        geometry = feature["geometry"]
        parts = [geometry["coordinates"]] if geometry["type"] == "Polygon" else geometry["coordinates"]
        rings = tuple(tuple((lat, lon) for lon, lat in part[0]) for part in parts)
        found[feature["properties"]["ward_code"]] = rings
    return found


def compose(
    desk: Desk,
    situation: Situation,
    *,
    status: Status,
    msg_type: MsgType,
    highest_level: int,
    sent: datetime | None = None,
    references: tuple[Reference, ...] = (),
) -> Message:
    """The message about a situation.

    ``highest_level``: the highest level that its chain has had, whose wards are all told when the water falls.
    ``sent``: when it is sent, else the arrival clock of the situation.
    """
    moment = sent or situation.sent
    template = desk.templates[situation.level]
    return Message(
        identifier=desk.identifier(situation, status),
        sender=desk.sender,
        sent=moment,
        status=status,
        msg_type=msg_type,
        response_type=template["cap_response_type"],
        urgency=template["cap_urgency"],
        severity=template["cap_severity"],
        certainty=template["cap_certainty"],
        expires=moment + timedelta(hours=template["validity_h"]),
        infos=(_info(desk, situation, status, "vi"), _info(desk, situation, status, "en")),
        areas=desk.wards(situation.station_id, max(situation.level, highest_level)),
        references=references,
        note=NOTES.get(status, ""),
        parameters={
            "station_id": situation.station_id,
            "alarm_level": str(situation.level),
            "stage_m": str(situation.stage_m),
            "threshold_m": str(situation.threshold_m),
            "observed_at": situation.at.astimezone(HUE).isoformat(),
            "origin": situation.origin,
        },
    )


@dataclass(frozen=True)
class Subject:
    """What a withdrawal is about, by language: the event, and the headline without its prefix."""

    events: Mapping[str, str]
    headlines: Mapping[str, str]


def river(desk: Desk, station_id: str) -> Subject:
    """A flood at a station."""
    station = desk.stations[station_id]
    values = {"river": station["river_name"], "station": station["name_vi"]}
    return Subject(
        {language: text.format(**values) for language, text in _EVENTS.items()},
        {language: text.format(**values) for language, text in _WITHDRAWALS.items()},
    )


def event(events: Mapping[str, str], areas: tuple[Area, ...]) -> Subject:
    """What a scenario had an alert made of; more than three wards are told by their number."""
    names = ", ".join(area.name for area in areas)
    places = {"vi": f"{len(areas)} phường, xã", "en": f"{len(areas)} wards"}
    return Subject(
        events,
        {
            language: text.format(event=events[language], place=places[language] if len(areas) > 3 else names)
            for language, text in _EVENT_WITHDRAWALS.items()
        },
    )


def compose_withdrawal(
    desk: Desk,
    withdrawn: Reference,
    *,
    subject: Subject,
    areas: tuple[Area, ...],
    status: Status,
    category: str,
    sent: datetime,
    reason: str,
    parameters: Mapping[str, str],
) -> Message:
    """The message with which a person takes an earlier one back; ``reason`` is told to the public."""
    template = desk.templates[0]
    return Message(
        identifier=f"{withdrawn.identifier}.cancel",
        sender=desk.sender,
        sent=sent,
        status=status,
        msg_type="Cancel",
        response_type=template["cap_response_type"],
        urgency=template["cap_urgency"],
        severity=template["cap_severity"],
        certainty=template["cap_certainty"],
        expires=sent + timedelta(hours=template["validity_h"]),
        infos=tuple(
            Info(
                language=LANGUAGES[language],
                event=subject.events[language],
                sender_name=desk.sender_names[language],
                headline=PREFIXES.get((status, language), "") + subject.headlines[language],
                description=reason,
                instruction=_WITHDRAWN[language],
            )
            for language in LANGUAGES
        ),
        areas=areas,
        references=(withdrawn,),
        note=NOTES.get(status, ""),
        category=category,
        parameters=parameters,
    )


_WITHDRAWALS = {
    "vi": "Huỷ bản tin cảnh báo lũ sông {river} tại {station}",
    "en": "The flood alert for the {river} River at {station} is withdrawn",
}
_EVENT_WITHDRAWALS = {
    "vi": "Huỷ bản tin cảnh báo «{event}» tại {place}",
    "en": "The alert “{event}” for {place} is withdrawn",
}
_WITHDRAWN = {
    "vi": "Bản tin nêu trên không còn hiệu lực; theo dõi tin lũ trên Hue-S.",
    "en": "The alert named above no longer holds; follow the flood news on Hue-S.",
}
NOTES = {
    "Exercise": "Diễn tập: số liệu phát lại hoặc tổng hợp, không phải lũ thật. Exercise: replayed or synthetic data.",
    "Draft": "Dự thảo, chưa được duyệt phát. Draft, not released.",
}
PREFIXES = {
    ("Exercise", "vi"): "[DIỄN TẬP] ",
    ("Exercise", "en"): "[EXERCISE] ",
    ("Draft", "vi"): "[DỰ THẢO] ",
    ("Draft", "en"): "[DRAFT] ",
}
_EVENTS = {"vi": "Lũ sông {river}", "en": "Flood of the {river} River"}
_DESCRIPTIONS = {
    "vi": "Trạm {station} đo được {stage} m lúc {at} (ngưỡng {threshold} m).",
    "en": "The gauge {station} measured {stage} m at {at} (threshold {threshold} m).",
}


def _info(desk: Desk, situation: Situation, status: Status, language: str) -> Info:
    station, template = desk.stations[situation.station_id], desk.templates[situation.level]
    values = {
        "river": station["river_name"],
        "station": station["name_vi"],
        "stage": _metres(situation.stage_m, language),
        "threshold": _metres(situation.threshold_m, language),
        "at": told_time(situation.at, language),
    }
    prefix = PREFIXES.get((status, language), "")
    return Info(
        language=LANGUAGES[language],
        event=_EVENTS[language].format(**values),
        sender_name=desk.sender_names[language],
        headline=prefix + _filled(template[f"headline_{language}"], values),
        description=_DESCRIPTIONS[language].format(**values),
        instruction=template[f"instruction_{language}"],
    )


def _filled(text: str, values: Mapping[str, str]) -> str:
    """Fill in what is known; an unknown placeholder stays, and the rules refuse the message for it."""
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def _metres(value: Decimal, language: str) -> str:
    text = f"{value:.2f}"
    return text.replace(".", ",") if language == "vi" else text
