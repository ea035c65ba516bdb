"""Tables are made from contracts, widened by them, and refused when they are something else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from pipelines.contracts.registry import Registry
from pipelines.landing.migrate import TableDisagrees
from pipelines.landing.sink import Sink, StaleOffsets
from pipelines.landing.spec import TableSpec
from pipelines.landing.tables import ensure_table, ensure_tables, silver_spec, table_specs
from pipelines.runtime.settings import Settings

TEXT: Any = pa.string()
PLAIN = TableSpec("silver", "plain", pa.schema([pa.field("a", TEXT), pa.field("b", pa.int64())]))


def test_every_contract_has_its_tables_and_a_second_call_changes_nothing(
    settings: Settings, registry: Registry
) -> None:
    tables = ensure_tables(settings, registry)
    versions = {name: table.version() for name, table in tables.items()}
    assert {name: table.version() for name, table in ensure_tables(settings, registry).items()} == versions
    assert set(tables) == {spec.id for spec in table_specs(registry)} > {"quality.outcome", "silver.flood_alert"}
    assert "bronze.flood_alert" not in tables


def test_a_table_says_what_its_contract_says(settings: Settings, registry: Registry) -> None:
    table = ensure_table(settings, silver_spec(registry.dataset("river_stage")))
    fields = {f.name: f for f in table.schema().fields}
    assert fields["stage_m"].metadata["comment"] == "Mực nước (m) — Water stage"
    assert str(fields["stage_m"].type) == 'PrimitiveType("decimal(9,3)")'
    configuration = table.metadata().configuration
    assert configuration["delta.enableExpiredLogCleanup"] == "false"
    assert configuration["delta.constraints.station_id_known"] == "station_id IS NOT NULL"
    assert table.metadata().partition_columns == ["observed_date"]
    assert (table.metadata().description or "").startswith("Mực nước sông — River stage.")


def test_a_new_column_of_the_contract_is_added(settings: Settings) -> None:
    ensure_table(settings, PLAIN)
    wider = replace(PLAIN, schema=PLAIN.schema.append(pa.field("c", pa.decimal128(9, 3), metadata={"comment": "Mới"})))
    assert [f.name for f in ensure_table(settings, wider).schema().fields] == ["a", "b", "c"]


def test_another_type_or_a_lost_column_is_refused_with_all_differences(settings: Settings) -> None:
    ensure_table(settings, PLAIN)
    other = replace(PLAIN, schema=pa.schema([pa.field("b", pa.string()), pa.field("z", pa.string())]))
    with pytest.raises(TableDisagrees) as caught:
        ensure_table(settings, other)
    text = str(caught.value)
    assert "silver.plain" in text and "column a is not in the contract" in text
    assert "column b is" in text and "major version" in text
    assert [f.name for f in DeltaTable(str(settings.table_path("silver", "plain"))).schema().fields] == ["a", "b"]


def test_another_partitioning_is_refused(settings: Settings) -> None:
    ensure_table(settings, PLAIN)
    with pytest.raises(TableDisagrees, match="partitioned by nothing"):
        ensure_table(settings, replace(PLAIN, partition_by=("a",)))


def _rows(count: int) -> pa.Table:
    return pa.table({"b": pa.array(range(count), pa.int64()), "a": pa.array(["x"] * count)})


def test_the_second_of_two_writers_is_refused(settings: Settings) -> None:
    one, two = Sink.open(settings, PLAIN), Sink.open(settings, PLAIN)
    one.append(_rows(2), {"c/t/0": 2})
    with pytest.raises(CommitFailedError):
        two.append(_rows(2), {"c/t/0": 2})
    assert DeltaTable(str(settings.table_path("silver", "plain"))).count() == 2
    two.refresh()
    assert two.committed("c/t/0") == 2
    two.append(_rows(1), {"c/t/0": 3})
    assert two.committed("c/t/0") == 3


def test_an_offset_never_goes_back(settings: Settings) -> None:
    sink = Sink.open(settings, PLAIN)
    sink.append(_rows(2), {"c/t/0": 2})
    with pytest.raises(StaleOffsets, match="would go back"):
        sink.append(_rows(2), {"c/t/0": 1})
    assert sink.committed("c/t/0") == 2
    assert sink.behind({"c/t/0": 2, "c/t/1": 1}) == {"c/t/1": 1}


def test_hot_partitions_are_compacted_and_keep_their_rows(settings: Settings) -> None:
    spec = TableSpec("silver", "hot", PLAIN.schema, ("a",))
    sink = Sink.open(settings, spec, compact_every=5)
    removed = 0
    for number in range(11):
        sink.append(_rows(1), {"c/t/0": number + 1})
        removed += sink.compact()
    assert removed >= 10
    assert sink.table.count() == 11
    assert sink.committed("c/t/0") == 11
    assert len(sink.table.file_uris()) < 5
