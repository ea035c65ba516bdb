"""`lake start` and `lake stop`: what a namespace needs beside the shared services."""

from __future__ import annotations

import typer
from rich.console import Console

from pipelines.commands.contracts import checked_registry
from pipelines.commands.platform import start_namespace, stop_namespace
from pipelines.runtime.settings import Settings
from pipelines.serving.bootstrap import apply

start_app = typer.Typer()
stop_app = typer.Typer()
_console = Console()


@start_app.command()
def start() -> None:
    """Apply the contracts, start gateway, jobs, landing, desk of LAKE_NAMESPACE; needs `lake up`, may be repeated."""
    settings = Settings.load()
    for line in apply(settings, checked_registry(settings)):
        _console.print(line)
    start_namespace(settings, lambda name, phrase: _console.print(f"{name}: {phrase}"))
    _console.print("The jobs start now; follow them with `lake jobs list`.")


@stop_app.command()
def stop() -> None:
    """End desk, gateway, landing and the jobs' supervisor of LAKE_NAMESPACE; nothing is lost, `lake start` goes on."""
    for name, outcome in stop_namespace(Settings.load()).items():
        _console.print(f"{name}: {outcome}")
