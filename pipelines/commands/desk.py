"""`lake desk …`: what has to happen by itself on a flood night, forecasts and the drafts of alerts.

The daemon does nothing but look at the clock and at the logs of the tables that a duty rests on; a turn that has news
is a process of its own. So an idle desk takes little memory and no CPU, and a turn that hangs takes nothing along.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import typer

from pipelines.forecast import GRACE, STEP
from pipelines.runtime.errors import LakeError
from pipelines.runtime.process import lake_executable
from pipelines.runtime.settings import Settings
from pipelines.runtime.telemetry import configure_logging
from pipelines.runtime.turns import Duty, repeat

desk_app = typer.Typer(
    no_args_is_help=True, help="Bàn trực. The duties that `lake start` leaves to a daemon: forecasts, drafts of alerts."
)
_log = logging.getLogger(__name__)
_TIMEOUT_S = 300.0


class Name(StrEnum):
    """The duties of the desk."""

    FORECAST = "forecast"
    CAP = "cap"


@dataclass(frozen=True)
class DeskDuty:
    """A duty of the desk: every how many seconds it looks, the tables (layer, name) whose commits are news to it, those
    whose commits are news every ten minutes, and the datasets that a namespace must hold for it."""

    every_s: float
    news: tuple[tuple[str, str], ...]
    slow_news: tuple[tuple[str, str], ...]
    needs: frozenset[str]


DUTIES: Mapping[Name, DeskDuty] = {
    Name.FORECAST: DeskDuty(
        60.0,
        (("catalog", "forecast_parameters"),),
        (("silver", "river_stage"),),
        frozenset({"river_stage", "flood_forecast_model"}),
    ),
    # Stages are news too: what lasts longer than its message is drafted again by the clock of the readings.
    Name.CAP: DeskDuty(
        15.0,
        (
            ("silver", "flood_alert"),
            ("silver", "scenario_outcome"),
            ("silver", "scenario_run_v2"),
            ("catalog", "cap_message"),
        ),
        (("silver", "river_stage"),),
        frozenset({"flood_alert", "river_stage", "alert_cap"}),
    ),
}
Duties = Annotated[list[Name] | None, typer.Option("--duty", help="Only this duty, repeatable; default: all.")]


@desk_app.command()
def run(
    duty: Duties = None,
    every: Annotated[
        float, typer.Option("--every", min=0, help="Look every so many seconds; 0: as often as the duty asks for.")
    ] = 0,
) -> None:
    """Do the duties again and again until TERM or Ctrl-C (a daemon); a failure is counted, the next turn goes on."""
    configure_logging()
    settings = Settings.load()
    duties = [_duty(settings, name, every) for name in duty or DUTIES]
    repeat(settings, duties, lambda text: _log.info("said", extra={"text": text}))


@desk_app.command()
def turn(
    duty: Annotated[Name, typer.Argument(help="forecast: issue forecasts of now; cap: draft and send alerts.")],
) -> None:
    """Do one duty once and print what came of it."""
    settings = Settings.load()
    typer.echo(_once(settings, duty))
    sys.stdout.flush()
    # Everything is committed and acknowledged. Native threads of Arrow abort the interpreter's end now and then
    # ("terminate called without an active exception"), and a turn that was done would count as failed.
    os._exit(0)


def _once(settings: Settings, name: Name) -> str:
    # Each needs libraries that the other and the daemon do without.
    if name == Name.FORECAST:
        from pipelines.forecast.commands import issue_forecasts

        return issue_forecasts(settings)
    from pipelines.publishing.cap.commands import draft_and_send, said

    return said(*draft_and_send(settings))


def _duty(settings: Settings, name: Name, every_s: float) -> Duty:
    kind = DUTIES[name]
    return Duty(
        name,
        every_s or kind.every_s,
        lambda: _in_a_process(settings, name),
        lambda: commits(settings, kind, time.time()),
    )


def commits(settings: Settings, kind: DeskDuty, now_s: float) -> str:
    """A text that changes with every commit of the tables of a duty; no table is opened. ``now_s`` is Unix time.

    What is slow news counts as of the last forecast's moment: five minutes after every tenth one its readings are in.
    """
    step_s, grace_s = STEP.total_seconds(), GRACE.total_seconds()
    slow_until = int((now_s - grace_s) // step_s * step_s + grace_s) * 10**9
    times = [_committed(settings, *table) for table in kind.news]
    times += [min(_committed(settings, *table), slow_until) for table in kind.slow_news]
    return " ".join(map(str, times))


def _committed(settings: Settings, layer: str, name: str) -> int:
    """When the log of a table was last written, in ns; 0 where there is none. A commit is a new file of its folder."""
    try:
        return (settings.table_path(layer, name) / "_delta_log").stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _in_a_process(settings: Settings, name: Name) -> str:
    command = [lake_executable(), "desk", "turn", name]
    env = {**os.environ, **settings.environment()}
    try:
        done = subprocess.run(
            command, env=env, capture_output=True, text=True, encoding="utf-8", timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise LakeError(
            f"The turn took longer than {_TIMEOUT_S:.0f} s.", "See `lake status`; it is tried again."
        ) from None
    if done.returncode != 0:
        raise LakeError(done.stderr.strip()[-600:] or f"The turn ended with status {done.returncode}.")
    return done.stdout.strip()
