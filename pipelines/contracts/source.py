"""YAML with the line of every value, so that a finding points at the place to mend."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from pipelines.contracts.errors import ContractError, ContractErrors, Location

MAX_BYTES = 1_000_000
M = TypeVar("M", bound=BaseModel)


class SourceFile:
    """One parsed YAML file: plain data plus the line of every pointer."""

    def __init__(self, path: Path, root: Path) -> None:
        """Read ``path``; locations are shown relative to ``root``.

        Raises:
            ContractErrors: the file is not YAML, holds a duplicate key, is too large or is not a mapping.
        """
        self.path = path
        self.name = str(path.relative_to(root))
        text = path.read_bytes()
        if len(text) > MAX_BYTES:
            raise ContractErrors([ContractError(f"larger than {MAX_BYTES} bytes", where=Location(self.name))])
        try:
            node = yaml.compose(unicodedata.normalize("NFC", text.decode("utf-8")), Loader=yaml.CSafeLoader)
        except UnicodeDecodeError as error:
            raise ContractErrors([ContractError("not UTF-8", where=Location(self.name), hint=str(error))]) from error
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 0
            message = f"not valid YAML: {error.problem}"
            hint = "indent with spaces, and put a text that holds `: ` or begins with a sign into quotes"
            raise ContractErrors([ContractError(message, where=Location(self.name, line), hint=hint)]) from error
        if not isinstance(node, yaml.MappingNode):
            message = "a schema file holds a mapping at its top"
            raise ContractErrors([ContractError(message, where=Location(self.name, 1))])
        self._lines: dict[tuple[str | int, ...], int] = {}
        self.data: dict[str, Any] = self._plain(node, ())

    def _plain(self, node: Any, pointer: tuple[str | int, ...]) -> Any:
        """Turn nodes into dicts, lists and scalars, which compare and serialise predictably, and note their lines.

        Raises:
            ContractErrors: a key stands twice in one mapping.
        """
        if isinstance(node, yaml.MappingNode):
            mapping: dict[str, Any] = {}
            for key_node, value in node.value:
                key, line = str(key_node.value), key_node.start_mark.line + 1
                if key in mapping:
                    raise ContractErrors([ContractError(f"key {key!r} stands twice", where=Location(self.name, line))])
                self._lines[(*pointer, key)] = line
                mapping[key] = self._plain(value, (*pointer, key))
            return mapping
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self._lines[(*pointer, index)] = item.start_mark.line + 1
            return [self._plain(item, (*pointer, index)) for index, item in enumerate(node.value)]
        return node.value if node.style else _scalar(node.value)

    def where(self, *pointer: str | int) -> Location:
        """The place of a value; the nearest enclosing one when the pointer leads past the file."""
        for length in range(len(pointer), 0, -1):
            line = self._lines.get(pointer[:length])
            if line is not None:
                return Location(self.name, line)
        return Location(self.name, 1)

    def build(self, model: type[M], data: Mapping[str, Any], *prefix: str | int, dataset: str = "") -> M:
        """Validate ``data``, the part of this file below ``prefix``, as ``model``.

        Raises:
            ContractErrors: one finding per offending value, each with its line.
        """
        try:
            return model.model_validate(data)
        except ValidationError as error:
            raise ContractErrors(
                ContractError(
                    _sentence(item, model),
                    where=self.where(*prefix, *item["loc"]),
                    dataset=dataset,
                    hint=_hint(item, model),
                )
                for item in error.errors()
            ) from error


def _sentence(item: Any, model: type[BaseModel]) -> str:
    pointer = ".".join(str(part) for part in item["loc"]) or model.__name__
    if item["type"] == "extra_forbidden":
        return f"unknown key {pointer!r}"
    if item["type"] == "missing":
        return f"key {pointer!r} is missing"
    return f"{pointer}: {item['msg'].removeprefix('Value error, ')}"


def _hint(item: Any, model: type[BaseModel]) -> str:
    """Name the allowed keys of the model that refused one."""
    if item["type"] != "extra_forbidden":
        return ""
    candidates: list[type[BaseModel]] = [model]
    for part in item["loc"][:-1]:
        held = [m for c in candidates for n, f in c.model_fields.items() if part in (n, f.alias) for m in _models(f)]
        # What is no key of a model is a place in a list, a key of a mapping, or the word that chooses one of several.
        candidates = held or [c for c in candidates if part in _words(c)] or candidates
    allowed = {f.alias or n for c in candidates for n, f in c.model_fields.items()}
    return f"allowed: {', '.join(sorted(allowed))}"


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The models that a field may hold, by itself, as an option, or in a list or mapping."""
    annotation = getattr(annotation, "annotation", annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models(argument)]


def _words(model: type[BaseModel]) -> set[Any]:
    return {word for field in model.model_fields.values() for word in get_args(field.annotation)}


_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_TRUTHS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


def _scalar(text: str) -> str | int | float | bool | None:
    """Read a plain scalar by the core schema of YAML 1.2: `no`, `on`, `12:30` and `2025-10-27` are text."""
    if text in _NULLS:
        return None
    if text in _TRUTHS:
        return _TRUTHS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text
