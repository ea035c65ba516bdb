"""A delivered file as its inbox shows it, and which deliveries of a dataset are to be loaded, in which order."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pipelines.contracts.file_layout import FileLayout
from pipelines.ingestion.marks import number_of


@dataclass(frozen=True)
class Delivery:
    """A file of an inbox: its plain name, size, last change (UTC), and what the store itself calls this content, where
    it has such a name (an ETag)."""

    name: str
    size_bytes: int
    modified_at: datetime
    tag: str = ""

    @property
    def identity(self) -> str:
        """Changes when the file does; 16 hexadecimal digits."""
        said = f"{self.name}\0{self.size_bytes}\0{self.tag or self.modified_at.isoformat()}"
        return hashlib.sha256(said.encode("utf-8", "surrogateescape")).hexdigest()[:16]


@dataclass(frozen=True)
class Pending:
    """A delivery and how far it takes the dataset, in µs since 1970: to the day in its name (midnight UTC), or where
    the names have none to its last change. `late`: a later one is loaded already."""

    delivery: Delivery
    mark: int
    late: bool


class Inbox(ABC):
    """Where an agency puts its files; only names directly in it count."""

    @abstractmethod
    def deliveries(self) -> Sequence[Delivery]:
        """What lies there now; files whose names say that they are not complete are left out.

        Raises:
            SourceUnavailable, WrongCredentials, SourceError: it cannot be looked into.
        """

    @abstractmethod
    def fetched(self, delivery: Delivery) -> AbstractContextManager[Path]:
        """The delivery as a file of this machine, as long as the block lasts.

        Raises:
            FileIncomplete: it still changes, or changed since it was seen; FileUnfit: it cannot be opened;
            SourceUnavailable: the way there broke.
        """


def pending(
    deliveries: Iterable[Delivery], layout: FileLayout, mark: int | None, is_loaded: Callable[[str], bool]
) -> list[Pending]:
    """The deliveries whose names are the layout's and that were not loaded, the oldest first.

    A second delivery for the same day counts as a correction of the first.
    """
    found = []
    for delivery in deliveries:
        try:
            day = layout.date_of(delivery.name)
        except ValueError:
            continue
        if is_loaded(delivery.identity):
            continue
        position = number_of(delivery.modified_at if day is None else day)
        found.append(Pending(delivery, position, mark is not None and position < mark))
    return sorted(found, key=lambda one: (one.mark, one.delivery.modified_at, one.delivery.name))
