"""From the text of cells to values: numbers with decimal commas, dates by declared patterns, and formulas refused.

Everything is done on whole columns. Text stays text; a number becomes the text that a cast understands (its digits are
not touched, so nothing is lost); a date, an instant or a yes becomes a value of Arrow. What cannot be read is NULL and
a fault that says why.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import pyarrow as pa

from pipelines.contracts.file_layout import ISO, SERIAL, FileLayout, Numbers, date_regex, same_heading
from pipelines.contracts.logical_types import LogicalType
from pipelines.ingestion.files.batch import ENCODING, FORMULA, TYPE, Fault
from pipelines.ingestion.files.encodings import DAMAGED
from pipelines.landing.arrow import Bools, Column, bools, integers, nulls
from pipelines.landing.arrow import kernels as pc

_WHOLE_DAY_US = 86_400_000_000
INSTANT = pa.timestamp("us", tz="UTC")
_FORMULA = "^[=@\\t\\r]"
_BLANKS = " \u00a0\u2007\u2009\u202f"
_PLAIN = r"^[+-]?[0-9]+(?:\.[0-9]+)?$"
_SCIENTIFIC = r"^[+-]?[0-9]+(?:[.,][0-9]+)?[eE][+-]?[0-9]+$"
_THOUSAND_OR_DECIMAL = r"^[+-]?[1-9][0-9]{0,2}[.,][0-9]{3}$"
_EPOCH_DAYS = {
    1900: np.datetime64("1899-12-30", "D").astype(np.int64),
    1904: np.datetime64("1904-01-01", "D").astype(np.int64),
}
_MARCH_1900 = 61
"""The first serial of the calendar of 1900 that is right: it holds a 29/02/1900 that never was."""
_LAST_DAY = np.datetime64("9999-12-31", "D").astype(np.int64)


@dataclass(frozen=True)
class Wanted:
    """A column of the source that is read: its name, what the contract's field is, and the field's Vietnamese title."""

    name: str
    type: LogicalType
    title: str = ""


@dataclass
class Values:
    """A column's values, and what is wrong with the rows where they are NULL for that reason."""

    column: Column
    faults: list[Fault] = field(default_factory=list)


def stored_as(type_: LogicalType) -> pa.DataType:
    """The Arrow type in which values of a field leave the readers of text."""
    return pa.string() if type_.is_numeric or type_.name == "string" else type_.arrow


def from_text(wanted: Wanted, text: Column, layout: FileLayout, *, is_clean: bool = True) -> Values:
    """The values of a text column; an empty cell is no value. `is_clean` says that no byte was lost in decoding."""
    faults = []
    if not is_clean:
        damaged = bools(pc.match_substring_regex(text, DAMAGED))
        if damaged.any():
            detail = f"a byte is no character of {layout.encoding}, or was lost before the file came"
            faults.append(Fault(damaged, f"{ENCODING}:{wanted.name}", detail))
            text = _without(text, damaged)
    if wanted.type.name == "string":
        values = _strings(wanted, _known(text, layout))
    elif wanted.type.is_numeric:
        values = _numbers(wanted, _known(pc.utf8_trim_whitespace(text), layout), layout.number)
    elif wanted.type.name == "boolean":
        values = _booleans(wanted, _known(pc.utf8_trim_whitespace(text), layout), layout)
    else:
        values = _dates(wanted, _known(pc.utf8_trim_whitespace(text), layout), layout)
    values.faults[:0] = faults
    return values


def _known(text: Column, layout: FileLayout) -> Column:
    """NULL for the empty text and for those that mean nothing is known."""
    nothing = pa.array(["", *layout.nulls], pa.string())
    hits = pc.is_in(text, value_set=nothing)
    return pc.if_else(hits, pa.scalar(None, pa.string()), text) if pc.any(hits).as_py() else text


def _without(column: Column, mask: Bools) -> Column:
    return pc.if_else(pa.array(mask), pa.scalar(None, column.type), column) if mask.any() else column


def _given(column: Column) -> Bools:
    return bools(pc.is_valid(column))


def _type(wanted: Wanted, rows: Bools, detail: str) -> list[Fault]:
    return [Fault(rows, f"{TYPE}:{wanted.name}", detail)] if rows.any() else []


def _strings(wanted: Wanted, text: Column) -> Values:
    formula = bools(pc.match_substring_regex(text, _FORMULA))
    if not formula.any():
        return Values(text)
    detail = "the text begins with =, @, a tab or a line end: a spreadsheet would run it as a formula"
    return Values(_without(text, formula), [Fault(formula, f"{FORMULA}:{wanted.name}", detail)])


@lru_cache(maxsize=64)
def _suffix(numbers: Numbers) -> str:
    """What is cut off behind a number, and blanks before it."""
    suffixes = "|".join(re.escape(suffix) for suffix in numbers.suffixes)
    return f"(?:[{_BLANKS}]*(?:{suffixes}))+$"


def _numbers(wanted: Wanted, text: Column, declared: Numbers | None) -> Values:
    if declared is None or (declared.thousands is None and declared.decimal == "." and not declared.suffixes):
        return _undeclared(wanted, text, is_declared=declared is not None)
    bare = text
    if declared.suffixes:
        bare = pc.utf8_trim_whitespace(pc.replace_substring_regex(bare, _suffix(declared), ""))
    part = re.escape(declared.decimal)
    form = f"[0-9]+(?:{part}[0-9]+)?"
    if declared.thousands is not None:
        mark = f"[{_BLANKS}]" if declared.thousands == " " else re.escape(declared.thousands)
        form = f"(?:[0-9]{{1,3}}(?:{mark}[0-9]{{3}})+(?:{part}[0-9]+)?|{form})"
        fits = bools(pc.match_substring_regex(bare, f"^[+-]?{form}$"))
        bare = pc.replace_substring_regex(bare, mark, "")
    else:
        fits = bools(pc.match_substring_regex(bare, f"^[+-]?{form}$"))
    wrong = _given(text) & ~fits
    plain = _without(bare, wrong)
    if declared.decimal == ",":
        plain = pc.replace_substring(plain, ",", ".")
    thousands = f"{declared.thousands!r} for thousands" if declared.thousands else "no mark for thousands"
    detail = f"no number as declared: {declared.decimal!r} for decimals, {thousands}"
    return Values(_bare_sign(plain), _type(wanted, wrong, detail))


def _undeclared(wanted: Wanted, text: Column, *, is_declared: bool) -> Values:
    """Numbers with a decimal point at most; where none is declared, `1.234` could also be a thousand."""
    fits = bools(pc.match_substring_regex(text, _PLAIN))
    if wanted.type.name == "double":
        fits |= bools(pc.match_substring_regex(text, _SCIENTIFIC)) & ~bools(pc.match_substring(text, ","))
    unclear = np.zeros(len(text), bool)
    if not is_declared:
        unclear = bools(pc.match_substring_regex(text, _THOUSAND_OR_DECIMAL))
    wrong = _given(text) & ~fits & ~unclear
    faults = _type(wanted, unclear, "a thousand or a decimal: declare `number: {decimal, thousands}` in the layout")
    faults += _type(wanted, wrong, "no number with a decimal point; other forms are declared in `number` of the layout")
    return Values(_bare_sign(_without(text, wrong | unclear)), faults)


def _bare_sign(text: Column) -> Column:
    """Arrow casts no number that begins with a plus."""
    return pc.replace_substring_regex(text, r"^\+", "")


def _booleans(wanted: Wanted, text: Column, layout: FileLayout) -> Values:
    plain = pc.utf8_lower(text)
    yes, no = (pa.array([same_heading(word) for word in words], pa.string()) for words in (layout.yes, layout.no))
    is_yes, is_no = bools(pc.is_in(plain, value_set=yes)), bools(pc.is_in(plain, value_set=no))
    is_yes, is_no = is_yes & _given(text), is_no & _given(text)
    column = pc.if_else(pa.array(is_yes | is_no), pa.array(is_yes), pa.scalar(None, pa.bool_()))
    wrong = _given(text) & ~is_yes & ~is_no
    return Values(column, _type(wanted, wrong, f"neither {'/'.join(layout.yes)} nor {'/'.join(layout.no)}"))


class _Moments:
    """Days and times of day of a column, filled pattern by pattern."""

    def __init__(self, count: int) -> None:
        self.days = np.zeros(count, np.int64)
        self.day_us = np.zeros(count, np.int64)
        self.offset_us = np.zeros(count, np.int64)
        self.is_read, self.has_time, self.has_zone = (np.zeros(count, bool) for _ in range(3))
        self.is_impossible = np.zeros(count, bool)

    def take(self, parts: dict[str, Column], fits: Bools) -> None:
        """What a pattern found in the rows that it fits."""
        new = fits & ~self.is_read
        number = {name: integers(_digits(column, fits)) for name, column in parts.items() if name not in _AS_TEXT}
        self.is_read |= new
        years, months, days = number["year"], number["month"], number["day"]
        right = (years >= 1) & (months >= 1) & (months <= 12) & (days >= 1) & (days <= _month_days(years, months))
        first = (np.where(right, years, 1970) - 1970) * 12 + np.where(right, months, 1) - 1
        number_of_day = first.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) + days - 1
        self.days[new] = number_of_day[new]
        if "hour" in number:
            zero = np.zeros(len(fits), np.int64)
            hours, minutes, seconds = number["hour"], number["minute"], number.get("second", zero)
            right &= (hours < 24) & (minutes < 60) & (seconds < 60)
            fraction = integers(_digits(_microseconds(parts["fraction"]), fits)) if "fraction" in parts else zero
            self.day_us[new] = ((hours * 60 + minutes) * 60 + seconds)[new] * 1_000_000 + fraction[new]
            self.has_time |= new
        if "zone" in parts:
            offsets, known = _offsets(parts["zone"], fits)
            right &= known
            self.offset_us[new] = offsets[new]
            self.has_zone |= new
        self.is_impossible |= new & ~right

    def take_serials(self, text: Column, date_system: int) -> None:
        """Numbers of days since the calendar of a spreadsheet began, with a fraction for the time of day."""
        fits = bools(pc.match_substring_regex(text, r"^[0-9]{1,7}(?:\.[0-9]+)?$")) & ~self.is_read
        if not fits.any():
            return
        serials = pc.fill_null(pc.cast(_without(text, ~fits), pa.float64()), 0.0).to_numpy(zero_copy_only=False)
        whole = np.floor(serials).astype(np.int64)
        # A serial is a binary fraction of a day: what was typed are milliseconds at best.
        day_us = np.rint((serials - whole) * 86_400_000).astype(np.int64) * 1_000
        days = whole + _EPOCH_DAYS[date_system]
        self.is_read |= fits
        self.days[fits], self.day_us[fits] = days[fits], day_us[fits]
        self.has_time |= fits
        too_early = whole < (_MARCH_1900 if date_system == 1900 else 0)
        self.is_impossible |= fits & (too_early | (days > _LAST_DAY))


_AS_TEXT = frozenset({"zone", "fraction"})


def _digits(column: Column, fits: Bools) -> Column:
    return pc.cast(_without(column, ~fits), pa.int64())


def _microseconds(fraction: Column) -> Column:
    return pc.utf8_rpad(fraction, 6, "0")


def _month_days(years: np.ndarray[tuple[int], np.dtype[np.int64]], months: Column) -> Column:
    lengths = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
    is_leap = (years % 4 == 0) & ((years % 100 != 0) | (years % 400 == 0))
    return lengths[np.clip(months, 0, 12)] + (is_leap & (months == 2))


def _offsets(zone: Column, fits: Bools) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], Bools]:
    """µs that a zone is ahead of UTC, and whether there is such a zone."""
    written = pc.if_else(pc.equal(zone, "Z"), "+00:00", zone)
    hours = integers(_digits(pc.utf8_slice_codeunits(written, 1, 3), fits))
    minutes = integers(_digits(pc.utf8_slice_codeunits(written, 4, 6), fits))
    signs = np.where(bools(pc.starts_with(written, "-")), -1, 1)
    return signs * (hours * 60 + minutes) * 60_000_000, (hours <= 14) & (minutes < 60)


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> str:
    return f"^(?:{date_regex(pattern)})$"


def _dates(wanted: Wanted, text: Column, layout: FileLayout) -> Values:
    """A date, or an instant: local times by the layout's zone."""
    moments = _Moments(len(text))
    given = _given(text)
    for pattern in layout.dates or ISO:
        if not (given & ~moments.is_read).any():
            break
        if pattern == SERIAL:
            moments.take_serials(text, layout.date_system)
            continue
        found = pc.extract_regex(text, _compiled(pattern))
        fits = bools(pc.is_valid(found))
        if fits.any():
            names = [item.name for item in found.type]
            moments.take({name: pc.struct_field(found, name) for name in names}, fits)
    unread = given & ~moments.is_read
    patterns = ", ".join(layout.dates) if layout.dates else "ISO 8601"
    faults = _type(wanted, unread, f"not written as {patterns}")
    faults += _type(wanted, moments.is_impossible, "there is no such day or time")
    good = moments.is_read & ~moments.is_impossible & given
    is_date = wanted.type.name == "date"
    values = _as_dates(wanted, moments, good) if is_date else _instants(wanted, moments, good, layout)
    values.faults[:0] = faults
    return values


def _as_dates(wanted: Wanted, moments: _Moments, good: Bools) -> Values:
    # Exports write midnight behind a date; any other time belongs to an instant, whose date depends on the zone.
    timed = good & ((moments.day_us != 0) | moments.has_zone)
    column = pa.array(moments.days.astype(np.int32), pa.int32(), mask=~(good & ~timed)).cast(pa.date32())
    return Values(column, _type(wanted, timed, "a time where only a date belongs"))


def _instants(wanted: Wanted, moments: _Moments, good: Bools, layout: FileLayout) -> Values:
    no_time = good & ~moments.has_time
    faults = _type(wanted, no_time, "a date without a time is no instant")
    good = good & ~no_time
    local_us = moments.days * _WHOLE_DAY_US + moments.day_us - moments.offset_us
    local = pa.array(local_us, pa.int64(), mask=~good).cast(pa.timestamp("us"))
    zoned = local.cast(INSTANT) if moments.has_zone.all() else pc.assume_timezone(local, "UTC")
    naive = good & ~moments.has_zone
    if not naive.any():
        return Values(zoned, faults)
    here = at_zone(wanted, _without(local, ~naive), layout)
    column = pc.if_else(pa.array(naive), here.column, zoned)
    return Values(column, faults + here.faults)


def at_zone(wanted: Wanted, local: Column, layout: FileLayout) -> Values:
    """Local times as instants, by the zone that the layout declares."""
    given = _given(local)
    if layout.time_zone is None:
        detail = "a time without a zone is no instant: declare `time_zone` in the layout"
        return Values(nulls(len(local), INSTANT), _type(wanted, given, detail))
    zone = layout.time_zone
    early = pc.assume_timezone(local, zone, ambiguous="earliest", nonexistent="earliest")
    late = pc.assume_timezone(local, zone, ambiguous="latest", nonexistent="latest")
    unclear = given & ~bools(pc.equal(early, late))
    column = _without(early.cast(INSTANT), unclear)
    return Values(column, _type(wanted, unclear, f"this hour came twice or never in {layout.time_zone}"))
