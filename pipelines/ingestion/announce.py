"""Tells Airflow which streamed tables have news, at most every five minutes, so that their marts are built again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping

from pipelines.contracts.registry import Registry
from pipelines.ingestion.plan import asset_of
from pipelines.landing.status import read_status
from pipelines.runtime.airflow import AirflowClient, AirflowError
from pipelines.runtime.errors import ServiceError
from pipelines.runtime.services import endpoints
from pipelines.runtime.settings import Settings

PERIOD_S = 300.0
"""A mart costs a minute of Spark: more news than this would only queue runs that read the same hour."""
_log = logging.getLogger(__name__)


def news(settings: Settings, registry: Registry, told: Mapping[str, str]) -> dict[str, str]:
    """Streams whose silver table was committed since ``told`` (dataset → time of the commit told of, ISO 8601)."""
    status = read_status(settings)
    if status is None:
        return {}
    commits = {t.table: t.last_commit_at for t in status.tables if t.last_commit_at}
    found = {d.id: commits.get(f"silver.{d.id}") for d in registry.streams()}
    return {name: at for name, at in found.items() if at is not None and told.get(name) != at}


def announce(settings: Settings, registry: Registry, told: dict[str, str]) -> tuple[str, ...]:
    """Post one asset event for each stream with news and note it in ``told``; returns the datasets told of.

    Raises:
        AirflowError, ServiceError: Airflow does not run or refuses; nothing is noted then, the next call tells it.
    """
    fresh = news(settings, registry, told)
    if not fresh:
        return ()
    with AirflowClient(endpoints(settings).airflow) as client:
        for name, at in fresh.items():
            asset = f"{settings.namespace}/{asset_of(registry.dataset(name))}"
            client.post_asset_event(asset, {"committed_at": at})
            told[name] = at
    return tuple(fresh)


def run(settings: Settings, registry: Registry, stop: threading.Event) -> None:
    """Announce every :data:`PERIOD_S` until ``stop``; an Airflow that is down is logged once."""
    told: dict[str, str] = {}
    silent = ""
    while not stop.wait(PERIOD_S):
        try:
            announce(settings, registry, told)
            silent = ""
        except (AirflowError, ServiceError) as error:
            if str(error) != silent:
                _log.warning("Airflow was not told of new rows", extra={"error": str(error)})
            silent = str(error)
