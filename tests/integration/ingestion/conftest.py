"""A real PostgreSQL with the three sector tables, and an empty lake per test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from pipelines.contracts.registry import Registry, load_registry
from pipelines.runtime.settings import Settings

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
    return load_registry(HOME / "schemas").only("demo")


@pytest.fixture
def database(database_url: str) -> Iterator[sa.Engine]:
    """The sector database with empty tables."""
    engine = sa.create_engine(_driver(database_url), poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text(TABLES))
    yield engine
    engine.dispose()


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    """An empty lake with keys of its own, whose agencies have a sector database."""
    settings = Settings.load({"LAKE_HOME": str(HOME), "LAKE_STATE": str(tmp_path / "state"), "LAKE_NAMESPACE": "t"})
    settings.secrets_dir.mkdir(parents=True)
    for agency in ("h57_khcn", "h57_yt"):
        (settings.secrets_dir / f"sector-{agency}.url").write_text(database_url, encoding="utf-8")
    return settings


def _driver(url: str) -> sa.URL:
    return sa.make_url(url).set(drivername="postgresql+psycopg2")
