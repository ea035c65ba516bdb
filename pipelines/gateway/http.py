"""HTTP as a front of the core: an ASGI application.

`POST /v1/ingest/<dataset>` takes one record or a batch; the answer comes when every record is safe and says what became
of each. Errors are problem details (RFC 9457).
"""

from __future__ import annotations

import asyncio
import os
import time
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from pipelines.gateway.core import Core
from pipelines.gateway.metrics import Metrics
from pipelines.gateway.sources import Sources, Unauthorised
from pipelines.gateway.submission import (
    Busy,
    Empty,
    IntakeError,
    NotAllowed,
    Oversized,
    Receipt,
    Submission,
    Throttled,
    UnknownDataset,
    UnknownFormat,
)
from pipelines.gateway.told import Watched

SERVICE = "lake-gateway"
BODY_TIMEOUT_S = 30.0
"""A sender that needs longer for its body is turned away: it would hold a connection for ever."""
_STATUS: dict[type[IntakeError], int] = {
    UnknownDataset: 404,
    NotAllowed: 403,
    UnknownFormat: 415,
    Oversized: 413,
    Empty: 400,
    Throttled: 429,
    Busy: 503,
}
_TITLES = {
    400: "Yêu cầu không đọc được — the request cannot be read",
    401: "Cần mã truy cập — a valid token is needed",
    403: "Không được gửi — this source may not send here",
    404: "Không có — there is no such thing",
    405: "Sai phương thức — the method is not allowed",
    408: "Quá chậm — the body came too slowly",
    413: "Quá lớn — the body is too large",
    415: "Sai định dạng — the format is not accepted",
    429: "Quá nhanh — too many records",
    500: "Lỗi của cổng — the gateway failed",
    503: "Đang quá tải — try again later",
}
_GZIP = 31


def application(
    core: Core,
    sources: Sources,
    metrics: Metrics,
    document: Callable[[], bytes],
    others: Watched | None = None,
) -> Starlette:
    """The ASGI application; `document` gives the OpenAPI description as JSON, `others` are the ways besides HTTP."""
    front = _Front(core, sources, metrics, document, others)
    return Starlette(
        routes=[
            Route("/v1/ingest/{dataset}", front.ingest, methods=["POST"]),
            Route("/health", front.health),
            Route("/ready", front.ready),
            Route("/metrics", front.metrics),
            Route("/openapi.json", front.openapi),
        ],
        exception_handlers={HTTPException: _http_problem, 500: _unexpected},
    )


class _Front:
    def __init__(
        self,
        core: Core,
        sources: Sources,
        metrics: Metrics,
        document: Callable[[], bytes],
        others: Watched | None,
    ) -> None:
        self._core, self._sources, self._metrics, self._document = core, sources, metrics, document
        self._others = others

    async def ingest(self, request: Request) -> Response:
        """Take one body for the dataset in the path."""
        began = time.perf_counter()
        try:
            receipt = await self._take(request)
            answer = _answer(_outcome(receipt), receipt)
        except IntakeError as error:
            answer = problem(_STATUS[type(error)], str(error), retry_after_s=error.retry_after_s)
        except Unauthorised as error:
            answer = problem(401, str(error))
            answer.headers["WWW-Authenticate"] = 'Bearer realm="lake"'
        except TimeoutError:
            answer = problem(408, f"The body did not come within {BODY_TIMEOUT_S:.0f} s.")
        except ClientDisconnect:
            # Nobody reads this answer; the count shows that senders break off.
            answer = problem(400, "The sender broke off.")
        self._metrics.request(answer.status_code, time.perf_counter() - began)
        return answer

    async def _take(self, request: Request) -> Receipt:
        source = self._sources.authenticate(_bearer(request))
        dataset, media_type = request.path_params["dataset"], request.headers.get("content-type", "")
        size = request.headers.get("content-length", "0")
        self._core.check(dataset, media_type, source, int(size) if size.isdigit() else 0)
        async with asyncio.timeout(BODY_TIMEOUT_S):
            body = await self._body(request)
        future = self._core.submit(Submission(dataset, body, media_type, source, datetime.now(UTC)))
        return await asyncio.wrap_future(future)

    async def _body(self, request: Request) -> bytes:
        limit = self._core.limits.body_bytes
        parts: list[bytes] = []
        size = 0
        async for part in request.stream():
            size += len(part)
            if size > limit:
                raise Oversized(f"The body has more than {limit} bytes.", "Send smaller batches.")
            parts.append(part)
        return _decoded(b"".join(parts), request.headers.get("content-encoding", "identity").lower(), limit)

    async def health(self, _request: Request) -> Response:
        """Whether the process answers, and which it is."""
        told = {"status": "ok", "service": SERVICE, "namespace": self._core.settings.namespace, "pid": os.getpid()}
        return _json(200, told)

    async def ready(self, _request: Request) -> Response:
        """Whether records can be taken, where they go, and how brokers and inboxes are."""
        state = self._core.state
        told = {
            "ready": state.is_ready,
            "kafka": "connected" if state.is_connected else "away",
            "kafka_error": state.last_error or None,
            "spooled": state.waiting,
            "spool_bytes": state.spool_bytes,
            "spool_limit_bytes": state.spool_limit_bytes,
            "problems": state.problems,
            "collectors": self._others.told() if self._others else (),
            "unbound": sum(self._others.unbound().values()) if self._others else 0,
        }
        return _json(200 if state.is_ready else 503, told)

    async def metrics(self, _request: Request) -> Response:
        """Counters for Prometheus."""
        return Response(self._metrics.render(), media_type=self._metrics.media_type)

    async def openapi(self, _request: Request) -> Response:
        """The description of this interface, generated from the contracts."""
        return Response(self._document(), media_type="application/json")


def _outcome(receipt: Receipt) -> int:
    """202 all taken, 207 some refused, 422 all refused."""
    if not receipt.refused:
        return 202
    return 207 if receipt.accepted or receipt.spooled else 422


def _answer(status: int, receipt: Receipt) -> Response:
    return _json(status, receipt)


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _decoded(body: bytes, encoding: str, limit: int) -> bytes:
    """The body without its content encoding; never more than `limit` bytes of it are unpacked.

    Raises:
        UnknownFormat: another encoding than gzip.
        Oversized: it unpacks to more than `limit`.
        Empty: it is no gzip.
    """
    if encoding in {"", "identity"}:
        return body
    if encoding != "gzip":
        raise UnknownFormat(f"The content encoding {encoding!r} is not taken.", "Allowed: gzip.")
    unpacker = zlib.decompressobj(_GZIP)
    try:
        plain = unpacker.decompress(body, limit)
        if unpacker.unconsumed_tail or (not unpacker.eof and unpacker.decompress(b"", 1)):
            raise Oversized(f"The body unpacks to more than {limit} bytes.", "Send smaller batches.")
        if not unpacker.eof or unpacker.unused_data:
            raise Empty("The body is no whole gzip.")
    except zlib.error:
        raise Empty("The body is no gzip.") from None
    return plain


def problem(status: int, detail: str, *, retry_after_s: float | None = None) -> Response:
    """A problem detail (RFC 9457), with Retry-After in whole seconds where waiting helps."""
    answer = _json(status, {"title": _TITLES[status], "status": status, "detail": detail}, "application/problem+json")
    if retry_after_s is not None:
        answer.headers["Retry-After"] = str(max(1, -int(-retry_after_s // 1)))
    return answer


def _json(status: int, content: Any, media_type: str = "application/json") -> Response:
    return Response(msgspec.json.encode(content), status_code=status, media_type=media_type)


async def _http_problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    answer = problem(error.status_code, str(error.detail))
    for name, text in (error.headers or {}).items():
        answer.headers[name] = text
    return answer


async def _unexpected(_request: Request, _error: Exception) -> Response:
    return problem(500, "The gateway failed; nothing of this request counts. Its log says why.")
