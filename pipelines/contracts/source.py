"""YAML with the line of every value, so that a finding points at the place to mend."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from pipelines.contracts.errors import ContractError, ContractErrors, Location

MAX_BYTES = 1_000_000
MAX_DEPTH = 20
M = TypeVar("M", bound=BaseModel)


class SourceFile:
    """One parsed YAML file: plain data plus the line of every pointer."""

    def __init__(self, path: Path, root: Path) -> None:
        """Read ``path``; locations are shown relative to ``root``.

        Raises:
            ContractErrors: the file is not YAML, is too large, is not a mapping, or holds a duplicate key, an alias or
                a tag.
        """
        self.path = path
        self.name = str(path.relative_to(root))
        self._lines: dict[tuple[str | int, ...], int] = {}
        self._written: dict[tuple[str | int, ...], str] = {}
        text = path.read_bytes()
        if len(text) > MAX_BYTES:
            raise ContractErrors([ContractError(f"larger than {MAX_BYTES} bytes", where=Location(self.name))])
        try:
            content = unicodedata.normalize("NFC", text.decode("utf-8")).encode()
            self.data: dict[str, Any] = self._document(yaml.parse(content, Loader=yaml.CSafeLoader))
        except UnicodeDecodeError as error:
            raise ContractErrors([ContractError("not UTF-8", where=Location(self.name), hint=str(error))]) from error
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 0
            message = f"not valid YAML: {error.problem}"
            hint = "indent with spaces, and put a text that holds `: ` or begins with a sign into quotes"
            raise self._refused(message, line, hint) from error
        except yaml.reader.ReaderError as error:
            line = content[: error.position].count(b"\n") + 1
            raise self._refused(f"not valid YAML: {error.reason}", line) from error

    def _document(self, events: Iterator[Any]) -> dict[str, Any]:
        """Read the one document of the file, a mapping.

        Raises:
            ContractErrors: there is another document or none, or something that :meth:`_value` refuses.
        """
        starts = (event for event in events if not isinstance(event, yaml.StreamStartEvent | yaml.DocumentStartEvent))
        top = next(starts)
        if not isinstance(top, yaml.MappingStartEvent):
            raise self._refused("a schema file holds a mapping at its top", 1)
        data: dict[str, Any] = self._value(events, top, ())
        next(events)
        after = next(events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise self._refused("a schema file holds one document", after.start_mark.line + 1)
        return data

    def _value(self, events: Iterator[Any], event: Any, pointer: tuple[str | int, ...]) -> Any:
        """Turn events into dicts, lists and scalars, which compare and serialise predictably, and note their lines.

        Raises:
            ContractErrors: a key stands twice in one mapping or is no text; an alias, by which a small file could hold
                a value that never ends; a tag, which would be lost; something deeper than any contract is.
        """
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise self._refused(f"the alias *{event.anchor} is not read", line, "write the value out")
        if event.tag is not None:
            raise self._refused(f"the tag {event.tag} is not read", line, "quotes make a text of a number")
        if len(pointer) > MAX_DEPTH:
            raise self._refused(f"nested deeper than {MAX_DEPTH} levels", line)
        if isinstance(event, yaml.ScalarEvent):
            value = event.value if event.style else _scalar(event.value)
            if value is not None and str(value) != event.value:
                self._written[pointer] = event.value
            return value
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Any] = []
            while not isinstance(item := next(events), yaml.SequenceEndEvent):
                place = (*pointer, len(items))
                self._lines[place] = item.start_mark.line + 1
                items.append(self._value(events, item, place))
            return items
        mapping: dict[str, Any] = {}
        while not isinstance(named := next(events), yaml.MappingEndEvent):
            line = named.start_mark.line + 1
            if not isinstance(named, yaml.ScalarEvent):
                raise self._refused("a key is one word or text", line)
            key = str(named.value)
            if key in mapping:
                raise self._refused(f"key {key!r} stands twice", line)
            self._lines[(*pointer, key)] = line
            mapping[key] = self._value(events, next(events), (*pointer, key))
        return mapping

    def written(self, value: Any, *pointer: str | int) -> str:
        """A value as it is written in the file: `010` is a number to YAML, and a code to people."""
        return self._written.get(pointer, str(value))

    def _refused(self, message: str, line: int, hint: str = "") -> ContractErrors:
        return ContractErrors([ContractError(message, where=Location(self.name, line), hint=hint)])

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
