"""Normalisation: one spelling for one thing, idempotent, and nothing personal in an error."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.gateway import normalise
from pipelines.gateway.normalise import Invalid

OFFSETS = st.integers(-18 * 60, 18 * 60).map(lambda m: timezone(timedelta(minutes=m)))
INSTANTS = st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1), timezones=OFFSETS)


@given(INSTANTS)
def test_a_time_keeps_its_instant_whatever_the_offset(moment: datetime) -> None:
    written = normalise.timestamp(moment.isoformat())
    assert written.endswith("Z")
    assert normalise.instant(written) == moment
    assert normalise.timestamp(written) == written


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2025-10-27T20:00:00+07:00", "2025-10-27T13:00:00Z"),
        ("2025-10-27 20:00:00+0700", "2025-10-27T13:00:00Z"),
        ("2025-10-27T20:00+07", "2025-10-27T13:00:00Z"),
        ("2025-10-27T13:00:00.5Z", "2025-10-27T13:00:00.500000Z"),
        ("2025-10-27T13:00:00.123456789z", "2025-10-27T13:00:00.123456Z"),
        ("2025-11-01T00:30:00+07:00", "2025-10-31T17:30:00Z"),
    ],
)
def test_times_are_utc(written: str, expected: str) -> None:
    assert normalise.timestamp(written) == expected


@pytest.mark.parametrize(
    "written",
    ["", "2025-10-27T20:00:00", "2025-13-01T00:00:00Z", "27/10/2025 20:00", "2025-10-27T25:00:00Z", "1761570000",
     "2025-10-27T20:00:00+25:00", "0001-01-01T00:00:00+07:00", "２０２５-10-27T20:00:00Z"],
)  # fmt: skip
def test_a_time_that_is_no_instant_is_refused(written: str) -> None:
    with pytest.raises(Invalid):
        normalise.timestamp(written)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("75A-123.45", "75A12345"),
        ("75a 12345", "75A12345"),
        ("75-B1 234.56", "75B123456"),
        ("29LD-003.12", "29LD00312"),
        ("75MĐ1-123.45", "75MĐ112345"),
        ("80-011-NG-01", "80011NG01"),
        ("TM-12-34", "TM1234"),
        ("75A-1234", "75A1234"),
    ],
)
def test_plates_have_one_form(written: str, expected: str) -> None:
    assert normalise.plate(written) == expected
    assert normalise.plate(unicodedata.normalize("NFD", written)) == expected
    assert normalise.plate(expected) == expected


@pytest.mark.parametrize(
    "written", ["", "-", "ABC", "75A-12", "05A-123.45", "75A-123.4567", "không rõ", "75A12345; DROP"]
)
def test_what_is_no_plate_is_refused_without_repeating_it(written: str) -> None:
    with pytest.raises(Invalid) as caught:
        normalise.plate(written)
    assert len(written) < 3 or written not in str(caught.value)


@pytest.mark.parametrize(
    "written", ["0912345678", "0912 345 678", "+84912345678", "+84 (0)912.345.678", "0084912345678", "84912345678"]
)
def test_telephone_numbers_have_one_form(written: str) -> None:
    assert normalise.phone(written) == "+84912345678"


def test_landlines_are_numbers_too() -> None:
    assert normalise.phone("0234 3822 222") == "+842343822222"


@pytest.mark.parametrize("written", ["", "113", "09123456789", "0112345678", "phone", "٠٩١٢٣٤٥٦٧٨"])
def test_what_is_no_telephone_number_is_refused(written: str) -> None:
    with pytest.raises(Invalid):
        normalise.phone(written)


def test_names_have_one_form() -> None:
    assert normalise.name(unicodedata.normalize("NFD", "  NGUYỄN  Văn An ")) == "nguyễn văn an"
    assert normalise.name("H'Hen Niê") == "h'hen niê"


@pytest.mark.parametrize("written", ["", "A", "0912345678", "An <b>", "x" * 101, "- an"])
def test_what_is_no_name_is_refused(written: str) -> None:
    with pytest.raises(Invalid):
        normalise.name(written)


def test_citizen_ids() -> None:
    assert normalise.citizen_id("046 099 001234") == "046099001234"
    for wrong in ("", "46099001234", "097099001234", "000099001234", "04609900123X"):
        with pytest.raises(Invalid):
            normalise.citizen_id(wrong)


@given(st.text())
def test_text_is_nfc_and_stays_so(value: str) -> None:
    assert unicodedata.is_normalized("NFC", normalise.text(value))
    assert normalise.text(normalise.text(value)) == normalise.text(value)


@given(st.sampled_from(sorted(normalise.IDENTIFIERS)), st.text(max_size=40))
def test_identifiers_are_idempotent_or_refused(kind: str, value: str) -> None:
    normaliser = normalise.IDENTIFIERS[kind]
    try:
        once = normaliser(value)
    except Invalid:
        return
    assert normaliser(once) == once


def test_utc_text_needs_a_zone() -> None:
    assert normalise.utc_text(datetime(2025, 10, 27, 13, tzinfo=UTC)) == "2025-10-27T13:00:00Z"
    with pytest.raises(ValueError, match="time zone"):
        normalise.utc_text(datetime(2025, 10, 27))
