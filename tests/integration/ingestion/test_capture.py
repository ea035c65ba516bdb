"""Tables that tell every change, through a real PostgreSQL, Debezium on Kafka Connect, a real broker, into silver.

What silver holds after a load is compared with what a reading of the same table as a whole brings to another namespace.
"""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest
from catalogue import city
from deltalake import DeltaTable
from typer.testing import CliRunner

from pipelines.contracts.logical_types import LogicalType
from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry
from pipelines.ingestion.capture import commands, connector, control, source
from pipelines.ingestion.capture.source import CaptureLost, CaptureRefused
from pipelines.ingestion.connections import variable_of
from pipelines.ingestion.findings import standing
from pipelines.ingestion.judge import TooManyDeleted
from pipelines.ingestion.load import ingest
from pipelines.ingestion.records import LoadRun
from pipelines.ingestion.trouble import SourceChanged, SourceUnavailable
from pipelines.runtime import services
from pipelines.runtime.connect import connect
from pipelines.runtime.install import install_connect
from pipelines.runtime.ports import is_free, service_folder
from pipelines.runtime.process import ProcessRecord
from pipelines.runtime.settings import Settings

from .capture_server import DATABASE, PASSWORD, READER, LoggingServer

PRICE, ASSET = "med_price", "road_asset"
TABLES = """
create schema soyt;
create table soyt.med_price (
    facility_id character(8), facility_name text, service_code varchar(40), service_name varchar(200),
    price_vnd numeric(14, 2), valid_from date, valid_to date, primary key (facility_id, service_code, valid_from));
create table soyt.elsewhere (filler text);
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
def worker(lake_services: Any) -> Iterator[Any]:
    """The installation with Kafka Connect, which nobody else needs."""
    install_connect(lake_services.settings, lambda *_: None)
    lake_services.need("connect")
    yield lake_services
    services.down(lake_services.settings, ["connect"])


def changed(registry: Registry, dataset_id: str, mode: str, **more: Any) -> Registry:
    """The contracts with one table read in another way, and perhaps more about it."""
    old = registry.dataset(dataset_id)
    assert old.sector is not None
    sector = old.sector.model_copy(update={"mode": mode, "cursor": None, "lag": timedelta(0)})
    new = old.model_copy(update={"sector": sector, **more})
    return replace(registry, datasets=tuple(new if d is old else d for d in registry.datasets))


@dataclass
class City:
    """One namespace that captures a table, and the server that holds it."""

    settings: Settings
    registry: Registry
    server: LoggingServer
    table: str
    source: str
    number: int = 0

    @property
    def dataset(self) -> Dataset:
        return self.registry.dataset(self.table)

    @property
    def slot(self) -> str:
        return f"lake_{self.settings.namespace}_{self.source}"

    def grant(self) -> None:
        """What the department does."""
        place = f"{self.source}.{self.table}"
        self.server.execute(
            f"grant usage on schema {self.source} to {READER}",
            f"grant select on all tables in schema {self.source} to {READER}",
            f"alter role {READER} replication",
            f"alter table {place} replica identity full",
            f"create publication {self.slot} for table {place}",
        )

    def load(self, **how: Any) -> LoadRun:
        self.number += 1
        return ingest(self.settings, self.registry, self.table, f"r{self.number}", **how)

    def start(self, **how: Any) -> None:
        found = control.start(self.settings, self.registry, self.source, lambda _: None, outside_window=True, **how)
        assert found.works, found

    def end(self) -> None:
        """Leave nothing, and see that nothing is left."""
        control.stop(self.settings, self.registry, self.source, for_good=True)
        assert self.server.execute("select slot_name from pg_replication_slots") == []
        assert not (self.settings.capture_secrets / self.settings.topic(f"change.{self.source}")).exists()
        self.server.execute(f"drop publication if exists {self.slot}")
        shutil.rmtree(self.settings.lake_root / self.settings.namespace, ignore_errors=True)

    def price(self, service: str, price: str = "39000", name: str = "Khám") -> None:
        self.server.execute(
            "insert into soyt.med_price values "
            f"('BVTW', 'Bệnh viện Trung ương Huế', '{service}', '{name}', {price}, '2025-01-01', '2026-01-01')"
        )

    def silver(self, settings: Settings | None = None) -> list[dict[str, Any]]:
        path = (settings or self.settings).table_path("silver", self.table)
        rows = DeltaTable(str(path)).to_pyarrow_table(columns=[field.name for field in self.dataset.fields])
        keys: Any = [(name, "ascending") for name in self.dataset.key]
        found: list[dict[str, Any]] = rows.sort_by(keys).to_pylist()
        return found

    def assert_equals_the_source(self) -> LoadRun:
        """Silver has what a reading of the whole table brings, value by value."""
        beside = self.settings.with_namespace(f"{self.settings.namespace}_whole{self.number}")
        whole = changed(self.registry, self.table, "snapshot")
        try:
            read = ingest(beside, whole, self.table, "whole")
            assert self.silver() == self.silver(beside)
        finally:
            shutil.rmtree(self.settings.lake_root / beside.namespace)
        return read


@pytest.fixture
def settings(worker: Any, server: LoggingServer, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A namespace of the test's own, that reaches both sources on the server."""
    # Every load waits for the next heartbeat.
    monkeypatch.setattr(connector, "HEARTBEAT", timedelta(milliseconds=200))
    uri = f"postgresql://{READER}:{quote(PASSWORD, safe='')}@127.0.0.1:{server.port}/{DATABASE}"
    for name in ("sector_soyt", "sector_soxd"):
        monkeypatch.setenv(variable_of(name), uri)
    found: Settings = worker.settings.with_namespace(f"cdc_{uuid.uuid4().hex[:6]}")
    return found


@pytest.fixture
def town(settings: Settings, server: LoggingServer) -> Iterator[City]:
    """The prices, captured, where nobody has granted anything yet."""
    server.execute("drop schema if exists soyt cascade", TABLES, f"alter role {READER} noreplication")
    found = City(settings, changed(city().only("demo"), PRICE, "capture"), server, PRICE, "soyt")
    yield found
    found.end()


def counts(run: LoadRun) -> tuple[int, int, int]:
    return run.inserted, run.updated, run.deleted


def test_what_a_table_tells_is_what_a_reading_of_it_brings(town: City) -> None:
    """Rows from before, then inserts, updates, deletes and keys that come back, of which the last state counts."""
    for number in range(30):
        town.price(f"S{number:02}", f"{39_000 + number}.00", name="Khám “nội” e\u0302\u0301 \\ \n")
    town.price("HALF", "0.50")
    town.grant()
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
    town.server.execute("delete from soyt.med_price where facility_id = 'G'")
    with pytest.raises(TooManyDeleted, match=r"5000 of 5029 rows would be deleted.*soyt\.med_price no longer has"):
        town.load()
    assert len(town.silver()) == 5029

    # An exercise that reads the sample in place of the source reads it whole.
    exercise = town.settings.with_namespace(f"{town.settings.namespace}_sample")
    exercise.set_sector_sample("sector_soyt")
    try:
        assert counts(ingest(exercise, town.registry, PRICE, "r1")) == (29, 0, 0)
        town.server.execute("delete from soyt.med_price where service_code = 'S04'")
        assert counts(ingest(exercise, town.registry, PRICE, "r2")) == (0, 0, 1)
    finally:
        exercise.set_sector_sample(None)
        shutil.rmtree(exercise.lake_root / exercise.namespace)

    with connect(town.settings) as worker:
        assert "password}" in worker.config(town.settings.topic("change.soyt"))["database.password"]
        assert PASSWORD not in str(worker.config(town.settings.topic("change.soyt")))
    folder = service_folder(town.settings, "connect")
    assert PASSWORD not in (folder / "log").read_text(encoding="utf-8")


ASSETS = """
create schema soxd;
create type soxd.kind as enum ('bridge', 'signal');
create domain soxd.score as bigint;
create table soxd.road_asset (
    asset_id uuid primary key, asset_type soxd.kind, road_name text, ward_code character(8), lon_deg numeric,
    lat_deg real, condition_score soxd.score, has_sensor boolean, built_date date, inspected_date timestamp,
    updated_at timestamptz);
"""
ROWS = (
    "'bridge', 'Cầu Trường Tiền', '{ward}', 107.123456, 16.1, 100, true, '1899-12-30', '2025-10-27 13:00:00.123456', "
    "'2025-10-27 20:00:00.123456+07'",
    "'signal', 'e\u0302\u0301 \"\\/ {{', '{ward}', 107.1, 16.7, 0, false, '0001-01-01', '0001-01-02', "
    "'1969-12-31 23:59:59.9Z'",
    "'signal', '', '{ward}', 107.0000000, 16, null, true, null, null, '9999-12-31 00:00:00Z'",
    "'signal', null, '{ward}', 107.1234567, 16.2, 1, true, null, null, '2025-10-27 00:00:00Z'",
    "'signal', null, '{ward}', 'NaN', 16.2, 1, true, null, null, '2025-10-27 00:00:00Z'",
    "'signal', null, '{ward}', 107, 'Infinity', 1, true, null, null, '2025-10-27 00:00:00Z'",
    "'signal', null, '{ward}', 107, 16.2, 4294967296, true, null, null, '2025-10-27 00:00:00Z'",
    "'signal', null, '{ward}', 107, 16.2, 1, true, 'infinity', null, '2025-10-27 00:00:00Z'",
    "'signal', null, '{ward}', 107, 16.2, 1, true, null, '-infinity', '2025-10-27 00:00:00Z'",
    "'signal', null, '{ward}', 107, 16.2, 1, true, null, null, 'infinity'",
    "'signal', null, '{ward}', 107, 16.2, 1, true, null, null, '20025-10-27 00:00:00Z'",
)
"""Some that a contract can hold, then those that it cannot: each is one refused row."""


def test_values_are_those_of_a_reading(settings: Settings, server: LoggingServer) -> None:
    """Exactly, whether they were there before or came later: these two ways Debezium reads values differently."""
    contracts = city().only("demo")
    ward = contracts.code_list("wards").codes[0]
    types = {"lat_deg": "double", "inspected_date": "timestamp"}
    fields = tuple(
        field.model_copy(update={"type": LogicalType(types[field.name])}) if field.name in types else field
        for field in contracts.dataset(ASSET).fields
    )
    contracts = changed(contracts, ASSET, "capture", fields=fields, quality=())
    sources = tuple(
        one.model_copy(update={"time_zone": "Asia/Ho_Chi_Minh"}) if one.id == "soxd" else one
        for one in contracts.sector_sources
    )
    town = City(settings, replace(contracts, sector_sources=sources), server, ASSET, "soxd")
    server.execute("drop schema if exists soxd cascade", ASSETS)

    def fill(first: int) -> None:
        for number, row in enumerate(ROWS, first):
            values = f"'00000000-0000-0000-0000-{number:012}', {row.format(ward=ward)}"
            server.execute(f"insert into soxd.road_asset values ({values})")

    fill(100)
    town.grant()
    town.start()
    try:
        for turn, first in enumerate((200, 300, 400), start=1):
            run = town.load()
            read = town.assert_equals_the_source()
            assert (run.inserted, turn * run.quarantined) == (read.inserted // turn, read.quarantined)
            assert run.inserted >= 3, "those that a contract can hold"
            assert run.quarantined >= 5, "those that it cannot"
            fill(first)
    finally:
        town.end()


def test_a_killed_worker_and_a_load_that_broke_off_cost_nothing(town: City, wait_until: Callable[..., None]) -> None:
    for number in range(20):
        town.price(f"S{number:02}")
    town.grant()
    town.start()

    def stop(name: str) -> None:
        if name == "silver":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        town.load(step=stop)
    town.server.execute("update soyt.med_price set price_vnd = 1 where service_code = 'S00'")
    done = town.load()
    assert (counts(done), done.rows_extracted) == ((20, 1, 0), 1), "what was in bronze is finished, and not read again"

    folder, pids = service_folder(town.settings, "connect"), set[int]()

    def worker() -> psutil.Process | None:
        record = ProcessRecord.read(folder)
        found = record.process() if record else None
        return found if found and found.pid not in pids else None

    for turn in range(3):
        # The supervisor of the installation brings it back each time.
        wait_until(lambda: worker() is not None, timeout_s=30, what="Kafka Connect lives again")
        town.price(f"A{turn}")
        killed = worker()
        assert killed is not None
        town.server.execute(f"update soyt.med_price set price_vnd = {turn + 2} where service_code < 'S10'")
        pids.add(killed.pid)
        killed.kill()
        town.price(f"B{turn}")
        town.server.execute(f"delete from soyt.med_price where service_code = 'S1{turn}'")
    after = town.load()
    assert after.quarantined == 0
    town.assert_equals_the_source()
    assert len(town.silver()) == 23


def test_what_the_log_cannot_tell_is_never_a_hole(town: City) -> None:
    for number in range(10):
        town.price(f"S{number:02}")
    with pytest.raises(CaptureLost, match="Run `lake capture start soyt`"):
        town.load()
    with pytest.raises(CaptureRefused) as refused:
        town.start()
    for wanted in (
        f'ALTER ROLE "{READER}" REPLICATION;',
        "ALTER TABLE soyt.med_price REPLICA IDENTITY FULL;",
        f"CREATE PUBLICATION {town.slot} FOR TABLE soyt.med_price;",
    ):
        assert wanted in str(refused.value)
    town.grant()
    town.start()
    assert counts(town.load()) == (10, 0, 0)

    # A column that nobody has classified is told, and does not leave the source.
    town.server.execute("alter table soyt.med_price add note text", "update soyt.med_price set note = 'geheim'")
    told = town.load()
    assert (told.new_columns, told.unchanged) == (("note",), 10)
    [found] = [one.finding for one in standing(town.settings, PRICE)]
    assert found.subject == "note"
    assert found.detail.startswith(
        "It stays at the source until a new version of schemas/datasets/health/med_price.yaml"
    )
    town.server.execute("alter table soyt.med_price rename valid_to to until")
    with pytest.raises(SourceChanged, match=r"has no column valid_to \(new and perhaps its new name: note, until\)"):
        town.load()
    town.server.execute("alter table soyt.med_price rename until to valid_to", "alter table soyt.med_price drop note")
    assert counts(town.load()) == (0, 0, 0)

    # A table that was emptied says nothing of single rows: it is read anew, and keys are compared.
    town.server.execute("create table soyt.kept as select * from soyt.med_price", "truncate soyt.med_price")
    with pytest.raises(SourceChanged, match="was emptied by TRUNCATE"):
        town.load()
    town.server.execute("insert into soyt.med_price select * from soyt.kept where service_code <> 'S03'")
    town.price("NEW")
    town.start(anew=True)
    assert counts(town.load()) == (1, 0, 1)
    town.assert_equals_the_source()

    # Changes that nobody reads are loaded late, and those that are gone are said to be.
    control.stop(town.settings, town.registry, "soyt")
    town.price("LATE")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "CATCH_UP_S", 1.0)
        with pytest.raises(SourceUnavailable, match="the capture of the source soyt is behind"):
            town.load()
    town.server.execute(f"select pg_drop_replication_slot('{town.slot}')")
    with pytest.raises(CaptureLost, match="has no slot"):
        town.load()
    failed = control.start(town.settings, town.registry, "soyt", lambda _: None, outside_window=True)
    assert not failed.works
    assert "no longer available on the server" in str(failed.problem)
    town.start(anew=True)
    assert counts(town.load()) == (1, 0, 0)
    [shown] = control.status(town.settings, town.registry)
    assert shown.works
    assert [(table.dataset, table.waiting) for table in shown.tables] == [(PRICE, 0)]

    # As the operator sees it.
    with pytest.MonkeyPatch.context() as patch:
        for name, value in town.settings.environment().items():
            patch.setenv(name, value)
        patch.setattr(commands, "registry_of", lambda _settings: town.registry)
        patch.setenv("COLUMNS", "200")
        table = _lake_capture("status")
        assert "RUNNING" in table
        assert f"{PRICE} 0" in table
        assert "until its disk is full" in _lake_capture("stop", "soyt")
        town.price("MEANWHILE")
        assert "captures" in _lake_capture("start", "soyt")
    assert counts(town.load()) == (1, 0, 0)


def _lake_capture(*arguments: str) -> str:
    done = CliRunner().invoke(commands.capture_app, arguments)
    assert done.exit_code == 0, done.output
    return done.output
