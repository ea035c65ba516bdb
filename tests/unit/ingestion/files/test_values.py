"""Numbers, dates and yes/no as people in Vietnam write them; what is ambiguous is refused, never guessed."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from delivered import layout
from hypothesis import given
from hypothesis import strategies as st

from pipelines.contracts.logical_types import parse
from pipelines.ingestion.files.values import Wanted, from_text

VIETNAM = {"number": {"decimal": ",", "thousands": "."}}


def one(kind: str, text: str | None, **keys: Any) -> Any:
    """The value of a text, or the first sentence on why there is none."""
    values = from_text(Wanted("x", parse(kind)), pa.array([text, None], pa.string()), layout(**keys))
    assert values.column[1].as_py() is None
    assert not any(fault.rows[1] for fault in values.faults)
    for fault in values.faults:
        if fault.rows[0]:
            assert values.column[0].as_py() is None
            return fault.detail
    return values.column[0].as_py()


@pytest.mark.parametrize(
    ("text", "keys", "value"),
    [
        ("12.5", {}, "12.5"),
        ("-0.125", {}, "-0.125"),
        ("+7", {}, "7"),
        (" 12 ", {}, "12"),
        ("", {}, None),
        ("-", {"nulls": ("-", "N/A")}, None),
        ("1.234", {"number": {}}, "1.234"),
        ("1.234", VIETNAM, "1234"),
        ("1.234.567,89", VIETNAM, "1234567.89"),
        ("-1234,5", VIETNAM, "-1234.5"),
        ("1,234.5", {"number": {"decimal": ".", "thousands": ","}}, "1234.5"),
        ("1 234,5", {"number": {"decimal": ",", "thousands": " "}}, "1234.5"),
        ("1\u00a0234\u202f567", {"number": {"decimal": ",", "thousands": " "}}, "1234567"),
        ("1.234 đ", {"number": {"decimal": ",", "thousands": ".", "suffixes": ("đ",)}}, "1234"),
        ("12,5\u00a0%", {"number": {"decimal": ",", "suffixes": ("%",)}}, "12.5"),
        ("12,5\u00a0", {"number": {"decimal": ",", "suffixes": ("\u00a0",)}}, "12.5"),
        ("00012", {}, "00012"),
    ],
)
def test_numbers_that_mean_one_thing(text: str, keys: dict[str, Any], value: str | None) -> None:
    assert one("decimal(18,4)", text, **keys) == value


@pytest.mark.parametrize(
    ("text", "keys", "sentence"),
    [
        ("1.234", {}, "a thousand or a decimal"),
        ("1,234", {}, "a thousand or a decimal"),
        ("1,5", {}, "no number with a decimal point"),
        ("1,234", {"number": {}}, "no number with a decimal point"),
        ("1.5", VIETNAM, "no number as declared"),
        ("1.2345", VIETNAM, "no number as declared"),
        ("12.34.567", VIETNAM, "no number as declared"),
        ("1.234 đ", VIETNAM, "no number as declared"),
        ("1.2.3,4,5", VIETNAM, "no number as declared"),
        ("1,5E+05", VIETNAM, "no number as declared"),
        ("(12)", {}, "no number"),
        ("NaN", {}, "no number"),
        ("١٢", {}, "no number"),
        ("12đ", {}, "no number"),
        ("12\n13", {}, "no number"),
    ],
)
def test_other_numbers_are_refused(text: str, keys: dict[str, Any], sentence: str) -> None:
    assert sentence in str(one("decimal(18,4)", text, **keys))


def test_a_double_may_be_written_by_a_machine() -> None:
    assert one("double", "1.5E-05") == "1.5E-05"
    assert "no number" in one("double", "1,5E5")


@given(st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**12), max_value=10**12))
def test_any_number_comes_back_from_the_vietnamese_form(number: Decimal) -> None:
    text = f"{number:,.4f}".translate(str.maketrans(",.", ".,"))
    assert Decimal(one("decimal(18,4)", text, **VIETNAM)) == number


DAY = {"dates": ("dd/MM/yyyy", "d/M/yyyy H:mm", "dd/MM/yyyy HH:mm:ss.S", "dd-MM-yyyy HH:mmXXX")}
HUE = {"time_zone": "Asia/Ho_Chi_Minh"}


@pytest.mark.parametrize(
    ("kind", "text", "keys", "value"),
    [
        ("date", "31/12/2025", DAY, date(2025, 12, 31)),
        ("date", "29/02/2024", DAY, date(2024, 2, 29)),
        ("date", "1/2/2025 0:00", DAY, date(2025, 2, 1)),
        ("date", "2025-02-01", {}, date(2025, 2, 1)),
        ("date", "0001-01-01", {}, date(1, 1, 1)),
        ("timestamp", "1/2/2025 7:30", DAY | HUE, datetime(2025, 2, 1, 0, 30, tzinfo=UTC)),
        ("timestamp", "01/02/2025 07:30:00.25", DAY | HUE, datetime(2025, 2, 1, 0, 30, 0, 250000, UTC)),
        ("timestamp", "01-02-2025 07:30+09:30", DAY, datetime(2025, 1, 31, 22, 0, tzinfo=UTC)),
        ("timestamp", "2025-02-01T07:30:00Z", {}, datetime(2025, 2, 1, 7, 30, tzinfo=UTC)),
        ("timestamp", "2025-02-01 07:30:00.123456-05:00", {}, datetime(2025, 2, 1, 12, 30, 0, 123456, UTC)),
        ("date", "45658", {"dates": ("excel",)}, date(2025, 1, 1)),
        ("date", "44196", {"dates": ("excel",), "date_system": 1904}, date(2025, 1, 1)),
        ("timestamp", "45658.5", {"dates": ("excel",)} | HUE, datetime(2025, 1, 1, 5, 0, tzinfo=UTC)),
    ],
)
def test_days_and_times(kind: str, text: str, keys: dict[str, Any], value: object) -> None:
    assert one(kind, text, **keys) == value


@pytest.mark.parametrize(
    ("kind", "text", "keys", "sentence"),
    [
        ("date", "31/12/25", DAY, "not written as dd/MM/yyyy"),
        ("date", "12/31/2025", DAY, "there is no such day"),
        ("date", "29/02/2025", DAY, "there is no such day"),
        ("date", "00/01/2025", DAY, "there is no such day"),
        ("date", "01/01/0000", DAY, "there is no such day"),
        ("date", "2025-02-01", DAY, "not written as"),
        ("date", "1/2/2025 7:30", DAY, "a time where only a date belongs"),
        ("date", "31/12/2025", {}, "not written as ISO 8601"),
        ("timestamp", "31/12/2025", DAY | HUE, "a date without a time is no instant"),
        ("timestamp", "1/2/2025 7:30", DAY, "declare `time_zone`"),
        ("timestamp", "1/2/2025 24:00", DAY | HUE, "there is no such day or time"),
        ("timestamp", "01-02-2025 07:30+25:00", DAY, "there is no such day or time"),
        ("timestamp", "2025-10-26 02:30:00", {"time_zone": "Europe/Berlin"}, "came twice or never"),
        ("timestamp", "2025-03-30 02:30:00", {"time_zone": "Europe/Berlin"}, "came twice or never"),
        ("date", "60", {"dates": ("excel",)}, "there is no such day"),
        ("date", "9999999", {"dates": ("excel",)}, "there is no such day"),
        ("date", "45658", {}, "not written as ISO 8601"),
    ],
)
def test_other_days_are_refused(kind: str, text: str, keys: dict[str, Any], sentence: str) -> None:
    assert sentence in str(one(kind, text, **keys))


@given(st.dates())
def test_any_date_comes_back(day: date) -> None:
    assert one("date", f"{day.day:02}/{day.month:02}/{day.year:04}", **DAY) == day


@given(st.datetimes(min_value=datetime(1980, 1, 1), max_value=datetime(9999, 1, 1)))
def test_any_instant_comes_back(moment: datetime) -> None:
    assert one("timestamp", moment.isoformat(timespec="microseconds") + "Z") == moment.replace(tzinfo=UTC)


def test_yes_and_no_are_declared() -> None:
    words = {"yes": ("Có", "x"), "no": ("Không",)}
    assert [one("boolean", text, **words) for text in ("có", "X", "KHÔNG", "")] == [True, True, False, None]
    assert "neither Có/x nor Không" in one("boolean", "true", **words)
    assert [one("boolean", text) for text in ("true", "0")] == [True, False]


@pytest.mark.parametrize("text", ["=1+1", "@SUM(A1)", "\tx", "\rx"])
def test_a_text_that_a_spreadsheet_would_run_is_refused(text: str) -> None:
    assert "would run it as a formula" in one("string", text)


@pytest.mark.parametrize("text", ["+84 905 123 456", "-", "a=b", " =1"])
def test_a_text_that_only_begins_with_a_sign_is_kept(text: str) -> None:
    assert one("string", text) == text
