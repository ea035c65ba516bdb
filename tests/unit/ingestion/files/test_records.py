"""NDJSON and JSON: numbers keep their digits, one bad line is one bad row, and keys may come late."""

from __future__ import annotations

import io
import json
from datetime import date
from typing import Any

import pytest
from delivered import WANTED, layout, read_or_refused, refused, rows_of
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.contracts.logical_types import parse
from pipelines.ingestion.files import RAW, ROW, FileIncomplete, FileUnfit
from pipelines.ingestion.files.records import Records
from pipelines.ingestion.files.values import Wanted

LINES, ARRAY = layout("ndjson"), layout("json")


def test_values_as_they_were_written() -> None:
    body = (
        '\ufeff{"Mã cơ sở": "Huế", "price_vnd": 0.1234567890123456789, "licensed_date": "2025-12-31", '
        '"is_open": true}\n'
        '\n{"facility_id_": 1}\r\n{"price_vnd": "12.5", "is_open": "0", "facility_id": null}'
    )
    with pytest.raises(FileUnfit, match="both mean the column facility_id"):
        rows_of(body.encode(), LINES)
    rows = rows_of(body.replace("facility_id", "x").encode(), LINES)
    assert rows[0]["facility_id"] == "Huế"
    assert rows[0]["price_vnd"] == "0.1234567890123456789"
    assert (rows[0]["licensed_date"], rows[0]["is_open"]) == (date(2025, 12, 31), True)
    assert [row[ROW] for row in rows] == [1, 3, 4]
    assert (rows[2]["price_vnd"], rows[2]["is_open"]) == ("12.5", False)


def test_one_bad_line_is_one_bad_row() -> None:
    good = b'{"facility_id": "a"}'
    bad = [
        b"x",
        b"[1]",
        b'{"facility_id": "a"}{"facility_id": "b"}',
        b'{"facility_id":',
        b'"b"}',
        b'{"facility_id": "b"',
        b'{"facility_id": [1]}',
        b'{"facility_id": "\xff"}',
        b'{"facility_id": "\\ud800"}',
        b'{"facility_id": true}',
    ]
    rows = rows_of(b"\n".join([good, *bad, good]) + b"\n", LINES)
    assert [row[ROW] for row in rows] == list(range(1, 13))
    assert refused(rows) == dict.fromkeys((2, 3, 4, 5, 6, 7, 10), "shape") | {
        8: "type:facility_id",
        9: "encoding:facility_id",
        11: "type:facility_id",
    }
    assert rows[1][RAW] == "x"
    assert rows[0]["facility_id"] == rows[-1]["facility_id"] == "a"


def test_two_wrongs_in_neighbouring_lines_do_not_make_a_right() -> None:
    # Two objects in one line and one over two: their number is right, their places are not.
    rows = rows_of(b'{"facility_id": "a"}{"facility_id": "b"}\n{"facility_id":\n"c"}\n', LINES)
    assert refused(rows) == {1: "shape", 2: "shape", 3: "shape"}


def test_keys_that_come_late_are_known_at_the_end() -> None:
    stream = io.BytesIO(b'{"facility_id": "a"}\n{"la": 1, "price_vnd": 2}\n')
    reading = Records("x", LINES, WANTED, stream.read)
    assert reading.columns.missing == tuple(column.name for column in WANTED)
    (batch,) = reading.batches()
    assert batch.column("price_vnd").to_pylist() == [None, "2"]
    assert reading.columns.unknown == ("la",)
    assert reading.columns.missing == ("licensed_date", "visited_at", "is_open")


@pytest.mark.parametrize(
    ("body", "kind", "sentence"),
    [
        (b'[{"facility_id": "a"},', FileIncomplete, "the file ends within the array"),
        (b'[{"facility_id": "a"}', FileIncomplete, "the file ends within the array"),
        (b'[{"facility_id": "a"}, 5]', FileUnfit, "element 2 is no object"),
        (b'{"facility_id": "a"}', FileUnfit, "no array of objects"),
        (b"[{]", FileUnfit, "not JSON|ends within"),
        (b"[" * 5_000, FileUnfit, "line 1"),
    ],
)
def test_an_array_that_cannot_be_read_on_is_refused(body: bytes, kind: type[FileUnfit], sentence: str) -> None:
    with pytest.raises(kind, match=sentence):
        rows_of(body, ARRAY)


VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.lists(st.integers(), max_size=2)
TEXT = (Wanted("a", parse("string")), Wanted("n", parse("decimal(38,0)")))


@settings(max_examples=60)
@given(
    st.lists(st.dictionaries(st.sampled_from(["a", "n", "z"]), VALUES, max_size=3), max_size=10),
    st.integers(1, 30),
    st.integers(1, 50),
    st.booleans(),
)
def test_rows_are_the_same_however_the_bytes_come(
    objects: list[dict[str, Any]], step: int, size_bytes: int, is_array: bool
) -> None:
    if is_array:
        body, declared = json.dumps(objects, indent=1), ARRAY
    else:
        body, declared = "\n".join(json.dumps(item, ensure_ascii=False) for item in objects), LINES
    at_once = rows_of(body.encode(), declared, TEXT)
    assert rows_of(body.encode(), declared, TEXT, step=step, size_bytes=size_bytes) == at_once
    assert len(at_once) == len(objects)
    for row, item in zip(at_once, objects, strict=True):
        if isinstance(item.get("n"), int) and not isinstance(item["n"], bool):
            assert row["n"] == str(item["n"])


@given(st.binary(max_size=80), st.sampled_from(["json", "ndjson"]), st.booleans())
def test_garbage_is_refused_in_words(body: bytes, kind: str, is_array: bool) -> None:
    with read_or_refused():
        rows_of((b"[" if is_array else b"") + body, layout(kind))
