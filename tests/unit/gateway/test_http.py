"""HTTP in front of a core: statuses, headers and bodies that a sender can act on."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import httpx
import pytest

from pipelines.contracts.registry import Registry
from pipelines.contracts.targets.openapi import gateway_document
from pipelines.gateway.core import Core
from pipelines.gateway.http import application
from pipelines.gateway.metrics import Metrics
from pipelines.gateway.sources import Source, Sources, create_token, revoke
from pipelines.runtime.settings import Settings

SOURCE = Source("gw-1", "H57.NNMT", ("river_stage", "rain_gauge"))
READING = {"station_id": "71520", "observed_at": "2025-10-27T20:00:00+07:00", "stage_m": 5.05}
Send = Callable[..., httpx.Response]


@pytest.fixture
def token(settings: Settings, registry: Registry) -> str:
    return create_token(settings, registry, SOURCE)


@pytest.fixture
def send(core: Core, settings: Settings, token: str) -> Iterator[Send]:
    """Ask the application, as a sender with a token does."""
    document = partial(json.dumps, gateway_document(core.registry))
    app = application(core, Sources(settings), Metrics(core), lambda: document().encode())
    loop = asyncio.new_event_loop()
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway")
    client.headers["Authorization"] = f"Bearer {token}"

    def ask(method: str, path: str, **options: Any) -> httpx.Response:
        return loop.run_until_complete(client.request(method, path, **options))

    yield ask
    loop.run_until_complete(client.aclose())
    loop.close()


def post(send: Send, body: Any, dataset: str = "river_stage", **headers: str) -> httpx.Response:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"Content-Type": "application/json", **{name.replace("_", "-"): text for name, text in headers.items()}}
    return send("POST", f"/v1/ingest/{dataset}", content=data, headers=given)


def test_all_some_and_none_taken_have_a_status_of_their_own(send: Send) -> None:
    taken = post(send, [READING, READING])
    assert (taken.status_code, taken.json()["spooled"]) == (202, 2)
    partly = post(send, [READING, {}])
    assert (partly.status_code, partly.json()["refused"][0]["index"]) == (207, 1)
    refused = post(send, {"station_id": "71520"})
    assert (refused.status_code, refused.json()["refused"][0]["detail"]) == (422, "observed_at is missing")
    unreadable = post(send, b'[{"station_id"')
    assert (unreadable.status_code, unreadable.json()["refused"][0]["index"]) == (422, None)


@pytest.mark.parametrize(
    ("body", "dataset", "headers", "status", "said"),
    [
        (READING, "river_stage", {"Authorization": "Bearer lake_0_x"}, 401, "unknown, expired or revoked"),
        (READING, "river_stage", {"Authorization": "Basic abc"}, 401, "unknown, expired or revoked"),
        (READING, "lane_minute", {}, 403, "It is bound to: river_stage, rain_gauge."),
        (READING, "alert_cap", {}, 403, "The platform alone writes alert_cap: no source may send to it. Send what was"),
        (READING, "nowhere", {}, 404, "There is no stream 'nowhere' in unit."),
        (READING, "river_stage", {"Content_Type": "text/xml"}, 415, "Allowed: application/json"),
        (READING, "river_stage", {"Content_Encoding": "br"}, 415, "Allowed: gzip."),
        (READING, "river_stage", {"Content_Encoding": "gzip"}, 400, "no gzip"),
        ([], "river_stage", {}, 400, "The body holds no record."),
        (b" " * (9 * 2**20), "river_stage", {}, 413, "at most 8388608 are taken"),
        (gzip.compress(b" " * (9 * 2**20)), "river_stage", {"Content_Encoding": "gzip"}, 413, "unpacks to more"),
        (b"[" + b"1," * 10_000 + b"1]", "river_stage", {}, 413, "10001 records"),
    ],
)
def test_what_is_not_taken_is_a_problem_that_says_what_to_do(
    send: Send, body: Any, dataset: str, headers: dict[str, str], status: int, said: str
) -> None:
    answer = post(send, body, dataset, **headers)
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert said in answer.json()["detail"]
    assert answer.json()["status"] == status


def test_a_body_may_come_compressed_and_in_pieces(send: Send) -> None:
    packed = gzip.compress(json.dumps([READING] * 3).encode())
    assert post(send, packed, Content_Encoding="gzip").json()["spooled"] == 3
    assert post(send, packed[:-3], Content_Encoding="gzip").status_code == 400
    assert post(send, packed + b"x", Content_Encoding="gzip").status_code == 400

    async def pieces() -> Any:
        for part in (b"[", json.dumps(READING).encode(), b"]"):
            yield part

    headers = {"Content-Type": "application/json"}
    assert send("POST", "/v1/ingest/river_stage", content=pieces(), headers=headers).json()["spooled"] == 1


def test_a_token_ends_when_it_is_revoked_or_expires(
    send: Send, settings: Settings, registry: Registry, token: str
) -> None:
    second = create_token(settings, registry, Source("gw-1", "", ()), timedelta(days=1))
    assert post(send, READING, Authorization=f"Bearer {second}").status_code == 202
    assert revoke(settings, "gw-1", token.split("_")[1]) == (token.split("_")[1],)
    assert post(send, READING).status_code == 401
    assert post(send, READING, Authorization=f"Bearer {second}").status_code == 202
    revoke(settings, "gw-1")
    assert post(send, READING, Authorization=f"Bearer {second}").status_code == 401


def test_a_source_beyond_its_rate_is_told_how_long_to_wait(send: Send, settings: Settings, registry: Registry) -> None:
    slow = create_token(settings, registry, Source("slow", "H57.NNMT", ("river_stage",), rate_per_s=2))
    assert post(send, [READING] * 10, Authorization=f"Bearer {slow}").status_code == 202
    answer = post(send, READING, Authorization=f"Bearer {slow}")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "4")


def test_the_gateway_tells_how_it_is(send: Send, core: Core, wait_until: Callable[..., None]) -> None:
    post(send, [READING, {}])
    assert send("GET", "/health").json()["service"] == "lake-gateway"
    wait_until(lambda: send("GET", "/ready").json()["spooled"] == {"river_stage": 2}, what="the state is told")
    ready = send("GET", "/ready").json()
    assert (ready["ready"], ready["kafka"], ready["kafka_error"]) == (True, "away", "kafka is not running.")
    text = send("GET", "/metrics").text
    assert 'lake_gateway_records_total{dataset="river_stage",outcome="spooled"} 1.0' in text
    assert 'lake_gateway_records_total{dataset="river_stage",outcome="unusable"} 1.0' in text
    assert 'lake_gateway_requests_total{status="207"} 1.0' in text
    assert 'lake_gateway_spool_records{dataset="river_stage"} 2.0' in text
    assert "lake_gateway_kafka_connected 0.0" in text


def test_another_method_and_path_are_problems_too(send: Send) -> None:
    wrong = send("GET", "/v1/ingest/river_stage")
    assert (wrong.status_code, wrong.headers["Allow"]) == (405, "POST")
    assert send("GET", "/nothing").headers["Content-Type"] == "application/problem+json"


def test_it_describes_itself(send: Send, registry: Registry) -> None:
    paths = send("GET", "/openapi.json").json()["paths"]
    assert {f"/v1/ingest/{d.id}" for d in registry.sent()} < set(paths)
    assert "/v1/ingest/alert_cap" not in paths
