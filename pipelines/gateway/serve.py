"""The gateway as a process: the core with HTTP, brokers and inboxes in front, until TERM or Ctrl-C."""

from __future__ import annotations

import signal
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import uvicorn

from pipelines.contracts.registry import Registry
from pipelines.contracts.targets.openapi import gateway_document
from pipelines.gateway.collectors import Collectors
from pipelines.gateway.core import Core
from pipelines.gateway.housekeeping import Housekeeper
from pipelines.gateway.http import application
from pipelines.gateway.inbox.watch import SETTLE_S
from pipelines.gateway.limits import Limits
from pipelines.gateway.metrics import Metrics
from pipelines.gateway.sources import Sources
from pipelines.runtime.errors import LakeError
from pipelines.runtime.ports import is_loopback
from pipelines.runtime.settings import Settings

_CONNECTIONS = 2_000
_KEEP_ALIVE_S = 30
_END_S = 10


@dataclass(frozen=True)
class Address:
    """Where the gateway listens; `cert` and `key` are PEM files, both or none."""

    host: str = "127.0.0.1"
    port: int = 8080
    cert: Path | None = None
    key: Path | None = None
    is_behind_proxy: bool = False

    def check(self) -> None:
        """Refuse to send tokens over a network in clear, and files that are not there.

        Raises:
            LakeError: what is wrong and what to do.
        """
        if (self.cert is None) != (self.key is None):
            raise LakeError("TLS needs a certificate and its key.", "Give --tls-cert and --tls-key.")
        for path in (self.cert, self.key):
            if path is not None and not path.is_file():
                raise LakeError(f"There is no file {path}.", "Give the PEM file of the certificate and of its key.")
        if self.cert is None and not self.is_behind_proxy and not is_loopback(self.host):
            raise LakeError(
                f"On {self.host} tokens would travel in clear.",
                "Give --tls-cert and --tls-key, or --behind-proxy when a proxy on this host ends TLS.",
            )


@dataclass(frozen=True)
class Inboxes:
    """Where files are dropped: `folder` holds the inboxes of every namespace (default: the state folder); a file that
    has not changed for `settle_s` seconds is complete.
    """

    folder: Path | None = None
    settle_s: float = SETTLE_S


def run(
    settings: Settings,
    registry: Registry,
    address: Address,
    limits: Limits | None = None,
    inboxes: Inboxes | None = None,
) -> None:
    """Answer until TERM or Ctrl-C; requests that were taken are answered first, records settled.

    Raises:
        LakeError: the address cannot be used, another gateway runs, or the spool cannot be opened.
    """
    address.check()
    files, sources = inboxes or Inboxes(), Sources(settings)
    with (
        Core(settings, registry, limits) as core,
        Collectors(core, sources, files.folder, files.settle_s) as collectors,
        Housekeeper(core, others=collectors),
    ):
        app = application(core, sources, Metrics(core, collectors), partial(_document, core), collectors)
        config = uvicorn.Config(
            app,
            host=address.host,
            port=address.port,
            ssl_certfile=address.cert,
            ssl_keyfile=address.key,
            ssl_version=ssl.PROTOCOL_TLS_SERVER,
            http="httptools",
            loop="uvloop",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=_CONNECTIONS,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_END_S,
        )
        server = uvicorn.Server(config)
        core.on_failure = lambda: setattr(server, "should_exit", True)
        with _told_once():
            server.run()
    if core.has_failed:
        raise LakeError("The gateway's core failed.", "Its log says why; records without a receipt were not taken.")


def _document(core: Core) -> bytes:
    return msgspec.json.encode(gateway_document(core.registry))


@contextmanager
def _told_once() -> Iterator[None]:
    """The server raises the signal that ended it again when it has ended; the core has still to settle its records."""
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
