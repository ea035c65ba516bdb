"""CSV: headings, footers, rows that are no rows, and the same result however the bytes come."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from datetime import UTC, date, datetime
from typing import Any

import pytest
from delivered import WANTED, WRITERS, layout, read_or_refused, refused, rows_of
from hypothesis import given
from hypothesis import strategies as st

from pipelines.contracts.logical_types import parse
from pipelines.ingestion.files import DETAIL, RAW, ROW, FileUnfit, Matched
from pipelines.ingestion.files.delimited import Delimited
from pipelines.ingestion.files.values import Wanted

VIETNAM = layout(
    delimiter=";",
    number={"decimal": ",", "thousands": ".", "suffixes": ("đ",)},
    dates=("dd/MM/yyyy", "dd/MM/yyyy HH:mm"),
    time_zone="Asia/Ho_Chi_Minh",
    yes=("Có",),
    no=("Không",),
    footer={"begins_with": ("Tổng cộng", "Người lập biểu")},
)
HEAD = "Mã cơ sở;GIÁ;Ngày  cấp;visited_at;Mở cửa\n"


def columns_of(text: str, declared: Any = VIETNAM) -> Matched:
    stream = io.BytesIO(text.encode())
    return Delimited("x.csv", declared, WANTED, stream.read).columns


def test_a_row_as_a_department_writes_it() -> None:
    (row,) = rows_of((HEAD + "K01;1.234.567,50 đ;31/12/2025;01/02/2025 07:30;Có\n").encode(), VIETNAM)
    assert row == {
        "facility_id": "K01",
        "price_vnd": "1234567.50",
        "licensed_date": date(2025, 12, 31),
        "visited_at": datetime(2025, 2, 1, 0, 30, tzinfo=UTC),
        "is_open": True,
        "file_row": 2,
        "file_reason": None,
        "file_detail": None,
        "file_raw": None,
    }


def test_bad_rows_stay_at_their_place_with_reason_and_text() -> None:
    body = HEAD + "K01;x;;;\n\nK02;1;;;\nK03;1;;\n=HYPERLINK();2;31/02/2025;;\n;;;;\nK05;3;;;\n"
    rows = rows_of(body.encode(), VIETNAM)
    assert [row[ROW] for row in rows] == [2, 4, 5, 6, 8]
    assert refused(rows) == {2: "type:price_vnd", 5: "shape", 6: "formula:facility_id"}
    assert rows[2][RAW] == "K03;1;;"
    assert rows[2][DETAIL] == "4 cells under 5 headings"
    assert json.loads(rows[3][RAW])["Ngày cấp"] == "31/02/2025"
    assert rows[3]["price_vnd"] == "2"


def test_the_footer_ends_the_table() -> None:
    stream = io.BytesIO((HEAD + "K01;1;;;\n;TỔNG  cộng:;;;\nK02;2;;;\n").encode())
    reading = Delimited("x.csv", VIETNAM, WANTED, stream.read)
    assert [row["facility_id"] for batch in reading.batches() for row in batch.to_pylist()] == ["K01"]
    assert reading.footer_row == 3
    for body in ("K01;1;;;\nNgười lập biểu\nK02;2;;;\n", 'K01;1;;;\n"Người lập biểu"\n'):
        assert [row["facility_id"] for row in rows_of((HEAD + body).encode(), VIETNAM)] == ["K01"]
    blank = layout(delimiter=";", footer={"blank_row": True})
    assert len(rows_of((HEAD + "K01;;;;\n\nK02;;;;\n").encode(), blank)) == 1


def test_headings_are_reported_not_judged() -> None:
    found = columns_of("ma\u0303 cơ sở;Giá;price_vnd;Ghi chú;ghi  chú;Lạ;;licensed_date\n")
    assert found == Matched(
        positions={"facility_id": 0, "licensed_date": 7},
        missing=("visited_at", "is_open"),
        unknown=("Lạ",),
        duplicates=("price_vnd", "Ghi chú", "ghi chú"),
        unnamed=(7,),
    )


def test_headings_of_two_rows_and_words_of_the_layout() -> None:
    declared = layout(header_rows=(2, 3), columns={"Giá / Bán": "price_vnd", "mã": "facility_id"})
    body = "BẢNG GIÁ\nMã,Giá,\n,Bán,Mua\nK01,5,6\n"
    (row,) = rows_of(body.encode(), declared)
    assert (row["facility_id"], row["price_vnd"], row[ROW]) == ("K01", "5", 4)
    assert columns_of(body, declared).unknown == ("Mua",)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (HEAD + 'K01;5" inch;;;\n', "a quote stands within a cell, or is not closed, about row 2"),
        (HEAD + 'K01;1;;;\nK02;"1;;;\n', "a quote stands within a cell, or is not closed, about row 3"),
        ("\n", "no heading stands in row 1"),
        ("", "the headings stand in row 1, the file has 0"),
        (HEAD + "K" * 1_100_000, "a record is longer"),
    ],
)
def test_a_file_that_cannot_be_cut_into_rows_is_refused(body: str, sentence: str) -> None:
    with pytest.raises(FileUnfit, match=sentence) as caught:
        rows_of(body.encode(), VIETNAM)
    assert "Nothing of it was loaded." in str(caught.value)


def test_without_quotes_a_quote_is_a_sign_like_any_other() -> None:
    declared = layout(delimiter="\t", quote=None)
    (row,) = rows_of(b'facility_id\tprice_vnd\n5" pipe\t7\n', declared)
    assert (row["facility_id"], row["price_vnd"]) == ('5" pipe', "7")


CELLS = st.text(st.sampled_from("aỆđ;\"' \n,=1.́\u00a0\t"), max_size=6)
TEXTS = tuple(Wanted(name, parse("string")) for name in ("a", "b", "c"))


@given(
    st.lists(st.lists(CELLS, min_size=3, max_size=3), max_size=12),
    st.integers(1, 40),
    st.integers(1, 60),
    st.sampled_from(["\n", "\r\n"]),
)
def test_rows_are_the_same_however_the_bytes_come(
    cells: list[list[str]], step: int, size_bytes: int, line_end: str
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=";", lineterminator=line_end)
    writer.writerows([["a", "b", "c"], *cells])
    declared = layout(delimiter=";")
    at_once = rows_of(text.getvalue().encode(), declared, TEXTS)
    assert rows_of(text.getvalue().encode(), declared, TEXTS, step=step, size_bytes=size_bytes) == at_once
    # What the csv module of Python reads is what is read here; blank rows are none, formulas are refused.
    given_rows = list(csv.reader(io.StringIO(text.getvalue(), newline=""), delimiter=";"))[1:]
    expected = [row for row in given_rows if any(cell.strip() for cell in row)]
    assert len(at_once) == len(expected)
    for row, wanted in zip(at_once, expected, strict=True):
        plain = [unicodedata.normalize("NFC", cell) for cell in wanted]
        assert [row[name] for name in "abc"] == [None if not cell or cell[0] in "=@\t\r" else cell for cell in plain]


@given(st.binary(max_size=120), st.sampled_from(sorted(WRITERS)), st.integers(1, 20))
def test_garbage_is_refused_in_words(body: bytes, encoding: str, step: int) -> None:
    with read_or_refused():
        rows = rows_of(HEAD.encode() + body, VIETNAM.model_copy(update={"encoding": encoding}), step=step)
        assert all(row[RAW] for row in rows if row["file_reason"])
