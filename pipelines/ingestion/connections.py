"""Where a source is and how to sign in: `AIRFLOW_CONN_<ID>` of the environment, as Airflow reads it.

The variable holds a URI or JSON. It is read here and not by Airflow: that would cost seconds at each start of `lake`,
which a task of Airflow begins as a process of its own, out of reach of Airflow's store. The task looks there for the
connections of its sources and hands them on in this same form.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from pipelines.runtime.errors import LakeError

_EXTRA = "__extra__"
"""The one key of a URI's query that holds all extras as JSON."""
_JSON_KEYS = frozenset({"conn_type", "host", "login", "password", "schema", "port", "extra", "description"})
_FORM = "postgresql://user:password@host:5432/database, signs like @ : / % in a part written %40 %3A %2F %25, or JSON"


class ConnectionMissing(LakeError):
    """No connection of this id is known to the process; nothing else is read in its place."""


class ConnectionUnreadable(LakeError):
    """What a variable holds is no connection; the text names the variable and never what it holds."""


@dataclass(frozen=True)
class Connection:
    """One connection. `kind` is Airflow's type (`postgres`, `mysql`, `generic`), `database` what Airflow calls schema;
    a part that is not said is empty."""

    id: str
    kind: str = ""
    host: str = ""
    port: int | None = None
    database: str = ""
    login: str = ""
    password: str = field(default="", repr=False)
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        """Render without password and extras, which may hold secrets too."""
        return repr(self)


def variable_of(connection_id: str) -> str:
    """The environment variable of a connection: `sector_hues` gives `AIRFLOW_CONN_SECTOR_HUES`."""
    return f"AIRFLOW_CONN_{connection_id.upper()}"


def find_connection(connection_id: str, env: Mapping[str, str] | None = None) -> Connection:
    """The connection of an id in `env` (default: the environment).

    Raises:
        ConnectionMissing, ConnectionUnreadable: the text says which variable to set, and to what.
    """
    variable = variable_of(connection_id)
    text = (os.environ if env is None else env).get(variable, "").strip()
    if not text:
        raise ConnectionMissing(
            f"There is no connection {connection_id!r}.",
            f"Set {variable} ({_FORM}), or make the connection {connection_id!r} in Airflow for its runs.",
        )
    try:
        return parse_connection(connection_id, text)
    except ValueError as error:
        raise ConnectionUnreadable(f"{variable} holds no connection: {error}.", f"Write {_FORM}.") from None


def parse_connection(connection_id: str, text: str) -> Connection:
    """Read one connection from a URI or JSON.

    Raises:
        ValueError: it is neither; the text says nothing of what it holds but names of keys.
    """
    return _from_json(connection_id, text) if text.startswith("{") else _from_uri(connection_id, text)


def _from_uri(connection_id: str, uri: str) -> Connection:
    schemes = uri.count("://")
    kind, _, rest = uri.partition("://")
    if not 1 <= schemes <= 2 or not kind:
        raise ValueError("it is no URI like type://host")
    protocol = ""
    if schemes == 2:
        # The host of a web service may say its own protocol: http://https://host.
        protocol, _, rest = rest.partition("://")
        if set("@:") & set(protocol):
            raise ValueError("a sign of a part is not written as %XX")
    try:
        parts = urlsplit(f"//{rest}")
        port = parts.port
    except ValueError:
        # Its text would quote the address, and with it perhaps a part of a password.
        raise ValueError("its port is no number up to 65535, or a sign of a part is not written as %XX") from None
    host = _host(parts)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    return Connection(
        id=connection_id,
        kind=_kind(kind.lower()),
        host=f"{protocol}://{host}" if protocol and host else host,
        port=port,
        database=unquote(parts.path[1:]),
        login=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        extra=_extra(query[_EXTRA]) if _EXTRA in query else query,
    )


def _host(parts: SplitResult) -> str:
    """The host; one with an escaped slash is the path of a socket, whose capitals count."""
    host = unquote(parts.hostname or "")
    return unquote(parts.netloc.rpartition("@")[2].partition(":")[0]) if "/" in host else host


def _from_json(connection_id: str, text: str) -> Connection:
    try:
        given = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"its JSON ends at line {error.lineno}, column {error.colno}") from None
    if unknown := sorted(set(given) - _JSON_KEYS):
        raise ValueError(f"unknown key {', '.join(unknown)} (allowed: {', '.join(sorted(_JSON_KEYS))})")
    try:
        port = int(given["port"]) if given.get("port") else None
    except (TypeError, ValueError):
        raise ValueError("its port is no number") from None
    texts = {name: given.get(name) or "" for name in ("conn_type", "host", "schema", "login", "password")}
    if wrong := sorted(name for name, value in texts.items() if not isinstance(value, str)):
        raise ValueError(f"the value of {', '.join(wrong)} is no text")
    return Connection(
        id=connection_id,
        kind=_kind(texts["conn_type"]),
        host=texts["host"],
        port=port,
        database=texts["schema"],
        login=texts["login"],
        password=texts["password"],
        extra=_extra(given.get("extra") or {}),
    )


def _extra(given: object) -> Mapping[str, Any]:
    if isinstance(given, str):
        try:
            given = json.loads(given or "{}")
        except json.JSONDecodeError:
            raise ValueError("its extra is no JSON") from None
    if not isinstance(given, dict):
        raise ValueError("its extra is no JSON object")
    return given


def _kind(name: str) -> str:
    """A type as Airflow writes it."""
    return "postgres" if name == "postgresql" else name.replace("-", "_")
