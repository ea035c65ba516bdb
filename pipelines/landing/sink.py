"""One Delta table as a place to write: every commit carries the offsets of the records that it holds.

A commit is made through the handle that the offsets were read with: delta-rs then refuses the second of two writers
that move the same offset, while a write by path would take an older one and double the rows.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError

from pipelines.landing.spec import TableSpec
from pipelines.landing.tables import ensure_table
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings

log = logging.getLogger(__name__)

METADATA_KEY = "lake.offsets"
"""In the commit's own information: the offsets again, readable for the ledger without knowing their app ids."""
COMPACT_EVERY = 50
COMPACT_BYTES = 16 * 1024 * 1024
"""Hot files grow to this size: a larger target rewrites the same rows at every compaction (maintenance goes on)."""
FILE_BYTES = 8 * 1024 * 1024
"""Files that one commit of many rows is cut into: to replace a row its whole file is written anew."""
_GROUP_ROWS = 128 * 1024
"""A look-up reads whole row groups: delta-rs's own million rows would be all of a file."""
_WRITER = WriterProperties(compression="ZSTD", compression_level=1, max_row_group_size=_GROUP_ROWS)


class StaleOffsets(LakeError):
    """The table holds other offsets than this writer believes: somebody else wrote it."""


@dataclass
class Sink:
    """A table handle with the offsets it has committed; `app` ids are `<cluster>/<topic id>/<partition>`."""

    spec: TableSpec
    path: Path
    table: DeltaTable
    compact_every: int = COMPACT_EVERY
    _offsets: dict[str, int | None] = field(default_factory=dict)
    _touched: Counter[str] = field(default_factory=Counter)

    @classmethod
    def open(cls, settings: Settings, spec: TableSpec, *, compact_every: int = COMPACT_EVERY) -> Sink:
        """Create or check the table and open it."""
        return cls(spec, settings.table_path(spec.layer, spec.name), ensure_table(settings, spec), compact_every)

    def refresh(self) -> None:
        """Read what others committed since; offsets are read again."""
        self.table.update_incremental()
        self._offsets.clear()

    @property
    def writer_properties(self) -> WriterProperties:
        """How Parquet is written: light compression, decided by what a commit costs."""
        return _WRITER

    def committed(self, app: str) -> int | None:
        """The next offset to read of a source, as the table holds it; None when it never saw the source."""
        if app not in self._offsets:
            self._offsets[app] = self.table.transaction_version(app)
        return self._offsets[app]

    def behind(self, ends: Mapping[str, int]) -> dict[str, int]:
        """Those of `ends` (app → next offset) that the table has not committed yet."""
        return {app: end for app, end in ends.items() if end > (self.committed(app) or 0)}

    def properties(self, ends: Mapping[str, int], *, alone: bool = False) -> CommitProperties:
        """What a commit up to `ends` carries; `alone`: it fails after any other commit that the handle does not know.

        Raises:
            StaleOffsets: an end lies below what the table holds; delta-rs itself would take it and go back.
        """
        for app, end in ends.items():
            if end < (self.committed(app) or 0):
                raise StaleOffsets(
                    f"{self.spec.id} holds offset {self.committed(app)} of {app}; a commit up to {end} would go back.",
                    "End the other landing of this namespace and start one again.",
                )
        return CommitProperties(
            app_transactions=[Transaction(app, end) for app, end in sorted(ends.items())],
            custom_metadata={METADATA_KEY: json.dumps(dict(sorted(ends.items())))},
            max_commit_retries=0 if alone else None,
        )

    def append(self, rows: pa.Table, ends: Mapping[str, int]) -> None:
        """Append rows (any column order) and move the offsets, in one commit; no rows still records the offsets.

        Raises:
            CommitFailedError: another writer moved the same offsets.
        """
        names = [f.name for f in self.table.schema().fields]
        properties = self.properties(ends)
        write_deltalake(
            self.table,
            rows.select(names),
            mode="append",
            target_file_size=FILE_BYTES,
            commit_properties=properties,
            writer_properties=_WRITER,
        )
        self.moved(rows, ends)

    def moved(self, rows: pa.Table, ends: Mapping[str, int]) -> None:
        """Remember a commit that was made: its offsets, and which partitions it wrote a file to."""
        self._offsets.update(ends)
        if not rows.num_rows:
            return
        if not self.spec.partition_by:
            self._touched[""] += 1
            return
        for value in rows[self.spec.partition_by[0]].unique().to_pylist():
            self._touched["" if value is None else str(value)] += 1

    def compact(self, *, force: bool = False) -> int:
        """Compact every partition that was written `compact_every` times since; returns the files removed.

        Another writer's commit may win: then the partition is tried again after the next commits.
        """
        removed = 0
        for value, commits in list(self._touched.items()):
            if commits < self.compact_every and not (force and commits > 1):
                continue
            filters = [(self.spec.partition_by[0], "=", value)] if self.spec.partition_by else None
            try:
                metrics = self.table.optimize.compact(
                    partition_filters=filters, target_size=COMPACT_BYTES, writer_properties=_WRITER
                )
            except CommitFailedError as error:
                log.warning("compaction lost to another commit", extra={"table": self.spec.id, "reason": str(error)})
                self.table.update_incremental()
            else:
                removed += int(metrics["numFilesRemoved"])
            del self._touched[value]
        return removed
