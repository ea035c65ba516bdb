"""Messages on their way into the core, without the network: when they are acknowledged, and how they are held."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from pipelines.contracts.registry import Registry
from pipelines.gateway.core import Core
from pipelines.gateway.mqtt import collector as module
from pipelines.gateway.mqtt.client import Incoming, Link
from pipelines.gateway.mqtt.connections import Connection
from pipelines.gateway.mqtt.unbound import Unbound
from pipelines.gateway.sources import Source, Sources, create_token, sources_path
from pipelines.gateway.submission import Busy, Receipt, Submission
from pipelines.runtime.settings import Settings

from .test_core import reading, spooled

HELD_S = 0.3


class Wire:
    """Stands where the broker's client would: a test says what comes, and sees what is acknowledged."""

    def __init__(self, _settings: object, _collector: object, _connection: object, *calls: Callable[..., None]) -> None:
        self.link = Link(is_connected=True, problem="")
        self.acks: list[int] = []
        self.arrived, self.reconnected = calls

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def ack(self, mid: int) -> None:
        self.acks.append(mid)

    def bring(self, *mids: int, topic: str = "hue/v1/gw-1/river_stage") -> None:
        for mid in mids:
            self.arrived(Incoming(topic, json.dumps(reading(mid)).encode(), None, mid, is_repeated=False))


@pytest.fixture
def begun(
    core: Core, settings: Settings, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[module.MqttCollector, Wire]]:
    """A collector of the city's own topics."""
    create_token(settings, registry, Source("gw-1", "H57.NNMT", ("river_stage",)))
    monkeypatch.setattr(module, "BrokerClient", Wire)
    monkeypatch.setattr(module, "_RETRY_S", HELD_S)
    connection = Connection("field", "mqtt://127.0.0.1", "unit")
    made = module.MqttCollector(core, Sources(settings), registry.collectors[0], connection, Unbound(settings))
    made.start()
    wire: Any = made._client
    yield made, wire
    made.stop()


def test_messages_are_acknowledged_when_the_core_has_them(
    begun: tuple[module.MqttCollector, Wire], settings: Settings, wait_until: Callable[..., None]
) -> None:
    _, wire = begun
    wire.bring(1, 2)
    wire.bring(3, topic="hue/v1/nobody/river_stage")
    wire.bring(4)
    wait_until(lambda: wire.acks == [1, 2, 3, 4], what="all are acknowledged, in their order")
    assert len(spooled(settings)) == 3
    assert [kept.reason for kept in Unbound(settings).all()] == ["unknown_source"]


def test_a_message_that_would_be_an_alert_is_kept_as_unbound(
    begun: tuple[module.MqttCollector, Wire], settings: Settings, wait_until: Callable[..., None]
) -> None:
    _, wire = begun
    path = sources_path(settings)
    # Bound when the contract did not yet say who writes alerts.
    path.write_text(path.read_text().replace('"river_stage"', '"alert_cap"'))
    wire.bring(1, topic="hue/v1/gw-1/alert_cap")
    wait_until(lambda: wire.acks == [1], what="the message is kept")
    assert spooled(settings, "alert_cap") == []
    (kept,) = Unbound(settings).all()
    assert (kept.reason, kept.topic) == ("not_allowed", "hue/v1/gw-1/alert_cap")
    assert kept.detail.startswith("The platform alone writes alert_cap: no source may send to it.")


def test_messages_that_are_held_together_wait_once(
    begun: tuple[module.MqttCollector, Wire],
    core: Core,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    wait_until: Callable[..., None],
) -> None:
    made, wire = begun
    sent: list[Future[Receipt]] = []
    submit = core.submit

    def into_nowhere(_submission: Submission) -> Future[Receipt]:
        sent.append(Future())
        return sent[-1]

    monkeypatch.setattr(core, "submit", into_nowhere)
    wire.bring(*range(50))
    wait_until(lambda: len(sent) == 50, what="all are on their way")
    monkeypatch.setattr(core, "submit", submit)
    for future in sent:
        future.set_exception(Busy("The spool is full.", "Send it again.", 30.0))
    assert (made.told()[0].waiting, made.told()[0].problem, wire.acks) == (
        50, "held back: The spool is full. Send it again.", [],
    )  # fmt: skip
    # One after the other they would take 50 times as long.
    wait_until(lambda: wire.acks == list(range(50)), timeout_s=20 * HELD_S, what="all are taken")
    taken = [json.loads(value)["observed_at"] for value in spooled(settings)]
    assert taken == [f"2025-10-27T13:{minute:02}:00Z" for minute in range(50)]
    assert made.told()[0].problem == ""


def test_a_message_of_an_ended_connection_is_left_to_the_broker(
    begun: tuple[module.MqttCollector, Wire],
    core: Core,
    monkeypatch: pytest.MonkeyPatch,
    wait_until: Callable[..., None],
) -> None:
    made, wire = begun
    sent: list[Future[Receipt]] = []

    def into_nowhere(_submission: Submission) -> Future[Receipt]:
        sent.append(Future())
        return sent[-1]

    monkeypatch.setattr(core, "submit", into_nowhere)
    wire.bring(1)
    wait_until(lambda: len(sent) == 1, what="it is on its way")
    wire.reconnected()
    # The broker may have given its identifier to another message by now.
    sent[0].set_result(Receipt("river_stage", 1, 1, 0))
    assert (wire.acks, made.told()[0].waiting) == ([], 0)
