"""A database of the tests alone on a real server, PostgreSQL or MariaDB, and the ways to it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from pipelines.contracts.sources import SectorSource
from pipelines.ingestion.access import Access
from pipelines.ingestion.connections import parse_connection

DATABASE = "databases_tests"


@dataclass(frozen=True)
class Server:
    """A database of these tests alone; `open` gives a connection of its driver."""

    kind: str
    port: int
    user: str
    password: str
    open: Callable[[], Any]

    def execute(self, *statements: str) -> None:
        with closing(self.open()) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            connection.commit()

    def access(self, *, port: int = 0, password: str | None = None, query: str = "", **source: Any) -> Access:
        written = {
            "id": "thu",
            "title": {"vi": "Nguồn thử", "en": "A source on trial"},
            "kind": self.kind,
            "connection": "sector_thu",
            "agency": "H57.KHCN",
            "schedule": "0 2 * * *",
            "timeouts": {"connect": "5 s", "lock": "2 s", "statement": "20 s"},
            **source,
        }
        uri = self.uri(port=port, password=password) + query
        return Access(SectorSource.model_validate(written), parse_connection("sector_thu", uri), "observed")

    def uri(self, *, port: int = 0, password: str | None = None) -> str:
        """The connection as Airflow writes it."""
        scheme = {"postgresql": "postgresql", "mariadb": "mysql"}[self.kind]
        secret = quote(self.password if password is None else password, safe="")
        return f"{scheme}://{self.user}:{secret}@127.0.0.1:{port or self.port}/{DATABASE}"
