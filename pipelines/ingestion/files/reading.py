"""What every reader of a format is: the columns it found, and its batches one after the other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from pipelines.contracts.file_layout import FileLayout, same_heading
from pipelines.ingestion.files.headings import Matched
from pipelines.ingestion.files.values import Wanted
from pipelines.landing.arrow import Bools, Column, bools
from pipelines.landing.arrow import kernels as pc


class Reading(ABC):
    """A delivered file while it is read.

    `columns` is known before the first batch; for JSON, whose rows name their columns themselves, it grows and is true
    when the last batch was read. `footer_row` is the row at which the declared footer ended the table.
    """

    def __init__(self, name: str, layout: FileLayout, wanted: Sequence[Wanted]) -> None:
        """`name` is the file's, for people."""
        self.name, self.layout, self.wanted = name, layout, tuple(wanted)
        self.columns = Matched()
        self.footer_row: int | None = None

    @abstractmethod
    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows in the order of the file, see `batch`; once.

        Raises:
            FileUnfit: from here on the file cannot be read; what was given before is not the whole file.
        """


def blank_rows(cells: Sequence[Column], count: int) -> Bools:
    """Which rows hold nothing but blanks."""
    blank = np.ones(count, bool)
    for column in cells:
        if not blank.any():
            break
        blank &= bools(pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(column)), 0))
    return blank


def footer_rows(cells: Sequence[Column], blank: Bools, layout: FileLayout) -> Bools:
    """Which rows are the beginning of the footer, by the layout's rule."""
    hits = np.zeros(len(blank), bool)
    if layout.footer is None or not cells:
        return hits
    if layout.footer.blank_row:
        hits |= blank
    if layout.footer.begins_with:
        first = cells[0]
        if bools(pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(first)), 0)).any():
            nothing = pa.scalar(None, pa.string())
            filled = (pc.if_else(pc.match_substring_regex(column, r"\S"), column, nothing) for column in cells)
            first = pc.fill_null(pc.coalesce(*filled), "")
        compared = pc.utf8_trim_whitespace(pc.replace_substring_regex(pc.utf8_lower(first), r"[\s\x{A0}]+", " "))
        for text in layout.footer.begins_with:
            hits |= bools(pc.starts_with(compared, same_heading(text)))
    return hits


def begins_footer(text: str, layout: FileLayout) -> bool:
    """The same for one row that has no cells."""
    if layout.footer is None:
        return False
    plain = same_heading(text)
    return any(plain.startswith(same_heading(begin)) for begin in layout.footer.begins_with)
