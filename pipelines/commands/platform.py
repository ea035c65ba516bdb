"""Starting what a namespace needs beside the shared services: its gateway, jobs, landing and desk."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable

import httpx

from pipelines.commands.desk import DUTIES
from pipelines.gateway.http import SERVICE
from pipelines.runtime.contracts import registry_of
from pipelines.runtime.process import lake_executable
from pipelines.runtime.services import Report, daemon_ports, silent, start_daemon, stop_daemon
from pipelines.runtime.settings import Settings

GATEWAY, LANDING, JOBS, DESK = "gateway", "landing", "jobs", "desk"
_GATEWAY_OPTIONS = "LAKE_GATEWAY_"
_PROBE_TIMEOUT_S = 2.0


def start_namespace(settings: Settings, report: Report = silent, *, desk: bool = True) -> None:
    """Start the daemons of a namespace unless they run; the supervisor restarts them when they die.

    ``desk``: also what issues forecasts and drafts alerts by itself, as far as the namespace holds the datasets for it.
    Whoever replays a night in minutes and does both as steps of its own leaves it out: looked at half-way, a flood that
    arrives all at once has other messages and other moments of issue in every run.

    Raises:
        ContractErrors: the contracts do not load.
        ServiceError: one does not come up; the text has the end of its log.
    """
    lake = lake_executable()
    start_daemon(settings, LANDING, (lake, "landing", "run", "--wait"), report=report)
    start_daemon(settings, JOBS, (lake, "jobs", "supervise"), report=report)
    _start_gateway(settings, lake, report)
    if not desk:
        return
    held = {dataset.id for dataset in registry_of(settings).datasets}
    duties = [name for name, duty in DUTIES.items() if duty.needs <= held]
    if duties:
        options = [option for name in duties for option in ("--duty", name)]
        start_daemon(settings, DESK, (lake, "desk", "run", *options), report=report)


def _start_gateway(settings: Settings, lake: str, report: Report) -> None:
    # The supervisor knows only its own environment: what the gateway is told goes into its record.
    options = {name: value for name, value in os.environ.items() if name.startswith(_GATEWAY_OPTIONS)}
    use = "https" if options.get("LAKE_GATEWAY_TLS_CERT") else "http"
    ports = daemon_ports(settings, GATEWAY, (use,))
    start_daemon(
        settings,
        GATEWAY,
        (lake, "gateway", "serve", "--port", str(ports[use])),
        ports=ports,
        env=options,
        probe=_answers(f"{use}://127.0.0.1:{ports[use]}/health", settings.namespace),
        report=report,
    )


def _answers(url: str, namespace: str) -> Callable[[], str | None]:
    # The certificate is the city's, not this host's: the answer itself says whether it is ours.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    def probe() -> str | None:
        try:
            told = httpx.get(url, timeout=_PROBE_TIMEOUT_S, verify=context).raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            return f"no answer from {url} yet ({type(error).__name__})"
        ours = (told.get("service"), told.get("namespace")) == (SERVICE, namespace)
        return None if ours else f"{url} is answered by another server"

    return probe


def stop_namespace(settings: Settings) -> dict[str, str]:
    """End the daemons of a namespace; the Flink jobs go on until `lake down` or `lake forget`."""
    return {name: stop_daemon(settings, name) for name in (DESK, GATEWAY, JOBS, LANDING)}
