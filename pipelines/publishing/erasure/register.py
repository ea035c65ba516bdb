"""``catalog.erasure``: every erasure, when it was asked for and by whom, and how far it came. No person stands in it.

Who was erased is known by SHA-256 of the token alone: whoever asks with the same token again finds the same erasure.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

import pyarrow as pa

from pipelines.landing import journal
from pipelines.runtime.settings import Settings
from pipelines.runtime.status import Section, status_sections

State = Literal["begun", "emptied", "released", "done"]
ORDER: tuple[State, ...] = ("begun", "emptied", "released", "done")
WORDS: Mapping[State, str] = {
    "begun": "đang xoá — rows are being taken out",
    "emptied": "bảng đã sạch, chờ công bố bản mới — tables are clean, pins are not",
    "released": "chờ xoá bản cũ — older versions are to go",
    "done": "xong — done",
}
_INSTANT: Any = pa.timestamp("us", tz="UTC")
_SCHEMA = pa.schema(
    {
        "erasure_id": pa.string(),
        "state": pa.string(),
        "subject_sha256": pa.string(),
        "reason": pa.string(),
        "erased_by": pa.string(),
        "kept_datasets": pa.string(),
        "details_json": pa.string(),
        "recorded_at": _INSTANT,
    }
)


@dataclass(frozen=True)
class Erasure:
    """One state of one erasure; times are UTC.

    ``begun``: records were noted and rows are being taken out. ``emptied``: no newest version of a table holds the
    person; older ones may. ``released``: nobody is shown an older version any more, and they go. ``done``: nothing that
    can be read holds the person, and the certificate is written.
    ``details_json``: table → rows that were deleted or emptied, the version from which on it is clean, files.
    """

    erasure_id: str
    state: State
    subject_sha256: str
    reason: str
    erased_by: str
    kept_datasets: str
    details_json: str
    recorded_at: datetime

    @property
    def details(self) -> Mapping[str, Any]:
        """What was done so far."""
        return dict(json.loads(self.details_json))

    @property
    def subjects(self) -> tuple[str, ...]:
        """The digests of the tokens."""
        return tuple(self.subject_sha256.split(" "))


def digest(token: str) -> str:
    """How a token is known here."""
    return hashlib.sha256(token.encode()).hexdigest()


def subject_of(tokens: Sequence[str]) -> str:
    """The digests of all tokens of a person, in order."""
    return " ".join(sorted(map(digest, tokens)))


def record(settings: Settings, item: Erasure) -> None:
    """Append one state."""
    title = "Các lần xoá dữ liệu theo yêu cầu của chủ thể — Erasures at a person's request"
    journal.append(settings, "catalog", "erasure", [asdict(item)], _SCHEMA, title)


def erasures(settings: Settings) -> tuple[Erasure, ...]:
    """The newest state of every erasure, the oldest first."""
    newest: dict[str, Erasure] = {}
    rows = (Erasure(**row) for row in journal.read(settings, "catalog", "erasure"))
    for item in sorted(rows, key=lambda e: (e.recorded_at, ORDER.index(e.state))):
        newest[item.erasure_id] = item
    return tuple(newest.values())


def clean_from(settings: Settings) -> Mapping[str, int]:
    """Table → the version below which none is to be kept, because an erasure has been through it."""
    found: dict[str, int] = {}
    for item in erasures(settings):
        if ORDER.index(item.state) >= ORDER.index("released"):
            for table, done in item.details.get("tables", {}).items():
                found[table] = max(int(done["clean_from"]), found.get(table, 0))
    return found


def section(settings: Settings) -> Section:
    """Open erasures in `lake status`: somebody waits for their end."""
    rows = [
        (item.erasure_id, WORDS[item.state], item.reason, item.erased_by)
        for item in erasures(settings)
        if item.state != "done"
    ]
    columns = ("mã", "trạng thái", "lý do", "ai")
    return Section("Xoá theo yêu cầu còn dở — Erasures that are open", columns, rows, is_good=not rows)


status_sections.append(section)
