"""Delta target: Arrow schemas, comments, constraints and table properties that Spark, Trino and delta-rs all read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from pipelines.contracts import system
from pipelines.contracts.logical_types import LogicalType
from pipelines.contracts.model import ContractField, Dataset
from pipelines.contracts.names import backtick
from pipelines.contracts.support import Refused, Support, elsewhere, flagged_elsewhere, native

TARGET = "delta"
SUPPORT: Mapping[str, Support] = {
    **native("columns", "type", "key_known"),
    # A violated CHECK or NOT NULL would refuse a whole batch for one row.
    **elsewhere("great_expectations", "required", "key_unique", "code_list", "range", "row_count", "completeness"),
    **elsewhere("great_expectations", "comparison", "required_when", "pattern", "unique", "share", "total"),
    **flagged_elsewhere(),
    "freshness": Refused("a table does not know the time; see publishing/freshness"),
}
"""Every kind of rule that a contract can hold, and where it is held."""

PROPERTIES: dict[str, str] = {
    # A pinned version must outlive the writer's own clean-up; `lake maintain` cleans, nothing else.
    "delta.enableExpiredLogCleanup": "false",
    "delta.logRetentionDuration": "interval 90 days",
    "delta.deletedFileRetentionDuration": "interval 7 days",
    "delta.checkpointInterval": "50",
}


def arrow_schema(dataset: Dataset, layer: str) -> pa.Schema:
    """The Arrow schema of a dataset's table in ``bronze`` or ``silver``.

    Nullability is not declared on Arrow fields (a violated NOT NULL refuses a whole batch): keys are held by
    :func:`constraints`, required fields by the row checks of landing. ``<event>_date`` partition columns stand last.

    Raises:
        ValueError: another layer, or bronze of a derived table (its inputs have it).
    """
    if dataset.mart:
        raise ValueError(f"{dataset.id} is a mart: dbt creates its table in gold")
    if layer == "bronze" and dataset.derived:
        raise ValueError(f"{dataset.id} is derived: its inputs {', '.join(dataset.derived.inputs)} are in bronze")
    if layer == "bronze":
        payload = [pa.field("payload", pa.binary())] if dataset.stream else _own(dataset)
        tail = () if dataset.stream else system.SECTOR_BRONZE
        return pa.schema([*_columns(system.BRONZE), *_columns(tail), *payload, _partition("received_date")])
    if layer != "silver":
        raise ValueError(f"a contract has tables in bronze and silver, not in {layer!r}")
    qc = system.QC if dataset.stream else ()
    provenance = system.DERIVED_PROVENANCE if dataset.derived else system.PROVENANCE
    columns = [*_own(dataset), *_columns(qc), *_columns(provenance)]
    if dataset.partition_source:
        columns.append(_partition(str(dataset.partition)))
    return pa.schema(columns)


def clean_schema(dataset: Dataset) -> pa.Schema:
    """The Arrow schema of a record on the topic that fills silver: the row before partitioning; a clean record says
    its disposition besides."""
    if dataset.derived:
        return pa.schema([*_own(dataset), *_columns(system.DERIVED_PROVENANCE)])
    return pa.schema(
        [*_own(dataset), *_columns(system.QC), *_columns(system.PROVENANCE), *_columns(system.DISPOSITION)]
    )


def partition_by(dataset: Dataset, layer: str) -> list[str]:
    """The partition columns of the table: bronze by day of receipt, silver as the contract says."""
    if layer == "bronze":
        return ["received_date"]
    return [dataset.partition] if dataset.partition else []


def constraints(dataset: Dataset) -> dict[str, str]:
    """Delta CHECKs of the silver table, name → SQL: only that a key is known.

    A valid range is a flag in streams and quarantine in sector tables, never a CHECK: one bad row would refuse the
    whole batch.
    """
    return {f"{key}_known": f"{backtick(key)} IS NOT NULL" for key in dataset.key}


def system_schema(columns: tuple[tuple[str, LogicalType], ...]) -> pa.Schema:
    """The Arrow schema of one of the platform's own tables (see :mod:`pipelines.contracts.system`)."""
    return pa.schema(_columns(columns))


def comment(field: ContractField) -> str:
    """The column comment: Vietnamese first, the unit, then English."""
    unit = f" ({field.unit})" if field.unit else ""
    return f"{field.title.vi}{unit} — {field.title.en}"


def _own(dataset: Dataset) -> list[pa.Field[Any]]:
    return [pa.field(f.name, f.type.arrow, metadata={"comment": comment(f)}) for f in dataset.fields]


def _columns(columns: tuple[tuple[str, LogicalType], ...]) -> list[pa.Field[Any]]:
    return [pa.field(name, kind.arrow) for name, kind in columns]


def _partition(name: str) -> pa.Field[Any]:
    return pa.field(name, pa.date32(), metadata={"comment": "UTC day, derived — ngày UTC"})
