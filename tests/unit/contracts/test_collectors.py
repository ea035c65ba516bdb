"""Topics with names in them, bindings of collectors, and what `lake contracts check` says of a wrong one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.contracts import validators
from pipelines.contracts.collectors import Topic
from pipelines.contracts.errors import ContractErrors
from pipelines.contracts.registry import Registry, load_registry

LEVELS = st.lists(st.sampled_from(["a", "b", "", "+"]), min_size=1, max_size=4)
GIVEN = st.lists(st.sampled_from(["a", "b", "c", ""]), min_size=1, max_size=5)


@st.composite
def filters(draw: st.DrawFn) -> Topic:
    """Filters of MQTT over few words, so that many of them meet."""
    levels = draw(LEVELS)
    return Topic.parse("/".join([*levels, "#"] if draw(st.booleans()) else levels) or "a")


@pytest.mark.parametrize(
    ("pattern", "topic", "values"),
    [
        ("hue/{source}/{dataset}", "hue/gw-1/river_stage", {"source": "gw-1", "dataset": "river_stage"}),
        ("hue/{source}/{dataset}", "hue/gw-1", None),
        ("hue/{source}/{dataset}", "hue/gw-1/river_stage/x", None),
        ("hue/+/{station_id}/#", "hue/x/71520", {"station_id": "71520"}),
        ("hue/+/{station_id}/#", "hue/x/71520/a/b", {"station_id": "71520"}),
        ("{source}/#", "$SYS/uptime", None),
        ("{source}/a", "/a", {"source": ""}),
    ],
)
def test_a_topic_gives_the_values_of_its_named_levels(pattern: str, topic: str, values: object) -> None:
    assert Topic.parse(pattern).match(topic) == values


@pytest.mark.parametrize("text", ["", "a/#/b", "a+/b", "{A}/b", "x{a}", "$share/g/a", "a/{b}/{b}", "a\0"])
def test_what_is_no_filter_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"topic|level|name"):
        Topic.parse(text)


@given(filters(), filters(), GIVEN)
def test_filters_that_match_the_same_topic_overlap(one: Topic, other: Topic, levels: list[str]) -> None:
    topic = "/".join(levels)
    if one.match(topic) is not None and other.match(topic) is not None:
        assert one.overlaps(other)
    assert one.overlaps(other) == other.overlaps(one)


@given(filters(), filters())
def test_filters_that_overlap_have_a_common_topic(one: Topic, other: Topic) -> None:
    if one.overlaps(other):
        longest = max(len(one.levels), len(other.levels))
        pads = [
            [*t.levels[:-1], *["+"] * (longest - len(t.levels) + 1)] if t.levels[-1] == "#" else list(t.levels)
            for t in (one, other)
        ]
        common = ["a" if (x, y) == ("+", "+") else x if y == "+" else y for x, y in zip(*pads, strict=False)]
        tries = ["/".join(common[:n]) for n in range(1, len(common) + 1)]
        assert any(one.match(t) is not None and other.match(t) is not None for t in tries)


def collector(text: str, project: Path) -> Registry:
    path = project / "schemas" / "collectors" / "field.yaml"
    head = "id: field\ntitle: {vi: a, en: b}\nprotocol: mqtt\nbindings:\n"
    path.write_text(head + text, encoding="utf-8")
    return load_registry(project / "schemas")


@pytest.mark.parametrize(
    ("binding", "said"),
    [
        (
            "  - {topic: hue/x, dataset: nothing, source: gw-1}",
            "schemas/collectors/field.yaml:5: field: 'nothing' is no stream (streams: ",
        ),
        (
            "  - {topic: 'hue/{depth}', dataset: river_stage, source: gw-1}",
            "field.yaml:5: field: 'depth' is no field of river_stage (its fields: station_id, observed_at, stage_m)",
        ),
        (
            "  - {topic: 'hue/{dataset}/{station_id}', source: gw-1}",
            "field.yaml:5: field: fields of the topic (station_id) need one dataset",
        ),
        (
            "  - {topic: hue/+/a, dataset: river_stage, source: a}\n  - {topic: hue/b/#, dataset: tide, source: a}",
            "field.yaml:6: field: a topic could match both 'hue/+/a' and 'hue/b/#'",
        ),
    ],
)
def test_a_binding_that_leads_nowhere_is_found_with_its_line(project: Path, binding: str, said: str) -> None:
    registry = collector(binding + "\n", project)
    with pytest.raises(ContractErrors) as caught:
        validators.check(registry)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("binding", "said"),
    [
        ("  - {topic: hue/x, source: gw-1}", "field.yaml:5: field: bindings.0: say the dataset once"),
        (
            "  - {topic: 'hue/{source}', source: a, dataset: tide}",
            "field.yaml:5: field: bindings.0: say the source once",
        ),
        ("  - {topic: hue/x+, source: a, dataset: tide}", "field.yaml:5: field: bindings.0.topic: the level 'x+'"),
        (
            "  - {topics: hue/x, source: a, dataset: tide}",
            "unknown key 'bindings.0.topics' (allowed: dataset, media_type",
        ),
    ],
)
def test_a_binding_that_cannot_be_read_is_found_with_its_line(project: Path, binding: str, said: str) -> None:
    with pytest.raises(ContractErrors) as caught:
        collector(binding + "\n", project)
    assert said in str(caught.value)


def test_personal_values_do_not_belong_into_a_topic(registry: Registry, changed: Callable[..., Registry]) -> None:
    dataset = registry.dataset("violation_event")
    assert any(field.tokenise for field in dataset.fields)
    name = next(field.name for field in dataset.fields if field.tokenise)
    own = registry.collectors[0]
    data = {**own.model_dump(), "bindings": [{"topic": f"hue/{{{name}}}", "dataset": dataset.id, "source": "a"}]}
    from dataclasses import replace

    broken = replace(registry, collectors=(type(own).model_validate(data),))
    with pytest.raises(ContractErrors, match="is personal: it does not belong into a topic"):
        validators.check(broken)
