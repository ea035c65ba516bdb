"""CSV of any size in constant memory: cut at row ends, decoded and composed piece by piece, parsed and typed by Arrow.

A quote may stand around a cell and doubled within one. Anywhere else it makes the ends of rows a guess: the file is
refused from that row on, by number.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv

from pipelines.contracts.file_layout import FileLayout
from pipelines.gateway.inbox.kinds import Unfit
from pipelines.gateway.inbox.rows import cut_rows, first_row
from pipelines.gateway.inbox.window import Bounds, Broken, Piece, Read
from pipelines.ingestion.files.batch import Fault, Misshapen, as_text, assemble
from pipelines.ingestion.files.encodings import BOM, looks_like, to_text, to_utf8
from pipelines.ingestion.files.errors import FileIncomplete, FileUnfit
from pipelines.ingestion.files.headings import MOST_COLUMNS, joined, match
from pipelines.ingestion.files.reading import Reading, begins_footer, blank_rows, footer_rows
from pipelines.ingestion.files.values import Wanted, from_text
from pipelines.landing.arrow import Bools, Column, Int64s

BOUNDS = Bounds(size_bytes=4 * 1024**2, records=2**62, record_bytes=8 * 1024**2)
"""How much of a file is in memory at once; a row may be twice as long."""


@dataclass
class _Parsed:
    """The cells of a piece, the row number of each, and rows that have too many or too few."""

    cells: list[Column]
    rows: Int64s
    misshapen: list[Misshapen]
    is_clean: bool


class Delimited(Reading):
    """Reads CSV from a stream of plain bytes."""

    def __init__(
        self, name: str, layout: FileLayout, wanted: Sequence[Wanted], read: Read, bounds: Bounds = BOUNDS
    ) -> None:
        """Read the headings.

        Raises:
            FileUnfit: there are none, or the first bytes are by all appearance in another encoding.
        """
        super().__init__(name, layout, wanted)
        self._quote = (layout.quote or "").encode()
        self._delimiter = layout.delimiter
        self._well_quoted = _well_quoted(layout)
        self._pieces = self._cut(read, bounds)
        self._row = 0
        self._rest = b""
        self._headings = self._read_headings()
        self.columns = match(self._headings, wanted, layout)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """See `Reading`."""
        yield from self._parsed(self._rest)
        for piece in self._pieces:
            if self.footer_row is not None:
                return
            yield from self._parsed(piece.body)

    def _cut(self, read: Read, bounds: Bounds) -> Iterator[Piece]:
        try:
            yield from cut_rows(read, bounds, self._quote)
        except Broken as error:
            what = f"line {error.line}: {error}"
            raise FileUnfit(self.name, what, "Close or double the quote, or declare the layout's `quote`.") from None
        except Unfit as error:
            raise FileIncomplete(self.name, str(error), "Send it again, whole.") from None

    def _read_headings(self) -> list[str]:
        body = b""
        needed = self.layout.header_rows[-1]
        above: list[list[str]] = []
        for piece in self._pieces:
            if not above and not body:
                begin = piece.body.removeprefix(BOM)
                self._check_encoding(begin)
                body = begin
            else:
                body += piece.body
            while body and len(above) < needed:
                row = first_row(body, self._quote)
                above.append(self._cells(row, len(above) + 1))
                body = body[len(row) :]
            if len(above) == needed:
                break
        if len(above) < needed:
            what = f"the headings stand in row {needed}, the file has {len(above)}"
            raise FileUnfit(self.name, what, "Correct the file, or `header_rows` in the layout.")
        self._row, self._rest = needed, body
        kept = [above[number - 1] for number in self.layout.header_rows]
        width = max(len(cells) for cells in kept)
        if width > MOST_COLUMNS:
            raise FileUnfit(self.name, f"row {needed} has {width} cells", "Check the layout's `delimiter`.")
        headings = [joined([cells[place] for cells in kept if place < len(cells)]) for place in range(width)]
        if not any(headings):
            what = f"no heading stands in row {needed}"
            raise FileUnfit(self.name, what, "Correct the file, or `header_rows` in the layout.")
        return headings

    def _check_encoding(self, body: bytes) -> None:
        other = looks_like(body, self.layout.encoding)
        if other is not None:
            what = f"declared as {self.layout.encoding}, but it looks like {other}"
            raise FileUnfit(
                self.name, what, f"Write `encoding: {other}` in the layout, or send {self.layout.encoding}."
            )

    def _cells(self, row: bytes, number: int) -> list[str]:
        text = to_text(row, self.layout.encoding).rstrip("\r\n")
        self._check_quotes(text.encode("utf-8", "replace"), number)
        try:
            if self.layout.quote is None:
                return text.split(self._delimiter)
            reader = csv.reader([text], delimiter=self._delimiter, quotechar=self.layout.quote)
            return next(reader, [])
        except csv.Error as error:
            raise FileUnfit(self.name, f"row {number} is no CSV ({error})", "Correct the row.") from None

    def _check_quotes(self, body: bytes, row: int) -> None:
        """Refuse a quote at a place where it makes the end of a row a guess."""
        if self._well_quoted is None or self._quote not in body:
            return
        plain = body.replace(self._quote * 2, b"")
        good = self._well_quoted.match(plain)
        end = good.end() if good else 0
        if end < len(plain):
            line = row + plain.count(b"\n", 0, end)
            what = f"a quote stands within a cell, or is not closed, about row {line}"
            remedy = "Double it and quote the cell, or declare `quote: null` when cells are never quoted."
            raise FileUnfit(self.name, what, remedy)

    def _parsed(self, raw: bytes) -> Iterator[pa.RecordBatch]:
        """The batch of a piece, if it holds a row; at the footer the table ends."""
        if not raw:
            return
        parsed = self._parse(raw)
        blank = blank_rows(parsed.cells, len(parsed.rows))
        end = self._footer(parsed, blank)
        if end is not None:
            self.footer_row = end
        keep = ~blank
        misshapen = [bad for bad in parsed.misshapen if end is None or bad.row < end]
        if end is not None:
            keep &= parsed.rows < end
        if not keep.all():
            flags = pa.array(keep)
            parsed.cells = [cells.filter(flags) for cells in parsed.cells]
            parsed.rows = parsed.rows[keep]
        if len(parsed.rows) or misshapen:
            yield self._batch(parsed, misshapen)

    def _footer(self, parsed: _Parsed, blank: Bools) -> int | None:
        hits = parsed.rows[footer_rows(parsed.cells, blank, self.layout)].tolist()
        texts = [(bad.row, bad.raw) for bad in parsed.misshapen]
        hits += [row for row, text in texts if begins_footer(text.lstrip(f'{self._delimiter}" '), self.layout)]
        return min(hits, default=None)

    def _parse(self, raw: bytes) -> _Parsed:
        body, is_clean = to_utf8(raw, self.layout.encoding)
        self._check_quotes(body, self._row + 1)
        width = len(self._headings)
        bad: list[Any] = []

        def refuse(row: Any) -> Literal["skip"]:
            bad.append(row)
            return "skip"

        names = [str(place) for place in range(width)]
        source: Any = pa.BufferReader(body)
        try:
            table = pyarrow.csv.read_csv(
                source,
                read_options=pyarrow.csv.ReadOptions(
                    use_threads=False, block_size=max(len(body) + 1, 1024), column_names=names
                ),
                parse_options=pyarrow.csv.ParseOptions(
                    delimiter=self._delimiter,
                    quote_char=self.layout.quote or False,
                    double_quote=self.layout.quote is not None,
                    newlines_in_values=self.layout.quote is not None,
                    ignore_empty_lines=False,
                    invalid_row_handler=refuse,
                ),
                convert_options=pyarrow.csv.ConvertOptions(
                    # What decoded is UTF-8.
                    check_utf8=False,
                    column_types={name: pa.string() for name in names},
                    null_values=[],
                    strings_can_be_null=False,
                ),
            )
        except pa.ArrowInvalid as error:
            what = f"behind row {self._row} it is no CSV ({error})"
            raise FileUnfit(self.name, what, "Correct the file or its layout.") from None
        count = table.num_rows + len(bad)
        is_good = np.ones(count, bool)
        is_good[[row.number - 1 for row in bad]] = False
        rows = np.flatnonzero(is_good) + self._row + 1
        misshapen = [
            Misshapen(self._row + row.number, f"{row.actual_columns} cells under {width} headings", row.text)
            for row in bad
        ]
        self._row += count
        return _Parsed([column.combine_chunks() for column in table.columns], rows, misshapen, is_clean)

    def _batch(self, parsed: _Parsed, misshapen: Sequence[Misshapen]) -> pa.RecordBatch:
        columns: dict[str, Column] = {}
        faults: list[Fault] = []
        for wanted in self.wanted:
            place = self.columns.positions.get(wanted.name)
            if place is not None:
                values = from_text(wanted, parsed.cells[place], self.layout, is_clean=parsed.is_clean)
                columns[wanted.name] = values.column
                faults += values.faults

        def raw(positions: Int64s) -> list[str]:
            at = pa.array(positions)
            cells = [column.take(at).to_pylist() for column in parsed.cells]
            return [as_text(self._headings, row) for row in zip(*cells, strict=True)]

        return assemble(columns, parsed.rows, faults, raw, misshapen)


def _well_quoted(layout: FileLayout) -> re.Pattern[bytes] | None:
    """Quotes in pairs, each pair around a whole cell; doubled ones are taken out before."""
    if layout.quote is None:
        return None
    quote, edge = re.escape(layout.quote.encode()), re.escape(layout.delimiter.encode()) + rb"\r\n"
    pair = rb"[^Q]*+(?<![^EQ])Q[^Q]*+Q(?![^E])".replace(b"E", edge).replace(b"Q", quote)
    return re.compile(rb"(?:" + pair + rb")*+[^" + quote + rb"]*+")
