"""How a department writes a file: declared in a contract, never guessed. Pure; the readers are in the ingestion.

A file of a department says neither its encoding nor whether `1.234` is a thousand: the same bytes can be read in two
ways, and both give a table that looks right. What is not declared here is therefore refused, with a sentence that names
the key to write.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from pipelines.contracts.base import Model, Name

Format = Literal["csv", "xlsx", "json", "ndjson", "parquet"]
EXTENSIONS: Mapping[Format, tuple[str, ...]] = {
    "csv": (".csv", ".txt", ".tsv"),
    "xlsx": (".xlsx",),
    "json": (".json",),
    "ndjson": (".ndjson", ".jsonl"),
    "parquet": (".parquet",),
}
"""Format → how the names of such files end; those of text may have `.gz` behind it."""
PACKED = ".gz"
PACKABLE: frozenset[Format] = frozenset({"csv", "json", "ndjson"})

SERIAL = "excel"
"""Instead of a pattern: days since the beginning of the spreadsheet's calendar."""
ISO = (
    "yyyy-MM-dd",
    "yyyy-MM-dd'T'HH:mmXXX",
    "yyyy-MM-dd'T'HH:mm:ssXXX",
    "yyyy-MM-dd'T'HH:mm:ss.SXXX",
    "yyyy-MM-dd HH:mm:ssXXX",
    "yyyy-MM-dd HH:mm:ss.SXXX",
    "yyyy-MM-dd'T'HH:mm",
    "yyyy-MM-dd'T'HH:mm:ss",
    "yyyy-MM-dd'T'HH:mm:ss.S",
    "yyyy-MM-dd HH:mm:ss",
    "yyyy-MM-dd HH:mm:ss.S",
)
"""What is read as a date or time where a layout declares no pattern: the forms that mean one thing only."""

_TOKENS: Mapping[str, str] = {
    "yyyy": r"(?P<year>[0-9]{4})",
    "MM": r"(?P<month>[0-9]{2})",
    "M": r"(?P<month>[0-9]{1,2})",
    "dd": r"(?P<day>[0-9]{2})",
    "d": r"(?P<day>[0-9]{1,2})",
    "HH": r"(?P<hour>[0-9]{2})",
    "H": r"(?P<hour>[0-9]{1,2})",
    "mm": r"(?P<minute>[0-9]{2})",
    "ss": r"(?P<second>[0-9]{2})",
    "S": r"(?P<fraction>[0-9]{1,6})",
    "XXX": r"(?P<zone>Z|[+-][0-9]{2}:[0-9]{2})",
}
_PARTS = re.compile(r"'([^']*)'|([A-Za-z])\2*|.", re.DOTALL)
_DAY = ("year", "month", "day")
_IN_BRACES = re.compile(r"\{([^{}]*)\}")
_ONLY_IN: Mapping[str, frozenset[Format]] = {
    "delimiter": frozenset({"csv"}),
    "quote": frozenset({"csv"}),
    "sheet": frozenset({"xlsx"}),
    "header_rows": frozenset({"csv", "xlsx"}),
    "footer": frozenset({"csv", "xlsx"}),
    "ends_with_line_break": frozenset({"csv", "ndjson"}),
}


def date_regex(pattern: str) -> str:
    """A pattern of dates (`dd/MM/yyyy HH:mm`) as a regular expression with named groups, for RE2 and Python alike.

    Raises:
        ValueError: no such pattern; the text says what is wrong.
    """
    found: list[str] = []
    text = ""
    for match in _PARTS.finditer(pattern):
        part = match[0]
        if match[2] is None:
            text += re.escape(match[1] if match[1] is not None else part)
            continue
        if part == "yy":
            raise ValueError(f"{pattern!r}: the century of a year of two digits would be a guess; write yyyy")
        if part not in _TOKENS:
            raise ValueError(f"{pattern!r}: {part} is none of {', '.join(_TOKENS)}; text stands in '…'")
        text += _TOKENS[part]
        found.append(_TOKENS[part].split("<")[1].split(">")[0])
    if len(set(found)) < len(found):
        raise ValueError(f"{pattern!r}: a part stands twice")
    if not set(_DAY) <= set(found):
        raise ValueError(f"{pattern!r}: day, month and year (yyyy) are needed")
    if ("minute" in found) != ("hour" in found) or ("second" in found and "hour" not in found):
        raise ValueError(f"{pattern!r}: a time has at least hours and minutes")
    if ("fraction" in found and "second" not in found) or ("zone" in found and "hour" not in found):
        raise ValueError(f"{pattern!r}: a fraction needs seconds, a zone needs a time")
    return text


class Numbers(Model):
    """How numbers are written in text.

    `thousands: " "` means a blank of any width. A suffix (`đ`, `%`, a no-break space) is cut off; the number stays as
    it is written.
    """

    decimal: Literal[".", ","] = "."
    thousands: Literal[".", ",", " ", "'"] | None = None
    suffixes: tuple[Annotated[str, Field(min_length=1, max_length=10)], ...] = ()

    @model_validator(mode="after")
    def _tells_them_apart(self) -> Numbers:
        if self.decimal == self.thousands:
            raise ValueError(f"{self.decimal!r} cannot part the thousands and the decimals")
        for suffix in self.suffixes:
            if any(sign.isdigit() or sign in "+-.,'" for sign in suffix):
                raise ValueError(f"the suffix {suffix!r} could be part of a number")
        return self


class Footer(Model):
    """Where the table ends: at the first row whose first cell with content begins with one of these texts (compared
    as headings are), or at the first blank row. What stands there and below is no part of the table.
    """

    begins_with: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    blank_row: bool = False

    @model_validator(mode="after")
    def _says_something(self) -> Footer:
        if not self.begins_with and not self.blank_row:
            raise ValueError("say with which texts a footer begins, or `blank_row: true`")
        return self


class FileLayout(Model):
    """How the files of one delivery are written; `name` is what they are called, `*` for any text and the date of the
    delivery in braces: `DS_CSKCB_{ddMMyyyy}*.xlsx`.

    `header_rows` counts rows as a spreadsheet shows them, from 1; the data begin below the last one. `columns` maps
    headings to columns of the source where the heading is neither the column's name nor its Vietnamese title.
    `dates` are the patterns in use (none: ISO 8601 alone), `excel` among them allows the numbers of a calendar that
    begins in `date_system`; a workbook knows its own. `nulls` are texts that mean an unknown value, beside the empty
    cell. `ends_with_line_break` says that a file without one is not whole. `most_bytes` bounds the unpacked file.
    """

    format: Format
    encoding: Literal["utf-8", "windows-1258", "tcvn3"] = "utf-8"
    delimiter: Literal[",", ";", "\t", "|"] = ","
    quote: Literal['"', "'"] | None = '"'
    number: Numbers | None = None
    dates: tuple[str, ...] = ()
    date_system: Literal[1900, 1904] = 1900
    time_zone: str | None = None
    sheet: str | None = None
    header_rows: tuple[Annotated[int, Field(ge=1, le=1_000)], ...] = Field(default=(1,), min_length=1)
    footer: Footer | None = None
    columns: Mapping[str, Name] = Field(default_factory=dict)
    nulls: tuple[str, ...] = ()
    yes: tuple[str, ...] = ("true", "1")
    no: tuple[str, ...] = ("false", "0")
    name: str | None = None
    ends_with_line_break: bool = False
    most_bytes: int = Field(default=8 * 1024**3, ge=1)

    @field_validator("dates")
    @classmethod
    def _are_patterns(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            if pattern != SERIAL:
                date_regex(pattern)
        return patterns

    @field_validator("time_zone")
    @classmethod
    def _is_a_zone(cls, name: str | None) -> str | None:
        try:
            if name is not None:
                ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"{name!r} is no time zone; write one such as Asia/Ho_Chi_Minh") from None
        return name

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            _name_regex(pattern)
        return pattern

    @model_validator(mode="after")
    def _fits_the_format(self) -> FileLayout:
        for key, formats in _ONLY_IN.items():
            if key in self.model_fields_set and self.format not in formats:
                raise ValueError(f"a file of format {self.format} has no `{key}`")
        if self.encoding != "utf-8" and self.format != "csv" and (self.format, self.encoding) != ("xlsx", "tcvn3"):
            hint = "; a workbook typed in .Vn fonts is tcvn3" if self.format == "xlsx" else ""
            raise ValueError(f"{self.format} is not written in {self.encoding}{hint}")
        if list(self.header_rows) != sorted(set(self.header_rows)):
            raise ValueError("header_rows are row numbers in ascending order")
        headings = [same_heading(text) for text in self.columns]
        if not all(headings) or len(set(headings)) < len(headings):
            raise ValueError("`columns` names a heading twice (case, blanks and Unicode forms do not count), or none")
        if {same_heading(text) for text in self.yes} & {same_heading(text) for text in self.no}:
            raise ValueError("a text means both yes and no")
        return self

    @model_serializer(mode="wrap")
    def _of_the_format(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the keys that a file of this format has not: what is written can be read again."""
        said: dict[str, Any] = written(self)
        return {key: value for key, value in said.items() if self.format in _ONLY_IN.get(key, {self.format})}

    def date_of(self, name: str) -> date | None:
        """The date in a file's name; None when the layout expects none.

        Raises:
            ValueError: the name is not what `name` says, or has no date of the calendar.
        """
        if self.name is None:
            return None
        match = re.fullmatch(_name_regex(same_heading(self.name, fold=False)), same_heading(name, fold=False))
        if match is None:
            raise ValueError(f"the name does not read as {self.name}")
        parts = match.groupdict()
        return date(*(int(parts[part]) for part in _DAY)) if parts else None


def same_heading(text: str, *, fold: bool = True) -> str:
    """A text as headings are compared: NFC, single blanks, and without regard to case."""
    plain = " ".join(unicodedata.normalize("NFC", text).split())
    return unicodedata.normalize("NFC", plain.casefold()) if fold else plain


def _name_regex(pattern: str) -> str:
    """A pattern of names as a regular expression.

    Raises:
        ValueError: more than one date, or no date within the braces.
    """
    dates = _IN_BRACES.findall(pattern)
    if len(dates) > 1:
        raise ValueError(f"{pattern!r}: a name has one date in braces at most")
    if "/" in pattern or "\\" in pattern:
        raise ValueError(f"{pattern!r}: a name, no path")
    before, _, after = pattern.partition(f"{{{dates[0]}}}") if dates else (pattern, "", "")
    text = ".*".join(re.escape(part) for part in before.split("*"))
    if not dates:
        return text
    return text + date_regex(dates[0]) + ".*".join(re.escape(part) for part in after.split("*"))
