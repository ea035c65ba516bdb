"""What a collector tells of itself, in the same words for `/ready`, `/metrics` and `lake status`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Told:
    """`kind` is mqtt or inbox, `name` the collector's or the folder's; an empty `problem` means that all is well.

    `waiting` is what came and is not safe yet (messages or files), `counts` what happened since the start by word.
    """

    kind: str
    name: str
    state: str
    problem: str = ""
    waiting: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)


class Front(Protocol):
    """A way into the core besides HTTP."""

    def start(self) -> None:
        """Begin in the background."""
        ...

    def stop(self) -> None:
        """Take nothing more, settle what was submitted, and end."""
        ...

    @property
    def has_failed(self) -> bool:
        """Whether it ended by accident, so that it is to be begun anew."""
        ...

    def told(self) -> tuple[Told, ...]:
        """How it goes, for people and for Prometheus."""
        ...


class Watched(Protocol):
    """Everything that there is to tell of the ways besides HTTP."""

    def told(self) -> tuple[Told, ...]:
        """How every collector and inbox goes."""
        ...

    def unbound(self) -> Mapping[tuple[str, str], int]:
        """Messages that could not be bound and are kept, by collector and reason."""
        ...
