"""Records of devices that nobody registered: kept whole, counted, and sent in when the device is known.

The bytes lie in the object store (encrypted where the dataset is personal); this journal says whose they are. A marker
stands in the raw topic, so that the ledger counts the record as refused; a released one is a new record, received when
it is released.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipelines.runtime.settings import Settings


@dataclass(frozen=True, slots=True)
class Kept:
    """One record in quarantine: where its bytes lie, in which format, and who sent it when (ISO 8601 UTC)."""

    dataset: str
    device: str
    ref: str
    media_type: str
    source: str
    origin: str
    received_at: str
    number: int = 0


@dataclass(frozen=True, slots=True)
class Stranger:
    """An unregistered device of a stream, with how many of its records are kept."""

    dataset: str
    device: str
    records: int
    first_at: str
    last_at: str


class Quarantine:
    """The journal of one namespace; several processes may use it."""

    def __init__(self, settings: Settings) -> None:
        """Open or make it."""
        path = journal_path(settings)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
        self.db.execute("pragma journal_mode = wal")
        self.db.execute("pragma synchronous = full")
        self.db.execute(
            "create table if not exists kept (number integer primary key autoincrement, dataset text, device text,"
            " ref text, media_type text, source text, origin text, received_at text)"
        )
        self.db.execute("create index if not exists kept_by_device on kept (dataset, device)")
        path.chmod(0o600)

    def keep(self, records: Iterable[Kept]) -> None:
        """Write records down, all or none; returns after the sync.

        Raises:
            OSError: the disk does not take them.
        """
        rows = [(k.dataset, k.device, k.ref, k.media_type, k.source, k.origin, k.received_at) for k in records]
        try:
            self.db.execute("begin immediate")
            self.db.executemany(
                "insert into kept (dataset, device, ref, media_type, source, origin, received_at)"
                " values (?, ?, ?, ?, ?, ?, ?)",
                rows,
            )
            self.db.execute("commit")
        except sqlite3.DatabaseError as error:
            if self.db.in_transaction:
                self.db.execute("rollback")
            raise OSError(f"the journal of the quarantine does not take records: {error}") from error

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
            "select dataset, device, ref, media_type, source, origin, received_at, number from kept"
            " where dataset = ? and device = ? order by number",
            (dataset, device),
        )
        return tuple(Kept(*row) for row in rows)

    def forget(self, numbers: Iterable[int]) -> None:
        """Drop records that were released."""
        self.db.execute("begin immediate")
        self.db.executemany("delete from kept where number = ?", [(number,) for number in numbers])
        self.db.execute("commit")

    def close(self) -> None:
        """Close the file."""
        self.db.close()


def journal_path(settings: Settings) -> Path:
    """`<state>/gateway/<namespace>/devices.db`."""
    return settings.state / "gateway" / settings.namespace / "devices.db"


def kept_at(instant: datetime) -> str:
    """How the journal writes an instant."""
    return instant.astimezone(UTC).isoformat()
