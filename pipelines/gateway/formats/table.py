"""CSV with a header row of the contract's field names; an empty cell is an unknown value.

UTF-8, RFC 4180; the separator is a comma, or a semicolon where the header has no comma (a spreadsheet's habit in
Vietnam). Numbers have a decimal point.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from pipelines.contracts.targets.kafka import MAX_PAYLOAD_BYTES
from pipelines.gateway.formats.entry import Entry, Unreadable

csv.field_size_limit(2 * MAX_PAYLOAD_BYTES)


class Table:
    """Reads CSV."""

    def parse(self, body: bytes) -> list[Entry]:
        """One entry a row; what is kept of a row that is no use is the header and the row.

        Raises:
            Unreadable: not UTF-8, no header, or a header with empty or repeated names.
        """
        try:
            text = body.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise Unreadable("the bytes are not UTF-8") from None
        lines = list(io.StringIO(text, newline=""))
        while lines and not lines[0].strip():
            lines.pop(0)
        if not lines:
            return []
        separator = ";" if ";" in lines[0] and "," not in lines[0] else ","
        return list(_rows(lines, separator))


def _rows(lines: list[str], separator: str) -> Iterator[Entry]:
    reader = csv.reader(lines, delimiter=separator, strict=True)
    try:
        header = [name.strip() for name in next(reader)]
    except csv.Error as error:
        raise Unreadable(f"the header is no CSV: {error}") from None
    if not all(header) or len(set(header)) < len(header):
        raise Unreadable("the header has an empty or a repeated name")
    head = "".join(lines[: reader.line_num])
    begun = reader.line_num
    while True:
        problem, cells = "", []
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            # Where this row ends cannot be told any more: everything behind it belongs to it.
            problem = f"not CSV: {error}"
        end = len(lines) if problem else reader.line_num
        raw, begun = "".join(lines[begun:end]), end
        kept = (head + raw).encode()
        if problem:
            yield Entry(kept, problem=problem)
            return
        if not cells:
            continue
        if len(cells) != len(header):
            yield Entry(kept, problem=f"{len(cells)} cells under a header of {len(header)}")
            continue
        yield Entry(kept, {name: _value(name, cell) for name, cell in zip(header, cells, strict=True) if cell != ""})


def _value(name: str, cell: str) -> str | int:
    # The one native key that is no field of a contract, and must be a number already.
    return int(cell) if name == "revision" and cell.isascii() and cell.isdigit() and len(cell) < 11 else cell
