"""Code lists as Delta tables: typed, commented, and written only when they changed."""

from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from pipelines.contracts.model import CodeList
from pipelines.contracts.registry import Registry
from pipelines.contracts.targets.delta import PROPERTIES
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings
from pipelines.warehouse.code_lists import arrow_table, ensure_code_lists

HOME = Path(__file__).resolve().parents[3]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load({"LAKE_HOME": str(HOME), "LAKE_STATE": str(tmp_path), "LAKE_NAMESPACE": "unit"})


def with_rows(registry: Registry, list_id: str, rows: tuple[dict[str, object], ...]) -> Registry:
    changed = tuple(
        CodeList.model_validate({**dict(each), "rows": rows}) if each.id == list_id else each
        for each in registry.code_lists
    )
    return replace(registry, code_lists=changed)


def test_every_list_is_a_table_that_reads_back_equal(settings: Settings, registry: Registry) -> None:
    versions = ensure_code_lists(settings, registry)
    assert set(versions) == {f"code_{code_list.id}" for code_list in registry.code_lists}
    assert set(versions.values()) == {0}
    for code_list in registry.code_lists:
        table = DeltaTable(str(settings.table_path("silver", f"code_{code_list.id}")))
        wanted = arrow_table(code_list)
        key = lambda row: repr(sorted(row.items()))  # noqa: E731
        assert sorted(table.to_pyarrow_table().to_pylist(), key=key) == sorted(wanted.to_pylist(), key=key)
        configuration = table.metadata().configuration
        assert {name: configuration[name] for name in PROPERTIES} == PROPERTIES


def test_values_have_the_types_of_their_fields(registry: Registry) -> None:
    row = arrow_table(registry.code_list("alarm_levels")).to_pylist()[0]
    assert (row["threshold_m"], row["valid_from"], row["valid_to"]) == (Decimal("1.000"), date(2020, 3, 15), None)


def test_columns_carry_their_comment_vietnamese_first(settings: Settings, registry: Registry) -> None:
    ensure_code_lists(settings, registry)
    schema = pa.schema(DeltaTable(str(settings.table_path("silver", "code_stations"))).schema().to_arrow())
    assert schema.field("station_id").metadata[b"comment"].decode() == "Mã trạm đo — Gauging station id"


def test_nothing_is_written_twice_and_a_change_is_one_version(settings: Settings, registry: Registry) -> None:
    first = ensure_code_lists(settings, registry)
    assert ensure_code_lists(settings, registry) == first
    fewer = with_rows(registry, "qc_flags", registry.code_list("qc_flags").rows[:3])
    assert ensure_code_lists(settings, fewer) == {**first, "code_qc_flags": 1}
    path = str(settings.table_path("silver", "code_qc_flags"))
    assert DeltaTable(path, version=0).to_pyarrow_table().num_rows == 5, "the older version stays readable"


def test_a_wrong_value_is_named_with_list_row_and_remedy(registry: Registry) -> None:
    rows = (dict(registry.code_list("alarm_levels").rows[0], threshold_m="1.0005"),)
    wrong = with_rows(registry, "alarm_levels", rows).code_list("alarm_levels")
    with pytest.raises(LakeError, match=r"alarm_levels, row 1: threshold_m is '1.0005', which is no decimal\(9,3\)"):
        arrow_table(wrong)
