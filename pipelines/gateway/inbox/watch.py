"""All inboxes of a namespace, served by one thread: files are found by looking, which works on network folders too."""

from __future__ import annotations

import logging
import os
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pipelines.contracts.validators import PERSONAL_DAYS
from pipelines.gateway.core import Core
from pipelines.gateway.envelope import is_protected
from pipelines.gateway.inbox.folder import DONE, FAILED
from pipelines.gateway.inbox.inbox import Inbox
from pipelines.gateway.inbox.progress import ProgressBook
from pipelines.gateway.sources import Sources
from pipelines.gateway.told import Told
from pipelines.runtime.settings import Settings

log = logging.getLogger(__name__)
SETTLE_S = 5.0
KEPT_DAYS = 30
_LOOK_S = 1.0
_WAIT_S = 0.2
_PURGE_S = 3600.0
_END_S = 5.0
_MOST = 500


class InboxFront:
    """The inboxes below `root` as a front of the core: `<root>/<source>/<dataset>/`."""

    def __init__(self, core: Core, sources: Sources, root: Path, settle_s: float = SETTLE_S) -> None:
        """Nothing is read yet; a folder that is not there yet is looked for again and again.

        Raises:
            OSError: the progress of an earlier gateway cannot be read.
        """
        self.root = root
        self._core, self._sources, self._settle_s = core, sources, settle_s
        self._book = ProgressBook(core.settings.state / "gateway" / core.settings.namespace / "inbox.db")
        self._inboxes: dict[tuple[str, int], Inbox] = {}
        self._told: tuple[Told, ...] = ()
        self._problems: tuple[Told, ...] = ()
        self._woken, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="gateway-inbox", daemon=True)
        self._purge_at = 0.0

    def start(self) -> None:
        """Look for files in the background."""
        self._thread.start()

    def stop(self) -> None:
        """Begin no further piece, wait for the receipts of those that were sent, and end; files go on next time."""
        self._stopping.set()
        self._woken.set()
        self._thread.join()

    @property
    def has_failed(self) -> bool:
        """Whether it ended by accident, so that it is to be begun anew."""
        return self._thread.ident is not None and not self._thread.is_alive() and not self._stopping.is_set()

    def told(self) -> tuple[Told, ...]:
        """How each inbox goes."""
        return self._told + self._problems

    def _run(self) -> None:
        try:
            self._serve()
            self._settle()
        except Exception:
            log.exception("the inboxes failed; they are begun anew")
        finally:
            for inbox in self._inboxes.values():
                inbox.close()
            self._book.close()

    def _serve(self) -> None:
        look_at = 0.0
        while not self._stopping.is_set():
            self._woken.clear()
            if time.monotonic() >= look_at:
                look_at = time.monotonic() + _LOOK_S
                self._look()
            went_on = [inbox.step() for inbox in self._inboxes.values()]
            self._told = tuple(inbox.told() for inbox in self._inboxes.values())
            if not any(went_on):
                self._woken.wait(_WAIT_S)

    def _settle(self) -> None:
        """Take the receipts of pieces that are under way, so that they are not sent again."""
        deadline = time.monotonic() + _END_S
        while time.monotonic() < deadline and any(inbox.is_sending for inbox in self._inboxes.values()):
            for inbox in self._inboxes.values():
                if inbox.is_sending:
                    inbox.step()
            self._woken.wait(0.02)

    def _look(self) -> None:
        problems: list[Told] = []
        found: set[tuple[str, int]] = set()
        for path, inode in folders(self.root):
            key = (str(path), inode)
            found.add(key)
            try:
                if key not in self._inboxes:
                    if len(self._inboxes) >= _MOST:
                        raise OSError(f"more than {_MOST} inboxes are not served")
                    self._inboxes[key] = Inbox(
                        self._core, self._sources, self._book, path, self._settle_s, self._woken.set
                    )
                self._inboxes[key].look()
            except OSError as error:
                problems.append(Told("inbox", f"{path.parent.name}/{path.name}", "unreadable", str(error)))
        for key in self._inboxes.keys() - found:
            self._inboxes.pop(key).close()
        self._problems = tuple(problems)
        if time.monotonic() >= self._purge_at:
            self._purge_at = time.monotonic() + _PURGE_S
            self._purge()

    def _purge(self) -> None:
        """Files that were read are kept for a while; of personal ones nothing is kept, and failed ones not for long."""
        now = datetime.now(UTC)
        for inbox in self._inboxes.values():
            dataset = self._core.streams.get(inbox.dataset_id)
            try:
                inbox.purge(DONE, timedelta(days=KEPT_DAYS), now)
                if dataset is not None and is_protected(dataset):
                    inbox.purge(FAILED, timedelta(days=PERSONAL_DAYS), now)
            except OSError as error:
                log.warning("old files cannot be removed", extra={"inbox": inbox.name, "cause": str(error)})


def inbox_root(settings: Settings, root: Path | None) -> Path:
    """The folder of a namespace's inboxes: below `root`, by default in the gateway's own folder."""
    own = settings.state / "gateway" / settings.namespace / "inbox"
    return own if root is None else root / settings.namespace


def folders(root: Path) -> list[tuple[Path, int]]:
    """`<source>/<dataset>` below the root with their inodes; links and hidden folders are none."""
    found: list[tuple[Path, int]] = []
    try:
        for source in _subfolders(root):
            found += [(Path(each.path), each.inode()) for each in _subfolders(Path(source.path))]
    except FileNotFoundError:
        return found
    return sorted(found)


def _subfolders(path: Path) -> list[os.DirEntry[str]]:
    with os.scandir(path) as entries:
        return [e for e in entries if not e.name.startswith(".") and e.is_dir(follow_symlinks=False)]
