"""Starting what a namespace needs beside the shared services: its jobs and its landing."""

from __future__ import annotations

import sys
from pathlib import Path

from pipelines.runtime.services import Report, silent, start_daemon, stop_daemon
from pipelines.runtime.settings import Settings

LANDING, JOBS = "landing", "jobs"


def lake_executable() -> str:
    """The `lake` of this environment, whatever the PATH says."""
    return str(Path(sys.executable).parent / "lake")


def start_namespace(settings: Settings, report: Report = silent) -> None:
    """Start the daemons of a namespace unless they run; the supervisor restarts them when they die.

    Raises:
        ServiceError: one does not come up; the text has the end of its log.
    """
    lake = lake_executable()
    start_daemon(settings, LANDING, (lake, "landing", "run", "--wait"), report=report)
    start_daemon(settings, JOBS, (lake, "jobs", "supervise"), report=report)


def stop_namespace(settings: Settings) -> dict[str, str]:
    """End the daemons of a namespace; the Flink jobs go on until `lake down` or `lake forget`."""
    return {name: stop_daemon(settings, name) for name in (JOBS, LANDING)}
