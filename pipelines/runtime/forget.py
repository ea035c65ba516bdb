"""Forgetting a namespace: an exercise or a demo leaves nothing behind."""

import shutil

from pipelines.runtime import kafka, services, spark
from pipelines.runtime.errors import LakeError
from pipelines.runtime.flink import Cluster
from pipelines.runtime.servers.flink import checkpoint_dir
from pipelines.runtime.settings import DEFAULT_NAMESPACE, Settings
from pipelines.runtime.trino import PLATFORM_USER, execute_at

_NEEDED = ("kafka", "flink", "spark", "trino")
_REMEMBERED = ("jobs", "landing", "gateway", "dlt", "replay", "services", "desk", "erasures")
"""Folders of the state that keep something by namespace. What stayed would be taken up by a namespace of the same name:
a job would go on from the old checkpoint in new topics, a sector table from the old cursor."""


def forget_namespace(settings: Settings, report: services.Report = services.silent) -> None:
    """Remove a namespace: daemons, Flink jobs, topics, catalog entries, tables, state; starts the servers it needs.

    Raises LakeError for the city's own namespace, which holds observed data, and for one that captures a source: there
    a slot would stay that nobody reads.
    """
    if settings.namespace == DEFAULT_NAMESPACE:
        raise LakeError(
            f"The namespace {DEFAULT_NAMESPACE!r} holds the city's observed data and is not forgotten by a command.",
            "Set LAKE_NAMESPACE to the exercise that is over.",
        )
    prefix = settings.group("")
    if captures := sorted(path.name for path in settings.capture_secrets.glob(f"{prefix}*")):
        sources = ", ".join(name.rpartition(".")[2] for name in captures)
        raise LakeError(
            f"The namespace {settings.namespace} captures {sources}, whose log is kept for it.",
            "Run `lake capture stop SOURCE --for-good` for each of them first.",
        )
    daemons = [name for name in services.running(settings) if name.startswith(prefix)]
    for name in daemons:
        services.down(settings, [name], report)
    services.up(settings, _NEEDED, report)
    ends = services.endpoints(settings)
    with Cluster(ends.flink_rest) as cluster:
        for job in cluster.jobs():
            if not job.name.startswith(prefix):
                continue
            if job.is_alive:
                cluster.cancel(job.job_id)
                report(job.name, "cancelled")
            shutil.rmtree(checkpoint_dir(settings) / job.job_id, ignore_errors=True)
    report(f"{len(kafka.delete_topics(settings))} topics", "deleted")
    session = spark.session(settings)
    try:
        for row in session.sql("show databases").collect():
            if row[0] == settings.gold_schema or row[0].startswith(f"{settings.namespace}_"):
                session.sql(f"drop database `{row[0]}` cascade")
                report(f"database {row[0]}", "dropped")
    finally:
        session.stop()
    execute_at(ends.trino, PLATFORM_USER, f'DROP CATALOG IF EXISTS "{settings.catalog}"')
    shutil.rmtree(settings.lake_root / settings.namespace, ignore_errors=True)
    for area in _REMEMBERED:
        for path in (settings.state / area / settings.namespace, *(settings.state / area).glob(f"{prefix}*")):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
    settings.set_profile(None)
    settings.set_sector_sample(None)
    report("tables", "removed")
