"""The only place that makes and quotes identifiers and literals.

Every identifier of the lake (dataset, field, schema, topic part) obeys one pattern, so that the same name is legal,
unquoted and equal in Kafka, Flink, Delta, Spark, Trino, PostgreSQL and dbt. Quoting is still applied everywhere:
a field may be a reserved word of one engine (``at``, ``raw``).
"""

from __future__ import annotations

import re
from decimal import Decimal

IDENTIFIER = re.compile(r"[a-z][a-z0-9_]{0,62}\Z")


def identifier(name: str) -> str:
    """Return ``name`` unchanged when it is a legal identifier.

    Raises:
        ValueError: it does not match ``[a-z][a-z0-9_]{0,62}``.
    """
    if not IDENTIFIER.match(name):
        raise ValueError(f"{name!r} is not an identifier; allowed: [a-z][a-z0-9_]{{0,62}}")
    return name


def backtick(name: str) -> str:
    """Quote an identifier for Flink, Spark and Delta SQL."""
    return f"`{identifier(name)}`"


def double_quote(name: str) -> str:
    """Quote an identifier for Trino, DuckDB and PostgreSQL."""
    return f'"{identifier(name)}"'


def literal(value: object) -> str:
    """Render a Python value as a SQL literal that Flink, Spark and Trino read alike.

    Raises:
        TypeError: a type that has no portable literal.
    """
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int | Decimal):
        return format(value, "f") if isinstance(value, Decimal) else str(value)
    if isinstance(value, float):
        return repr(Decimal(repr(value)))[9:-2]
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    raise TypeError(f"no portable SQL literal for {type(value).__name__}")
