"""Records are parsed exactly, and a bad one is told apart from its neighbours."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipelines.landing.apply import PART, POSITION
from pipelines.landing.decode import Parser, Records

INSTANT: Any = pa.timestamp("us", tz="UTC")
SCHEMA = pa.schema(
    [
        ("name", pa.string()), ("count", pa.int32()), ("offset", pa.int64()), ("stage", pa.decimal128(9, 3)),
        ("at", INSTANT), ("share", pa.float64()), ("is_on", pa.bool_()), ("day", pa.date32()),
    ]
)  # fmt: skip
WIDE = pa.schema([("price", pa.decimal128(20, 3))])
GOOD: dict[str, Any] = {
    "name": "Huế", "count": 3, "offset": 2**53 + 1, "stage": 5.05, "at": "2025-10-27T13:00:00.123456Z", "share": 0.1,
    "is_on": True, "day": "2025-10-27",
}  # fmt: skip


def _records(values: list[bytes | None]) -> Records:
    count = len(values)
    return Records(values, [0] * count, list(range(count)), [0] * count)


def _line(**change: Any) -> bytes:
    return json.dumps({**GOOD, **change}, ensure_ascii=False).encode()


BAD = [
    b"",
    b" ",
    b"nonsense",
    b"[1]",
    b"null",
    b"{}{}",
    b'{"a":1}\n{"a":2}',
    _line(count="many"),
    _line(at="soon"),
    None,
]


def test_values_are_exact() -> None:
    row = Parser(SCHEMA).parse(_records([_line()])).rows.to_pylist()[0]
    assert row["name"] == "Huế" and row["offset"] == 2**53 + 1 and row["stage"] == Decimal("5.050")
    assert row["at"].isoformat() == "2025-10-27T13:00:00.123456+00:00" and row["share"] == 0.1 and row["is_on"] is True
    assert row["day"].isoformat() == "2025-10-27"


@pytest.mark.parametrize("text", ["2025-10-27T20:00:00+07:00", "2025-10-27T13:00:00Z", "2025-10-27T13:00:00"])
def test_an_instant_is_utc_whatever_its_offset(text: str) -> None:
    row = Parser(SCHEMA).parse(_records([_line(at=text)])).rows.to_pylist()[0]
    assert row["at"].isoformat() == "2025-10-27T13:00:00+00:00"


def test_a_long_decimal_keeps_every_digit() -> None:
    parsed = Parser(WIDE).parse(_records([b'{"price":12345678901234567.891}']))
    assert parsed.rows["price"].to_pylist() == [Decimal("12345678901234567.891")]


def test_a_missing_field_is_unknown_and_a_foreign_one_left_out() -> None:
    parsed = Parser(SCHEMA).parse(_records([b'{"name":"x","foreign":{"a":[1]}}', _line()]))
    assert parsed.unreadable == ()
    assert parsed.rows["count"].to_pylist() == [None, 3]
    assert parsed.rows.column_names == [*SCHEMA.names, PART, POSITION]


@hypothesis_settings(max_examples=60, deadline=None)
@given(order=st.lists(st.integers(-1, len(BAD) - 1), max_size=24))
def test_every_bad_record_is_found_and_no_good_one_lost(order: list[int]) -> None:
    values = [_line(count=n) if kind < 0 else BAD[kind] for n, kind in enumerate(order)]
    parsed = Parser(SCHEMA).parse(_records(values))
    good = [n for n, kind in enumerate(order) if kind < 0]
    assert parsed.rows["count"].to_pylist() == good
    assert parsed.rows[POSITION].to_pylist() == good
    assert [number for number, _ in parsed.unreadable] == [n for n, kind in enumerate(order) if kind >= 0]
    assert all(reason for _, reason in parsed.unreadable)
