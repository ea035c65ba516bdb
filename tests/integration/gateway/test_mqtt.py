"""Messages of a real broker: whatever is killed in between, each of them is in Kafka, and what has no place is kept."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from pipelines.contracts.registry import Registry
from pipelines.gateway.mqtt.connections import Connection, set_connection
from pipelines.gateway.mqtt.unbound import Unbound
from pipelines.gateway.sources import Source, create_token
from pipelines.runtime.decision import Decision
from pipelines.runtime.ports import is_free

from .conftest import GatewayProcess
from .mqtt_broker import PASSWORD, USER, Broker, Device
from .test_outages import in_kafka, kafka_frozen, numbers, readings

BY_AN = Decision("An", "kiểm thử")
TOPIC = "hue/v1/test-1/river_stage"
Start = Callable[..., GatewayProcess]
Wait = Callable[..., None]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker for all tests; each gateway has a session of its own."""
    ports = (port for port in range(29_000, 30_000) if is_free(port))
    running = Broker(tmp_path_factory.mktemp("broker"), next(ports), next(ports))
    running.start()
    yield running
    running.kill()


def reading(number: int) -> bytes:
    return json.dumps(readings(number, 1)[0]).encode()


def connected(gateway: GatewayProcess, broker: Broker, wait_until: Wait, version: str = "5", **how: object) -> None:
    """Connect a running gateway to the broker, and wait until it has subscribed."""
    secret = gateway.settings.state / f"{gateway.settings.namespace}.password"
    secret.write_text(PASSWORD + "\n", encoding="utf-8")
    name = gateway.settings.namespace
    url = f"mqtt://127.0.0.1:{broker.port}"
    told = {"url": url, "client_id": f"t-{name}", "version": version, "user": USER, "password_file": str(secret), **how}
    set_connection(gateway.settings, "field", Connection("field", **told))  # type: ignore[arg-type]
    wait_until(lambda: mqtt(gateway).get("state") == "connected", timeout_s=30, what="the broker is connected")
    remembered = gateway.settings.state / "gateway" / name / "mqtt-field.json"
    wait_until(remembered.exists, what="the subscription is granted")


def mqtt(gateway: GatewayProcess) -> dict[str, object]:
    """What the gateway tells of the broker."""
    told = gateway.ready()["collectors"]
    return next((each for each in told if each["kind"] == "mqtt"), {})


def test_a_gateway_that_is_killed_in_mid_flow_gets_every_message_again(
    start_gateway: Start, broker: Broker, wait_until: Wait
) -> None:
    gateway = start_gateway()
    connected(gateway, broker, wait_until)
    device = Device(broker)
    flow = threading.Thread(target=device.publish_all, args=(TOPIC, [reading(n) for n in range(1_500)]))
    flow.start()
    wait_until(lambda: mqtt(gateway)["counts"].get("safe", 0) > 200, what="messages flow")  # type: ignore[attr-defined]
    gateway.kill()
    before = len(in_kafka(gateway.settings))
    assert 0 < before < 1_500
    gateway.start()
    flow.join(timeout=60)
    wait_until(lambda: len(set(numbers(in_kafka(gateway.settings)))) == 1_500, timeout_s=60, what="all have come")
    wait_until(lambda: mqtt(gateway)["waiting"] == 0, what="all are acknowledged")
    found = numbers(in_kafka(gateway.settings))
    # What had no acknowledgement came again: at most what may be on its way, the same key with the same content.
    assert len(found) - 1_500 <= 200
    counts = mqtt(gateway)["counts"]
    assert isinstance(counts, dict)
    assert (counts["sessions_lost"], counts["connections"]) == (0, 1)
    assert gateway.stop() == 0
    # While it was away the broker kept what came, and nothing that was acknowledged comes a second time.
    device.publish_all(TOPIC, [reading(n) for n in range(1_500, 1_550)])
    gateway.start()
    wait_until(lambda: len(set(numbers(in_kafka(gateway.settings)))) == 1_550, timeout_s=30, what="the rest has come")
    assert len(in_kafka(gateway.settings)) == len(found) + 50
    device.close()


def test_a_broker_that_is_killed_is_found_again_with_its_session_and_one_that_cannot_be_used_is_told(
    start_gateway: Start, broker: Broker, wait_until: Wait, tmp_path: Path
) -> None:
    gateway = start_gateway()
    tls = {"url": f"mqtts://127.0.0.1:{broker.tls_port}", "ca_file": str(broker.ca_file)}
    connected(gateway, broker, wait_until, "3.1.1", **tls)
    device = Device(broker, version=3)
    device.publish_all(TOPIC, [reading(n) for n in range(200)])
    wait_until(lambda: len(in_kafka(gateway.settings)) == 200, timeout_s=30, what="the first have come")
    device.close()
    broker.kill()
    wait_until(lambda: mqtt(gateway)["state"] == "away", what="the outage is told")
    broker.start()
    wait_until(lambda: mqtt(gateway)["state"] == "connected", timeout_s=60, what="the broker is found again")
    device = Device(broker, version=3)
    device.publish_all(TOPIC, [reading(n) for n in range(200, 400)])
    wait_until(lambda: len(set(numbers(in_kafka(gateway.settings)))) == 400, timeout_s=30, what="the others have come")
    counts = mqtt(gateway)["counts"]
    assert isinstance(counts, dict)
    assert (counts["sessions_lost"], counts["connections"]) == (0, 2)
    device.close()
    set_connection(gateway.settings, "field", Connection("field", tls["url"], "other", "3.1.1", USER))
    wait_until(lambda: "certificate" in str(mqtt(gateway).get("problem")), what="an unknown certificate is refused")
    secret = tmp_path / "password"
    secret.write_text("wrong")
    wrong = Connection("field", tls["url"], "other", "3.1.1", USER, str(secret), tls["ca_file"])
    set_connection(gateway.settings, "field", wrong)
    wait_until(lambda: "the broker refuses" in str(mqtt(gateway).get("problem")), what="a wrong password is told")


def test_while_kafka_is_away_and_the_spool_is_full_messages_wait_at_the_broker(
    start_gateway: Start, broker: Broker, wait_until: Wait
) -> None:
    gateway = start_gateway("--spool-mb", "1")
    connected(gateway, broker, wait_until)
    device = Device(broker)
    wait_until(lambda: gateway.ready()["kafka"] == "connected", what="the gateway finds kafka")
    with kafka_frozen(gateway.settings):
        flow = threading.Thread(target=device.publish_all, args=(TOPIC, [reading(n) for n in range(7_000)]))
        flow.start()
        wait_until(lambda: "spool is full" in str(mqtt(gateway)["problem"]), timeout_s=60, what="the spool is full")
        assert 0 < int(str(mqtt(gateway)["waiting"])) <= 200
    flow.join(timeout=60)
    wait_until(lambda: mqtt(gateway)["problem"] == "", timeout_s=60, what="the spool has room again")
    wait_until(lambda: len(set(numbers(in_kafka(gateway.settings)))) == 7_000, timeout_s=60, what="all have come")
    wait_until(lambda: mqtt(gateway)["waiting"] == 0, what="all are acknowledged")
    assert (mqtt(gateway)["problem"], gateway.ready()["spooled"]) == ("", {})
    device.close()


def test_what_has_no_place_is_kept_and_counted_and_can_be_sent_again(
    start_gateway: Start, broker: Broker, registry: Registry, wait_until: Wait
) -> None:
    gateway = start_gateway()
    connected(gateway, broker, wait_until)
    device = Device(broker)
    wrong = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    wrong.ContentType = "image/jpeg"
    device.publish("hue/v1/nobody/river_stage", reading(1))
    device.publish("hue/v1/nobody/river_stage", reading(1))
    device.publish("hue/v1/test-1/nothing", reading(2))
    device.publish("hue/v1/test-1/tide", reading(3))
    device.publish(TOPIC, b"\xff\xd8", properties=wrong)
    device.publish(TOPIC, b"", qos=0)
    device.publish(TOPIC, reading(4), qos=0)
    wait_until(lambda: len(in_kafka(gateway.settings)) == 1, what="the good one has come")
    unbound = Unbound(gateway.settings)
    wait_until(lambda: len(unbound.all()) == 4, what="the others are kept")
    kept = {each.reason: each for each in unbound.all()}
    assert set(kept) == {"unknown_source", "unknown_dataset", "not_allowed", "unknown_format"}
    assert (kept["unknown_source"].times, unbound.body(kept["unknown_source"])) == (2, reading(1))
    assert reading(3) not in (gateway.settings.object_root / kept["not_allowed"].ref).read_bytes()
    wait_until(lambda: gateway.ready()["unbound"] == 4, what="they are counted")
    assert mqtt(gateway)["waiting"] == 0
    metrics = gateway.client.get("/metrics").text
    assert 'lake_gateway_unbound_messages{collector="field",reason="not_allowed"} 1.0' in metrics
    assert 'lake_gateway_collector_events_total{event="qos0",kind="mqtt",name="field"} 2.0' in metrics
    assert 'lake_gateway_collector_events_total{event="empty",kind="mqtt",name="field"} 1.0' in metrics
    create_token(gateway.settings, registry, Source("nobody", "H57.NNMT", ("river_stage",)))
    assert unbound.ask_again((), BY_AN) == 4
    wait_until(lambda: len(in_kafka(gateway.settings)) == 2, what="the mended one is sent")
    wait_until(lambda: not any(each.again for each in unbound.all()), what="the others were tried")
    assert {each.reason for each in unbound.all()} == {"unknown_dataset", "not_allowed", "unknown_format"}
    assert unbound.drop([each.id for each in unbound.all()], BY_AN) == 3
    assert list((gateway.settings.object_root / "_unbound").iterdir()) == []
    device.close()
