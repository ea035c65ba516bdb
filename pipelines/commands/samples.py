"""Reads a sample of somebody's data, from a file or a database, as Arrow; the first rows are enough."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import sqlalchemy as sa

from pipelines.contracts.scaffold import Sampled
from pipelines.runtime.errors import LakeError

ROWS = 20_000
"""So many rows are looked at: enough to tell a key from a coincidence, read in a second."""
MAX_JSON_BYTES = 64 * 1024 * 1024
_compute: Any = pyarrow.compute
_DELIMITERS = ",;\t|"
_SCHEMES = ("postgresql", "postgres", "postgresql+psycopg2")
_WHOLE = r"^-?(0|[1-9]\d{0,18})$"
_NUMBER = r"^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$"


def read_sample(source: str) -> Sampled:
    """Read the sample that ``--from`` names: FILE.csv, FILE.json, FILE.jsonl, FILE.parquet, or a PostgreSQL URL with
    ``?table=schema.table``.

    Raises:
        LakeError: no such file, another kind of file, one that cannot be read, or a database that does not answer.
    """
    if "://" in source:
        return _database(source)
    path = Path(source)
    if not path.is_file():
        raise LakeError(f"There is no file {source}.", "Name a sample at --from: a file or a PostgreSQL URL.")
    readers = {".csv": _csv, ".tsv": _csv, ".json": _json, ".jsonl": _json, ".ndjson": _json, ".parquet": _parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise LakeError(
            f"{path.name} is of a kind that is not read here.",
            f"Allowed are {', '.join(readers)}, and PostgreSQL URLs.",
        )
    try:
        rows = reader(path)
    except UnicodeDecodeError as error:
        raise LakeError(f"{path.name} is not UTF-8 ({error.reason}).", "Save it as UTF-8.") from error
    except (pa.ArrowException, ValueError) as error:
        raise LakeError(
            f"{path.name} cannot be read: {error}.", "Mend the file, or save it as CSV in UTF-8."
        ) from error
    if not rows.num_rows:
        raise LakeError(f"{path.name} holds no rows.", "A contract is inferred from data; give a sample with rows.")
    return Sampled(rows, path.name)


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _csv(path: Path) -> pa.Table:
    """Read every column as text first: a code of digits with a leading zero is no number."""
    with path.open("rb") as handle:
        head = handle.read(64 * 1024).decode("utf-8-sig", "strict" if path.stat().st_size <= 64 * 1024 else "ignore")
    try:
        delimiter = csv.Sniffer().sniff(head, _DELIMITERS).delimiter
    except csv.Error:
        delimiter = ","  # One column has no delimiter.
    header = next(csv.reader(io.StringIO(head), delimiter=delimiter), [])
    doubled = sorted({name for name in header if header.count(name) > 1})
    if doubled:
        raise ValueError(f"the column {', '.join(doubled)} stands there more than once")
    texts: Any = {name: pa.string() for name in header}
    options = pacsv.ConvertOptions(column_types=texts, strings_can_be_null=True)
    with pacsv.open_csv(path, parse_options=pacsv.ParseOptions(delimiter=delimiter), convert_options=options) as reader:
        rows = _first(reader).slice(0, ROWS)
    return _typed(rows, numbers=True)


def _first(batches: Iterable[pa.RecordBatch]) -> pa.Table:
    taken: list[pa.RecordBatch] = []
    for batch in batches:
        taken.append(batch)
        if sum(b.num_rows for b in taken) >= ROWS:
            break
    if not taken:
        raise ValueError("it is empty")
    return pa.Table.from_batches(taken)


def _json(path: Path) -> pa.Table:
    """A list of objects, or one object per line."""
    if path.stat().st_size > MAX_JSON_BYTES:
        raise ValueError(f"it is larger than {MAX_JSON_BYTES} bytes; a part of it is enough")
    text = path.read_text(encoding="utf-8-sig").strip()
    if text.startswith("["):
        found: Any = json.loads(text)[:ROWS]
    else:
        found = [json.loads(line) for line in text.splitlines()[:ROWS] if line.strip()]
    if not all(isinstance(row, dict) for row in found):
        raise ValueError("a list of objects is expected, or one object per line")
    names = dict.fromkeys(name for row in found for name in row)
    columns: dict[str, Any] = {}
    for name in names:
        values = [row.get(name) for row in found]
        try:
            columns[name] = pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            # Kinds are mixed: a text holds them all.
            columns[name] = pa.array([None if v is None else str(v) for v in values], pa.string())
    return _typed(pa.table(columns), numbers=False)


def _parquet(path: Path) -> pa.Table:
    return _first(pq.ParquetFile(path).iter_batches(batch_size=ROWS)).slice(0, ROWS)


def _typed(rows: pa.Table, *, numbers: bool) -> pa.Table:
    """Give each column of text the narrowest type that every value has; ``numbers`` looks for numbers too."""
    columns: list[Any] = [_narrowed(rows[name], numbers=numbers) for name in rows.column_names]
    return pa.table(columns, names=rows.column_names)


def _narrowed(column: Any, *, numbers: bool) -> Any:
    if not pa.types.is_string(column.type) or column.null_count == len(column):
        return column
    candidates: list[tuple[str, Any]] = [
        (r"^\d{4}-\d{2}-\d{2}$", pa.date32()),
        (r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}.*(Z|[+-]\d{2}:?\d{2})$", pa.timestamp("us", tz="UTC")),
        (r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}[0-9:.]*$", pa.timestamp("us")),
    ]
    if numbers:
        candidates += [
            (r"^(?i:true|false)$", pa.bool_()),
            (_WHOLE, pa.int64()),
            (_NUMBER, pa.float64()),
        ]
    for form, kind in candidates:
        if _compute.all(_compute.match_substring_regex(column, form)).as_py():
            try:
                return _compute.cast(column, kind)
            except pa.ArrowInvalid:
                continue
    return column


# ── databases ────────────────────────────────────────────────────────────────────────────────────────────────────


def _database(source: str) -> Sampled:
    try:
        url = sa.make_url(source)
    except (sa.exc.ArgumentError, ValueError):
        # Without the cause: its text may repeat the password.
        raise LakeError("The text at --from is no URL of a database.", _URL_FORM) from None
    table = url.query.get("table")
    schema, dot, name = table.partition(".") if isinstance(table, str) else ("", "", "")
    if url.drivername not in _SCHEMES or not dot or not name:
        raise LakeError(f"{url.render_as_string(hide_password=True)} names no PostgreSQL table.", _URL_FORM)
    url = url.set(drivername="postgresql+psycopg2").difference_update_query(["table"])
    engine = sa.create_engine(url, connect_args={"connect_timeout": 10, "application_name": "lake contracts new"})
    try:
        return read_table(engine, schema, name)
    except sa.exc.OperationalError as error:
        reason = str(error.orig).strip().splitlines()[0]
        raise LakeError(f"The database of --from does not answer ({reason}).", "Ask its agency.") from error
    finally:
        engine.dispose()


_URL_FORM = "Write postgresql://user:password@host:5432/database?table=schema.table."


def read_table(engine: sa.Engine, schema: str, table: str) -> Sampled:
    """Read the columns, the primary key and the first rows of a table.

    Raises:
        LakeError: there is no such table, or it has no rows; the message lists the tables of the schema.
    """
    inspector = sa.inspect(engine)
    if not inspector.has_table(table, schema):
        known = ", ".join(inspector.get_table_names(schema)) or "none that we may read"
        raise LakeError(f"There is no table {schema}.{table}.", f"Tables of {schema}: {known}.")
    columns = inspector.get_columns(table, schema)
    key = tuple(inspector.get_pk_constraint(table, schema)["constrained_columns"] or ())
    typed: list[sa.ColumnClause[Any]] = [sa.column(c["name"], c["type"]) for c in columns]
    chosen = sa.table(table, *typed, schema=schema)
    with engine.connect() as connection:
        found = connection.execute(sa.select(chosen).limit(ROWS)).mappings().all()
    if not found:
        raise LakeError(f"The table {schema}.{table} holds no rows.", "A contract is inferred from data.")
    arrays: dict[str, Any] = {}
    notes: list[str] = []
    for column in columns:
        values = [row[column["name"]] for row in found]
        kind = _arrow_type(column["type"], values)
        if kind is None:
            notes.append(
                f"column {column['name']!r} is {column['type']}, which a contract does not hold; it is left out"
            )
            continue
        arrays[column["name"]] = pa.array(
            [str(v) if v is not None and kind == pa.string() else v for v in values], kind
        )
        if not re.fullmatch(r"[a-z][a-z0-9_]*", column["name"]):
            notes.append(f"column {column['name']!r} needs a view: a sector table is read by lower-case names")
    return Sampled(pa.table(arrays), f"{schema}.{table}", key, (schema, table), tuple(notes))


def _arrow_type(kind: Any, values: list[Any]) -> pa.DataType | None:
    """The Arrow type of a column of a database; None for what has no place in a flat row.

    A number without declared digits gets those of its values, and room for more.
    """
    if isinstance(kind, sa.Boolean):
        return pa.bool_()
    if isinstance(kind, sa.BigInteger):
        return pa.int64()
    if isinstance(kind, sa.Integer):
        return pa.int32()
    if isinstance(kind, sa.Float):
        return pa.float64()
    if isinstance(kind, sa.Numeric):
        digits = [-int(v.normalize().as_tuple().exponent) for v in values if v is not None and v.is_finite()]
        return pa.decimal128(kind.precision or 18, kind.scale if kind.precision else max([3, *digits]))
    if isinstance(kind, sa.DateTime):
        return pa.timestamp("us", tz="UTC") if kind.timezone else pa.timestamp("us")
    if isinstance(kind, sa.Date):
        return pa.date32()
    return pa.string() if isinstance(kind, sa.String | sa.Uuid) else None
