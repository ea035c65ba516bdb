"""Submits jobs to the cluster: the one place where PyFlink is used, in a process of its own.

PyFlink starts a JVM beside Python; the supervisor of the jobs would carry it for ever. So it calls this module as a
child: jobs come as JSON on standard input, one JSON line per submitted job goes to standard output.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipelines.runtime.errors import LakeError
from pipelines.runtime.servers.flink import client_environment
from pipelines.runtime.services import endpoints
from pipelines.runtime.settings import Settings
from pipelines.streaming.job import Job

TIMEOUT_S = 240.0
"""Compiling three jobs takes about 20 s of two quiet cores; a loaded machine needs several times that."""


_VIEW = re.compile(r"CREATE VIEW `?([a-z0-9_]+)`? AS\s+(.*)\Z", re.DOTALL)


class SubmitError(LakeError):
    """A job could not be submitted; the text carries the engine's own words."""


@dataclass(frozen=True)
class Submission:
    """A job to submit, and the checkpoint folder to restore from (None: read the raw topics again)."""

    job: Job
    restore_from: str | None = None


def submit(submissions: Sequence[Submission], settings: Settings) -> Mapping[str, str]:
    """Submit jobs and return job name → Flink job id.

    Raises:
        SubmitError: the engine refused one; jobs before it in the list are submitted.
    """
    request = {
        "rest": endpoints(settings).flink_rest,
        "submissions": [{"job": asdict(s.job), "restore_from": s.restore_from} for s in submissions],
    }
    finished = subprocess.run(
        [sys.executable, "-m", "pipelines.streaming.submit"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        env={**os.environ, **settings.environment(), **client_environment(settings)},
        check=False,
    )
    submitted = dict(json.loads(line) for line in finished.stdout.splitlines() if line.startswith("["))
    if finished.returncode != 0:
        reason = "\n".join(_reasons(finished.stderr))
        missing = [s.job.name for s in submissions if s.job.name not in submitted]
        raise SubmitError(f"Flink did not take {', '.join(missing)}:\n{reason}", "See `lake logs flink-jobmanager`.")
    return submitted


def _reasons(stderr: str) -> list[str]:
    """The lines of a Java and Python trace that say what was wrong, without the frames."""
    lines = [line.strip() for line in stderr.splitlines()]
    causes = [line for line in lines if line.startswith(("Caused by:", "org.apache.flink")) or "Exception:" in line]
    return causes[-6:] or lines[-20:]


def flink_configuration(options: Mapping[str, str]) -> Any:
    """The configuration of FLINK_CONF_DIR with ``options`` over it."""
    from pyflink.common import Configuration
    from pyflink.java_gateway import get_gateway

    # A table environment does not read FLINK_CONF_DIR by itself: without it a job runs without checkpoints.
    loaded = get_gateway().jvm.org.apache.flink.configuration.GlobalConfiguration.loadConfiguration()
    configuration = Configuration(j_configuration=loaded)
    for key, value in options.items():
        configuration.set_string(key, value)
    return configuration


def table_environment(options: Mapping[str, str]) -> Any:
    """A PyFlink table environment with :func:`flink_configuration`."""
    from pyflink.table import EnvironmentSettings, TableEnvironment

    return TableEnvironment.create(
        EnvironmentSettings.new_instance().in_streaming_mode().with_configuration(flink_configuration(options)).build()
    )


def declare(table_env: Any, job: Mapping[str, Any]) -> Any:
    """Run the DDL of a job and return the statement set of its inserts, which nobody has executed yet."""
    for statement in job["ddl"]:
        view = _VIEW.match(statement)
        if view:
            # Flink writes a view down as text and loses the brackets of `PARTITION BY (a, b)` on the way; a view made
            # from a parsed query is kept as it is.
            table_env.create_temporary_view(view[1], table_env.sql_query(view[2]))
        else:
            table_env.execute_sql(statement)
    statements = table_env.create_statement_set()
    for statement in job["inserts"]:
        statements.add_insert_sql(statement)
    return statements


def _execute(rest: str, job: Mapping[str, Any], restore_from: str | None) -> str:
    """Submit one job detached; returns its job id."""
    host, port = rest.removeprefix("http://").split(":")
    options = {
        "execution.target": "remote",
        "rest.address": host,
        "rest.port": port,
        "execution.attached": "false",
        **{key: str(value) for key, value in dict(job["config"]).items()},
    }
    if restore_from:
        options["execution.state-recovery.path"] = restore_from
        # The restored checkpoint belongs to the new job from then on, so that old ones do not pile up.
        options["execution.state-recovery.claim-mode"] = "CLAIM"
    if job["program"]:
        return _program(job["program"], flink_configuration(options))
    client = declare(table_environment(options), job).execute().get_job_client()
    return str(client.get_job_id())


def _program(program: Mapping[str, str], configuration: Any) -> str:
    """Submit a job that is written in Java; its class is among the cluster's jars, which this process has as well."""
    from pyflink.java_gateway import get_gateway

    arguments = {**json.loads(program["arguments"]), "bootstrap": program["bootstrap"]}
    entry = get_gateway().jvm
    for part in program["entry"].split("."):
        entry = getattr(entry, part)
    return str(entry.submit(configuration._j_configuration, json.dumps(arguments)))


def main() -> None:
    """Read the request, submit every job, print ``[name, job id]`` lines as they succeed."""
    request = json.loads(sys.stdin.read())
    for item in request["submissions"]:
        job_id = _execute(request["rest"], item["job"], item["restore_from"])
        print(json.dumps([item["job"]["name"], job_id]), flush=True)


if __name__ == "__main__":
    main()
