"""One taken file on its way: checked, sent piece by piece, put away with its receipt.

The work is cut into small steps, so that one thread serves many inboxes: a step that cannot go on yields false.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from pipelines.gateway.core import Core
from pipelines.gateway.envelope import is_protected
from pipelines.gateway.inbox.folder import DONE, FAILED, Folder, NotPlain, original_name
from pipelines.gateway.inbox.kinds import Kind, Unfit, check, kind_of, reader
from pipelines.gateway.inbox.progress import Progress, ProgressBook, RefusedAt
from pipelines.gateway.inbox.receipts import render
from pipelines.gateway.inbox.window import Bounds, Broken, Piece
from pipelines.gateway.sources import Sources
from pipelines.gateway.submission import (
    Busy,
    Empty,
    IntakeError,
    Oversized,
    Receipt,
    Submission,
    Throttled,
    UnknownFormat,
)
from pipelines.runtime.errors import LakeError

log = logging.getLogger(__name__)
RETRY_S = 5.0
_CHANGED = "the file was changed while it was read; send it again when it is complete"
Steps = Generator[bool, None, None]


@dataclass(frozen=True)
class Desk:
    """What reading a file of one inbox needs; `wake` is called when a step can go on."""

    core: Core
    sources: Sources
    book: ProgressBook
    folder: Folder
    source_name: str
    dataset_id: str
    wake: Callable[[], None]

    @property
    def inbox(self) -> str:
        """The name under which progress is kept."""
        return f"{self.source_name}/{self.dataset_id}"


class Reading:
    """The work on one file; call :meth:`step` until `where` says where the file went."""

    def __init__(self, desk: Desk, own: str) -> None:
        """`own` is the taken name of the file."""
        self.own, self.name = own, original_name(own)
        self.where = self.problem = ""
        self.is_sending = False
        self.progress: Progress | None = None
        self._desk = desk
        limits = desk.core.limits
        self._bounds = Bounds(
            records=min(Bounds.records, limits.batch_records), record_bytes=limits.body_bytes - limits.body_bytes // 8
        )
        self._steps = self._work()

    def step(self) -> bool:
        """Do a small part; false when there is nothing to do now."""
        return next(self._steps, True)

    def close(self) -> None:
        """Leave the file where it is; the next gateway goes on behind its last receipt."""
        self._steps.close()

    @property
    def done_pct(self) -> int:
        """How much of the file has its receipt, in percent."""
        return 100 * self.progress.offset // max(1, self.progress.plain_bytes) if self.progress else 0

    def _work(self) -> Steps:
        try:
            kind, is_packed = kind_of(self.name)
            descriptor, info = self._desk.folder.open(self.own)
        except (NotPlain, Unfit) as error:
            yield from self._put_away(FAILED, str(error))
            return
        except FileNotFoundError:
            self.where = FAILED
            return
        except OSError as error:
            yield from self._put_away(FAILED, f"the file cannot be opened: {error.strerror}")
            return
        try:
            yield from self._read(descriptor, info, kind, is_packed=is_packed)
        except Unfit as error:
            yield from self._put_away(FAILED, str(error))
        except Broken as error:
            yield from self._put_away(FAILED, str(error), error.line)
        except OSError as error:
            yield from self._put_away(FAILED, f"the file cannot be read: {error.strerror}")
        except Exception:
            # One file's fault must not hold up the others.
            log.exception("a file failed", extra={"inbox": self._desk.inbox, "file": self.own})
            yield from self._put_away(FAILED, "the gateway failed on this file; its log says why")
        else:
            yield from self._put_away(DONE)
        finally:
            os.close(descriptor)

    def _read(self, descriptor: int, info: os.stat_result, kind: Kind, *, is_packed: bool) -> Steps:
        """Check the file, unless that was done before a kill, and send what has no receipt yet.

        Raises:
            Unfit, Broken: it cannot be read, or not any further.
        """
        shape = _shape(info)
        known = yield from self._known()
        if known is None:
            for checked in check(descriptor, info.st_size, is_packed=is_packed):
                yield True
                if checked is not None:
                    known = Progress(checked.sha256, shape, checked.plain_bytes)
        else:
            known = replace(known, resumed=known.resumed + 1)
        assert known is not None
        if shape != known.shape:
            raise Unfit(_CHANGED)
        yield from self._remember(known)
        read = reader(descriptor, 0 if kind.reads_from_beginning else known.offset, is_packed=is_packed)
        for piece in kind.cut(read, known.place, self._bounds):
            receipt = yield from self._sent(piece, kind)
            refused = _refused(known, piece, kind, receipt)
            known = known.behind(piece.end, receipt)
            yield from self._remember(known, refused)
        if _shape(os.fstat(descriptor)) != known.shape:
            raise Unfit(_CHANGED)

    def _sent(self, piece: Piece, kind: Kind) -> Generator[bool, None, Receipt]:
        """Send a piece until the core has it; its receipt, an empty one when it holds no record.

        Raises:
            Broken: the core can never take it.
        """
        desk = self._desk
        while True:
            try:
                source = desk.sources.named(desk.source_name)
                future = desk.core.submit(
                    Submission(desk.dataset_id, piece.body, kind.media_type, source, datetime.now(UTC))
                )
            except (UnknownFormat, Oversized) as error:
                raise Broken(piece.line, str(error)) from None
            except (Busy, Throttled) as error:
                yield from self._held(str(error), error.retry_after_s)
                continue
            except (LakeError, OSError) as error:
                # The inbox is at fault, not the file: somebody has to bind its source again.
                yield from self._held(str(error))
                continue
            future.add_done_callback(lambda _future: desk.wake())
            self.is_sending = True
            while not future.done():
                yield False
            self.is_sending = False
            failure = future.exception()
            if failure is None:
                self.problem = ""
                return future.result()
            if isinstance(failure, Empty):
                return Receipt(desk.dataset_id, 0, 0, 0)
            if isinstance(failure, Busy):
                yield from self._held(str(failure), failure.retry_after_s)
                continue
            raise Broken(piece.line, str(failure)) if isinstance(failure, IntakeError) else failure

    def _known(self) -> Generator[bool, None, Progress | None]:
        """How far the file was before a kill; waits while the disk does not tell it."""
        while True:
            try:
                return self._desk.book.of(self._desk.inbox, self.own)
            except OSError as error:
                yield from self._held(f"the disk does not tell how far a file is: {error}")

    def _remember(self, progress: Progress, refused: list[RefusedAt] | None = None) -> Steps:
        """Keep how far the file is; waits while the disk does not take it."""
        while True:
            try:
                self._desk.book.save(self._desk.inbox, self.own, progress, refused or [])
            except OSError as error:
                yield from self._held(f"the disk does not keep how far a file is: {error}")
            else:
                self.progress = progress
                yield True
                return

    def _put_away(self, where: str, reason: str = "", line: int | None = None) -> Steps:
        """Write the receipt and move the file; waits while the disk does not take it."""
        desk = self._desk
        dataset = desk.core.streams.get(desk.dataset_id)
        is_kept = where == FAILED or dataset is None or not is_protected(dataset)
        while True:
            try:
                self.progress = desk.book.of(desk.inbox, self.own)
                refused = desk.book.refused(desk.inbox, self.own)
                told = render(
                    self.own, desk.core.settings.namespace, desk.source_name, desk.dataset_id, where,
                    self.progress, refused, reason=reason, line=line, is_kept=is_kept,
                )  # fmt: skip
                desk.folder.finish(self.own, where, told, keep=is_kept)
                desk.book.forget(desk.inbox, self.own)
            except OSError as error:
                yield from self._held(f"a file that was read cannot be put away: {error}")
            else:
                break
        records, no_use = (self.progress.records, self.progress.refused) if self.progress else (0, 0)
        extra = {"inbox": desk.inbox, "file": self.own, "records": records, "refused": no_use, "reason": reason}
        log.log(logging.WARNING if where == FAILED else logging.INFO, "a file was read", extra=extra)
        self.where = where
        yield True

    def _held(self, problem: str, wait_s: float | None = None) -> Steps:
        if problem != self.problem:
            log.warning("an inbox waits", extra={"inbox": self._desk.inbox, "cause": problem})
        self.problem = problem
        until = time.monotonic() + min(wait_s or RETRY_S, RETRY_S)
        while time.monotonic() < until:
            yield False


def _shape(info: os.stat_result) -> str:
    return f"{info.st_size}:{info.st_mtime_ns}"


def _refused(progress: Progress, piece: Piece, kind: Kind, receipt: Receipt) -> list[RefusedAt]:
    """Where the refused records of a piece stand; a format that makes several records of one line tells no line."""
    found = []
    for item in receipt.refused:
        line, count = kind.line_of(piece, item.index or 0)
        is_known = item.index is None or count == receipt.records
        record = progress.records + (item.index or 0) + 1
        found.append(RefusedAt(line if is_known else None, record, item.reason, item.detail))
    return found
