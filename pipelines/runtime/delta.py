"""Delta tables as Arrow reads them.

delta-rs hands Arrow a file system that is written in Python. Arrow closes files on its own threads, also while the
interpreter is ending: a process whose last step was to read a table is then aborted (SIGABRT) with its work done.
Arrow's own file systems know no interpreter, so every table is read through these two functions.
"""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from deltalake import DeltaTable

Filters = Sequence[tuple[str, str, Any]]
"""Conditions that hold together: (column, operator, value)."""


def arrow_dataset(table: DeltaTable, pruned_by: Filters | str | None = None) -> pads.Dataset:
    """The files of a table at the version of its handle.

    `pruned_by` leaves out files whose partition or statistics rule it out; the rows of the others are not filtered.

    Raises:
        DeltaProtocolError: the table has deletion vectors or renamed columns, which files alone do not tell.
    """
    files, root = pafs.FileSystem.from_uri(table.table_uri)
    below: Any = pafs.SubTreeFileSystem(root, files)
    found: pads.Dataset = table.to_pyarrow_dataset(filesystem=below, file_pruning_predicate=pruned_by)
    return found


def arrow_table(
    table: DeltaTable, columns: Sequence[str] | None = None, filters: Filters | pads.Expression | None = None
) -> pa.Table:
    """The rows of a table that meet `filters`, in no order. Raises as :func:`arrow_dataset`."""
    chosen: Any = filters
    if filters is not None and not isinstance(filters, pads.Expression):
        together: Any = list(filters)
        chosen = pq.filters_to_expression(together)
    return arrow_dataset(table).to_table(columns=None if columns is None else list(columns), filter=chosen)
