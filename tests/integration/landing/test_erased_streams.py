"""A person leaves a stream while landing writes it: bronze loses the bytes, silver the person, both keep the place."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from deltalake import DeltaTable

from pipelines.gateway.objects import open_store
from pipelines.gateway.tokens import load_tokeniser
from pipelines.landing.drain import drain
from pipelines.landing.ledger import ledger
from pipelines.landing.status import read_status
from pipelines.publishing.erasure import carry
from pipelines.publishing.erasure.certificate import verify
from pipelines.publishing.erasure.find import find
from pipelines.publishing.registration import ensure_serving

EVENT = "violation_event"
AT = "2025-10-27T00:00:00Z"


def test_a_plate_is_gone_from_a_stream_that_is_being_written(
    city: Any, lake_services: Any, until: Callable[..., Any]
) -> None:
    lake_services.need("trino")
    settings, registry = city.settings, city.registry
    city.make_topics(f"raw.{EVENT}", f"clean.{EVENT}", dataset=registry.dataset(EVENT))
    tokeniser = load_tokeniser(settings)
    hers, his = (tokeniser.token("plate", plate) for plate in ("75A-123.45", "75A-543.21"))
    offsets = iter(range(1000))

    def send(event: str, token: str, disposition: str = "on_time", **more: Any) -> None:
        raw = {
            "event_id": event,
            "observed_at": AT,
            "camera_id": "HUE-C19753-1",
            "violation_type": "red_light",
            "plate_token": token,
            "confidence": 0.9,
            "review_status": "pending",
            "ward_code": "19753",
            "evidence_uri": f"s3://evidence/{event}",
            "origin": "replay",
            **more,
        }
        city.send(f"raw.{EVENT}", raw, 0, headers=[("source", b"test")])
        place = {"raw_partition": 0, "raw_offset": next(offsets), "received_at": AT}
        quality = {"revision": 0, "qc_flag": 1, "qc_detail": None, "disposition": disposition}
        city.send(f"clean.{EVENT}", {**raw, **quality, **place})

    process = city.start()
    for number in range(6):
        send(f"V{number}", hers if number % 3 == 0 else his)
    send("V9", hers, violation_type="no such violation")
    city.flush()
    drain(settings, registry, city.bootstrap, timeout_s=60)
    ensure_serving(settings, registry)
    until(lambda: (status := read_status(settings)) and status.pid == process.pid)
    assert {name: len(places) for one in find(settings, registry, [hers]) for name, places in one.places.items()} == {
        f"silver.{EVENT}": 2,
        f"bronze.{EVENT}": 3,
        "quality.quarantine": 1,
    }

    done = carry.erase(settings, registry, [hers], by="Công an thành phố", reason="Đơn số 7")
    assert done is not None and done.certificate is not None
    assert process.is_running(), "landing did it between two of its own commits"

    def rows(layer: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = DeltaTable(str(settings.table_path(layer, EVENT))).to_pyarrow_table().to_pylist()
        return sorted(found, key=lambda row: row["raw_offset"])

    events = {row["event_id"]: row for row in rows("silver")}
    assert sorted(events) == [f"V{number}" for number in range(6)]
    for number in range(6):
        row = events[f"V{number}"]
        personal = (row["plate_token"], row["evidence_uri"])
        assert personal == ((None, None) if number % 3 == 0 else (his, f"s3://evidence/V{number}"))
        assert row["violation_type"] == "red_light"
    bronze = rows("bronze")
    assert [row["raw_offset"] for row in bronze] == list(range(7)), "every place is still there"
    assert [row["payload"] is None for row in bronze] == [number in (0, 3, 6) for number in range(7)]
    assert find(settings, registry, [hers]) == ()

    # Its correction comes later, as a rebuilt job would send all of it again: the event changes, the person stays out.
    send("V3", hers, "corrected", review_status="confirmed")
    city.flush()
    drain(settings, registry, city.bootstrap, timeout_s=60)
    row = {row["event_id"]: row for row in rows("silver")}["V3"]
    assert (row["review_status"], row["plate_token"], row["evidence_uri"]) == ("confirmed", None, None)
    assert ledger(settings, registry).violations == ()

    statement = verify(settings, done.certificate)
    assert statement["topics"] == [settings.topic(f"raw.{EVENT}"), settings.topic(f"clean.{EVENT}")]
    assert statement["topics_forget_by"] > statement["done_at"]
    assert statement["tables"][f"bronze.{EVENT}"] | {"clean_from": 0} == {"how": "emptied", "rows": 3, "clean_from": 0}


def test_refused_bytes_that_are_of_the_person_go_too(city: Any, lake_services: Any) -> None:
    """What the gateway could not parse lies encrypted, in clear words: the value's token is made to compare."""
    lake_services.need("trino")
    settings, registry = city.settings, city.registry
    city.make_topics(f"raw.{EVENT}", f"clean.{EVENT}", dataset=registry.dataset(EVENT))
    store, tokeniser = open_store(settings), load_tokeniser(settings)
    token = tokeniser.token("plate", "75A-123.45")
    refused = json.dumps({"event_id": "V1", "plate": "75A 12345", "confidence": "?"}).encode()
    hers = store.put(EVENT, refused, protected=True)
    others = store.put(EVENT, refused.replace(b"12345", b"54321"), protected=True)
    for offset, body in enumerate((refused, refused.replace(b"12345", b"54321"))):
        letter = {
            "dataset": EVENT, "raw_topic": settings.topic(f"raw.{EVENT}"), "reason": "personal_invalid",
            "detail": None, "payload": base64.b64encode(body).decode(), "raw_partition": 0, "raw_offset": offset,
            "received_at": AT,
        }  # fmt: skip
        city.send("dead_letter", letter)
    city.flush()
    city.start()
    drain(settings, registry, city.bootstrap, timeout_s=60)
    ensure_serving(settings, registry)
    done = carry.erase(settings, registry, [token], by="Công an thành phố", reason="Đơn số 8")
    assert done is not None
    assert not (store.root / hers.ref).exists() and (store.root / others.ref).exists()
    letters = DeltaTable(str(settings.table_path("quality", "dead_letter"))).to_pyarrow_table()["raw_offset"]
    assert letters.to_pylist() == [1]
    assert find(settings, registry, [token]) == ()
