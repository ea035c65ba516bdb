"""What is refused before anything opens it: bombs, archives in archives, macros, names that are paths, half a file."""

from __future__ import annotations

import gzip
import os
import struct
import zipfile
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from delivered import layout, read_or_refused
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.contracts.logical_types import parse
from pipelines.ingestion.files import FileIncomplete, FileUnfit, check, read
from pipelines.ingestion.files import guard as guarded
from pipelines.ingestion.files.values import Wanted

XLSX = layout("xlsx")
TEXT = (Wanted("ten", parse("string")),)


@pytest.fixture
def workbook(tmp_path: Path) -> Path:
    book = openpyxl.Workbook()
    book.active.append(["ten"])
    book.active.append(["Huế"])
    path = tmp_path / "a.xlsx"
    book.save(path)
    return path


def with_part(file: Path, name: str, data: bytes, how: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(file, "a", how) as archive:
        archive.writestr(name, data)
    return file


def test_a_good_file_passes_and_its_digest_is_told(workbook: Path, tmp_path: Path) -> None:
    found = check(workbook, XLSX)
    assert len(found.sha256) == 64
    packed = tmp_path / "a.csv.gz"
    packed.write_bytes(gzip.compress(b"ten\nx\n"))
    assert check(packed, layout()).plain_bytes == 6
    assert [batch.column("ten").to_pylist() for batch in read(packed, layout(), TEXT)] == [["x"]]


@pytest.mark.parametrize("name", ["../a.csv", "/etc/a.csv", "a\\b.csv", "..", "", "a\n.csv", "a\0.csv", "x/../a.csv"])
def test_a_name_that_is_a_path_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "staged.csv"
    path.write_text("ten\nx\n")
    with pytest.raises(FileUnfit, match="no plain file name"):
        check(path, layout(), name)


def test_name_and_layout_agree(tmp_path: Path) -> None:
    path = tmp_path / "gia.csv"
    path.write_text("ten\nx\n")
    with pytest.raises(FileUnfit, match="none of a file of format xlsx"):
        check(path, XLSX)
    with pytest.raises(FileUnfit, match="does not read as"):
        check(path, layout(name="gia_{ddMMyyyy}.csv"))
    with pytest.raises(FileUnfit, match=r"no such day|day is out of range"):
        check(path, layout(name="gia_{ddMMyyyy}.csv"), "gia_31022025.csv")


@pytest.mark.parametrize(
    ("kind", "body", "sentence"),
    [
        ("csv", b"PK\x03\x04aaaa", "not csv but a zip"),
        ("csv", b"\xff\xfea\0;\0", "not csv but UTF-16"),
        ("csv", b"a;b\n\0;1\n", "bytes of zero"),
        ("csv", b"<!DOCTYPE html><table>", "HTML"),
        ("json", b"%PDF-1.7", "not json but a PDF"),
        ("ndjson", b"PAR1", "not ndjson but Parquet"),
        ("csv", b"\x1f\x8b\x08", "not csv but a gzip"),
        ("csv", b"", "the file is empty"),
        ("xlsx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1aaaa", "an old .xls, or a workbook with a password"),
        ("xlsx", b"a;b\n", "no workbook"),
        ("xlsx", b"PK\x03\x04aaaa", "damaged or not whole"),
        ("parquet", b"PAR1aaaa", "no footer"),
        ("parquet", b"PAREaaaaaaaaPARE", "encrypted"),
        ("parquet", b"PK\x03\x04", "no Parquet"),
        ("parquet", b"PAR1aaaaaaaaaaaaPAR1", "footer cannot be read"),
    ],
)
def test_bytes_and_name_agree(tmp_path: Path, kind: Any, body: bytes, sentence: str) -> None:
    path = tmp_path / f"a.{kind}"
    path.write_bytes(body)
    with pytest.raises(FileUnfit, match=sentence):
        list(read(path, layout(kind), TEXT))


def test_half_a_file_is_told_apart_from_a_bad_one(workbook: Path, tmp_path: Path) -> None:
    whole = workbook.read_bytes()
    workbook.write_bytes(whole[: len(whole) - 30])
    with pytest.raises(FileIncomplete):
        check(workbook, XLSX)
    table = tmp_path / "a.parquet"
    pq.write_table(pa.table({"ten": ["x"] * 100}), table)
    table.write_bytes(table.read_bytes()[:-20])
    with pytest.raises(FileIncomplete):
        check(table, layout("parquet"))
    text = tmp_path / "a.csv"
    text.write_text("ten\nx")
    check(text, layout())
    with pytest.raises(FileIncomplete, match="the last line has no end"):
        check(text, layout(ends_with_line_break=True))
    packed = tmp_path / "b.csv.gz"
    packed.write_bytes(gzip.compress(b"ten\nx\n" * 100)[:-9])
    with pytest.raises(FileIncomplete):
        check(packed, layout())


@pytest.mark.parametrize(
    ("part", "data", "sentence"),
    [
        ("../../etc/x.xml", b"<a/>", "would lie outside"),
        ("/x.xml", b"<a/>", "would lie outside"),
        ("xl/vbaProject.bin", b"x", "macros"),
        ("xl/macrosheets/sheet1.xml", b"<a/>", "macros"),
        ("xl/externalLinks/externalLink1.xml", b"<a/>", "links to other files"),
        ("xl/connections.xml", b"<a/>", "connections"),
        ("xl/embeddings/oleObject1.bin", b"x", "embedded files"),
        ("xl/media/x.zip", b"x", "another archive"),
        ("xl/media/x.png", b"PK\x03\x04", "another archive"),
        ("xl/x.xml", b'<!DOCTYPE x [<!ENTITY a "aa">]><x>&a;</x>', "entities are not read"),
        ("xl/x.xml", b" " * 1_048_570 + b"<!DOCTYPE x><x/>", "entities are not read"),
        ("xl/x.xml", "<?xml version='1.0' encoding='utf-16'?><x/>".encode("utf-16"), "is not UTF-8"),
        ("xl/x.xml", b"<?xml version='1.0' encoding='utf-7'?><x/>", "is not UTF-8"),
        ("xl/_rels/x.rels", b'<Relationship Type="http://x/oleObject" TargetMode="External"/>', "links to other files"),
        ("XL/WORKBOOK.XML", b"<a/>", "two parts of the workbook have one name"),
    ],
)
def test_a_workbook_that_could_do_harm_is_refused(workbook: Path, part: str, data: bytes, sentence: str) -> None:
    with pytest.raises(FileUnfit, match=sentence):
        check(with_part(workbook, part, data), XLSX)


def test_a_link_to_a_page_is_no_harm(workbook: Path) -> None:
    relation = b'<Relationship Type="http://x/hyperlink" Target="https://hue.gov.vn" TargetMode="External"/>'
    check(with_part(workbook, "xl/_rels/y.rels", relation), XLSX)


def test_a_workbook_with_macros_under_another_name_is_refused(workbook: Path, tmp_path: Path) -> None:
    other = tmp_path / "b.xlsx"
    with zipfile.ZipFile(workbook) as source, zipfile.ZipFile(other, "w") as target:
        for entry in source.infolist():
            data = source.read(entry)
            target.writestr(entry.filename, data.replace(b"spreadsheetml.sheet.main", b"sheet.macroEnabled.main"))
    with pytest.raises(FileUnfit, match="macros"):
        check(other, XLSX)


def test_a_zip_that_is_no_workbook_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "x")
    with pytest.raises(FileUnfit, match="a zip, but no workbook"):
        check(path, XLSX)


def test_bombs_are_not_unpacked(workbook: Path, tmp_path: Path) -> None:
    packed = tmp_path / "a.csv.gz"
    packed.write_bytes(gzip.compress(b"\n" * (65 * 1024**2), 9))
    with pytest.raises(FileUnfit, match="unpack to more than"):
        check(packed, layout())
    with pytest.raises(FileUnfit, match="unpack to more than"):
        check(with_part(workbook, "xl/worksheets/sheet2.xml", b" " * (65 * 1024**2)), XLSX)


def test_a_file_that_is_too_large_says_which_limit_and_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remedy = "Send several smaller files if they hold changes; a table that is so large needs a larger `most_bytes`."
    plain, packed = tmp_path / "b.csv", tmp_path / "b.csv.gz"
    plain.write_bytes(b"ten\n" * 10)
    packed.write_bytes(gzip.compress(b"ten\n" * 10))
    with pytest.raises(FileUnfit) as unpacked:
        check(packed, layout(most_bytes=39))
    size = packed.stat().st_size
    what = f"its {size} bytes unpack to more than 39, which is what the layout allows"
    assert str(unpacked.value) == f"b.csv.gz: {what}. Nothing of it was loaded. {remedy}"
    assert check(packed, layout(most_bytes=40)).plain_bytes == 40 == check(plain, layout(most_bytes=40)).plain_bytes

    def unread(*_: object) -> bytes:
        raise AssertionError("a file of 10 GB would be read to its end before it is refused")

    monkeypatch.setattr(os, "read", unread)
    with pytest.raises(FileUnfit) as refused:
        check(plain, layout(most_bytes=39))
    what = "its 40 bytes are more than 39, which is what the layout allows"
    assert str(refused.value) == f"b.csv: {what}. Nothing of it was loaded. {remedy}"


def test_a_part_that_is_larger_than_it_says_is_refused(workbook: Path) -> None:
    """The directory says 10 bytes, the part unpacks to a million: no more than announced is read, and it is refused."""
    with_part(workbook, "xl/x.xml", b"<a>" + b" " * 1_000_000 + b"</a>")
    data = bytearray(workbook.read_bytes())
    entry = data.rindex(b"PK\x01\x02")
    assert data[entry + 46 : entry + 54] == b"xl/x.xml"
    data[entry + 24 : entry + 28] = struct.pack("<I", 10)
    workbook.write_bytes(data)
    with pytest.raises(FileUnfit, match="damaged"):
        check(workbook, XLSX)


def test_an_encrypted_part_is_refused(workbook: Path) -> None:
    data = bytearray(workbook.read_bytes())
    entry = data.index(b"PK\x01\x02")
    data[entry + 8] |= 1
    workbook.write_bytes(data)
    with pytest.raises(FileUnfit, match="encrypted"):
        check(workbook, XLSX)


def test_too_many_parts_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(guarded.MOST_ENTRIES + 1):
            archive.writestr(str(number), "")
    with pytest.raises(FileUnfit, match="parts, more than"):
        check(path, XLSX)


def test_only_an_ordinary_file_is_opened(tmp_path: Path) -> None:
    (tmp_path / "real.csv").write_text("ten\nx\n")
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder.csv").mkdir()
    for name in ("link.csv", "pipe.csv", "folder.csv", "missing.csv"):
        with pytest.raises(FileUnfit, match=r"not read \(|no ordinary file"):
            check(tmp_path / name, layout())


KINDS = st.sampled_from(["csv", "xlsx", "json", "ndjson", "parquet"])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), KINDS)
def test_a_file_with_changed_bytes_is_read_or_refused_in_words(tmp_path: Path, data: st.DataObject, kind: Any) -> None:
    path = tmp_path / f"fuzz.{kind}"
    body = bytearray(_good(tmp_path, kind))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(body) - 1))
        body[place] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        body = body[: data.draw(st.integers(0, len(body)))]
    path.write_bytes(body)
    with read_or_refused():
        list(read(path, layout(kind), TEXT))


def _good(folder: Path, kind: str) -> bytes:
    path = folder / f"good.{kind}"
    if not path.exists():
        if kind == "xlsx":
            book = openpyxl.Workbook()
            for value in ("ten", "Huế", 5, 1.5):
                book.active.append([value])
            book.save(path)
            stored = zipfile.ZipFile(path)
            with zipfile.ZipFile(folder / "stored.xlsx", "w") as target:
                for entry in stored.infolist():
                    target.writestr(entry.filename, stored.read(entry))
            (folder / "stored.xlsx").rename(path)
        elif kind == "parquet":
            pq.write_table(pa.table({"ten": ["Huế", None, "x"], "so": [1, 2, 3]}), path)
        else:
            text = {"csv": "ten\nHuế\n", "json": '[{"ten": "Huế"}]', "ndjson": '{"ten": "Huế"}\n'}[kind]
            path.write_text(text, encoding="utf-8")
    return path.read_bytes()
