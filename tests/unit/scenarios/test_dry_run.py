"""A dry run tells what the engine makes of the rows in silver, and says clearly when there is nothing to judge."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from catalogue import city
from deltalake import write_deltalake

from pipelines.contracts.targets.delta import arrow_schema
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings
from pipelines.scenarios.dry_run import DryRun, dry_run

T0 = datetime(2025, 10, 27, tzinfo=UTC)


def _stages(namespace: Settings, *stages: float, late: int | None = None) -> None:
    """Write readings of Kim Long to silver, ten minutes apart; the one numbered ``late`` arrived three hours later."""
    rows = []
    for number, stage in enumerate(stages):
        at = T0 + timedelta(minutes=10 * number)
        rows.append(
            {
                "station_id": "71520",
                "observed_at": at,
                "stage_m": Decimal(str(stage)),
                "qc_flag": 1,
                "origin": "replay",
                "revision": 0,
                "received_at": at + (timedelta(hours=3) if number == late else timedelta(seconds=2)),
                "raw_partition": 0,
                "raw_offset": number,
                "observed_date": at.date(),
            }
        )
    schema = arrow_schema(city().dataset("river_stage"), "silver")
    write_deltalake(str(namespace.table_path("silver", "river_stage")), pa.Table.from_pylist(rows, schema=schema))


def _try(namespace: Settings, **limits: datetime) -> DryRun:
    begin, end = limits.get("begin", T0), limits.get("end", T0 + timedelta(days=1))
    return dry_run(namespace, city(), city().scenario("river_rising_fast"), begin, end)


def _runs(found: DryRun) -> list[tuple[str, Any]]:
    return [(row["started_at"], row.get("ended_at")) for row in found.runs]


def test_it_tells_the_runs_with_their_evidence(namespace: Settings) -> None:
    _stages(namespace, 1.0, 1.1, 1.25, 1.4, 1.2, *[1.2] * 8)
    found = _try(namespace)
    assert found.facts == {"river_stage": 13}
    assert _runs(found) == [("2025-10-27T00:30:00Z", "2025-10-27T01:40:00Z")]
    run = found.rows["alert.scenario_run"][0]
    assert run["headline_vi"] == "Trạm Kim Long: nước lên từ 1 m tới 1.4 m trong 3 giờ, lúc 27/10 07:30"
    assert '"raw_partition":0,"raw_offset":3' in run["start_evidence_json"]
    assert [row["outcome_kind"] for row in found.rows["alert.scenario_outcome"]] == ["alert_issued", "alert_ended"]


def test_only_the_asked_time_is_judged_and_without_a_run_it_says_so(namespace: Settings) -> None:
    _stages(namespace, 1.0, 1.1, 1.25, 1.4)
    found = _try(namespace, begin=T0 + timedelta(minutes=10))
    assert found.facts == {"river_stage": 3} and found.runs == ()
    assert _runs(_try(namespace, end=T0 + timedelta(minutes=30))) == []


def test_facts_are_judged_in_the_order_of_their_arrival(namespace: Settings) -> None:
    _stages(namespace, 1.0, 5.0, 1.1, 1.1, late=1)
    assert _runs(_try(namespace)) == [], "a reading that came after its successors changes nothing"


def test_without_data_it_fails_and_says_what_there_is(namespace: Settings) -> None:
    with pytest.raises(LakeError, match=r"Không có dữ liệu để thử .*: silver.river_stage does not exist\."):
        _try(namespace)
    _stages(namespace, 1.0, 1.1)
    with pytest.raises(LakeError, match=r"silver.river_stage has 2025-10-27T00:00:00.000Z … 2025-10-27T00:10:00.000Z"):
        _try(namespace, begin=T0 + timedelta(days=2), end=T0 + timedelta(days=3))
    with pytest.raises(LakeError, match="--from phải trước --to"):
        _try(namespace, begin=T0, end=T0)
