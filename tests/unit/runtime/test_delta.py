"""Tables are read through file systems of Arrow: no thread of it needs an interpreter that may be ending."""

from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.fs as pafs
import pytest
from deltalake import DeltaTable, write_deltalake

from pipelines.runtime.delta import arrow_dataset, arrow_table

PLACES = ["Huế", "a%20b", "x/1", "2025-01-01 00:00", "plain"]


@pytest.fixture
def table(tmp_path: Path) -> DeltaTable:
    rows = pa.table({"place": PLACES, "stage_m": [1.0, 2.0, 3.0, 4.0, 5.0]})
    path = str(tmp_path / "một bảng")
    write_deltalake(path, rows, partition_by=["place"])
    write_deltalake(path, rows.slice(4), mode="append")
    return DeltaTable(path)


def test_no_file_is_opened_by_the_interpreter(table: DeltaTable) -> None:
    opened = arrow_dataset(table).filesystem
    assert isinstance(opened, pafs.SubTreeFileSystem)
    assert isinstance(opened.base_fs, pafs.LocalFileSystem)
    assert isinstance(table.to_pyarrow_dataset().filesystem, pafs.PyFileSystem), "delta-rs may do it itself now"


def test_partitions_with_any_name_are_read(table: DeltaTable) -> None:
    assert sorted(arrow_table(table)["place"].to_pylist()) == sorted([*PLACES, "plain"])


def test_rows_are_filtered_and_columns_chosen(table: DeltaTable) -> None:
    found = arrow_table(table, columns=["stage_m"], filters=[("place", "in", ["plain"]), ("stage_m", ">", 4.5)])
    assert found.to_pydict() == {"stage_m": [5.0, 5.0]}
    assert arrow_table(table, filters=pads.field("stage_m") < 1.5)["place"].to_pylist() == ["Huế"]


def test_files_that_cannot_hold_a_row_are_left_out(table: DeltaTable) -> None:
    assert len(arrow_dataset(table).files) == 6
    assert len(arrow_dataset(table, pruned_by=[("place", "=", "plain")]).files) == 2


def test_the_version_is_that_of_the_handle(table: DeltaTable) -> None:
    assert arrow_table(DeltaTable(table.table_uri, version=0)).num_rows == len(PLACES)


def test_no_other_module_reads_tables_its_own_way() -> None:
    home = Path(__file__).resolve().parents[3]
    own = home / "pipelines" / "runtime" / "delta.py"
    others = [path for path in (home / "pipelines").rglob("*.py") if path != own and "to_pyarrow_" in path.read_text()]
    assert others == []
