"""Duties that are done again and again: one loop for all of them, which no failure ends, and what it says of itself.

A duty that fails is tried again, later each time; what failed, how often, and when it last succeeded stands in
``<state>/desk/<namespace>/<duty>.json``, which `lake status` reads.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from filelock import FileLock, Timeout

from pipelines.runtime.errors import LakeError
from pipelines.runtime.files import replace_file
from pipelines.runtime.settings import Settings

_FOLDER = "desk"
_LONGEST_RETRY_S = 60.0
_LATE = timedelta(minutes=5)
"""A duty is late when it has not succeeded for three periods, but not before this."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Duty:
    """Something that is done every ``every_s`` seconds. ``turn`` does it once and says what came of it.

    ``news`` names what a turn rests on; while it is what it was at the last success there is nothing to do. Without it
    every turn is done.
    """

    name: str
    every_s: float
    turn: Callable[[], str]
    news: Callable[[], str] | None = None

    def pause_s(self, failures: int) -> float:
        """Seconds until the next turn after so many failures in a row."""
        doubled = self.every_s * 2 ** min(max(failures - 1, 0), 16)
        return float(min(doubled, max(self.every_s, _LONGEST_RETRY_S)))


@dataclass(frozen=True)
class Told:
    """What the loop says of a duty; times are ISO 8601 UTC.

    ``succeeded_at``: the last time at which it was done or there was nothing to do; ``done_at``: done; ``done``: what
    came of it. ``failures`` counts since the start, ``in_a_row`` since the last success; ``problem`` is the last one,
    None after a success. ``seen`` is what the last success rested on; ``ended_at``: when it was told to stop.
    """

    name: str
    pid: int
    every_s: float
    started_at: str
    succeeded_at: str | None = None
    done_at: str | None = None
    done: str = ""
    turns: int = 0
    failures: int = 0
    in_a_row: int = 0
    problem: str | None = None
    seen: str | None = None
    ended_at: str | None = None

    def is_late(self, now: datetime) -> bool:
        """Whether it has not succeeded for so long that somebody has to look."""
        if self.ended_at is not None:
            return False
        since = datetime.fromisoformat(self.succeeded_at or self.started_at)
        return now - since > max(3 * timedelta(seconds=self.every_s), _LATE)


def told(settings: Settings) -> tuple[Told, ...]:
    """What the duties of the namespace said last, by name; none where none was ever begun."""
    found = sorted(_folder(settings).glob("*.json"))
    return tuple(Told(**json.loads(path.read_text(encoding="utf-8"))) for path in found)


def repeat(
    settings: Settings, duties: Sequence[Duty], say: Callable[[str], None], stop: threading.Event | None = None
) -> None:
    """Do duties in turn until ``stop``, by default until SIGTERM or Ctrl-C; the turn that is under way is finished.

    Of two processes with the same duty in one namespace only one does it; the other says so and waits for its end.
    """
    ended = stop or _until_told()
    loops = [_Loop(settings, duty, say) for duty in duties]
    try:
        while not ended.is_set():
            for loop in loops:
                if loop.due_s <= time.monotonic() and not ended.is_set():
                    loop.once()
            ended.wait(max(0.0, min(loop.due_s for loop in loops) - time.monotonic()))
    finally:
        for loop in loops:
            loop.end()


def _until_told() -> threading.Event:
    ended = threading.Event()

    def end(number: int, _frame: object) -> None:
        ended.set()
        # A second Ctrl-C does not wait for the turn.
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    return ended


def _folder(settings: Settings) -> Path:
    return settings.state / _FOLDER / settings.namespace


@dataclass
class _Loop:
    """One duty with its clock (seconds of a monotonic one), its lock and what is told of it."""

    settings: Settings
    duty: Duty
    say: Callable[[str], None]
    due_s: float = 0.0
    lock: FileLock = field(init=False)
    told: Told = field(init=False)

    def __post_init__(self) -> None:
        """Nothing is locked and nothing written yet."""
        folder = _folder(self.settings)
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{self.duty.name}.json"
        self.lock = FileLock(folder / f"{self.duty.name}.lock", timeout=0)
        self.told = Told(self.duty.name, os.getpid(), self.duty.every_s, _now())

    def once(self) -> None:
        try:
            if not self.lock.is_locked:
                self._begin()
            self._succeed(*self._work())
        except LakeError as error:
            self._fail(str(error))
        except Exception as error:
            # Whatever goes wrong with one duty is its own: on a flood night the others go on, and so does it.
            log.exception("a turn failed", extra={"duty": self.duty.name})
            self._fail(f"{type(error).__name__}: {error}")
        self.due_s = time.monotonic() + self.duty.pause_s(self.told.in_a_row)

    def end(self) -> None:
        if self.lock.is_locked:
            self._tell(replace(self.told, ended_at=_now()))
            self.lock.release()

    def _begin(self) -> None:
        try:
            self.lock.acquire()
        except Timeout:
            raise LakeError(
                f"Another process does the duty {self.duty.name} of {self.settings.namespace}.",
                "See `lake status`; `lake stop` ends the one of `lake start`.",
            ) from None
        before = next((each for each in told(self.settings) if each.name == self.duty.name), None)
        if before is not None:
            self.told = replace(self.told, seen=before.seen, done=before.done, done_at=before.done_at)

    def _work(self) -> tuple[str | None, str | None]:
        """What the turn rested on, and what came of it; None for the latter when there was nothing to do."""
        # Looked at before the turn: what arrives while it runs is news to the next one.
        news = self.duty.news() if self.duty.news else None
        if news is not None and news == self.told.seen:
            return news, None
        return news, self.duty.turn()

    def _succeed(self, seen: str | None, done: str | None) -> None:
        now = _now()
        turns = self.told.turns + (done is not None)
        found = replace(self.told, succeeded_at=now, turns=turns, in_a_row=0, problem=None, seen=seen)
        if done:
            self.say(done)
            found = replace(found, done=done, done_at=now)
        self._tell(found)

    def _fail(self, problem: str) -> None:
        row = self.told.in_a_row + 1
        if problem != self.told.problem:
            self.say(problem)
        found = replace(self.told, failures=self.told.failures + 1, in_a_row=row, problem=problem)
        if self.lock.is_locked:
            self._tell(found)
        self.told = found

    def _tell(self, found: Told) -> None:
        self.told = found
        replace_file(self._path, json.dumps(asdict(found), ensure_ascii=False))


def _now() -> str:
    return datetime.now(UTC).isoformat()
