"""Tables that are written whole: overwritten in place when their content differs, never dropped.

A table that is dropped and made again loses the versions that somebody may have pinned; one that is overwritten
although nothing changed grows by a version a call. Neither happens here.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from pipelines.contracts.targets.delta import PROPERTIES
from pipelines.runtime.delta import arrow_table


def write_whole(path: Path, wanted: pa.Table, *, name: str, description: str) -> int:
    """Make the table at ``path`` hold exactly ``wanted``; returns its Delta version, the old one when nothing differs.

    Content, columns, types and column comments are compared; the order of rows is not, for Delta does not keep it.
    """
    if not _is_current(str(path), wanted):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_deltalake(
            str(path),
            wanted,
            mode="overwrite",
            schema_mode="overwrite",
            name=name,
            description=description,
            configuration=dict(PROPERTIES),
        )
    return int(DeltaTable(str(path)).version())


def _is_current(path: str, wanted: pa.Table) -> bool:
    if not DeltaTable.is_deltatable(path):
        return False
    stored = DeltaTable(path)
    schema = pa.schema(stored.schema().to_arrow())
    if not _plain(schema).equals(_plain(wanted.schema)) or _comments(schema) != _comments(wanted.schema):
        return False
    found = arrow_table(stored).cast(wanted.schema)
    return _sorted(found) == _sorted(wanted)


def _plain(schema: pa.Schema) -> pa.Schema:
    """The schema with lists named alike: Delta calls the values of a list `element`, Arrow `item`."""
    return pa.schema(
        [pa.field(f.name, pa.list_(f.type.value_type) if pa.types.is_list(f.type) else f.type) for f in schema]
    )


def _comments(schema: pa.Schema) -> list[bytes | None]:
    return [(field.metadata or {}).get(b"comment") for field in schema]


def _sorted(table: pa.Table) -> list[str]:
    return sorted(repr(sorted(row.items())) for row in table.to_pylist())
