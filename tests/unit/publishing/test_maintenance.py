"""What maintenance says it would do is what it does; statistics that are missing are given without touching a row."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.contracts.registry import Registry
from pipelines.contracts.targets import delta
from pipelines.publishing.compaction import Merge, planned_merge
from pipelines.publishing.maintain import cut_log
from pipelines.publishing.statistics import columns, lacking, repair

SCHEMA = pa.schema({"part": pa.string(), "text": pa.string()})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], str]:
    return lambda: str(tmp_path_factory.mktemp("table"))


@given(
    files=st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 3000)), min_size=1, max_size=12),
    target=st.integers(2000, 9000),
)
@settings(max_examples=25, deadline=None)
def test_what_is_planned_is_what_delta_rs_merges(
    folder: Callable[[], str], files: list[tuple[str, int]], target: int
) -> None:
    """Bytes that cannot be compressed, so that sizes differ as the rows do."""
    path = folder()
    for n, (part, size) in enumerate(files):
        text = "".join(chr(0x4E00 + (n * 7919 + i * 104729) % 20000) for i in range(size // 3 + 1))
        write_deltalake(path, pa.table([[part], [text]], schema=SCHEMA), mode="append", partition_by=["part"])
    table = DeltaTable(path)
    planned = planned_merge(table, target)
    metrics = table.optimize.compact(target_size=target)
    assert planned.files == metrics["numFilesRemoved"]
    assert planned.new_files == metrics["numFilesAdded"]
    removed = (
        json.loads(metrics["filesRemoved"]) if isinstance(metrics["filesRemoved"], str) else metrics["filesRemoved"]
    )
    assert planned.bytes == removed["totalSize"]


def test_an_empty_table_needs_nothing(tmp_path: Path) -> None:
    table = DeltaTable.create(str(tmp_path / "t"), schema=SCHEMA)
    assert planned_merge(table, 1000) == Merge()


def test_a_dry_run_counts_the_log_entries_that_a_checkpoint_would_let_go(tmp_path: Path) -> None:
    path = tmp_path / "t"
    for _ in range(5):
        write_deltalake(str(path), pa.table([["a"], ["b"]], schema=SCHEMA), mode="append")
    later = datetime.now(UTC) + timedelta(days=2)
    assert cut_log(path, (3,), later, dry_run=True) == 3
    assert cut_log(path, (3,), later, dry_run=False) == 0, "without a checkpoint nothing goes"
    DeltaTable(str(path), version=3).create_checkpoint()
    assert cut_log(path, (3,), later, dry_run=False) == 3


def wide(count: int) -> pa.Table:
    """A table whose key lies behind the columns for which statistics are kept."""
    instant: Any = pa.timestamp("us", tz="UTC")
    at = [datetime(2026, 1, 1, 0, 0, n, 123456, tzinfo=UTC) for n in range(count)]
    names = {f"c{n}": pa.array([n] * count, pa.int64()) for n in range(33)}
    return pa.table(
        {**names, "received_at": pa.array(at, instant), "raw_offset": pa.array([None, *range(1, count)], pa.int64()),
         "day": pa.array([date(2026, 1, 1)] * count)}
    )  # fmt: skip


def test_files_without_statistics_get_them_and_no_row_changes(tmp_path: Path) -> None:
    path = tmp_path / "t"
    for _ in range(2):
        write_deltalake(str(path), wide(3), mode="append", partition_by=["day"])
    table = DeltaTable(str(path))
    wanted = ("received_at", "raw_offset")
    assert len(lacking(table, wanted)) == 2
    before, files = table.to_pyarrow_table(), set(table.file_uris())
    assert repair(path, wanted) == 2
    after = DeltaTable(str(path))
    assert lacking(after, wanted) == []
    assert after.to_pyarrow_table().sort_by("received_at") == before.sort_by("received_at")
    assert set(after.file_uris()) == files
    row = pa.table(after.get_add_actions(flatten=True)).to_pylist()[0]
    assert (row["min.received_at"], row["max.received_at"]) == (
        datetime(2026, 1, 1, 0, 0, 0, 123456, tzinfo=UTC), datetime(2026, 1, 1, 0, 0, 2, 123456, tzinfo=UTC)
    )  # fmt: skip
    assert (row["min.raw_offset"], row["max.raw_offset"], row["null_count.raw_offset"]) == (1, 2, 1)
    assert row["min.c5"] == 5, "what was known before stays"
    assert repair(path, wanted) == 0 and DeltaTable(str(path)).version() == after.version()
    write_deltalake(after, wide(2), mode="append")
    assert lacking(DeltaTable(str(path)), wanted) == [], "later files have them from the beginning"


def test_a_file_that_somebody_added_without_statistics_is_found(tmp_path: Path) -> None:
    from deltalake.transaction import AddAction

    path = tmp_path / "t"
    schema = pa.schema({"received_at": pa.timestamp("us", tz="UTC")})  # type: ignore[dict-item]  # of two types
    table = DeltaTable.create(str(path), schema=schema)
    pq.write_table(pa.table([[datetime(2026, 1, 1, tzinfo=UTC)]], schema=schema), path / "f.parquet")
    size = (path / "f.parquet").stat().st_size
    table.create_write_transaction([AddAction("f.parquet", size, {}, 0, True, "{}")], "append", table.schema())
    assert len(lacking(DeltaTable(str(path)), ("received_at",))) == 1
    assert repair(path, ("received_at",)) == 1
    again = DeltaTable(str(path))
    assert lacking(again, ("received_at",)) == [] and again.count() == 1


def test_every_table_of_the_contracts_has_statistics_of_what_it_is_read_by(registry: Registry, tmp_path: Path) -> None:
    """Those columns are among the first 32 of every table, so that no writer has to be told."""
    for dataset in registry.datasets:
        if dataset.mart:
            continue
        schema = delta.arrow_schema(dataset, "silver")
        table = DeltaTable.create(str(tmp_path / dataset.id), schema=schema, partition_by=dataset.partition)
        wanted = columns(registry, "silver", dataset.id, table)
        assert set(wanted) >= {"received_at"} - set(table.metadata().partition_columns)
        assert max(schema.names.index(name) for name in wanted) < 32, dataset.id
