"""Trino's catalogs: every namespace has one, made on demand while the server runs."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from pipelines.runtime.errors import ServiceError
from pipelines.runtime.settings import Settings

# The user that registers tables, creates views and owns them; everybody else reads `published` and `live`.
PLATFORM_USER = "platform"
_REQUEST_TIMEOUT_S = 60.0


def execute_at(url: str, user: str, statement: str) -> list[Sequence[Any]]:
    """Run one statement on the server at `url` as `user` and return its rows; raises ServiceError when it fails."""
    import requests
    from trino.dbapi import connect
    from trino.exceptions import TrinoConnectionError, TrinoQueryError

    parts = urlsplit(url)
    try:
        with connect(
            host=parts.hostname or "127.0.0.1",
            port=parts.port or 80,
            user=user,
            http_scheme="http",
            request_timeout=_REQUEST_TIMEOUT_S,
            max_attempts=1,
        ) as connection:
            cursor = connection.cursor()
            cursor.execute(statement)
            return list(cursor.fetchall())
    except TrinoQueryError as error:
        raise ServiceError(f"Trino refused `{statement}`: {error.message}") from error
    except (TrinoConnectionError, requests.RequestException) as error:
        raise ServiceError(
            f"Trino at {url} does not answer ({type(error).__name__}).", "Run `lake status`, then `lake up`."
        ) from error


def catalog_properties(settings: Settings) -> dict[str, str]:
    """Return the properties of the namespace's Delta Lake catalog on the local file system."""
    root = settings.lake_root / settings.namespace
    return {
        "hive.metastore": "file",
        "hive.metastore.catalog.dir": "local:///_trino",
        "fs.native-local.enabled": "true",
        "local.location": str(root),
        "delta.register-table-procedure.enabled": "true",
        # Else a table that is made again at its path shows old rows; costs 11 % at the median.
        "delta.metadata.cache-ttl": "0s",
        "delta.metadata.live-files.cache-ttl": "0s",
    }


def ensure_catalog_at(url: str, settings: Settings) -> None:
    """Create the namespace's catalog on the server at `url` unless it exists; raises ServiceError when it cannot."""
    name = settings.catalog
    (settings.lake_root / settings.namespace / "_trino").mkdir(parents=True, exist_ok=True)
    properties = ",\n  ".join(f'"{key}" = {_literal(value)}' for key, value in catalog_properties(settings).items())
    execute_at(url, PLATFORM_USER, f'CREATE CATALOG IF NOT EXISTS "{name}" USING delta_lake WITH (\n  {properties}\n)')


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def ensure_catalog(settings: Settings) -> str:
    """Create the catalog of the namespace in the running Trino unless it exists, and return its name."""
    from pipelines.runtime.services import endpoints

    ensure_catalog_at(endpoints(settings).trino, settings)
    return settings.catalog
