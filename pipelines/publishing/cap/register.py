"""``catalog.cap_message``: every message of the flood desk with its XML, and who decided what for which reason.

A message is written once and never changed. What became of a draft is said by the messages that name it as their
source; a decision is in the register before anything is sent, so that nothing is public without a name beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import pyarrow as pa
from filelock import FileLock

from pipelines.landing import journal
from pipelines.publishing.cap.message import Message, Reference
from pipelines.publishing.cap.message import to_xml as xml_of
from pipelines.publishing.cap.rules import checked
from pipelines.runtime.settings import Settings

TABLE = "cap_message"
_TEXT, _INSTANT = pa.string(), pa.timestamp("us", tz="UTC")
_COLUMNS: tuple[tuple[str, pa.DataType, str], ...] = (
    ("cap_identifier", _TEXT, "Mã bản tin — Identifier"),
    (
        "chain",
        _TEXT,
        "Chuỗi bản tin của một đợt lũ tại một trạm hoặc một kịch bản — Chain of one flood at one station or scenario",
    ),
    ("station_id", _TEXT, "Mã trạm, không có nếu do kịch bản yêu cầu — Station; none for what a scenario asked for"),
    ("cap_status", _TEXT, "Tính chất — Actual, Exercise or Draft"),
    ("cap_msg_type", _TEXT, "Loại — Alert, Update or Cancel"),
    ("alarm_level", pa.int32(), "Cấp báo động, 0 là hết — Alarm level, 0 is the end"),
    ("cap_severity", _TEXT, "Mức nghiêm trọng — Severity"),
    ("headline_vi", _TEXT, "Tiêu đề — Headline in Vietnamese"),
    ("sender", _TEXT, "Nơi gửi — Sender"),
    ("issued_at", _INSTANT, "Lúc gửi — Sent"),
    ("expires_at", _INSTANT, "Hết hiệu lực — Expires"),
    ("cap_references", _TEXT, "Bản tin được nhắc tới — References"),
    ("ward_codes", _TEXT, "Mã phường, xã, cách nhau dấu cách — Ward codes, separated by spaces"),
    ("origin", _TEXT, "Nguồn gốc số liệu — Origin of the readings"),
    (
        "source_identifier",
        _TEXT,
        "Dự thảo được phát hoặc bản tin bị huỷ — Draft that was released, message that was withdrawn",
    ),
    ("decided_by", _TEXT, "Người quyết định — Who decided"),
    ("reason", _TEXT, "Lý do — Reason"),
    ("recorded_at", _INSTANT, "Lúc ghi sổ — Recorded"),
    ("xml_sha256", _TEXT, "Dấu băm của XML — SHA-256 of the XML"),
    ("xml", _TEXT, "Bản tin XML — The message"),
)


@dataclass(frozen=True)
class Entry:
    """One message of the register; instants in UTC. What a scenario asked for has no station and no level."""

    cap_identifier: str
    chain: str
    station_id: str | None
    cap_status: str
    cap_msg_type: str
    alarm_level: int | None
    cap_severity: str
    headline_vi: str
    sender: str
    issued_at: datetime
    expires_at: datetime
    cap_references: str
    ward_codes: str
    origin: str
    source_identifier: str | None
    decided_by: str | None
    reason: str | None
    recorded_at: datetime
    xml_sha256: str
    xml: str

    @property
    def reference(self) -> Reference:
        """This message as a later one refers to it."""
        return Reference(self.sender, self.cap_identifier, self.issued_at)

    @classmethod
    def of(
        cls,
        message: Message,
        *,
        chain: str,
        station_id: str | None,
        level: int | None,
        origin: str,
        source: str | None = None,
        by: str | None = None,
        reason: str | None = None,
    ) -> Entry:
        """The entry of a message, its XML made and checked.

        Raises:
            InvalidMessage: the message breaks the schema or a rule of the city.
        """
        xml = checked(xml_of(message))
        return cls(
            cap_identifier=message.identifier,
            chain=chain,
            station_id=station_id,
            cap_status=message.status,
            cap_msg_type=message.msg_type,
            alarm_level=level,
            cap_severity=message.severity,
            headline_vi=message.infos[0].headline,
            sender=message.sender,
            issued_at=message.sent.astimezone(UTC),
            expires_at=message.expires.astimezone(UTC),
            cap_references=" ".join(str(reference) for reference in message.references),
            ward_codes=" ".join(area.ward_code for area in message.areas),
            origin=origin,
            source_identifier=source,
            decided_by=by,
            reason=reason,
            recorded_at=datetime.now(UTC),
            xml_sha256=hashlib.sha256(xml).hexdigest(),
            xml=xml.decode(),
        )


@contextmanager
def locked(settings: Settings) -> Iterator[None]:
    """One desk decides at a time: a draft cannot be released twice."""
    folder = settings.lake_root / settings.namespace / "_locks"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "cap.lock", timeout=60):
        yield


def record(settings: Settings, entries: Iterable[Entry]) -> None:
    """Append messages in one commit; none write nothing."""
    schema = pa.schema([pa.field(name, kind, metadata={"comment": said}) for name, kind, said in _COLUMNS])
    title = "Sổ bản tin cảnh báo CAP — Register of the CAP messages"
    journal.append(settings, "catalog", TABLE, [asdict(entry) for entry in entries], schema, title)


def entries(settings: Settings) -> Mapping[str, Entry]:
    """Every message by its identifier, in the order in which they were sent; none before the first draft."""
    rows = journal.read(settings, "catalog", TABLE)
    found = sorted((Entry(**row) for row in rows), key=lambda e: (e.issued_at, e.recorded_at, e.cap_identifier))
    return {entry.cap_identifier: entry for entry in found}
