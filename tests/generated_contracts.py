"""Contracts that nobody would write but the rules allow, for laws that hold for every contract.

Each comes as the files of a project of its own: quotes, decomposed Vietnamese and template signs in its texts and
codes, words of SQL and of the platform as names, every logical type, every kind of rule.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from unicodedata import normalize

from catalogue import HOME, city
from hypothesis import HealthCheck, Phase, assume, given, seed, settings
from hypothesis import strategies as st

from pipelines.contracts import validators
from pipelines.contracts.errors import ContractErrors
from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry, load_registry

Files = Mapping[str, str]

WORDS = (
    "mực nước", normalize("NFD", "Thuỷ điện Hương Điền"), "Huế's", '"quoted"', "back`tick", "a;b", "-- no", "/* * /",
    "$alarm_levels", "%s {x} {0}", "back\\slash \\n", "100 %", "<b>&amp;</b>", "|", "#", "𝄞 ☂", ": ", "''", "€", "]]>",
    "010",
)  # fmt: skip
SQL = (
    "select", "from", "where", "order", "group", "by", "table", "user", "values", "value", "end", "start", "case",
    "when", "null", "true", "at", "in", "as", "raw", "row", "array", "map", "partition", "over", "window", "timestamp",
    "date", "time", "interval", "position", "offset", "key", "source", "language", "method", "natural", "union",
    "default", "check", "to",
)  # fmt: skip
PLATFORM = (
    "reason", "rowtime", "proctime", "disposition", "payload", "origin", "revision", "qc_flag", "raw_offset",
    "load_id", "record_key", "received_at", "received_date", "data_label", "dataset", "input", "late", "on_time", "uid",
    "horizon_ms",
)  # fmt: skip
KINDS = ("keyed stream", "shared stream", "cursor", "snapshot")
TYPES = ("string", "boolean", "integer", "bigint", "double", "decimal", "date", "timestamp")
NUMBERS = ("integer", "bigint", "double", "decimal")
PATTERNS = ("[A-Z]{2}'[0-9]+", 'a\\.b"?', "x|y`", "[^ ,<&]+", "\\d{3}", "Huế( -- .*)?", "a;b")

LISTS = ("agencies", "legal_bases", "qc_flags", "wards")
"""The code lists that every project has."""

TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join).map(str.strip)
CODES = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4, unique_by=lambda code: normalize("NFC", code))


@dataclass(frozen=True)
class Generated:
    """One contract by its files below ``schemas``; ``list_id`` is its code list, if it has one."""

    id: str
    domain: str
    list_id: str | None
    files: Files


LAW = settings(
    max_examples=20, deadline=None, phases=[Phase.generate], database=None, suppress_health_check=list(HealthCheck)
)
"""For laws over one contract at a time, without shrinking: an example is read in a glance."""


def both() -> st.SearchStrategy[dict[str, str]]:
    return st.fixed_dictionaries({"vi": TEXTS, "en": TEXTS})


@st.composite
def fields(draw: st.DrawFn, list_id: str | None) -> dict[str, dict[str, Any]]:
    """A dictionary of two to nine fields: name → definition as in ``fields.yaml``; the first is required."""
    found: dict[str, dict[str, Any]] = {}
    words = draw(st.lists(st.sampled_from(SQL), min_size=2, max_size=8, unique=True))
    if draw(st.integers(0, 5)) == 5:
        words.insert(0, draw(st.sampled_from(PLATFORM)))
    for word in words:
        kind = draw(st.sampled_from(TYPES))
        definition: dict[str, Any] = {"type": kind, "title": draw(both()), "description": draw(both())}
        plain = f"{word}_of" if word in validators.UNCHECKABLE else word
        name = {"boolean": f"is_{word}", "date": f"{word}_date", "timestamp": f"{word}_at"}.get(kind, plain)
        if kind == "decimal":
            precision = draw(st.integers(1, 38))
            definition["type"] = f"decimal({precision},{draw(st.integers(0, precision))})"
        if kind in NUMBERS:
            definition |= draw(limits())
        if kind == "string" and list_id and draw(st.booleans()):
            definition["code_list"] = list_id
        definition["classification"] = draw(st.sampled_from(("open", "open", "internal", "personal", "sensitive")))
        found[name] = definition
    return found


@st.composite
def limits(draw: st.DrawFn) -> dict[str, Any]:
    """A unit and a range of a number, or none."""
    low, high = sorted(draw(st.tuples(*[st.sampled_from((-1e3, -0.5, 0, 1e-7, 3, 12.25, 1e12))] * 2)))
    choices = ({}, {"minimum": low}, {"maximum": high}, {"minimum": low, "maximum": high, "unit": "xe's (vehicles)"})
    return draw(st.sampled_from(choices))


@st.composite
def contracts(draw: st.DrawFn, kinds: tuple[str, ...] = KINDS) -> Generated:
    """One contract of one of these kinds. It may still be refused by a validator, for a name that is taken."""
    word = draw(st.sampled_from((*SQL, *PLATFORM)))
    number = draw(st.integers(0, 99))
    name = draw(st.sampled_from((word, f"{word}_{number}", f"t{number}_{word}")))
    list_id = f"codes_of_{name}" if draw(st.booleans()) else None
    dictionary = draw(fields(list_id))
    kind = draw(st.sampled_from(kinds))
    event = "observed_at"
    if kind != "snapshot":
        dictionary[event] = {"type": "timestamp", "title": draw(both()), "description": draw(both())}
    if draw(st.integers(0, 9)) == 9:
        # Nothing of it may be published.
        dictionary = {name: {**entry, "classification": "sensitive"} for name, entry in dictionary.items()}
    names = list(dictionary)
    key = [names[0], *([event] if kind != "snapshot" and draw(st.booleans()) else [])]
    key = draw(st.permutations(key))
    uses: list[Any] = [
        {n: {"required": True}} if n in (*key, event) or draw(st.booleans()) else n
        for n in draw(st.permutations(names))
    ]
    levels = ("open", "internal", "personal", "sensitive")
    level = max((levels.index(d.get("classification", "open")) for d in dictionary.values()), default=0)
    domain = {"keyed stream": "camera", "shared stream": "energy"}.get(kind, "health")
    contract: dict[str, Any] = {
        "id": name,
        "domain": domain,
        "version": "1.0.0",
        "title": draw(both()),
        "description": {"purpose": draw(both()), "usage": f"{draw(TEXTS)}\n{draw(TEXTS)}", "limitations": draw(TEXTS)},
        "owner": "H57.YT",
        "classification": levels[level],
        "grain": f"one {draw(TEXTS)} of one thing",
        "key": key,
        "fields": uses,
        "sla": {"freshness": "2 d"},
        "retention": {"bronze": "7 d", "silver": "30 d"},
        "legal_basis": ["kh_334_2026"],
        "quality": draw(rules(dictionary, key)),
    }
    if level > 1:
        contract["personal_purpose"] = draw(both())
    if kind != "snapshot" and draw(st.booleans()):
        contract["partition"] = "observed_date"
    if kind.endswith("stream"):
        contract["stream"] = {
            "event_time": event, "watermark": draw(st.sampled_from(("1 s", "100 min", "26 h"))), "cadence": "1 min",
            "dedupe": "24 h", "rebuild": "7 d", "partitions": draw(st.integers(1, 3)),
            **draw(st.sampled_from(({"accepts": ["native"]}, {"written_by": "platform"}))),
        }  # fmt: skip
        contract["qc"] = {"gross_range": draw(suspects(dictionary, key))}
    else:
        cursor = {"mode": "cursor", "cursor": event, "lag": "1 h"} if kind == "cursor" else {"mode": "snapshot"}
        contract["sector"] = {"source": "soyt", "schema": "soyt", "table": word, "schedule": "0 2 * * *", **cursor}
    files = {f"datasets/{domain}/{name}.yaml": contract, "fields.yaml": dictionary}
    if list_id:
        files["fields.yaml"] = dictionary | {
            "code": {"type": "string", "title": draw(both()), "description": draw(both())}
        }
        files[f"codelists/{list_id}.yaml"] = {
            "id": list_id, "title": draw(both()), "key": "code", "source": draw(TEXTS), "status": "synthetic",
            "columns": ["code"], "rows": [{"code": code} for code in draw(CODES)],
        }  # fmt: skip
    # JSON is YAML in which every text is quoted.
    texts = {path: json.dumps(data, ensure_ascii=False, indent=1) for path, data in files.items()}
    return Generated(name, domain, list_id, texts)


@st.composite
def suspects(draw: st.DrawFn, dictionary: Mapping[str, Any], key: list[str]) -> dict[str, Any]:
    """Suspect ranges of some numbers, inside what is possible."""
    found = {}
    for name, definition in dictionary.items():
        if definition["type"].partition("(")[0] in NUMBERS and name not in key and draw(st.booleans()):
            low, high = definition.get("minimum", -5e5), definition.get("maximum", 5e12)
            found[name] = {"suspect": [low, high]}
    return found


@st.composite
def rules(draw: st.DrawFn, dictionary: Mapping[str, Any], key: list[str]) -> list[dict[str, Any]]:
    """Rules of every kind that the fields allow, each about other fields."""
    of = {kind: [n for n, d in dictionary.items() if d["type"].partition("(")[0] == kind] for kind in TYPES}
    numbers = [name for kind in NUMBERS for name in of[kind]]
    found: list[dict[str, Any]] = [{"rule": "row_count", "minimum": 1}]
    for text in of["string"]:
        found.append({"rule": "pattern", "field": text, "pattern": draw(st.sampled_from(PATTERNS))})
        found.append({"rule": "share", "field": text, "values": draw(CODES), "maximum_pct": 99.5})
        other = next(name for name in reversed(dictionary) if name != text)
        found.append({"rule": "required_when", "field": other, "when": text, "equals": draw(TEXTS)})
    for left, right in pairwise(numbers):
        found.append(
            {"rule": "comparison", "left": left, "operator": draw(st.sampled_from(("<", ">="))), "right": right}
        )
    if numbers:
        found.append({"rule": "total", "field": numbers[0], "by": of["date"][:1], "equals": 100, "tolerance": "0.5"})
    found.append({"rule": "unique", "fields": list(dictionary)[:2]})
    found.append({"rule": "completeness", "field": list(dictionary)[-1], "minimum_pct": 90})
    return found


def batch(count: int) -> Registry:
    """One registry of up to so many contracts of each kind, for laws that need an engine; the same ones as long as
    this module is: what an engine says of a commit must not depend on the day. Ask for more to look further."""
    registries: dict[str, Registry] = {}
    for number, kind in enumerate(KINDS):

        @seed(number)
        @settings(LAW, max_examples=count)
        @given(contracts((kind,)))
        def collect(one: Generated) -> None:
            registry, dataset = loaded(one)
            registries.setdefault(dataset.id, registry)

        collect()
    datasets = [registry.dataset(name) for name, registry in registries.items()]
    lists = {code_list.id: code_list for registry in registries.values() for code_list in registry.code_lists}
    return replace(
        next(iter(registries.values())),
        datasets=tuple(sorted(datasets, key=lambda dataset: dataset.id)),
        code_lists=tuple(lists[name] for name in sorted(lists)),
        sources={name: registry.sources[name] for name, registry in registries.items()},
    )


def loaded(one: Generated) -> tuple[Registry, Dataset]:
    """The registry of the contract's own project and the contract in it; one whose names are taken is no example."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            registry = load(one, Path(folder))
        except ContractErrors as errors:
            taken = all("would stand twice" in error.message for error in errors.errors)
            if not taken:
                raise
            assume(False)
    return registry, registry.dataset(one.id)


def load(one: Generated, folder: Path) -> Registry:
    """Write the files as a project below ``folder``, and load and check them as `lake` does.

    Raises:
        ContractErrors: a validator refuses it.
    """
    schemas = folder / one.id / "schemas"
    lists = (*(f"codelists/{name}.yaml" for name in LISTS), "codelists/wards.csv")
    for path in ("systems.yaml", "sources/soyt.yaml", *lists):
        (schemas / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(HOME / "schemas" / path, schemas / path)
    (schemas / "profiles.yaml").write_text("profiles: {}\n")
    own = json.loads(one.files["fields.yaml"])
    # The lists that every project has bring their own columns along.
    lent = {
        column.name: city().dictionary[column.name].model_dump(mode="json", exclude_none=True)
        for code_list in LISTS
        for column in city().code_list(code_list).columns
    }
    (schemas / "fields.yaml").write_text(json.dumps({**lent, **own}, ensure_ascii=False), encoding="utf-8")
    for path, text in one.files.items():
        if path != "fields.yaml":
            (schemas / path).parent.mkdir(parents=True, exist_ok=True)
            (schemas / path).write_text(text, encoding="utf-8")
    registry = load_registry(schemas)
    validators.check(registry)
    return registry
