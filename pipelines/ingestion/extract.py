"""dlt takes the batches of a read and keeps an unfinished load for the next run; how far the source was read is not its
to know, but stands with the rows in bronze. Personal values are tokens before dlt writes anything.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipelines.contracts.model import Dataset
from pipelines.ingestion.staged import FORM, fingerprint
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings

if TYPE_CHECKING:
    import dlt

_SINK = "bronze"
Protect = Callable[[pa.Table], pa.Table]
Sink = Callable[[Path], None]


def stage(
    settings: Settings,
    dataset: Dataset,
    batches: Iterable[pa.RecordBatch],
    protect: Protect,
    behind: Iterable[pa.Table] = (),
) -> None:
    """Take a read to its end and keep it for :func:`finish_pending`; of one that breaks off nothing is kept.

    `protect` turns each batch into what may be stored; `behind` are read when the batches have ended, and may be stored
    as they are. When this returns, the source is needed no more.

    Raises:
        Exception: whatever `batches`, `protect` or `behind` raised.
    """
    rows = _rows(dataset, batches, protect, behind)
    pipeline = _pipeline(settings, dataset, _Sink(_nowhere))
    with _own_errors():
        pipeline.extract(rows)


def finish_pending(settings: Settings, dataset: Dataset, sink: Sink) -> bool:
    """Hand over the load that was staged, by this run or one that did not finish; returns whether there was one.

    It stays until `sink` returned, and is handed over again after a crash.

    Raises:
        Exception: whatever `sink` raised.
    """
    guarded = _Sink(sink)
    pipeline = _pipeline(settings, dataset, guarded)
    if not pipeline.has_pending_data:
        return False
    with _own_errors(guarded):
        pipeline.run(None)
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
        except Exception as error:  # kept whole and raised again by _own_errors
            self.error = error
            raise


def _nowhere(path: Path) -> None:
    raise AssertionError(f"{path.name} is only staged")


@contextmanager
def _own_errors(sink: _Sink | None = None) -> Iterator[None]:
    """Raise what happened below dlt, and not what dlt makes of it."""
    from dlt.pipeline.exceptions import PipelineStepFailed

    try:
        yield
    except PipelineStepFailed as failure:
        raise (sink.error if sink else None) or _root_cause(failure) from None


def _root_cause(error: BaseException) -> BaseException:
    """Return the error below dlt's own: ours, or the first of the chain."""
    while (cause := error.__cause__ or error.__context__) is not None and not isinstance(error, LakeError):
        error = cause
    return error


def _root(settings: Settings) -> Path:
    return settings.state / "dlt" / settings.namespace


def _pipeline(settings: Settings, dataset: Dataset, sink: _Sink) -> dlt.Pipeline:
    """Open the dataset's pipeline; other columns get a new one, which reads the table from the beginning."""
    root = _root(settings)
    name = f"{dataset.id}-{fingerprint(dataset)}-{FORM}"
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


def _configure(settings: Settings) -> None:
    """Tell dlt to phone nobody, to keep no loaded data, to ask our sink for no state, and to leave retries and secrets
    to us.

    It reads its options from the environment when it is first imported: Airflow's metadata database would be opened
    as a source of secrets, and a file made in the home folder.
    """
    os.environ.update(
        RUNTIME__DLTHUB_TELEMETRY="false",
        RUNTIME__LOG_LEVEL="CRITICAL",
        PROVIDERS__ENABLE_AIRFLOW_SECRETS="false",
        RESTORE_FROM_DESTINATION="false",
        LOAD__DELETE_COMPLETED_JOBS="true",
        LOAD__RAISE_ON_MAX_RETRIES="1",
        DLT_DATA_DIR=str(settings.state / "dlt"),
    )


def _rows(dataset: Dataset, batches: Iterable[pa.RecordBatch], protect: Protect, behind: Iterable[pa.Table]) -> Any:
    """The dlt resource: the batches, protected, and what comes behind them."""
    import dlt

    def protected() -> Iterator[pa.Table]:
        for batch in batches:
            yield protect(pa.Table.from_batches([batch]))
        yield from behind

    return dlt.resource(
        protected,
        name=dataset.id,
        write_disposition="append",
        schema_contract={"tables": "evolve", "columns": "freeze", "data_type": "freeze"},
    )
