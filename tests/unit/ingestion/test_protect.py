"""Raw text columns → tokens and exact types, and what becomes of values that do not fit."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from cryptography.fernet import Fernet

from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry
from pipelines.gateway.tokens import Tokeniser
from pipelines.ingestion.access import source_columns
from pipelines.ingestion.plan import sector_of
from pipelines.ingestion.protect import DETAIL, REASON, ROW_JSON, Protection

HOME = Path(__file__).resolve().parents[3]
KEY = Fernet(Fernet.generate_key())


@pytest.fixture(scope="module")
def price(registry: Registry) -> Dataset:
    return registry.dataset("med_price")


@pytest.fixture(scope="module")
def ticket(registry: Registry) -> Dataset:
    return registry.dataset("feedback_ticket")


class CountingTokeniser(Tokeniser):
    """Counts the calls, to see that a value that recurs is tokenised once."""

    calls = 0

    def token(self, kind: str, value: str, version: int | None = None) -> str:
        type(self).calls += 1
        return super().token(kind, value, version)


def raw(dataset: Dataset, *rows: dict[str, str | None]) -> pa.Table:
    columns = source_columns(dataset)
    return pa.table({name: pa.array([row.get(name) for row in rows], pa.string()) for name in columns})


def protect(dataset: Dataset, *rows: dict[str, str | None]) -> Any:
    return Protection(dataset, Tokeniser({1: b"k" * 16}), KEY.encrypt)(raw(dataset, *rows))


def test_types_are_exact(price: Dataset) -> None:
    table = protect(price, {"price_vnd": "39000.00", "valid_from": "2025-01-01", "facility_id": "A"})
    assert table.schema.field("price_vnd").type == pa.decimal128(12, 0)
    assert table["price_vnd"].to_pylist() == [Decimal(39000)]
    assert table.schema.field("valid_from").type == pa.date32()
    assert table[REASON].null_count == 1


@pytest.mark.parametrize("value", ["39000.50", "NaN", "1000000000000", "abc"])
def test_a_price_that_does_not_fit_is_refused_with_its_row(price: Dataset, value: str) -> None:
    table = protect(price, {"price_vnd": "1", "facility_id": "A"}, {"price_vnd": value, "facility_id": "B"})
    assert table["price_vnd"].to_pylist() == [Decimal(1), None]
    assert table[REASON].to_pylist() == [None, "type:price_vnd"]
    assert table[DETAIL][1].as_py() == f"'{value}' is no decimal(12,0) without loss"
    assert f'"price_vnd":"{value}"' in table[ROW_JSON][1].as_py()
    assert table[ROW_JSON][0].as_py() is None


def test_exact_types_give_what_their_text_gives(price: Dataset, ticket: Dataset) -> None:
    """What a database hands over as such and what it writes as text are one; a refused row is kept as text."""
    rows = [
        {"facility_id": "A", "price_vnd": "39000", "valid_from": "2025-01-01", "valid_to": None},
        {"facility_id": "B", "price_vnd": "39000.50", "valid_from": "9999-12-31", "valid_to": "0001-01-01"},
    ]
    text = raw(price, *rows)
    typed = text.set_column(
        text.schema.get_field_index("valid_from"), "valid_from", text["valid_from"].cast(pa.date32())
    ).set_column(text.schema.get_field_index("valid_to"), "valid_to", text["valid_to"].cast(pa.date32()))
    protection = Protection(price, Tokeniser({1: b"k" * 16}), KEY.encrypt)
    assert protection(typed).equals(protection(text))
    assert '"valid_from":"9999-12-31"' in protection(typed)[ROW_JSON][1].as_py()

    at = datetime(2025, 10, 27, 13, 0, 0, 123456, tzinfo=UTC)
    written = raw(ticket, {"created_at": "2025-10-27 13:00:00.123456+00", "rating": "5"})
    given = {"created_at": [at], "rating": [5]}
    kinds = {"created_at": pa.timestamp("us", tz="UTC"), "rating": pa.int16()}
    exact = written
    for name, values in given.items():
        exact = exact.set_column(exact.schema.get_field_index(name), name, pa.array(values, kinds[name]))
    protection = Protection(ticket, Tokeniser({1: b"k" * 16}), KEY.encrypt)
    assert protection(exact).equals(protection(written))


def test_instants_are_utc_and_need_a_possible_year(ticket: Dataset) -> None:
    table = protect(
        ticket,
        {"created_at": "2025-10-27 13:00:00.123456+00"},
        {"created_at": "20025-10-27 13:00:00+00"},
        {"created_at": "infinity"},
    )
    assert table["created_at"][0].as_py() == datetime(2025, 10, 27, 13, 0, 0, 123456, tzinfo=UTC)
    assert table[REASON].to_pylist() == [None, "type:created_at", "type:created_at"]


def test_text_is_nfc(ticket: Dataset) -> None:
    text = "Huế, ngập đến nửa bánh xe"
    table = protect(ticket, {"content_text": unicodedata.normalize("NFD", text)})
    assert table["content_text"].to_pylist() == [unicodedata.normalize("NFC", text)]


def test_persons_become_tokens_once_per_value(ticket: Dataset) -> None:
    tokeniser = CountingTokeniser({1: b"k" * 16})
    rows = [{"reporter_name": name, "reporter_phone": None} for name in ("Trần Thị B", "Lê C", "Trần Thị B", " ")]
    table = Protection(ticket, tokeniser, KEY.encrypt)(raw(ticket, *rows * 50))
    tokens = table["reporter_token"].to_pylist()[:4]
    assert tokens[0] == tokens[2] == tokeniser.token("name", "TRẦN  thị b")
    assert tokens[1] not in (None, tokens[0])
    assert tokens[3] is None, "an empty text is no value"
    assert CountingTokeniser.calls == 3
    assert table["phone_token"].null_count == 200
    assert {"reporter_name", "reporter_phone"}.isdisjoint(table.column_names)


def test_after_a_rotation_a_token_that_joins_nothing_is_of_the_new_key(registry: Registry, ticket: Dataset) -> None:
    rotated = Tokeniser({1: b"k" * 16, 2: b"l" * 16})
    table = Protection(ticket, rotated, KEY.encrypt)(
        raw(ticket, {"reporter_name": "Trần Thị B", "reporter_phone": "0912345678"})
    )
    assert table["reporter_token"].to_pylist() == [rotated.token("name", "Trần Thị B", 2)]
    assert table["phone_token"][0].as_py().startswith("v2:")
    # What joins persons over years keeps the first key.
    record = registry.dataset("training_record")
    person = Protection(record, rotated, KEY.encrypt)(raw(record, {"person_name": "Trần Thị B"}))
    assert person["person_token"][0].as_py().startswith("v1:")


def test_nothing_that_is_computed_names_a_token_that_rotates(registry: Registry) -> None:
    names = {f.name for d in registry.datasets for f in d.fields if f.tokenise and not f.tokenise.joins}
    assert names == {"reporter_token", "phone_token"}
    folders = ("dbt_project/models/marts", "dbt_project/tests", "schemas/scenarios")
    files = [path for folder in folders for path in (HOME / folder).rglob("*.*") if path.is_file()]
    assert len(files) > 20
    assert [str(path) for path in files if any(name in path.read_text(encoding="utf-8") for name in names)] == []


def test_a_person_that_cannot_be_tokenised_is_refused_encrypted(ticket: Dataset) -> None:
    table = protect(ticket, {"ticket_id": "T1", "reporter_phone": "gọi sau"})
    assert table["phone_token"].to_pylist() == [None]
    assert table[REASON].to_pylist() == ["token:phone_token"]
    assert "gọi sau" not in str(table.to_pylist())
    assert "gọi sau" in KEY.decrypt(table[ROW_JSON][0].as_py().encode()).decode()


def test_an_empty_batch_keeps_its_types(ticket: Dataset) -> None:
    table = protect(ticket)
    assert table.num_rows == 0
    assert [table.schema.field(f.name).type for f in ticket.fields] == [f.type.arrow for f in ticket.fields]
    assert sector_of(ticket).table == "feedback_ticket"
