"""Acknowledgements in the order of the messages, and only for the connection on which they came. No network."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(eq=False, slots=True)
class Delivery:
    """A message that waits for its acknowledgement; `mid` is its packet identifier, None for QoS 0."""

    mid: int | None
    size_bytes: int
    is_safe: bool = False


class Acks:
    """Thread-safe. `send` is told the packet identifiers that may be acknowledged, in the order in which they came.

    MQTT asks for that order (4.6.0-2). A new connection begins anew: the broker sends what it has no acknowledgement
    for once more, and an identifier of the old connection may stand for another message by now.
    """

    def __init__(self, send: Callable[[int], None]) -> None:
        """Nothing waits."""
        self._send = send
        self._waiting: deque[Delivery] = deque()
        self._bytes = 0
        self._changed = threading.Condition()

    def begin(self, mid: int | None, size_bytes: int) -> Delivery:
        """A message came."""
        delivery = Delivery(mid, size_bytes)
        with self._changed:
            self._waiting.append(delivery)
            self._bytes += size_bytes
        return delivery

    def safe(self, delivery: Delivery) -> None:
        """The bytes of a message are safe: acknowledge it, as soon as all before it are."""
        with self._changed:
            delivery.is_safe = True
            while self._waiting and self._waiting[0].is_safe:
                first = self._waiting.popleft()
                self._bytes -= first.size_bytes
                if first.mid is not None:
                    self._send(first.mid)
            self._changed.notify_all()

    def forget(self) -> None:
        """The connection ended: nothing that came on it is acknowledged any more."""
        with self._changed:
            self._waiting.clear()
            self._bytes = 0
            self._changed.notify_all()

    def wait_below(self, messages: int, size_bytes: int, timeout_s: float) -> bool:
        """Wait until fewer messages and bytes than these wait; false when that did not come true in time."""
        with self._changed:
            return self._changed.wait_for(
                lambda: len(self._waiting) < messages and self._bytes < size_bytes, timeout=timeout_s
            )

    @property
    def waiting(self) -> int:
        """Messages without an acknowledgement."""
        return len(self._waiting)
