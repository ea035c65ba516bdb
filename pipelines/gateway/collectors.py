"""The ways into the core besides HTTP: begun as they are configured, watched, and ended with the gateway."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from pipelines.contracts.collectors import Collector
from pipelines.gateway.core import Core
from pipelines.gateway.inbox.watch import SETTLE_S, InboxFront, inbox_root
from pipelines.gateway.mqtt.collector import MqttCollector
from pipelines.gateway.mqtt.connections import Connection, connections
from pipelines.gateway.mqtt.unbound import Unbound
from pipelines.gateway.sources import Sources
from pipelines.gateway.told import Front, Told
from pipelines.runtime.errors import LakeError

log = logging.getLogger(__name__)
_LOOK_S = 2.0
_EXPIRE_S = 3600.0
_INBOXES = "all inboxes"


class Collectors:
    """Use it as a context manager, inside that of the core. A broker that is connected or forgotten while the gateway
    runs, and a changed collector, are followed within seconds.
    """

    def __init__(
        self,
        core: Core,
        sources: Sources,
        inbox_folder: Path | None = None,
        settle_s: float = SETTLE_S,
    ) -> None:
        """Nothing is begun yet; `inbox_folder` holds the inboxes of every namespace (default: the state folder).

        Raises:
            LakeError: what an earlier gateway has kept cannot be read.
        """
        self._core, self._sources = core, sources
        self._root, self._settle_s = inbox_root(core.settings, inbox_folder), settle_s
        try:
            self._unbound = Unbound(core.settings)
        except OSError as error:
            raise LakeError(f"Messages that were kept cannot be read: {error}.", "Look at the disk.") from error
        self._fronts: dict[str, Front] = {}
        self._begun: dict[str, tuple[Connection, Collector]] = {}
        self._problems: tuple[Told, ...] = ()
        self._kept: dict[tuple[str, str], int] = {}
        self._expire_at = 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="gateway-collectors", daemon=True)

    def __enter__(self) -> Collectors:
        """Begin what is configured."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End everything; what was submitted is settled first."""
        self._stopping.set()
        self._thread.join()
        fronts = tuple(self._fronts.values())
        with ThreadPoolExecutor(max_workers=max(1, len(fronts))) as pool:
            # Together, because each may wait seconds for its receipts.
            list(pool.map(lambda front: front.stop(), fronts))

    def told(self) -> tuple[Told, ...]:
        """How every collector and inbox goes."""
        return (*(told for front in tuple(self._fronts.values()) for told in front.told()), *self._problems)

    def unbound(self) -> dict[tuple[str, str], int]:
        """Messages that could not be bound and are kept, by collector and reason; as it was seconds ago."""
        return self._kept

    def _watch(self) -> None:
        while not self._stopping.is_set():
            problems: list[Told] = []
            wanted = self._wanted(problems)
            self._end([name for name, begun in self._begun.items() if wanted.get(name) != begun])
            self._end([name for name, front in self._fronts.items() if front.has_failed])
            for name, (connection, collector) in wanted.items():
                if name not in self._fronts:
                    problems += self._begin_mqtt(name, connection, collector)
            if _INBOXES not in self._fronts:
                problems += self._begin_inbox()
            try:
                self._forget_old()
                self._kept = self._unbound.counts()
            except OSError as error:
                problems.append(Told("mqtt", "*", "unknown", f"kept messages cannot be counted: {error}"))
            self._problems = tuple(problems)
            self._stopping.wait(_LOOK_S)

    def _forget_old(self) -> None:
        """Let go of messages that nobody bound in time, once an hour; that is logged, and `unbound log` shows it."""
        if time.monotonic() < self._expire_at:
            return
        self._expire_at = time.monotonic() + _EXPIRE_S
        if gone := self._unbound.expire(datetime.now(UTC)):
            log.warning("messages that nobody bound were kept for long enough", extra={"messages": gone})

    def _wanted(self, problems: list[Told]) -> dict[str, tuple[Connection, Collector]]:
        """The brokers that are configured now, each with what is subscribed to there."""
        known = {collector.id: collector for collector in self._core.registry.collectors}
        try:
            configured = connections(self._core.settings)
        except LakeError as error:
            problems.append(Told("mqtt", "*", "unknown", str(error)))
            return dict(self._begun)
        problems += [
            Told("mqtt", name, "not begun", f"schemas/collectors/{name}.yaml is not there")
            for name in sorted(configured.keys() - known.keys())
        ]
        return {name: (connection, known[name]) for name, connection in configured.items() if name in known}

    def _begin_mqtt(self, name: str, connection: Connection, collector: Collector) -> list[Told]:
        try:
            front = MqttCollector(self._core, self._sources, collector, connection, self._unbound)
        except LakeError as error:
            return [Told("mqtt", name, "not begun", str(error))]
        front.start()
        self._fronts[name], self._begun[name] = front, (connection, collector)
        return []

    def _begin_inbox(self) -> list[Told]:
        try:
            front = InboxFront(self._core, self._sources, self._root, self._settle_s)
        except OSError as error:
            return [Told("inbox", str(self._root), "not begun", str(error))]
        front.start()
        self._fronts[_INBOXES] = front
        return []

    def _end(self, names: list[str]) -> None:
        for name in names:
            log.info("a collector ends", extra={"collector": name})
            self._fronts.pop(name).stop()
            self._begun.pop(name, None)
