"""How far each file is, kept across a kill of the gateway: SQLite with a sync after every piece."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.gateway.inbox.window import Place
from pipelines.gateway.submission import Receipt

LISTED = 1_000
"""Refused records of a file that are listed one by one; all are counted."""
_SCHEMA = """
create table if not exists file (
    inbox text not null, name text not null, sha256 text not null, shape text not null, plain_bytes integer not null,
    offset integer not null default 0, line integer not null default 1, records integer not null default 0,
    accepted integer not null default 0, spooled integer not null default 0, refused integer not null default 0,
    dropped_fields integer not null default 0, resumed integer not null default 0, primary key (inbox, name)
);
create table if not exists refused (
    inbox text not null, name text not null, line integer, record integer not null, reason text not null,
    detail text not null
);
create index if not exists refused_by_file on refused (inbox, name);
"""
_COLUMNS = "sha256, shape, plain_bytes, offset, line, records, accepted, spooled, refused, dropped_fields, resumed"
_SET = ", ".join(f"{column.strip()} = excluded.{column.strip()}" for column in _COLUMNS.split(","))
_SAVE = (
    f"insert into file (inbox, name, {_COLUMNS}) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
    f"on conflict (inbox, name) do update set {_SET}"
)


@dataclass(frozen=True)
class Progress:
    """How far a file is: everything before `offset` (plain bytes) has its receipt.

    `shape` tells whether the file was changed since. `resumed` counts how often reading was begun again after a kill:
    each time one piece may have been sent twice.
    """

    sha256: str
    shape: str
    plain_bytes: int
    offset: int = 0
    line: int = 1
    records: int = 0
    accepted: int = 0
    spooled: int = 0
    refused: int = 0
    dropped_fields: int = 0
    resumed: int = 0

    @property
    def place(self) -> Place:
        """Where reading goes on."""
        return Place(self.offset, self.line)

    def behind(self, end: Place, receipt: Receipt) -> Progress:
        """How far the file is when a piece has its receipt; reading goes on at `end`."""
        return replace(
            self,
            offset=end.offset,
            line=end.line,
            records=self.records + receipt.records,
            accepted=self.accepted + receipt.accepted,
            spooled=self.spooled + receipt.spooled,
            refused=self.refused + len(receipt.refused),
            dropped_fields=self.dropped_fields + receipt.dropped_fields,
        )


@dataclass(frozen=True)
class RefusedAt:
    """A refused record: its line in the file where the format tells it, and its number among all records from 1."""

    line: int | None
    record: int
    reason: str
    detail: str


class ProgressBook:
    """The progress of every inbox of a namespace; one thread uses it.

    Every method raises OSError when the disk does not work, and then nothing was changed.
    """

    def __init__(self, path: Path) -> None:
        """Open or make the file."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = path
        with self._told():
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("pragma journal_mode = wal")
            self._db.execute("pragma synchronous = full")
            self._db.executescript(_SCHEMA)
            path.chmod(0o600)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def of(self, inbox: str, name: str) -> Progress | None:
        """How far a file is; None when nothing of it was looked at."""
        with self._told():
            row = self._db.execute(
                f"select {_COLUMNS} from file where inbox = ? and name = ?", (inbox, name)
            ).fetchone()
        return Progress(*row) if row else None

    def save(self, inbox: str, name: str, progress: Progress, refused: Sequence[RefusedAt] = ()) -> None:
        """Remember how far a file is, with what was refused since; returns after the sync."""
        with self._told(), self._transaction():
            known = self._db.execute(
                "select count(*) from refused where inbox = ? and name = ?", (inbox, name)
            ).fetchone()[0]
            self._db.execute(_SAVE, (inbox, name, *_values(progress)))
            self._db.executemany(
                "insert into refused values (?, ?, ?, ?, ?, ?)",
                [(inbox, name, r.line, r.record, r.reason, r.detail) for r in refused[: max(0, LISTED - known)]],
            )

    def refused(self, inbox: str, name: str) -> list[RefusedAt]:
        """The refused records of a file, the first thousand."""
        with self._told():
            rows = self._db.execute(
                "select line, record, reason, detail from refused where inbox = ? and name = ? order by record",
                (inbox, name),
            ).fetchall()
        return [RefusedAt(*row) for row in rows]

    def forget(self, inbox: str, name: str) -> None:
        """Drop a file that is finished."""
        with self._told(), self._transaction():
            for table in ("file", "refused"):
                self._db.execute(f"delete from {table} where inbox = ? and name = ?", (inbox, name))

    def forget_others(self, inbox: str, names: Sequence[str]) -> None:
        """Drop what is remembered of files that are not there any more: finished just before a kill, or removed."""
        with self._told():
            known = [n for (n,) in self._db.execute("select name from file where inbox = ?", (inbox,))]
        for name in set(known) - set(names):
            self.forget(inbox, name)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("begin immediate")
        try:
            yield
            self._db.execute("commit")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("rollback")
            raise

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise OSError(f"{self._path}: {error}") from error


def _values(progress: Progress) -> tuple[object, ...]:
    return tuple(getattr(progress, column.strip()) for column in _COLUMNS.split(","))
