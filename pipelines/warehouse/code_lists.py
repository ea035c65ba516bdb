"""Code lists at rest: every list of ``schemas/codelists`` is a Delta table ``silver/code_<list>``."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa

from pipelines.contracts.logical_types import LogicalType
from pipelines.contracts.model import CodeList
from pipelines.contracts.registry import Registry
from pipelines.contracts.targets.delta import comment
from pipelines.landing.whole import write_whole
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings


def table_name(code_list: CodeList) -> str:
    """The name of the list's table in silver: ``code_wards``."""
    return f"code_{code_list.id}"


def arrow_table(code_list: CodeList) -> pa.Table:
    """The list as an Arrow table: its columns with their comments, its rows in the order of the file, text in NFC.

    Raises:
        LakeError: a value does not fit the column's type; the text names list, row and column.
    """
    schema = pa.schema(
        [
            pa.field(column.name, column.type.arrow, metadata={"comment": comment(column)})
            for column in code_list.columns
        ]
    )
    rows = [
        {column.name: _value(code_list, index, row, column.name, column.type) for column in code_list.columns}
        for index, row in enumerate(code_list.rows, start=1)
    ]
    return pa.Table.from_pylist(rows, schema=schema)


def ensure_code_lists(settings: Settings, registry: Registry) -> Mapping[str, int]:
    """Write every code list whose content, columns or comments differ from its table; returns name → Delta version.

    A table is overwritten in place, never dropped, so that a pinned version stays readable. Calling it again writes
    nothing.

    Raises:
        LakeError: a value of a list does not fit its column.
    """
    versions: dict[str, int] = {}
    for code_list in registry.code_lists:
        versions[table_name(code_list)] = write_whole(
            settings.table_path("silver", table_name(code_list)),
            arrow_table(code_list),
            name=table_name(code_list),
            description=f"{code_list.title.vi} — {code_list.title.en}. {code_list.source} ({code_list.status}).",
        )
    return versions


def _value(code_list: CodeList, index: int, row: Mapping[str, Any], name: str, kind: LogicalType) -> Any:
    """Turn a value of the registry, exact but textual, into what Arrow stores."""
    value = row.get(name)
    if value is None:
        return None
    try:
        if kind.name == "decimal":
            return _exact(Decimal(str(value)), kind)
        if kind.name == "double":
            return float(value)
        if kind.name == "date":
            return date.fromisoformat(str(value))
        if kind.name == "string":
            return unicodedata.normalize("NFC", str(value))
    except (ArithmeticError, ValueError) as error:
        raise LakeError(
            f"Code list {code_list.id}, row {index}: {name} is {value!r}, which is no {kind}.",
            f"Mend it in schemas/codelists/{code_list.id}.yaml (or its CSV).",
        ) from error
    if kind.name in {"integer", "bigint", "boolean"}:
        return value
    raise LakeError(
        f"Code list {code_list.id}: column {name} has the type {kind}, which a code list cannot hold.",
        "Allowed: string, boolean, integer, bigint, double, decimal, date.",
    )


def _exact(value: Decimal, kind: LogicalType) -> Decimal:
    scaled = value.quantize(Decimal(1).scaleb(-kind.scale))
    if scaled != value:
        raise ValueError(f"more than {kind.scale} decimals")
    return scaled
