"""What a driver gives is exact or text, and the text is what the database would write."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.ingestion.databases.values import INSTANT, exact, instants, localised
from pipelines.landing.arrow import kernels as pc

DAY_US = 86_400_000_000
FROM_2000 = 10_957


def dates(*days: int | None) -> Any:
    return pc.cast(pa.array(days, pa.int32()), pa.date32())


def times(*micros: int | None, kind: pa.DataType = INSTANT) -> Any:
    return pc.cast(pa.array(micros, pa.int64()), kind)


def test_good_values_stay_what_they_are() -> None:
    first, last = dates(-719_162, None, 2_932_896), times(-719_162 * DAY_US, None, 2_932_897 * DAY_US - 1)
    for column in (first, last, pa.array([1.5, None]), pa.array(["NaN"]), pa.array([2**63 - 1]), pa.array([True])):
        assert exact(column) is column
    assert first.to_pylist() == [date.min, None, date.max]
    assert last.to_pylist() == [datetime.min.replace(tzinfo=UTC), None, datetime.max.replace(tzinfo=UTC)]


@pytest.mark.parametrize(
    ("days", "text"),
    [
        # as PostgreSQL 18 writes them; infinity is what ADBC makes of the two ends of the range
        (-2_147_472_692, "infinity"),
        (-2_147_472_691, "-infinity"),
        (6_594_454, "20025-01-01"),
        (2_932_897, "10000-01-01"),
        (-719_163, "0001-12-31 BC"),
        (-2_180_132, "4000-01-01 BC"),
        (-735_160, "0044-03-15 BC"),
    ],
)
def test_a_date_that_no_contract_holds_is_text(days: int, text: str) -> None:
    assert exact(dates(0, days, None)).to_pylist() == ["1970-01-01", text, None]


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (-9_222_425_352_054_775_809, "infinity"),
        (-9_222_425_352_054_775_808, "-infinity"),
        (6_594_454 * DAY_US, "20025-01-01 00:00:00"),
        (6_594_454 * DAY_US + 3_723_500_000, "20025-01-01 01:02:03.5"),
        (-719_162 * DAY_US - 1, "0001-12-31 23:59:59.999999 BC"),
    ],
)
def test_an_instant_that_no_contract_holds_is_text(micros: int, text: str) -> None:
    zoned = text if "infinity" in text else text.replace(" BC", "+00 BC") if "BC" in text else f"{text}+00"
    assert exact(times(micros)).to_pylist() == [zoned]
    assert exact(times(micros, kind=pa.timestamp("us"))).to_pylist() == [text]
    good, bad = exact(times(1, micros)).to_pylist()
    assert bad == zoned and pc.cast(pa.array([good]), INSTANT)[0].value == 1


@given(st.lists(st.one_of(st.none(), st.dates()), min_size=1))
def test_a_bad_date_changes_no_good_one(days: list[date | None]) -> None:
    column = pa.concat_arrays([pa.array(days, pa.date32()), dates(6_594_454)])
    assert pc.cast(exact(column).slice(0, len(days)), pa.date32()).to_pylist() == days


@given(st.lists(st.one_of(st.none(), st.datetimes(timezones=st.just(UTC))), min_size=1))
def test_a_bad_instant_changes_no_good_one(at: list[datetime | None]) -> None:
    column = pa.concat_arrays([pa.array(at, INSTANT), times(6_594_454 * DAY_US)])
    assert pc.cast(exact(column).slice(0, len(at)), INSTANT).to_pylist() == at


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_without_end_is_text(value: float) -> None:
    found = exact(pa.array([0.1, value, None])).to_pylist()
    assert found == ["0.1", str(value), None]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_bad_number_changes_no_good_one(value: float) -> None:
    text = exact(pa.array([value, float("nan")])).slice(0, 1)
    assert pc.cast(text, pa.float64())[0].as_py() == value


def test_a_type_of_a_driver_becomes_what_it_is_stored_as() -> None:
    stored = pa.array(["1.50", "nan", None])
    column = pa.ExtensionArray.from_storage(pa.opaque(pa.string(), "numeric", "PostgreSQL"), stored)
    assert exact(column).equals(stored)


def test_instants_say_their_zone() -> None:
    found = instants(pa.array(["2025-10-27 20:00:00.5", None, "0000-00-00 00:00:00"]))
    assert found.to_pylist() == ["2025-10-27 20:00:00.5+00:00", None, "0000-00-00 00:00:00+00:00"]


def test_times_of_a_zone_are_instants() -> None:
    at = datetime(2025, 10, 27, 20, 0, 0, 500)
    instant = datetime(2025, 10, 27, 13, 0, 0, 500, UTC)
    for column in (pa.array([at, None]), pa.array(["2025-10-27 20:00:00.0005", None])):
        found = localised(column, "Asia/Ho_Chi_Minh")
        assert found.type == INSTANT and found.to_pylist() == [instant, None]


def test_a_time_that_is_none_stays_as_it_came() -> None:
    """Europe's clocks skip an hour in March and repeat one in October."""
    came = ["2025-03-30 02:30:00", "2025-07-01 12:00:00", "2025-10-26 02:30:00", "0000-00-00 00:00:00", None]
    found = localised(pa.array(came), "Europe/Berlin")
    assert found.type == pa.string()
    assert [found[place].as_py() for place in (0, 2, 3, 4)] == [came[0], came[2], came[3], None]
    assert pc.cast(found.slice(1, 1), INSTANT).to_pylist() == [datetime(2025, 7, 1, 10, tzinfo=UTC)]
    typed = localised(pa.array([datetime(2025, 3, 30, 2, 30), datetime(2025, 7, 1, 12)]), "Europe/Berlin")
    assert pc.cast(typed.slice(1, 1), INSTANT).to_pylist() == [datetime(2025, 7, 1, 10, tzinfo=UTC)]
    assert pa.types.is_string(typed.type)
    with pytest.raises(pa.ArrowInvalid):
        pc.cast(typed.slice(0, 1), INSTANT)


def test_the_edge_of_the_calendar_in_another_zone() -> None:
    """The first hours of the year 1 in Huế are of the year before in UTC: no instant that a contract holds."""
    zone = "Asia/Ho_Chi_Minh"
    (text,) = localised(pa.array([datetime(1, 1, 1)]), zone).to_pylist()
    assert text.endswith("BC") or "BC" in text
    (last,) = localised(pa.array([datetime.max]), zone).to_pylist()
    assert last == datetime.max.replace(tzinfo=UTC) - timedelta(hours=7)
