"""The sample sector database on a real PostgreSQL."""

from __future__ import annotations

from typing import Any

import psycopg2
import pytest
from typer.testing import CliRunner

from pipelines.contracts.registry import Registry, load_registry
from pipelines.replay import sector
from pipelines.replay.commands import replay_app
from pipelines.runtime.errors import LakeError
from pipelines.runtime.services import endpoints
from pipelines.runtime.settings import Settings


@pytest.fixture(scope="module")
def registry(database: Settings) -> Registry:
    return load_registry(database.home / "schemas")


@pytest.fixture
def dsn(database: Settings, registry: Registry) -> str:
    """The sector database, filled anew at a tenth of its size."""
    address = endpoints(database).postgres
    for dataset in registry.sector_tables():
        assert dataset.sector is not None
        query(address, f'DROP SCHEMA IF EXISTS "{dataset.sector.schema_name}" CASCADE')
    sector.fill(address, registry, scale=0.1)
    return address


def query(dsn: str, statement: str) -> list[tuple[Any, ...]]:
    connection = psycopg2.connect(dsn, options="-c timezone=UTC")
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def snapshot(dsn: str) -> dict[str, list[tuple[Any, ...]]]:
    tables = ("hues.feedback_ticket", "soxd.road_asset", "soyt.med_price")
    return {table: sorted(query(dsn, f"SELECT t::text, xmin::text FROM {table} t")) for table in tables}


def test_filling_twice_touches_no_row(dsn: str, registry: Registry) -> None:
    before = snapshot(dsn)
    counts = sector.fill(dsn, registry, scale=0.1)
    assert snapshot(dsn) == before
    assert counts["feedback_ticket"] == len(before["hues.feedback_ticket"]) == 200
    assert counts["road_asset"] == len(before["soxd.road_asset"]) == 40


def test_columns_and_types_are_those_of_the_contracts(dsn: str, registry: Registry) -> None:
    for dataset in registry.sector_tables():
        assert dataset.sector is not None
        table = f"{dataset.sector.schema_name}.{dataset.sector.table}"
        found = query(
            dsn,
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
            f"WHERE attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        )
        spelled = {"timestamptz": "timestamp with time zone"}
        assert found == [(name, spelled.get(kind, kind)) for name, kind in sector.source_columns(dataset)]


def test_text_is_vietnamese_and_exact(dsn: str) -> None:
    texts = {row[0] for row in query(dsn, "SELECT content_text FROM hues.feedback_ticket")}
    assert any("ngập" in text for text in texts)
    assert not query(dsn, "SELECT 1 FROM hues.feedback_ticket WHERE content_text IS NOT NFC NORMALIZED")


def test_a_mutation_changes_a_few_rows_and_is_kept_by_the_next_filling(dsn: str, registry: Registry) -> None:
    before = snapshot(dsn)
    newest = query(dsn, "SELECT max(updated_at) FROM hues.feedback_ticket")[0][0]
    change = sector.mutate(dsn, registry, seed=1)
    after = snapshot(dsn)
    assert (
        len(after["hues.feedback_ticket"]) == len(before["hues.feedback_ticket"]) + change.inserted["feedback_ticket"]
    )
    moved = query(dsn, f"SELECT count(*) FROM hues.feedback_ticket WHERE updated_at > '{newest.isoformat()}'")[0][0]
    assert moved == change.inserted["feedback_ticket"] + change.updated["feedback_ticket"] > 3
    assert change.inserted["med_price"] == change.updated["med_price"] == 1
    sector.fill(dsn, registry, scale=0.1)
    assert snapshot(dsn) == after
    assert sector.mutate(dsn, registry, seed=2).inserted["feedback_ticket"] == 3


def test_a_violating_row_is_newer_than_all_others(dsn: str, registry: Registry) -> None:
    for dataset_id in sector.VIOLATED:
        key = sector.inject_violation(dsn, registry, dataset_id)
        assert "VI-PHAM" in key[registry.dataset(dataset_id).key[0]]
    newest = query(dsn, "SELECT ticket_id, closed_at < created_at FROM hues.feedback_ticket ORDER BY updated_at DESC")[
        0
    ]
    assert newest == ("HS-VI-PHAM", True)


def test_a_dropped_column_comes_back(dsn: str, registry: Registry) -> None:
    before = query(dsn, "SELECT facility_name, valid_to FROM soyt.med_price ORDER BY 1, 2")
    sector.drop_column(dsn, registry, "med_price", "facility_name")
    with pytest.raises(psycopg2.errors.UndefinedColumn):
        query(dsn, "SELECT facility_name FROM soyt.med_price")
    sector.fill(dsn, registry, scale=0.1)
    assert query(dsn, "SELECT facility_name, valid_to FROM soyt.med_price ORDER BY 1, 2") == before
    with pytest.raises(LakeError, match="Allowed: facility_name"):
        sector.drop_column(dsn, registry, "med_price", "facility_id")


def test_the_command_fills_changes_and_breaks(database: Settings, dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in database.environment().items():
        monkeypatch.setenv(name, value)
    options = ["--scale", "0.1", "--mutate", "3", "--violation", "road_asset", "--drop-column", "med_price.valid_to"]
    result = CliRunner().invoke(replay_app, ["sector", *options])
    assert result.exit_code == 0, result.output
    assert query(dsn, "SELECT ward_code FROM soxd.road_asset WHERE asset_id = 'DB-VI-PHAM'") == [("00000",)]
    with pytest.raises(psycopg2.errors.UndefinedColumn):
        query(dsn, "SELECT valid_to FROM soyt.med_price")
    wrong = CliRunner().invoke(replay_app, ["sector", "--scale", "0.1", "--violation", "river_stage"])
    assert wrong.exit_code == 1
    assert "feedback_ticket" in wrong.output


def test_a_database_that_is_not_there_is_a_sentence(registry: Registry) -> None:
    with pytest.raises(LakeError, match="lake up"):
        sector.fill("postgresql://lake@127.0.0.1:1/sector", registry)
