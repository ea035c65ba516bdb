"""The closed set of logical types and what each engine calls it: one table, side by side.

A cell is the engine's type name. ``timestamp`` is an instant in UTC with microseconds at rest; Flink carries it with
milliseconds (its rowtime precision), which bounds what a stream can resolve, and Trino's Delta connector reads
milliseconds too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pyarrow as pa

ENGINES = ("arrow", "flink", "spark", "trino", "postgres", "duckdb", "json_schema", "odcs")


@dataclass(frozen=True)
class LogicalType:
    """One logical type; ``precision`` and ``scale`` are set for decimals only."""

    name: str
    precision: int = 0
    scale: int = 0

    def __str__(self) -> str:
        """Render as it is written in ``fields.yaml``."""
        return f"decimal({self.precision},{self.scale})" if self.name == "decimal" else self.name

    @property
    def is_numeric(self) -> bool:
        """Whether ranges and units apply."""
        return self.name in {"integer", "bigint", "double", "decimal"}

    def on(self, engine: str) -> str:
        """The engine's name of this type.

        Raises:
            KeyError: an engine that is not in :data:`ENGINES`.
        """
        return _TABLE[self.name][engine].format(p=self.precision, s=self.scale)

    @property
    def arrow(self) -> pa.DataType:
        """The Arrow type, the form in which landing and ingestion handle rows."""
        if self.name == "decimal":
            return pa.decimal128(self.precision, self.scale)
        return _ARROW[self.name]


_ARROW: dict[str, pa.DataType] = {
    "string": pa.string(),
    "boolean": pa.bool_(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", tz="UTC"),
}

_ROWS: tuple[tuple[str, ...], ...] = (
    # logical, then a cell for each of ENGINES in its order
    ("string", "string", "STRING", "STRING", "varchar", "text", "VARCHAR", "string", "string"),
    ("boolean", "bool", "BOOLEAN", "BOOLEAN", "boolean", "boolean", "BOOLEAN", "boolean", "boolean"),
    ("integer", "int32", "INT", "INT", "integer", "integer", "INTEGER", "integer", "integer"),
    ("bigint", "int64", "BIGINT", "BIGINT", "bigint", "bigint", "BIGINT", "integer", "integer"),
    ("double", "double", "DOUBLE", "DOUBLE", "double", "double precision", "DOUBLE", "number", "number"),
    (
        "decimal",
        "decimal128({p}, {s})",
        "DECIMAL({p}, {s})",
        "DECIMAL({p}, {s})",
        "decimal({p},{s})",
        "numeric({p},{s})",
        "DECIMAL({p},{s})",
        "number",
        "number",
    ),
    ("date", "date32", "DATE", "DATE", "date", "date", "DATE", "string", "date"),
    (
        "timestamp",
        "timestamp[us, tz=UTC]",
        "TIMESTAMP_LTZ(3)",
        "TIMESTAMP",
        "timestamp(3) with time zone",
        "timestamptz",
        "TIMESTAMP WITH TIME ZONE",
        "string",
        "timestamp",
    ),
)
_TABLE = {row[0]: dict(zip(ENGINES, row[1:], strict=True)) for row in _ROWS}
_DECIMAL = re.compile(r"decimal\((\d{1,2}),\s*(\d{1,2})\)\Z")


def parse(text: str) -> LogicalType:
    """Parse a type as written in ``fields.yaml``.

    Raises:
        ValueError: not one of the closed set, or a decimal that some engine cannot hold.
    """
    if text in _TABLE and text != "decimal":
        return LogicalType(text)
    match = _DECIMAL.match(text)
    if match:
        precision, scale = int(match[1]), int(match[2])
        if not 0 < precision <= 38 or scale > precision:
            raise ValueError(f"{text}: precision 1..38 and scale at most the precision are allowed")
        return LogicalType("decimal", precision, scale)
    allowed = ", ".join([*sorted(set(_TABLE) - {"decimal"}), "decimal(p,s)"])
    raise ValueError(f"{text!r} is not a logical type; allowed: {allowed}")
