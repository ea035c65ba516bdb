"""All sector tables of the contracts, filled with samples on a real PostgreSQL."""

from __future__ import annotations

from typing import Any

import psycopg2
import pytest
from typer.testing import CliRunner

from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry, load_registry
from pipelines.replay import sector
from pipelines.replay.sample_commands import sample_app
from pipelines.replay.sector_copy import table_name
from pipelines.runtime.services import endpoints
from pipelines.runtime.settings import Settings

SCALE = 0.05


@pytest.fixture(scope="module")
def registry(database: Settings) -> Registry:
    return load_registry(database.home / "schemas")


@pytest.fixture(scope="module")
def filled(database: Settings, registry: Registry) -> tuple[str, dict[str, int]]:
    """The address of the database and what was filled, into schemas that did not exist."""
    dsn = endpoints(database).postgres
    for dataset in registry.sector_tables():
        assert dataset.sector is not None
        query(dsn, f'DROP SCHEMA IF EXISTS "{dataset.sector.schema_name}" CASCADE')
    return dsn, sector.fill(dsn, registry, scale=SCALE)


def query(dsn: str, statement: str) -> list[tuple[Any, ...]]:
    connection = psycopg2.connect(dsn, options="-c timezone=UTC")
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def snapshot(dsn: str, tables: tuple[Dataset, ...]) -> dict[str, list[tuple[Any, ...]]]:
    return {d.id: sorted(query(dsn, f"SELECT t::text, xmin::text FROM {table_name(d)} t")) for d in tables}


def test_every_sector_table_is_there_with_its_rows(filled: tuple[str, dict[str, int]], registry: Registry) -> None:
    dsn, counts = filled
    assert set(counts) == {d.id for d in registry.sector_tables()}
    for dataset in registry.sector_tables():
        assert query(dsn, f"SELECT count(*) FROM {table_name(dataset)}") == [(counts[dataset.id],)]
        assert counts[dataset.id] > 0


def test_filling_all_tables_twice_touches_no_row(filled: tuple[str, dict[str, int]], registry: Registry) -> None:
    dsn, counts = filled
    before = snapshot(dsn, registry.sector_tables())
    assert sector.fill(dsn, registry, scale=SCALE) == counts
    assert snapshot(dsn, registry.sector_tables()) == before


def test_no_row_refers_to_nothing(filled: tuple[str, dict[str, int]], registry: Registry) -> None:
    dsn, _ = filled
    checked = 0
    for dataset in registry.sector_tables():
        for field in dataset.fields:
            if field.references is None or registry.dataset(field.references.dataset).sector is None:
                continue
            parent = table_name(registry.dataset(field.references.dataset))
            orphans = query(
                dsn,
                f"SELECT count(*) FROM {table_name(dataset)} c LEFT JOIN {parent} p "
                f"ON c.{field.name} = p.{field.references.field} "
                f"WHERE c.{field.name} IS NOT NULL AND p.{field.references.field} IS NULL",
            )
            assert orphans == [(0,)], (dataset.id, field.name)
            checked += 1
    assert checked > 5
    priced = (
        "SELECT count(*) FROM soyt.med_price c LEFT JOIN soyt.facility p USING (facility_id) WHERE p.is_active IS NULL"
    )
    assert query(dsn, priced) == [(0,)]


def test_only_the_tables_asked_for_are_filled_and_told_of(
    filled: tuple[str, dict[str, int]], registry: Registry
) -> None:
    dsn, counts = filled
    told: list[tuple[str, int]] = []
    done = sector.fill(dsn, registry, scale=SCALE, datasets=["chart"], progress=lambda *table: told.append(table))
    assert done == {"chart": counts["chart"]} == dict(told)


def test_a_clear_value_stands_where_the_contract_has_a_token(filled: tuple[str, dict[str, int]]) -> None:
    dsn, _ = filled
    assert query(dsn, "SELECT count(*) FROM hues.hotline_call WHERE reporter_phone ~ '^0[0-9]{9}$'")[0][0] > 0
    assert query(dsn, "SELECT count(*) FROM gddt.enrolment WHERE person_name IS NULL OR person_name = ''") == [(0,)]


def test_the_command_fills_the_tables(
    database: Settings, filled: tuple[str, dict[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in database.environment().items():
        monkeypatch.setenv(name, value)
    options = ["--scale", str(SCALE), "--datasets", "dashboard,chart", "--no-streams"]
    result = CliRunner().invoke(sample_app, options)
    assert result.exit_code == 0, result.output
    assert f"{filled[1]['chart']:,}" in result.output
    assert "2 datasets" in result.output
