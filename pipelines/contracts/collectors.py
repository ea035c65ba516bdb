"""Collectors: which topics of a broker carry which dataset of which source. Pure; a client is in the gateway.

A topic is written as a filter whose levels may also be names in braces: `{source}` and `{dataset}` say which level
tells them, any other name is a field of the dataset whose value stands in the topic.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from itertools import combinations
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator, model_validator

from pipelines.contracts.base import Duration, Model, Name
from pipelines.contracts.errors import ContractError
from pipelines.contracts.media_types import media_types
from pipelines.contracts.model import Dataset, Text

if TYPE_CHECKING:
    from pipelines.contracts.registry import Registry

SOURCE, DATASET = "source", "dataset"
_NAMED = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_ONE, _REST = "+", "#"
_MOST_BYTES = 65_535


@dataclass(frozen=True)
class Topic:
    """A topic filter with named levels; `levels` are its parts between the slashes."""

    levels: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Topic:
        """Read `hue/{source}/rain/+`.

        Raises:
            ValueError: it is no filter of MQTT; the text says what is wrong.
        """
        levels = tuple(text.split("/"))
        if not text or "\0" in text or len(text.encode()) > _MOST_BYTES:
            raise ValueError(f"a topic has 1 to {_MOST_BYTES} bytes and no NUL")
        if text.startswith("$"):
            raise ValueError("a topic that begins with $ is the broker's own; shared subscriptions are not used here")
        for level in levels:
            if level in {_ONE, _REST} or _NAMED.fullmatch(level):
                continue
            if any(sign in level for sign in "+#{}"):
                raise ValueError(f"the level {level!r}: +, # and {{name}} stand alone between slashes")
        if _REST in levels[:-1]:
            raise ValueError("# is the last level")
        topic = cls(levels)
        if len(set(topic.names)) < len(topic.names):
            raise ValueError("a name stands in two levels")
        return topic

    @property
    def names(self) -> tuple[str, ...]:
        """The names in braces, in order."""
        return tuple(match[1] for match in map(_NAMED.fullmatch, self.levels) if match)

    @property
    def filter(self) -> str:
        """The filter to which a client subscribes."""
        return "/".join(_ONE if _NAMED.fullmatch(level) else level for level in self.levels)

    def match(self, topic: str) -> dict[str, str] | None:
        """The values of the named levels when a topic matches, else None."""
        given = topic.split("/")
        has_rest = self.levels[-1] == _REST
        fixed = self.levels[:-1] if has_rest else self.levels
        if topic.startswith("$") or len(given) < len(fixed) or (len(given) > len(fixed) and not has_rest):
            return None
        values: dict[str, str] = {}
        for level, value in zip(fixed, given, strict=False):
            named = _NAMED.fullmatch(level)
            if named:
                values[named[1]] = value
            elif level not in {_ONE, value}:
                return None
        return values

    def overlaps(self, other: Topic) -> bool:
        """Whether some topic matches both."""
        return _overlap(self.filter.split("/"), other.filter.split("/"))

    def __str__(self) -> str:
        """As it is written."""
        return "/".join(self.levels)


def _overlap(one: list[str], other: list[str]) -> bool:
    if _REST in (one[:1] + other[:1]):
        # Whatever is left of the other, even nothing: `a/#` matches `a` as well.
        return True
    if not one or not other:
        return one == other
    if one[0] == other[0] or _ONE in (one[0], other[0]):
        return _overlap(one[1:], other[1:])
    return False


class Binding(Model):
    """What the messages of one topic are.

    `dataset` and `source` stand here, or as `{dataset}` and `{source}` in the topic. A content type that a message of
    MQTT 5 carries itself goes before `media_type`.
    """

    topic: str
    dataset: Name | None = None
    source: str | None = None
    media_type: str = "application/json"

    @field_validator("topic")
    @classmethod
    def _is_a_filter(cls, text: str) -> str:
        Topic.parse(text)
        return text

    @model_validator(mode="after")
    def _known_once(self) -> Binding:
        names = self.pattern.names
        for name, value in ((DATASET, self.dataset), (SOURCE, self.source)):
            if (name in names) == (value is not None):
                raise ValueError(f"say the {name} once: as a level {{{name}}} of the topic, or as the key `{name}`")
        return self

    @property
    def pattern(self) -> Topic:
        """The topic as a pattern."""
        return Topic.parse(self.topic)

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of the dataset whose values stand in the topic."""
        return tuple(name for name in self.pattern.names if name not in {SOURCE, DATASET})


class Collector(Model):
    """The content of ``schemas/collectors/<id>.yaml``: what is subscribed to at one broker.

    `receive_maximum` bounds the messages that may be on their way without an acknowledgement. `session_expiry` is how
    long the broker keeps messages for a gateway that is away (MQTT 5; with 3.1.1 the broker's own setting counts).
    """

    id: Name
    title: Text
    protocol: Literal["mqtt"]
    receive_maximum: int = Field(default=200, ge=1, le=1_000)
    session_expiry: Duration = timedelta(days=7)
    bindings: tuple[Binding, ...] = Field(min_length=1)

    def topics_of(self, dataset: str) -> Iterator[tuple[Binding, Topic]]:
        """The bindings by which a dataset can be sent, each with the topic as it reads for this dataset."""
        for binding in self.bindings:
            if binding.dataset == dataset:
                yield binding, binding.pattern
            elif binding.dataset is None:
                levels = binding.pattern.levels
                yield binding, Topic(tuple(dataset if level == f"{{{DATASET}}}" else level for level in levels))


def check_collectors(registry: Registry) -> Iterator[ContractError]:
    """Check that every binding leads to a stream and its fields, and that no topic has two meanings."""
    streams = {dataset.id: dataset for dataset in registry.streams()}
    for collector in registry.collectors:
        where = registry.collector_sources[collector.id].where
        for index, binding in enumerate(collector.bindings):
            place = ("bindings", index)
            if binding.dataset is not None and binding.dataset not in streams:
                hint = f"streams: {', '.join(streams)}"
                message = f"{binding.dataset!r} is no stream"
                yield ContractError(message, where=where(*place, "dataset"), dataset=collector.id, hint=hint)
            if binding.dataset in streams and not streams[binding.dataset].is_sent:
                hint = "bind a stream that sources send"
                message = f"{binding.dataset} is written by the platform itself"
                yield ContractError(message, where=where(*place, "dataset"), dataset=collector.id, hint=hint)
            elif binding.dataset in streams and binding.media_type not in media_types(streams[binding.dataset]):
                hint = f"allowed: {', '.join(media_types(streams[binding.dataset]))}"
                message = f"{binding.dataset} takes no {binding.media_type!r}"
                yield ContractError(message, where=where(*place, "media_type"), dataset=collector.id, hint=hint)
            for message, hint in _fields(binding, streams):
                yield ContractError(message, where=where(*place, "topic"), dataset=collector.id, hint=hint)
        for (_, one), (index, other) in combinations(enumerate(collector.bindings), 2):
            if one.pattern.overlaps(other.pattern):
                message = f"a topic could match both {one.topic!r} and {other.topic!r}"
                hint = "make them differ in a level that is written out"
                yield ContractError(message, where=where("bindings", index, "topic"), dataset=collector.id, hint=hint)


def _fields(binding: Binding, streams: Mapping[str, Dataset]) -> Iterator[tuple[str, str]]:
    if binding.fields and binding.dataset is None:
        yield f"fields of the topic ({', '.join(binding.fields)}) need one dataset", "write the key `dataset`"
        return
    dataset = streams.get(binding.dataset or "")
    if dataset is None:
        return
    own = {item.name: item for item in dataset.fields}
    for name in binding.fields:
        if name not in own:
            yield f"{name!r} is no field of {dataset.id}", f"its fields: {', '.join(own)}"
        elif own[name].tokenise or own[name].classification in {"personal", "sensitive"}:
            yield f"{name!r} is personal: it does not belong into a topic", "send it in the message"
