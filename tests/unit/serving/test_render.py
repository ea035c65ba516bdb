"""What people and programs get to see of a row."""

import csv
import json
from datetime import UTC, date, datetime
from decimal import Decimal

from rich.cells import cell_len

from pipelines.serving.render import SAMPLE_ROWS, as_csv, as_json, as_table

COLUMNS = ("tên", "stage_m", "observed_at", "is_online", "ngày")
TYPES = ("varchar", "decimal(9,3)", "timestamp(3) with time zone", "boolean", "date")
AT = datetime(2025, 10, 27, 13, 0, tzinfo=UTC)
ROWS = [
    ["Kim Long", Decimal("5.050"), AT, True, date(2025, 10, 27)],
    # Written with combining marks (NFD): must come out composed and one cell per letter.
    ["Phu\u0301 O\u0302\u0301c", Decimal("-0.1"), None, False, None],
]


def test_table_stands_straight_and_shows_local_time():
    header, rule, first, second, count = as_table(COLUMNS, TYPES, iter(ROWS))
    assert "2025-10-27 20:00:00" in first
    assert "Phú Ốc" in second
    assert " có " in first and " không" in second
    start = cell_len(header[: header.index("observed_at")])
    assert cell_len(first[: first.index("2025-10-27 20")]) == start == cell_len(second[: second.index("—")])
    assert set(rule) == {"─", " "}
    assert count == "(2 dòng)"


def test_table_cuts_nothing_after_the_rows_that_set_the_widths():
    rows = [["a"]] * SAMPLE_ROWS + [["một giá trị dài hơn"]]
    lines = list(as_table(("x",), ("varchar",), iter(rows)))
    assert lines[-2] == "một giá trị dài hơn"
    assert lines[-1] == "(1,001 dòng)"


def test_control_characters_do_not_break_a_line():
    lines = list(as_table(("x",), ("varchar",), [["a\nb\x1b[31m"]]))
    assert lines[2] == "a b [31m"


def test_csv_is_utc_and_quoted():
    lines = list(as_csv(COLUMNS, TYPES, [*ROWS, ['nói "vâng", rồi', None, AT.replace(microsecond=123456), None, None]]))
    back = list(csv.reader(lines))
    assert back[1] == ["Kim Long", "5.050", "2025-10-27T13:00:00Z", "true", "2025-10-27"]
    assert back[2][0] == "Phú Ốc"
    assert back[3][:3] == ['nói "vâng", rồi', "", "2025-10-27T13:00:00.123456Z"]


def test_json_is_one_array_with_exact_numbers():
    text = "\n".join(
        as_json(
            (*COLUMNS, "x"),
            (*TYPES, "double"),
            [[*row, value] for row, value in zip(ROWS, (float("nan"), 1.5), strict=True)],
        )
    )
    assert '"stage_m": 5.050' in text
    found = json.loads(text)
    assert found[0]["observed_at"] == "2025-10-27T13:00:00Z"
    assert (found[0]["x"], found[1]["x"], found[1]["tên"]) == (None, 1.5, "Phú Ốc")
    assert json.loads("".join(as_json(COLUMNS, TYPES, []))) == []
