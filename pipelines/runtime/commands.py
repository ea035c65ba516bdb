"""The commands of the local services: install, up, down, status, logs, doctor."""

import json
import subprocess
import sys
import time
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from pipelines.runtime import doctor as doctor_checks
from pipelines.runtime import install as installer
from pipelines.runtime import services, status
from pipelines.runtime.errors import ServiceError
from pipelines.runtime.launcher import LOG_NAME, child_environment, log_tail
from pipelines.runtime.ports import service_folder
from pipelines.runtime.servers import SPECS
from pipelines.runtime.service import plan
from pipelines.runtime.settings import DEFAULT_NAMESPACE, Settings

services_app = typer.Typer(no_args_is_help=True, help="Local services of the lakehouse.")
_console = Console()
_STATE_STYLES = {"ready": "green", "unready": "yellow", "dead": "red", "stopped": "dim"}

Only = Annotated[
    str, typer.Option("--only", help="Services or groups, separated by commas: kafka,flink. Default: all.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def _names(only: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in only.split(",") if name.strip())


@services_app.command()
def install() -> None:
    """Download and check the jars and servers; build the streaming module."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=24), TimeElapsedColumn())
    with Progress(*columns, console=_console) as progress:
        tasks: dict[str, TaskID] = {}

        def report(phrase: str, done: int, total: int) -> None:
            key = phrase.partition(":")[0]
            if key not in tasks:
                tasks[key] = progress.add_task(phrase, total=None)
            # A bar without a total moves to and fro until the step says how far it is.
            progress.update(tasks[key], description=phrase, completed=done, total=total or None)

        installer.install(Settings.load(), report)


@services_app.command()
def up(only: Only = "") -> None:
    """Start the local services in parallel and wait until each answers."""
    settings = Settings.load()
    begun = time.monotonic()
    columns = (
        SpinnerColumn(finished_text="✔"),
        TextColumn("{task.fields[service]:22}"),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, TimeElapsedColumn(), console=_console) as progress:
        tasks = {
            spec.name: progress.add_task("waiting", service=spec.name, total=1, start=False)
            for spec in plan(SPECS, _names(only))
        }

        def report(name: str, phrase: str) -> None:
            if phrase == "starting":
                progress.start_task(tasks[name])
            progress.update(tasks[name], description=phrase[:90], completed=int(phrase == "ready"))

        services.up(settings, _names(only), report)
    _console.print(f"{len(tasks)} services ready in {time.monotonic() - begun:.1f} s.")
    _print_addresses(settings)


def _print_addresses(settings: Settings) -> None:
    ends = services.endpoints(settings)
    for title, attribute in (("Flink", "flink_rest"), ("Trino", "trino"), ("Airflow", "airflow"), ("Kafka", "kafka")):
        try:
            _console.print(f"  {title:8} {getattr(ends, attribute)}")
        except ServiceError:
            continue


@services_app.command()
def down(only: Only = "") -> None:
    """Stop what `lake up` started, and nothing else."""
    settings = Settings.load()
    outcome = services.down(settings, _names(only), lambda name, what: _console.print(f"  {name:24} {what}"))
    if not any(what != "was not running" for what in outcome.values()):
        _console.print("Nothing was running.")


@services_app.command()
def forget() -> None:
    """Remove the namespace in LAKE_NAMESPACE (never `city`): jobs, topics, tables, catalog entries."""
    from pipelines.runtime.forget import forget_namespace

    settings = Settings.load()
    shown: set[tuple[str, str]] = set()

    def report(name: str, what: str) -> None:
        if what in {"cancelled", "deleted", "dropped", "removed", "stopped", "killed"} and (name, what) not in shown:
            shown.add((name, what))
            _console.print(f"  {name:24} {what}")

    forget_namespace(settings, report)


@services_app.command(name="status")
def show_status(as_json: AsJson = False) -> None:
    """Show services, Flink jobs and the freshness of datasets."""
    settings = Settings.load()
    if as_json:
        typer.echo(json.dumps(status.status_json(settings), ensure_ascii=False, indent=1))
        return
    found = status.service_statuses(settings)
    table = Table(title="Services", title_justify="left")
    for column in ("service", "state", "pid", "port", "up", "memory", "restarts"):
        table.add_column(column, no_wrap=True)
    for service in found:
        style = _STATE_STYLES[service.state]
        port = str(next(iter(service.ports.values()), "")) if service.pid else ""
        table.add_row(
            service.name,
            f"[{style}]{service.state}[/]",
            str(service.pid or ""),
            port,
            status.duration_text(service.uptime_s),
            f"{service.rss_bytes / 2**20:.0f} MB" if service.rss_bytes else "",
            str(service.restarts or ""),
        )
    _console.print(table)
    for service in found:
        if service.detail:
            _console.print(f"  {service.name}: {service.detail}", highlight=False)
    _console.print(f"Memory together: {sum(service.rss_bytes for service in found) / 2**30:.1f} GB")
    jobs = status.flink_jobs(settings)
    if jobs:
        table = Table("job", "state", "tasks", "up", "last checkpoint", title="Flink jobs", title_justify="left")
        for job in jobs:
            style = "green" if job.works else "yellow" if job.state in {"RUNNING", "RESTARTING", "CREATED"} else "red"
            age_s = job.last_checkpoint_age_s
            age = "none yet" if age_s is None else f"{status.duration_text(age_s)} ago"
            tasks = f"{job.running_tasks}/{job.tasks}"
            table.add_row(job.name, f"[{style}]{job.state}[/]", tasks, status.duration_text(job.uptime_s), age)
        _console.print(table)
    for make_section in status.status_sections:
        section = make_section(settings)
        if not section.rows:
            continue
        style = "table.title" if section.is_good else "bold red"
        table = Table(*section.columns, title=section.title, title_justify="left", title_style=style)
        for row in section.rows:
            table.add_row(*row)
        _console.print(table)


@services_app.command()
def logs(
    service: Annotated[str, typer.Argument(help="Service, daemon or `supervisor`, as `lake status` names it.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on printing what is written.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", help="How many of the last lines.", min=0)] = 100,
) -> None:
    """Print the log of one service."""
    settings = Settings.load()
    folder = service_folder(settings, service)
    path = folder / LOG_NAME
    if not path.is_file():
        known = sorted(other.parent.name for other in (settings.state / "services").glob(f"*/{LOG_NAME}"))
        raise ServiceError(f"{service} has no log in {folder}.", f"With logs: {', '.join(known) or 'none yet'}.")
    if follow:
        subprocess.run(["tail", "-n", str(lines), "-F", str(path)], check=False)
        return
    for line in log_tail(folder, lines):
        typer.echo(line)


@services_app.command(context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True})
def airflow(
    arguments: Annotated[list[str], typer.Argument(help="Airflow's own command: `backfill create --dag-id …`.")],
) -> None:
    """Run Airflow's own command line on the Airflow that `lake up` started."""
    from pipelines.runtime.servers.airflow import airflow_home, command_line, environment

    settings = Settings.load()
    if not (airflow_home(settings) / "airflow.cfg").is_file():
        raise ServiceError("Airflow was never started here.", "Run `lake up --only airflow`.")
    # As the server was started: of the city, whose DAGs they are.
    env = child_environment(environment(settings.with_namespace(DEFAULT_NAMESPACE)), airflow_home(settings))
    raise typer.Exit(subprocess.run(command_line(*arguments), env=env, check=False).returncode)


@services_app.command()
def doctor(as_json: AsJson = False) -> None:
    """Look for everything that would keep the lakehouse from running, and say how to mend it."""
    found = doctor_checks.findings(Settings.load())
    problems = [finding for finding in found if finding.problem]
    if as_json:
        answer: dict[str, Any] = {"ok": not problems, "findings": [asdict(finding) for finding in found]}
        typer.echo(json.dumps(answer, ensure_ascii=False, indent=1))
    else:
        for finding in found:
            mark = "[red]✘[/]" if finding.problem else "[green]✔[/]"
            _console.print(
                f"{mark} {finding.check:18} {finding.problem or finding.good}", highlight=False, soft_wrap=True
            )
            if finding.problem:
                _console.print(f"  {'':18} → {finding.remedy}", highlight=False, soft_wrap=True)
        _console.print("Everything is well." if not problems else f"{len(problems)} problem(s).")
    if problems:
        sys.exit(1)
