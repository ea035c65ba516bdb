"""A service that answers over HTTP, page by page, through the whole load: signed in by OAuth2, whole and since."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from altered import sourced
from deltalake import DeltaTable

from pipelines.contracts.registry import Registry, load_registry
from pipelines.contracts.service_request import ServiceRequest
from pipelines.ingestion.connections import variable_of
from pipelines.ingestion.findings import standing
from pipelines.ingestion.load import ingest
from pipelines.ingestion.trouble import SourceChanged, SourceUnavailable, WrongCredentials
from pipelines.runtime.settings import Settings

HOME = Path(__file__).resolve().parents[3]
PRICE = "med_price"
CLIENT, SECRET, TOKEN = "kho-du-lieu", "bí mật", "abc.def"
Answer = Callable[[dict[str, str]], tuple[int, dict[str, str], Any]]


@dataclass
class Service:
    """A service on this machine: it gives a token to who knows the secret, and its records to who has the token."""

    answer: Answer
    url: str = ""
    asked: list[dict[str, str]] = field(default_factory=list)
    tokens: int = 0

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        if handler.command == "POST":
            body = parse_qs(handler.rfile.read(int(handler.headers["Content-Length"])).decode())
            good = body.get("client_id") == [CLIENT] and body.get("client_secret") == [SECRET]
            self.tokens += good
            self._send(handler, 200 if good else 401, {}, {"access_token": TOKEN, "expires_in": 3600})
            return
        if handler.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._send(handler, 401, {}, {})
            return
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.asked.append(asked)
        self._send(handler, *self.answer(asked))

    @staticmethod
    def _send(handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: Any) -> None:
        # Written over several lines, as many services do.
        data = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False, indent=1).encode()
        handler.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    made = Service(lambda _asked: (200, {}, []))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.handle(self)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    reached(monkeypatch, made.url)
    yield made
    server.shutdown()
    server.server_close()


def reached(monkeypatch: pytest.MonkeyPatch, url: str, secret: str = SECRET) -> None:
    extra = {"token_url": f"{url}/token"}
    connection = {"conn_type": "http", "host": url, "login": CLIENT, "password": secret, "extra": extra}
    monkeypatch.setenv(variable_of("sector_soyt"), json.dumps(connection))


@pytest.fixture(scope="module")
def contracts() -> Registry:
    return load_registry(HOME / "schemas").only("demo")


def contract(registry: Registry, mode: str = "snapshot", **request: Any) -> Registry:
    """The price list of the health department, asked of its service."""
    asked = ServiceRequest.model_validate({"path": "/v1/gia", "records": "data.items", **request})
    return sourced(registry, PRICE, "rest", request=asked, mode=mode)


def price(number: int, amount: object = 39_000, **more: object) -> dict[str, object]:
    return {
        "facility_id": "BVTW", "facility_name": "Bệnh viện Trung ương Huế", "service_code": f"K{number:03}",
        "service_name": "Khám bệnh", "price_vnd": amount, "valid_from": "2025-01-01", **more,
    }  # fmt: skip


def prices(settings: Settings) -> dict[str, int]:
    rows = DeltaTable(str(settings.table_path("silver", PRICE))).to_pyarrow_table().to_pylist()
    return {one["service_code"]: int(one["price_vnd"]) for one in rows}


ALL = [price(number) for number in range(25)]


def first_page(records: list[dict[str, Any]]) -> Answer:
    return lambda asked: (200, {}, {"data": {"items": records if asked["trang"] == "1" else []}})


def by_number(asked: dict[str, str]) -> tuple[int, dict[str, str], Any]:
    begin = (int(asked["trang"]) - 1) * int(asked["so_dong"])
    return 200, {}, {"data": {"items": ALL[begin : begin + int(asked["so_dong"])]}}


def by_offset(asked: dict[str, str]) -> tuple[int, dict[str, str], Any]:
    begin = int(asked["tu"])
    return 200, {}, {"data": {"items": ALL[begin : begin + int(asked["so_dong"])]}}


def by_cursor(asked: dict[str, str]) -> tuple[int, dict[str, str], Any]:
    begin = int(asked.get("con_tro", "0"))
    following = {"tiep": str(begin + 10)} if begin + 10 < len(ALL) else {}
    return 200, {}, {"data": {"items": ALL[begin : begin + 10], **following}}


@pytest.mark.parametrize(
    ("pages", "answer"),
    [
        ({"kind": "number", "parameter": "trang", "size": 10, "size_parameter": "so_dong"}, by_number),
        ({"kind": "offset", "parameter": "tu", "size": 10, "size_parameter": "so_dong"}, by_offset),
        ({"kind": "cursor", "parameter": "con_tro", "next": "data.tiep"}, by_cursor),
        ({"kind": "link", "next": "data.tiep"}, None),
        ({"kind": "header"}, None),
    ],
    ids=["number", "offset", "cursor", "link", "header"],
)
def test_all_pages_are_read_by_one_token(
    settings: Settings, contracts: Registry, service: Service, pages: dict[str, Any], answer: Answer | None
) -> None:
    def linked(asked: dict[str, str]) -> tuple[int, dict[str, str], Any]:
        begin = int(asked.get("tu", "0"))
        following = f"{service.url}/v1/gia?{urlencode({'tu': begin + 10})}" if begin + 10 < len(ALL) else None
        headers = {"Link": f'<{following}>; rel="next"'} if following and pages["kind"] == "header" else {}
        more = {"tiep": following} if pages["kind"] == "link" else {}
        return 200, headers, {"data": {"items": ALL[begin : begin + 10], **more}}

    service.answer = answer or linked
    done = ingest(settings, contract(contracts, pages=pages), PRICE, "r1")
    assert (done.rows_extracted, done.inserted, done.quarantined) == (25, 25, 0)
    assert service.tokens == 1 and len(service.asked) in {3, 4}
    assert not list((settings.state / "deliveries").rglob("*.json")), "nothing that came in clear stays"
    assert ingest(settings, contract(contracts, pages=pages), PRICE, "r2").unchanged == 25


def test_changes_are_asked_for_since_the_last_time(settings: Settings, contracts: Registry, service: Service) -> None:
    registry = contract(contracts, "changes", since="sau", parameters={"trang_thai": "da_duyet"})
    service.answer = lambda _asked: (200, {}, {"data": {"items": [price(1), price(2, "39000.5"), price(3, 1.5)]}})
    first = ingest(settings, registry, PRICE, "r1")
    assert (first.inserted, first.quarantined) == (1, 2)
    service.answer = lambda _asked: (200, {}, {"data": {"items": []}})
    ingest(settings, registry, PRICE, "r2")
    service.answer = lambda _asked: (200, {}, {"data": {"items": [price(1, 40_000), price(4)]}})
    third = ingest(settings, registry, PRICE, "r3")
    assert (third.updated, third.inserted) == (1, 1) and prices(settings) == {"K001": 40_000, "K004": 39_000}
    asked = [one.get("sau") for one in service.asked]
    assert asked[0] is None and asked[1] == asked[2], "an answer without a record moves no mark"
    assert asked[1] is not None and asked[1] >= first.started_at.isoformat()[:19]
    assert {one["trang_thai"] for one in service.asked} == {"da_duyet"}


def test_what_a_service_answers_otherwise_is_told(
    settings: Settings, contracts: Registry, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbered = {"kind": "number", "parameter": "trang", "size": 10, "size_parameter": "so_dong"}
    registry = contract(contracts, pages=numbered)

    def told(kind: type[Exception], said: str, answer: Answer) -> None:
        service.answer = answer
        with pytest.raises(kind, match=said):
            ingest(settings, registry, PRICE, "r1")

    told(SourceChanged, "`data.items` is no list of records", lambda _asked: (200, {}, {"data": {"items": {}}}))
    told(SourceChanged, "Path /v1/gia .*the answer is no JSON", lambda _asked: (200, {}, b"<html>"))
    told(SourceChanged, "page 2 is one that came before", lambda _asked: (200, {}, {"data": {"items": ALL[:10]}}))
    told(SourceChanged, "it answers 404", lambda _asked: (404, {}, {}))
    told(SourceUnavailable, "it answers 500", lambda _asked: (500, {}, {}))
    told(SourceChanged, "has no column price_vnd", first_page([{"facility_id": "A"}]))
    assert {one.finding.kind for one in standing(settings)} == {"source_changed"}

    elsewhere = contract(contracts, pages={"kind": "link", "next": "data.tiep"})
    service.answer = lambda _: (200, {}, {"data": {"items": ALL[:1], "tiep": "http://127.0.0.2:9/v1/gia"}})
    with pytest.raises(SourceChanged, match=r"its next page is at another host, 127\.0\.0\.2"):
        ingest(settings, elsewhere, PRICE, "r1")
    service.answer = lambda _asked: (302, {"Location": "http://127.0.0.2:9/"}, {})
    with pytest.raises(SourceChanged, match="it sends us to another address"):
        ingest(settings, elsewhere, PRICE, "r1")
    reached(monkeypatch, service.url, "sai")
    with pytest.raises(WrongCredentials, match=r"soyt \(H57\.YT\) refuses the sign-in of kho-du-lieu"):
        ingest(settings, registry, PRICE, "r1")
    reached(monkeypatch, "http://127.0.0.1:9")
    with pytest.raises(SourceUnavailable) as away:
        ingest(settings, registry, PRICE, "r1")
    assert SECRET not in str(away.value)
    assert not prices(settings)
