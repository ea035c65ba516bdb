"""`lake jobs …`: the stream jobs of a namespace."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from pipelines.contracts.registry import Registry
from pipelines.ingestion import announce
from pipelines.runtime.contracts import registry_of
from pipelines.runtime.errors import LakeError
from pipelines.runtime.flink import Cluster
from pipelines.runtime.services import endpoints
from pipelines.runtime.settings import Settings
from pipelines.runtime.telemetry import configure_logging
from pipelines.streaming.job import jobs_of, plan
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
    registry = registry_of(settings)
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
        for name in jobs_of(registry_of(settings)):
            record = records.read(name)
            alive = cluster.alive(settings.group(name))
            rows.append(
                {
                    "job": settings.group(name),
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
    job: Annotated[
        str, typer.Argument(help="Which job: flood, transport, camera, scenarios, or city for all other streams.")
    ],
) -> None:
    """Drop a job's state and read the raw topics again; it writes the same rows, nothing that was right changes."""
    settings = Settings.load()
    _known(job, registry_of(settings))
    Records(settings).request_rebuild(job)
    _console.print(
        f"{settings.group(job)} is rebuilt as soon as the supervisor looks; follow it with `lake jobs list`."
    )


@jobs_app.command()
def sql(
    job: Annotated[
        str, typer.Argument(help="Which job: flood, transport, camera, scenarios, or city for all other streams.")
    ],
) -> None:
    """Print the SQL of a job as it is submitted, to read or to try in Flink's SQL client."""
    settings = Settings.load()
    registry = registry_of(settings)
    _known(job, registry)
    planned = plan(job, registry, settings, bootstrap="127.0.0.1:9092", now=datetime.now(UTC))
    if planned.program:
        raise LakeError(f"The job {job!r} is no SQL.", "Its rules are data: see `lake scenarios list` and `show`.")
    print(";\n\n".join((*planned.ddl, *planned.inserts)) + ";")


def _known(job: str, registry: Registry) -> None:
    known = jobs_of(registry)
    if job not in known:
        raise LakeError(f"There is no job {job!r}.", f"There are: {', '.join(known)}.")
