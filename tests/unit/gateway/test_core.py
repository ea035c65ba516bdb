"""The core without Kafka: what is taken, refused, turned away, and that everything taken is on disk."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from pipelines.contracts.registry import Registry
from pipelines.gateway.core import Core, spool_folder
from pipelines.gateway.limits import Limits
from pipelines.gateway.sources import Source
from pipelines.gateway.spool import Spool
from pipelines.gateway.submission import (
    Busy,
    Empty,
    NotAllowed,
    Oversized,
    Receipt,
    Refused,
    Submission,
    Throttled,
    UnknownDataset,
    UnknownFormat,
)
from pipelines.runtime.settings import Settings

from .conftest import no_kafka

RECEIVED = datetime(2025, 10, 27, 13, 0, 5, tzinfo=UTC)
SOURCE = Source("gw-1", "H57.NNMT", ("river_stage", "violation_event", "gone"))


def reading(minute: int, stage: object = 3.5) -> dict[str, object]:
    return {"station_id": "71520", "observed_at": f"2025-10-27T20:{minute:02}:00+07:00", "stage_m": stage}


def submission(body: object, dataset: str = "river_stage", source: Source = SOURCE) -> Submission:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Submission(dataset, data, "application/json; charset=utf-8", source, RECEIVED)


def send(core: Core, body: object, dataset: str = "river_stage") -> Receipt:
    return core.submit(submission(body, dataset)).result(timeout=20)


def spooled(settings: Settings, dataset: str = "river_stage") -> list[bytes]:
    spool = Spool(spool_folder(settings), 10**8)
    try:
        return [record.value for record in spool.oldest(dataset, 10_000)]
    finally:
        spool.close()


def test_without_kafka_a_batch_is_on_disk_in_order_when_its_receipt_comes(core: Core, settings: Settings) -> None:
    first = send(core, [reading(minute) for minute in range(5)])
    assert first == Receipt("river_stage", 5, 0, 5)
    assert send(core, reading(5)) == Receipt("river_stage", 1, 0, 1)
    minutes = [json.loads(value)["observed_at"][14:16] for value in spooled(settings)]
    assert minutes == ["00", "01", "02", "03", "04", "05"]


def test_each_record_has_its_own_outcome_and_refused_bytes_are_kept(core: Core, settings: Settings) -> None:
    receipt = send(core, b'[{"station_id":"71520","observed_at":"2025-10-27T13:00:00Z","stage_m":1}, {"no":"key"} ,7]')
    assert receipt.refused == (
        Refused(1, "unusable", "station_id is missing"),
        Refused(2, "unusable", "a JSON scalar, not an object"),
    )
    assert (receipt.records, receipt.accepted, receipt.spooled) == (3, 0, 1)
    assert spooled(settings)[1:] == [b'{"no":"key"}', b"7"]


def test_a_body_that_is_not_json_is_one_refused_record_with_all_its_bytes(core: Core, settings: Settings) -> None:
    body = b'[{"station_id":"71520"},'
    receipt = send(core, body)
    assert [(r.index, r.reason) for r in receipt.refused] == [(None, "unusable")]
    assert spooled(settings) == [body]


def test_personal_bytes_that_cannot_be_read_go_to_the_object_store_encrypted(core: Core, settings: Settings) -> None:
    body = b'{"plate": "75A-123.45"'
    receipt = send(core, body, "violation_event")
    assert [r.reason for r in receipt.refused] == ["personal_unparseable"]
    marker = json.loads(spooled(settings, "violation_event")[0])["lake.refused"]
    assert core.sealing.gateway.store.get(marker["ref"]) == body
    assert b"75A" not in (settings.object_root / marker["ref"]).read_bytes()


def test_items_and_a_single_object_are_told_apart(core: Core) -> None:
    assert send(core, {"items": [reading(0), reading(1)]}).spooled == 2
    assert send(core, {"items": [], **reading(2)}).spooled == 1


def test_what_may_not_be_sent_is_said_before_it_is_read(core: Core) -> None:
    with pytest.raises(NotAllowed, match=r"may not send to lane_minute\. It is bound to: river_stage"):
        core.submit(submission([], "lane_minute"))
    with pytest.raises(NotAllowed, match="The platform alone writes alert_cap"):
        core.submit(submission([], "alert_cap", Source("gw-1", "H57.NNMT", ("alert_cap",))))
    with pytest.raises(UnknownDataset):
        core.submit(submission([], "gone"))
    with pytest.raises(UnknownFormat, match="application/json"):
        core.submit(Submission("river_stage", b"<a/>", "text/xml", SOURCE, RECEIVED))
    with pytest.raises(Oversized, match="Send smaller batches"):
        core.submit(submission(b" " * (core.limits.body_bytes + 1)))


def test_nothing_and_too_much_are_told(core: Core) -> None:
    with pytest.raises(Empty):
        send(core, [])
    with pytest.raises(Empty):
        send(core, b"  ")
    with pytest.raises(Oversized, match="10001 records"):
        send(core, b"[" + b"1," * 10_000 + b"1]")


def test_a_source_that_has_used_up_its_rate_waits(settings: Settings, registry: Registry) -> None:
    slow = Source("slow", "H57.NNMT", ("river_stage",), rate_per_s=1.0)
    with Core(settings, registry, bootstrap=no_kafka) as core:
        core.submit(submission([reading(minute) for minute in range(10)], source=slow)).result(timeout=20)
        with pytest.raises(Throttled) as caught:
            core.submit(submission(reading(11), source=slow))
        assert caught.value.retry_after_s is not None
        assert 7 < caught.value.retry_after_s <= 9
        assert send(core, reading(12)).spooled == 1


def test_a_full_spool_turns_senders_away_and_keeps_what_it_has(settings: Settings, registry: Registry) -> None:
    limits = Limits(spool_bytes=256 * 1024)
    with Core(settings, registry, limits, bootstrap=no_kafka) as core:
        batch = [reading(minute) for minute in range(60)]
        taken = 0
        while not core.outlet.is_full:
            future = core.submit(submission(batch))
            error = future.exception(timeout=20)
            assert isinstance(error, Busy | None)
            taken += 0 if error else future.result().spooled
        with pytest.raises(Busy, match="spool is full"):
            core.submit(submission(reading(0)))
    assert taken > 0
    assert len(spooled(settings)) == taken


def test_too_much_in_flight_is_back_pressure(settings: Settings, registry: Registry) -> None:
    limits = Limits(in_flight_submissions=2)
    core = Core(settings, registry, limits, bootstrap=no_kafka)
    waiting = [core.submit(submission(reading(minute))) for minute in range(2)]
    with pytest.raises(Busy) as caught:
        core.submit(submission(reading(3)))
    assert caught.value.retry_after_s == limits.retry_after_s
    with core:
        assert [future.result(timeout=20).spooled for future in waiting] == [1, 1]


def test_what_was_taken_is_settled_before_the_core_ends(settings: Settings, registry: Registry) -> None:
    core = Core(settings, registry, bootstrap=no_kafka)
    futures = [core.submit(submission(reading(minute))) for minute in range(50)]
    with core:
        pass
    assert all(future.result(timeout=0).spooled == 1 for future in futures)
    assert len(spooled(settings)) == 50
    with pytest.raises(Busy, match="ends"):
        core.submit(submission(reading(0)))
