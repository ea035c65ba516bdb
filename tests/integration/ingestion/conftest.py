"""A real PostgreSQL with the three sector tables, and an empty lake per test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from pipelines.contracts.registry import Registry, load_registry
from pipelines.runtime import services
from pipelines.runtime.settings import Settings

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


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The settings of an installation in which PostgreSQL runs."""
    settings = Settings.load({"LAKE_STATE": str(tmp_path_factory.mktemp("state"))})
    services.up(settings, ["postgres"], supervise=False)
    yield settings
    services.down(settings)


@pytest.fixture(scope="session")
def registry(server: Settings) -> Registry:
    """The city's contracts."""
    return load_registry(server.home / "schemas")


@pytest.fixture
def database(server: Settings) -> Iterator[sa.Engine]:
    """The sector database with empty tables."""
    url = services.endpoints(server).postgres.replace("postgresql:", "postgresql+psycopg2:")
    engine = sa.create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text(TABLES))
    yield engine
    engine.dispose()


@pytest.fixture
def settings(server: Settings, database: sa.Engine, tmp_path: Path, request: pytest.FixtureRequest) -> Settings:
    """The installation with a lake and a namespace of the test's own."""
    name = "t" + "".join(c for c in request.node.name.lower() if c.isalnum())[:29]
    return replace(server.with_namespace(name), lake_root=tmp_path / "lake")
