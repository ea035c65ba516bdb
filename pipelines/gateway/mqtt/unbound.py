"""Messages that belong to no dataset as things stand: their bytes, why, how often, and a second try.

A broker knows no way to give a message back to its sender. What cannot be bound is acknowledged once it is kept here:
the bytes encrypted in the object store (they may be personal, nobody knows), a row with topic and reason in SQLite.
The same bytes on the same topic are one row with a count, so that a device that repeats itself does not fill the disk.

Nobody forgets one unseen: who had messages tried again or dropped, and why, stands beside them for good, and so does
what went because it was too old. A message may be personal, so that it is not kept for longer than raw data are.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from pipelines.gateway.limits import KEPT_BYTES, KEPT_FOR
from pipelines.gateway.objects import open_store
from pipelines.runtime.decision import Decision
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings

FOLDER = "_unbound"
"""Where the bytes lie in the object store, beside those of the datasets."""
_SCHEMA = """
create table if not exists message (
    id integer primary key autoincrement, collector text not null, topic text not null, media_type text not null,
    ref text not null, size_bytes integer not null, reason text not null, detail text not null,
    first_at text not null, last_at text not null, times integer not null default 1, again integer not null default 0,
    unique (collector, topic, media_type, ref)
);
create table if not exists decision (
    at text not null, action text not null, messages integer not null, ids text not null, decided_by text not null,
    why text not null
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


@dataclass(frozen=True)
class Taken:
    """One decision about kept messages: when (ISO 8601 UTC), replay or drop, how many, which, by whom and why."""

    at: str
    action: str
    messages: int
    ids: str
    decided_by: str
    why: str


class UnboundFull(LakeError):
    """No more bytes are kept; what comes stays at the broker."""


class Unbound:
    """The kept messages of one namespace; any process may look, one gateway writes. Each call opens the file anew, so
    that any thread may call.
    """

    def __init__(self, settings: Settings, limit_bytes: int = KEPT_BYTES) -> None:
        """Open or make `<state>/gateway/<namespace>/unbound.db`."""
        self._path = settings.state / "gateway" / settings.namespace / "unbound.db"
        self._limit_bytes = limit_bytes
        self._settings = settings
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._open() as db:
            db.executescript(_SCHEMA)
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

    def ask_again(self, ids: Sequence[int], decision: Decision) -> int:
        """Ask the running gateway for a second try, or the next one; without ids for all. Returns how many."""
        with self._open() as db:
            if ids:
                count = sum(db.execute("update message set again = 1 where id = ?", (one,)).rowcount for one in ids)
            else:
                count = db.execute("update message set again = 1").rowcount
            _note(db, "replay", count, ids, decision)
        return count

    def drop(self, ids: Sequence[int], decision: Decision) -> int:
        """Forget messages and their bytes for ever; returns how many."""
        dropped = sum(self.settle(one) for one in ids)
        with self._open() as db:
            _note(db, "drop", dropped, ids, decision)
        return dropped

    def expire(self, now: datetime) -> int:
        """Forget what has not come again for :data:`~pipelines.gateway.limits.KEPT_FOR`; returns how many."""
        old = [kept.id for kept in self._select("last_at < ?", ((now - KEPT_FOR).isoformat(),))]
        return self.drop(old, Decision("lake gateway", f"kept for {KEPT_FOR.days} days")) if old else 0

    def decisions(self) -> tuple[Taken, ...]:
        """What was decided about kept messages, the oldest first."""
        with self._open() as db:
            rows = db.execute(
                "select at, action, messages, ids, decided_by, why from decision order by rowid"
            ).fetchall()
        return tuple(Taken(*row) for row in rows)

    def settle(self, message: int) -> int:
        """Take a message that is safe elsewhere, or no use, off the list, with its bytes; 0 when it is not there."""
        gone = 0
        for kept in self._select("id = ?", (message,)):
            with self._open() as db:
                gone = db.execute("delete from message where id = ?", (kept.id,)).rowcount
                shared = db.execute("select 1 from message where ref = ? limit 1", (kept.ref,)).fetchone()
            if not shared:
                (self._settings.object_root / kept.ref).unlink(missing_ok=True)
        return gone

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


def _note(db: sqlite3.Connection, action: str, count: int, ids: Sequence[int], decision: Decision) -> None:
    named = ", ".join(map(str, ids)) or "all"
    row = (datetime.now(UTC).isoformat(), action, count, named, decision.by, decision.why)
    db.execute("insert into decision (at, action, messages, ids, decided_by, why) values (?, ?, ?, ?, ?, ?)", row)
