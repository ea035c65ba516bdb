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
from pipelines.ingestion.noted import Hashes, Note, Notes, missing
from pipelines.ingestion.protect import DELETED, DETAIL, REASON, ROW_JSON
from pipelines.ingestion.staged import Staged
from pipelines.landing.apply import Silver
from pipelines.landing.arrow import Bools, Int64s, UInt64s, bools, hashes, keep, take
from pipelines.landing.arrow import kernels as pc
from pipelines.landing.checks import Check, check_rows
from pipelines.landing.landed import among
from pipelines.landing.resolve import content_columns, differing, group_ids
from pipelines.runtime.errors import LakeError

DOUBLED = "duplicate_key"
_SHOWN_REASONS = 3
_NOT_STORED = Note.UNCHANGED | Note.REPEATED


class Intolerable(LakeError):
    """A load would do more than its contract tolerates; nothing of it was stored."""


class TooManyRefused(Intolerable):
    """More rows of a load broke their contract than it tolerates."""


class TooManyDeleted(Intolerable):
    """A load would delete more rows than its contract tolerates, or all of them because the source is empty."""


@dataclass(frozen=True)
class Judged:
    """What a staged load brings. `refused`: rows by reason, `example` a sentence about one of them; `notes`: what is
    known of each row.

    `gone` are the keys of silver that the source no longer has, by the `keys` that it has; None when it was not asked.
    `held` is how many rows silver has.
    """

    rows: int
    refused: Mapping[str, int]
    example: str
    notes: Notes
    gone: pa.Table
    keys: int | None
    held: int

    def stored(self, place: slice) -> Bools:
        """Which rows of a place go to bronze."""
        return ~self.notes.of(place, _NOT_STORED)

    @property
    def stored_rows(self) -> int:
        """How many rows go to bronze, those that are gone not counted."""
        return self.rows - self.notes.count(_NOT_STORED)

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
        count = self.notes.count(Note.DELETED) + self.gone.num_rows
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
    notes = Notes(staged.rows)
    _note_told(staged, dataset, notes)
    _note_shared_keys(staged, dataset, notes)
    refused: Counter[str] = Counter()
    example = ""
    for place, chunk in staged.chunks():
        told, twice, repeated = (notes.of(place, note) for note in (Note.TOLD, Note.DOUBLED, Note.REPEATED))
        unread = bools(pc.is_valid(chunk[REASON])) & ~told
        for name, detail in _broken(keep(chunk, unread), REASON, DETAIL, refused):
            example = example or f"{name}: {detail}"
        refused.update({DOUBLED: int(twice.sum())} if twice.any() else {})
        judged = np.flatnonzero(~unread & ~twice & ~repeated & ~told)
        checked = check_rows(dataset, silver.checks, take(chunk, judged), silver.encrypt)
        for name, detail in _broken(checked.failed, "reason", "detail", refused):
            example = example or f"{name}: {detail}"
        sound = np.delete(judged, checked.positions)
        notes.add(place.start + sound[silver.holds(checked.ok)], Note.UNCHANGED)
        asked = np.flatnonzero(told & ~repeated)
        if len(asked):
            is_held = silver.has(take(chunk, asked))
            notes.add(place.start + asked[is_held], Note.DELETED)
            notes.add(place.start + asked[~is_held], Note.UNCHANGED)
    example = example or f"{DOUBLED}: {', '.join(dataset.key)} of two rows that differ"
    held = int(silver.sink.table.count())
    keys, gone = _gone(staged, silver, held)
    return Judged(staged.rows, dict(refused), example, notes, gone, keys, held)


def _note_told(staged: Staged, dataset: Dataset, notes: Notes) -> None:
    """Note which rows say that they are deleted. All else that they say may be wrong, but not their key."""
    column = dataset.sector.deletes.column if dataset.sector and dataset.sector.deletes else None
    column = DELETED if dataset.sector and dataset.sector.mode == "capture" else column
    if column is None:
        return
    for place, chunk in staged.chunks(list(dict.fromkeys((*dataset.key, column)))):
        told = bools(chunk[column] if pa.types.is_boolean(chunk[column].type) else pc.is_valid(chunk[column]))
        for name in dataset.key:
            told &= bools(pc.is_valid(chunk[name]))
        notes.add(place.start + np.flatnonzero(told), Note.TOLD)


def _gone(staged: Staged, silver: Silver, held: int) -> tuple[int | None, pa.Table]:
    """How many keys the source has, and the keys of silver that are not among them; (None, none) when it did not say.

    Of the keys, hashes are compared; no row is read but for its key. `held`: how many rows silver has.
    """
    key = list(silver.dataset.key)
    columns = pa.schema(silver.sink.table.schema())
    schema = pa.schema([columns.field(name) for name in key])
    if not staged.has_keys:
        return None, schema.empty_table()
    # The larger side says in how many parts both lie: a source that lost its rows must not bring all of silver's here.
    expected = max(staged.all_rows, held)
    with Hashes(expected, staged.folder) as theirs, Hashes(expected, staged.folder) as ours:
        for rows in staged.keys(key):
            theirs.add(hashes(rows.cast(schema)))
        for rows in silver.all_keys():
            ours.add(hashes(rows))
        count, lacking = missing(theirs, ours)
    parts = silver.all_keys() if len(lacking) else iter(())
    gone = [keep(rows, among(lacking, hashes(rows))) for rows in parts if rows.num_rows]
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


def _note_shared_keys(staged: Staged, dataset: Dataset, notes: Notes) -> None:
    """Note whether a row with the key of another says something else, and whether an equal row stands before it.

    A row that says that it is deleted is a repeated one as soon as there is another with its key: of several of these
    the first counts, and one that is there counts more than one that was. Changes that a table told stand in their
    order: of those of one key the last counts, whatever it says. In memory are the rows whose hash is not alone.
    """
    key, names = list(dataset.key), list(dict.fromkeys((*dataset.key, *content_columns(dataset))))
    with Hashes(staged.rows, staged.folder) as found:
        for _, chunk in staged.chunks(key):
            found.add(hashes(chunk.select(key)))
        twice = found.shared()
    if not len(twice):
        return
    rows, positions = _rows(staged, key, [*names, REASON], twice)
    gone = notes.of(positions, Note.TOLD)
    if dataset.sector and dataset.sector.mode == "capture":
        read = bools(pc.is_null(rows[REASON])) | gone
        ids = np.where(read, group_ids(rows, key), -1)
        notes.add(positions[read & ~_firsts(ids[::-1])[::-1]], Note.REPEATED)
        return
    # A row that could not be read doubles nothing: its key may be what was wrong.
    sound = bools(pc.is_null(rows[REASON])) & ~gone
    ids = group_ids(rows, key)
    alone = gone & (np.isin(ids, ids[~gone]) | ~_firsts(np.where(gone, ids, -1)))
    notes.add(positions[alone], Note.REPEATED)
    rows, positions, ids = keep(rows, sound), positions[sound], ids[sound]
    _, firsts, inverse = np.unique(ids, return_index=True, return_inverse=True)
    first = firsts[inverse].astype(np.int64)
    here = np.arange(len(ids), dtype=np.int64)
    contested = np.isin(ids, ids[differing(rows, names, here, first)])
    notes.add(positions[contested], Note.DOUBLED)
    notes.add(positions[~contested & (here != first)], Note.REPEATED)


def _firsts(ids: Int64s) -> Bools:
    """Which of the numbers stand in their first place."""
    result: Bools = np.zeros(len(ids), dtype=bool)
    result[np.unique(ids, return_index=True)[1]] = True
    return result


def _rows(staged: Staged, key: list[str], columns: list[str], wanted: UInt64s) -> tuple[pa.Table, Int64s]:
    """The rows whose key has a wanted hash (in order), and their positions in the load."""
    parts: list[pa.Table] = []
    positions: list[Int64s] = []
    for place, chunk in staged.chunks(columns):
        chosen = among(wanted, hashes(chunk.select(key)))
        parts.append(keep(chunk, chosen))
        positions.append(place.start + np.flatnonzero(chosen))
    return pa.concat_tables(parts).combine_chunks(), np.concatenate(positions)
