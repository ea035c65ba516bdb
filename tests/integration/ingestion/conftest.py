"""Real servers with sector tables, and an empty lake per test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pymysql
import pytest
import sqlalchemy as sa
from catalogue import city
from sqlalchemy.pool import NullPool

from pipelines.contracts.registry import Registry
from pipelines.ingestion.connections import parse_connection, variable_of
from pipelines.runtime.ports import is_free
from pipelines.runtime.settings import Settings

from . import servers
from .mariadb_server import PASSWORD, USER, MariaDBServer
from .servers import Server

HOME = Path(__file__).resolve().parents[3]
TABLES = """
drop schema if exists hues cascade; create schema hues;
drop schema if exists soyt cascade; create schema soyt;
create table hues.feedback_ticket (
    ticket_id varchar(40) primary key, created_at timestamptz, updated_at timestamptz, category_code text,
    ward_code text, agency_id text, ticket_status text, due_at timestamptz, closed_at timestamptz, rating smallint,
    reporter_name text, reporter_phone text, content_text text);
create table soyt.med_price (
    facility_id text, facility_name text, service_code text, service_name text, price_vnd numeric(14, 2),
    valid_from date, valid_to date, primary key (facility_id, service_code, valid_from));
"""


DATABASE = "ingestion_tests"


@pytest.fixture(scope="session")
def database_url(lake_services: Any) -> str:
    """A database of these tests alone, on the installation's PostgreSQL."""
    endpoints = lake_services.need("postgres")
    admin = sa.create_engine(_driver(endpoints.postgres), poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(sa.text(f"drop database if exists {DATABASE}"))
        connection.execute(sa.text(f"create database {DATABASE}"))
    url: str = endpoints.postgres_dsn(DATABASE)
    return url


@pytest.fixture(scope="session")
def registry() -> Registry:
    """The city's contracts."""
    return city().only("demo")


@pytest.fixture
def database(database_url: str) -> Iterator[sa.Engine]:
    """The sector database with empty tables."""
    engine = sa.create_engine(_driver(database_url), poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text(TABLES))
    yield engine
    engine.dispose()


@pytest.fixture
def settings(tmp_path: Path, database_url: str, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """An empty lake with keys of its own, and a connection to every source."""
    settings = Settings.load({"LAKE_HOME": str(HOME), "LAKE_STATE": str(tmp_path / "state"), "LAKE_NAMESPACE": "t"})
    for dataset in registry.sector_tables():
        monkeypatch.setenv(variable_of(registry.source_of(dataset).connection), database_url)
    return settings


def _driver(url: str) -> sa.URL:
    return sa.make_url(url).set(drivername="postgresql+psycopg2")


@pytest.fixture(scope="session")
def postgresql(lake_services: Any) -> Server:
    url = lake_services.need("postgres").postgres_dsn
    with closing(psycopg2.connect(url("postgres"))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"drop database if exists {servers.DATABASE}")
            cursor.execute(f"create database {servers.DATABASE}")
    found = parse_connection("any", url(servers.DATABASE))
    return Server(
        "postgresql", found.port or 0, found.login, found.password, lambda: psycopg2.connect(url(servers.DATABASE))
    )


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    port = next(port for port in range(31_500, 32_000) if is_free(port))
    server = MariaDBServer(tmp_path_factory.mktemp("mariadb"), port)

    def opened() -> Any:
        return pymysql.connect(
            host="127.0.0.1", port=port, user=USER, password=PASSWORD.encode(), database=servers.DATABASE
        )

    with closing(pymysql.connect(host="127.0.0.1", port=port, user=USER, password=PASSWORD.encode())) as connection:
        connection.cursor().execute(f"create database {servers.DATABASE} character set utf8mb4")
    yield Server("mariadb", port, USER, PASSWORD, opened)
    server.stop()
