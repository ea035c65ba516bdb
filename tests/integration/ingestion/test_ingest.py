"""A sector table through dlt, bronze and silver: full, by cursor, changed, broken, repeated, interrupted."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa
from deltalake import DeltaTable

from pipelines.contracts.model import Text
from pipelines.contracts.registry import Registry
from pipelines.gateway.objects import open_store
from pipelines.gateway.tokens import TOKEN, load_tokeniser
from pipelines.ingestion.connections import ConnectionMissing, variable_of
from pipelines.ingestion.findings import standing
from pipelines.ingestion.judge import TooManyRefused
from pipelines.ingestion.load import ingest
from pipelines.ingestion.records import load_status
from pipelines.ingestion.state import section
from pipelines.ingestion.trouble import SourceChanged, SourceUnavailable
from pipelines.ingestion.unknown import UnknownColumn, unknown_columns
from pipelines.runtime.servers.postgres import SAMPLE_CONNECTION
from pipelines.runtime.settings import DEFAULT_NAMESPACE, Settings

TICKET = "feedback_ticket"
PRICE = "med_price"


def execute(engine: sa.Engine, sql: str) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text(sql))


def insert_tickets(engine: sa.Engine, first: int, count: int, updated: str = "now() - interval '1 day'") -> None:
    """Tickets `T<n>`; every one valid."""
    execute(
        engine,
        f"""
        insert into hues.feedback_ticket
        select 'T' || n, {updated} - interval '1 h', {updated} + n * interval '1 ms', 'traffic', '19753', 'H57.XD',
               'closed', {updated} + interval '1 day', {updated}, 1 + n % 5, 'Nguyễn Văn Ân',
               '0912 345 ' || lpad((n % 7)::text, 3, '0'), 'Ổ gà trước nhà số ' || n
        from generate_series({first}, {first + count - 1}) n
        """,
    )


def insert_price(engine: sa.Engine, service: str, price: str = "39000", **columns: str) -> None:
    values = {"valid_from": "2025-01-01", "valid_to": "2026-01-01", **columns}
    execute(
        engine,
        f"insert into soyt.med_price values ('BVTW', 'Bệnh viện Trung ương Huế', '{service}', 'Khám', {price}, "
        f"'{values['valid_from']}', '{values['valid_to']}')",
    )


def table(settings: Settings, layer: str, dataset: str) -> Any:
    return DeltaTable(str(settings.table_path(layer, dataset))).to_pyarrow_table()


def effects(settings: Settings, dataset: str) -> dict[str, int]:
    """Distinct raw offsets per effect in quality.outcome."""
    rows = table(settings, "quality", "outcome").to_pylist()
    seen = {(r["raw_offset"], r["effect"]) for r in rows if r["dataset"] == dataset}
    return {effect: sum(e == effect for _, e in seen) for effect in {e for _, e in seen}}


def offsets(settings: Settings, dataset: str) -> list[int]:
    return sorted(table(settings, "bronze", dataset)["raw_offset"].to_pylist())


@pytest.fixture
def codes(registry: Registry) -> dict[str, str]:
    return {name: registry.code_list(name).codes[0] for name in ("feedback_categories", "wards", "agencies")}


@pytest.fixture
def tickets(database: sa.Engine, codes: dict[str, str]) -> sa.Engine:
    """A source whose insert statement uses codes that the registry knows."""
    execute(
        database,
        f"""
        create function hues.known() returns trigger language plpgsql as $$ begin
            new.category_code = '{codes["feedback_categories"]}'; new.ward_code = '{codes["wards"]}'; return new;
        end $$;
        create trigger known before insert on hues.feedback_ticket for each row execute function hues.known()
        """,
    )
    return database


def test_full_load_then_only_changes(settings: Settings, registry: Registry, tickets: sa.Engine) -> None:
    insert_tickets(tickets, 1, 400, updated="now() - interval '3 days'")
    insert_tickets(tickets, 401, 100)
    first = ingest(settings, registry, TICKET, "r1")
    assert (first.status, first.rows_extracted, first.inserted, first.quarantined) == ("ok", 500, 500, 0)

    insert_tickets(tickets, 501, 3, updated="now()")
    execute(tickets, "update hues.feedback_ticket set rating = 1, updated_at = now() where ticket_id in ('T4', 'T9')")
    second = ingest(settings, registry, TICKET, "r2")
    assert (second.inserted, second.updated) == (3, 2)
    assert second.rows_extracted == 105, "the cursor asks for what is newer than the last value minus the lag only"

    third = ingest(settings, registry, TICKET, "r3")
    assert (third.inserted, third.updated, third.unchanged) == (0, 0, third.rows_extracted)
    assert third.rows_extracted == 5, "the lag reads the newest hour again"

    rows = table(settings, "silver", TICKET)
    assert rows.num_rows == 503
    assert set(rows["origin"].to_pylist()) == {"observed"}
    raw = offsets(settings, TICKET)
    assert raw == list(range(len(raw)))
    assert sum(effects(settings, TICKET).values()) == len(raw)
    status = load_status(settings, registry.dataset(TICKET))
    assert status == third


def test_persons_are_tokens_and_nothing_clear_is_written(
    settings: Settings, registry: Registry, tickets: sa.Engine
) -> None:
    insert_tickets(tickets, 1, 20)
    execute(tickets, "update hues.feedback_ticket set reporter_phone = 'không có' where ticket_id = 'T3'")
    result = ingest(settings, registry, TICKET, "r1")
    assert (result.inserted, result.quarantined) == (19, 1)

    rows = table(settings, "silver", TICKET)
    tokens = set(rows["phone_token"].to_pylist()) | set(rows["reporter_token"].to_pylist())
    assert all(TOKEN.match(token) for token in tokens)
    assert load_tokeniser(settings).token("name", "nguyễn  văn ân") in tokens

    (refused,) = table(settings, "quality", "quarantine").to_pylist()
    assert refused["reason"] == "token:phone_token"
    assert "không có" not in refused["row_json"]
    assert refused["raw_offset"] in offsets(settings, TICKET)
    decrypt = open_store(settings).cipher.decrypt
    assert "không có" in decrypt(refused["row_json"].encode()).decode()

    clear = ["Nguyễn Văn Ân".encode(), b"0912 345", "không có".encode()]
    for root in (settings.lake_root, settings.state / "dlt" / settings.namespace):
        for path in root.rglob("*"):
            if path.suffix == ".parquet":
                text = str(pa.parquet.read_table(path).to_pylist()).encode()
                assert not any(value in text for value in clear), path
            elif path.is_file():
                assert not any(value in path.read_bytes() for value in clear), path


def test_a_missing_column_fails_the_load_and_keeps_the_last_good_rows(
    settings: Settings, registry: Registry, database: sa.Engine
) -> None:
    insert_price(database, "KB1")
    ingest(settings, registry, PRICE, "r1")
    before = table(settings, "silver", PRICE)
    execute(database, "alter table soyt.med_price rename column price_vnd to gia")
    with pytest.raises(SourceChanged) as caught:
        ingest(settings, registry, PRICE, "r2")
    text = str(caught.value)
    assert "med_price: table soyt.med_price of H57.YT has no column price_vnd" in text
    assert "perhaps its new name: gia" in text
    assert "schemas/datasets/health/med_price.yaml" in text
    assert table(settings, "silver", PRICE).equals(before)
    status = load_status(settings, registry.dataset(PRICE))
    assert status is not None
    assert (status.run_id, status.status, status.error) == ("r2", "failed", text)
    with pytest.raises(SourceChanged):
        ingest(settings, registry, PRICE, "r3")
    told = [(one.owner, one.finding.kind, one.finding.detail, one.run_id) for one in standing(settings)]
    assert told == [("H57.YT", "source_changed", text, "r2")], "told once, by the run that met it first"
    assert not section(settings).is_good

    execute(database, "alter table soyt.med_price rename column gia to price_vnd")
    assert ingest(settings, registry, PRICE, "r2").unchanged == 1, "a failed run may be repeated under its id"
    status = load_status(settings, registry.dataset(PRICE))
    assert status is not None and status.status == "ok"
    assert not standing(settings) and section(settings).is_good, "what is mended is closed by itself"


def test_a_retyped_column_fails_and_a_new_one_is_reported(
    settings: Settings, registry: Registry, database: sa.Engine
) -> None:
    insert_price(database, "KB1")
    execute(
        database, "alter table soyt.med_price add column ghi_chu text, add column so_to integer, add column o bytea"
    )
    execute(database, "update soyt.med_price set ghi_chu = 'Bà Trần Thị B, 0912 345 678', so_to = 7")
    execute(
        database,
        "insert into soyt.med_price select facility_id, facility_name, 'KB2', service_name, price_vnd, "
        "valid_from, valid_to from soyt.med_price",
    )
    assert ingest(settings, registry, PRICE, "r1").new_columns == ("ghi_chu", "o", "so_to")
    assert "ghi_chu" not in table(settings, "silver", PRICE).column_names
    sealed = table(settings, "bronze", PRICE)["unknown_json"].to_pylist()
    assert sorted(value is None for value in sealed) == [False, True] and "Trần" not in str(sealed)
    assert unknown_columns(settings, registry.dataset(PRICE)) == [
        UnknownColumn("ghi_chu", 1, 1, ("Bà Trần Thị B, 0912 345 678",)),
        UnknownColumn("so_to", 1, 1, ("7",)),
    ]
    execute(database, "alter table soyt.med_price alter column price_vnd type double precision")
    with pytest.raises(SourceChanged, match="column price_vnd is double precision, the contract says decimal"):
        ingest(settings, registry, PRICE, "r2")
    kinds = {(one.finding.kind, one.finding.subject) for one in standing(settings, PRICE)}
    new = {("new_column", name) for name in ("ghi_chu", "o", "so_to")}
    assert kinds == {("source_changed", ""), *new}, "columns were not compared to the end"
    execute(
        database,
        "alter table soyt.med_price alter column price_vnd type numeric(14, 2), drop column ghi_chu, "
        "drop column so_to, drop column o",
    )
    ingest(settings, registry, PRICE, "r3")
    assert not standing(settings)


def test_violating_rows_go_to_quarantine_and_stop_nothing(
    settings: Settings, registry: Registry, database: sa.Engine
) -> None:
    insert_price(database, "GOOD")
    insert_price(database, "NEGATIVE", "-1")
    insert_price(database, "INEXACT", "39000.50")
    insert_price(database, "NAN", "'NaN'")
    insert_price(database, "LATER", valid_from="20025-01-01", valid_to="20026-01-01")
    insert_price(database, "ORDER", valid_from="2025-06-01", valid_to="2025-01-01")
    result = ingest(settings, registry, PRICE, "r1")
    assert (result.rows_extracted, result.inserted, result.quarantined) == (6, 1, 5)
    held = {row["row_json"]: row["reason"] for row in table(settings, "quality", "quarantine").to_pylist()}
    reasons = {
        next(name for name in ("NEGATIVE", "INEXACT", "NAN", "LATER", "ORDER") if name in text): reason
        for text, reason in held.items()
    }
    assert reasons["INEXACT"] == reasons["NAN"] == "type:price_vnd"
    assert reasons["LATER"] == "type:valid_from"
    assert reasons["NEGATIVE"] == "range:price_vnd"
    assert reasons["ORDER"].startswith("comparison:")
    assert any("39000.50" in text for text in held), "the row is kept as it came"
    assert effects(settings, PRICE) == {"inserted": 1, "quarantined": 5}


def test_a_clock_in_2030_does_not_hide_later_changes(
    settings: Settings, registry: Registry, tickets: sa.Engine
) -> None:
    insert_tickets(tickets, 1, 2, updated="timestamptz '2030-01-01 00:00:00+00'")
    insert_tickets(tickets, 3, 1, updated="timestamptz '2025-01-01 00:00:00+00'")
    assert ingest(settings, registry, TICKET, "r1").inserted == 3
    insert_tickets(tickets, 4, 2, updated="now()")
    second = ingest(settings, registry, TICKET, "r2")
    assert (second.inserted, second.unchanged) == (2, 2)


def test_a_day_is_read_again_where_its_rows_came_back_with_an_old_cursor(
    settings: Settings, registry: Registry, tickets: sa.Engine
) -> None:
    """What a source restores from its backup has cursors from before the mark; nobody reads it until asked."""
    insert_tickets(tickets, 1, 2, updated="timestamptz '2026-11-01 09:00:00+07'")
    assert ingest(settings, registry, TICKET, "r1").inserted == 2
    mark = load_status(settings, registry.dataset(TICKET)).mark_after
    insert_tickets(tickets, 3, 2, updated="timestamptz '2026-10-20 09:00:00+07'")
    insert_tickets(tickets, 5, 1, updated="timestamptz '2026-10-02 09:00:00+07'")
    assert ingest(settings, registry, TICKET, "r2").rows_extracted == 2
    again = ingest(settings, registry, TICKET, "r3", since=datetime(2026, 10, 20, tzinfo=UTC))
    assert (again.rows_extracted, again.inserted, again.unchanged) == (4, 2, 2)
    assert again.mark_after == mark, "how far the source was read stays"
    assert ingest(settings, registry, TICKET, "r4").rows_extracted == 2
    later = ingest(settings, registry, TICKET, "r5", since=datetime(2027, 1, 1, tzinfo=UTC))
    assert later.rows_extracted == 2, "a later day leaves nothing out"


def test_what_retention_deletes_is_not_read_again(settings: Settings, registry: Registry, tickets: sa.Engine) -> None:
    """A source that keeps its rows longer than the contract says; a replay's namespace has no retention."""
    insert_tickets(tickets, 1, 2, updated="now() - interval '12 years'")
    insert_tickets(tickets, 3, 1)
    city = settings.with_namespace(DEFAULT_NAMESPACE)
    assert registry.dataset(TICKET).retention.silver < timedelta(days=12 * 365)
    assert ingest(city, registry, TICKET, "r1").rows_extracted == 1
    assert ingest(settings.with_namespace("drill"), registry, TICKET, "r1").rows_extracted == 3


def test_a_repeated_run_reads_nothing_and_changes_nothing(
    settings: Settings, registry: Registry, database: sa.Engine
) -> None:
    insert_price(database, "KB1")
    first = ingest(settings, registry, PRICE, "r1")
    insert_price(database, "KB2")
    again = ingest(settings, registry, PRICE, "r1")
    assert again == first
    assert table(settings, "bronze", PRICE).num_rows == 1


def _changed(registry: Registry, dataset_id: str, fields: Any) -> Registry:
    old = registry.dataset(dataset_id)
    new = old.model_copy(update={"fields": tuple(fields(old.fields))})
    return replace(registry, datasets=tuple(new if d is old else d for d in registry.datasets))


def test_other_words_and_another_order_read_nothing_again(
    settings: Settings, registry: Registry, tickets: sa.Engine
) -> None:
    insert_tickets(tickets, 1, 200)
    ingest(settings, registry, TICKET, "r1")
    title = Text(vi="Tên khác", en="Another title")
    reworded = _changed(
        registry, TICKET, lambda fields: [f.model_copy(update={"title": title}) for f in reversed(fields)]
    )
    found = ingest(settings, reworded, TICKET, "r2")
    # The rows of the last hour before the newest, which the cursor's lag asks for each time.
    assert (found.rows_extracted, found.unchanged, found.inserted) == (200, 200, 0)
    execute(tickets, "update hues.feedback_ticket set updated_at = updated_at - interval '9 days' where rating > 1")
    assert ingest(settings, reworded, TICKET, "r3").rows_extracted == 40


def test_a_field_that_a_contract_gains_is_read_for_all_rows_once(
    settings: Settings, registry: Registry, tickets: sa.Engine
) -> None:
    narrow = _changed(registry, TICKET, lambda fields: [f for f in fields if f.name != "rating"])
    insert_tickets(tickets, 1, 300, updated="now() - interval '9 days'")
    insert_tickets(tickets, 301, 10)
    assert ingest(settings, narrow, TICKET, "r1").inserted == 310
    before = table(settings, "silver", TICKET).sort_by("ticket_id")
    found = ingest(settings, registry, TICKET, "r2")
    assert (found.rows_extracted, found.updated, found.inserted, found.quarantined) == (310, 310, 0, 0)
    after = table(settings, "silver", TICKET).sort_by("ticket_id")
    assert set(after.column_names) == {*before.column_names, "rating"} and None not in after["rating"].to_pylist()
    own = [f.name for f in narrow.dataset(TICKET).fields]
    assert after.select(own).equals(before.select(own))
    assert set(table(settings, "bronze", TICKET).column_names) >= {"rating"}
    third = ingest(settings, registry, TICKET, "r3")
    assert (third.rows_extracted, third.unchanged) == (10, 10)


def test_how_far_was_read_stands_in_the_lake_alone(settings: Settings, registry: Registry, tickets: sa.Engine) -> None:
    insert_tickets(tickets, 1, 300, updated="now() - interval '9 days'")
    insert_tickets(tickets, 301, 5)
    first = ingest(settings, registry, TICKET, "r1")
    assert first.mark_before is None and first.mark_after is not None
    version = DeltaTable(str(settings.table_path("silver", TICKET))).to_pyarrow_table()
    shutil.rmtree(settings.state / "dlt" / settings.namespace)
    second = ingest(settings, registry, TICKET, "r2")
    assert (second.rows_extracted, second.unchanged, second.mark_before) == (5, 5, first.mark_after)
    assert table(settings, "silver", TICKET).equals(version)


def test_a_load_with_nothing_new_commits_nothing(settings: Settings, registry: Registry, database: sa.Engine) -> None:
    for number in range(30):
        insert_price(database, f"KB{number}")
    ingest(settings, registry, PRICE, "r1")
    places = [("bronze", PRICE), ("silver", PRICE), ("quality", "outcome"), ("quality", "quarantine")]
    before = [DeltaTable(str(settings.table_path(*place))).version() for place in places]
    second = ingest(settings, registry, PRICE, "r2")
    assert (second.rows_extracted, second.unchanged, second.inserted) == (30, 30, 0)
    assert [DeltaTable(str(settings.table_path(*place))).version() for place in places] == before
    execute(database, "update soyt.med_price set price_vnd = 41000 where service_code = 'KB7'")
    third = ingest(settings, registry, PRICE, "r3")
    assert (third.unchanged, third.updated) == (29, 1)
    assert table(settings, "bronze", PRICE).num_rows == 31, "what is known already is stored once"


def test_too_many_bad_rows_fail_the_load_and_move_nothing(
    settings: Settings, registry: Registry, tickets: sa.Engine
) -> None:
    insert_tickets(tickets, 1, 100)
    first = ingest(settings, registry, TICKET, "r1")
    insert_tickets(tickets, 101, 150, updated="now()")
    execute(
        tickets,
        "update hues.feedback_ticket set rating = 77 where ticket_id > 'T1' and updated_at > now() - interval '1 h'",
    )
    versions = {name: DeltaTable(str(settings.table_path(name, TICKET))).version() for name in ("bronze", "silver")}
    with pytest.raises(TooManyRefused) as caught:
        ingest(settings, registry, TICKET, "r2")
    text = str(caught.value)
    assert "150 of 250 rows break the contract; tolerated are 50 % or 100 rows" in text, text
    assert "range:rating (150)" in text and "schemas/datasets/services/feedback_ticket.yaml" in text
    assert {name: DeltaTable(str(settings.table_path(name, TICKET))).version() for name in versions} == versions
    status = load_status(settings, registry.dataset(TICKET))
    assert status is not None and (status.status, status.error) == ("failed", text)

    execute(tickets, "update hues.feedback_ticket set rating = 3 where rating = 77")
    mended = ingest(settings, registry, TICKET, "r2")
    assert (mended.inserted, mended.mark_before) == (150, first.mark_after), "the mark stayed, so that they are read"


def test_rows_that_share_a_key_and_differ_are_kept_aside_and_the_last_good_one_stays(
    settings: Settings, registry: Registry, database: sa.Engine
) -> None:
    execute(database, "alter table soyt.med_price drop constraint med_price_pkey")
    for service in ("KB1", "KB2", "KB3"):
        insert_price(database, service)
    ingest(settings, registry, PRICE, "r1")
    insert_price(database, "KB2", "52000")
    insert_price(database, "KB3")
    found = ingest(settings, registry, PRICE, "r2")
    assert (found.rows_extracted, found.quarantined, found.repeated, found.unchanged) == (5, 2, 1, 2)
    held = table(settings, "quality", "quarantine").to_pylist()
    assert [row["reason"] for row in held] == ["duplicate_key"] * 2
    assert {json.loads(row["row_json"])["price_vnd"] for row in held} == {"39000", "52000"}
    prices = table(settings, "silver", PRICE).to_pylist()
    assert {row["service_code"]: int(row["price_vnd"]) for row in prices} == dict.fromkeys(["KB1", "KB2", "KB3"], 39000)


def test_without_a_connection_the_error_says_what_to_set_and_no_sample_stands_in(
    settings: Settings, registry: Registry, database: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert_price(database, "KB1")
    own = variable_of("sector_soyt")
    monkeypatch.setenv(variable_of(SAMPLE_CONNECTION), os.environ[own])
    monkeypatch.delenv(own)
    with pytest.raises(ConnectionMissing, match="Set AIRFLOW_CONN_SECTOR_SOYT"):
        ingest(settings, registry, PRICE, "r1")
    status = load_status(settings, registry.dataset(PRICE))
    assert status is not None and (status.status, status.rows_extracted) == ("failed", 0)
    assert status.error is not None and "AIRFLOW_CONN_SECTOR_SOYT" in status.error

    settings.set_sector_sample(SAMPLE_CONNECTION)
    assert ingest(settings, registry, PRICE, "r1").inserted == 1
    assert table(settings, "silver", PRICE)["origin"].to_pylist() == ["synthetic"]


def test_a_database_that_does_not_answer_is_told_without_its_password(
    settings: Settings, registry: Registry, database: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable_of("sector_soyt"), "postgresql://u:hush@127.0.0.1:9/d")
    with pytest.raises(SourceUnavailable, match=r"The source soyt \(H57\.YT\) does not answer") as caught:
        ingest(settings, registry, PRICE, "r1")
    assert "hush" not in str(caught.value) and "AIRFLOW_CONN_SECTOR_SOYT" in str(caught.value)


def test_a_cursor_that_counts_reads_on_from_the_newest_number(
    settings: Settings, registry: Registry, tickets: sa.Engine
) -> None:
    contract = registry.dataset(TICKET)
    assert contract.sector is not None
    counted = contract.sector.model_copy(update={"cursor": "rating", "lag": timedelta(0)})
    changed = contract.model_copy(update={"sector": counted})
    counting = replace(registry, datasets=tuple(changed if d is contract else d for d in registry.datasets))
    insert_tickets(tickets, 1, 8)
    execute(tickets, "update hues.feedback_ticket set rating = null where ticket_id = 'T3'")
    assert ingest(settings, counting, TICKET, "r1").inserted == 8
    # Ratings of 2, 3, none, 5, 1, 2, 3 and 4 are known; now come a 5 and a 1, which is below the newest.
    insert_tickets(tickets, 9, 2)
    second = ingest(settings, counting, TICKET, "r2")
    assert (second.rows_extracted, second.inserted, second.unchanged) == (3, 1, 2)


class Stopped(RuntimeError):
    """The end of a process in the middle of its work."""


@pytest.mark.parametrize("step", ["extract", "bronze", "silver"])
def test_an_interrupted_load_is_finished_by_the_next(
    settings: Settings, registry: Registry, tickets: sa.Engine, step: str
) -> None:
    insert_tickets(tickets, 1, 40)
    ingest(settings, registry, TICKET, "r0")
    insert_tickets(tickets, 41, 10, updated="now()")
    execute(tickets, "update hues.feedback_ticket set reporter_phone = 'x', updated_at = now() where ticket_id = 'T45'")

    def stop(name: str) -> None:
        if name == step:
            raise Stopped(name)

    with pytest.raises(Stopped):
        ingest(settings, registry, TICKET, "r1", step=stop)
    # The source forgets: only what was staged or in bronze can still arrive.
    if step != "extract":
        execute(tickets, "delete from hues.feedback_ticket where ticket_id <> 'T1'")
    ingest(settings, registry, TICKET, "r2")
    rows = table(settings, "silver", TICKET)
    assert rows.num_rows == 49
    assert sorted(rows["ticket_id"].to_pylist()) == sorted(f"T{n}" for n in range(1, 51) if n != 45)
    raw = offsets(settings, TICKET)
    assert raw == list(range(len(raw)))
    counted = effects(settings, TICKET)
    assert sum(counted.values()) == len(raw)
    assert counted["inserted"] == 49
    quarantine = table(settings, "quality", "quarantine").to_pylist()
    assert {q["reason"] for q in quarantine} == {"token:phone_token"}
    assert len(quarantine) == counted["quarantined"]
    assert not list(Path(settings.lake_root / settings.namespace / "_loads").rglob("*.parquet"))


def test_a_stop_between_quarantine_and_silver_doubles_nothing(
    settings: Settings, registry: Registry, database: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.landing.apply import Silver

    insert_price(database, "GOOD")
    insert_price(database, "INEXACT", "0.5")

    def stop(*_: object) -> None:
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(Silver, "commit", stop)
        with pytest.raises(Stopped):
            ingest(settings, registry, PRICE, "r1")
    result = ingest(settings, registry, PRICE, "r2")
    # The rows of the first read, and those of the second.
    assert (result.inserted, result.unchanged, result.quarantined) == (1, 1, 2)
    assert effects(settings, PRICE) == {"inserted": 1, "quarantined": 2}
    assert table(settings, "quality", "quarantine").num_rows == 2
