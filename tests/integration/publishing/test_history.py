"""What a row of a sector table once said, read in the real Trino from loads of files."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from altered import sourced
from deltalake import DeltaTable

from pipelines.contracts.file_layout import FileLayout
from pipelines.contracts.model import Deletes
from pipelines.contracts.registry import Registry
from pipelines.contracts.targets import trino as target
from pipelines.ingestion.connections import variable_of
from pipelines.ingestion.load import ingest
from pipelines.publishing.registration import Platform, ensure_serving
from pipelines.runtime.settings import Settings
from pipelines.serving.trino import Client, QueryError

PRICE = "med_price"


@pytest.fixture(scope="module")
def kept(registry: Registry) -> Registry:
    """The price list with its history, out of files that are the whole table each."""
    layout = FileLayout.model_validate({"format": "json", "name": "GIA_{yyyyMMdd}.json"})
    return sourced(
        registry, PRICE, "folder", file=layout, mode="snapshot", deletes=Deletes.model_validate("keys"), history=True
    )


def row(service: str, price: float) -> dict[str, Any]:
    return {
        "facility_id": "BVTW",
        "facility_name": "Bệnh viện Trung ương Huế",
        "service_code": service,
        "service_name": "Khám bệnh",
        "price_vnd": price,
        "valid_from": "2025-01-01",
        "valid_to": "2025-12-31",
    }


@pytest.fixture
def deliver(settings: Settings, kept: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Load a file of one day with these rows."""
    settings.set_sector_sample(None)
    source = kept.source_of(kept.dataset(PRICE))
    monkeypatch.setenv(
        variable_of(source.connection), json.dumps({"conn_type": "fs", "extra": {"path": str(tmp_path)}})
    )

    def load(day: int, *rows: dict[str, Any]) -> None:
        path = tmp_path / f"GIA_202511{day:02d}.json"
        path.write_text(json.dumps(rows), encoding="utf-8")
        old = time.time() - 3600
        os.utime(path, (old, old))
        ingest(settings, kept, PRICE, f"night-{day}")

    return load


def states(settings: Settings, where: str = "TRUE") -> list[list[Any]]:
    with Client(settings, "analyst") as client:
        return client.query(
            f"SELECT service_code, price_vnd, is_current, valid_to_at IS NULL, valid_from_at < coalesce(valid_to_at, "
            f"current_timestamp), data_label FROM live.{PRICE}_history WHERE {where} "
            "ORDER BY service_code, valid_from_at"
        )


def test_every_state_is_read_with_its_time_and_what_was_refused_is_none(
    settings: Settings, kept: Registry, deliver: Callable[..., None]
) -> None:
    deliver(1, row("A", 10), row("B", 20), row("C", 30))
    deliver(2, row("A", 11), row("B", 20))
    deliver(3, row("A", -5), row("B", 20), row("C", 31))
    deliver(4, row("A", 12), row("B", 20), row("C", 31))
    ensure_serving(settings, kept)
    found = [(code, float(price), current, open_, label) for code, price, current, open_, _, label in states(settings)]
    assert found == [
        ("A", 10.0, False, False, "live"),
        ("A", 11.0, False, False, "live"),
        ("A", 12.0, True, True, "live"),
        ("B", 20.0, True, True, "live"),
        # Deleted on the second night: its first state ended then, and the next began when it came back.
        ("C", 30.0, False, False, "live"),
        ("C", 31.0, True, True, "live"),
    ]
    assert all(before for *_, before, _ in states(settings))
    with Client(settings, "analyst") as client:
        gap = client.query(
            f"SELECT max(valid_to_at) < max(valid_from_at) FROM live.{PRICE}_history WHERE service_code = 'C'"
        )
        assert gap == [[True]]
        columns = [name for name, *_ in client.query(f"DESCRIBE live.{PRICE}_history")]
        assert tuple(columns) == target.history_columns(kept.dataset(PRICE))
        with pytest.raises(QueryError, match="Không có quyền"):
            client.query(f"SELECT count(*) FROM bronze.{PRICE}")
    # What is current is what silver holds.
    silver = DeltaTable(str(settings.table_path("silver", PRICE))).to_pyarrow_table(
        columns=["service_code", "price_vnd"]
    )
    current = {(code, float(price)) for code, price, *_ in states(settings, "is_current")}
    assert current == {(line["service_code"], float(line["price_vnd"])) for line in silver.to_pylist()}


def test_rows_that_bronze_no_longer_has_are_states_from_their_receipt_on(
    settings: Settings, kept: Registry, deliver: Callable[..., None]
) -> None:
    """A contract gains its history when bronze has lost what it once received."""
    DeltaTable(str(settings.table_path("bronze", PRICE))).delete("service_code = 'B'")
    ensure_serving(settings, kept)
    assert [(float(price), current) for _, price, current, *_ in states(settings, "service_code = 'B'")] == [
        (20.0, True)
    ]


def test_a_contract_without_history_has_no_such_view(settings: Settings, kept: Registry, registry: Registry) -> None:
    platform = Platform(settings)
    ensure_serving(settings, kept)
    assert f"{PRICE}_history" in platform.view_definitions(target.LIVE)
    ensure_serving(settings, registry)
    assert f"{PRICE}_history" not in platform.view_definitions(target.LIVE)
    with pytest.raises(ValueError, match="keeps no history"):
        target.history_view("lake", registry.dataset(PRICE))
