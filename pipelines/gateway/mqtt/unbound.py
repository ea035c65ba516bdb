"""Messages that belong to no dataset as things stand: their bytes, why, how often, and a second try.

A broker knows no way to give a message back to its sender. What cannot be bound is acknowledged once it is kept here:
the bytes encrypted in the object store (they may be personal, nobody knows), a row with topic and reason in SQLite.
The same bytes on the same topic are one row with a count, so that a device that repeats itself does not fill the disk.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from pipelines.gateway.objects import open_store
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings

FOLDER = "_unbound"
"""Where the bytes lie in the object store, beside those of the datasets."""
LIMIT_BYTES = 1024 * 1024 * 1024
_SCHEMA = """
create table if not exists message (
    id integer primary key autoincrement, collector text not null, topic text not null, media_type text not null,
    ref text not null, size_bytes integer not null, reason text not null, detail text not null,
    first_at text not null, last_at text not null, times integer not null default 1, again integer not null default 0,
    unique (collector, topic, media_type, ref)
);
"""
_KEEP = """
insert into message (collector, topic, media_type, ref, size_bytes, reason, detail, first_at, last_at)
values (?, ?, ?, ?, ?, ?, ?, ?, ?)
on conflict (collector, topic, media_type, ref) do update set
    reason = excluded.reason, detail = excluded.detail, last_at = excluded.last_at, times = times + 1, again = 0
"""
_COLUMNS = "id, collector, topic, media_type, ref, size_bytes, reason, detail, first_at, last_at, times, again"


@dataclass(frozen=True)
class Kept:
    """One message that could not be bound.

    `first_at` and `last_at` are ISO 8601 UTC, `times` counts how often it came, `again` is 1 when a second try was
    asked for.
    """

    id: int
    collector: str
    topic: str
    media_type: str
    ref: str
    size_bytes: int
    reason: str
    detail: str
    first_at: str
    last_at: str
    times: int
    again: int


class UnboundFull(LakeError):
    """No more bytes are kept; what comes stays at the broker."""


class Unbound:
    """The kept messages of one namespace; any process may look, one gateway writes. Each call opens the file anew, so
    that any thread may call.
    """

    def __init__(self, settings: Settings, limit_bytes: int = LIMIT_BYTES) -> None:
        """Open or make `<state>/gateway/<namespace>/unbound.db`."""
        self._path = settings.state / "gateway" / settings.namespace / "unbound.db"
        self._limit_bytes = limit_bytes
        self._settings = settings
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._open() as db:
            db.execute(_SCHEMA)
        self._path.chmod(0o600)
        self._used = self.size_bytes()

    def keep(self, collector: str, topic: str, media_type: str, body: bytes, reason: str, detail: str) -> None:
        """Keep one message; returns when its bytes and its row are on disk.

        Raises:
            UnboundFull: the bound is reached.
            OSError: the disk does not take it.
        """
        if self._used + len(body) > self._limit_bytes:
            # Somebody may have dropped or replayed some since.
            self._used = self.size_bytes()
        if self._used + len(body) > self._limit_bytes:
            raise UnboundFull(
                f"{self._limit_bytes} bytes of messages that could not be bound are kept; no more fit.",
                "See lake gateway unbound list; mend the bindings and replay, or drop what is no use.",
            )
        # Opened anew, so that a key that was rotated counts at once.
        ref = open_store(self._settings).put(FOLDER, body, protected=True).ref
        now = datetime.now(UTC).isoformat()
        with self._open() as db:
            db.execute(_KEEP, (collector, topic, media_type, ref, len(body), reason, detail, now, now))
        self._used += len(body)

    def size_bytes(self) -> int:
        """Bytes that are kept, encrypted ones counted as clear."""
        with self._open() as db:
            return int(db.execute("select coalesce(sum(size_bytes), 0) from message").fetchone()[0])

    def all(self) -> tuple[Kept, ...]:
        """Every kept message, the oldest first."""
        return self._select("true")

    def counts(self) -> dict[tuple[str, str], int]:
        """How many different messages are kept, by collector and reason."""
        with self._open() as db:
            rows = db.execute("select collector, reason, count(*) from message group by 1, 2").fetchall()
        return {(collector, reason): count for collector, reason, count in rows}

    def asked_again(self, collector: str) -> tuple[Kept, ...]:
        """Those of a collector for which a second try was asked."""
        return self._select("again = 1 and collector = ?", (collector,))

    def body(self, kept: Kept) -> bytes:
        """The bytes of a kept message.

        Raises:
            LakeError: they are gone, or their key is.
        """
        return open_store(self._settings).get(kept.ref)

    def ask_again(self, ids: Sequence[int]) -> int:
        """Ask the running gateway for a second try, or the next one; without ids for all. Returns how many."""
        with self._open() as db:
            if not ids:
                return db.execute("update message set again = 1").rowcount
            return sum(db.execute("update message set again = 1 where id = ?", (one,)).rowcount for one in ids)

    def drop(self, ids: Sequence[int]) -> int:
        """Forget messages and their bytes; returns how many."""
        dropped = 0
        for one in ids:
            for kept in self._select("id = ?", (one,)):
                with self._open() as db:
                    dropped += db.execute("delete from message where id = ?", (kept.id,)).rowcount
                    shared = db.execute("select 1 from message where ref = ? limit 1", (kept.ref,)).fetchone()
                if not shared:
                    (self._settings.object_root / kept.ref).unlink(missing_ok=True)
        return dropped

    def _select(self, condition: str, values: Sequence[object] = ()) -> tuple[Kept, ...]:
        with self._open() as db:
            rows = db.execute(f"select {_COLUMNS} from message where {condition} order by id", values).fetchall()
        return tuple(Kept(*row) for row in rows)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A transaction; committed when the block ends well, with a sync.

        Raises:
            OSError: the disk does not work.
        """
        db = sqlite3.connect(self._path, timeout=10)
        try:
            with db:
                yield db
        except sqlite3.OperationalError as error:
            raise OSError(f"{self._path}: {error}") from error
        finally:
            db.close()
