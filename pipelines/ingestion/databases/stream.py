"""Batches of one or several connections as one stream: read ahead in threads, in bounded memory, never for ever."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from typing import TypeVar

import pyarrow as pa

_AHEAD = 2
"""Batches of each connection that wait for the caller; each is at most 16 MiB or one row."""
_JOIN_S = 5.0
_POLL_S = 0.2

Batches = Generator[pa.RecordBatch, None, None]
Reader = Callable[[], Batches]


_Statement = TypeVar("_Statement")


def taken(statements: deque[_Statement]) -> Iterator[_Statement]:
    """The next one as long as there is one; several threads may take from one queue."""
    while statements:
        try:
            statement = statements.popleft()
        except IndexError:
            # Another thread was faster.
            return
        yield statement


class Stalled(Exception):
    """No connection sent anything for as long as one statement may take."""


class Readers:
    """Runs each reader in a thread of its own; `stuck` afterwards holds the places of those that did not end.

    A stuck one still waits inside its driver: its connection must not be touched any more.
    """

    def __init__(self, readers: Sequence[Reader], stall_s: float) -> None:
        self.stuck: frozenset[int] = frozenset()
        self._readers = tuple(readers)
        self._stall_s = stall_s
        self._queue: queue.Queue[pa.RecordBatch | Exception | None] = queue.Queue(_AHEAD * len(self._readers))
        self._stop = threading.Event()

    def batches(self, cancel: Callable[[], None]) -> Batches:
        """The batches as they come; one reader's are in its order. `cancel` ends statements that nobody waits for.

        Raises:
            Stalled: nothing came for too long; Exception: what a reader raised.
        """
        threads = [threading.Thread(target=self._run, args=(reader,), daemon=True) for reader in self._readers]
        for thread in threads:
            thread.start()
        finished = 0
        stalled = False
        try:
            while finished < len(threads):
                try:
                    item = self._queue.get(timeout=self._stall_s)
                except queue.Empty:
                    stalled = True
                    raise Stalled from None
                if isinstance(item, Exception):
                    raise item
                if item is None:
                    finished += 1
                else:
                    yield item
        except GeneratorExit:
            self._stop.set()
            cancel()
            raise
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(0 if stalled else _JOIN_S)
            self.stuck = frozenset(place for place, thread in enumerate(threads) if thread.is_alive())

    def _run(self, reader: Reader) -> None:
        try:
            with closing(reader()) as batches:
                for batch in batches:
                    if not self._put(batch):
                        return
            self._put(None)
        except Exception as error:  # noqa: BLE001 (raised again by the caller's thread)
            self._put(error)

    def _put(self, item: pa.RecordBatch | Exception | None) -> bool:
        """Hand over; False when nobody takes it any more."""
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=_POLL_S)
            except queue.Full:
                continue
            return True
        return False
