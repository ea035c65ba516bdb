"""Rows as text, one at a time: a table for people, CSV and JSON for programs.

People read times in Asia/Ho_Chi_Minh, programs ISO 8601 in UTC. Text is NFC and measured in cells, so that Vietnamese
letters stand straight.
"""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import chain, islice
from typing import Any
from zoneinfo import ZoneInfo

from rich.cells import cell_len

LOCAL = ZoneInfo("Asia/Ho_Chi_Minh")
SAMPLE_ROWS = 1000
"""Column widths follow these first rows; a later value that is wider moves its row, nothing is cut off."""


def as_table(columns: Sequence[str], types: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """Lines of a table: header, rule, rows, and how many there were."""
    count = 0

    def shown() -> Iterator[list[str]]:
        nonlocal count
        for row in rows:
            count += 1
            yield [_for_people(value) for value in row]

    texts = shown()
    first = list(islice(texts, SAMPLE_ROWS))
    names = [unicodedata.normalize("NFC", name) for name in columns]
    widths = [max(cell_len(text) for text in column) for column in zip(names, *first, strict=True)]
    is_right = [_is_number(kind) for kind in types]

    def line(row: Sequence[str]) -> str:
        cells = []
        for text, width, right in zip(row, widths, is_right, strict=True):
            space = " " * max(0, width - cell_len(text))
            cells.append(space + text if right else text + space)
        return "  ".join(cells).rstrip()

    yield line(names)
    yield "  ".join("─" * width for width in widths)
    for row in chain(first, texts):
        yield line(row)
    yield f"({count:,} dòng)"


def as_csv(columns: Sequence[str], types: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """Lines of CSV (RFC 4180 quoting, without line ends); NULL is an empty field."""
    del types
    for row in chain([columns], rows):
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="").writerow(["" if value is None else _for_programs(value) for value in row])
        yield buffer.getvalue()


def as_json(columns: Sequence[str], types: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """Lines of one JSON array of objects; decimals keep all their digits as JSON numbers."""
    del types
    names = [json.dumps(unicodedata.normalize("NFC", name), ensure_ascii=False) for name in columns]
    before = "["
    for row in rows:
        yield before + "{" + ", ".join(f"{n}: {_json(v)}" for n, v in zip(names, row, strict=True)) + "}"
        before = ","
    yield "[]" if before == "[" else "]"


FORMATS: dict[str, Callable[[Sequence[str], Sequence[str], Iterable[Sequence[Any]]], Iterator[str]]] = {
    "table": as_table,
    "csv": as_csv,
    "json": as_json,
}


def _is_number(kind: str) -> bool:
    return kind.startswith(("decimal", "integer", "bigint", "double", "real", "smallint", "tinyint"))


def _for_people(value: Any) -> str:
    if value is None:
        return "—"
    if isinstance(value, bool):
        return "có" if value else "không"
    if isinstance(value, datetime) and value.tzinfo is not None:
        local = value.astimezone(LOCAL)
        return local.strftime("%Y-%m-%d %H:%M:%S") + (f".{local.microsecond // 1000:03d}" if local.microsecond else "")
    if isinstance(value, list | tuple | dict):
        return _json(value)
    text = unicodedata.normalize("NFC", str(value))
    # A control character would break the line or move the cursor.
    return "".join(" " if unicodedata.category(c) == "Cc" else c for c in text)


def _for_programs(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return _iso(value)
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, list | tuple | dict):
        return _json(value)
    return unicodedata.normalize("NFC", str(value))


def _iso(value: datetime) -> str:
    if value.tzinfo is None:
        return value.isoformat()
    return value.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def _json(value: Any) -> str:
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        # JSON has no such numbers.
        return "null"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_json(str(k))}: {_json(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_json(item) for item in value) + "]"
    if value is None or isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, datetime):
        return json.dumps(_iso(value))
    if isinstance(value, date):
        return json.dumps(value.isoformat())
    return json.dumps(unicodedata.normalize("NFC", str(value)), ensure_ascii=False)
