"""`lake jobs …`: the stream jobs of a namespace."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from pipelines.contracts.registry import Registry, load_registry
from pipelines.ingestion import announce
from pipelines.runtime.errors import LakeError
from pipelines.runtime.flink import Cluster
from pipelines.runtime.services import endpoints
from pipelines.runtime.settings import Settings
from pipelines.runtime.telemetry import configure_logging
from pipelines.streaming.job import domains, plan
from pipelines.streaming.submit import submit
from pipelines.streaming.supervise import Records, run_forever

jobs_app = typer.Typer(
    no_args_is_help=True, help="The stream jobs: planned from contracts, kept running by a supervisor."
)
_console = Console()


@jobs_app.command()
def supervise() -> None:
    """Keep the jobs running and tell Airflow of new rows (a daemon). Ends at SIGTERM; the jobs go on."""
    configure_logging()
    settings = Settings.load()
    stop = threading.Event()
    registry = load_registry(settings.home / "schemas")
    # Beside the jobs, since it needs neither memory nor a core: Airflow hears which streams have new rows.
    threading.Thread(target=announce.run, args=(settings, registry, stop), daemon=True).start()
    try:
        run_forever(settings, submit)
    finally:
        stop.set()


@jobs_app.command("list")
def list_jobs(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the jobs with their state, how often each was restored or rebuilt, and why last."""
    settings = Settings.load()
    records = Records(settings)
    rows = []
    with Cluster(endpoints(settings).flink_rest) as cluster:
        for domain in domains(load_registry(settings.home / "schemas")):
            record = records.read(domain)
            alive = cluster.alive(settings.group(domain))
            rows.append(
                {
                    "job": settings.group(domain),
                    "state": alive.state if alive else "GONE",
                    "job_id": alive.job_id if alive else None,
                    "restored": record.resubmissions if record else 0,
                    "rebuilt": record.rebuilds if record else 0,
                    "reason": record.reason if record else "not started yet",
                }
            )
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    _console.print(table)


@jobs_app.command()
def rebuild(
    domain: Annotated[str, typer.Argument(help="Domain of the job: flood, transport or camera.")],
) -> None:
    """Drop a job's state and read the raw topics again; it writes the same rows, nothing that was right changes."""
    settings = Settings.load()
    _known_domain(domain, load_registry(settings.home / "schemas"))
    Records(settings).request_rebuild(domain)
    _console.print(
        f"{settings.group(domain)} is rebuilt as soon as the supervisor looks; follow it with `lake jobs list`."
    )


@jobs_app.command()
def sql(
    domain: Annotated[str, typer.Argument(help="Domain of the job: flood, transport or camera.")],
) -> None:
    """Print the SQL of a job as it is submitted, to read or to try in Flink's SQL client."""
    settings = Settings.load()
    registry = load_registry(settings.home / "schemas")
    _known_domain(domain, registry)
    job = plan(domain, registry, settings, bootstrap="127.0.0.1:9092", now=datetime.now(UTC))
    print(";\n\n".join((*job.ddl, *job.inserts)) + ";")


def _known_domain(domain: str, registry: Registry) -> None:
    known = domains(registry)
    if domain not in known:
        raise LakeError(f"There is no job {domain!r}.", f"There are: {', '.join(known)}.")
