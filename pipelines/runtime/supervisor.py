"""The supervisor: restarts services and daemons that died without being stopped, and writes down each restart."""

import logging
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from filelock import Timeout

from pipelines.runtime.errors import LakeError
from pipelines.runtime.launcher import relaunch, service_lock
from pipelines.runtime.process import ProcessRecord
from pipelines.runtime.settings import Settings
from pipelines.runtime.telemetry import configure_logging

SUPERVISOR = "supervisor"
_PERIOD_S = 0.5
_FIRST_DELAY_S = 0.5
_LONGEST_DELAY_S = 30.0
# A service that lived this long starts its backoff anew.
_HEALTHY_AFTER_S = 60.0
_log = logging.getLogger(__name__)


@dataclass
class Backoff:
    """How long to wait before the next restart of one service, in seconds of a monotonic clock."""

    delay_s: float = 0.0
    not_before_s: float = 0.0

    def after_restart(self, now_s: float, lived_s: float) -> None:
        """Note a restart of a process that had lived `lived_s`; doubles the wait unless it had lived long."""
        grown = _FIRST_DELAY_S if self.delay_s == 0 or lived_s > _HEALTHY_AFTER_S else self.delay_s * 2
        self.delay_s = min(grown, _LONGEST_DELAY_S)
        self.not_before_s = now_s + self.delay_s


class Supervisor:
    """Watches the records under `<state>/services/`; a record without a living process is a death to mend."""

    def __init__(self, settings: Settings) -> None:
        """Watch the installation of `settings`."""
        self._services = settings.state / "services"
        self._backoffs: dict[str, Backoff] = {}

    def look_once(self) -> list[str]:
        """Restart what is dead and due; returns the names of what was restarted."""
        restarted = []
        for path in sorted(self._services.glob("*/process.json")):
            name = path.parent.name
            if name == SUPERVISOR:
                continue
            record = ProcessRecord.read(path.parent)
            if record is None or record.process() is not None:
                continue
            if self._restart(path.parent, name):
                restarted.append(name)
        return restarted

    def _restart(self, folder: Path, name: str) -> bool:
        backoff = self._backoffs.setdefault(name, Backoff())
        if time.monotonic() < backoff.not_before_s:
            return False
        try:
            # Somebody who starts or stops this service holds its lock: then it is not ours to mend.
            with service_lock(folder, timeout_s=0):
                record = ProcessRecord.read(folder)
                if record is None or record.process() is not None:
                    return False
                lived_s = time.time() - record.started_at_s
                again = relaunch(record, folder)
        except Timeout:
            return False
        except LakeError as error:
            _log.error("restart failed", extra={"service": name, "error": str(error)})
            backoff.after_restart(time.monotonic(), 0.0)
            return False
        backoff.after_restart(time.monotonic(), lived_s)
        _log.warning(
            "restarted",
            extra={"service": name, "pid": again.pid, "restarts": again.restarts, "began_s_ago": round(lived_s, 1)},
        )
        return True


def main() -> None:
    """Watch until TERM or INT."""
    configure_logging()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    supervisor = Supervisor(Settings.load())
    _log.info("watching")
    while not stop.wait(_PERIOD_S):
        supervisor.look_once()
    _log.info("stopped")


if __name__ == "__main__":
    main()
