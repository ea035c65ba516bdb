"""The pages: complete, linked, and diagrams that Mermaid can read."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.contracts import artifacts
from pipelines.contracts.markdown import escape
from pipelines.contracts.model import Reference
from pipelines.contracts.registry import Registry
from pipelines.contracts.targets import diagrams, documentation, rule_support, scenarios

ROOT = Path(__file__).parents[3]
ENTITY = re.compile(r" {4}[a-z][a-z0-9_]* \{\Z")
ATTRIBUTE = re.compile(r' {8}[a-z]+ [a-z][a-z0-9_]*( (PK|FK|PK, FK))? "[^"\n]+"\Z')
EDGE = re.compile(r" {4}[a-z][a-z0-9_]* (\|\||\|o)--o\{ [a-z][a-z0-9_]* : [a-z][a-z0-9_]*\Z")


@pytest.mark.parametrize(
    "path",
    [
        "services/feedback_ticket.md",
        "services/kpi_feedback_month.md",
        "flood/flood_alert.md",
        "flood/river_stage.md",
        "flood/README.md",
        "README.md",
    ],
)
def test_the_page_of_each_kind(few: Registry, golden: Callable[[str, str], None], path: str) -> None:
    golden(f"catalog.{path.replace('/', '.')}", documentation.render(few)[f"docs/catalog/{path}"])


@pytest.mark.parametrize("name", ["river_stage", "river_stage_v2"])
def test_the_page_of_an_old_major_and_of_the_new_one(
    two_majors: Registry, golden: Callable[[str, str], None], name: str
) -> None:
    page = documentation.render(two_majors)[f"docs/catalog/flood/{name}.md"]
    golden(f"two_majors.{name}.md", page.partition("## ")[0])


def test_every_link_leads_to_a_page(registry: Registry) -> None:
    pages = {**documentation.render(registry), **rule_support.render(registry), **scenarios.render(registry)}
    for path, text in pages.items():
        for target, anchor in re.findall(r"\]\(([^)#]*)(#[^)]*)?\)", text):
            found = posixpath.normpath(posixpath.join(posixpath.dirname(path), target)) if target else path
            assert found in pages or (ROOT / found).is_file(), f"{path} leads to {found}"
            assert not anchor or f"\n## {anchor[1:]}\n" in pages[found], f"{path} leads to {found}{anchor}"


def test_every_dataset_has_a_page_with_its_fields_rules_and_promises(registry: Registry) -> None:
    pages = documentation.render(registry)
    for dataset in registry.datasets:
        text = pages[f"docs/catalog/{dataset.domain}/{dataset.id}.md"]
        assert artifacts.MARK in text[:512]
        assert f"# {dataset.title.vi} · {dataset.title.en}" in text
        assert all(f"| `{item.name}`" in text for item in dataset.fields)
        assert "Độ tươi cam kết · Promised freshness" in text
        assert (dataset.personal_purpose is None) == ("Mục đích xử lý" not in text)


def test_tables_keep_their_columns(registry: Registry) -> None:
    for path, text in {**documentation.render(registry), **rule_support.render(registry)}.items():
        for block in re.findall(r"(?:^\|.*\|\n?)+", text, flags=re.MULTILINE):
            widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
            assert len(widths) == 1, f"{path}: {block.splitlines()[0]}"


def test_signs_of_a_rule_stay_what_they_are() -> None:
    assert escape(r"mẫu [A|B]*\d <x> `y`") == r"mẫu [A\|B]\*\\d \<x> \`y\`"


def test_diagrams_are_mermaid(registry: Registry) -> None:
    for domain in {dataset.domain for dataset in registry.datasets}:
        head, *lines = diagrams.entities(domain, registry).splitlines()
        assert head == "erDiagram"
        is_open = False
        for line in lines:
            if is_open:
                assert line == "    }" or ATTRIBUTE.match(line), line
                is_open = line != "    }"
            else:
                assert ENTITY.match(line) or EDGE.match(line), line
                is_open = bool(ENTITY.match(line))
        assert not is_open


def test_a_field_refers_to_what_it_declares_or_to_its_dimension(
    registry: Registry, changed: Callable[..., Registry]
) -> None:
    assert "    dim_station ||--o{ river_stage : station_id" in diagrams.entities("flood", registry)
    fields = [
        item.model_copy(update={"references": Reference(dataset="med_price", field="facility_id")})
        if item.name == "closed_at"
        else item
        for item in registry.dataset("feedback_ticket").fields
    ]
    drawn = diagrams.entities("services", changed("feedback_ticket", fields=fields))
    assert "    med_price |o--o{ feedback_ticket : closed_at" in drawn
