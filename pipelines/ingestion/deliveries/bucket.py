"""A bucket of an object store, by the S3 protocol: an object is there whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import urllib3
from minio import Minio
from minio.error import InvalidResponseError, S3Error, ServerError

from pipelines.gateway.inbox.folder import is_temporary
from pipelines.ingestion.access import Access
from pipelines.ingestion.deliveries.delivery import Delivery, Inbox
from pipelines.ingestion.files import FileIncomplete, FileUnfit
from pipelines.ingestion.trouble import Kind, Sentences, Trouble

_SIGN_IN = frozenset(
    {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "AccountProblem"}
)
_SPARE_BYTES = 1024**3
"""What a fetched file leaves free on the disk."""


class BucketInbox(Inbox):
    """A bucket, or what lies below a prefix of it that ends in a slash; `scratch` is where objects are fetched to."""

    def __init__(self, access: Access, client: Minio, bucket: str, prefix: str, scratch: Path) -> None:
        self._said, self._client, self._bucket, self._prefix = Sentences(access), client, bucket, prefix
        self._scratch = scratch

    def deliveries(self) -> Sequence[Delivery]:
        """As :meth:`Inbox.deliveries`; objects whose key has further slashes lie in folders, and are none."""
        with self._told():
            listed = list(self._client.list_objects(self._bucket, prefix=self._prefix, recursive=False))
        found = []
        for entry in listed:
            name = str(entry.object_name)[len(self._prefix) :]
            if entry.is_dir or not name or "/" in name or is_temporary(name) or entry.last_modified is None:
                continue
            found.append(Delivery(name, int(entry.size or 0), entry.last_modified, str(entry.etag or "")))
        return found

    @contextmanager
    def fetched(self, delivery: Delivery) -> Iterator[Path]:
        """As :meth:`Inbox.fetched`: a copy that is deleted afterwards, of the content that was seen and no other."""
        self._scratch.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self._scratch).free
        if delivery.size_bytes > free - _SPARE_BYTES:
            what = f"it has {delivery.size_bytes} bytes, and this machine only {free} left"
            raise FileUnfit(delivery.name, what, "Make room on the disk of the lake's state.")
        with TemporaryDirectory(dir=self._scratch) as folder:
            # The name of an object is never used as a path.
            path = Path(folder) / "object"
            with self._told():
                try:
                    response = self._client.get_object(
                        self._bucket, self._prefix + delivery.name, request_headers={"If-Match": f'"{delivery.tag}"'}
                    )
                except S3Error as error:
                    if error.code in {"PreconditionFailed", "NoSuchKey"}:
                        what, remedy = "it was replaced or removed a moment ago", "It is read at the next time."
                        raise FileIncomplete(delivery.name, what, remedy) from None
                    raise
                try:
                    with path.open("wb") as target:
                        for chunk in response.stream(1024**2):
                            target.write(chunk)
                finally:
                    response.close()
                    response.release_conn()
            if path.stat().st_size != delivery.size_bytes:
                raise FileIncomplete(delivery.name, "it came only in part", "It is fetched again at the next time.")
            yield path

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say the client's errors in sentences."""
        try:
            yield
        except S3Error as error:
            kind = Kind.SIGN_IN if error.code in _SIGN_IN else Kind.OTHER
            reason = f"{error.code}: {error.message or error.resource}"
            raise self._said.error(Trouble(kind, reason)) from error
        except (InvalidResponseError, ServerError, urllib3.exceptions.HTTPError, ConnectionError) as error:
            raise self._said.error(Trouble(Kind.AWAY, str(error))) from error


def client_of(access: Access, endpoint: urllib3.util.Url, extra: dict[str, Any]) -> Minio:
    """The client of a connection: its keys, the region where one is said, and the source's timeouts."""
    timeouts = access.source.timeouts
    seconds = {"connect": timeouts.connect.total_seconds(), "read": timeouts.statement.total_seconds()}
    pool = urllib3.PoolManager(
        timeout=urllib3.Timeout(**seconds),
        retries=urllib3.Retry(total=2, backoff_factor=0.5, status_forcelist=(500, 502, 503, 504)),
        cert_reqs="CERT_REQUIRED",
        ca_certs=extra.get("ca_certs"),
    )
    return Minio(
        str(endpoint.netloc),
        access_key=access.connection.login or None,
        secret_key=access.connection.password or None,
        secure=endpoint.scheme == "https",
        region=extra.get("region_name"),
        http_client=pool,
    )
