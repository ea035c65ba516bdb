"""The command `lake`: mounts every package's commands and turns expected errors into one clear sentence."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass

import typer
from rich.console import Console
from typer._click.core import Command, Context  # typer carries its own click
from typer._click.formatting import HelpFormatter
from typer.core import TyperGroup
from typer.main import get_command

from pipelines.contracts.errors import ContractError, ContractErrors, Untranslatable
from pipelines.runtime.errors import LakeError


@dataclass(frozen=True)
class Mount:
    """Where a command or a group of commands lives; its module is imported only when it is asked for."""

    module: str
    attribute: str
    help: str


COMMANDS: dict[str, Mount] = {
    "demo": Mount(
        "pipelines.commands.demo", "demo_app", "Run the whole system on the flood of 2025 and tell its story."
    ),
    "up": Mount("pipelines.runtime.commands", "services_app:up", "Start the local services."),
    "down": Mount("pipelines.runtime.commands", "services_app:down", "End exactly what `lake up` began."),
    "start": Mount(
        "pipelines.commands.namespace", "start_app", "Apply the contracts, start gateway, jobs, landing and desk."
    ),
    "stop": Mount("pipelines.commands.namespace", "stop_app", "End desk, gateway, landing and the jobs' supervisor."),
    "status": Mount(
        "pipelines.commands.status", "services_app:status", "Show services, jobs and the freshness of every dataset."
    ),
    "logs": Mount("pipelines.runtime.commands", "services_app:logs", "Show the log of a service."),
    "airflow": Mount(
        "pipelines.runtime.commands", "services_app:airflow", "Airflow's own command line: a backfill, a connection."
    ),
    "doctor": Mount(
        "pipelines.runtime.commands",
        "services_app:doctor",
        "Say everything that is missing on this machine, with its remedy.",
    ),
    "forget": Mount(
        "pipelines.runtime.commands", "services_app:forget", "Remove everything of an exercise's namespace."
    ),
    "install": Mount("pipelines.runtime.commands", "services_app:install", "Download and check servers and jars."),
    "contracts": Mount(
        "pipelines.commands.contracts", "contracts_app", "Check, build, apply and show the datasets' contracts."
    ),
    "catalog": Mount("pipelines.commands.catalog", "catalog_app", "How far every system of the city has come."),
    "lineage": Mount("pipelines.commands.lineage", "lineage_app", "Where a column comes from, and what comes of it."),
    "scenarios": Mount(
        "pipelines.commands.scenarios",
        "scenarios_app",
        "What the city is told of: list, switch, edit, try on the past.",
    ),
    "replay": Mount(
        "pipelines.replay.commands", "replay_app", "Send the recorded flood, traffic loops or synthetic cameras."
    ),
    "sample": Mount(
        "pipelines.replay.sample_commands",
        "sample_app",
        "Fill every table and send every stream with synthetic samples.",
    ),
    "jobs": Mount("pipelines.commands.jobs", "jobs_app", "The stream jobs of the namespace."),
    "gateway": Mount(
        "pipelines.gateway.commands", "gateway_app", "The door for devices and departments: HTTP, MQTT, files."
    ),
    "landing": Mount("pipelines.landing.commands", "landing_app", "From Kafka to Delta tables."),
    "ledger": Mount(
        "pipelines.commands.ledger", "ledger_app", "What became of every record; fails when it does not add up."
    ),
    "deadletter": Mount(
        "pipelines.commands.deadletter", "deadletter_app", "Records that could not be used, and their way back."
    ),
    "ingest": Mount(
        "pipelines.ingestion.commands", "ingest_app", "The sector tables that are read, and their newest loads."
    ),
    "capture": Mount(
        "pipelines.ingestion.capture.commands",
        "capture_app",
        "Tables that tell every change: begin, end, look.",
    ),
    "run": Mount("pipelines.commands.run", "run_app", "The steps of a warehouse run, as Airflow calls them."),
    "quality": Mount("pipelines.quality.commands", "quality_app", "Verdicts, reports and decisions of the stewards."),
    "forecast": Mount(
        "pipelines.forecast.commands", "forecast_app", "Flood forecasts for 1 to 12 hours: fit, issue, look at them."
    ),
    "cap": Mount("pipelines.publishing.cap.commands", "cap_app", "Public alerts in CAP 1.2: draft, release, cancel."),
    "desk": Mount("pipelines.commands.desk", "desk_app", "The daemon that issues forecasts and drafts alerts."),
    "publication": Mount("pipelines.publishing.commands", "publication_app", "What is published, and going back."),
    "retention": Mount(
        "pipelines.warehouse.commands", "retention_app", "Delete what is older than its contract says; record it."
    ),
    "erase": Mount(
        "pipelines.publishing.erasure.commands", "erase_app", "Erase a person at their request, with a certificate."
    ),
    "maintain": Mount(
        "pipelines.publishing.commands", "maintain_app", "Compact, clean and vacuum without killing a pin."
    ),
    "sql": Mount("pipelines.serving.commands", "sql_app", "Query published and live tables with Trino."),
}


class LazyGroup(TyperGroup):
    """A group that imports a command's module when it is used: Airflow starts `lake` for every task."""

    def list_commands(self, ctx: Context) -> list[str]:
        """Every command, in the order in which a new user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:
        """Import and return one command."""
        mount = COMMANDS.get(cmd_name)
        if mount is None:
            return None
        attribute, _, inner = mount.attribute.partition(":")
        app = getattr(importlib.import_module(mount.module), attribute)
        command = get_command(app)
        if inner:
            found: Command = getattr(command, "commands", {})[inner]
            return found
        return command

    def format_commands(self, ctx: Context, formatter: HelpFormatter) -> None:
        """List the commands from the table above, importing nothing."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, mount.help) for name, mount in COMMANDS.items()])


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        print(version("hue-lakehouse"))
        raise typer.Exit


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    help="The urban data lakehouse of Huế. Namespace: LAKE_NAMESPACE (default city; the demo runs in demo).",
)


@app.callback()
def root(
    version: bool = typer.Option(False, "--version", help="Print the version.", callback=_version, is_eager=True),
) -> None:
    """Options of `lake` itself."""


def main() -> None:
    """Run `lake`; an expected error is one sentence on standard error and exit status 1."""
    try:
        app()
    except (LakeError, ContractError, ContractErrors, Untranslatable) as error:
        Console(stderr=True, soft_wrap=True, highlight=False).print(str(error), markup=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
