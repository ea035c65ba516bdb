"""Sentences about a contract in its two languages, said alike in every target."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

from pipelines.contracts.model import Classification, ContractField, DataClass, Text

SOURCES: Mapping[str, Text] = {
    "stream": Text(vi="luồng trực tiếp", en="live stream"),
    "sector": Text(vi="cơ sở dữ liệu ngành", en="sector database"),
    "derived": Text(vi="tính khi số liệu đến", en="computed on arrival"),
    "mart": Text(vi="bảng chỉ số đã chốt", en="settled mart"),
}
CLASSES: Mapping[Classification, Text] = {
    "open": Text(vi="mở", en="open"),
    "internal": Text(vi="nội bộ", en="internal"),
    "personal": Text(vi="cá nhân", en="personal"),
    "sensitive": Text(vi="nhạy cảm", en="sensitive"),
}
DATA_CLASSES: Mapping[DataClass, Text] = {
    "common": Text(vi="thông thường", en="common"),
    "important": Text(vi="quan trọng", en="important"),
    "core": Text(vi="cốt lõi", en="core"),
}
"""What people call each of these."""

UNWRITTEN = Text(vi="CẦN VIẾT", en="TO WRITE")
"""How a text begins that a draft leaves to a person; a contract that holds one is not sound."""
_UNWRITTEN = re.compile(rf"\s*({UNWRITTEN.vi}|{UNWRITTEN.en}|TODO|TBD|FIXME|XXX|\?\?\?|\.\.\.|…)")


def unwritten(vi: str, en: str) -> dict[str, str]:
    """What stands in a draft until a person writes the text; ``vi`` and ``en`` say what is known."""
    return {"vi": f"{UNWRITTEN.vi}: {vi}", "en": f"{UNWRITTEN.en}: {en}"}


def is_unwritten(text: str) -> bool:
    """Whether a text is one that a draft leaves to a person."""
    return _UNWRITTEN.match(text) is not None


def limits(item: ContractField, low: Decimal | None, high: Decimal | None) -> Text:
    """That a value lies between two limits, one of which may be open: ``Mực nước trong [-2; 15] m``."""
    unit = f" {item.unit}" if item.unit else ""
    said = f"[{'−∞' if low is None else f'{low:f}'}; {'∞' if high is None else f'{high:f}'}]{unit}"
    return Text(vi=f"{item.title.vi} trong {said}", en=f"{item.title.en} in {said}")


def both(text: Text) -> str:
    """Both languages in one line, Vietnamese first."""
    return f"{text.vi} — {text.en}"
