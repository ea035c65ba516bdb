"""What a captured source says of itself: whether it may be captured, and how far its log is read."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pipelines.ingestion.access import Access
from pipelines.ingestion.databases.postgresql import PostgreSQL, conninfo
from pipelines.ingestion.trouble import Sentences, SourceError

CATCH_UP_S = 60.0
"""How long a load waits until the changes that the source had when it began are in their topic."""
_POLL_S = 0.2
_FACTS = """
select current_setting('wal_level') = 'logical', rolreplication or rolsuper, current_user::text,
    current_setting('max_slot_wal_keep_size')
from pg_roles where rolname = current_user
"""
_PUBLISHED = """
select schemaname || '.' || tablename from pg_publication_tables where pubname = %s order by 1
"""
_IDENTITY = """
select n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname || '.' || c.relname = any(%s) and c.relreplident = 'f'
"""
_SLOT = """
select active, coalesce(wal_status, ''), pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint,
    pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)::bigint
from pg_replication_slots where slot_name = %s
"""


class CaptureRefused(SourceError):
    """A source does not let its tables be captured; the text holds the statements that its owner has to run."""


class CaptureLost(SourceError):
    """Changes are gone before they were loaded, or cannot be told from others: the tables are to be read anew."""


@dataclass(frozen=True)
class Slot:
    """Our place in the log of a source: whether it is being read, what the server says of its state, and how many bytes
    of the log it keeps from being removed and has not passed on."""

    is_active: bool
    state: str
    kept_bytes: int
    behind_bytes: int


class CapturedSource:
    """A session with a source; nothing is written but, when asked, the slot is dropped. See :func:`opened`."""

    def __init__(self, access: Access, cursor: Any) -> None:
        self._access, self._cursor = access, cursor

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        self._cursor.execute(query, values)
        return list(self._cursor.fetchall())

    def check(self, places: Sequence[str], publication: str) -> str:
        """Let a source pass whose tables can be captured whole; returns its `max_slot_wal_keep_size`.

        Raises:
            CaptureRefused: all that is missing, as statements.
        """
        [(is_logical, may_replicate, user, kept)] = self._rows(_FACTS)
        quoted = f'"{user}"'
        missing = [] if is_logical else ["ALTER SYSTEM SET wal_level = 'logical';  -- and restart the server"]
        missing += [] if may_replicate else [f"ALTER ROLE {quoted} REPLICATION;"]
        full = self.full(places)
        missing += [f"ALTER TABLE {place} REPLICA IDENTITY FULL;" for place in places if place not in full]
        published = [place for (place,) in self._rows(_PUBLISHED, publication)]
        if published != sorted(places):
            verb, how = ("ALTER", "SET") if published else ("CREATE", "FOR")
            missing.append(f"{verb} PUBLICATION {publication} {how} TABLE {', '.join(places)};")
        if missing:
            source = self._access.source
            raise CaptureRefused(
                f"The source {source.id} ({source.agency}) does not let its tables be captured.",
                f"Ask {source.agency} to run, as the owner of the tables:\n  " + "\n  ".join(missing),
            )
        return str(kept)

    def full(self, places: Sequence[str]) -> frozenset[str]:
        """Which of the tables write whole old rows to the log."""
        return frozenset(place for (place,) in self._rows(_IDENTITY, list(places)))

    def slot(self, name: str) -> Slot | None:
        """Our place in the log; None when there is none."""
        found = self._rows(_SLOT, name)
        return Slot(*found[0]) if found else None

    def drop_slot(self, name: str) -> bool:
        """Let the source remove what it kept for us; returns whether there was anything. Nobody reads it any more.

        Raises:
            SourceError: it is still being read.
        """
        deadline = time.monotonic() + CATCH_UP_S
        while (slot := self.slot(name)) is not None and slot.is_active and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        if slot is not None:
            self._rows("select pg_drop_replication_slot(%s)", name)
        return slot is not None

    def caught_up(self, slot: str) -> bool:
        """Wait until everything that the source has written by now is in the topics; whether it came so far.

        Raises:
            CaptureLost: there is no slot, or the source has removed what it held.
        """
        [(now,)] = self._rows("select pg_current_wal_lsn()::text")
        deadline = time.monotonic() + CATCH_UP_S
        query = "select confirmed_flush_lsn >= %s::pg_lsn, coalesce(wal_status, '') from pg_replication_slots "
        while True:
            found = self._rows(f"{query} where slot_name = %s", now, slot)
            if not found or found[0][1] == "lost":
                source = self._access.source
                raise CaptureLost(
                    f"The source {source.id} ({source.agency}) has no slot {slot} any more, or has removed the part of "
                    "its log that was not read.",
                    f"Nothing was loaded, the last good state stays. Read the tables anew: "
                    f"`lake capture start {source.id} --anew`.",
                )
            if found[0][0]:
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)


@contextmanager
def opened(access: Access) -> Iterator[CapturedSource]:
    """Open a session with the timeouts of the source.

    Raises:
        SourceUnavailable, WrongCredentials, SourceError: it does not answer, refuses us, or a statement.
    """
    import psycopg2

    try:
        connection = psycopg2.connect(conninfo(access.source, access.connection))
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                yield CapturedSource(access, cursor)
        finally:
            connection.close()
    except psycopg2.Error as error:
        trouble = PostgreSQL().trouble(_Said(error))
        raise Sentences(access).error(trouble) from error


class _Said(Exception):
    """An error of psycopg2 as that of another driver: the state by the name that ADBC gives it."""

    def __init__(self, error: Any) -> None:
        super().__init__(str(error))
        self.sqlstate = error.pgcode
