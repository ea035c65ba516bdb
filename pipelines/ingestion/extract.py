"""dlt reads a sector table in Arrow batches, remembers the cursor, and keeps an unfinished load for the next run.

Every value is read as PostgreSQL's own text form: a date in the year 20025 or a NaN is then one bad row, found by
:mod:`pipelines.ingestion.protect`, and not the end of the load. Personal values are tokens before dlt writes anything.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import sqlalchemy as sa

from pipelines.contracts.model import Dataset
from pipelines.contracts.targets.delta import arrow_schema
from pipelines.ingestion.plan import sector_of
from pipelines.ingestion.source import source_columns
from pipelines.runtime.settings import Settings

if TYPE_CHECKING:
    import dlt

BATCH_ROWS = 50_000
CURSOR = "lake_cursor"
"""The extra column that dlt remembers; it never passes the database's clock, see :func:`_query`."""
_SINK = "bronze"
Protect = Callable[[pa.Table], pa.Table]
Sink = Callable[[Path], None]


def extract(settings: Settings, dataset: Dataset, engine: sa.Engine, protect: Protect, sink: Sink) -> None:
    """Read what is new (cursor with lag) or everything (snapshot) and hand it to `sink` as one Parquet file.

    `protect` turns each batch of text columns (named as the source's, plus CURSOR) into what may be stored. An
    empty read calls `sink` not at all. The cursor moves when the read is staged; the staged file stays until
    `sink` returned, and :func:`finish_pending` hands it over again after a crash.

    Raises:
        Exception: whatever `protect` or `sink` raised; SQLAlchemy's errors of the database.
    """
    guarded = _Sink(sink)
    _run(_pipeline(settings, dataset, guarded), guarded, _rows(dataset, engine, protect))


def finish_pending(settings: Settings, dataset: Dataset, sink: Sink) -> bool:
    """Hand over the load that an earlier run staged but did not finish; returns whether there was one."""
    guarded = _Sink(sink)
    pipeline = _pipeline(settings, dataset, guarded)
    if not pipeline.has_pending_data:
        return False
    _run(pipeline, guarded, None)
    return True


def forget(settings: Settings, dataset: Dataset) -> None:
    """Drop dlt's state and staged data of one dataset: the next extract reads the whole table."""
    for folder in _root(settings).glob(f"{dataset.id}-*"):
        shutil.rmtree(folder)


class _Sink:
    """Keeps what the sink raised: dlt would wrap it in its own text."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.error: Exception | None = None

    def take(self, path: Path) -> None:
        try:
            self.sink(path)
        except Exception as error:  # kept whole and raised again by _run
            self.error = error
            raise


def _run(pipeline: dlt.Pipeline, sink: _Sink, rows: Any) -> None:
    from dlt.pipeline.exceptions import PipelineStepFailed

    try:
        pipeline.run(rows)
    except PipelineStepFailed as failure:
        raise sink.error or _root_cause(failure) from None


def _root_cause(error: BaseException) -> BaseException:
    """Return the first error of a chain: dlt wraps what happened in two or three of its own."""
    while (cause := error.__cause__ or error.__context__) is not None and not isinstance(error, sa.exc.SQLAlchemyError):
        error = cause
    return error


def _root(settings: Settings) -> Path:
    return settings.state / "dlt" / settings.namespace


def _pipeline(settings: Settings, dataset: Dataset, sink: _Sink) -> dlt.Pipeline:
    """Open the dataset's pipeline; other columns get a new one, which reads the table from the beginning."""
    root = _root(settings)
    name = f"{dataset.id}-{_fingerprint(dataset)}"
    for old in root.glob(f"{dataset.id}-*"):
        if old.name != name:
            # Staged rows of an older contract: the whole table is read again, and personal text must not lie about.
            shutil.rmtree(old)
    _configure(settings)
    import dlt

    def hand_over(path: str, table: dict[str, Any]) -> None:
        sink.take(Path(path))

    destination: Any = dlt.destination(
        hand_over,
        batch_size=0,  # the path of the Parquet file, not its rows
        loader_file_format="parquet",
        name=_SINK,
        naming_convention="direct",
        skip_dlt_columns_and_tables=True,
        max_table_nesting=0,
        loader_parallelism_strategy="sequential",
    )
    return dlt.pipeline(name, pipelines_dir=str(root), destination=destination, dataset_name=dataset.id)


def _fingerprint(dataset: Dataset) -> str:
    """Changes with what is read and stored: columns and types, in whatever order. Their titles stand in the schema too,
    and better words are no reason to read a table again."""
    stored = sorted((field.name, str(field.type)) for field in arrow_schema(dataset, "bronze"))
    return hashlib.sha256(f"{sorted(source_columns(dataset))}{stored}".encode()).hexdigest()[:8]


def _configure(settings: Settings) -> None:
    """Tell dlt to phone nobody, to keep no loaded data, and to leave retries and secrets to us.

    It reads its options from the environment when it is first imported: Airflow's metadata database would be opened
    as a source of secrets, and a file made in the home folder.
    """
    os.environ.update(
        RUNTIME__DLTHUB_TELEMETRY="false",
        RUNTIME__LOG_LEVEL="CRITICAL",
        PROVIDERS__ENABLE_AIRFLOW_SECRETS="false",
        LOAD__DELETE_COMPLETED_JOBS="true",
        LOAD__RAISE_ON_MAX_RETRIES="1",
        DLT_DATA_DIR=str(settings.state / "dlt"),
    )


def _rows(dataset: Dataset, engine: sa.Engine, protect: Protect) -> Any:
    """The dlt resource: the table's batches, protected."""
    import dlt
    from dlt.sources.sql_database import sql_table

    sector = sector_of(dataset)
    incremental: Any = None
    if sector.cursor:
        incremental = dlt.sources.incremental(
            CURSOR,
            lag=sector.lag.total_seconds(),
            on_cursor_value_missing="include",
            # Without keys dlt keeps no hashes of rows in its state; what is read twice ends as `unchanged`.
            primary_key=(),
        )
    columns = source_columns(dataset)
    base: list[sa.Table] = []

    def as_text(table: sa.Table) -> sa.Subquery:
        base.append(table)
        return _query(table, columns, sector.cursor, None).subquery("source")

    def query(_select: Any, _source: Any, cursor: Any = None, _engine: Any = None) -> Any:
        since = cursor.get_current_range()[0] if cursor is not None else None
        return _query(base[0], columns, sector.cursor, since)

    table = sql_table(
        credentials=engine,
        schema=sector.schema_name,
        table=sector.table,
        backend="pyarrow",
        chunk_size=BATCH_ROWS,
        included_columns=list(columns),
        table_adapter_callback=as_text,
        query_adapter_callback=query,
        incremental=incremental,
    )

    def protected(batch: pa.Table) -> Iterator[pa.Table]:
        yield protect(batch)

    return dlt.transformer(
        protected,
        name=dataset.id,
        data_from=table,
        write_disposition="append",
        schema_contract={"tables": "evolve", "columns": "freeze", "data_type": "freeze"},
    )


def _query(table: sa.Table, columns: tuple[str, ...], cursor: str | None, since: Any) -> sa.Select[Any]:
    """Select every column as text, and the cursor bounded by the database's clock.

    A row that claims to be of 2030 would otherwise move the cursor there, and no later change would be read for
    years. Such rows, and rows without a cursor value, are read every time; the filter is on the plain column, so
    that its index is used. Later changes come last, so that of two rows with one key the newer one wins.
    """
    selected: list[sa.ColumnElement[Any]] = [sa.cast(table.c[name], sa.Text).label(name) for name in columns]
    if cursor is None:
        return sa.select(*selected)
    at = table.c[cursor]
    zoned = sa.DateTime(timezone=True)
    floor = sa.cast(sa.literal("1970-01-01 00:00:00+00"), zoned)
    bounded = sa.func.greatest(sa.func.least(at, sa.func.now()), floor, type_=zoned)
    statement = sa.select(*selected, bounded.label(CURSOR)).order_by(at.asc().nulls_first())
    return statement if since is None else statement.where(sa.or_(at >= since, at.is_(None)))
