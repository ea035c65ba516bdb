"""The tables that landing writes: described from the contracts, created once, checked ever after."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from pipelines.contracts import system
from pipelines.contracts.logical_types import LogicalType
from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry
from pipelines.contracts.targets import delta
from pipelines.landing.migrate import migrate
from pipelines.landing.spec import TableSpec
from pipelines.runtime.settings import Settings

OUTCOME, DEAD_LETTER, QUARANTINE = "outcome", "dead_letter", "quarantine"
_QUALITY: Mapping[str, tuple[tuple[tuple[str, LogicalType], ...], str]] = {
    OUTCOME: (system.OUTCOME, "Kết quả xử lý của từng bản ghi thô — What became of every raw record"),
    DEAD_LETTER: (system.DEAD_LETTER, "Bản ghi không dùng được — Records that could not be used"),
    QUARANTINE: (system.QUARANTINE, "Dòng vi phạm ràng buộc, chờ xem xét — Rows that violate a constraint"),
}


def silver_spec(dataset: Dataset) -> TableSpec:
    """The one table of a contract: typed, unique by key."""
    return TableSpec(
        layer="silver",
        name=dataset.id,
        schema=delta.arrow_schema(dataset, "silver"),
        partition_by=tuple(delta.partition_by(dataset, "silver")),
        constraints=delta.constraints(dataset),
        required=_required(dataset),
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
        # Of a stream bronze has the payload only: its columns are the platform's own.
        required=() if dataset.stream else _required(dataset),
        description=f"{dataset.title.vi}: bản ghi gốc như đã nhận — as received.",
    )


def _required(dataset: Dataset) -> tuple[str, ...]:
    return tuple(f.name for f in dataset.fields if f.required or f.name in dataset.key)


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
    """Create what is missing, add what contracts gained, and return a handle per `layer.name`.

    Raises:
        TableDisagrees: an existing table is something else than its contract says.
    """
    return {spec.id: ensure_table(settings, spec) for spec in table_specs(registry)}


def ensure_table(settings: Settings, spec: TableSpec) -> DeltaTable:
    """Create one table, or bring it to what its contract says now; idempotent, and safe after a crash on the way.

    Raises:
        TableDisagrees: the table exists, and its contract asks for what only a new table can be.
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
    migrate(table, spec)
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
