"""What a layout may declare, and which sentence a wrong one gets."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from pydantic import ValidationError

from pipelines.contracts.file_layout import FileLayout, date_regex, same_heading


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"format": "json", "encoding": "tcvn3"}, "json is not written in tcvn3"),
        ({"format": "xlsx", "encoding": "windows-1258"}, "a workbook typed in .Vn fonts is tcvn3"),
        ({"format": "json", "sheet": "Sheet1"}, "a file of format json has no `sheet`"),
        ({"format": "parquet", "header_rows": (1,)}, "a file of format parquet has no `header_rows`"),
        ({"format": "csv", "dates": ("dd/MM/yy",)}, "the century of a year of two digits would be a guess"),
        ({"format": "csv", "dates": ("dd/MM",)}, r"day, month and year \(yyyy\) are needed"),
        ({"format": "csv", "dates": ("dd/MM/yyyy mm",)}, "a time has at least hours and minutes"),
        ({"format": "csv", "dates": ("dd/MM/yyyy aa",)}, "aa is none of"),
        ({"format": "csv", "time_zone": "Huế"}, "is no time zone"),
        ({"format": "csv", "number": {"decimal": ",", "thousands": ","}}, "cannot part the thousands"),
        ({"format": "csv", "number": {"suffixes": ("1",)}}, "could be part of a number"),
        ({"format": "csv", "header_rows": (4, 3)}, "in ascending order"),
        ({"format": "csv", "columns": {"Mã": "ma", " MÃ ": "ma_so"}}, "names a heading twice"),
        ({"format": "csv", "yes": ("Có",), "no": ("có",)}, "means both yes and no"),
        ({"format": "csv", "footer": {}}, "say with which texts a footer begins"),
        ({"format": "csv", "name": "a/{ddMMyyyy}.csv"}, "a name, no path"),
        ({"format": "csv", "name": "{dd}{MM}.csv"}, "one date in braces at most"),
        ({"format": "csv", "delimeter": ";"}, "Extra inputs are not permitted"),
    ],
)
def test_a_wrong_declaration_gets_a_sentence(keys: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        FileLayout(**keys)


def test_the_date_of_a_delivery_stands_in_its_name() -> None:
    layout = FileLayout(format="xlsx", name="Báo cáo_{ddMMyyyy}*.xlsx")
    assert layout.date_of("Báo cáo_31122025 (bản 2).xlsx") == date(2025, 12, 31)
    for wrong in ("Báo cáo_31022025.xlsx", "báo cáo_1.xlsx", "x31122025.xlsx"):
        with pytest.raises(ValueError, match=r"does not read|day is out of range"):
            layout.date_of(wrong)
    assert FileLayout(format="csv", name="gia_*.csv").date_of("gia_2.csv") is None
    assert FileLayout(format="csv").date_of("x.csv") is None


def test_a_literal_of_a_pattern_is_no_part_of_the_expression() -> None:
    assert date_regex("dd.MM.yyyy'T'HH:mm").count(r"\.") == 2


def test_headings_are_compared_without_case_blanks_and_forms() -> None:
    assert same_heading("  MÃ \n  CƠ SỞ") == same_heading("mã cơ sở") == same_heading("ma\u0303 cơ sở")


@pytest.mark.parametrize("format_", ["csv", "xlsx", "json", "ndjson", "parquet"])
def test_what_is_written_can_be_read_again(format_: str) -> None:
    layout = FileLayout.model_validate({"format": format_, "name": "DS_{yyyyMMdd}*", "dates": ["dd/MM/yyyy"]})
    assert FileLayout.model_validate(layout.model_dump(mode="json")) == layout
