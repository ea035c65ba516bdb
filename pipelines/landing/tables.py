"""The tables that landing writes: described from the contracts, created once, checked ever after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable
from deltalake import Field as DeltaField
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import TableNotFoundError

from pipelines.contracts import system
from pipelines.contracts.logical_types import LogicalType
from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry
from pipelines.contracts.targets import delta
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings

OUTCOME, DEAD_LETTER, QUARANTINE = "outcome", "dead_letter", "quarantine"
_QUALITY: Mapping[str, tuple[tuple[tuple[str, LogicalType], ...], str]] = {
    OUTCOME: (system.OUTCOME, "Kết quả xử lý của từng bản ghi thô — What became of every raw record"),
    DEAD_LETTER: (system.DEAD_LETTER, "Bản ghi không dùng được — Records that could not be used"),
    QUARANTINE: (system.QUARANTINE, "Dòng vi phạm ràng buộc, chờ xem xét — Rows that violate a constraint"),
}


class TableDisagrees(LakeError):
    """An existing table is not what its contract says; nothing is written to it."""


@dataclass(frozen=True)
class TableSpec:
    """One Delta table before it exists: `layer.name`, columns in order, partitioning, CHECKs and texts."""

    layer: str
    name: str
    schema: pa.Schema
    partition_by: tuple[str, ...] = ()
    constraints: Mapping[str, str] = field(default_factory=dict)
    description: str = ""

    @property
    def id(self) -> str:
        """`silver.river_stage`: the name in leases, logs and the status."""
        return f"{self.layer}.{self.name}"


def silver_spec(dataset: Dataset) -> TableSpec:
    """The one table of a contract: typed, unique by key."""
    return TableSpec(
        layer="silver",
        name=dataset.id,
        schema=delta.arrow_schema(dataset, "silver"),
        partition_by=tuple(delta.partition_by(dataset, "silver")),
        constraints=delta.constraints(dataset),
        description=f"{dataset.title.vi} — {dataset.title.en}. {dataset.description.purpose.vi}",
    )


def bronze_spec(dataset: Dataset) -> TableSpec:
    """What arrived for a contract, as it came.

    Raises:
        ValueError: a derived dataset has no bronze.
    """
    return TableSpec(
        layer="bronze",
        name=dataset.id,
        schema=delta.arrow_schema(dataset, "bronze"),
        partition_by=tuple(delta.partition_by(dataset, "bronze")),
        description=f"{dataset.title.vi}: bản ghi gốc như đã nhận — as received.",
    )


def quality_spec(name: str) -> TableSpec:
    """One of `outcome`, `dead_letter`, `quarantine`: shared by all datasets, partitioned by them."""
    columns, description = _QUALITY[name]
    return TableSpec("quality", name, delta.system_schema(columns), ("dataset",), description=description)


def table_specs(registry: Registry) -> tuple[TableSpec, ...]:
    """Every table that landing and ingestion write, in a fixed order."""
    landed = [d for d in registry.datasets if not d.mart]
    bronze = [bronze_spec(d) for d in landed if not d.derived]
    return (*(quality_spec(name) for name in _QUALITY), *bronze, *(silver_spec(d) for d in landed))


def ensure_tables(settings: Settings, registry: Registry) -> dict[str, DeltaTable]:
    """Create what is missing, widen what a contract added, and return a handle per `layer.name`.

    Raises:
        TableDisagrees: an existing table has other columns, types or partitions than its contract.
    """
    return {spec.id: ensure_table(settings, spec) for spec in table_specs(registry)}


def ensure_table(settings: Settings, spec: TableSpec) -> DeltaTable:
    """Create one table, or check it; idempotent, and safe after a crash between creation and its CHECKs.

    Raises:
        TableDisagrees: the table exists and is not what the contract says.
    """
    path = settings.table_path(spec.layer, spec.name)
    table = _open(path)
    if table is None:
        table = DeltaTable.create(
            str(path),
            schema=spec.schema,
            # Of two processes that create at once, the later one finds the table there.
            mode="ignore",
            partition_by=list(spec.partition_by) or None,
            name=spec.name,
            description=spec.description,
            configuration=delta.PROPERTIES,
        )
    _widen(table, spec)
    _check(table, spec)
    known = table.metadata().configuration
    for name, expression in spec.constraints.items():
        if f"delta.constraints.{name}" not in known:
            table.alter.add_constraint({name: expression})
    return table


def _open(path: Path) -> DeltaTable | None:
    if not (path / "_delta_log").is_dir():
        return None
    try:
        return DeltaTable(str(path))
    except TableNotFoundError:
        return None


def _expected(spec: TableSpec) -> dict[str, DeltaField]:
    return {f.name: f for f in DeltaSchema.from_arrow(spec.schema).fields}


def _widen(table: DeltaTable, spec: TableSpec) -> None:
    """Add the columns that a newer contract has: widening is free, every older row reads as NULL."""
    present = {f.name for f in table.schema().fields}
    expected = _expected(spec)
    if present <= set(expected) and set(expected) - present:
        table.alter.add_columns([f for name, f in expected.items() if name not in present])


def _check(table: DeltaTable, spec: TableSpec) -> None:
    present = {f.name: str(f.type) for f in table.schema().fields}
    expected = {name: str(f.type) for name, f in _expected(spec).items()}
    problems = [
        *(f"column {name} is not in the contract" for name in sorted(set(present) - set(expected))),
        *(f"column {name} is missing" for name in sorted(set(expected) - set(present))),
        *(
            f"column {name} is {present[name]}, the contract says {expected[name]}"
            for name in sorted(set(present) & set(expected))
            if present[name] != expected[name]
        ),
    ]
    partitions = tuple(table.metadata().partition_columns)
    if partitions != spec.partition_by:
        problems.append(f"it is partitioned by {partitions or 'nothing'}, the contract says {spec.partition_by}")
    if problems:
        raise TableDisagrees(
            f"The table {spec.id} at {table.table_uri} disagrees with its contract: {'; '.join(problems)}.",
            "A new column needs nothing; for anything else raise the contract's major version and rebuild the table "
            "from bronze in another namespace, or restore the contract.",
        )
