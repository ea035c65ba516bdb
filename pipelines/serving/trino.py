"""Trino for people: a connection as one user, rows as they arrive, and errors as one clear sentence.

Registration of tables and the views themselves are made by :mod:`pipelines.publishing.registration`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from pipelines.contracts.names import double_quote, literal
from pipelines.contracts.targets import trino as target
from pipelines.runtime.errors import LakeError
from pipelines.runtime.services import endpoints
from pipelines.runtime.settings import Settings
from pipelines.runtime.trino import PLATFORM_USER

if TYPE_CHECKING:
    from trino.dbapi import Connection
    from trino.exceptions import TrinoQueryError

_REQUEST_TIMEOUT_S = 60.0


class QueryError(LakeError):
    """A query that Trino refused; ``name`` is Trino's own name of the error."""

    def __init__(self, what: str, remedy: str = "", *, name: str = "") -> None:
        """Keep Trino's name of the error beside the sentence."""
        super().__init__(what, remedy)
        self.name = name


@dataclass(frozen=True)
class Result:
    """A running query: column names, Trino's type names, and rows as they arrive (instants are UTC-aware)."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: Iterator[Sequence[Any]]


class Client:
    """One user's connection to the catalog of a namespace; use as a context manager."""

    def __init__(self, settings: Settings, user: str = PLATFORM_USER, schema: str = target.PUBLISHED) -> None:
        """Connect lazily as ``user``.

        Raises:
            ServiceError: Trino is not running.
        """
        from trino.dbapi import connect

        self._url = endpoints(settings).trino
        self.catalog, self.user = settings.catalog, user
        parts = urlsplit(self._url)
        self._connection: Connection = connect(
            host=parts.hostname or "127.0.0.1",
            port=parts.port or 80,
            user=user,
            catalog=self.catalog,
            schema=schema,
            http_scheme="http",
            source="lake",
            timezone="UTC",
            request_timeout=_REQUEST_TIMEOUT_S,
        )

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self._connection.close()

    def stream(self, statement: str) -> Result:
        """Run a statement and give its rows as they arrive.

        Raises:
            QueryError: Trino refused it; one clear sentence.
        """
        with self._translated():
            cursor = self._connection.cursor()
            cursor.execute(statement)
            described = cursor.description or []

        def rows() -> Iterator[Sequence[Any]]:
            with self._translated():
                while row := cursor.fetchone():
                    yield row

        return Result(tuple(c[0] for c in described), tuple(str(c[1]) for c in described), rows())

    def query(self, statement: str) -> list[Sequence[Any]]:
        """Run a statement and return all its rows.

        Raises:
            QueryError: Trino refused it.
        """
        return list(self.stream(statement).rows)

    def tables(self, schemas: Iterable[str]) -> list[str]:
        """``schema.table`` of every table and view of these schemas that the user may see, sorted."""
        listed = ", ".join(literal(schema) for schema in schemas)
        found = self.query(
            f"SELECT table_schema || '.' || table_name FROM {double_quote(self.catalog)}.information_schema.tables "
            f"WHERE table_schema IN ({listed})"
        )
        return sorted(str(row[0]) for row in found)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        import requests
        from trino.exceptions import TrinoConnectionError, TrinoQueryError

        try:
            yield
        except TrinoQueryError as error:
            raise self._sentence(error) from error
        except (TrinoConnectionError, requests.RequestException) as error:
            raise QueryError(
                f"Trino ở {self._url} không trả lời ({type(error).__name__}).", "Run `lake status`, then `lake up`."
            ) from error

    def _sentence(self, error: TrinoQueryError) -> QueryError:
        """Turn Trino's error into one sentence; an unknown name lists the near ones."""
        name, message = str(error.error_name), str(error.message)
        match name:
            case "TABLE_NOT_FOUND" | "SCHEMA_NOT_FOUND":
                return QueryError(f"Không có bảng này: {message}.", self._near(message), name=name)
            case "CATALOG_NOT_FOUND":
                remedy = "Run the pipeline first (`lake run …`), or check LAKE_NAMESPACE."
                return QueryError(f"Chưa có danh mục {self.catalog}: {message}.", remedy, name=name)
            case "PERMISSION_DENIED":
                remedy = "People read the schemas published and live; the other layers belong to the platform."
                return QueryError(f"Không có quyền: {message.removeprefix('Access Denied: ')}.", remedy, name=name)
            case "SYNTAX_ERROR":
                # Trino lists every keyword that could follow; nobody reads that.
                return QueryError(f"Sai cú pháp: {message.split(' Expecting:', maxsplit=1)[0]}", name=name)
            case "COLUMN_NOT_FOUND":
                return QueryError(f"Không có cột này: {message}.", "Run `DESCRIBE <table>` for its columns.", name=name)
            case _:
                return QueryError(f"Truy vấn không chạy được ({name}): {message}", name=name)

    def _near(self, message: str) -> str:
        wanted = message.split("'")[1].split(".") if "'" in message else [message]
        try:
            known = self.tables((target.PUBLISHED, target.LIVE))
        except QueryError:
            return "Run the pipeline first, or check LAKE_NAMESPACE."
        by_name: dict[str, list[str]] = {}
        for table in known:
            by_name.setdefault(table.split(".")[1], []).append(table)
        near = [full for name in difflib.get_close_matches(wanted[-1], by_name, n=4) for full in by_name[name]]
        listed = ", ".join(near or known) or "none yet: publish first (`lake run publish`)"
        return f"{'Near names' if near else 'Tables'}: {listed}."
