"""How every generated file looks: the mark and a hash of its content on top, sorted or in the order of the contract,
UTF-8, one line break at the end.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from decimal import Decimal
from io import StringIO
from typing import Any

from yaml.cyaml import CEmitter  # type: ignore[attr-defined]  # the stubs do not re-export it
from yaml.events import (
    DocumentEndEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
    StreamStartEvent,
)

from pipelines.contracts.artifacts import MARK

_WIDTH = 116
# What YAML 1.1 or 1.2 takes for something else than a text; they disagree on `1e3`, `0o7`, `1:30`, `y`.
_AMBIGUOUS = re.compile(r"[-+.\d].*|[yYnN~=]|<<|null|true|false|yes|no|on|off|", re.DOTALL | re.IGNORECASE)


def number(value: Decimal) -> int | float:
    """A limit as JSON and YAML write numbers; limits of contracts have few digits, so nothing is lost."""
    return int(value) if value == value.to_integral_value() else float(value)


def header(body: str) -> str:
    """The line that marks a generated file, with the first digits of the SHA-256 of ``body``."""
    digest = hashlib.sha256(body.encode("utf-8")).hexdigest()[:16]
    return f"{MARK} from schemas/ (sha256 {digest}): change the contract, not this file"


def yaml_file(data: Mapping[str, Any]) -> str:
    """``data`` as a YAML file in its own order; a text that any YAML would take for something else is quoted.

    Raises:
        TypeError: a value that is no mapping, list, text, number, truth value or None.
    """
    stream = StringIO()
    emitter = CEmitter(stream, width=_WIDTH, allow_unicode=True)
    emitter.emit(StreamStartEvent())
    emitter.emit(DocumentStartEvent(explicit=False))
    _emit(emitter, data)
    emitter.emit(DocumentEndEvent(explicit=False))
    emitter.emit(StreamEndEvent())
    body = stream.getvalue()
    return f"# {header(body)}\n{body}"


def _emit(emitter: CEmitter, value: object) -> None:
    """Give a value to libyaml event by event: a dumper would resolve every text three times, and make anchors."""
    if isinstance(value, str):
        quoted = _AMBIGUOUS.fullmatch(value) is not None
        emitter.emit(ScalarEvent(None, None, (not quoted, True), value, style="'" if quoted else None))
    elif isinstance(value, Mapping):
        emitter.emit(MappingStartEvent(None, None, True, flow_style=not value))
        for key, part in value.items():
            _emit(emitter, key)
            _emit(emitter, part)
        emitter.emit(MappingEndEvent())
    elif isinstance(value, list | tuple):
        emitter.emit(SequenceStartEvent(None, None, True, flow_style=not value))
        for part in value:
            _emit(emitter, part)
        emitter.emit(SequenceEndEvent())
    elif value is None or isinstance(value, bool | int | float):
        # 1e-05 would be a text in YAML 1.1.
        plain = format(Decimal(repr(value)), "f") if isinstance(value, float) else json.dumps(value)
        emitter.emit(ScalarEvent(None, None, (True, False), plain))
    else:
        raise TypeError(f"{type(value).__name__} has no form in YAML")


def json_file(data: Mapping[str, Any], mark: str) -> str:
    """``data`` as a JSON file in its own order; ``mark`` is the first key, which carries the header."""
    body = json.dumps(dict(data), indent=2, ensure_ascii=False)
    return json.dumps({mark: header(body), **data}, indent=2, ensure_ascii=False) + "\n"


def markdown_file(body: str) -> str:
    """``body`` as a Markdown file; the header is a comment."""
    return f"<!-- {header(body)} -->\n{body}"
