"""Tables that tell every change, through a real PostgreSQL, Debezium on Kafka Connect, a real broker, into silver.

What silver holds after a load is compared with what a reading of the same table as a whole brings to another namespace.
"""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from catalogue import city
from deltalake import DeltaTable

from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry
from pipelines.ingestion.capture import control
from pipelines.ingestion.connections import variable_of
from pipelines.ingestion.judge import TooManyDeleted
from pipelines.ingestion.load import ingest
from pipelines.ingestion.records import LoadRun
from pipelines.runtime.install import install_connect
from pipelines.runtime.ports import is_free
from pipelines.runtime.settings import Settings

from .capture_server import DATABASE, PASSWORD, READER, LoggingServer

PRICE, CONNECTION = "med_price", "sector_soyt"
TABLES = """
create schema soyt;
create table soyt.med_price (
    facility_id character(8), facility_name text, service_code varchar(40), service_name varchar(200),
    price_vnd numeric(14, 2), valid_from date, valid_to date, primary key (facility_id, service_code, valid_from));
create table soyt.elsewhere (filler text);
"""
GRANTS = f"""
grant usage on schema soyt to {READER}; grant select on all tables in schema soyt to {READER};
"""


@pytest.fixture(scope="module")
def server() -> Iterator[LoggingServer]:
    # Below /tmp: the account that PostgreSQL runs as may not enter the folders of pytest.
    folder = Path(tempfile.mkdtemp(prefix="lake-capture-"))
    folder.chmod(0o755)
    found = LoggingServer(folder, next(port for port in range(32_000, 32_500) if is_free(port)))
    try:
        yield found
    finally:
        found.stop()
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def worker(lake_services: Any) -> Any:
    """The installation with Kafka Connect."""
    install_connect(lake_services.settings, lambda *_: None)
    lake_services.need("connect")
    return lake_services


def moded(registry: Registry, mode: str, **more: Any) -> Registry:
    """The contracts with the prices read in another way."""
    old = registry.dataset(PRICE)
    assert old.sector is not None
    sector = old.sector.model_copy(update={"mode": mode, **more})
    return replace(
        registry, datasets=tuple(d.model_copy(update={"sector": sector}) if d is old else d for d in registry.datasets)
    )


@dataclass
class City:
    """One namespace that captures the prices, and the table that it captures."""

    settings: Settings
    registry: Registry
    server: LoggingServer
    number: int = 0

    @property
    def dataset(self) -> Dataset:
        return self.registry.dataset(PRICE)

    def load(self, **how: Any) -> LoadRun:
        self.number += 1
        return ingest(self.settings, self.registry, PRICE, f"r{self.number}", **how)

    def start(self, **how: Any) -> None:
        found = control.start(self.settings, self.registry, "soyt", lambda _: None, outside_window=True, **how)
        assert found.works, found

    def price(self, service: str, price: str = "39000", name: str = "Khám") -> None:
        self.server.execute(
            "insert into soyt.med_price values "
            f"('BVTW', 'Bệnh viện Trung ương Huế', '{service}', '{name}', {price}, '2025-01-01', '2026-01-01')"
        )

    def silver(self, settings: Settings | None = None) -> list[dict[str, Any]]:
        path = (settings or self.settings).table_path("silver", PRICE)
        rows = DeltaTable(str(path)).to_pyarrow_table([field.name for field in self.dataset.fields])
        keys: Any = [(name, "ascending") for name in self.dataset.key]
        found: list[dict[str, Any]] = rows.sort_by(keys).to_pylist()
        return found

    def assert_equals_the_source(self) -> None:
        """Silver has what a reading of the whole table brings, value by value."""
        beside = self.settings.with_namespace(f"{self.settings.namespace}_whole{self.number}")
        ingest(beside, moded(self.registry, "snapshot"), PRICE, "whole")
        try:
            assert self.silver() == self.silver(beside)
        finally:
            shutil.rmtree(self.settings.lake_root / beside.namespace)


@pytest.fixture
def town(worker: Any, server: LoggingServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[City]:
    settings = worker.settings.with_namespace(f"cdc_{uuid.uuid4().hex[:6]}")
    uri = f"postgresql://{READER}:{quote(PASSWORD, safe='')}@127.0.0.1:{server.port}/{DATABASE}"
    monkeypatch.setenv(variable_of(CONNECTION), uri)
    server.execute("drop schema if exists soyt cascade", TABLES, GRANTS)
    found = City(settings, moded(city().only("demo"), "capture"), server)
    slot = f"lake_{settings.namespace}_soyt"
    server.execute(
        f"alter role {READER} replication",
        "alter table soyt.med_price replica identity full",
        f"create publication {slot} for table soyt.med_price",
    )
    yield found
    control.stop(settings, found.registry, "soyt", for_good=True)
    assert server.execute("select slot_name from pg_replication_slots") == []
    assert not (settings.capture_secrets / settings.topic("change.soyt")).exists()
    server.execute(f"drop publication {slot}")
    shutil.rmtree(settings.lake_root / settings.namespace, ignore_errors=True)


def counts(run: LoadRun) -> tuple[int, int, int]:
    return run.inserted, run.updated, run.deleted


def test_what_a_table_tells_is_what_a_reading_of_it_brings(town: City) -> None:
    """Rows from before, then inserts, updates, deletes and keys that come back, of which the last state counts."""
    for number in range(30):
        town.price(f"S{number:02}", f"{39_000 + number}.00", name="Khám “nội” e\u0302\u0301 \\ \n")
    town.price("HALF", "0.50")
    town.start()
    first = town.load()
    assert (counts(first), first.quarantined, first.keys_compared) == ((30, 0, 0), 1, 31)
    town.assert_equals_the_source()
    assert town.silver()[0]["service_name"] == "Khám “nội” \u1ebf \\ \n"
    assert town.silver()[0]["facility_id"] == "BVTW"

    again = town.load()
    assert (again.rows_extracted, counts(again)) == (0, (0, 0, 0))

    town.server.execute(
        "update soyt.med_price set price_vnd = 1 where service_code = 'S00'",
        "update soyt.med_price set price_vnd = 2, valid_to = null where service_code = 'S00'",
        "delete from soyt.med_price where service_code = 'S01'",
        "delete from soyt.med_price where service_code = 'S02'",
        "update soyt.med_price set service_code = 'MOVED' where service_code = 'S03'",
        "delete from soyt.med_price where service_code = 'HALF'",
    )
    town.price("S02", "7")
    town.price("NEW", "8")
    town.server.execute("delete from soyt.med_price where service_code = 'NEW'")
    changed = town.load()
    assert (counts(changed), changed.repeated, changed.quarantined) == ((1, 2, 2), 3, 0)
    town.assert_equals_the_source()

    big = "create table soyt.big as select 'G' || n as code from generate_series(1, 5000) n"
    town.server.execute(big, "insert into soyt.med_price select 'G', 'G', code, 'G', 1, '2025-01-01' from soyt.big")
    assert counts(town.load()) == (5000, 0, 0)
    assert counts(town.load()) == (0, 0, 0)
    with pytest.raises(TooManyDeleted, match=r"5000 of 5029 rows would be deleted.*soyt\.med_price no longer has"):
        town.server.execute("delete from soyt.med_price where facility_id = 'G'")
        town.load()
    assert len(town.silver()) == 5029
