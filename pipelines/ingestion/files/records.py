"""JSON, one object a line or an array of objects: read in C block by block, every number with the digits it came with.

A value is kept as the bytes that were written until it is known what is wanted of it. A line that is no object is one
bad row; an array that is no JSON cannot be read on.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import compress
from operator import itemgetter, methodcaller
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from pipelines.contracts.file_layout import FileLayout, same_heading
from pipelines.gateway.inbox.json_array import cut_json
from pipelines.gateway.inbox.kinds import Unfit
from pipelines.gateway.inbox.rows import cut_lines
from pipelines.gateway.inbox.window import Bounds, Broken, Piece, Place, Read
from pipelines.ingestion.files.batch import ENCODING, TYPE, Fault, Misshapen, assemble
from pipelines.ingestion.files.delimited import BOUNDS
from pipelines.ingestion.files.encodings import BOM
from pipelines.ingestion.files.errors import FileIncomplete, FileUnfit
from pipelines.ingestion.files.headings import MOST_COLUMNS, Matched, names_of
from pipelines.ingestion.files.reading import Reading
from pipelines.ingestion.files.values import Values, Wanted, from_text, stored_as
from pipelines.landing.arrow import Bools, Column, Int64s, nulls
from pipelines.landing.arrow import kernels as pc

Row = dict[str, msgspec.Raw]
ARRAY_BOUNDS = Bounds(size_bytes=1024**2, records=20_000, record_bytes=8 * 1024**2)
_NULL = msgspec.Raw(b"null")
_LINES: msgspec.json.Decoder[Row] = msgspec.json.Decoder(Row)
_ARRAY: msgspec.json.Decoder[list[Row]] = msgspec.json.Decoder(list[Row])
_TEXTS: msgspec.json.Decoder[list[str]] = msgspec.json.Decoder(list[str])
_FIRST: Any = itemgetter(0)
_BYTES: Any = memoryview
_COMPOSE: Callable[[str], str] = partial(unicodedata.normalize, "NFC")
_ASCII_DIGITS = np.frombuffer(b"-0123456789", np.uint8)


class Records(Reading):
    """Reads NDJSON or a JSON array from a stream of plain bytes."""

    def __init__(
        self, name: str, layout: FileLayout, wanted: Sequence[Wanted], read: Read, bounds: Bounds | None = None
    ) -> None:
        """Nothing is read yet: every row names its columns itself."""
        super().__init__(name, layout, wanted)
        self._is_array = layout.format == "json"
        bounds = bounds or (ARRAY_BOUNDS if self._is_array else BOUNDS)
        self._pieces = self._cut(read, bounds)
        self._names = names_of(wanted, layout)
        self._keys: dict[str, str] = {}
        self._unknown: dict[str, None] = {}
        self._row = 0
        self.columns = Matched(missing=tuple(column.name for column in self.wanted))

    def batches(self) -> Iterator[pa.RecordBatch]:
        """See `Reading`."""
        for piece in self._pieces:
            body = piece.body.removeprefix(BOM) if piece.line == 1 and not self._is_array else piece.body
            numbers, rows, misshapen = self._array(body) if self._is_array else self._lines(body)
            if rows or misshapen:
                yield self._batch(numbers, rows, misshapen)

    def _cut(self, read: Read, bounds: Bounds) -> Iterator[Piece]:
        try:
            yield from (cut_json if self._is_array else cut_lines)(read, Place(), bounds)
        except Broken as error:
            kind = FileIncomplete if "file ends" in str(error) else FileUnfit
            remedy = "Send an array of objects, or NDJSON with one object a line."
            raise kind(self.name, f"line {error.line}: {error}", remedy) from None
        except Unfit as error:
            raise FileIncomplete(self.name, str(error), "Send it again, whole.") from None

    def _array(self, body: bytes) -> tuple[Int64s, list[Row], list[Misshapen]]:
        try:
            rows = _ARRAY.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            rows = list(self._elements(body))
        first = self._row + 1
        self._row += len(rows)
        return np.arange(first, first + len(rows), dtype=np.int64), rows, []

    def _elements(self, body: bytes) -> Iterator[Row]:
        """The elements of an array one by one, to say which one is no object.

        Raises:
            FileUnfit: there is one.
        """
        try:
            parts = msgspec.json.decode(body, type=list[msgspec.Raw])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            what = f"no array of objects ({error})"
            raise FileUnfit(self.name, what, "Send an array of objects, or NDJSON with one object a line.") from None
        for number, part in enumerate(parts, self._row + 1):
            try:
                yield _LINES.decode(bytes(part))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                what = f"element {number} is no object ({error})"
                raise FileUnfit(self.name, what, "Send an array of objects.") from None

    def _lines(self, body: bytes) -> tuple[Int64s, list[Row], list[Misshapen]]:
        lines = list(map(bytes.strip, body.split(b"\n")))
        first = self._row + 1
        self._row += body.count(b"\n") + (not body.endswith(b"\n"))
        given = np.flatnonzero(np.fromiter(map(bool, lines), bool, len(lines)))
        lines = list(filter(None, lines))
        rows: list[Row] = []
        good: list[range] = []
        bad: list[int] = []
        _decode(lines, range(len(lines)), rows, good, bad)
        places = np.concatenate([np.arange(part.start, part.stop) for part in good] or [np.zeros(0, np.int64)])
        detail = "the line is no JSON object"
        misshapen = [
            Misshapen(first + int(given[place]), detail, lines[place].decode("utf-8", "backslashreplace"))
            for place in bad
        ]
        return given[places.astype(np.int64)] + first, rows, misshapen

    def _learn(self, rows: Sequence[Row]) -> None:
        """Keys that were not met before.

        Raises:
            FileUnfit: two keys mean one column, or there are too many.
        """
        for key in sorted(set().union(*rows) - self._keys.keys() - self._unknown.keys()):
            name = self._names.get(same_heading(key))
            if name is None:
                self._unknown[key] = None
            elif name in self._keys.values():
                other = next(known for known, meant in self._keys.items() if meant == name)
                what = f"the keys {other!r} and {key!r} both mean the column {name}"
                raise FileUnfit(self.name, what, "Write one of them in every row.")
            else:
                self._keys[key] = name
        if len(self._unknown) > MOST_COLUMNS:
            raise FileUnfit(self.name, f"more than {MOST_COLUMNS} different keys", "Write one object a row.")
        found = set(self._keys.values())
        self.columns = replace(
            self.columns,
            positions={name: place for place, name in enumerate(self._keys.values())},
            missing=tuple(column.name for column in self.wanted if column.name not in found),
            unknown=tuple(self._unknown),
        )

    def _batch(self, numbers: Int64s, rows: list[Row], misshapen: Sequence[Misshapen]) -> pa.RecordBatch:
        self._learn(rows)
        key_of = {name: key for key, name in self._keys.items()}
        columns: dict[str, Column] = {}
        faults: list[Fault] = []
        for wanted in self.wanted:
            if wanted.name not in key_of:
                columns[wanted.name] = nulls(len(rows), stored_as(wanted.type))
                continue
            cells = list(map(methodcaller("get", key_of[wanted.name], _NULL), rows))
            values = _values(wanted, cells, self.layout)
            columns[wanted.name] = values.column
            faults += values.faults

        def raw(positions: Int64s) -> list[str]:
            chosen = (msgspec.json.encode(rows[place]) for place in positions.tolist())
            return [row.decode("utf-8", "backslashreplace") for row in chosen]

        return assemble(columns, numbers, faults, raw, misshapen)


def _decode(lines: list[bytes], part: range, rows: list[Row], good: list[range], bad: list[int]) -> None:
    """Read the lines of a part; one that holds a bad line is halved until the bad line stands alone."""
    if not part:
        return
    chosen = lines[part.start : part.stop]
    try:
        # An object that goes over two lines, or two in one, would pass unseen otherwise.
        if all(map(methodcaller("startswith", b"{"), chosen)) and all(map(methodcaller("endswith", b"}"), chosen)):
            found = _LINES.decode_lines(b"\n".join(chosen))
            if len(found) == len(part):
                rows += found
                good.append(part)
                return
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    if len(part) == 1:
        bad.append(part.start)
        return
    middle = (part.start + part.stop) // 2
    _decode(lines, range(part.start, middle), rows, good, bad)
    _decode(lines, range(middle, part.stop), rows, good, bad)


def _values(wanted: Wanted, cells: list[msgspec.Raw], layout: FileLayout) -> Values:
    """What a column's values mean: a text as in any file, a number or a yes as it is."""
    first = np.frombuffer(bytes(map(_FIRST, map(_BYTES, cells))), np.uint8)
    is_text = first == ord('"')
    is_number = np.isin(first, _ASCII_DIGITS)
    is_yes, is_no = first == ord("t"), first == ord("f")
    kind = wanted.type
    texts, broken = _texts(cells, is_text)
    values = from_text(wanted, texts, layout)
    if broken.any():
        values.faults.insert(0, Fault(broken, f"{ENCODING}:{wanted.name}", "the text is no UTF-8"))
    misfit = ~(is_text | (first == ord("n")))
    column = values.column
    if kind.is_numeric or kind.name == "string":
        numbers = np.full(len(cells), None, object)
        numbers[is_number] = b"\n".join(compress(cells, is_number)).decode().split("\n") if is_number.any() else []
        column = pc.if_else(pa.array(is_number), pa.array(numbers, pa.string()), column)
        misfit &= ~is_number
    elif kind.name == "boolean":
        column = pc.if_else(pa.array(is_yes | is_no), pa.array(is_yes), column)
        misfit &= ~(is_yes | is_no)
    if misfit.any():
        detail = f"no JSON value for the type {kind}"
        values.faults.append(Fault(misfit, f"{TYPE}:{wanted.name}", detail))
    return Values(column, values.faults)


def _texts(cells: list[msgspec.Raw], is_text: Bools) -> tuple[Column, Bools]:
    """The texts among the values, composed, and which of them are none."""
    found = np.full(len(cells), None, object)
    broken = np.zeros(len(cells), bool)
    chosen = list(compress(cells, is_text))
    try:
        texts = _TEXTS.decode(b"[" + b",".join(chosen) + b"]")
        found[is_text] = list(map(_COMPOSE, texts))
    except (msgspec.DecodeError, UnicodeDecodeError):
        for place, cell in zip(np.flatnonzero(is_text).tolist(), chosen, strict=True):
            try:
                found[place] = _COMPOSE(msgspec.json.decode(cell, type=str))
            except (msgspec.DecodeError, UnicodeDecodeError):
                broken[place] = True
    return pa.array(found, pa.string()), broken
