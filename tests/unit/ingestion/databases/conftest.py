"""A source of each kind, and golden files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from golden_files import golden_in

from pipelines.contracts.sources import SectorSource
from pipelines.ingestion.access import Access
from pipelines.ingestion.connections import parse_connection

URIS = {
    "postgresql": "postgresql://lake:hush-hush@h:5432/d",
    "mariadb": "mysql://lake:hush-hush@h:3306/d",
    "mssql": "mssql://lake:hush-hush@h:1433/d",
    "oracle": "oracle://lake:hush-hush@h:1521/d",
}


@pytest.fixture(scope="session")
def golden() -> Callable[[str, str], None]:
    """Compare with the golden files of this folder."""
    return golden_in(Path(__file__).parent)


@pytest.fixture(scope="session")
def access() -> Callable[..., Access]:
    """``access(kind, uri=…)``: a source of a kind and its connection."""

    def made(kind: str, uri: str = "", **source: object) -> Access:
        written = {
            "id": "soyt",
            "title": {"vi": "Y tế", "en": "Health"},
            "kind": kind,
            "connection": "sector_soyt",
            "agency": "H57.YT",
            "schedule": "0 2 * * *",
            **source,
        }
        return Access(
            SectorSource.model_validate(written), parse_connection("sector_soyt", uri or URIS[kind]), "observed"
        )

    return made
