"""How every generated file looks: the mark and a hash of its content on top, sorted or in the order of the contract,
UTF-8, one line break at the end.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from yaml import CSafeDumper, Node, dump

from pipelines.contracts.artifacts import MARK

_WIDTH = 116
# YAML 1.1 and 1.2 disagree on what is a number or a truth value: `1e3`, `0o7`, `1:30`, `y`.
_AMBIGUOUS = re.compile(r"[-+.\d].*|[yYnN]\Z")


class _Dumper(CSafeDumper):
    """libyaml's emitter (50 times as fast as a round-trip writer) without anchors, which people cannot read."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, value: str) -> Node:
    style = "'" if _AMBIGUOUS.match(value) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def number(value: Decimal) -> int | float:
    """A limit as JSON and YAML write numbers; limits of contracts have few digits, so nothing is lost."""
    return int(value) if value == value.to_integral_value() else float(value)


def header(body: str) -> str:
    """The line that marks a generated file, with the first digits of the SHA-256 of ``body``."""
    digest = hashlib.sha256(body.encode("utf-8")).hexdigest()[:16]
    return f"{MARK} from schemas/ (sha256 {digest}): change the contract, not this file"


def yaml_file(data: Mapping[str, Any]) -> str:
    """``data`` as a YAML file in its own order; a text that any YAML would take for a number is quoted."""
    body = dump(dict(data), Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=_WIDTH)
    return f"# {header(body)}\n{body}"


def json_file(data: Mapping[str, Any], mark: str) -> str:
    """``data`` as a JSON file in its own order; ``mark`` is the first key, which carries the header."""
    body = json.dumps(dict(data), indent=2, ensure_ascii=False)
    return json.dumps({mark: header(body), **data}, indent=2, ensure_ascii=False) + "\n"


def markdown_file(body: str) -> str:
    """``body`` as a Markdown file; the header is a comment."""
    return f"<!-- {header(body)} -->\n{body}"
