"""Statistics of data files: every file says the least and greatest value, and how many are NULL, of the columns by
which tables are read: key, event time or cursor, receipt, and the place of the raw record. Partition columns are in its
path.

Writers give them for the first 32 columns of a table (`delta.dataSkippingNumIndexedCols`), which hold all of these
today. A file without them is opened by every look-up and by retention. It is mended without being rewritten: its values
are read, and the same file is added to the log again with what they say. Trino's ANALYZE is not run: it would make a
second writer of tables that delta-rs alone commits to, for figures that the log gives already.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties
from deltalake.transaction import AddAction

from pipelines.contracts.registry import Registry
from pipelines.landing.arrow import kernels as pc
from pipelines.landing.lookup import on_disk

_PLACE = ("received_at", "raw_partition", "raw_offset")
_TYPES = ("string", "integer", "long", "date", "timestamp")
"""Types of which the format keeps least and greatest values that say something."""
_COLUMNS = "delta.dataSkippingStatsColumns"
_STATS = ("min.", "max.", "null_count.")


def columns(registry: Registry, layer: str, name: str, table: DeltaTable) -> tuple[str, ...]:
    """The columns of a table of which every file shall know its values, in the table's order."""
    wanted = set(_PLACE)
    dataset = next((item for item in registry.datasets if item.id == name and item.layer == layer), None)
    if dataset is not None:
        wanted |= {*dataset.key, dataset.event_time or "received_at"}
    partitions = table.metadata().partition_columns
    return tuple(
        field.name
        for field in table.schema().fields
        if field.name in wanted and field.name not in partitions and getattr(field.type, "type", "") in _TYPES
    )


def lacking(table: DeltaTable, wanted: Sequence[str]) -> list[Mapping[str, Any]]:
    """The files (as the log describes them) that do not say their values of one of these columns."""
    rows = pa.table(table.get_add_actions(flatten=True)).to_pylist()
    return [row for row in rows if any(_is_unknown(row, name) for name in wanted)]


def _is_unknown(row: Mapping[str, Any], name: str) -> bool:
    count, nulls = row.get("num_records"), row.get(f"null_count.{name}")
    if count is None or nulls is None:
        return True
    return nulls < count and (row.get(f"min.{name}") is None or row.get(f"max.{name}") is None)


def repair(path: Path, wanted: Sequence[str]) -> int:
    """Give every file of the newest version its statistics, in one commit that changes no row; returns how many lacked
    them. The caller holds the table's lease.

    Raises:
        CommitFailedError: another commit came between.
    """
    table = DeltaTable(str(path))
    files = lacking(table, wanted)
    if not files:
        return 0
    known = {name.partition(".")[2] for name in _names(files) if name.startswith("null_count.")}
    if not set(wanted) <= known:
        # Readers take no notice of statistics of other columns than those that the table names, or its first 32.
        partitions = table.metadata().partition_columns
        first = [field.name for field in table.schema().fields if field.name not in partitions][:32]
        named = dict.fromkeys([*first, *wanted])
        table.alter.set_table_properties({_COLUMNS: ",".join(named)})
    metadata = table.metadata()
    table.create_write_transaction(
        [_again(path, row, wanted, metadata.partition_columns) for row in files],
        "append",
        table.schema(),
        partition_by=metadata.partition_columns or None,
        commit_properties=CommitProperties(custom_metadata={"lake.maintenance": "statistics"}),
        post_commithook_properties=PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False),
    )
    return len(files)


def _names(rows: Iterable[Mapping[str, Any]]) -> set[str]:
    return {name for row in rows for name in row}


def _again(path: Path, row: Mapping[str, Any], wanted: Sequence[str], partitions: Sequence[str]) -> AddAction:
    name = str(row["path"])
    values = pq.ParquetFile(on_disk(path, name)).read(columns=list(wanted))
    stats: dict[str, dict[str, Any]] = {"min.": {}, "max.": {}, "null_count.": {}}
    for key, value in row.items():
        for kind in _STATS:
            if key.startswith(kind) and value is not None:
                stats[kind][key.removeprefix(kind)] = _plain(value)
    for column in wanted:
        found = values[column]
        stats["null_count."][column] = found.null_count
        if found.null_count < len(found):
            limits = pc.min_max(found).as_py()
            stats["min."][column], stats["max."][column] = _plain(limits["min"]), _plain(limits["max"])
    text = {
        "numRecords": values.num_rows,
        "minValues": stats["min."],
        "maxValues": stats["max."],
        "nullCount": stats["null_count."],
    }
    places = {column: _partition(row[f"partition.{column}"]) for column in partitions}
    at = int(row["modification_time"])
    return AddAction(name, int(row["size_bytes"]), places, at, False, json.dumps(text, ensure_ascii=False))


def _plain(value: Any) -> Any:
    """A value as JSON of the Delta format has it."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if value.tzinfo else value.isoformat() + "Z"
    if isinstance(value, date):
        return value.isoformat()
    return float(value) if isinstance(value, Decimal) else value


def _partition(value: Any) -> str | None:
    return None if value is None else str(_plain(value))
