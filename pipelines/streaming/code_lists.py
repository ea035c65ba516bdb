"""Code lists as one literal each, in the form that ``CodeListRows`` of the Java module reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Any
from zoneinfo import ZoneInfo

import yaml

from pipelines.contracts.model import CodeList
from pipelines.contracts.registry import Registry
from pipelines.runtime.errors import LakeError

VALIDITY = {"valid_from": "from", "valid_to": "to"}
"""Columns that say when a row holds, and what the form of the literal calls them."""
_HUE = ZoneInfo("Asia/Ho_Chi_Minh")
_MARKS = "|;"


@dataclass(frozen=True)
class JoinedList:
    """One entry of ``functions.yaml`` below ``code_lists``: a list that rows of a job are joined with.

    ``keys`` maps the column of the joined table to the column of the list; ``columns`` are what the join adds.
    """

    code_list: str
    keys: Mapping[str, str]
    columns: tuple[str, ...]


@cache
def declarations() -> Mapping[str, Any]:
    """The content of ``pipelines/streaming/sql/functions.yaml``."""
    text = (resources.files("pipelines.streaming") / "sql" / "functions.yaml").read_text(encoding="utf-8")
    found: Mapping[str, Any] = yaml.safe_load(text)
    return found


def joined_lists() -> Mapping[str, JoinedList]:
    """Every declared list by the name of its ``$parameter``."""
    return {
        name: JoinedList(said["code_list"], said["keys"], tuple(said["columns"]))
        for name, said in declarations()["code_lists"].items()
    }


def list_texts(registry: Registry) -> Mapping[str, str]:
    """Every declared list as text, by the name of its ``$parameter``.

    Raises:
        LakeError: a value that the form cannot hold.
    """
    return {
        name: code_list_rows(registry.code_list(said.code_list), said.keys, said.columns)
        for name, said in joined_lists().items()
    }


def code_list_rows(code_list: CodeList, keys: Mapping[str, str], columns: Iterable[str]) -> str:
    """A code list as ``CodeListRows`` of the Java module reads it: a line that names the columns, then the rows.

    ``keys`` maps the name that the joined table uses to the list's column. Validity is that of days in Huế, as instants
    in UTC, and goes along where the list has it.

    Raises:
        LakeError: a value holds ``|`` or ``;``, which separate values and rows.
    """
    types = {column.name: column.type for column in code_list.columns}
    plain = [(name, "number" if types[name].is_numeric else "text") for name in columns]
    validity = [(name, kind) for name, kind in VALIDITY.items() if name in types]
    heads = [*((name, "key") for name in keys), *plain, *validity]
    sources = [*keys.values(), *(name for name, _ in (*plain, *validity))]
    lines = ["|".join(f"{name}:{kind}" for name, kind in heads)]
    lines += ["|".join(_cell(code_list, row, name) for name in sources) for row in code_list.rows]
    return ";".join(lines)


def _cell(code_list: CodeList, row: Mapping[str, Any], column: str) -> str:
    value = row.get(column)
    if column in VALIDITY:
        return midnight(value)
    text = "" if value is None else str(value)
    if any(mark in text for mark in _MARKS):
        raise LakeError(
            f"Code list {code_list.id}: {column} is {text!r}; a list that a stream job reads holds no | and no ;.",
            f"Change the value in schemas/codelists/{code_list.id}.yaml.",
        )
    return text


def midnight(day: str | None) -> str:
    """The instant at which a day begins in Huế, as ISO 8601 in UTC; an open end is empty."""
    if day is None:
        return ""
    return datetime.fromisoformat(day).replace(tzinfo=_HUE).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
