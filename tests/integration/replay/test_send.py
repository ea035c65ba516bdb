"""A replay sent through a real Kafka: complete, twice identical, and refused in the city."""

from __future__ import annotations

import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from confluent_kafka import TopicPartition
from typer.testing import CliRunner

from pipelines.replay.catalog import make_replay
from pipelines.replay.commands import replay_app
from pipelines.replay.faults import FaultPlan
from pipelines.replay.sender import send_replay
from pipelines.replay.truth import load_truth
from pipelines.runtime import kafka
from pipelines.runtime.contracts import registry_of
from pipelines.runtime.services import endpoints
from pipelines.runtime.settings import Settings
from pipelines.streaming.topics import ensure_topics

Seen = list[tuple[int, int, bytes, bytes]]


def read_raw(settings: Settings, dataset: str, expected: int) -> Seen:
    """(partition, timestamp, key, value) of a raw topic, in order per partition."""
    reader = kafka.consumer(settings, f"reader-{uuid.uuid4().hex[:8]}", {"enable.partition.eof": False})
    try:
        full = settings.topic(f"raw.{dataset}")
        partitions = reader.list_topics(full, timeout=10).topics[full].partitions
        reader.assign([TopicPartition(full, number, 0) for number in partitions])
        found: Seen = []
        deadline = datetime.now(UTC) + timedelta(seconds=30)
        while len(found) < expected and datetime.now(UTC) < deadline:
            messages = reader.consume(num_messages=5000, timeout=1.0)
            found += [(m.partition(), m.timestamp()[1], m.key(), m.value()) for m in messages]
        return sorted(found, key=lambda row: row[0])
    finally:
        reader.close()


def test_a_replay_arrives_whole_and_twice_identical(server: Settings) -> None:
    registry = registry_of(server)
    plan = FaultPlan(duplicates=0.01, corrections=0.01, late=0.01, malformed=0.001)
    replay = make_replay("flood-2025", registry, server.home / "data", plan)
    bootstrap = endpoints(server).kafka
    ensure_topics(server, registry)
    progress: list[int] = []
    first = send_replay(replay, server, registry, bootstrap, progress=progress.append)
    assert progress[-1] == len(replay.deliveries) == first.sent.total()
    assert load_truth(server, "flood-2025") == replay.truth
    before = {d: read_raw(server, d, t.sent) for d, t in replay.truth.datasets.items()}
    assert {d: len(rows) for d, rows in before.items()} == {d: t.sent for d, t in replay.truth.datasets.items()}

    assert send_replay(replay, server, registry, bootstrap).sent == first.sent
    for dataset, truth in replay.truth.datasets.items():
        after = read_raw(server, dataset, 2 * truth.sent)
        assert Counter(after) == Counter({row: 2 * count for row, count in Counter(before[dataset]).items()})


def test_the_command_sends_and_says_what_it_did(server: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.with_namespace("by_command").environment().items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(replay_app, ["cameras", "--malformed", "0.001"])
    assert result.exit_code == 0, result.output
    own = server.with_namespace("by_command")
    truth = load_truth(own, "cameras").datasets["violation_event"]
    rows = read_raw(own, "violation_event", truth.sent)
    assert len(rows) == truth.sent
    assert sum(value.startswith(b'{"lake.refused":') for *_, value in rows) == truth.refused_total - 1


def test_the_city_is_refused(server: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.with_namespace("city").environment().items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(replay_app, ["traffic"])
    assert result.exit_code == 1
    assert "--allow-city" in result.output
