"""Every target says of every kind of rule where it is held, and what it points to holds it."""

from __future__ import annotations

from pipelines.contracts import build
from pipelines.contracts.model import RULE_KINDS
from pipelines.contracts.registry import Registry
from pipelines.contracts.support import KINDS, Elsewhere, Native, Refused
from pipelines.contracts.targets import rule_support

TABLES = {**rule_support.ENFORCING, **rule_support.DESCRIBING}


def test_every_target_knows_every_kind_of_rule() -> None:
    assert {str(kind.model_fields["rule"].annotation.__args__[0]) for kind in RULE_KINDS} <= set(KINDS)
    for name, table in TABLES.items():
        assert set(table) == set(KINDS), name


def test_what_is_held_elsewhere_is_native_there() -> None:
    for name, table in TABLES.items():
        for kind, support in table.items():
            if isinstance(support, Elsewhere):
                assert support.target in TABLES, f"{name}.{kind} points to the unknown target {support.target}"
                assert isinstance(TABLES[support.target][kind], Native), f"{name}.{kind} → {support.target}"


def test_every_kind_is_enforced_by_a_target_or_by_the_freshness_watch() -> None:
    for kind in KINDS:
        held = [name for name, table in rule_support.ENFORCING.items() if isinstance(table[kind], Native)]
        assert held or kind == "freshness", kind


def test_the_page_shows_each_reason_once(registry: Registry) -> None:
    text = rule_support.render(registry)["docs/catalog/rule-support.md"]
    for name, table in TABLES.items():
        for support in table.values():
            if isinstance(support, Refused):
                assert text.count(f"{name}: {support.reason}") == 1


def test_every_target_that_writes_rules_is_on_the_page() -> None:
    writing = {target.TARGET for target in build.TARGETS} - {"rule_support", "scenarios"}
    assert writing <= set(TABLES)
