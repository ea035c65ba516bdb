"""From a source and its connection to an open database."""

from __future__ import annotations

from pipelines.ingestion.access import Access
from pipelines.ingestion.connections import variable_of
from pipelines.ingestion.databases.database import Database
from pipelines.ingestion.databases.dialect import Dialect
from pipelines.ingestion.databases.generic import GenericDatabase, GenericDialect
from pipelines.ingestion.databases.mariadb import MariaDB
from pipelines.ingestion.databases.mssql import SQLServer
from pipelines.ingestion.databases.oracle import Oracle
from pipelines.ingestion.databases.postgresql import PostgreSQL, PostgreSQLDatabase
from pipelines.runtime.errors import LakeError

DIALECTS: dict[str, Dialect] = {dialect.kind: dialect for dialect in (PostgreSQL(), MariaDB(), SQLServer(), Oracle())}
"""Kinds of sources → what is special about them."""


def open_database(access: Access) -> Database:
    """Open a source; the caller closes it.

    Raises:
        LakeError: it is no database, or the connection is not one of such a source.
        SourceUnavailable, WrongCredentials: it does not answer, or refuses us.
    """
    dialect = _checked(access)
    if isinstance(dialect, GenericDialect):
        return GenericDatabase(access, dialect)
    return PostgreSQLDatabase(access)


def _checked(access: Access) -> Dialect:
    """Refuse what the driver would read otherwise than its author meant: without a host it asks this machine."""
    source, connection = access.source, access.connection
    variable = variable_of(connection.id)
    dialect = DIALECTS.get(source.kind)
    if dialect is None:
        raise LakeError(
            f"The source {source.id} is of the kind {source.kind}, which has no tables.",
            f"Kinds that have: {', '.join(DIALECTS)}.",
        )
    if connection.kind not in dialect.connections:
        raise LakeError(
            f"The connection {connection.id!r} is of the type {connection.kind}, its source {source.id} is of the kind "
            f"{source.kind}.",
            f"Begin {variable} with {source.kind}://, or mend `kind` in schemas/sources/{source.id}.yaml.",
        )
    lacking = [word for word, value in (("host", connection.host), ("database", connection.database)) if not value]
    if lacking:
        raise LakeError(
            f"The connection {connection.id!r} names no {' and no '.join(lacking)}.",
            f"Write {variable} as {source.kind}://user:password@host:port/database.",
        )
    if unknown := sorted(set(connection.extra) - dialect.extras):
        raise LakeError(
            f"The connection {connection.id!r} has extras that are not used here: {', '.join(unknown)}.",
            f"Allowed: {', '.join(sorted(dialect.extras))}.",
        )
    return dialect
