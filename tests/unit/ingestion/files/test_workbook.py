"""Workbooks: merged headings, two calendars, old fonts, binary floats, formulas."""

from __future__ import annotations

import datetime as dt
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from delivered import SENTENCES, WANTED, as_tcvn3, file_rows, layout, mojibake, refused
from openpyxl.styles import Font
from openpyxl.utils.datetime import MAC_EPOCH

from pipelines.contracts.logical_types import parse
from pipelines.ingestion.files import DETAIL, RAW, ROW, FileUnfit, check, open_file
from pipelines.ingestion.files.values import Wanted

HEAD = ["Mã cơ sở", "Giá", "Ngày cấp", "Giờ vào", "Mở cửa"]
VIETNAM = layout(
    "xlsx",
    number={"decimal": ",", "thousands": ".", "suffixes": ("%",)},
    dates=("dd/MM/yyyy", "dd/MM/yyyy HH:mm"),
    time_zone="Asia/Ho_Chi_Minh",
)
TEXT = (Wanted("ten", parse("string")),)


def book(path: Path, *rows: list[Any], change: Callable[[Any, Any], None] | None = None) -> Path:
    """A workbook of one sheet; `change` is called with workbook and sheet before it is written."""
    workbook = openpyxl.Workbook()
    sheet = workbook.active
    for row in rows:
        sheet.append(row)
    if change:
        change(workbook, sheet)
    file = path / "danh_sach.xlsx"
    workbook.save(file)
    check(file, VIETNAM)
    return file


def test_typed_cells_and_texts_mean_the_same(tmp_path: Path) -> None:
    typed = ["K01", 1234.5, dt.date(2025, 12, 31), dt.datetime(2025, 2, 1, 7, 30), True]
    text = ["K01", "1.234,5", "31/12/2025", "01/02/2025 07:30", "1"]
    one, other = file_rows(book(tmp_path, HEAD, typed, [], text), VIETNAM)
    assert one | {ROW: 0} == other | {ROW: 0}
    assert (one[ROW], other[ROW]) == (2, 4)
    assert one["visited_at"] == dt.datetime(2025, 2, 1, 0, 30, tzinfo=dt.UTC)
    assert one["price_vnd"] == "1234.5"


def test_bad_cells_refuse_their_row_alone(tmp_path: Path) -> None:
    rows = [
        ["=A1", 1, None, None, None],
        ["K01", "=SUM(B2:B3)", None, None, None],
        ["K01", 0.1234567890123456, None, None, None],
        ["K01", None, 45658, None, None],
        ["K01", None, dt.datetime(2025, 1, 1, 7), None, None],
        ["K01", None, dt.date(1900, 2, 1), None, None],
        ["K01", None, None, dt.time(7, 30), None],
        [dt.date(2025, 1, 2), None, None, None, None],
        [True, None, None, None, None],
        ["#N/A", None, None, None, None],
        ["+84", "5 %", None, None, False],
    ]
    found = file_rows(book(tmp_path, HEAD, *rows), VIETNAM)
    assert refused(found) == {
        2: "formula:facility_id",
        3: "formula:price_vnd",
        4: "type:price_vnd",
        5: "type:licensed_date",
        6: "type:licensed_date",
        7: "type:licensed_date",
        8: "type:visited_at",
        9: "type:facility_id",
        10: "type:facility_id",
        11: "error:facility_id",
    }
    assert found[1][RAW] == '{"Mã cơ sở":"K01","Giá":"=SUM(B2:B3)","Ngày cấp":null,"Giờ vào":null,"Mở cửa":null}'
    assert "a spreadsheet does not keep them" in found[2][DETAIL]
    assert "declare 'excel'" in found[3][DETAIL]
    assert (found[-1]["facility_id"], found[-1]["price_vnd"], found[-1]["is_open"]) == ("+84", "5", False)


def test_numbers_as_the_sheet_shows_them(tmp_path: Path) -> None:
    def change(_: Any, sheet: Any) -> None:
        sheet["A2"].number_format = "00000"
        sheet["B2"].number_format = "0.0%"

    (row,) = file_rows(book(tmp_path, HEAD, [123, 0.125], change=change), VIETNAM)
    assert (row["facility_id"], row["price_vnd"]) == ("00123", "12.5")


@pytest.mark.parametrize("epoch", ["1900", "1904"])
def test_days_are_counted_by_the_calendar_of_the_workbook(tmp_path: Path, epoch: str) -> None:
    def change(workbook: Any, sheet: Any) -> None:
        if epoch == "1904":
            workbook.epoch = MAC_EPOCH
        sheet["C2"] = dt.date(2025, 1, 1)
        sheet["C3"] = 45658 - (1462 if epoch == "1904" else 0)
        sheet["C4"] = str(45658 - (1462 if epoch == "1904" else 0))

    declared = VIETNAM.model_copy(update={"dates": ("dd/MM/yyyy", "excel")})
    rows = file_rows(book(tmp_path, HEAD, ["a"], ["b"], ["c"], change=change), declared)
    assert [row["licensed_date"] for row in rows] == [dt.date(2025, 1, 1)] * 3


def test_headings_over_merged_rows_and_a_footer(tmp_path: Path) -> None:
    def change(_: Any, sheet: Any) -> None:
        sheet.merge_cells("A3:A4")
        sheet.merge_cells("B3:C3")

    declared = layout(
        "xlsx",
        header_rows=(3, 4),
        columns={"Giá / Bán  LẺ": "price_vnd"},
        footer={"begins_with": ("Tổng cộng",)},
    )
    rows = [
        ["DANH SÁCH"],
        [],
        ["Mã cơ sở", "Giá"],
        [None, "Bán\nlẻ", "Bán buôn"],
        ["K01", 5, 6],
        [None, "tổng cộng:", 6],
    ]
    with open_file(book(tmp_path, *rows, ["sau"], change=change), declared, WANTED[:2]) as file:
        (batch,) = file.batches()
        assert file.columns.unknown == ("Giá / Bán buôn",)
        assert file.footer_row == 6
    assert batch.column("price_vnd").to_pylist() == ["5"]


def test_old_fonts(tmp_path: Path) -> None:
    def change(_: Any, sheet: Any) -> None:
        for cell in ("A1", "A2"):
            sheet[cell].font = Font(name=".VnTime")
        sheet["A3"].font = Font(name=".VnTimeH")
        sheet["A4"].font = Font(name="Times New Roman")
        sheet["A5"].font = Font(name=".VnArial")

    written = [["Tªn"], [mojibake("Thừa Thiên Huế")], [mojibake("ủy ban nhân dân")], ["Hà Nội, café"], ["Tiếng Việt"]]
    declared = layout("xlsx", encoding="tcvn3", columns={"Tên": "ten"})
    rows = file_rows(book(tmp_path, *written, change=change), declared, TEXT)
    assert [row["ten"] for row in rows] == ["Thừa Thiên Huế", "ỦY BAN NHÂN DÂN", "Hà Nội, café", "Tiếng Việt"]


def test_texts_that_lost_their_font_are_read_by_declaration_and_told_without(tmp_path: Path) -> None:
    file = book(tmp_path, ["ten"], *([mojibake(sentence)] for sentence in SENTENCES))
    assert as_tcvn3(SENTENCES[1]).decode("latin-1") != SENTENCES[1]
    rows = file_rows(file, layout("xlsx", encoding="tcvn3"), TEXT)
    assert [row["ten"] for row in rows] == list(SENTENCES)
    with pytest.raises(FileUnfit, match="look like tcvn3"):
        file_rows(file, layout("xlsx"), TEXT)


def test_the_sheet_is_named_where_there_are_several(tmp_path: Path) -> None:
    def change(workbook: Any, _: Any) -> None:
        workbook.create_sheet("Bảng 2").append(["ten"])
        workbook["Bảng 2"].append(["b"])

    file = book(tmp_path, ["ten"], ["a"], change=change)
    with pytest.raises(FileUnfit, match=r"2 visible sheets, not one.*'Bảng 2'"):
        file_rows(file, layout("xlsx"), TEXT)
    assert file_rows(file, layout("xlsx", sheet="BẢNG  2"), TEXT)[0]["ten"] == "b"
    with pytest.raises(FileUnfit, match="no sheet 'x'"):
        file_rows(file, layout("xlsx", sheet="x"), TEXT)


def rewritten(file: Path, part: str, old: bytes, new: bytes) -> Path:
    """A copy of a workbook in which bytes of one part are others."""
    other = file.with_name("other.xlsx")
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(other, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            data = source.read(entry)
            if entry.filename == part:
                assert old in data
                data = data.replace(old, new)
            target.writestr(entry.filename, data)
    return other


SHEET = "xl/worksheets/sheet1.xml"
MAIN = b"http://schemas.openxmlformats.org/spreadsheetml/2006/main"
SHARED = (
    b'<Override PartName="/xl/sharedStrings.xml" ContentType="application/'
    b'vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"/>'
)


def test_texts_that_cells_share_are_texts(tmp_path: Path) -> None:
    file = book(tmp_path, ["ten"], ["a"], ["b"])
    shared = rewritten(file, SHEET, b't="inlineStr"><is><t>b</t></is>', b't="s"><v>1</v>')
    texts = b"<si><t>x</t></si><si><r><t>Phong </t></r><r><rPr><b/></rPr><t>\xc4\x90i\xe1\xbb\x81n</t></r></si>"
    other = rewritten(shared.rename(file), "[Content_Types].xml", b"</Types>", SHARED + b"</Types>")
    with zipfile.ZipFile(other, "a") as archive:
        archive.writestr("xl/sharedStrings.xml", b'<sst xmlns="' + MAIN + b'">' + texts + b"</sst>")
    check(other, layout("xlsx"))
    assert [row["ten"] for row in file_rows(other, layout("xlsx"), TEXT)] == ["a", "Phong Điền"]


def test_rows_out_of_order_are_not_passed_over_in_silence(tmp_path: Path) -> None:
    file = book(tmp_path, ["ten"], ["a"], ["b"])
    other = rewritten(file, SHEET, b'<row r="3"', b'<row r="2"')
    with pytest.raises(FileUnfit, match="out of order behind row 2"):
        file_rows(other, layout("xlsx"), TEXT)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'<row r="3"', b'<row r="99999999"'),
        (b't="inlineStr"', b't="inlineStr" s="77"'),
        (b't="inlineStr"><is><t>b</t></is>', b't="s"><v>12345</v>'),
        (b't="inlineStr"><is><t>b</t></is>', b"><v>x</v>"),
        (b't="inlineStr"><is><t>b</t></is>', b't="b"><v>x</v>'),
        (b'r="A2"', b'r="2A"'),
        (b"</sheetData>", b""),
    ],
)
def test_a_damaged_sheet_gets_one_sentence(tmp_path: Path, old: bytes, new: bytes) -> None:
    file = rewritten(book(tmp_path, ["ten"], ["a"], ["b"]), SHEET, old, new)
    check(file, layout("xlsx"))
    with pytest.raises(FileUnfit, match=r"damaged|more than 1048576 rows"):
        file_rows(file, layout("xlsx", encoding="tcvn3"), TEXT)
