"""What the lake has kept: dead letters once each, their bytes from bronze or themselves, bronze without repeats."""

from __future__ import annotations

import base64
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from cryptography.fernet import Fernet
from deltalake import write_deltalake

from pipelines.contracts.registry import Registry
from pipelines.gateway.objects import ObjectStore
from pipelines.landing.tables import bronze_spec, quality_spec
from pipelines.replay.kept import Place, arrived, kept, letters, note_resent
from pipelines.replay.resend import Resender
from pipelines.runtime.decision import Decision
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings

T0 = datetime(2025, 10, 27, 3, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Any) -> Settings:
    return Settings.load({"LAKE_STATE": str(tmp_path)}).with_namespace("kept")


@pytest.fixture
def store(settings: Settings) -> ObjectStore:
    return ObjectStore(settings.object_root, (Fernet.generate_key(),))


def _bronze(settings: Settings, registry: Registry, dataset: str, records: list[tuple[int, int, bytes]]) -> None:
    """Records as (offset, minutes after T0, payload)."""
    rows = [
        {
            "raw_topic": f"kept.raw.{dataset}", "raw_partition": 0, "raw_offset": offset, "record_key": "71520",
            "received_at": T0 + timedelta(minutes=minute), "source": "trạm", "payload": payload,
            "received_date": date(2025, 10, 27),
        }
        for offset, minute, payload in records
    ]  # fmt: skip
    schema = bronze_spec(registry.dataset(dataset)).schema
    path = settings.table_path("bronze", dataset)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_deltalake(str(path), pa.Table.from_pylist(rows, schema=schema), mode="append")


def _letters(settings: Settings, dataset: str, offsets: list[int], payload: str, topic: str = "raw") -> None:
    rows = [
        {
            "dataset": dataset, "raw_topic": f"kept.{topic}.{dataset}", "raw_partition": 0, "raw_offset": offset,
            "received_at": T0 + timedelta(minutes=offset), "reason": "malformed", "detail": None, "payload": payload,
        }
        for offset in offsets
    ]  # fmt: skip
    path = settings.table_path("quality", "dead_letter")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_deltalake(str(path), pa.Table.from_pylist(rows, schema=quality_spec("dead_letter").schema), mode="append")


def test_a_letter_that_a_rebuilt_job_repeats_is_listed_once(settings: Settings) -> None:
    assert letters(settings) == []
    _letters(settings, "river_stage", [4, 5], "e30=")
    _letters(settings, "river_stage", [5], "e30=")
    assert [str(x.place) for x in letters(settings)] == ["river_stage:0:4", "river_stage:0:5"]
    assert [x.place.offset for x in letters(settings, since=T0 + timedelta(minutes=5))] == [5]
    assert letters(settings, reason="future") == letters(settings, dataset="tide") == []
    sent = {"dataset": "river_stage", "raw_partition": 0, "raw_offset": 5, "sent_at": T0, "sent_by": "a", "why": "b"}
    note_resent(settings, [sent])
    note_resent(settings, [sent])
    assert [x.resent for x in letters(settings)] == [0, 2]


def test_bytes_come_from_bronze_and_after_its_retention_from_the_letter(
    settings: Settings, registry: Registry, store: ObjectStore
) -> None:
    _bronze(settings, registry, "river_stage", [(4, 1, b"{half")])
    _letters(settings, "river_stage", [4, 5], base64.b64encode(b"{other").decode())
    found = list(kept(settings, registry, store, [Place("river_stage", 0, 5), Place("river_stage", 0, 4)]))
    assert [(k.place.offset, k.payload, k.key, k.source) for k in found] == [
        (4, b"{half", b"71520", "trạm"),
        (5, b"{other", b"", "unknown"),
    ]
    with pytest.raises(LakeError, match="Nothing is kept of river_stage:0:6"):
        list(kept(settings, registry, store, [Place("river_stage", 0, 6)]))


def test_bytes_of_a_protected_dataset_lie_encrypted(settings: Settings, registry: Registry, store: ObjectStore) -> None:
    token = Fernet(store.keys[0]).encrypt(b"51A-123").decode()
    _letters(settings, "violation_event", [1], token)
    place = Place("violation_event", 0, 1)
    assert [k.payload for k in kept(settings, registry, store, [place])] == [b"51A-123"]
    other = ObjectStore(settings.object_root, (Fernet.generate_key(),))
    with pytest.raises(LakeError, match="encrypted with a key that is not here"):
        list(kept(settings, registry, other, [place]))


def test_a_letter_of_a_clean_topic_is_no_record_of_a_sender(
    settings: Settings, registry: Registry, store: ObjectStore
) -> None:
    _letters(settings, "river_stage", [9], "e30=", topic="clean")
    with pytest.raises(LakeError, match="Nothing is kept"):
        list(kept(settings, registry, store, [Place("river_stage", 0, 9)]))


def test_bronze_gives_what_arrived_once_and_leaves_marks_out(settings: Settings, registry: Registry) -> None:
    mark = b'{"lake.refused":{"reason":"too_large","ref":"x","size_bytes":9}}'
    _bronze(settings, registry, "river_stage", [(0, 0, b"a"), (1, 1, b"b"), (2, 2, mark), (3, 1, b"b"), (4, 3, b"b")])
    dataset = registry.dataset("river_stage")
    assert [k.place.offset for k in arrived(settings, dataset, T0)] == [0, 1, 4]
    assert [k.place.offset for k in arrived(settings, dataset, T0 + timedelta(minutes=2))] == [4]


def test_a_place_is_written_in_one_way() -> None:
    assert Place.parse("river_stage:1:17") == Place("river_stage", 1, 17)
    for text in ("river_stage", "river_stage:1", "river_stage:-1:3", "River:0:1", "river_stage:0:1\n"):
        with pytest.raises(LakeError, match="no place of a record"):
            Place.parse(text)


def test_a_decision_has_a_name_and_a_reason_and_a_replay_keeps_its_clock(
    settings: Settings, registry: Registry
) -> None:
    with pytest.raises(LakeError, match="Give --by and --why"):
        Decision("A", " ")
    with pytest.raises(LakeError, match="would make every later one of the replay late"):
        Resender(settings, registry, "nowhere:1", arrived_now=True)
    with pytest.raises(LakeError, match="2 dead letters and one mended payload"):
        Resender(settings, registry, "nowhere:1").letters(
            [Place("river_stage", 0, 1), Place("river_stage", 0, 2)], Decision("A", "b"), replacement=b"{}"
        )
    with pytest.raises(LakeError, match="feedback_ticket is no stream"):
        Resender(settings, registry, "nowhere:1").arrived("feedback_ticket", T0)
