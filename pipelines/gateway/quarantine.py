"""Records of devices that nobody registered: kept whole, counted, and sent in when the device is known.

The bytes lie in the object store (encrypted where the dataset is personal); this journal says whose they are. A marker
stands in the raw topic, so that the ledger counts the record as refused; a released one is a new record, received when
it is released.

It is bounded: what nobody registered in time goes, and when the disk that it may use is full, the oldest records of the
device that has most make room, so that one stranger who never stops cannot push out the others. What went is counted.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pipelines.gateway.limits import KEPT_BYTES, KEPT_FOR
from pipelines.runtime.settings import Settings

EXPIRED, FULL = "expired", "full"
"""Why records of unknown devices were let go."""
BLOCK_BYTES = 4096
"""What the smallest file takes of a disk."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One record in quarantine: where its bytes lie, in which format, and who sent it when (ISO 8601 UTC).

    `size_bytes` counts clear bytes.
    """

    dataset: str
    device: str
    ref: str
    media_type: str
    source: str
    origin: str
    received_at: str
    size_bytes: int = 0
    number: int = 0


@dataclass(frozen=True, slots=True)
class Stranger:
    """An unregistered device of a stream, with how many of its records are kept."""

    dataset: str
    device: str
    records: int
    first_at: str
    last_at: str


@dataclass(frozen=True, slots=True)
class Gone:
    """Records of a stream that were let go: `why` is expired or full, `last_at` (ISO 8601 UTC) the last time."""

    dataset: str
    why: str
    records: int
    size_bytes: int
    last_at: str


@dataclass(frozen=True, slots=True)
class Usage:
    """How full a quarantine is: records by stream, their bytes on disk, the bound, and what was let go."""

    records: Mapping[str, int] = field(default_factory=dict)
    used_bytes: int = 0
    limit_bytes: int = KEPT_BYTES
    gone: tuple[Gone, ...] = ()


_SCHEMA = """
create table if not exists kept (
    number integer primary key autoincrement, dataset text, device text, ref text, media_type text, source text,
    origin text, received_at text, size_bytes integer not null default 0
);
create index if not exists kept_by_device on kept (dataset, device);
create index if not exists kept_by_ref on kept (ref);
create table if not exists gone (
    dataset text not null, why text not null, records integer not null, size_bytes integer not null,
    last_at text not null, primary key (dataset, why)
);
"""
_COUNT = """
insert into gone (dataset, why, records, size_bytes, last_at) values (?, ?, ?, ?, ?)
on conflict (dataset, why) do update set
    records = records + excluded.records, size_bytes = size_bytes + excluded.size_bytes, last_at = excluded.last_at
"""
_ON_DISK = f"max(size_bytes, {BLOCK_BYTES})"
_ROOM = 0.9
_AT_ONCE = 500


class Quarantine:
    """The journal of one namespace; several processes may use it, one of them writes records."""

    def __init__(self, settings: Settings, limit_bytes: int = KEPT_BYTES) -> None:
        """Open or make it; one of an earlier version is taken on."""
        path = journal_path(settings)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
        self.db.execute("pragma journal_mode = wal")
        self.db.execute("pragma synchronous = full")
        self.db.executescript(_SCHEMA)
        if "size_bytes" not in {row[1] for row in self.db.execute("pragma table_info(kept)")}:
            self.db.execute("alter table kept add column size_bytes integer not null default 0")
        path.chmod(0o600)
        self._objects, self._limit_bytes = settings.object_root, limit_bytes
        self._used = self.used_bytes()

    def keep(self, records: Iterable[Kept]) -> None:
        """Write records down, all or none; returns after the sync. Older ones make room where there is none.

        Raises:
            OSError: the disk does not take them.
        """
        rows = [
            (k.dataset, k.device, k.ref, k.media_type, k.source, k.origin, k.received_at, k.size_bytes) for k in records
        ]
        with self._changing():
            self.db.executemany(
                "insert into kept (dataset, device, ref, media_type, source, origin, received_at, size_bytes)"
                " values (?, ?, ?, ?, ?, ?, ?, ?)",
                rows,
            )
        self._used += sum(max(size, BLOCK_BYTES) for *_, size in rows)
        if self._used > self._limit_bytes:
            self._make_room()

    def expire(self, now: datetime) -> int:
        """Let go of what was received longer ago than :data:`~pipelines.gateway.limits.KEPT_FOR`; returns how many, a
        part of them only when there are many: more are left when it is not 0.

        Raises:
            OSError: the disk does not let them go.
        """
        old = self.db.execute(
            f"select number, dataset, ref, {_ON_DISK} from kept where received_at < ? order by number limit {_AT_ONCE}",
            (kept_at(now - KEPT_FOR),),
        )
        return self._let_go(old.fetchall(), EXPIRED)

    def usage(self) -> Usage:
        """How full it is, and what it has let go."""
        gone = self.db.execute("select dataset, why, records, size_bytes, last_at from gone order by 1, 2")
        return Usage(self.counts(), self.used_bytes(), self._limit_bytes, tuple(Gone(*row) for row in gone))

    def used_bytes(self) -> int:
        """Bytes of disk under what is kept; a small record takes a block."""
        return int(self.db.execute(f"select coalesce(sum({_ON_DISK}), 0) from kept").fetchone()[0])

    def strangers(self) -> tuple[Stranger, ...]:
        """Every unregistered device that has sent, by stream."""
        rows = self.db.execute(
            "select dataset, device, count(*), min(received_at), max(received_at) from kept"
            " group by dataset, device order by dataset, device"
        )
        return tuple(Stranger(*row) for row in rows)

    def counts(self) -> dict[str, int]:
        """Records in quarantine, by stream."""
        return dict(self.db.execute("select dataset, count(*) from kept group by dataset").fetchall())

    def records(self, dataset: str, device: str) -> tuple[Kept, ...]:
        """The records of one device, in the order in which they came."""
        rows = self.db.execute(
            "select dataset, device, ref, media_type, source, origin, received_at, size_bytes, number from kept"
            " where dataset = ? and device = ? order by number",
            (dataset, device),
        )
        return tuple(Kept(*row) for row in rows)

    def forget(self, numbers: Iterable[int]) -> None:
        """Drop records that were released.

        Raises:
            OSError: the disk does not take it.
        """
        with self._changing():
            self.db.executemany("delete from kept where number = ?", [(number,) for number in numbers])

    def close(self) -> None:
        """Close the file."""
        self.db.close()

    def _make_room(self) -> None:
        """Let the oldest records of the device that has most go, until a tenth of the disk that it may use is free."""
        # Another process may have released some since.
        self._used = self.used_bytes()
        while self._used > _ROOM * self._limit_bytes:
            dataset, device = self.db.execute(
                f"select dataset, device from kept group by 1, 2 order by sum({_ON_DISK}) desc, min(number) limit 1"
            ).fetchone()
            rows = self.db.execute(
                f"select number, dataset, ref, {_ON_DISK} from kept where dataset = ? and device = ? order by number"
                f" limit {_AT_ONCE}",
                (dataset, device),
            )
            self._let_go(list(_enough(rows.fetchall(), self._used - _ROOM * self._limit_bytes)), FULL)

    def _let_go(self, rows: Sequence[tuple[int, str, str, int]], why: str) -> int:
        """Forget records (number, dataset, reference, bytes) and their bytes, and count them.

        Raises:
            OSError: the disk does not let them go.
        """
        records, sizes = Counter(row[1] for row in rows), Counter[str]()
        for _, dataset, _, size in rows:
            sizes[dataset] += size
        now = kept_at(datetime.now(UTC))
        with self._changing():
            self.db.executemany("delete from kept where number = ?", [(row[0],) for row in rows])
            self.db.executemany(_COUNT, [(name, why, count, sizes[name], now) for name, count in records.items()])
        for ref in {row[2] for row in rows}:
            if self.db.execute("select 1 from kept where ref = ? limit 1", (ref,)).fetchone() is None:
                (self._objects / ref).unlink(missing_ok=True)
        self._used -= sum(sizes.values())
        return len(rows)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """A transaction that is committed when the block ends well.

        Raises:
            OSError: the disk does not take it.
        """
        try:
            self.db.execute("begin immediate")
            yield
            self.db.execute("commit")
        except sqlite3.DatabaseError as error:
            if self.db.in_transaction:
                self.db.execute("rollback")
            raise OSError(f"the journal of the quarantine cannot be written: {error}") from error


def _enough(rows: Iterable[tuple[int, str, str, int]], wanted: float) -> Iterator[tuple[int, str, str, int]]:
    """The first rows that together hold so many bytes."""
    for row in rows:
        if wanted <= 0:
            return
        wanted -= row[3]
        yield row


def journal_path(settings: Settings) -> Path:
    """`<state>/gateway/<namespace>/devices.db`."""
    return settings.state / "gateway" / settings.namespace / "devices.db"


def kept_at(instant: datetime) -> str:
    """How the journal writes an instant."""
    return instant.astimezone(UTC).isoformat()
