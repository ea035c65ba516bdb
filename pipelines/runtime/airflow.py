"""Airflow's REST API."""

import httpx

from pipelines.runtime.errors import ServiceError
from pipelines.runtime.servers.airflow import environment
from pipelines.runtime.services import endpoints
from pipelines.runtime.settings import Settings

_TIMEOUT_S = 30.0
__all__ = ["airflow_client", "airflow_token", "environment"]


def airflow_token(settings: Settings) -> str:
    """Return a token for the REST API of the running Airflow; raises ServiceError when there is none."""
    url = f"{endpoints(settings).airflow}/auth/token"
    try:
        answer = httpx.get(url, timeout=_TIMEOUT_S).raise_for_status()
        return str(answer.json()["access_token"])
    except (httpx.HTTPError, KeyError, ValueError) as error:
        raise ServiceError(f"Airflow gave no token at {url} ({error}).", "See `lake logs airflow-api`.") from error


def airflow_client(settings: Settings) -> httpx.Client:
    """Return a client whose paths begin below `/api/v2` and which carries a token; the caller closes it."""
    headers = {"Authorization": f"Bearer {airflow_token(settings)}"}
    return httpx.Client(base_url=f"{endpoints(settings).airflow}/api/v2", headers=headers, timeout=_TIMEOUT_S)
