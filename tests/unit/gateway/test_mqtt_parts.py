"""Acknowledgements in order, bindings, what is kept, and which connections are refused: the parts without a network."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.contracts.collectors import Collector
from pipelines.contracts.registry import Registry
from pipelines.contracts.source import SourceFile
from pipelines.gateway import objects
from pipelines.gateway.checks import findings
from pipelines.gateway.core import Core
from pipelines.gateway.formats.entry import Entry
from pipelines.gateway.given import completed
from pipelines.gateway.limits import KEPT_FOR
from pipelines.gateway.mqtt.acks import Acks
from pipelines.gateway.mqtt.binding import Bound, NotBound, Router
from pipelines.gateway.mqtt.connections import Connection, connections, set_connection
from pipelines.gateway.mqtt.unbound import Unbound, UnboundFull
from pipelines.gateway.sources import Source, Sources, create_token, revoke, sources_path
from pipelines.gateway.submission import Submission
from pipelines.runtime.decision import Decision
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings

from .test_core import RECEIVED, reading, spooled

SOURCE = Source("gw-1", "H57.NNMT", ("river_stage", "rain_gauge"))
BY_AN = Decision("An", "kiểm thử")
COLLECTOR = Collector.model_validate(
    {
        "id": "field",
        "title": {"vi": "a", "en": "b"},
        "protocol": "mqtt",
        "bindings": [
            {"topic": "hue/v1/{source}/{dataset}"},
            {"topic": "lora/{station_id}/up", "dataset": "river_stage", "source": "gw-1"},
            {"topic": "old/#", "dataset": "rain_gauge", "source": "gw-2", "media_type": "text/csv"},
        ],
    }
)


@given(st.permutations(range(8)), st.integers(0, 8))
def test_messages_are_acknowledged_in_their_order_and_never_before_they_are_safe(order: list[int], cut: int) -> None:
    sent: list[int] = []
    acks = Acks(sent.append)
    deliveries = [acks.begin(mid, 10) for mid in range(8)]
    done: set[int] = set()
    for number, mid in enumerate(order):
        if number == cut:
            acks.forget()
            before = list(sent)
        acks.safe(deliveries[mid])
        done.add(mid)
        assert sent == sorted(sent)
        assert set(sent) <= done
    if cut == 8:
        assert sent == list(range(8))
        assert acks.waiting == 0
    else:
        # A new connection: an identifier of the old one may be another message's by now.
        assert sent == before


def test_a_message_without_an_identifier_holds_its_place_and_is_not_acknowledged() -> None:
    sent: list[int] = []
    acks = Acks(sent.append)
    first, second = acks.begin(None, 1), acks.begin(7, 1)
    acks.safe(second)
    assert (sent, acks.waiting) == ([], 2)
    assert acks.wait_below(2, 100, 0) is False
    assert acks.wait_below(3, 2, 0) is False
    acks.safe(first)
    assert (sent, acks.waiting, acks.wait_below(1, 1, 0)) == ([7], 0, True)


@pytest.fixture
def router(settings: Settings, registry: Registry) -> Router:
    create_token(settings, registry, SOURCE)
    return Router(COLLECTOR, Sources(settings))


def test_a_topic_says_where_a_message_goes(router: Router) -> None:
    assert router.bind("hue/v1/gw-1/tide", None) == Bound("tide", source_of(router), "application/json", {})
    assert router.bind("lora/71520/up", "text/csv") == Bound(
        "river_stage", source_of(router), "text/csv", {"station_id": "71520"}
    )


def source_of(router: Router) -> Source:
    return router.bind("lora/1/up", None).source


@pytest.mark.parametrize(
    ("topic", "reason", "said"),
    [
        ("hue/v2/gw-1/tide", "unknown_topic", "No binding of field matches the topic 'hue/v2/gw-1/tide'"),
        ("hue/v1/gw-9/tide", "unknown_source", "There is no source 'gw-9'"),
        ("old/x", "unknown_source", "lake gateway token create gw-2"),
    ],
)
def test_a_message_without_a_place_is_told_with_the_reason(router: Router, topic: str, reason: str, said: str) -> None:
    with pytest.raises(NotBound) as caught:
        router.bind(topic, None)
    assert caught.value.reason == reason
    assert said in str(caught.value)


def test_a_list_of_sources_that_cannot_be_read_is_nobodys_fault(router: Router, settings: Settings) -> None:
    sources_path(settings).write_text("{")
    with pytest.raises(LakeError, match="cannot be read") as caught:
        router.bind("hue/v1/gw-1/tide", None)
    assert not isinstance(caught.value, NotBound)


def test_the_same_message_is_kept_once_and_counted(settings: Settings) -> None:
    unbound = Unbound(settings, limit_bytes=10)
    for _ in range(3):
        unbound.keep("field", "a/b", "", b"12345", "unknown_source", "who?")
    unbound.keep("field", "a/b", "", b"123", "unknown_topic", "where?")
    first, second = Unbound(settings).all()
    assert (first.times, first.reason, first.size_bytes, second.times) == (3, "unknown_source", 5, 1)
    assert unbound.counts() == {("field", "unknown_source"): 1, ("field", "unknown_topic"): 1}
    with pytest.raises(UnboundFull, match="lake gateway unbound list"):
        unbound.keep("field", "a/b", "", b"123", "unknown_topic", "where?")
    assert Unbound(settings).drop([first.id], BY_AN) == 1
    unbound.keep("field", "a/b", "", b"12345678"[:7], "unknown_topic", "where?")
    assert unbound.asked_again("field") == ()
    assert Unbound(settings).ask_again([second.id, 99], BY_AN) == 1
    assert [each.id for each in unbound.asked_again("field")] == [second.id]
    assert unbound.asked_again("other") == ()


def test_what_nobody_bound_goes_after_thirty_days_and_that_is_noted(settings: Settings) -> None:
    unbound = Unbound(settings)
    unbound.keep("field", "a", "", b"1", "unknown_topic", "")
    came = datetime.fromisoformat(unbound.all()[0].last_at)
    assert unbound.expire(came + KEPT_FOR) == 0
    assert unbound.decisions() == ()
    assert unbound.expire(came + KEPT_FOR + timedelta(seconds=1)) == 1
    assert unbound.all() == ()
    assert [(each.action, each.messages, each.why) for each in unbound.decisions()] == [("drop", 1, "kept for 30 days")]
    assert not [path for path in (settings.object_root / "_unbound").rglob("*") if path.is_file()]


def test_a_source_that_was_ended_sends_by_no_way_and_one_without_a_token_by_this_one(
    router: Router, settings: Settings, registry: Registry
) -> None:
    revoke(settings, "gw-1")
    assert router.bind("hue/v1/gw-1/tide", None).source.name == "gw-1"
    revoke(settings, "gw-1", ends=True)
    with pytest.raises(NotBound, match=r"The source gw-1 was ended\. .*lake gateway token create gw-1") as caught:
        router.bind("hue/v1/gw-1/tide", None)
    assert caught.value.reason == "ended_source"
    create_token(settings, registry, Source("gw-1", "", ()))
    assert router.bind("hue/v1/gw-1/tide", None).source.name == "gw-1"


def test_bytes_of_an_unknown_class_are_encrypted(settings: Settings) -> None:
    unbound = Unbound(settings)
    unbound.keep("field", "a", "", b"75A-123.45 in clear", "unknown_dataset", "")
    assert not [p for p in settings.state.rglob("*") if p.is_file() and b"75A" in p.read_bytes()]
    assert unbound.body(unbound.all()[0]) == b"75A-123.45 in clear"
    objects.rotate(settings)
    unbound.keep("field", "b", "", b"after the rotation", "unknown_dataset", "")
    assert [unbound.body(kept) for kept in unbound.all()] == [b"75A-123.45 in clear", b"after the rotation"]
    store = objects.open_store(settings)
    newest = replace(store, keys=store.keys[:1])
    assert newest.get(unbound.all()[1].ref) == b"after the rotation"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"url": "mqtt.hue.local"}, "is no address of a broker"),
        ({"url": "mqtts://h:99999"}, "is no address of a broker"),
        ({"url": "mqtts://user:secret@h"}, "no place for a password"),
        ({"url": "mqtt://mqtt.hue.local"}, "would travel to mqtt.hue.local in clear"),
        ({"version": "3.1"}, "Allowed: 5, 3.1.1"),
        ({"cert_file": "/dev/null"}, "needs its key"),
        ({"password_file": "/dev/null", "user": ""}, "needs a user"),
        ({"ca_file": "/nowhere/ca.pem"}, "The file /nowhere/ca.pem cannot be read"),
        ({"url": "mqtts://h", "ca_file": __file__}, "cannot be used"),
    ],
)
def test_a_connection_that_cannot_work_or_is_not_safe_is_refused(changes: dict[str, str], said: str) -> None:
    good = Connection("field", "mqtt://127.0.0.1:1883", "id", user="lake")
    good.check()
    with pytest.raises(LakeError, match=said):
        replace(good, **changes).check()  # type: ignore[arg-type]


def test_the_address_and_the_password_of_a_broker(tmp_path: Path, settings: Settings) -> None:
    secret = tmp_path / "secret"
    secret.write_text("mật khẩu\n", encoding="utf-8")
    one = Connection("field", "mqtts://mqtt.hue.local", "id", user="lake", password_file=str(secret))
    assert (one.host, one.port, one.is_tls, one.password({})) == ("mqtt.hue.local", 8883, True, "mật khẩu")
    other = replace(one, url="mqtt://[::1]:1884", password_file="")
    assert (other.host, other.port, other.is_tls) == ("::1", 1884, False)
    assert other.password({"LAKE_MQTT_PASSWORD_FIELD": "x"}) == "x"
    assert replace(one, user="").password({}) is None
    set_connection(settings, "field", one)
    assert connections(settings) == {"field": one}
    set_connection(settings, "field", None)
    assert connections(settings) == {}


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (Entry(b'{"a": 1.50}'), Entry(b'{"a":1.50,"station_id":"S1"}', {"a": Decimal("1.50"), "station_id": "S1"})),
        (Entry(b"x", {"station_id": "S1"}), Entry(b'{"station_id":"S1"}', {"station_id": "S1"})),
        (Entry(b"x", {}, is_foreign=True), Entry(b"x", {"station_id": "S1"}, is_foreign=True)),
        (Entry(b"raw", problem="p"), Entry(b"raw", problem="p")),
        (Entry(b"[1]"), Entry(b"[1]")),
        (
            Entry(b'{"station_id": "S2"}'),
            Entry(b'{"station_id": "S2"}', problem="station_id: the record and its topic differ"),
        ),
    ],
)
def test_the_topic_completes_a_record_and_does_not_contradict_it(entry: Entry, expected: Entry) -> None:
    assert completed(entry, {"station_id": "S1"}) == expected


def test_the_core_takes_fields_from_the_way_of_a_record(core: Core, settings: Settings) -> None:
    bodies = [{k: v for k, v in reading(n).items() if k != "station_id"} for n in range(2)]
    bodies.append({**reading(2), "station_id": "other"})
    data = json.dumps(bodies).encode()
    told = Submission("river_stage", data, "application/json", SOURCE, RECEIVED, {"station_id": "71520"})
    receipt = core.submit(told).result(timeout=20)
    assert [(r.index, r.detail) for r in receipt.refused] == [(2, "station_id: the record and its topic differ")]
    found = [json.loads(value) for value in spooled(settings)]
    assert [each["station_id"] for each in found] == ["71520", "71520", "other"]


def test_check_tells_everything_that_would_keep_data_out(
    settings: Settings, registry: Registry, tmp_path: Path, edit_collector: Callable[[str], Registry]
) -> None:
    create_token(settings, registry, SOURCE)
    changed = edit_collector(
        "  - {topic: a, dataset: tide, source: gw-1}\n  - {topic: b, dataset: tide, source: gw-2}\n"
        "  - {topic: c, dataset: tide, source: gw-1, media_type: text/xml}\n"
    )
    set_connection(settings, "field", Connection("field", "mqtt://far", "id"))
    set_connection(settings, "gone", Connection("gone", "mqtt://127.0.0.1", "id"))
    for name in ("gw-1/river_stage", "gw-1/tide", "gw-3/river_stage", "gw-1/nothing"):
        (tmp_path / "inboxes" / name).mkdir(parents=True)
    found = list(findings(settings, changed, tmp_path / "inboxes"))
    expected = [
        "field.yaml:7: field: tide takes no 'text/xml' (allowed: application/json",
        "field: Data and passwords would travel to far in clear.",
        "field.yaml:5: field: gw-1 may not send to tide (it is bound to: river_stage, rain_gauge)",
        "field.yaml:6: field: There is no source 'gw-2'.",
        "field.yaml:7: field: gw-1 may not send to tide",
        "gone: schemas/collectors/gone.yaml is not there",
        "gw-1/nothing: there is no stream 'nothing'",
        "gw-1/tide: gw-1 may not send to tide",
        "gw-3/river_stage: There is no source 'gw-3'.",
    ]
    assert len(found) == len(expected), found
    assert all(part in text for part, text in zip(expected, found, strict=True)), found


def test_check_names_a_source_that_was_bound_before_the_platform_wrote_alone(
    settings: Settings, registry: Registry, tmp_path: Path, edit_collector: Callable[[str], Registry]
) -> None:
    create_token(settings, registry, SOURCE)
    path = sources_path(settings)
    path.write_text(path.read_text().replace('"rain_gauge"', '"alert_cap"'))
    changed = edit_collector("  - {topic: a, dataset: alert_cap, source: gw-1}\n")
    (tmp_path / "inboxes/gw-1/alert_cap").mkdir(parents=True)
    binding, source, inbox = findings(settings, changed, tmp_path / "inboxes")
    assert binding.endswith("field: alert_cap is written by the platform itself (bind a stream that sources send)")
    assert source.startswith("gw-1 is bound to alert_cap, which the platform alone writes (bind it anew: lake gateway")
    assert inbox.endswith("gw-1/alert_cap: the platform alone writes alert_cap")


@pytest.fixture
def edit_collector(tmp_path: Path, registry: Registry) -> Callable[[str], Registry]:
    """The registry with other bindings, read from a file."""

    def change(bindings: str) -> Registry:
        path = tmp_path / "field.yaml"
        path.write_text(f"id: field\ntitle: {{vi: a, en: b}}\nprotocol: mqtt\nbindings:\n{bindings}", encoding="utf-8")
        source = SourceFile(path, tmp_path)
        collector = source.build(Collector, source.data)
        return replace(registry, collectors=(collector,), collector_sources={"field": source})

    return change
