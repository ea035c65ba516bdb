"""By which connection a source is read: its own, or the sample's where a namespace says so, and never by another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from catalogue import city as contracts

from pipelines.contracts.registry import Registry
from pipelines.ingestion.access import access_to
from pipelines.ingestion.connections import ConnectionMissing
from pipelines.runtime.servers.postgres import SAMPLE_CONNECTION
from pipelines.runtime.settings import Settings, SettingsError

HOME = Path(__file__).resolve().parents[3]
OWN, SAMPLE = "postgresql://lake:hush@db.soyt.local/soyt", "postgresql://lake:hush@127.0.0.1:5999/sector"


@pytest.fixture(scope="module")
def registry() -> Registry:
    return contracts().only("demo")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load({"LAKE_STATE": str(tmp_path), "LAKE_NAMESPACE": "drill"})


def test_a_source_is_read_by_its_own_connection(
    settings: Settings, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SECTOR_SOYT", OWN)
    monkeypatch.setenv("AIRFLOW_CONN_LAKE_SAMPLE", SAMPLE)
    access = access_to(settings, registry, registry.dataset("med_price"))
    assert (access.source.id, access.connection.host, access.origin) == ("soyt", "db.soyt.local", "observed")
    assert "hush" not in repr(access)


def test_the_sample_never_stands_in_unasked(
    settings: Settings, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_LAKE_SAMPLE", SAMPLE)
    monkeypatch.setenv("AIRFLOW_CONN_SECTOR_SOYTE", OWN)
    monkeypatch.delenv("AIRFLOW_CONN_SECTOR_SOYT", raising=False)
    with pytest.raises(ConnectionMissing, match=r"There is no connection 'sector_soyt'\. Set AIRFLOW_CONN_SECTOR_SOYT"):
        access_to(settings, registry, registry.dataset("med_price"))


def test_a_namespace_that_names_the_sample_reads_every_source_from_it(
    settings: Settings, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SECTOR_SOYT", OWN)
    monkeypatch.setenv("AIRFLOW_CONN_LAKE_SAMPLE", SAMPLE)
    settings.set_sector_sample(SAMPLE_CONNECTION)
    foreign = tuple(s.model_copy(update={"kind": "mariadb"}) for s in registry.sector_sources)
    for dataset in registry.sector_tables():
        access = access_to(settings, replace(registry, sector_sources=foreign), dataset)
        assert (access.connection.port, access.origin, access.source.kind) == (5999, "synthetic", "postgresql")
        assert access.source.id == registry.source_of(dataset).id
    monkeypatch.delenv("AIRFLOW_CONN_LAKE_SAMPLE")
    with pytest.raises(ConnectionMissing, match="Set AIRFLOW_CONN_LAKE_SAMPLE"):
        access_to(settings, registry, registry.dataset("med_price"))


def test_the_city_does_not_read_the_sample(settings: Settings) -> None:
    city = settings.with_namespace("city")
    with pytest.raises(SettingsError, match=r"'city' holds observed data and does not read the sample\. Set LAKE_NAM"):
        city.set_sector_sample(SAMPLE_CONNECTION)
    settings.set_sector_sample(SAMPLE_CONNECTION)
    assert (city.sector_sample, settings.sector_sample) == (None, SAMPLE_CONNECTION)
    settings.set_sector_sample(None)
    assert settings.sector_sample is None
