"""Which small files of a table would be merged, known from its log alone; and the merging of gold by Spark."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable

from pipelines.runtime.settings import Settings
from pipelines.runtime.spark import session


@dataclass(frozen=True)
class Merge:
    """What compaction would do: ``files`` of ``bytes`` in ``partitions`` become ``new_files``."""

    files: int = 0
    bytes: int = 0
    partitions: int = 0
    new_files: int = 0

    @property
    def excess(self) -> int:
        """How many files fewer there would be: what a reader gains, and whether it is worth a commit."""
        return self.files - self.new_files


def planned_merge(table: DeltaTable, target_bytes: int) -> Merge:
    """What delta-rs would merge: in each partition it goes through the files below the target in the order of the log,
    and begins another one where the next has no room; a file that stays alone is left."""
    sizes: dict[str, list[int]] = {}
    for row in pa.table(table.get_add_actions()).to_pylist():
        size = int(row["size_bytes"])
        if size < target_bytes:
            sizes.setdefault(str(row.get("partition")), []).append(size)
    packed = [_pack(found, target_bytes) for found in sizes.values()]
    merged = [bins for bins in packed if bins]
    return Merge(
        files=sum(count for bins in merged for count, _ in bins),
        bytes=sum(size for bins in merged for _, size in bins),
        partitions=len(merged),
        new_files=sum(len(bins) for bins in merged),
    )


def _pack(sizes: Iterable[int], target: int) -> list[tuple[int, int]]:
    """Count and bytes of each new file that would hold more than one old one."""
    bins: list[list[int]] = []
    for size in sizes:
        if bins and sum(bins[-1]) + size <= target:
            bins[-1].append(size)
        else:
            bins.append([size])
    return [(len(found), sum(found)) for found in bins if len(found) > 1]


def optimize_by_spark(settings: Settings, path: Path) -> int:
    """Let Spark, the one writer of gold, merge the small files of a table; returns how many files went.

    Raises:
        ServiceError: Spark does not run.
    """
    spark = session(settings)
    # A path is an identifier to Spark, in backticks; its own quote is doubled.
    quoted = str(path).replace("`", "``")
    row = spark.sql(f"OPTIMIZE delta.`{quoted}`").select("metrics.numFilesRemoved").collect()[0]
    return int(row[0])
