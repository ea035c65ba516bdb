"""One inbox: sees which files are complete and takes them, one at a time."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pipelines.gateway.core import Core
from pipelines.gateway.inbox.folder import Dropped, Folder, is_temporary
from pipelines.gateway.inbox.progress import ProgressBook
from pipelines.gateway.inbox.reading import Desk, Reading
from pipelines.gateway.sources import Sources
from pipelines.gateway.told import Told
from pipelines.runtime.errors import LakeError

log = logging.getLogger(__name__)


class Inbox:
    """The inbox of one source and dataset: the folder `<root>/<source>/<dataset>`. One thread uses it."""

    def __init__(
        self,
        core: Core,
        sources: Sources,
        book: ProgressBook,
        path: Path,
        settle_s: float,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        """`settle_s`: a file that has not changed for so long is complete; `wake` is called when a step can go on.

        Raises:
            OSError: the folder cannot be used.
        """
        self._core, self._sources, self._settle_s = core, sources, settle_s
        self.source_name, self.dataset_id = path.parent.name, path.name
        self._folder = Folder(path)
        self._desk = Desk(core, sources, book, self._folder, self.source_name, self.dataset_id, wake)
        try:
            self._begun = self._folder.taken()
            book.forget_others(self.name, self._begun)
        except OSError:
            self._folder.close()
            raise
        self._reading: Reading | None = None
        self._seen: dict[str, tuple[tuple[int, int, int], float]] = {}
        self._temporary: frozenset[int] = frozenset()
        self._complete: list[Dropped] = []
        self._problem = self._oddity = ""
        self._counts: Counter[str] = Counter()

    @property
    def name(self) -> str:
        """`<source>/<dataset>`."""
        return self._desk.inbox

    @property
    def is_sending(self) -> bool:
        """Whether a piece of a file has no receipt yet."""
        return self._reading is not None and self._reading.is_sending

    def close(self) -> None:
        """Leave the file in work where it is."""
        if self._reading is not None:
            self._reading.close()
        self._folder.close()

    def told(self) -> Told:
        """How it goes."""
        state, problem = "idle", self._problem
        if self._reading is not None:
            # Names of files are not for everybody who may look at the gateway's health.
            state = f"reading, {self._reading.done_pct} % of the file"
            problem = self._reading.problem
        waiting = len(self._seen) + len(self._begun) + (self._reading is not None)
        return Told("inbox", self.name, state, problem or self._oddity, waiting, dict(self._counts))

    def look(self) -> None:
        """See what was dropped, and which files are complete by now.

        Raises:
            OSError: the folder cannot be read.
        """
        now = time.monotonic()
        dropped = self._folder.dropped()
        visible = [item for item in dropped if not is_temporary(item.name)]
        has_folder = any(item.is_folder for item in visible)
        self._oddity = "a folder lies in it, which is not read; drop the files themselves" if has_folder else ""
        seen: dict[str, tuple[tuple[int, int, int], float]] = {}
        complete = []
        for item in visible:
            if item.is_folder:
                continue
            shape, since = self._seen.get(item.name, (None, now))
            since = since if shape == item.shape else now
            seen[item.name] = (item.shape, since)
            # Seen under a temporary name before: it was renamed into its place, which is how a sender says complete.
            if now - since >= self._settle_s or item.inode in self._temporary:
                complete.append(item)
        self._seen = seen
        self._temporary = frozenset(item.inode for item in dropped if is_temporary(item.name))
        self._complete = sorted(complete, key=lambda item: (item.modified_ns, item.name))

    def step(self) -> bool:
        """Do a small part of the work; false when there is nothing to do now."""
        if self._reading is None:
            own = self._next()
            if own is None:
                return False
            self._reading = Reading(self._desk, own)
        went_on = self._reading.step()
        if self._reading.where:
            done = self._reading.progress
            counts = {"records": done.records, "refused": done.refused, "resumed": done.resumed} if done else {}
            self._counts.update({f"files_{self._reading.where}": 1, **counts})
            self._reading = None
        return went_on

    def purge(self, where: str, older_than: timedelta, now: datetime) -> None:
        """Remove files that were put away longer ago; their receipts stay.

        Raises:
            OSError: the disk does not let them go.
        """
        if removed := self._folder.purge(where, older_than, now):
            log.info("old files were removed", extra={"inbox": self.name, "files": removed})

    def _next(self) -> str | None:
        """The taken name of the next file: one that was begun before a kill, else the oldest that is complete."""
        if self._begun:
            return self._begun.pop(0)
        if not self._complete:
            return None
        self._problem = self._why_not()
        if self._problem:
            return None
        item = self._complete.pop(0)
        try:
            own = self._folder.take(item.name, datetime.now(UTC))
        except OSError as error:
            # Its sender may have taken it back; the next look tells.
            self._problem = f"a file cannot be taken: {error.strerror}"
            return None
        self._seen.pop(item.name, None)
        return own

    def _why_not(self) -> str:
        """Why nothing can be sent from here; files stay where they are until the operator has mended it."""
        try:
            self._core.bound(self.dataset_id, self._sources.named(self.source_name))
        except (LakeError, OSError) as error:
            return f"files wait: {error}"
        return ""
