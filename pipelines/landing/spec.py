"""What a table that landing writes is to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa


@dataclass(frozen=True)
class TableSpec:
    """One Delta table before it exists: `layer.name`, columns in order, partitioning, CHECKs and texts.

    `required`: the columns that no row may lack, so that they cannot be added to rows which are there.
    """

    layer: str
    name: str
    schema: pa.Schema
    partition_by: tuple[str, ...] = ()
    constraints: Mapping[str, str] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    description: str = ""

    @property
    def id(self) -> str:
        """`silver.river_stage`: the name in leases, logs and the status."""
        return f"{self.layer}.{self.name}"
