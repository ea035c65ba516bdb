"""Stages of a long command: what runs, how long each took, two tracks at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console


@dataclass
class Stages:
    """Collects the duration of every stage, in seconds; printing is safe from several threads."""

    console: Console
    seconds: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _began: float = field(default_factory=time.monotonic)

    @contextmanager
    def stage(self, name: str, what: str) -> Iterator[None]:
        """Announce a stage, time it, and say when it is done; a failure is announced and raised."""
        self.say(f"▸ {what}")
        began = time.monotonic()
        try:
            yield
        except BaseException:
            self.say(f"✗ {what}")
            raise
        with self._lock:
            self.seconds[name] = time.monotonic() - began
        self.say(f"✓ {what} [{self.seconds[name]:.1f} s]")

    def say(self, text: str) -> None:
        """Print one line with the seconds since the beginning before it."""
        with self._lock:
            self.console.print(
                f"{time.monotonic() - self._began:6.1f} s  {text}", markup=False, highlight=False, soft_wrap=True
            )


class Track(threading.Thread):
    """Work beside the main track; its error is raised where it is joined."""

    def __init__(self, work: Callable[[], None]) -> None:
        """Start at once."""
        super().__init__(daemon=True)
        self._work = work
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        """Do the work and keep its error."""
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - raised again by `result`, in the thread that waits
            self._error = error

    def result(self) -> None:
        """Wait for the end.

        Raises:
            BaseException: what the work raised.
        """
        while self.is_alive():
            self.join(timeout=0.5)  # in steps, so that Ctrl-C is heard
        if self._error is not None:
            raise self._error
