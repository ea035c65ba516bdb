"""Looking rows up by what the log says of files finds what a full scan finds, and replaces what a plain loop would."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipelines.contracts.registry import Registry
from pipelines.landing.apply import IS_DELETE, Quality, Silver, apply
from pipelines.landing.landed import KnownKeys
from pipelines.landing.lookup import find, not_plain
from pipelines.landing.resolve import content_columns
from pipelines.landing.spec import TableSpec
from pipelines.landing.tables import ensure_table, silver_spec
from pipelines.runtime.settings import Settings

T0 = datetime(2025, 10, 27, 0, 0, tzinfo=UTC)
SLOW = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}

# Texts longer than what a log keeps of them, that differ only behind it, or whose order depends on the encoding.
LONG = "Phường Thuận Hoá, thành phố Huế; " * 4
TEXTS = st.sampled_from(["", "a", "b", "ba", "é", "e\u0301", "\uffff", "𠮷", LONG, LONG + "1", LONG + "2", "~" * 80])
INSTANTS = st.builds(
    lambda day, micros: T0 + timedelta(days=day, microseconds=micros),
    st.integers(0, 3),
    st.sampled_from([0, 1, 999, 1000, 1001, 456_789]),
)
NUMBERS = st.integers(-3, 3)
KEYS = st.tuples(TEXTS | st.none(), INSTANTS, NUMBERS)
SCHEMA = pa.schema(
    [
        pa.field("name", pa.string()),
        pa.field("at", pa.timestamp("us", tz="UTC")),
        pa.field("number", pa.int32()),
        pa.field("row", pa.int64()),
        pa.field("day", pa.date32()),
    ]
)


def _rows(keys: Sequence[Any], first: int = 0) -> pa.Table:
    rows = [
        {"name": name, "at": at, "number": number, "row": first + i, "day": at.date()}
        for i, (name, at, number) in enumerate(keys)
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


@hypothesis_settings(max_examples=60, **SLOW)
@given(
    files=st.lists(st.lists(KEYS, min_size=1, max_size=6), max_size=5),
    wanted=st.lists(KEYS, max_size=6),
    key=st.sampled_from([("name",), ("at",), ("number",), ("name", "at"), ("name", "at", "number"), ("day", "name")]),
    is_partitioned=st.booleans(),
)
def test_a_look_up_finds_what_a_full_scan_finds(
    fresh: Callable[[], Settings], files: Any, wanted: Any, key: tuple[str, ...], is_partitioned: bool
) -> None:
    settings = fresh()
    spec = TableSpec("silver", "things", SCHEMA, ("day",) if is_partitioned else ())
    table, root = ensure_table(settings, spec), settings.table_path("silver", "things")
    for number, keys in enumerate(files):
        write_deltalake(table, _rows(keys, 100 * number), mode="append")
    asked = _rows(wanted)
    found = find(table, root, key, ["row"], asked)

    whole = table.to_pyarrow_table().to_pylist()
    keys_asked = {tuple(row[name] for name in key) for row in asked.to_pylist()}
    expected = sorted(row["row"] for row in whole if tuple(row[name] for name in key) in keys_asked)
    assert sorted(found.rows["row"].to_pylist()) == expected
    assert found.rows.column_names == [*key, "row"]
    for row, file, position in zip(found.rows["row"].to_pylist(), found.file, found.position, strict=True):
        stored = pq.ParquetFile(root / found.files[file].path).read(columns=["row"])
        assert stored["row"][int(position)].as_py() == row, "the place is another row's"


@hypothesis_settings(max_examples=60, **SLOW)
@given(batches=st.lists(st.lists(st.integers(0, 40), max_size=12), max_size=6))
def test_a_key_is_new_until_it_is_remembered(registry: Registry, batches: list[list[int]]) -> None:
    landed = KnownKeys(registry.dataset("violation_event"))
    known: set[int] = set()
    for numbers in batches:
        batch = pa.table({"event_id": pa.array([f"e{n}" for n in numbers], pa.string())})
        expected = [n not in known and n not in numbers[:i] for i, n in enumerate(numbers)]
        assert landed.new(batch).tolist() == expected
        landed.remember(batch)
        known.update(numbers)


class Kind:
    """A contract whose rows are made of a key, a version and a content, all small numbers."""

    def __init__(self, dataset: str, key: str, prefix: str, instant: str | None, more: Mapping[str, Any]) -> None:
        self.dataset, self.key, self.prefix, self.instant, self.more = dataset, key, prefix, instant, more

    def row(self, offset: int, key: int, content: int, revision: int) -> dict[str, Any]:
        at = T0 + timedelta(days=content % 3, seconds=content)
        return {
            **self.more,
            **({self.instant: at} if self.instant else {}),
            "origin": "synthetic",
            "revision": revision,
            "received_at": T0 + timedelta(days=9, seconds=offset),
            "raw_partition": 0,
            "raw_offset": offset,
            "disposition": "on_time",
            self.key: f"{self.prefix}{key:06d}",
        }


@pytest.fixture(params=["residential_group", "push_log", "violation_event"])
def kind(registry: Registry, request: pytest.FixtureRequest) -> Kind:
    """A sector table; one whose rows move to another partition when they change; a stream with revisions."""

    def code(dataset: str, field: str) -> str:
        (found,) = [f for f in registry.dataset(dataset).fields if f.name == field]
        return str(registry.code_list(str(found.code_list)).codes[0])

    name = str(request.param)
    if name == "residential_group":
        more = {
            "ward_code": code(name, "ward_code"), "group_kind": code(name, "group_kind"), "title_text": "Thôn 1",
            "household_count": None, "document_no": None, "is_active": True, "valid_from": T0.date(), "valid_to": None,
        }  # fmt: skip
        return Kind(name, "group_id", "TT-", None, more)
    if name == "push_log":
        more = {
            "contact_channel": code(name, "contact_channel"), "message_kind": code(name, "message_kind"),
            "agency_id": code(name, "agency_id"), "recipient_count": 9, "delivered_count": None, "read_count": None,
            "updated_at": T0 + timedelta(days=9),
        }  # fmt: skip
        return Kind(name, "push_id", "ZOA-", "pushed_at", more)
    more = {
        "camera_id": code(name, "camera_id"), "violation_type": code(name, "violation_type"), "confidence": 0.5,
        "review_status": code(name, "review_status"), "ward_code": code(name, "ward_code"), "plate_token": None,
        "evidence_uri": None, "qc_flag": 1, "qc_detail": None,
    }  # fmt: skip
    return Kind(name, "event_id", "e", "observed_at", more)


def _model(rows: Sequence[Mapping[str, Any]], key: str, content: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The table and the effects when rows are applied one by one; rows without a key go to quarantine, and those that
    are deletes take their key away."""
    table: dict[str, Any] = {}
    effects = []
    for row in rows:
        before = table.get(row[key])
        if row[key] is None:
            effects.append("quarantined")
        elif row.get(IS_DELETE):
            effects.append("unchanged" if table.pop(row[key], None) is None else "deleted")
            continue
        elif before is None:
            effects.append("inserted")
        elif (row["revision"], row["raw_offset"]) <= (before["revision"], before["raw_offset"]) or (
            content and all(row.get(name) == before.get(name) for name in content)
        ):
            effects.append("unchanged")
            continue
        else:
            effects.append("updated")
        if row[key] is not None:
            table[row[key]] = row
    return table, effects


EVENT = st.tuples(st.integers(0, 12), st.integers(0, 5), st.integers(0, 1), st.integers(0, 19))


@hypothesis_settings(max_examples=30, **SLOW)
@given(
    events=st.lists(EVENT, min_size=1, max_size=30),
    cuts=st.lists(st.integers(1, 29), max_size=5),
    compacts=st.booleans(),
    has_feed=st.booleans(),
)
def test_rows_and_outcomes_are_those_of_a_plain_loop(
    fresh: Callable[[], Settings],
    registry: Registry,
    events: Any,
    cuts: Any,
    compacts: bool,
    has_feed: bool,
    kind: Kind,
    request: pytest.FixtureRequest,
) -> None:
    make: Any = request.getfixturevalue("events")
    dataset = registry.dataset(kind.dataset)
    rows = []
    for offset, (key, content, revision, odd) in enumerate(events):
        row = kind.row(offset, key, content, 0 if dataset.sector else revision)
        if "household_count" in row:
            row["household_count"] = content or None
        deletes = dataset.sector is not None and odd < 6
        rows.append({**row, kind.key: None} if odd == 0 else {**row, IS_DELETE: deletes})
    expected, effects = _model(rows, kind.key, content_columns(dataset))

    settings = fresh()
    if has_feed:
        # A change feed wants more than files: such a table is merged, with the same result.
        configuration = {"delta.enableChangeDataFeed": "true"}
        spec, path = silver_spec(dataset), settings.table_path("silver", dataset.id)
        DeltaTable.create(str(path), spec.schema, partition_by=list(spec.partition_by), configuration=configuration)
    silver = Silver.open(settings, registry, dataset, lambda data: data, compact_every=1)
    quality = Quality.open(settings)
    assert (not_plain(silver.sink.table) is None) is not has_feed
    edges = sorted({0, len(rows), *(cut for cut in cuts if cut < len(rows))})
    counts = []
    for start, end in pairwise(edges):
        batch = make.batch_of(dataset, rows[start:end], start)
        if dataset.sector:
            deletes = pa.array([bool(row.get(IS_DELETE)) for row in rows[start:end]], pa.bool_())
            batch = replace(batch, rows=batch.rows.append_column(IS_DELETE, deletes))
        counts.append(apply(silver, quality, batch).counts)
        if compacts:
            silver.sink.compact(force=True)

    table = DeltaTable(str(settings.table_path("silver", dataset.id)))
    stored = table.to_pyarrow_table().to_pylist()
    names = [name for name in silver.sink.spec.schema.names if name != dataset.partition]
    assert sorted((row[kind.key], [row[name] for name in names]) for row in stored) == sorted(
        (key, [row.get(name) for name in names]) for key, row in expected.items()
    )
    if kind.instant:
        assert all(row[str(dataset.partition)] == row[kind.instant].date() for row in stored)
    outcomes = quality.outcome.table.to_pyarrow_table().to_pylist()
    assert [o["effect"] for o in sorted(outcomes, key=lambda o: int(o["raw_offset"]))] == effects
    for effect in ("updated", "deleted"):
        assert sum(c[effect] for c in counts) == effects.count(effect)
    assert table.transaction_version(make.app) == len(rows)
    assert not (silver.sink.path / "_rewrite").exists()


def _groups(kind: Kind, numbers: Sequence[int], start: int, households: int) -> list[dict[str, Any]]:
    return [{**kind.row(start + i, n, 0, 0), "household_count": households} for i, n in enumerate(numbers)]


@pytest.fixture
def group(registry: Registry) -> Kind:
    """Rows of a sector table without partitions."""
    ward = registry.code_list("wards").codes[0]
    (field,) = [f for f in registry.dataset("residential_group").fields if f.name == "group_kind"]
    more = {
        "ward_code": ward, "group_kind": registry.code_list(str(field.code_list)).codes[0], "title_text": "Thôn 1",
        "document_no": None, "is_active": True, "valid_from": T0.date(), "valid_to": None,
    }  # fmt: skip
    return Kind("residential_group", "group_id", "TT-", None, more)


@pytest.fixture
def ten_files(settings: Settings, registry: Registry, events: Any, group: Kind) -> tuple[Silver, Quality]:
    """1,000 groups in ten files, 100 in each in the order of their keys; the next offset is 1000."""
    dataset = registry.dataset(group.dataset)
    silver, quality = Silver.open(settings, registry, dataset, None), Quality.open(settings)
    for start in range(0, 1000, 100):
        rows = _groups(group, range(10_000 + start, 10_100 + start), start, 5)
        apply(silver, quality, events.batch_of(dataset, rows, start))
    return Silver.open(settings, registry, dataset, None), quality


def _hide(silver: Silver, *, but: Sequence[str] = ()) -> dict[Path, bytes]:
    """Take the data files away, so that whoever opens one fails; returns them."""
    hidden = {path: path.read_bytes() for path in silver.sink.path.glob("*.parquet") if path.name not in but}
    for path in hidden:
        path.unlink()
    return hidden


def test_a_load_opens_only_the_file_that_can_hold_its_keys(
    ten_files: tuple[Silver, Quality], events: Any, group: Kind
) -> None:
    silver, quality = ten_files
    changed = _groups(group, [10_941, 10_950], 1000, 7)
    wanted = pa.table({"group_id": [row["group_id"] for row in changed]})
    found = find(silver.sink.table, silver.sink.path, ["group_id"], ["household_count"], wanted)
    assert found.files is not None and len(found.files) == 1
    hidden = _hide(silver, but=[found.files[0].path])
    before = set(silver.sink.table.file_uris())
    result = apply(
        silver, quality, events.batch_of(silver.dataset, [*changed, *_groups(group, [99_999], 1002, 1)], 1000)
    )
    assert (result.counts["updated"], result.counts["inserted"]) == (2, 1)
    after = set(silver.sink.table.file_uris())
    assert len(before - after) == 1 and len(after - before) == 1, "one file is written anew, new rows in it"
    for path, data in hidden.items():
        path.write_bytes(data)
    stored = silver.sink.table.to_pyarrow_table()
    assert stored.num_rows == 1001
    assert sorted(zip(*(stored[n].to_pylist() for n in ("group_id", "household_count")), strict=True))[940:952] == [
        (f"TT-{10_940 + n:06d}", 7 if n in (1, 10) else 5) for n in range(12)
    ]
    (written,) = after - before
    keys = pq.read_table(written)["group_id"].to_pylist()
    assert keys[:100] == sorted(keys[:100]), "the order of the old file is kept"


def test_without_new_rows_no_data_is_read(
    ten_files: tuple[Silver, Quality], settings: Settings, registry: Registry, events: Any
) -> None:
    silver, quality = ten_files
    _hide(silver)
    again = Silver.open(settings, registry, silver.dataset, None)
    assert again.sink.committed(events.app) == 1000
    apply(again, quality, events.batch_of(silver.dataset, [], 1000, end=1005))
    assert again.sink.committed(events.app) == 1005


@pytest.mark.parametrize("other", ["compaction", "append"])
def test_a_commit_in_between_is_noticed_and_the_batch_planned_again(
    ten_files: tuple[Silver, Quality], events: Any, group: Kind, other: str
) -> None:
    # delta-rs itself lets a compaction and the replacing of a compacted file pass: the rows would stand twice.
    silver, quality = ten_files
    batch = events.batch_of(silver.dataset, _groups(group, [10_001, 10_999], 1000, 7), 1000)
    plan = silver.plan(batch)
    beside = DeltaTable(str(silver.sink.path))
    if other == "compaction":
        beside.optimize.compact()
    else:
        extra = beside.to_pyarrow_table().slice(0, 1)
        name = extra.column_names.index("group_id")
        write_deltalake(beside, extra.set_column(name, "group_id", pa.array(["TT-000005"])), mode="append")
    rows = DeltaTable(str(silver.sink.path)).to_pyarrow_table().num_rows
    with pytest.raises(CommitFailedError):
        silver.commit(plan)
    assert DeltaTable(str(silver.sink.path)).to_pyarrow_table().num_rows == rows
    silver.reload()
    assert apply(silver, quality, batch).counts["updated"] == 2
    stored = DeltaTable(str(silver.sink.path)).to_pyarrow_table()
    assert (stored.num_rows, len(stored["group_id"].unique())) == (rows, rows)
    assert np.count_nonzero(np.asarray(stored["household_count"]) == 7) == 2
