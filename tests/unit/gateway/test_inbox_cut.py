"""Files are cut between records: nothing is lost, doubled or changed, wherever a piece ends and reading goes on."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.gateway.inbox.json_array import cut_json, line_of_element
from pipelines.gateway.inbox.rows import cut_lines, cut_table, line_of_row
from pipelines.gateway.inbox.window import Bounds, Broken, Piece, Place, Read

Cut = Callable[[Read, Place, Bounds], Iterator[Piece]]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
RECORDS = st.lists(st.dictionaries(st.text(max_size=6), VALUES, max_size=4), max_size=25)
CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=10)
BOUNDS = st.builds(Bounds, size_bytes=st.integers(1, 400), records=st.integers(1, 9), record_bytes=st.just(100_000))

START = Place()


def reading(data: bytes, start: int, step: int) -> Read:
    """Gives at most `step` bytes a time, so that every byte is once the last that is known."""
    stream = io.BytesIO(data)
    stream.seek(start)
    return lambda size: stream.read(min(size, step))


def pieces(cut: Cut, data: bytes, bounds: Bounds, step: int = 1 << 20, start: Place = START) -> list[Piece]:
    # A table reads its header again.
    return list(cut(reading(data, 0 if cut is cut_table else start.offset, step), start, bounds))


def check_cut(
    cut: Cut, data: bytes, bounds: Bounds, step: int, read: Callable[[bytes], list[Any]], expected: list[Any]
) -> None:
    """All pieces together hold all records in order, and from the end of each piece on the rest follows."""
    found = pieces(cut, data, bounds, step)
    assert [record for piece in found for record in read(piece.body)] == expected
    assert all(len(read(piece.body)) <= bounds.records for piece in found)
    for number, piece in enumerate(found):
        assert data[: piece.end.offset].count(b"\n") + 1 == piece.end.line
        rest = pieces(cut, data, bounds, step, piece.end)
        assert rest == found[number + 1 :]


@given(RECORDS, BOUNDS, st.integers(1, 50), st.sampled_from(["\n", "\r\n", "\n\n"]), st.booleans())
def test_lines_split_anywhere(records: list[Any], bounds: Bounds, step: int, between: str, ends: bool) -> None:
    text = between.join(json.dumps(record, ensure_ascii=False) for record in records) + (between if ends else "")

    def read(body: bytes) -> list[Any]:
        return [json.loads(line) for line in body.split(b"\n") if line.strip()]

    check_cut(cut_lines, text.encode(), bounds, step, read, records)


@given(RECORDS, BOUNDS, st.integers(1, 50), st.sampled_from([None, 1]), st.sampled_from(["", "\ufeff", " \n"]))
def test_an_array_split_anywhere(
    records: list[Any], bounds: Bounds, step: int, indent: int | None, before: str
) -> None:
    text = before + json.dumps(records, ensure_ascii=False, indent=indent) + "\n"
    check_cut(cut_json, text.encode(), bounds, step, json.loads, records)


@given(
    st.lists(st.lists(CELLS, min_size=2, max_size=2), max_size=20),
    BOUNDS,
    st.integers(1, 50),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["", "\ufeff"]),
)
def test_a_table_split_anywhere(rows: list[list[str]], bounds: Bounds, step: int, end: str, before: str) -> None:
    out = io.StringIO(newline="")
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator=end).writerows([["tên\ncột", "b"], *rows])

    def read(body: bytes) -> list[Any]:
        header, *found = csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""))
        assert header == ["tên\ncột", "b"]
        return found

    check_cut(cut_table, (before + out.getvalue()).encode(), bounds, step, read, rows)


@given(RECORDS.filter(bool), st.data())
def test_the_line_of_a_record_is_the_one_in_the_file(records: list[Any], data: st.DataObject) -> None:
    bounds = Bounds(size_bytes=60, records=3)
    text = json.dumps(records, indent=1).encode()
    found = pieces(cut_json, text, bounds)
    piece = data.draw(st.sampled_from(found))
    index = data.draw(st.integers(0, len(piece.starts) - 1))
    line, count = line_of_element(piece, index)
    assert count == len(json.loads(piece.body))
    at = text.split(b"\n")[line - 1].strip()
    assert at[:1] == b"{"
    lines = b"\n\n".join(json.dumps(record).encode() for record in records)
    piece = data.draw(st.sampled_from(pieces(cut_lines, lines, bounds)))
    own = [json.loads(one) for one in piece.body.split(b"\n") if one]
    if own:
        index = data.draw(st.integers(0, len(own) - 1))
        line, count = line_of_row(piece, index, is_table=False)
        assert (json.loads(lines.split(b"\n")[line - 1]), count) == (own[index], len(own))


def test_the_line_of_a_row_counts_lines_within_quotes() -> None:
    table = b'a,b\n1,"x\ny"\n\n2,z\n3,"\n"\n4,w\n'
    found = pieces(cut_table, table, Bounds(size_bytes=12, records=100))
    assert [piece.body for piece in found] == [b'a,b\n1,"x\ny"\n\n', b'a,b\n2,z\n3,"\n"\n', b"a,b\n4,w\n"]
    assert [line_of_row(found[0], 0, is_table=True), line_of_row(found[1], 1, is_table=True)] == [(2, 1), (6, 2)]
    assert line_of_row(found[2], 0, is_table=True) == (8, 1)


@pytest.mark.parametrize(
    ("cut", "data", "line", "said", "before"),
    [
        (cut_json, b'[{"a":1},\n{"a":tru},\n{"a":3}]', 2, "not JSON", [{"a": 1}]),
        (cut_json, b'[{"a":1}\n{"a":2}]', 2, "a comma or the end", [{"a": 1}]),
        (cut_json, b'[{"a":1},\n]', 2, "not JSON", [{"a": 1}]),
        (cut_json, b'[{"a":1},\n{"a":"\xba"}]', 2, "not JSON", [{"a": 1}]),
        (cut_json, b'[{"a":1}]\n]', 2, "something follows", [{"a": 1}]),
        (cut_json, b'[{"a":1},\n{"a":', 2, "the file ends", [{"a": 1}]),
        (cut_json, b'[{"a":1}\n', 2, "the file ends", [{"a": 1}]),
        (cut_json, b'[{"a":1},\n{"a":"' + b"x" * 300 + b'"}]', 2, "longer than 200 bytes", [{"a": 1}]),
        (cut_json, b'{"a":"' + b"x" * 300 + b'"}', 1, "write an array", []),
        (cut_lines, b'{"a":1}\n{"a":"' + b"x" * 300 + b'"}\n', 2, "longer than 200 bytes", [{"a": 1}]),
        (cut_lines, b'{"a":1}\n{"a":"' + b"x" * 300 + b'"}', 2, "longer than 200 bytes", [{"a": 1}]),
    ],
)
def test_a_broken_file_gives_what_stands_before_and_the_line(
    cut: Cut, data: bytes, line: int, said: str, before: list[Any]
) -> None:
    found: list[Any] = []

    def read_all() -> None:
        for piece in cut(reading(data, 0, 7), START, Bounds(size_bytes=50, records=10, record_bytes=200)):
            found.extend(json.loads(b"[" + piece.body.strip(b"\n[]").replace(b"}\n{", b"},{") + b"]"))

    with pytest.raises(Broken, match=said) as caught:
        read_all()
    assert (caught.value.line, found) == (line, before)


def test_a_quote_that_is_not_closed_ends_the_table_with_its_line() -> None:
    table = b'a,b\n1,x\n2,"y\n' + b"3,z\n" * 100
    found = pieces(cut_table, table[:12], Bounds())
    assert [piece.body for piece in found] == [b"a,b\n1,x\n", b'a,b\n2,"y']
    cut = cut_table(reading(table, 0, 1 << 20), Place(), Bounds(size_bytes=20, records=9, record_bytes=200))
    assert next(cut).body == b"a,b\n1,x\n"
    with pytest.raises(Broken, match="a quote is not closed") as caught:
        next(cut)
    assert caught.value.line == 3


@pytest.mark.parametrize("cut", [cut_lines, cut_table, cut_json])
def test_nothing_gives_nothing(cut: Cut) -> None:
    assert pieces(cut, b"", Bounds()) == []


def test_what_is_no_array_is_one_body() -> None:
    body = b'{"items": [\n{"a": 1}]}\n'
    assert pieces(cut_json, body, Bounds(), step=3) == [Piece(body, 1, Place(len(body), 3))]
    assert pieces(cut_json, b" [ ] ", Bounds()) == []
    assert pieces(cut_table, b"a,b", Bounds()) == []
