"""The same sector tables through the whole load from either kind of database, also over a bad line."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from catalogue import city
from deltalake import DeltaTable
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipelines.contracts.model import Deletes, Tolerance
from pipelines.contracts.registry import Registry
from pipelines.contracts.sources import Window
from pipelines.ingestion.connections import variable_of
from pipelines.ingestion.judge import TooManyDeleted
from pipelines.ingestion.load import ingest
from pipelines.ingestion.records import LoadRun, load_status
from pipelines.ingestion.trouble import SourceChanged, SourceLocked, SourceUnavailable, WrongCredentials
from pipelines.landing.ledger import DatasetLedger, ledger
from pipelines.runtime.settings import Settings

from .proxy import proxy
from .servers import Server

HOME = Path(__file__).resolve().parents[3]
PRICE, TICKET = "med_price", "feedback_ticket"
PRICES = """
create table med_price (
    facility_id varchar(40), facility_name varchar(200), service_code varchar(40), service_name varchar(200),
    price_vnd decimal(14, 2), valid_from date, valid_to date, primary key (facility_id, service_code, valid_from))
"""
TICKETS = """
create table feedback_ticket (
    ticket_id varchar(40) primary key, created_at {instant}, updated_at {instant}, category_code varchar(40),
    ward_code varchar(10), agency_id varchar(20), ticket_status varchar(20), due_at {instant}, closed_at {instant},
    rating smallint, reporter_name varchar(100), reporter_phone varchar(20), content_text text)
"""


class Source:
    """The two tables on one server, and contracts that say they are there."""

    def __init__(self, server: Server, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
        self.server, self._patch = server, monkeypatch
        instant = "timestamptz" if server.kind == "postgresql" else "timestamp(6) null"
        server.execute("drop table if exists med_price", "drop table if exists feedback_ticket", PRICES)
        server.execute(TICKETS.format(instant=instant))
        self.registry = self._moved(registry)
        self.reached()

    def _moved(self, registry: Registry) -> Registry:

        datasets = []
        for dataset in registry.datasets:
            if dataset.id in {PRICE, TICKET}:
                assert dataset.sector is not None
                sector = dataset.sector.model_copy(update={"schema_name": None})
                dataset = dataset.model_copy(update={"sector": sector})
            datasets.append(dataset)
        like = self.server.access(parallel=2).source
        sources = tuple(
            one.model_copy(update={"kind": like.kind, "timeouts": like.timeouts, "parallel": 2})
            for one in registry.sector_sources
        )
        return replace(registry, datasets=tuple(datasets), sector_sources=sources)

    def reached(self, **how: Any) -> None:
        """By which connection both sources are read."""
        for name in ("sector_soyt", "sector_hues"):
            self._patch.setenv(variable_of(name), self.server.uri(**how))

    def price(self, service: str, price: str = "39000", begin: str = "2025-01-01") -> None:
        self.server.execute(
            f"insert into med_price values ('BVTW', 'Bệnh viện Trung ương Huế', '{service}', 'Khám', {price}, "
            f"'{begin}', '2026-01-01')"
        )

    def tickets(self, first: int, count: int, at: str = "2025-10-27 13:00:00") -> None:
        ward, kind = (self.registry.code_list(name).codes[0] for name in ("wards", "feedback_categories"))
        rows = (
            f"('T{n}', '{at}', '{at}', '{kind}', '{ward}', 'H57.XD', 'closed', '{at}', '{at}', {1 + n % 5}, "
            f"'Nguyễn Văn Ân', '0912 345 678', 'Ổ gà trước nhà số {n}')"
            for n in range(first, first + count)
        )
        zone = "set time zone 'UTC'" if self.server.kind == "postgresql" else "set time_zone = '+00:00'"
        self.server.execute(zone, f"insert into feedback_ticket values {', '.join(rows)}")


@pytest.fixture(scope="module")
def contracts() -> Registry:
    return city().only("demo")


@pytest.fixture(params=["postgresql", "mariadb"])
def source(request: pytest.FixtureRequest, contracts: Registry, monkeypatch: pytest.MonkeyPatch) -> Source:
    return Source(request.getfixturevalue(request.param), contracts, monkeypatch)


def silver(settings: Settings, dataset: str) -> list[dict[str, Any]]:
    table = DeltaTable(str(settings.table_path("silver", dataset)))
    rows: list[dict[str, Any]] = table.to_pyarrow_table().sort_by(next(iter(table.schema().fields)).name).to_pylist()
    return rows


def load(settings: Settings, source: Source, dataset: str, run: str) -> LoadRun:
    return ingest(settings, source.registry, dataset, run)


def test_a_whole_table_is_loaded_and_a_bad_row_is_one_bad_row(settings: Settings, source: Source) -> None:
    for number in range(20):
        source.price(f"S{number:02}", f"{39_000 + number}")
    source.price("HALF", "39000.50")
    first = load(settings, source, PRICE, "r1")
    assert (first.rows_extracted, first.inserted, first.quarantined) == (21, 20, 1)
    assert [int(row["price_vnd"]) for row in silver(settings, PRICE)] == [39_000 + n for n in range(20)]
    assert {row["facility_name"] for row in silver(settings, PRICE)} == {"Bệnh viện Trung ương Huế"}
    second = load(settings, source, PRICE, "r2")
    assert (second.rows_extracted, second.unchanged, second.inserted) == (21, 20, 0)


def test_changes_are_read_by_their_cursor_to_the_microsecond(settings: Settings, source: Source) -> None:
    source.tickets(1, 5)
    source.tickets(6, 1, at="2025-10-28 13:00:00.123456")
    first = load(settings, source, TICKET, "r1")
    assert (first.inserted, first.quarantined) == (6, 0)
    assert first.mark_after == 1_761_656_400_123_456
    lag = source.registry.dataset(TICKET).sector.lag  # type: ignore[union-attr]
    assert timedelta(0) < lag < timedelta(days=1)
    source.tickets(7, 1, at="2025-10-28 12:59:59")
    source.tickets(8, 1, at="2025-10-30 00:00:00")
    second = load(settings, source, TICKET, "r2")
    assert (second.rows_extracted, second.inserted, second.unchanged) == (3, 2, 1)
    persons = {row["reporter_token"] for row in silver(settings, TICKET)}
    assert len(persons) == 1 and "Nguyễn" not in str(persons)


def test_a_line_that_breaks_leaves_nothing_behind(settings: Settings, source: Source) -> None:
    """Neither a part of a load nor a mark: the next one reads what the broken one should have."""
    for start in range(1, 8_001, 2_000):
        source.tickets(start, 2_000)
    with proxy(source.server.port, 700_000, "cut") as port:
        source.reached(port=port)
        with pytest.raises(SourceUnavailable, match=r"feedback_ticket of the source hues \(H57\.KHCN\) does not ans"):
            load(settings, source, TICKET, "r1")
    status = load_status(settings, source.registry.dataset(TICKET))
    assert status is not None and (status.status, status.rows_extracted) == ("failed", 0)
    source.reached()
    again = load(settings, source, TICKET, "r1")
    assert (again.rows_extracted, again.inserted, again.mark_before) == (8_000, 8_000, None)


def test_each_trouble_of_a_source_is_its_own(settings: Settings, source: Source) -> None:
    source.price("S1")
    source.reached(password="falsch")
    with pytest.raises(WrongCredentials) as refused:
        load(settings, source, PRICE, "r1")
    assert "falsch" not in str(refused.value)
    source.reached(port=9)
    with pytest.raises(SourceUnavailable, match="AIRFLOW_CONN_SECTOR_SOYT"):
        load(settings, source, PRICE, "r1")
    source.reached()
    with source.server.open() as holder, holder.cursor() as cursor:
        cursor.execute("lock table med_price in access exclusive mode" if source.server.kind == "postgresql" else LOCK)
        with pytest.raises(SourceLocked, match=r"med_price of the source soyt \(H57\.YT\) is locked"):
            load(settings, source, PRICE, "r1")
        cursor.execute("rollback" if source.server.kind == "postgresql" else "unlock tables")
    source.server.execute("alter table med_price drop column valid_to")
    with pytest.raises(SourceChanged, match="has no column valid_to"):
        load(settings, source, PRICE, "r1")
    source.server.execute("alter table med_price add column valid_to date")
    source.server.execute("update med_price set valid_to = '2026-01-01'")
    assert load(settings, source, PRICE, "r1").inserted == 1


LOCK = "lock tables med_price write"


# ── rows that the source deletes ─────────────────────────────────────────────────────────────────────────────────


def deleting(source: Source, dataset_id: str, deletes: Any, **settings: Any) -> None:
    """Let a contract say how rows show that they are deleted."""
    old = source.registry.dataset(dataset_id)
    assert old.sector is not None
    told = None if deletes is None else Deletes.model_validate(deletes)
    sector = old.sector.model_copy(update={"deletes": told, **settings})
    new = old.model_copy(update={"sector": sector})
    datasets = tuple(new if dataset is old else dataset for dataset in source.registry.datasets)
    source.registry = replace(source.registry, datasets=datasets)


def balanced(settings: Settings, source: Source, dataset_id: str) -> DatasetLedger:
    alone = replace(source.registry, datasets=(source.registry.dataset(dataset_id),))
    (entry,) = ledger(settings, alone).datasets
    assert entry.violations == ()
    return entry


def tickets(settings: Settings) -> list[str]:
    return [row["ticket_id"] for row in silver(settings, TICKET)]


def test_what_a_whole_table_no_longer_has_is_deleted(settings: Settings, source: Source) -> None:
    deleting(source, PRICE, "keys")
    for number in range(6):
        source.price(f"S{number}")
    first = load(settings, source, PRICE, "r1")
    assert (first.inserted, first.deleted, first.keys_compared) == (6, 0, 6)
    source.server.execute(
        "delete from med_price where service_code in ('S1', 'S4')",
        "update med_price set price_vnd = 1 where service_code = 'S2'",
        "update med_price set price_vnd = 0.5 where service_code = 'S3'",
    )
    second = load(settings, source, PRICE, "r2")
    assert (second.deleted, second.updated, second.quarantined, second.unchanged) == (2, 1, 1, 2)
    assert [row["service_code"] for row in silver(settings, PRICE)] == ["S0", "S2", "S3", "S5"]
    assert load_status(settings, source.registry.dataset(PRICE)) == second
    source.price("S4", "7")
    third = load(settings, source, PRICE, "r3")
    assert (third.inserted, third.deleted, third.keys_compared) == (1, 0, 5)
    entry = balanced(settings, source, PRICE)
    assert (entry.inserted, entry.deleted, entry.rows_in_silver) == (7, 2, 5)


def test_what_a_table_that_is_read_by_a_cursor_no_longer_has_is_deleted(settings: Settings, source: Source) -> None:
    deleting(source, TICKET, "keys")
    source.tickets(1, 9)
    first = load(settings, source, TICKET, "r1")
    assert (first.inserted, first.keys_compared) == (9, 9), "the first read is of everything"
    source.server.execute("delete from feedback_ticket where ticket_id in ('T2', 'T3')")
    source.tickets(10, 1, at="2025-10-30 00:00:00")
    second = load(settings, source, TICKET, "r2")
    assert (second.inserted, second.deleted, second.keys_compared) == (1, 2, 8)
    assert "T2" not in tickets(settings) and len(tickets(settings)) == 8
    source.tickets(2, 1, at="2025-10-30 01:00:00")
    third = load(settings, source, TICKET, "r3")
    assert (third.inserted, third.deleted) == (1, 0)
    # Nothing changed but what is gone: no row is read, and the keys tell it.
    source.server.execute("delete from feedback_ticket where updated_at > '2025-10-29 00:00:00'")
    fourth = load(settings, source, TICKET, "r4")
    assert (fourth.rows_extracted, fourth.deleted) == (0, 2)
    assert balanced(settings, source, TICKET).deleted == 4
    operations = DeltaTable(str(settings.table_path("bronze", TICKET))).to_pyarrow_table()["lake_op"].to_pylist()
    assert (operations.count("delete"), operations.count("upsert")) == (4, 11)


def test_keys_are_compared_as_often_as_the_contract_says(
    settings: Settings, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    deleting(source, TICKET, "keys", deletes_every=timedelta(days=1))
    source.tickets(1, 5)
    assert load(settings, source, TICKET, "r1").keys_compared == 5
    source.server.execute("delete from feedback_ticket where ticket_id = 'T2'")
    again = load(settings, source, TICKET, "r2")
    assert (again.keys_compared, again.deleted) == (None, 0)
    deleting(source, TICKET, "keys", deletes_every=timedelta(seconds=0))
    never = [s.model_copy(update={"window": _not_now()}) for s in source.registry.sector_sources]
    outside = replace(source.registry, sector_sources=tuple(never))
    assert ingest(settings, outside, TICKET, "r3").keys_compared is None
    assert load(settings, source, TICKET, "r4").deleted == 1


def _not_now() -> Window:
    """A window that begins in four hours."""
    begin = datetime.now(ZoneInfo("Asia/Ho_Chi_Minh")) + timedelta(hours=4)
    return Window(begin=begin.time().replace(tzinfo=None), end=(begin + timedelta(hours=1)).time())


def test_what_says_that_it_is_deleted_goes(settings: Settings, source: Source) -> None:
    deleting(source, TICKET, {"column": "closed_at"})
    source.tickets(1, 4)
    (status,) = [f.code_list for f in source.registry.dataset(TICKET).fields if f.name == "ticket_status"]
    live = f"closed_at = null, ticket_status = '{source.registry.code_list(str(status)).codes[0]}'"
    source.server.execute(f"update feedback_ticket set {live} where ticket_id <> 'T4'")
    assert load(settings, source, TICKET, "r1").inserted == 3
    source.server.execute(
        "update feedback_ticket set closed_at = updated_at, reporter_phone = '?', rating = 77 where ticket_id = 'T2'",
        f"update feedback_ticket set {live} where ticket_id = 'T4'",
    )
    second = load(settings, source, TICKET, "r2")
    assert (second.inserted, second.deleted, second.quarantined) == (1, 1, 0)
    assert tickets(settings) == ["T1", "T3", "T4"]
    third = load(settings, source, TICKET, "r3")
    assert (third.deleted, third.unchanged) == (0, third.rows_extracted)
    balanced(settings, source, TICKET)


@pytest.mark.parametrize(("dataset", "how"), [(PRICE, "delete from med_price"), (TICKET, "truncate feedback_ticket")])
def test_an_emptied_source_keeps_the_last_good_rows(settings: Settings, source: Source, dataset: str, how: str) -> None:
    deleting(source, dataset, "keys")
    source.price("S1")
    source.price("S2")
    source.tickets(1, 2)
    first = load(settings, source, dataset, "r1")
    before = silver(settings, dataset)
    source.server.execute(how)
    with pytest.raises(TooManyDeleted, match=f"2 of 2 rows would be deleted, because {dataset} has no row any more"):
        load(settings, source, dataset, "r2")
    assert silver(settings, dataset) == before
    status = load_status(settings, source.registry.dataset(dataset))
    assert status is not None and status.status == "failed" and "tolerance.deleted_pct" in str(status.error)
    deleting(source, dataset, "keys", tolerance=Tolerance(deleted_pct=100))
    meant = load(settings, source, dataset, "r2")
    assert (meant.deleted, meant.mark_before, silver(settings, dataset)) == (2, first.mark_after, [])


def test_a_truncated_table_fails_with_its_changes(settings: Settings, source: Source) -> None:
    """What the load brought besides comes with the next one: neither it nor the mark was stored."""
    deleting(source, TICKET, "keys", tolerance=Tolerance(deleted_rows=3))
    source.tickets(1, 20)
    first = load(settings, source, TICKET, "r1")
    source.server.execute("delete from feedback_ticket where ticket_id like 'T1%'")
    source.tickets(30, 1, at="2025-11-02 00:00:00")
    with pytest.raises(TooManyDeleted, match="11 of 20 rows would be deleted, because feedback_ticket no longer has"):
        load(settings, source, TICKET, "r2")
    assert len(tickets(settings)) == 20
    source.tickets(1, 1)
    source.tickets(10, 9)
    second = load(settings, source, TICKET, "r3")
    assert (second.inserted, second.deleted, second.mark_before) == (1, 1, first.mark_after)
    assert len(tickets(settings)) == 20 and "T19" not in tickets(settings)


class Stopped(RuntimeError):
    """The end of a process in the middle of its work."""


@pytest.mark.parametrize("at", ["extract", "bronze", "silver"])
def test_an_interrupted_delete_is_finished_once(settings: Settings, source: Source, at: str) -> None:
    deleting(source, TICKET, "keys")
    source.tickets(1, 6)
    load(settings, source, TICKET, "r1")
    source.server.execute("delete from feedback_ticket where ticket_id in ('T2', 'T3')")
    source.tickets(7, 1, at="2025-10-30 00:00:00")

    def stop(name: str) -> None:
        if name == at:
            raise Stopped(name)

    with pytest.raises(Stopped):
        ingest(settings, source.registry, TICKET, "r2", step=stop)
    assert "T2" in tickets(settings)
    # Meanwhile one of the deleted rows is back, and another one is gone.
    source.tickets(2, 1, at="2025-10-30 00:00:00")
    source.server.execute("delete from feedback_ticket where ticket_id = 'T5'")
    load(settings, source, TICKET, "r3")
    assert tickets(settings) == ["T1", "T2", "T4", "T6", "T7"]
    entry = balanced(settings, source, TICKET)
    was_seen = at != "extract"
    assert (entry.deleted, entry.inserted) == ((3, 8) if was_seen else (2, 7))
    again = load(settings, source, TICKET, "r4")
    assert (again.deleted, again.inserted, again.updated) == (0, 0, 0)


@hypothesis_settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    nights=st.lists(
        st.tuples(st.sets(st.integers(1, 6)), st.sets(st.integers(1, 6), max_size=3)), min_size=2, max_size=4
    )
)
def test_silver_has_the_keys_of_the_source_after_any_nights(
    tmp_path_factory: pytest.TempPathFactory, settings: Settings, source: Source, nights: Any
) -> None:
    """Each night some rows are written, new or changed, and some deleted."""
    fresh = Settings.load(
        {"LAKE_HOME": str(HOME), "LAKE_STATE": str(tmp_path_factory.mktemp("state")), "LAKE_NAMESPACE": "t"}
    )
    deleting(source, TICKET, "keys", tolerance=Tolerance(deleted_pct=100))
    source.server.execute("delete from feedback_ticket")
    there: dict[int, str] = {}
    for night, (written, deleted) in enumerate(nights):
        at = f"2025-11-{night + 1:02} 12:00:00"
        for number in written | deleted:
            source.server.execute(f"delete from feedback_ticket where ticket_id = 'T{number}'")
            there.pop(number, None)
        for number in written - deleted:
            source.tickets(number, 1, at=at)
            there[number] = at[:10]
        load(fresh, source, TICKET, f"n{night}")
        rows = {int(row["ticket_id"][1:]): f"{row['updated_at']:%Y-%m-%d}" for row in silver(fresh, TICKET)}
        assert rows == there
    assert balanced(fresh, source, TICKET).rows_in_silver == len(there)
