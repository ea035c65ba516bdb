"""XLSX, row by row: headings over several merged rows, numbers as binary floats, dates of two calendars, old fonts.

Every cell is read for what it holds, not for what the sheet shows: a formula is refused, its cached result may be years
old. What lies to the right of the last heading is no part of the table.
"""

from __future__ import annotations

import datetime as dt
import math
import re
import unicodedata
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pyarrow as pa

from pipelines.contracts.file_layout import SERIAL, FileLayout, same_heading
from pipelines.ingestion.files import tcvn3
from pipelines.ingestion.files.batch import ERROR, FORMULA, TYPE, Fault, as_text, assemble
from pipelines.ingestion.files.encodings import looks_like_tcvn3
from pipelines.ingestion.files.errors import FileUnfit
from pipelines.ingestion.files.headings import MOST_COLUMNS, joined, match
from pipelines.ingestion.files.reading import Reading, begins_footer
from pipelines.ingestion.files.values import Wanted, at_zone, from_text, stored_as
from pipelines.landing.arrow import Column, Int64s
from pipelines.landing.arrow import kernels as pc

if TYPE_CHECKING:
    from openpyxl import Workbook
    from openpyxl.cell.read_only import ReadOnlyCell

BATCH_ROWS = 10_000
MOST_ROWS = 1_048_576
_CHUNK = 1024**2
_MERGED = re.compile(rb"<(?:\w+:)?mergeCell\b[^>]*?\bref=[\"']([A-Z]{1,3})(\d{1,7}):([A-Z]{1,3})(\d{1,7})[\"']")
_ROW = re.compile(rb"<(?:\w+:)?row\b[^>]*?\br=[\"'](\d{1,18})[\"']")
_SURE_DIGITS = 15
"""So many digits of a number a spreadsheet keeps; what stands behind them is made up by the binary form."""
_ZEROS = re.compile(r"0+\Z")
_FIRST_RIGHT_DAY = dt.datetime(1900, 3, 1)
"""The calendar of 1900 holds a 29 February that never was: what stands before is a day off."""


class _Unreadable(ValueError):
    """Why a cell cannot be what is wanted."""


@dataclass
class _Cells:
    """One wanted column of a batch: texts as in any file, values that the workbook typed itself, and what is wrong."""

    wanted: Wanted
    texts: list[str | None] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    wrong: dict[tuple[str, str], list[int]] = field(default_factory=dict)

    def add(self, text: str | None, value: Any) -> None:
        self.texts.append(text)
        self.values.append(value)

    def refuse(self, reason: str, detail: str) -> None:
        self.wrong.setdefault((reason, detail), []).append(len(self.texts))
        self.add(None, None)


class Sheet(Reading):
    """Reads one sheet of a workbook; the stream must stay open meanwhile."""

    def __init__(self, name: str, layout: FileLayout, wanted: Sequence[Wanted], stream: BinaryIO) -> None:
        """Read the headings.

        Raises:
            FileUnfit: no such sheet, no headings, or the workbook is damaged.
        """
        super().__init__(name, layout, wanted)
        with self._read():
            import openpyxl
            from openpyxl.utils.datetime import MAC_EPOCH

            self._book: Workbook = openpyxl.load_workbook(stream, read_only=True, data_only=False, keep_links=False)
            fonts: Any = self._book._fonts
            self._fonts_decide = any(tcvn3.is_own_font(font.name or "") for font in fonts)
            self._is_1904 = self._book.epoch == MAC_EPOCH
            self._sheet: Any = self._choose()
            self._sheet.reset_dimensions()
            merged = self._scan()
            self._headings = self._read_headings(merged)
        self.layout = layout.model_copy(update={"date_system": 1904 if self._is_1904 else 1900})
        self.columns = match(self._headings, wanted, layout)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """See `Reading`."""
        first = self.layout.header_rows[-1] + 1
        rows: list[tuple[int, Sequence[ReadOnlyCell]]] = []
        is_first = True
        for number, cells in enumerate(self._rows(first), first):
            if number > MOST_ROWS:
                what = f"the sheet has more than {MOST_ROWS} rows"
                raise FileUnfit(self.name, what, "Send a large table as CSV or Parquet.")
            if self._is_end(cells):
                self.footer_row = number
                break
            if any(_is_given(cell) for cell in cells):
                rows.append((number, cells))
            if len(rows) == BATCH_ROWS:
                self._check_encoding(rows, is_first=is_first)
                yield self._batch(rows)
                rows, is_first = [], False
        if rows:
            self._check_encoding(rows, is_first=is_first)
            yield self._batch(rows)

    @contextmanager
    def _read(self) -> Iterator[None]:
        """What a damaged workbook makes openpyxl raise is anything; people get one sentence."""
        try:
            yield
        except FileUnfit:
            raise
        except Exception as error:  # noqa: BLE001 - a parser of bytes from outside, whose errors are not documented
            what = f"the workbook is damaged ({type(error).__name__}: {str(error)[:200]})"
            remedy = "Open it, save it as an ordinary workbook (.xlsx) and send it again."
            raise FileUnfit(self.name, what, remedy) from None

    def _rows(self, first: int) -> Iterator[Sequence[ReadOnlyCell]]:
        rows = self._sheet.iter_rows(min_row=first, max_col=len(self._headings))
        while True:
            with self._read():
                cells = next(rows, None)
            if cells is None:
                return
            yield cells

    def _choose(self) -> Any:
        sheets = self._book.worksheets
        if self.layout.sheet is None:
            chosen = [sheet for sheet in sheets if sheet.sheet_state == "visible"]
        else:
            asked = same_heading(self.layout.sheet)
            chosen = [sheet for sheet in sheets if same_heading(sheet.title) == asked]
        if len(chosen) != 1:
            names = ", ".join(repr(sheet.title) for sheet in sheets[:20])
            what = f"no sheet {self.layout.sheet!r}" if self.layout.sheet else f"{len(chosen)} visible sheets, not one"
            raise FileUnfit(self.name, what, f"Write the `sheet` in the layout; the workbook has {names}.")
        return chosen[0]

    def _scan(self) -> list[tuple[str, int, str, int]]:
        """The merged ranges, which openpyxl does not give here; rows out of order it would pass over in silence.

        Raises:
            FileUnfit: there are such rows.
        """
        merged = []
        last = 0
        archive: zipfile.ZipFile = self._book._archive
        with archive.open(self._sheet._worksheet_path) as part:
            kept = b""
            while chunk := part.read(_CHUNK):
                text = kept + chunk
                # A tag that is not whole yet is looked at with the next chunk.
                end = text.rfind(b"<")
                text, kept = (text[:end], text[end:]) if end >= 0 else (b"", text)
                numbers = np.array([last, *map(int, _ROW.findall(text))], np.int64)
                if (np.diff(numbers) <= 0).any():
                    what = f"rows of the sheet are out of order behind row {numbers[:-1][np.diff(numbers) <= 0][0]}"
                    raise FileUnfit(self.name, what, "Open the workbook, save it and send it again.")
                last = int(numbers[-1])
                if last > MOST_ROWS:
                    what = f"the sheet has more than {MOST_ROWS} rows"
                    raise FileUnfit(self.name, what, "Send a large table as CSV or Parquet.")
                merged += [(a.decode(), int(b), c.decode(), int(d)) for a, b, c, d in _MERGED.findall(text)]
        return merged

    def _read_headings(self, merged: Sequence[tuple[str, int, str, int]]) -> list[str]:
        from openpyxl.utils import column_index_from_string

        rows = self.layout.header_rows
        texts: dict[tuple[int, int], str] = {}
        found = self._sheet.iter_rows(min_row=1, max_row=rows[-1], max_col=MOST_COLUMNS)
        for number, cells in enumerate(found, 1):
            if number in rows:
                for place, cell in enumerate(cells, 1):
                    if _is_given(cell):
                        texts[number, place] = self._text(cell) if isinstance(cell.value, str) else str(cell.value)
        if len(rows) > 1:
            for left, top, right, bottom in merged:
                columns = range(column_index_from_string(left), column_index_from_string(right) + 1)
                text = texts.get((top, columns[0]))
                for row in (row for row in rows if text and top <= row <= bottom):
                    texts |= {(row, place): text for place in columns if text}
        if not texts:
            what = f"no heading stands in row {rows[-1]} of sheet {self._sheet.title!r}"
            raise FileUnfit(self.name, what, "Correct the file, or `header_rows` in the layout.")
        width = max(place for _, place in texts)
        return [joined([texts.get((row, place), "") for row in rows]) for place in range(1, width + 1)]

    def _check_encoding(self, rows: Sequence[tuple[int, Sequence[ReadOnlyCell]]], *, is_first: bool) -> None:
        if not is_first or self.layout.encoding == "tcvn3":
            return
        texts = " ".join(cell.value for _, cells in rows for cell in cells if isinstance(cell.value, str))
        if looks_like_tcvn3(texts):
            what = "its texts look like tcvn3 (typed in a .Vn font)"
            raise FileUnfit(self.name, what, "Write `encoding: tcvn3` in the layout, or send Unicode.")

    def _text(self, cell: ReadOnlyCell) -> str:
        """A text cell in Unicode; where the workbook knows .Vn fonts, texts in other fonts are Unicode already."""
        text = str(cell.value)
        if self.layout.encoding != "tcvn3":
            return _composed(text)
        font = (cell.font.name if cell.font is not None else None) or ""
        if self._fonts_decide and not tcvn3.is_own_font(font):
            return _composed(text)
        meant = tcvn3.from_mojibake(text, font)
        return _composed(text if meant is None else meant)

    def _is_end(self, cells: Sequence[ReadOnlyCell]) -> bool:
        if self.layout.footer is None:
            return False
        first = next((cell for cell in cells if _is_given(cell)), None)
        if first is None:
            return self.layout.footer.blank_row
        return isinstance(first.value, str) and begins_footer(self._text(first), self.layout)

    def _batch(self, rows: Sequence[tuple[int, Sequence[ReadOnlyCell]]]) -> pa.RecordBatch:
        columns: dict[str, Column] = {}
        faults: list[Fault] = []
        for wanted in self.wanted:
            place = self.columns.positions.get(wanted.name)
            if place is None:
                continue
            held = _Cells(wanted)
            for _, cells in rows:
                if place < len(cells):
                    self._take(held, cells[place])
                else:
                    held.add(None, None)
            columns[wanted.name], found = self._column(held)
            faults += found

        def raw(positions: Int64s) -> list[str]:
            return [self._shown(rows[position][1]) for position in positions.tolist()]

        return assemble(columns, np.array([number for number, _ in rows], np.int64), faults, raw)

    def _shown(self, cells: Sequence[ReadOnlyCell]) -> str:
        values = [*(cell.value for cell in cells), *[None] * (len(self._headings) - len(cells))]
        return as_text(self._headings, [None if value is None else str(value) for value in values])

    def _take(self, held: _Cells, cell: ReadOnlyCell) -> None:
        """Put a cell into its column."""
        name, value = held.wanted.name, cell.value
        if cell.data_type == "f":
            held.refuse(f"{FORMULA}:{name}", "the cell is a formula; paste its values")
        elif cell.data_type == "e":
            held.refuse(f"{ERROR}:{name}", "the cell holds an error of the spreadsheet")
        elif value is None:
            held.add(None, None)
        elif isinstance(value, str):
            held.add(self._text(cell), None)
        else:
            try:
                held.add(*self._native(held.wanted, cell, value))
            except _Unreadable as error:
                held.refuse(f"{TYPE}:{name}", str(error))

    def _native(self, wanted: Wanted, cell: ReadOnlyCell, value: Any) -> tuple[str | None, Any]:
        """A cell that is no text as (text to be read like any other, value that is what is wanted)."""
        kind = wanted.type.name
        if isinstance(value, bool):
            if kind != "boolean":
                raise _Unreadable("the cell is TRUE or FALSE")
            return None, value
        if isinstance(value, int | float):
            if wanted.type.is_numeric:
                is_percent = self.layout.number is not None and "%" in self.layout.number.suffixes
                shift = 2 if is_percent and str(cell.number_format).rstrip().endswith("%") else 0
                return None, _number(value, shift, is_exact=kind != "double")
            if kind in {"date", "timestamp"}:
                return None, _day(wanted, self._of_serial(value), is_1904=self._is_1904)
            text = _number(value, 0, is_exact=True)
            form = str(cell.number_format)
            return (text.zfill(len(form)) if _ZEROS.match(form) and text.isdigit() else text), None
        if isinstance(value, dt.datetime | dt.date) and kind in {"date", "timestamp"}:
            return None, _day(wanted, value, is_1904=self._is_1904)
        raise _Unreadable(f"the cell is a date or a time, wanted is {wanted.type}")

    def _of_serial(self, value: float) -> Any:
        if SERIAL not in self.layout.dates:
            raise _Unreadable(f"a bare number is no date; declare {SERIAL!r} in `dates` when it counts days")
        from openpyxl.utils.datetime import from_excel

        try:
            return from_excel(value, self._book.epoch)
        except (ValueError, OverflowError):
            raise _Unreadable("there is no such day") from None

    def _column(self, held: _Cells) -> tuple[Column, list[Fault]]:
        """The column of texts and native values together."""
        wanted, count = held.wanted, len(held.texts)
        read = from_text(wanted, pa.array(held.texts, pa.string()), self.layout)
        faults = []
        for (reason, detail), places in held.wrong.items():
            hit = np.zeros(count, bool)
            hit[places] = True
            faults.append(Fault(hit, reason, detail))
        column = read.column
        if any(value is not None for value in held.values):
            if wanted.type.name == "timestamp":
                zoned = at_zone(wanted, pa.array(held.values, pa.timestamp("us")), self.layout)
                faults += zoned.faults
                native = zoned.column
            else:
                native = pa.array(held.values, stored_as(wanted.type))
            column = pc.coalesce(native, column)
        return column, [*faults, *read.faults]


def _composed(text: str) -> str:
    """NFC; blanks and case stay."""
    return unicodedata.normalize("NFC", text)


def _is_given(cell: ReadOnlyCell) -> bool:
    value = cell.value
    return value is not None and not (isinstance(value, str) and not value.strip())


def _number(value: float, shift: int, *, is_exact: bool) -> str:
    """The digits of a number cell, moved to the left by `shift` places.

    Raises:
        _Unreadable: it is no number, or has more digits than a spreadsheet keeps.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise _Unreadable("the cell holds no number")
    exact = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    digits = "".join(map(str, exact.as_tuple().digits)).strip("0")
    if is_exact and len(digits) > _SURE_DIGITS:
        raise _Unreadable(f"more than {_SURE_DIGITS} digits: a spreadsheet does not keep them; format the cell as text")
    if abs(exact.adjusted()) > 60:
        raise _Unreadable("the number is out of all range")
    text = format(exact.scaleb(shift), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _day(wanted: Wanted, value: Any, *, is_1904: bool) -> dt.date | dt.datetime:
    """A date of the workbook's calendar as what is wanted.

    Raises:
        _Unreadable: no such day, or a time where none belongs.
    """
    if not isinstance(value, dt.date):
        raise _Unreadable("a time of day without a date")
    moment = value if isinstance(value, dt.datetime) else dt.datetime.combine(value, dt.time())
    if moment.tzinfo is not None:
        raise _Unreadable("a cell has no time zone")
    if not is_1904 and moment < _FIRST_RIGHT_DAY:
        raise _Unreadable("before 1 March 1900 the calendar of a spreadsheet is a day off")
    if wanted.type.name == "timestamp":
        return moment
    if moment.time() != dt.time():
        raise _Unreadable("a time where only a date belongs")
    return moment.date()
