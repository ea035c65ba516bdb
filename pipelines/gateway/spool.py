"""The disk spool: sealed records that wait for Kafka, in order per dataset.

SQLite in its write-ahead mode with a sync at every commit: what `append` returned from outlives a kill and a loss of
power, a torn tail is a transaction that never happened, and the size is bounded by the database itself. A checksum per
record finds what a disk has changed since.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from pipelines.runtime.errors import LakeError

_PAGE_BYTES = 4096
_SCHEMA = """
create table if not exists record (
    seq integer primary key autoincrement, dataset text not null, topic text not null, key blob not null,
    value blob not null, timestamp_ms integer not null, headers blob not null, crc integer not null
);
create index if not exists record_by_dataset on record (dataset, seq);
create table if not exists damaged as select * from record where 0;
"""
_INSERT = "insert into record (dataset, topic, key, value, timestamp_ms, headers, crc) values (?, ?, ?, ?, ?, ?, ?)"
_COLUMNS = "seq, dataset, topic, key, value, timestamp_ms, headers, crc"


@dataclass(frozen=True, slots=True)
class Spooled:
    """One record that waits, with its place in the spool."""

    seq: int
    topic: str
    key: bytes
    value: bytes = field(repr=False)
    timestamp_ms: int
    headers: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one dataset as (key, value), which share the topic, the clock and the headers."""

    dataset: str
    topic: str
    timestamp_ms: int
    headers: Sequence[tuple[str, bytes]]
    pairs: Sequence[tuple[bytes, bytes]] = field(repr=False)


class SpoolFull(LakeError):
    """The spool has reached its bound, or the disk is full; nothing of the append was kept."""


class SpoolFailed(LakeError):
    """The disk under the spool does not work."""


class Spool:
    """The spool of one gateway; one thread uses it."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        """Open or make `folder/spool.db`, recovering what a killed gateway left.

        Raises:
            SpoolFailed: the file cannot be opened, or is no database any more.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = folder / "spool.db"
        self.limit_bytes = limit_bytes
        try:
            self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            self._db.execute(f"pragma page_size = {_PAGE_BYTES}")
            self._db.execute("pragma auto_vacuum = incremental")
            self._db.execute("pragma journal_mode = wal")
            self._db.execute("pragma synchronous = full")
            self._db.execute(f"pragma max_page_count = {max(16, limit_bytes // _PAGE_BYTES)}")
            self._db.executescript(_SCHEMA)
            self.path.chmod(0o600)
            counted = self._db.execute("select dataset, count(*) from record group by dataset").fetchall()
        except sqlite3.DatabaseError as error:
            raise SpoolFailed(
                f"The spool {self.path} cannot be opened: {error}.",
                "Move the file away (it may hold records that never reached Kafka) and start the gateway again.",
            ) from error
        self.waiting: dict[str, int] = dict(counted)

    def append(self, batches: Sequence[Batch]) -> None:
        """Keep batches behind the records of their datasets that wait, all or none; returns after the sync.

        Raises:
            SpoolFull, SpoolFailed: nothing was kept.
        """
        try:
            self._db.execute("begin immediate")
            try:
                for batch in batches:
                    self._db.executemany(_INSERT, _rows(batch))
                self._db.execute("commit")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("rollback")
                raise
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorname", "") == "SQLITE_FULL":
                raise SpoolFull(
                    f"The spool {self.path} is full ({self.used_bytes} of {self.limit_bytes} bytes are used).",
                    "Bring Kafka back; the spool empties itself then.",
                ) from error
            raise SpoolFailed(f"The spool {self.path} does not take records: {error}.", "Look at the disk.") from error
        for batch in batches:
            self.waiting[batch.dataset] = self.waiting.get(batch.dataset, 0) + len(batch.pairs)

    def oldest(self, dataset: str, limit: int) -> list[Spooled]:
        """The first records of a dataset that wait; damaged ones are set aside and counted on the way.

        Raises:
            SpoolFailed: the disk does not give them back.
        """
        try:
            while True:
                rows = self._db.execute(
                    f"select {_COLUMNS} from record where dataset = ? order by seq limit ?", (dataset, limit)
                ).fetchall()
                bad = [row[0] for row in rows if _crc(row) != row[7]]
                if not bad:
                    return [
                        Spooled(seq, topic, key, value, stamp, _headers(packed))
                        for seq, _, topic, key, value, stamp, packed, _ in rows
                    ]
                self._set_aside(dataset, bad)
        except sqlite3.DatabaseError as error:
            raise SpoolFailed(f"The spool {self.path} cannot be read: {error}.", "Look at the disk.") from error

    def forget(self, dataset: str, seqs: Sequence[int]) -> None:
        """Drop records that Kafka has now; the file shrinks when none is left.

        Raises:
            SpoolFailed: the disk does not work; they would be sent again, which changes nothing.
        """
        try:
            self._delete(seqs)
            self.waiting[dataset] -= len(seqs)
            if not any(self.waiting.values()):
                self._db.execute("pragma incremental_vacuum")
                self._db.execute("pragma wal_checkpoint(truncate)")
        except sqlite3.DatabaseError as error:
            raise SpoolFailed(f"The spool {self.path} cannot be emptied: {error}.", "Look at the disk.") from error

    @property
    def used_bytes(self) -> int:
        """Bytes of the database that hold something."""
        pages, free = (
            int(self._db.execute(f"pragma {name}").fetchone()[0]) for name in ("page_count", "freelist_count")
        )
        return (pages - free) * _PAGE_BYTES

    @property
    def damaged(self) -> int:
        """Records that the disk has changed; they stay in the table `damaged` of the spool."""
        return int(self._db.execute("select count(*) from damaged").fetchone()[0])

    def close(self) -> None:
        """Close the file; what waits stays."""
        self._db.close()

    def _delete(self, seqs: Sequence[int]) -> None:
        self._db.execute("begin immediate")
        self._db.executemany("delete from record where seq = ?", [(seq,) for seq in seqs])
        self._db.execute("commit")

    def _set_aside(self, dataset: str, seqs: Sequence[int]) -> None:
        self._db.execute("begin immediate")
        marked = [(seq,) for seq in seqs]
        self._db.executemany("insert into damaged select * from record where seq = ?", marked)
        self._db.executemany("delete from record where seq = ?", marked)
        self._db.execute("commit")
        self.waiting[dataset] -= len(seqs)


def _rows(batch: Batch) -> Iterator[tuple[str, str, bytes, bytes, int, bytes, int]]:
    packed = msgspec.msgpack.encode(batch.headers)
    crc = _crc_begun(packed, batch.topic, batch.timestamp_ms)
    for key, value in batch.pairs:
        whole = zlib.crc32(value, zlib.crc32(key, crc))
        yield batch.dataset, batch.topic, key, value, batch.timestamp_ms, packed, whole


def _crc_begun(packed: bytes, topic: str, timestamp_ms: int) -> int:
    return zlib.crc32(f"{topic} {timestamp_ms}".encode(), zlib.crc32(packed))


def _crc(row: tuple[int, str, str, bytes, bytes, int, bytes, int]) -> int:
    _, _, topic, key, value, timestamp_ms, packed, _ = row
    return zlib.crc32(value, zlib.crc32(key, _crc_begun(packed, topic, timestamp_ms)))


def _headers(packed: bytes) -> tuple[tuple[str, bytes], ...]:
    return msgspec.msgpack.decode(packed, type=tuple[tuple[str, bytes], ...])
