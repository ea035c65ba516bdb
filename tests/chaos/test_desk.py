"""The desk on real Kafka and Flink: on a flood night nobody starts it, and a broker that was away does not end it."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import psutil
import pytest
from deltalake import DeltaTable

from pipelines.commands.demo import wait_until_settled
from pipelines.commands.flood_night import TESTED_TO, TRAINED_FROM, TRAINED_TO
from pipelines.commands.platform import start_namespace, stop_namespace
from pipelines.contracts.registry import Registry
from pipelines.forecast import run as forecasting
from pipelines.publishing.cap import delivery, register
from pipelines.replay.catalog import make_replay
from pipelines.replay.faults import FaultPlan
from pipelines.replay.sender import send_replay
from pipelines.runtime import flink, services
from pipelines.runtime.services import endpoints, running
from pipelines.runtime.settings import Settings
from pipelines.runtime.turns import Told, told
from pipelines.serving.bootstrap import apply
from pipelines.streaming.job import jobs_of

START_S, SETTLE_S, TURN_S = 240.0, 240.0, 180.0
pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def night(lake_services: Any, registry: Registry) -> Iterator[Settings]:
    """A namespace as `lake start` leaves it, with the flood of 2025 sent into it."""
    lake_services.need("kafka", "flink")
    settings: Settings = lake_services.namespace(f"desk{uuid.uuid4().hex[:6]}")
    for _ in apply(settings, registry, serving=False):
        pass
    start_namespace(settings)
    for job in jobs_of(registry):
        flink.wait_running(settings, settings.group(job), START_S)
    replay = make_replay("flood-2025", registry, settings.home / "data", FaultPlan())
    send_replay(replay, settings, registry, endpoints(settings).kafka)
    wait_until_settled(settings, registry, SETTLE_S)
    yield settings
    stop_namespace(settings)
    with flink.Cluster(endpoints(settings).flink_rest) as cluster:
        for job in jobs_of(registry):
            if (found := cluster.alive(settings.group(job))) is not None:
                cluster.cancel(found.job_id)


def duty(settings: Settings, name: str) -> Told:
    return next(each for each in told(settings) if each.name == name)


def silver(settings: Settings, name: str) -> list[dict[str, Any]]:
    path = str(settings.table_path("silver", name))
    found: list[dict[str, Any]] = DeltaTable(path).to_pyarrow_table().to_pylist()
    return found


def test_alerts_and_forecasts_come_by_themselves_and_go_on_after_the_broker_was_away(
    night: Settings, registry: Registry, wait_until: Callable[..., None]
) -> None:
    wait_until(lambda: len(register.entries(night)) > 0 and not delivery.undelivered(night), TURN_S, "the exercises")
    assert "no forecast parameters" in str(duty(night, "forecast").problem), "what is missing is said"
    forecasting.fit(night, registry, TRAINED_FROM, TRAINED_TO)
    wait_until(lambda: duty(night, "forecast").turns > 0, TURN_S, "the first forecast")
    desk = running(night)[night.group("desk")]

    services.down(night, ["kafka"])
    # A better set is news, and its forecasts cannot be sent.
    forecasting.fit(night, registry, TRAINED_FROM, TESTED_TO - timedelta(days=1))
    failed = duty(night, "forecast").failures
    wait_until(lambda: duty(night, "forecast").failures > failed, TURN_S, "a failure that is counted")
    services.up(night, ["kafka"])
    wait_until(lambda: duty(night, "forecast").turns > 1, TURN_S, "the next forecast")
    assert duty(night, "forecast").problem is None
    assert running(night)[night.group("desk")].pid == desk.pid, "it was never restarted"

    wait_until_settled(night, registry, SETTLE_S)
    forecasts = silver(night, "flood_forecast_model")
    assert len({row["parameter_set_id"] for row in forecasts}) == 2
    assert set(
        Counter(
            (r["station_id"], r["issued_at"], r["lead_h"], r["forecast_method"], r["parameter_set_id"])
            for r in forecasts
        ).values()
    ) == {1}
    messages = silver(night, "alert_cap")
    assert {row["cap_status"] for row in messages} == {"Exercise"}
    assert {row["cap_identifier"] for row in messages} == set(register.entries(night))
    assert psutil.Process(desk.pid).memory_info().rss < 60 * 2**20
