"""From a source and its connection to its inbox."""

from __future__ import annotations

from pathlib import Path

from urllib3.util import parse_url

from pipelines.ingestion.access import Access
from pipelines.ingestion.connections import variable_of
from pipelines.ingestion.deliveries.delivery import Inbox
from pipelines.ingestion.deliveries.folder import FolderInbox
from pipelines.runtime.errors import LakeError

_TYPES = {"folder": frozenset({"fs", "file", "generic", ""}), "s3": frozenset({"aws", "s3", "generic", ""})}
"""Kinds of sources → Airflow's types of connections by which they can be reached."""
_EXTRAS = {
    "folder": frozenset({"path"}),
    "s3": frozenset({"endpoint_url", "bucket_name", "prefix", "region_name", "ca_certs"}),
}
_FORMS = {
    "folder": '{"conn_type": "fs", "extra": {"path": "/mnt/deliveries"}}',
    "s3": '{"conn_type": "aws", "login": "key", "password": "secret", "extra": {"endpoint_url": "https://host:9000", '
    '"bucket_name": "deliveries", "prefix": "monthly/"}}',
}


def open_inbox(access: Access, scratch: Path) -> Inbox:
    """The inbox of a source; nothing is looked at yet. Objects of a bucket are fetched below `scratch`.

    Raises:
        LakeError: the source has no deliveries, or the connection is not one of such a source.
    """
    kind, connection = access.source.kind, access.connection
    if kind not in _TYPES:
        raise LakeError(
            f"The source {access.source.id} is of the kind {kind}, which has no deliveries.",
            f"Kinds that have: {', '.join(_TYPES)}.",
        )
    remedy = f"Write {variable_of(connection.id)} as {_FORMS[kind]}."
    if connection.kind not in _TYPES[kind]:
        raise LakeError(
            f"The connection {connection.id!r} is of the type {connection.kind}, its source is of the kind {kind}.",
            remedy,
        )
    if unknown := sorted(set(connection.extra) - _EXTRAS[kind]):
        raise LakeError(
            f"The connection {connection.id!r} has extras that are not used here: {', '.join(unknown)}.",
            f"Allowed: {', '.join(sorted(_EXTRAS[kind]))}.",
        )
    extra = {name: str(value) for name, value in connection.extra.items()}
    if kind == "folder":
        path = Path(extra.get("path", ""))
        if not path.is_absolute():
            raise LakeError(f"The connection {connection.id!r} names no absolute path.", remedy)
        return FolderInbox(access, path)
    endpoint = parse_url(extra.get("endpoint_url", ""))
    bucket, prefix = extra.get("bucket_name") or connection.database, extra.get("prefix", "")
    if endpoint.scheme not in {"http", "https"} or not endpoint.host or endpoint.path not in {None, "/"} or not bucket:
        raise LakeError(f"The connection {connection.id!r} names no endpoint (http or https) and bucket.", remedy)
    # The client of buckets takes half a second to import, which a night without a bucket does not pay.
    from pipelines.ingestion.deliveries.bucket import BucketInbox, client_of

    prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
    return BucketInbox(access, client_of(access, endpoint, extra), bucket, prefix, scratch)
