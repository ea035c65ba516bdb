"""Looks a staged load through before anything of it is stored: what is refused, what is deleted, what is nothing new.

A load with too many refused rows, or one that would delete too many, then fails whole, with nothing written and the
mark where it was; and a row that silver holds already, as most rows of a table that is read whole each night, is
counted and stored no second time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipelines.contracts.model import Dataset, Sector
from pipelines.ingestion.protect import DELETED, DETAIL, REASON, ROW_JSON
from pipelines.ingestion.staged import Staged
from pipelines.landing.apply import Silver
from pipelines.landing.arrow import Bools, Int64s, bools, hashes, keep, take
from pipelines.landing.arrow import kernels as pc
from pipelines.landing.checks import Check, check_rows
from pipelines.landing.landed import among
from pipelines.landing.resolve import content_columns, differing, group_ids
from pipelines.runtime.errors import LakeError

DOUBLED = "duplicate_key"
_SHOWN_REASONS = 3


class Intolerable(LakeError):
    """A load would do more than its contract tolerates; nothing of it was stored."""


class TooManyRefused(Intolerable):
    """More rows of a load broke their contract than it tolerates."""


class TooManyDeleted(Intolerable):
    """A load would delete more rows than its contract tolerates, or all of them because the source is empty."""


@dataclass(frozen=True)
class Judged:
    """What a staged load brings. `refused`: rows by reason, `example` a sentence about one of them. By row: whether
    silver holds it already, or not, where it says that it is deleted (`unchanged`), whether an equal row stands before
    it (`repeated`), whether its key is also that of a row that says something else (`doubled`: nobody knows which is
    right), whether it says that it is deleted (`told`), and whether it takes its key out of silver (`deleted`).

    `gone` are the keys of silver that the source no longer has, by the `keys` that it has; None when it was not asked.
    `held` is how many rows silver has.
    """

    rows: int
    refused: Mapping[str, int]
    example: str
    unchanged: Bools
    repeated: Bools
    doubled: Bools
    told: Bools
    deleted: Bools
    gone: pa.Table
    keys: int | None
    held: int

    @property
    def stored(self) -> Bools:
        """Which rows go to bronze."""
        found: Bools = ~(self.unchanged | self.repeated)
        return found

    def check(self, dataset: Dataset, sector: Sector) -> None:
        """Let the load pass unless it breaks its contract, or deletes, more often than tolerated.

        Raises:
            TooManyRefused: the text has the most frequent reasons and an example. TooManyDeleted: it says how many.
        """
        self._check_refused(dataset, sector)
        self._check_deleted(dataset, sector)

    def _check_refused(self, dataset: Dataset, sector: Sector) -> None:
        tolerance = sector.tolerance
        count = sum(self.refused.values())
        if count <= tolerance.refused_rows or 100 * count <= tolerance.refused_pct * self.rows:
            return
        most = sorted(self.refused.items(), key=lambda item: (-item[1], item[0]))[:_SHOWN_REASONS]
        shown = ", ".join(f"{reason} ({number})" for reason, number in most)
        raise TooManyRefused(
            f"{dataset.id}: {count} of {self.rows} rows break the contract; tolerated are {tolerance.refused_pct:g} % "
            f"or {tolerance.refused_rows} rows. Most often: {shown}. One of them: {self.example}.",
            f"Nothing was loaded, the last good state stays. Ask {dataset.owner} to mend the rows, or release a new "
            f"version of schemas/datasets/{dataset.domain}/{dataset.id}.yaml.",
        )

    def _check_deleted(self, dataset: Dataset, sector: Sector) -> None:
        tolerance = sector.tolerance
        count = int(self.deleted.sum()) + self.gone.num_rows
        is_empty = self.keys == 0 and tolerance.deleted_pct < 100
        few = count <= tolerance.deleted_rows or 100 * count <= tolerance.deleted_pct * self.held
        if not count or (few and not is_empty):
            return
        column = sector.deletes.column if sector.deletes else None
        why = f"{column} says so" if column else f"{sector.place} no longer has their keys"
        allowed = f"tolerated are {tolerance.deleted_pct:g} % or {tolerance.deleted_rows} rows"
        if is_empty:
            why, allowed = f"{sector.place} has no row any more", "an empty source is never taken at its word"
        percent = "100" if is_empty else "what is to be expected"
        raise TooManyDeleted(
            f"{dataset.id}: {count} of {self.held} rows would be deleted, because {why}; {allowed}.",
            f"Nothing was loaded, the last good state stays. Ask {dataset.owner} whether the table was emptied, or is "
            f"being filled. If the rows are to go, raise `tolerance.deleted_pct` to {percent} in "
            f"schemas/datasets/{dataset.domain}/{dataset.id}.yaml.",
        )


def judge(staged: Staged, silver: Silver) -> Judged:
    """Read a staged load and compare it with its contract and with silver; writes nothing."""
    dataset = silver.dataset
    told = _told(staged, dataset)
    doubled, repeated = _shared_keys(staged, dataset, told)
    refused: Counter[str] = Counter()
    example = ""
    unchanged, deleted = np.zeros(staged.rows, dtype=bool), np.zeros(staged.rows, dtype=bool)
    for place, chunk in staged.chunks():
        unread = bools(pc.is_valid(chunk[REASON])) & ~told[place]
        for name, detail in _broken(keep(chunk, unread), REASON, DETAIL, refused):
            example = example or f"{name}: {detail}"
        twice = doubled[place]
        refused.update({DOUBLED: int(twice.sum())} if twice.any() else {})
        judged = np.flatnonzero(~unread & ~twice & ~repeated[place] & ~told[place])
        checked = check_rows(dataset, silver.checks, take(chunk, judged), silver.encrypt)
        for name, detail in _broken(checked.failed, "reason", "detail", refused):
            example = example or f"{name}: {detail}"
        sound = np.delete(judged, checked.positions)
        unchanged[place.start + sound[silver.holds(checked.ok)]] = True
        asked = np.flatnonzero(told[place] & ~repeated[place])
        if len(asked):
            deleted[place.start + asked] = silver.has(take(chunk, asked))
    unchanged |= told & ~repeated & ~deleted
    example = example or f"{DOUBLED}: {', '.join(dataset.key)} of two rows that differ"
    keys, gone = _gone(staged, silver)
    held = int(silver.sink.table.count())
    return Judged(staged.rows, dict(refused), example, unchanged, repeated, doubled, told, deleted, gone, keys, held)


def _told(staged: Staged, dataset: Dataset) -> Bools:
    """Which rows say that they are deleted. All else that they say may be wrong, but not their key."""
    told = np.zeros(staged.rows, dtype=bool)
    column = dataset.sector.deletes.column if dataset.sector and dataset.sector.deletes else None
    column = DELETED if dataset.sector and dataset.sector.mode == "capture" else column
    if column is None:
        return told
    for place, chunk in staged.chunks(list(dict.fromkeys((*dataset.key, column)))):
        says = chunk[column] if pa.types.is_boolean(chunk[column].type) else pc.is_valid(chunk[column])
        told[place] = bools(says)
        for name in dataset.key:
            told[place] &= bools(pc.is_valid(chunk[name]))
    return told


def _gone(staged: Staged, silver: Silver) -> tuple[int | None, pa.Table]:
    """How many keys the source has, and the keys of silver that are not among them; (None, none) when it did not say.

    Eight bytes of each of the source's keys are in memory, and the keys that are gone; no row is read but for its key.
    """
    key = list(silver.dataset.key)
    columns = pa.schema(silver.sink.table.schema())
    schema = pa.schema([columns.field(name) for name in key])
    if not staged.has_keys:
        return None, schema.empty_table()
    theirs = np.concatenate([hashes(rows.cast(schema)) for rows in staged.keys(key)])
    theirs.sort()
    gone = [keep(rows, ~among(theirs, hashes(rows))) for rows in silver.all_keys() if rows.num_rows]
    count = int(np.count_nonzero(theirs[1:] != theirs[:-1])) + min(len(theirs), 1)
    return count, pa.concat_tables([schema.empty_table(), *gone])


def _broken(rows: pa.Table, reason: str, detail: str, counts: Counter[str]) -> list[tuple[str, str]]:
    """Count refused rows by reason; returns reason and detail of the first."""
    counts.update(map(str, rows[reason].to_pylist()))
    return [(str(rows[reason][0]), str(rows[detail][0]))] if rows.num_rows else []


def refusals(rows: pa.Table, twice: Bools, told: Bools, silver: Silver) -> pa.Table:
    """Why rows of a chunk are refused before they are in bronze, and as what they are kept: columns `position` (in the
    chunk), :data:`REASON`, :data:`DETAIL` and the row; of those with a key in common (`twice`) the row as converted.
    None of those that say that they are deleted (`told`) is refused."""
    unread = np.flatnonzero(bools(pc.is_valid(rows[REASON])) & ~told)
    names = [REASON, DETAIL, ROW_JSON]
    parts = [take(rows.select(names), unread).append_column("position", pa.array(unread, pa.int64()))]
    if twice.any():
        own = [field.name for field in silver.dataset.fields]
        check = Check(DOUBLED, silver.dataset.key, "one row for a key", lambda t: pa.array(np.ones(t.num_rows, bool)))
        failed = check_rows(silver.dataset, (check,), keep(rows.select(own), twice), silver.encrypt).failed
        columns = [failed[name] for name in ("reason", "detail", "row_json")]
        positions = pa.array(np.flatnonzero(twice), pa.int64())
        parts.append(pa.table([*columns, positions], names=[*names, "position"]))
    return pa.concat_tables(parts).sort_by("position")


def _shared_keys(staged: Staged, dataset: Dataset, told: Bools) -> tuple[Bools, Bools]:
    """By row: whether a row with its key says something else, and whether an equal row stands before it.

    A row that says that it is deleted (`told`) is a repeated one as soon as there is another with its key: of several
    of these the first counts, and one that is there counts more than one that was. Changes that a table told stand in
    their order: of those of one key the last counts, whatever it says. Hashes of all keys are in memory together, then
    the rows whose hash is not alone.
    """
    key, names = list(dataset.key), list(dict.fromkeys((*dataset.key, *content_columns(dataset))))
    doubled, repeated = np.zeros(staged.rows, dtype=bool), np.zeros(staged.rows, dtype=bool)
    found = np.zeros(staged.rows, dtype=np.uint64)
    for place, chunk in staged.chunks(key):
        found[place] = hashes(chunk.select(key))
    ordered = np.sort(found)
    twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if not len(twice):
        return doubled, repeated
    rows, positions = _rows(staged, [*names, REASON], np.isin(found, twice))
    gone = told[positions]
    if dataset.sector and dataset.sector.mode == "capture":
        read = bools(pc.is_null(rows[REASON])) | gone
        ids = np.where(read, group_ids(rows, key), -1)
        repeated[positions[read & ~_firsts(ids[::-1])[::-1]]] = True
        return doubled, repeated
    # A row that could not be read doubles nothing: its key may be what was wrong.
    sound = bools(pc.is_null(rows[REASON])) & ~gone
    ids = group_ids(rows, key)
    repeated[positions] = gone & (np.isin(ids, ids[~gone]) | ~_firsts(np.where(gone, ids, -1)))
    rows, positions, ids = keep(rows, sound), positions[sound], ids[sound]
    _, firsts, inverse = np.unique(ids, return_index=True, return_inverse=True)
    first = firsts[inverse].astype(np.int64)
    here = np.arange(len(ids), dtype=np.int64)
    contested = np.isin(ids, ids[differing(rows, names, here, first)])
    doubled[positions[contested]] = True
    repeated[positions[~contested & (here != first)]] = True
    return doubled, repeated


def _firsts(ids: Int64s) -> Bools:
    """Which of the numbers stand in their first place."""
    result: Bools = np.zeros(len(ids), dtype=bool)
    result[np.unique(ids, return_index=True)[1]] = True
    return result


def _rows(staged: Staged, columns: list[str], chosen: Bools) -> tuple[pa.Table, Int64s]:
    """The chosen rows, and their positions in the load."""
    parts = [keep(chunk, chosen[place]) for place, chunk in staged.chunks(columns)]
    return pa.concat_tables(parts).combine_chunks(), np.flatnonzero(chosen)
