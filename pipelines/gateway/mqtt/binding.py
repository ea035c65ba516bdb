"""Which dataset and source a message belongs to, by its topic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipelines.contracts.collectors import DATASET, SOURCE, Collector
from pipelines.gateway.sources import Ended, Source, Sources
from pipelines.gateway.submission import NotAllowed, Oversized, UnknownDataset, UnknownFormat
from pipelines.runtime.errors import LakeError

UNKNOWN_TOPIC, UNKNOWN_SOURCE, ENDED_SOURCE, FAILED = "unknown_topic", "unknown_source", "ended_source", "failed"
_REASONS: dict[type[BaseException], str] = {
    UnknownDataset: "unknown_dataset",
    NotAllowed: "not_allowed",
    UnknownFormat: "unknown_format",
    Oversized: "oversized",
}


@dataclass(frozen=True)
class Bound:
    """Where a message goes; `given` are the fields of the dataset that stand in its topic."""

    dataset: str
    source: Source
    media_type: str
    given: Mapping[str, str] = field(default_factory=dict)


class NotBound(LakeError):
    """No binding leads from a topic to a source; `reason` is the short word for it."""

    def __init__(self, reason: str, what: str, remedy: str) -> None:
        """Keep the reason with the sentence."""
        super().__init__(what, remedy)
        self.reason = reason


class Router:
    """The bindings of one collector; sources are looked up for every message, so that a change counts at once."""

    def __init__(self, collector: Collector, sources: Sources) -> None:
        """Read the topics once."""
        self._collector, self._sources = collector, sources
        self._patterns = tuple((binding, binding.pattern) for binding in collector.bindings)

    def bind(self, topic: str, content_type: str | None) -> Bound:
        """Where a message on a topic goes; its own content type, if it has one, goes before that of the binding.

        Raises:
            NotBound: no binding matches, or the source is not known in this namespace or was ended.
            LakeError, OSError: the sources cannot be read now.
        """
        for binding, pattern in self._patterns:
            values = pattern.match(topic)
            if values is None:
                continue
            name = binding.source or values.pop(SOURCE)
            dataset = binding.dataset or values.pop(DATASET)
            try:
                source = self._sources.named(name)
            except Ended as error:
                raise NotBound(ENDED_SOURCE, error.what, error.remedy) from None
            except LakeError as error:
                # A list of sources that cannot be read is not the message's fault.
                self._sources.all()
                remedy = f"Make it: lake gateway token create {name} --agency … --dataset {dataset}"
                raise NotBound(UNKNOWN_SOURCE, error.what, remedy) from None
            return Bound(dataset, source, content_type or binding.media_type, values)
        what = f"No binding of {self._collector.id} matches the topic {topic!r}."
        raise NotBound(UNKNOWN_TOPIC, what, f"Add one to schemas/collectors/{self._collector.id}.yaml.")


def reason_of(error: BaseException) -> str:
    """The short word under which a message that cannot be taken is kept and counted."""
    return error.reason if isinstance(error, NotBound) else _REASONS.get(type(error), FAILED)
