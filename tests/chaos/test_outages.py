"""What lasts: a broker that is away for ten minutes, a disk that takes no more, a million readings in disorder."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import psutil
import pytest
from catalogue import city
from deltalake import DeltaTable

from pipelines.commands.demo import wait_until_settled
from pipelines.contracts.targets.kafka import raw_topic
from pipelines.gateway.normalise import utc_text
from pipelines.landing.ledger import ledger
from pipelines.runtime import kafka
from pipelines.runtime.services import running
from pipelines.runtime.settings import Settings

from .conftest import LaneSender, in_silver, landed

pytestmark = [pytest.mark.long, pytest.mark.timeout(2400)]
AWAY_S = 600.0
READINGS = 1_000_000


def test_a_broker_that_is_away_for_ten_minutes_costs_no_reading(
    night: Settings, lanes: Callable[[], LaneSender], wait_until: Callable[..., None]
) -> None:
    sender = lanes()
    wait_until(lambda: landed(night) > 0, 120, "the first readings in silver")
    broker = running(night)["kafka"].pid
    os.killpg(broker, signal.SIGSTOP)
    try:
        until = time.monotonic() + AWAY_S
        wait_until(lambda: time.monotonic() > until or not sender.is_alive(), AWAY_S + 60, "ten minutes")
    finally:
        os.killpg(broker, signal.SIGCONT)
    # Each second of the outage brought its batch, but for the time in which the gateway found out.
    assert sender.spooled > 100 * (AWAY_S - 60)
    sent = len(sender.acknowledged)
    wait_until(lambda: landed(night) > sent, 300, "the readings of the outage, and of after it, are in silver")
    sender.stop()
    assert sender.unexpected == []
    wait_until(lambda: landed(night) >= len(sender.acknowledged), 300, "the last ones")
    assert in_silver(night) == sender.acknowledged
    assert ledger(night, city().only("demo")).violations == ()


def test_a_disk_that_is_full_turns_senders_away_and_has_room_again(
    night: Settings, lanes: Callable[[], LaneSender], wait_until: Callable[..., None]
) -> None:
    """The limit on the size of files stands for a full disk: a write fails half way, whoever asks."""
    sender = lanes()
    wait_until(lambda: landed(night) > 0, 120, "the first readings in silver")
    broker = running(night)["kafka"].pid
    gateway = psutil.Process(running(night)[night.group("gateway")].pid)
    os.killpg(broker, signal.SIGSTOP)
    try:
        wait_until(lambda: sender.spooled > 500, 120, "readings are spooled")
        gateway.rlimit(psutil.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        away = sender.turned_away
        wait_until(lambda: sender.turned_away > away + 5, 120, "the full disk turns the sender away")
    finally:
        gateway.rlimit(psutil.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        os.killpg(broker, signal.SIGCONT)
    sent = len(sender.acknowledged)
    wait_until(lambda: landed(night) > sent, 300, "readings flow again")
    sender.stop()
    assert sender.unexpected == []
    wait_until(lambda: landed(night) >= len(sender.acknowledged), 300, "the last ones")
    assert in_silver(night) == sender.acknowledged
    assert ledger(night, city().only("demo")).violations == ()


def test_a_million_readings_out_of_order_arrive_once(night: Settings, wait_until: Callable[..., None]) -> None:
    """Within what the watermark allows, and far behind it: late ones are rows too, and counted as late."""
    chance = np.random.default_rng(1)
    order = chance.permutation(READINGS)
    now = datetime.now(UTC).replace(microsecond=0)
    topic = night.topic(raw_topic(city().dataset("lane_minute")))
    producer = kafka.producer(night, {"linger.ms": 20, "queue.buffering.max.messages": READINGS})
    for n in order:
        at = now - timedelta(milliseconds=int(n))
        body = (
            f'{{"detector_id":"HUE-D0{1 + n % 4}","lane_no":1,"observed_at":"{utc_text(at)}",'
            f'"vehicle_count":{n % 60},"origin":"synthetic","revision":0}}'
        )
        producer.produce(topic, body.encode(), key=f"HUE-D0{1 + n % 4}".encode(), headers=[("source", b"disorder")])
        producer.poll(0)
    assert producer.flush(120) == 0
    wait_until_settled(night, city().only("demo"), 600)
    table = DeltaTable(str(night.table_path("silver", "lane_minute"))).to_pyarrow_table(
        columns=["observed_at", "vehicle_count"]
    )
    assert table.num_rows == READINGS
    newest_first = table.sort_by([("observed_at", "descending")])["vehicle_count"].to_numpy()
    assert np.array_equal(newest_first, np.arange(READINGS) % 60)
    (entry,) = [e for e in ledger(night, city().only("demo")).datasets if e.dataset == "lane_minute"]
    assert (entry.received, entry.refused, entry.duplicate) == (READINGS, 0, 0)
    assert entry.late > 0 and entry.on_time + entry.late == READINGS
