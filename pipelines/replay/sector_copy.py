"""Puts an Arrow table into a sector table: through COPY into a temporary table, then by its key in one statement.

Repeating it changes nothing: a row is written only where it differs, and never over a newer one.
"""

from __future__ import annotations

import io

import pyarrow as pa
from psycopg2 import extensions
from pyarrow import csv

from pipelines.contracts.model import Dataset, Sector
from pipelines.contracts.names import double_quote

_BATCH_ROWS = 20_000
_STAGE = '"lake_stage"'


def sector_of(dataset: Dataset) -> Sector:
    """Where a dataset lies in the sector database.

    Raises:
        ValueError: the dataset is a stream.
    """
    if dataset.sector is None:
        raise ValueError(f"{dataset.id} is a stream, not a sector table")
    return dataset.sector


def table_name(dataset: Dataset) -> str:
    """The quoted `"schema"."table"` of a sector table, or the table alone where its contract names no schema."""
    sector = sector_of(dataset)
    return ".".join(double_quote(name) for name in (sector.schema_name, sector.table) if name)


def conflict_action(dataset: Dataset, names: list[str], *, keep_newer: bool) -> str:
    """What an INSERT into `AS target` does with a row whose key is there: `DO UPDATE …`, only where something differs.

    With `keep_newer` a row that is newer in the database stays; a table without cursor gets only what it misses.
    """
    own = [double_quote(n) for n in names if n not in dataset.key]
    if not own:
        return "DO NOTHING"
    if keep_newer and not dataset.event_time:
        sets = ", ".join(f"{n} = COALESCE(target.{n}, EXCLUDED.{n})" for n in own)
        missing = " OR ".join(f"(target.{n} IS NULL AND EXCLUDED.{n} IS NOT NULL)" for n in own)
        return f"DO UPDATE SET {sets} WHERE {missing}"
    sets = ", ".join(f"{n} = EXCLUDED.{n}" for n in own)
    changed = " OR ".join(f"target.{n} IS DISTINCT FROM EXCLUDED.{n}" for n in own)
    action = f"DO UPDATE SET {sets} WHERE ({changed})"
    if keep_newer:
        newer = double_quote(str(dataset.event_time))
        action += f" AND EXCLUDED.{newer} >= target.{newer}"
    return action


def copy_rows(cursor: extensions.cursor, dataset: Dataset, rows: pa.Table) -> None:
    """Insert what is missing and replace what is older, by contract key; the table must exist.

    `rows` has the source's columns, their keys are distinct. Memory holds one batch of text at a time.
    """
    columns = ", ".join(double_quote(name) for name in rows.column_names)
    key = ", ".join(double_quote(k) for k in dataset.key)
    table = table_name(dataset)
    cursor.execute(f"CREATE TEMP TABLE {_STAGE} ON COMMIT DROP AS SELECT {columns} FROM {table} WITH NO DATA")
    statement = f"COPY {_STAGE} ({columns}) FROM STDIN (FORMAT csv)"
    for batch in rows.to_batches(max_chunksize=_BATCH_ROWS):
        cursor.copy_expert(statement, io.BytesIO(_as_csv(batch)))
    action = conflict_action(dataset, list(rows.column_names), keep_newer=True)
    cursor.execute(
        f"INSERT INTO {table} AS target ({columns}) SELECT {columns} FROM {_STAGE} ON CONFLICT ({key}) {action}"
    )
    cursor.execute(f"DROP TABLE {_STAGE}")


def _as_csv(batch: pa.RecordBatch) -> bytes:
    """CSV as COPY reads it: text in quotes, NULL as nothing at all, so that an empty text stays one."""
    sink = io.BytesIO()
    csv.write_csv(batch, sink, csv.WriteOptions(include_header=False))
    return sink.getvalue()
