"""Tells Airflow which tables have news, so that their marts are built again: streams at most every five minutes, each
sector table as soon as it is loaded, and its agency, which starts the warehouse, at most every quarter of an hour.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from datetime import timedelta
from types import TracebackType

from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry
from pipelines.ingestion.plan import asset_of, asset_of_agency
from pipelines.ingestion.records import LoadRun
from pipelines.landing.status import read_status
from pipelines.runtime.airflow import AirflowClient, AirflowError
from pipelines.runtime.errors import ServiceError
from pipelines.runtime.services import endpoints
from pipelines.runtime.settings import Settings

PERIOD_S = 300.0
"""A mart costs a minute of Spark: more news than this would only queue runs that read the same hour."""
AGENCY_PERIOD = timedelta(minutes=15)
"""Some tables are read every five minutes, and a run of the warehouse takes longer; what is loaded within this time
after the last news of its agency is seen by the next run, at the latest by that of the hour."""
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


class Loads:
    """Tells Airflow of one agency's loads; use it as a context manager, whose end tells of the agency.

    A load is none the worse when Airflow does not answer: that is said once, and the warehouse sees the rows by its
    hourly run.
    """

    def __init__(self, settings: Settings, agency: str) -> None:
        """Nothing is sent yet."""
        self._settings, self._agency = settings, agency
        self._client: AirflowClient | None = None
        self._told = 0
        self._is_deaf = False

    def __enter__(self) -> Loads:
        """Return this."""
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Tell of the agency, when one of its tables was loaded, and close the connection."""
        if self._told:
            self._send(asset_of_agency(self._agency), {"tables": self._told}, AGENCY_PERIOD)
        if self._client is not None:
            self._client.__exit__()

    def tell(self, dataset: Dataset, result: LoadRun) -> None:
        """Tell that a table was loaded."""
        self._told += 1
        counts = {"inserted": result.inserted, "updated": result.updated, "deleted": result.deleted}
        counts["quarantined"] = result.quarantined
        self._send(asset_of(dataset), {"run_id": result.run_id, **counts})

    def _send(self, asset: str, extra: Mapping[str, object], pause: timedelta | None = None) -> None:
        if self._is_deaf:
            return
        try:
            if self._client is None:
                self._client = AirflowClient(endpoints(self._settings).airflow)
            self._client.post_asset_event(f"{self._settings.namespace}/{asset}", extra, pause=pause)
        except (AirflowError, ServiceError) as error:
            self._is_deaf = True
            _log.warning("Airflow was not told of what was loaded", extra={"error": str(error)})
