"""The page that says which kind of rule every target holds, from the ``SUPPORT`` tables of the targets themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pipelines.contracts.logical_types import ENGINES, parse
from pipelines.contracts.markdown import escape, joined, table
from pipelines.contracts.registry import Registry
from pipelines.contracts.rendering import markdown_file
from pipelines.contracts.support import KINDS, Elsewhere, Native, Refused, Support
from pipelines.contracts.targets import (
    asyncapi,
    dbt,
    dcat,
    delta,
    documentation,
    flink,
    great_expectations,
    json_schema,
    kafka,
    odcs,
    openapi,
    trino,
)
from pipelines.contracts.words import both

TARGET = "rule_support"
FOLDERS = ("docs/catalog",)
"""The folders, relative to the project root, in which a generated file that nobody asks for is an orphan."""

ENFORCING: Mapping[str, Mapping[str, Support]] = {
    target.TARGET: target.SUPPORT for target in (kafka, flink, delta, dbt, great_expectations, trino)
}
"""Targets that refuse, flag or judge what breaks a rule."""

DESCRIBING: Mapping[str, Mapping[str, Support]] = {
    target.TARGET: target.SUPPORT for target in (odcs, json_schema, openapi, asyncapi, dcat, documentation)
}
"""Targets that say the rule to others."""

_TYPES = ("string", "boolean", "integer", "bigint", "double", "decimal(9,3)", "date", "timestamp")


def render(registry: Registry) -> Mapping[str, str]:
    """The one page, path relative to the project root → text; it depends on the targets, not on the contracts."""
    parts = (
        "# Quy tắc được kiểm ở đâu · Which rule is held where",
        "✓ giữ ở đây · held here; → tên · name: ở đích khác · by another target; ✗ không giữ được, lý do ở dưới · not "
        "held, the reason stands below.",
        "## Kiểm tra · Enforced",
        *_matrix(ENFORCING),
        "## Mô tả · Described",
        *_matrix(DESCRIBING),
        "## Kiểu dữ liệu · Types",
        table(("kiểu · type", *ENGINES), ((f"`{name}`", *_type(name)) for name in _TYPES)),
    )
    return {"docs/catalog/rule-support.md": markdown_file(joined(parts))}


def _matrix(targets: Mapping[str, Mapping[str, Support]]) -> Iterator[str]:
    reasons: list[str] = []
    rows = []
    for kind, said in KINDS.items():
        cells = [_cell(support[kind], name, reasons) for name, support in targets.items()]
        rows.append((f"`{kind}` {both(said)}", *cells))
    yield table(("quy tắc · rule", *targets), rows)
    if reasons:
        yield "\n".join(f"{number}. {reason}" for number, reason in enumerate(reasons, 1))


def _cell(support: Support, target: str, reasons: list[str]) -> str:
    match support:
        case Native():
            return "✓"
        case Elsewhere(other):
            return f"→ {other}"
        case Refused(reason):
            reasons.append(f"{target}: {escape(reason)}")
            return f"✗ ({len(reasons)})"


def _type(name: str) -> Iterator[str]:
    for engine in ENGINES:
        yield f"`{parse(name).on(engine)}`"
