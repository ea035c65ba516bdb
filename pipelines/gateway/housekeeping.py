"""What a gateway does beside taking records: looks at contracts and registers, remembers devices, writes its status."""

from __future__ import annotations

import logging
import sqlite3
import threading
from datetime import UTC, datetime

from deltalake.exceptions import DeltaError

from pipelines.contracts.errors import ContractErrors
from pipelines.gateway.core import Core
from pipelines.gateway.devices import Heard
from pipelines.gateway.quarantine import Quarantine
from pipelines.gateway.state import report, write_report
from pipelines.gateway.told import Watched
from pipelines.runtime.contracts import registry_of, signature
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings

log = logging.getLogger(__name__)
PERIOD_S = 5.0


class Housekeeper:
    """A thread beside a core; use it as a context manager. It takes up changed contracts without a restart."""

    def __init__(self, core: Core, period_s: float = PERIOD_S, others: Watched | None = None) -> None:
        """Nothing runs yet; what was heard of devices before is remembered. `others` are the ways in besides HTTP."""
        self._core, self._period_s, self._others = core, period_s, others
        self._quarantine = Quarantine(core.settings, core.limits.quarantine_bytes)
        self._heard = Heard(self._quarantine.db)
        core.devices.heard.update(self._heard.load())
        self._saved_at = datetime.now(UTC)
        self._contracts = signature(core.settings)
        self._keys = _keys(core.settings)
        self._problem: str | None = None
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gateway-housekeeping", daemon=True)

    def __enter__(self) -> Housekeeper:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Do everything once more, and end."""
        self._ends.set()
        self._thread.join()
        self._quarantine.close()

    def _run(self) -> None:
        while not self._ends.wait(self._period_s):
            self._once()
        self._once()

    def _once(self) -> None:
        try:
            self.look()
        except (OSError, sqlite3.DatabaseError, DeltaError, LakeError) as error:
            # It says so and tries again: records go on.
            log.exception("housekeeping failed; trying again")
            self._problem = str(error)

    def look(self) -> None:
        """One round.

        Raises:
            OSError, sqlite3.DatabaseError, DeltaError, LakeError: a file or table cannot be read or written.
        """
        self._problem = self._reload()
        self._reload_keys()
        self._core.devices.refresh(self._core.registry)
        now = datetime.now(UTC)
        self._heard.save(self._core.devices.heard, self._saved_at)
        self._saved_at = now
        usage = self._core.quarantined = self._quarantine.usage()
        silence = self._core.devices.silence(self._core.registry.streams(), usage.records, now)
        told = report(self._core.settings, self._core.state, silence, self._problem, self._others, usage)
        write_report(self._core.settings, told)

    def _reload_keys(self) -> None:
        seen = _keys(self._core.settings)
        if seen != self._keys:
            self._core.sealing.gateway.reload_keys(self._core.settings)
            self._keys = seen
            log.info("keys were taken up again")

    def _reload(self) -> str | None:
        """Take up contracts that changed; a half-edited file changes nothing yet, and is named."""
        seen = signature(self._core.settings)
        if seen == self._contracts:
            return None
        try:
            registry = registry_of(self._core.settings)
        except ContractErrors as errors:
            return f"contracts not reloaded: {errors}"
        self._core.use(registry)
        self._contracts = seen
        log.info("contracts were taken up again")
        return None


def _keys(settings: Settings) -> tuple[str, ...]:
    """The names of the key files: a rotation adds one, and never changes one."""
    return tuple(sorted(path.name for path in settings.secrets_dir.glob("*-key-v*")))
