"""A way to a server that breaks or falls silent after so many bytes, as a bad line does."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator


class Proxy:
    """Forwards TCP from a free port; after `after` bytes of the server it hangs up (`cut`) or falls silent (`hold`)."""

    def __init__(self, port: int, after: int, then: str) -> None:
        self._target, self._left, self._then = port, after, then
        self._sockets: list[socket.socket] = []
        self._ended = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Hang up everything."""
        self._ended.set()
        for one in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self._sockets += [client, server]
                for source, target, counted in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self._forward, args=(source, target, counted), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if counted:
                    self._left -= len(data)
                    if self._left < 0:
                        if self._then == "hold":
                            self._ended.wait()
                            return
                        break
                target.sendall(data)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def proxy(port: int, after: int, then: str) -> Iterator[int]:
    """The port of a proxy to a port of this machine."""
    made = Proxy(port, after, then)
    try:
        yield made.port
    finally:
        made.close()
