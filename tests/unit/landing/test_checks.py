"""Each constraint alone: what fails, why, and what is said about it."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from cryptography.fernet import Fernet

from pipelines.contracts.logical_types import parse
from pipelines.contracts.model import ContractField, Text
from pipelines.contracts.registry import Registry
from pipelines.contracts.targets import delta
from pipelines.landing.checks import check_rows, compile_checks

T0 = datetime(2025, 10, 27, tzinfo=UTC)


def _judge(registry: Registry, dataset_id: str, rows: list[dict[str, Any]], encrypt: Any = None) -> Any:
    dataset = registry.dataset(dataset_id)
    schema = pa.schema([pa.field(f.name, f.type) for f in delta.clean_schema(dataset)])
    table = pa.Table.from_pylist(rows, schema=schema)
    return check_rows(dataset, compile_checks(registry, dataset), table, encrypt)


def _provenance(offset: int = 0) -> dict[str, Any]:
    return {
        "origin": "observed", "revision": 0, "received_at": T0, "raw_partition": 0, "raw_offset": offset,
        "disposition": "on_time",
    }  # fmt: skip


def _reading(**change: Any) -> dict[str, Any]:
    return {"station_id": "71520", "observed_at": T0, "stage_m": Decimal("1.5"), **_provenance(), **change}


def _asset(**change: Any) -> dict[str, Any]:
    return {
        "asset_id": "A1", "asset_type": "bridge", "ward_code": "19774", "has_sensor": True, "updated_at": T0,
        "built_date": date(2000, 1, 1), "inspected_date": date(2020, 1, 1), **_provenance(), **change,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"station_id": None}, "required:station_id"),
        ({"observed_at": None}, "required:observed_at"),
        ({"stage_m": None}, "required:stage_m"),
        ({"station_id": "nowhere"}, "code_list:station_id"),
    ],
)
def test_a_stream_row_is_quarantined(registry: Registry, change: dict[str, Any], reason: str) -> None:
    checked = _judge(registry, "river_stage", [_reading(), _reading(**change), _reading()])
    assert checked.ok.num_rows == 2
    assert checked.failed["reason"].to_pylist() == [reason]
    assert checked.positions.tolist() == [1]
    assert json.loads(checked.failed["row_json"][0].as_py())["raw_offset"] == 0


def test_a_stream_value_out_of_range_is_a_flag_and_lands(registry: Registry) -> None:
    assert _judge(registry, "river_stage", [_reading(stage_m=Decimal("99.000"))]).failed.num_rows == 0


def test_the_detail_says_the_value_and_what_is_allowed(registry: Registry) -> None:
    detail = _judge(registry, "river_stage", [_reading(station_id="nowhere")]).failed["detail"][0].as_py()
    assert detail.startswith("station_id=nowhere; allowed: stations: 71520, 71518, ")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ward_code": "00000"}, "code_list:ward_code"),
        ({"lat_deg": Decimal(80)}, "range:lat_deg"),
        ({"inspected_date": date(1999, 12, 31)}, "comparison:inspected_date>=built_date"),
        ({"has_sensor": None}, "required:has_sensor"),
    ],
)
def test_a_sector_row_is_quarantined(registry: Registry, change: dict[str, Any], reason: str) -> None:
    checked = _judge(registry, "road_asset", [_asset(), _asset(**change)])
    assert checked.failed["reason"].to_pylist() == [reason]


@pytest.mark.parametrize("change", [{"built_date": None}, {"inspected_date": None}, {"lat_deg": None}])
def test_an_unknown_value_passes(registry: Registry, change: dict[str, Any]) -> None:
    assert _judge(registry, "road_asset", [_asset(**change)]).failed.num_rows == 0


@pytest.mark.parametrize(
    ("value", "fails"), [(0.5, False), (1.5, True), (-0.5, True), (float("nan"), True), (None, False)]
)
def test_the_range_of_a_floating_number(registry: Registry, value: float | None, fails: bool) -> None:
    share = ContractField(
        name="share", type=parse("double"), title=Text(vi="Tỷ lệ", en="Share"), minimum=Decimal(0), maximum=Decimal(1)
    )
    dataset = registry.dataset("road_asset")
    dataset = dataset.model_copy(update={"fields": (*dataset.fields, share)})
    schema = pa.schema([pa.field(f.name, f.type) for f in delta.clean_schema(dataset)])
    table = pa.Table.from_pylist([_asset(share=value)], schema=schema)
    checked = check_rows(dataset, compile_checks(registry, dataset), table, None)
    assert checked.failed["reason"].to_pylist() == (["range:share"] if fails else [])


def _ticket(registry: Registry, **change: Any) -> dict[str, Any]:
    return {
        "ticket_id": "T1", "created_at": T0, "updated_at": T0, "due_at": T0 + timedelta(days=3), "closed_at": None,
        "category_code": registry.code_list("feedback_categories").codes[0], "ward_code": "19774",
        "agency_id": registry.code_list("agencies").codes[0], "ticket_status": "received",
        "content_text": "Ổ gà trước nhà", **_provenance(), **change,
    }  # fmt: skip


def test_a_field_that_another_demands_is_required(registry: Registry) -> None:
    statuses = registry.code_list("ticket_statuses").codes
    assert "closed" in statuses
    fine = _ticket(registry, ticket_status=next(s for s in statuses if s != "closed"))
    bad = _ticket(registry, ticket_status="closed")
    checked = _judge(registry, "feedback_ticket", [fine, bad], Fernet(Fernet.generate_key()).encrypt)
    assert checked.failed["reason"].to_pylist() == ["required_when:closed_at"]


def test_a_protected_row_is_stored_encrypted_and_its_values_are_told_nowhere(registry: Registry) -> None:
    fernet = Fernet(Fernet.generate_key())
    row = _ticket(registry, ticket_status="open", closed_at=T0 - timedelta(days=1))
    failed = _judge(registry, "feedback_ticket", [row], fernet.encrypt).failed
    text = failed["row_json"][0].as_py()
    assert "Ổ gà" not in text and "Ổ gà" in fernet.decrypt(text.encode()).decode()
    assert "=" not in failed["detail"][0].as_py().split("allowed: ")[0]
    with pytest.raises(ValueError, match="needs a key"):
        _judge(registry, "feedback_ticket", [row])
