"""Files as departments write them, made for tests, and their rows as the readers give them."""

from __future__ import annotations

import codecs
import io
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.contracts.file_layout import FileLayout
from pipelines.contracts.logical_types import parse
from pipelines.gateway.inbox.window import Bounds
from pipelines.ingestion.files import REASON, ROW, FileUnfit, open_file
from pipelines.ingestion.files.delimited import Delimited
from pipelines.ingestion.files.records import Records
from pipelines.ingestion.files.tcvn3 import TABLE, UNDEFINED
from pipelines.ingestion.files.values import Wanted

TONES = "\u0300\u0301\u0303\u0309\u0323"
WANTED = (
    Wanted("facility_id", parse("string"), "Mã cơ sở"),
    Wanted("price_vnd", parse("decimal(18,4)"), "Giá"),
    Wanted("licensed_date", parse("date"), "Ngày cấp"),
    Wanted("visited_at", parse("timestamp"), "Giờ vào"),
    Wanted("is_open", parse("boolean"), "Mở cửa"),
)
SENTENCES = (
    "Ủy ban nhân dân thành phố Huế quyết định phê duyệt danh sách cơ sở khám chữa bệnh",
    "phường Thuận Hóa, đường Lê Lợi số 5, người lập biểu Đỗ Thị Hồng Ngọc kiểm tra những trường hợp chậm",
    "trạm y tế xã Phú Mỹ, huyện Phú Vang: bác sĩ Nguyễn Văn Tuấn, y sĩ Trần Thị Ngọc Ánh, dược sĩ Võ Quỳnh Như",
    "lũ quét, sạt lở, ngập sâu ở vùng thấp trũng ven sông Hương và sông Bồ; mực nước vượt báo động ba",
    "ký, ỷ lại, tỷ lệ, quỹ, lỵ, ý kiến; gỗ, giỏ, giẻ, kẽ, kẻ, mẹ, mè; ẵm, hẳn, hằng, hắn, nặng, thẩm, thẫm, thấp, thập",
    "rừng, rửng, rữa, rứa, rựa; mỡ, mở, mớ, mợ, mờ; khổ, khỗ, số, sộ, sồ; tù, tủ, tũ, tú, tụ; tì, tỉ, tĩ, tí, tị",
)


def layout(kind: str = "csv", **keys: Any) -> FileLayout:
    return FileLayout(format=kind, **keys)  # type: ignore[arg-type]


def as_tcvn3(text: str) -> bytes:
    """Write TCVN3; a capital with a tone as its base and the lower-case letter."""
    signs = {sign: bytes([byte]) for byte, sign in enumerate(TABLE) if sign != UNDEFINED}
    for sign in set(text) - signs.keys():
        marks = unicodedata.normalize("NFD", sign)
        base = unicodedata.normalize("NFC", "".join(mark for mark in marks if mark not in TONES))
        signs[sign] = signs[base] + signs[sign.lower()]
    return b"".join(map(signs.__getitem__, text))


def as_windows_1258(text: str) -> bytes:
    """Write windows-1258: the tone is a mark behind its letter."""
    out = b""
    for sign in text:
        try:
            out += sign.encode("cp1258")
        except UnicodeEncodeError:
            marks = unicodedata.normalize("NFD", sign)
            tone = "".join(mark for mark in marks if mark in TONES)
            base = unicodedata.normalize("NFC", "".join(mark for mark in marks if mark not in TONES))
            out += (base + tone).encode("cp1258")
    return out


WRITERS = {
    "utf-8": lambda text: text.encode(),
    "windows-1258": as_windows_1258,
    "tcvn3": as_tcvn3,
}


def rows_of(data: bytes, declared: FileLayout, wanted: Sequence[Wanted] = WANTED, **sizes: int) -> list[dict[str, Any]]:
    """The rows of a text file, read from memory; `step` and `size_bytes` say how its bytes come."""
    stream = io.BytesIO(data)
    step = sizes.get("step", 1 << 20)
    kind = Delimited if declared.format == "csv" else Records
    bounds = Bounds(size_bytes=sizes.get("size_bytes", 1 << 22), records=2**62, record_bytes=1 << 20)
    reading = kind("x.csv", declared, wanted, lambda size: stream.read(min(size, step)), bounds)
    return [row for batch in reading.batches() for row in batch.to_pylist()]


def file_rows(path: Path, declared: FileLayout, wanted: Sequence[Wanted] = WANTED) -> list[dict[str, Any]]:
    with open_file(path, declared, wanted) as file:
        return [row for batch in file.batches() for row in batch.to_pylist()]


def refused(rows: Sequence[dict[str, Any]]) -> dict[int, str]:
    """Row number → reason, of the rows that have one."""
    return {row[ROW]: row[REASON] for row in rows if row[REASON] is not None}


@contextmanager
def read_or_refused() -> Iterator[None]:
    """Whatever is in a file: it is read, or refused in a sentence that says what to do."""
    try:
        yield
    except FileUnfit as error:
        if not error.remedy or not error.what.endswith("."):
            raise


def mojibake(text: str) -> str:
    """What a spreadsheet holds of a text that was typed in a .Vn font."""
    return "".join(codecs.decode(bytes([byte]), "cp1252", "ignore") or chr(byte) for byte in as_tcvn3(text))
