"""Asks for all pages and keeps their records as one JSON array; nothing of an answer is converted."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any
from urllib.parse import urlsplit

import msgspec
import requests
from requests.auth import AuthBase, HTTPBasicAuth

from pipelines.contracts.service_request import Pages, ServiceRequest
from pipelines.ingestion.access import Access
from pipelines.ingestion.connections import Connection, variable_of
from pipelines.ingestion.trouble import Kind, Sentences, Trouble
from pipelines.runtime.errors import LakeError

_EXTRAS = frozenset({"token_url", "scope", "verify"})
_FORM = (
    '{"conn_type": "http", "host": "https://api.so.vn", "login": "client", "password": "secret", '
    '"extra": {"token_url": "https://id.so.vn/token", "scope": "read"}}'
)
_SIGN_IN = frozenset({400, 401, 403})
_GONE = frozenset({404, 405, 410})
_MOST_PAGES = 1_000_000


class _Unexpected(Exception):
    """An answer that is not what the contract says; the text says what it is."""


@contextmanager
def fetched(access: Access, request: ServiceRequest, since: str | None, scratch: Path) -> Iterator[Path]:
    """All records as a file of one JSON array, below `scratch`, as long as the block lasts.

    `since`: the instant from which on changes are asked for, where the contract has a parameter for it.

    Raises:
        LakeError: the connection is not one of a service. SourceUnavailable, WrongCredentials, SourceChanged,
        SourceError: it does not answer, refuses us, or answers otherwise than the contract says.
    """
    client = _client(access)
    scratch.mkdir(parents=True, exist_ok=True)
    said = Sentences(access)
    with TemporaryDirectory(dir=scratch) as folder:
        path = Path(folder) / "records.json"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as target:
            try:
                _write(client, access, request, since, target)
            except _Unexpected as error:
                raise said.error(Trouble(Kind.CHANGED, str(error)), request.path) from None
            except requests.JSONDecodeError:
                raise said.error(Trouble(Kind.CHANGED, "the answer is no JSON"), request.path) from None
            except requests.HTTPError as error:
                status = error.response.status_code if error.response is not None else 0
                kind = Kind.SIGN_IN if status in _SIGN_IN else Kind.CHANGED if status in _GONE else Kind.AWAY
                raise said.error(Trouble(kind, f"it answers {status}"), request.path) from None
            except requests.Timeout as error:
                raise said.error(Trouble(Kind.SLOW, type(error).__name__), request.path) from None
            except requests.RequestException as error:
                # Its text may hold the address with what stands in it.
                raise said.error(Trouble(Kind.AWAY, type(error).__name__), request.path) from None
        yield path


def _write(client: Any, access: Access, request: ServiceRequest, since: str | None, target: IO[bytes]) -> None:
    """Ask page by page.

    Raises:
        _Unexpected: an answer is not what the contract says, a page came twice, or all are too large.
    """
    parameters = dict(request.parameters)
    if request.pages and request.pages.size is not None and request.pages.size_parameter is not None:
        parameters[request.pages.size_parameter] = str(request.pages.size)
    if request.since is not None and since is not None:
        parameters[request.since] = since
    timeouts = access.source.timeouts
    waits = (timeouts.connect.total_seconds(), timeouts.statement.total_seconds())
    home = urlsplit(client.base_url)
    seen: set[bytes] = set()
    written = 1
    target.write(b"[")
    pages = client.paginate(
        request.path, params=parameters, paginator=_paginator(request), data_selector=request.records or "$",
        timeout=waits, allow_redirects=False,
    )  # fmt: skip
    for number, page in enumerate(pages, 1):
        records = _records(page.response, request)
        digest = hashlib.sha256(page.response.content).digest()
        if records and digest in seen:
            raise _Unexpected(f"page {number} is one that came before: its pages are not as `pages` says")
        seen.add(digest)
        for record in records:
            target.write(b"," if written > 1 else b"")
            written += target.write(record) + 1
        if written > request.most_bytes:
            raise _Unexpected(f"it answers with more than {request.most_bytes} bytes; raise `most_bytes` if it may")
        if number > _MOST_PAGES:
            raise _Unexpected(f"it has more than {_MOST_PAGES} pages")
        following = urlsplit(str(page.request.url))
        if following.netloc and (following.scheme, following.netloc) != (home.scheme, home.netloc):
            # The next request would carry our token there.
            raise _Unexpected(f"its next page is at another host, {following.hostname}")
    target.write(b"]")


def _records(response: requests.Response, request: ServiceRequest) -> list[msgspec.Raw]:
    """The records of an answer, each in its own bytes.

    Raises:
        _Unexpected: there is no list where the contract says.
    """
    if response.is_redirect:
        raise _Unexpected("it sends us to another address")
    body = msgspec.Raw(response.content)
    where = "the answer"
    try:
        for key in request.records.split(".") if request.records else ():
            body = msgspec.json.decode(body, type=dict[str, msgspec.Raw])[key]
            where = f"`{request.records}`"
        return msgspec.json.decode(body, type=list[msgspec.Raw])
    except (msgspec.MsgspecError, KeyError):
        raise _Unexpected(f"{where} is no list of records") from None


def _paginator(request: ServiceRequest) -> Any:
    from dlt.sources.helpers.rest_client import paginators as known

    pages: Pages | None = request.pages
    if pages is None:
        return known.SinglePagePaginator()
    if pages.kind == "number":
        return known.PageNumberPaginator(base_page=pages.first, page_param=pages.parameter, total_path=None)
    if pages.kind == "offset":
        assert pages.size is not None
        return known.OffsetPaginator(
            pages.size, offset_param=pages.parameter, limit_param=pages.size_parameter, total_path=None
        )
    if pages.kind == "link":
        return known.JSONLinkPaginator(str(pages.next))
    if pages.kind == "header":
        return known.HeaderLinkPaginator()
    return known.JSONResponseCursorPaginator(str(pages.next), cursor_param=pages.parameter)


def _client(access: Access) -> Any:
    """A client of the connection: OAuth2 where it names a token's address, else a bearer token or a password.

    Raises:
        LakeError: it names no service.
    """
    from dlt.sources.helpers.rest_client import RESTClient

    connection = access.connection
    remedy = f"Write {variable_of(connection.id)} as {_FORM}."
    if connection.kind not in {"http", "https", "generic", ""}:
        raise LakeError(
            f"The connection {connection.id!r} is of the type {connection.kind}, its source is of the kind rest.",
            remedy,
        )
    if unknown := sorted(set(connection.extra) - _EXTRAS):
        raise LakeError(
            f"The connection {connection.id!r} has extras that are not used here: {', '.join(unknown)}.",
            f"Allowed: {', '.join(sorted(_EXTRAS))}.",
        )
    host = connection.host if "://" in connection.host else f"https://{connection.host}"
    parts = urlsplit(host)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise LakeError(f"The connection {connection.id!r} names no host.", remedy)
    port = f":{connection.port}" if connection.port else ""
    base = f"{parts.scheme}://{parts.netloc}{port}{parts.path.rstrip('/')}"
    return RESTClient(base, auth=_auth(connection), session=_session(connection))


def _session(connection: Connection) -> requests.Session:
    """Two more tries for an answer that says the service is busy."""
    from requests.adapters import HTTPAdapter
    from urllib3 import Retry

    session = requests.Session()
    session.verify = str(connection.extra["verify"]) if connection.extra.get("verify") else True
    retries = Retry(total=2, backoff_factor=1, status_forcelist=(429, 502, 503, 504), raise_on_status=False)
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retries))
    return session


def _auth(connection: Connection) -> AuthBase | None:
    from dlt.sources.helpers.rest_client.auth import BearerTokenAuth, OAuth2ClientCredentials

    token_url, scope = connection.extra.get("token_url"), connection.extra.get("scope")
    if token_url:
        asked = {"scope": str(scope)} if scope else {}
        credentials: AuthBase = OAuth2ClientCredentials(
            access_token_url=str(token_url),
            client_id=connection.login,
            client_secret=connection.password,
            access_token_request_data=asked,
            session=_session(connection),
        )
        return credentials
    if connection.login:
        return HTTPBasicAuth(connection.login.encode(), connection.password.encode())
    bearer: AuthBase | None = BearerTokenAuth(connection.password) if connection.password else None
    return bearer
