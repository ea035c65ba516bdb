"""What goes wrong with a source, as sentences that name the source, what of it and what to do; never a password."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.ingestion.connections import variable_of
from pipelines.runtime.errors import LakeError

if TYPE_CHECKING:
    from pipelines.contracts.model import Dataset
    from pipelines.ingestion.access import Access


class SourceError(LakeError):
    """A source cannot be read, for a reason that has no class of its own; a second try would meet it again."""


class SourceUnavailable(SourceError):
    """A source does not answer, breaks off, or takes too long: a later try may succeed."""


class SourceLocked(SourceUnavailable):
    """Another session keeps a table locked for longer than we wait: a later try may succeed."""


class WrongCredentials(SourceError):
    """A source refuses our sign-in. Not to be tried again before somebody has mended it: accounts get locked."""


class SourceChanged(SourceError):
    """A sector table no longer has the columns or types of its contract; nothing of it was loaded."""


def changed(dataset: Dataset, place: str, problems: Sequence[str]) -> SourceChanged:
    """The error of a table or file that has other columns than its contract; all that is wrong at once."""
    return SourceChanged(
        f"{dataset.id}: {place} of {dataset.owner} {'; '.join(problems)}.",
        f"Nothing was loaded, the last good state stays. Ask {dataset.owner} to restore it, or release a new version "
        f"of schemas/datasets/{dataset.domain}/{dataset.id}.yaml.",
    )


class Kind(enum.Enum):
    """What a driver's error means for us."""

    AWAY = "away"
    SLOW = "slow"
    LOCKED = "locked"
    SIGN_IN = "sign-in"
    MOVED = "moved"
    """The table was rewritten, or the snapshot was given up by the database, while it was read."""
    CHANGED = "changed"
    OTHER = "other"


@dataclass(frozen=True)
class Trouble:
    """A driver's error, understood; `reason` is one line of its text."""

    kind: Kind
    reason: str


@dataclass(frozen=True)
class Sentences:
    """Says for one source what a trouble means; `table` is the table as people write it, or a service's path, empty
    while signing in."""

    access: Access

    def error(self, trouble: Trouble, table: str = "", holder: str = "") -> SourceError:
        """The error to raise; `holder` says who locks the table, where the database tells."""
        source, reason = self.access.source, self._plain(trouble.reason)
        word = "path" if source.kind == "rest" else "table"
        place = f"{word} {table} of the source {source.id}" if table else f"the source {source.id}"
        begin = place[0].upper() + place[1:]
        timeouts = source.timeouts
        if trouble.kind is Kind.AWAY:
            return SourceUnavailable(
                f"{begin} ({source.agency}) does not answer ({reason}).",
                "The last good state stays. Try again later; if it lasts, "
                f"ask {source.agency} or mend {self._variable}.",
            )
        if trouble.kind is Kind.SLOW:
            return SourceUnavailable(
                f"{begin} ({source.agency}) did not finish within {timeouts.statement.total_seconds():g} s ({reason}).",
                "The last good state stays. Try again at a calmer hour, or raise `timeouts.statement` in "
                f"schemas/sources/{source.id}.yaml.",
            )
        if trouble.kind is Kind.MOVED:
            return SourceUnavailable(
                f"{begin} ({source.agency}) was changed under our hands ({reason}).",
                "The last good state stays. Try again when the work on it is done.",
            )
        if trouble.kind is Kind.LOCKED:
            return SourceLocked(
                f"{begin} ({source.agency}) is locked by {holder or 'another session'} for longer than "
                f"{timeouts.lock.total_seconds():g} s.",
                f"The last good state stays. Try again later, or ask {source.agency} to end that session.",
            )
        if trouble.kind is Kind.SIGN_IN:
            who = self.access.connection.login or "nobody"
            return WrongCredentials(
                f"The source {source.id} ({source.agency}) refuses the sign-in of {who} ({reason}).",
                f"Mend {self._variable} before the next try: a few wrong sign-ins lock an account.",
            )
        if trouble.kind is Kind.CHANGED:
            return SourceChanged(
                f"{begin} ({source.agency}) is not what it was ({reason}).",
                f"Nothing was loaded, the last good state stays. Ask {source.agency} to restore it or our right "
                "to read it, or release a new version of the contract.",
            )
        return SourceError(
            f"{begin} ({source.agency}) cannot be read ({reason}).", "The last good state stays. Ask the operator."
        )

    @property
    def _variable(self) -> str:
        """Where the address and the sign-in stand."""
        connection = self.access.connection
        return f"the connection {connection.id!r} ({variable_of(connection.id)})"

    def _plain(self, reason: str) -> str:
        """One line, without the password: no driver is known to quote it, and none shall surprise us."""
        secret = self.access.connection.password
        line = " ".join(reason.split())[:300] or "no reason given"
        return line.replace(secret, "…") if len(secret) > 3 else line
