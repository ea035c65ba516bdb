"""Replaces rows of a table by writing exactly the files anew that hold them, in one commit with the offsets; appends
rows that memory does not hold in the same way.

delta-rs itself writes the new files and their statistics, into a folder that no reader looks at; from there they are
moved beside the others and take the place of the old ones. The commit fails when anybody committed since the rows were
looked up, even a compaction, which delta-rs does not count as a conflict with removed files.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
from deltalake import CommitProperties, write_deltalake
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, RemoveAction

from pipelines.landing.arrow import Bools, Int64s, take
from pipelines.landing.lookup import DataFile, Found, fragment
from pipelines.landing.resolve import group_ids, partners
from pipelines.landing.sink import FILE_BYTES, Sink

_FOLDER = "_rewrite"
"""Below the table's folder, and so on its disk; names with an underscore are hidden from readers and from vacuum."""


@dataclass(frozen=True)
class Replacement:
    """`updates` take the place of the `found` rows with their keys, those with the keys of `deletes` go, `inserts` come
    on top."""

    found: Found
    updates: pa.Table
    inserts: pa.Table
    deletes: pa.Table


def rewrite(sink: Sink, key: Sequence[str], change: Replacement, ends: Mapping[str, int]) -> None:
    """Replace, delete and insert rows, and move the offsets to `ends`.

    Order within a file stays, so that a table which lies in the order of its keys goes on to.

    Raises:
        CommitFailedError: the table has another version than `found`: reload and plan again.
        ValueError: a row lacks a part of its key.
    """
    found = change.found
    if found.files is None:
        raise ValueError(f"{sink.spec.id} is not a table of plain files")
    if sink.table.version() != found.version:
        raise CommitFailedError(f"{sink.spec.id} was looked up at {found.version} and is at {sink.table.version()}.")
    schema = pa.schema(sink.table.schema())
    replaced, deleted = _found(found, change.updates, key), _found(found, change.deletes, key)
    for wanted, rows in ((replaced, change.updates), (deleted, change.deletes)):
        if len(np.unique(wanted[wanted >= 0])) != rows.num_rows:
            raise ValueError(f"{sink.spec.id}: a row that is to be replaced or deleted was not found")
    goes = deleted >= 0
    old = {int(number): found.files[number] for number in np.unique(found.file[(replaced >= 0) | goes])}

    def anew() -> Iterator[pa.Table]:
        groups = _groups(old)
        for numbers in groups:
            parts = [_anew(sink.path, found, number, change.updates, replaced, goes, schema) for number in numbers]
            if numbers is groups[-1]:
                parts.append(change.inserts.select(schema.names).cast(schema))
            # One chunk: of several delta-rs does not promise the order.
            yield _complete(pa.concat_tables(parts), key).combine_chunks()

    added = _written(sink, anew())
    now = int(time.time() * 1000)
    removed = [RemoveAction(f.path, True, now, size=f.size, partition_values=dict(f.partition)) for f in old.values()]
    _commit(sink, [*added, *removed], sink.properties(ends, alone=True))
    sink.table.update_incremental()
    sink.moved(pa.concat_tables([change.updates, change.inserts]), ends)


def append_parts(sink: Sink, parts: Iterable[pa.Table], ends: Mapping[str, int]) -> None:
    """Append rows and move the offsets to `ends`, in one commit: of a write that breaks off nothing is in the table.

    One part at a time is in memory. delta-rs itself, given all of them to read one after the other, held 200 bytes a
    row at its end.

    Raises:
        CommitFailedError: another writer moved the same offsets.
    """
    _commit(sink, _written(sink, parts), sink.properties(ends))


def _written(sink: Sink, parts: Iterable[pa.Table]) -> list[AddAction]:
    """Write the parts that have rows, one after the other, and move their files beside those of the table."""
    folder = sink.path / _FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    try:
        for rows in parts:
            if rows.num_rows:
                _write(sink, folder, rows)
        return [_moved(sink.path, folder, entry) for entry in _entries(folder)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _commit(sink: Sink, actions: list[AddAction | RemoveAction], properties: CommitProperties) -> None:
    sink.table.create_write_transaction(
        actions,
        "append",
        sink.table.schema(),
        partition_by=list(sink.spec.partition_by) or None,
        commit_properties=properties,
    )


def _write(sink: Sink, folder: Path, rows: pa.Table) -> None:
    """Write rows as files of a table that nobody reads."""
    write_deltalake(
        str(folder),
        rows,
        mode="append",
        partition_by=list(sink.spec.partition_by) or None,
        target_file_size=FILE_BYTES,
        writer_properties=sink.writer_properties,
    )


def _groups(files: Mapping[int, DataFile]) -> list[list[int]]:
    """The numbers of the files, as many together as one new file holds: what is in memory at once."""
    groups: list[list[int]] = []
    size = FILE_BYTES
    for number, file in files.items():
        if size + file.size > FILE_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(number)
        size += file.size
    return groups


def _anew(
    root: Path, found: Found, number: int, updates: pa.Table, replaced: Int64s, goes: Bools, schema: pa.Schema
) -> pa.Table:
    """The rows of one file without those that go, each that is replaced in its place."""
    if found.files is None:
        raise ValueError("the table is not one of plain files")
    rows = fragment(root, found.files[number], schema).to_table(schema=schema, columns=schema.names)
    here = (found.file == number) & (replaced >= 0)
    taken = np.arange(rows.num_rows, dtype=np.int64)
    taken[found.position[here]] = rows.num_rows + replaced[here]
    taken = np.delete(taken, found.position[(found.file == number) & goes])
    return take(pa.concat_tables([rows, updates.select(schema.names).cast(schema)]), taken)


def _found(found: Found, wanted: pa.Table, key: Sequence[str]) -> Int64s:
    """For each found row the one of `wanted` with its key, -1 where there is none."""
    names = list(key)
    ids = group_ids(pa.concat_tables([wanted.select(names), found.rows.select(names)]), key)
    return partners(ids[: wanted.num_rows], ids[wanted.num_rows :])


def _complete(rows: pa.Table, key: Sequence[str]) -> pa.Table:
    """The rows, when none of them breaks the table's only constraint, which no engine checks here."""
    lacking = [name for name in key if rows[name].null_count]
    if lacking:
        raise ValueError(f"rows without {', '.join(lacking)}, which their key needs")
    return rows


def _entries(folder: Path) -> Iterator[Mapping[str, Any]]:
    """What the commits of a new table add, in their order."""
    for commit in sorted((folder / "_delta_log").glob("*.json")):
        for action in map(json.loads, commit.read_text("utf-8").splitlines()):
            if "add" in action:
                yield action["add"]


def _moved(root: Path, folder: Path, entry: Mapping[str, Any]) -> AddAction:
    """Move a new file to its place in the table; until the commit nobody sees it, and vacuum takes what is left."""
    file = DataFile(entry["path"], entry["size"], entry["partitionValues"])
    target = root / unquote(file.path)
    target.parent.mkdir(parents=True, exist_ok=True)
    os.rename(folder / unquote(file.path), target)
    return AddAction(file.path, file.size, file.partition, entry["modificationTime"], True, entry["stats"])
