"""What each event does, for the three kinds of tables, against a plain loop."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry
from pipelines.contracts.targets import delta
from pipelines.landing.resolve import EFFECT_NAMES, content_columns, differing, group_ids, resolve

T0 = datetime(2025, 10, 27, tzinfo=UTC)
PRICES = st.sampled_from([Decimal(100), Decimal(200), None])


def _table(dataset: Dataset, rows: list[dict[str, Any]]) -> pa.Table:
    schema = pa.schema([pa.field(f.name, f.type) for f in delta.clean_schema(dataset)])
    return pa.Table.from_pylist(rows, schema=schema)


def _run(dataset: Dataset, batch: list[dict[str, Any]], stored: list[dict[str, Any]]) -> tuple[list[str], Any]:
    found = resolve(dataset, _table(dataset, batch), _table(dataset, stored))
    written = {tuple(batch[i][k] for k in dataset.key): batch[i] for i in [*found.inserts, *found.updates]}
    assert len(written) == len(found.inserts) + len(found.updates), "a key is written twice"
    table = {tuple(row[k] for k in dataset.key): row for row in stored}
    assert not {tuple(batch[i][k] for k in dataset.key) for i in found.inserts} & set(table)
    assert {tuple(batch[i][k] for k in dataset.key) for i in found.updates} <= set(table)
    return [EFFECT_NAMES[e] for e in found.effects], table | written


def _price(offset: int, service: str, price: Decimal | None) -> dict[str, Any]:
    return {
        "facility_id": "F1", "facility_name": "BV", "service_code": service, "service_name": "S", "price_vnd": price,
        "valid_from": T0.date(), "valid_to": None, "raw_partition": 0, "raw_offset": offset, "revision": 0,
        "origin": "observed", "received_at": T0, "disposition": "on_time",
    }  # fmt: skip


@hypothesis_settings(max_examples=200, deadline=None)
@given(events=st.lists(st.tuples(st.sampled_from("ab"), PRICES), max_size=12), held=st.integers(0, 12))
def test_a_sector_row_is_updated_only_when_its_content_changed(registry: Registry, events: Any, held: int) -> None:
    dataset = registry.dataset("med_price")
    rows = [_price(n, service, price) for n, (service, price) in enumerate(events)]
    content = content_columns(dataset)
    table: dict[Any, Any] = {}
    expected = []
    for row in rows:
        key = tuple(row[k] for k in dataset.key)
        before = table.get(key)
        if before is None:
            expected.append("inserted")
        elif row["raw_offset"] > before["raw_offset"] and any(row[c] != before[c] for c in content):
            expected.append("updated")
        else:
            expected.append("unchanged")
            continue
        table[key] = row
    held = min(held, len(rows))
    first, stored = _run(dataset, rows[:held], [])
    second, final = _run(dataset, rows[held:], list(stored.values()))
    assert first + second == expected
    assert final == table
    again, same = _run(dataset, rows, list(final.values()))
    assert same == final and set(again) <= {"unchanged"}


@hypothesis_settings(max_examples=200, deadline=None)
@given(
    events=st.lists(st.tuples(st.sampled_from("ab"), PRICES, st.booleans()), max_size=14),
    cuts=st.lists(st.integers(0, 14), max_size=3),
)
def test_a_deleted_row_is_gone_until_its_key_comes_back(registry: Registry, events: Any, cuts: list[int]) -> None:
    dataset = registry.dataset("med_price")
    rows = [_price(n, service, None if gone else price) for n, (service, price, gone) in enumerate(events)]
    gone = [gone for _, _, gone in events]
    content, table, expected = content_columns(dataset), {}, []
    for row, deletes in zip(rows, gone, strict=True):
        key = tuple(row[k] for k in dataset.key)
        before = table.get(key)
        if deletes:
            expected.append("unchanged" if table.pop(key, None) is None else "deleted")
            continue
        if before is not None and all(row[c] == before[c] for c in content):
            expected.append("unchanged")
            continue
        expected.append("inserted" if before is None else "updated")
        table[key] = row
    held: dict[Any, Any] = {}
    effects = []
    edges = sorted({0, len(rows), *(cut for cut in cuts if cut < len(rows))})
    for start, end in pairwise(edges):
        batch, stored = rows[start:end], list(held.values())
        found = resolve(dataset, _table(dataset, batch), _table(dataset, stored), np.array(gone[start:end], bool))
        effects += [EFFECT_NAMES[e] for e in found.effects]
        keys = [tuple(row[k] for k in dataset.key) for row in batch]
        touched = [keys[i] for i in (*found.inserts, *found.updates, *found.deletes)]
        assert len(set(touched)) == len(touched), "a key is written twice"
        assert {keys[i] for i in (*found.updates, *found.deletes)} <= set(held)
        assert not {keys[i] for i in found.inserts} & set(held)
        held |= {keys[i]: batch[i] for i in (*found.inserts, *found.updates)}
        for i in found.deletes:
            del held[keys[i]]
    assert effects == expected
    assert held == table


def _reading(arrival: int, place: int, revision: int, stage: Decimal) -> dict[str, Any]:
    return {
        "station_id": "71520", "observed_at": T0, "stage_m": stage, "origin": "observed", "revision": revision,
        "received_at": T0 + timedelta(seconds=arrival), "raw_partition": 0, "raw_offset": place,
        "qc_flag": 1, "qc_detail": None, "disposition": "on_time",
    }  # fmt: skip


@hypothesis_settings(max_examples=200, deadline=None)
@given(
    events=st.lists(st.tuples(st.integers(0, 1), PRICES.filter(lambda p: p is not None)), min_size=1, max_size=8),
    resent=st.integers(0, 8),
    until=st.integers(0, 8),
)
def test_what_is_sent_again_takes_nothing_back_wherever_it_stops(
    registry: Registry, events: Any, resent: int, until: int
) -> None:
    dataset = registry.dataset("river_stage")
    rows = [_reading(n, n, revision, stage) for n, (revision, stage) in enumerate(events)]
    _, before = _run(dataset, rows, [])
    again = [{**row, "raw_offset": len(rows) + n} for n, row in enumerate(rows[min(resent, len(rows)) :][:until])]
    _, after = _run(dataset, again, list(before.values()))
    place = {"raw_offset": None}
    assert [{**r, **place} for r in after.values()] == [{**r, **place} for r in before.values()]


def _window(arrival: int, start: int, count: int) -> dict[str, Any]:
    at = T0 + timedelta(minutes=start)
    return {
        "detector_id": "HUE-D01", "lane_no": 1, "window_start_at": at, "window_end_at": at + timedelta(minutes=1),
        "reading_count": count, "vehicle_count": None, "mean_speed_kmh": None, "occupancy_pct": None,
        "travel_time_s": None, "queue_m": None, "origin": "replay", "received_at": T0 + timedelta(seconds=arrival),
    }  # fmt: skip


@hypothesis_settings(max_examples=200, deadline=None)
@given(
    events=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1), st.integers(0, 2)), max_size=12),
    held=st.integers(0, 12),
)
def test_a_derived_row_follows_the_newest_arrival(registry: Registry, events: Any, held: int) -> None:
    dataset = registry.dataset("lane_flow_1min")
    rows = [_window(*event) for event in events]
    table: dict[Any, Any] = {}
    expected = []
    for row in rows:
        key = tuple(row[k] for k in dataset.key)
        before = table.get(key)
        if before is None:
            expected.append("inserted")
        elif row["received_at"] > before["received_at"] or (
            row["received_at"] == before["received_at"] and row != before
        ):
            expected.append("updated")
        else:
            expected.append("unchanged")
            continue
        table[key] = row
    held = min(held, len(rows))
    first, stored = _run(dataset, rows[:held], [])
    second, final = _run(dataset, rows[held:], list(stored.values()))
    assert first + second == expected
    assert final == table


@hypothesis_settings(max_examples=100, deadline=None)
@given(rows=st.lists(st.tuples(st.none() | st.text(max_size=2), st.none() | st.integers(0, 3)), max_size=20))
def test_equal_keys_get_equal_numbers(rows: Any) -> None:
    table = pa.table(
        {"a": pa.array([r[0] for r in rows], pa.string()), "b": pa.array([r[1] for r in rows], pa.int32())}
    )
    ids = group_ids(table, ["a", "b"])
    assert [[x == y for y in rows] for x in rows] == [[bool(x == y) for y in ids] for x in ids]


def test_many_wide_key_columns_do_not_overflow() -> None:
    count = 5000
    columns = {f"k{i}": pa.array([(n * (i + 7)) % count for n in range(count)], pa.int64()) for i in range(7)}
    table = pa.table(columns)
    assert len(set(group_ids(table, list(columns)).tolist())) == count


def test_a_missing_or_undefined_number_equals_itself() -> None:
    numbers = [1.0, 2.0, float("nan"), None]
    table = pa.table({"x": pa.array(numbers, pa.float64())})
    left, right = np.repeat(np.arange(4), 4), np.tile(np.arange(4), 4)
    assert (differing(table, ["x"], left, right) == (left != right)).all()


READINGS = st.tuples(st.integers(0, 3), st.booleans(), st.booleans())
"""A clean record: of which raw record, whether its contract knew `queue_m`, whether it knew `travel_time_s`."""


@hypothesis_settings(max_examples=200, deadline=None)
@given(events=st.lists(READINGS, max_size=10), held=st.integers(0, 10))
def test_of_two_readings_of_one_record_the_one_that_knows_more_wins(
    registry: Registry, events: list[tuple[int, bool, bool]], held: int
) -> None:
    dataset = registry.dataset("lane_minute")
    rows = [
        {
            "detector_id": "D1", "lane_no": 1, "observed_at": T0, "vehicle_count": offset, "revision": 0,
            "raw_partition": 0, "raw_offset": offset, "queue_m": Decimal(offset) if has_queue else None,
            "travel_time_s": Decimal(offset) if has_time else None,
        }
        for offset, has_queue, has_time in events
    ]  # fmt: skip
    expected: list[str] = []
    state: tuple[int, int] | None = None
    for offset, has_queue, has_time in events:
        version = (offset, has_queue + has_time)
        effect = "inserted" if state is None else "updated" if version > state else "unchanged"
        state = version if state is None or version > state else state
        expected.append(effect)
    # Cut into two batches anywhere, the effects are the same.
    first, table = _run(dataset, rows[:held], [])
    second, table = _run(dataset, rows[held:], list(table.values()))
    assert first + second == expected
    for row in table.values():
        assert state == (row["raw_offset"], (row["queue_m"] is not None) + (row["travel_time_s"] is not None))
