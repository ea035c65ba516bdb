"""Tables of records that are only appended to: what was decided, published, sent or deleted, and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from pipelines.contracts.targets.delta import PROPERTIES
from pipelines.runtime.delta import arrow_table
from pipelines.runtime.settings import Settings


def append(
    settings: Settings, layer: str, name: str, rows: Sequence[Mapping[str, Any]], schema: pa.Schema, description: str
) -> None:
    """Append records in one commit, to a table that is made on first use; none write nothing."""
    if not rows:
        return
    path = settings.table_path(layer, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_deltalake(
        str(path),
        pa.Table.from_pylist([dict(row) for row in rows], schema=schema),
        mode="append",
        name=name,
        description=description,
        configuration=dict(PROPERTIES),
    )


def read(settings: Settings, layer: str, name: str) -> list[dict[str, Any]]:
    """Every record, in no order; none before the first."""
    path = str(settings.table_path(layer, name))
    if not DeltaTable.is_deltatable(path):
        return []
    rows: list[dict[str, Any]] = arrow_table(DeltaTable(path)).to_pylist()
    return rows
