"""What became of the files of a source, as its inbox and the lake say now."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from deltalake import DeltaTable

from pipelines.contracts.model import Dataset, Text
from pipelines.contracts.registry import Registry
from pipelines.ingestion.access import access_to
from pipelines.ingestion.bronze import Bronze
from pipelines.ingestion.deliveries.delivery import Delivery, pending
from pipelines.ingestion.deliveries.opening import open_inbox
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings


class State(enum.Enum):
    """What became of a file, in words for people."""

    LOADED = Text(vi="đã nạp", en="loaded")
    WAITING = Text(vi="sắp nạp", en="to be loaded")
    LATE = Text(vi="cũ hơn số liệu đã nạp, không nạp", en="older than what is loaded, not loaded")
    UNKNOWN = Text(vi="không bộ dữ liệu nào đọc tên này", en="no dataset reads files of this name")

    @property
    def vi(self) -> str:
        """In Vietnamese."""
        return self.value.vi

    @property
    def en(self) -> str:
        """In English."""
        return self.value.en


@dataclass(frozen=True)
class Seen:
    """A file of the inbox, the dataset that reads it, if any, and its state."""

    delivery: Delivery
    dataset: str | None
    state: State


def overview(settings: Settings, registry: Registry, source: str) -> list[Seen]:
    """Every file of a source's inbox, the newest first.

    Raises:
        LakeError: there is no such source with files; the text lists those there are. SourceError: it cannot be read.
    """
    readers = [d for d in registry.sector_tables() if d.sector and d.sector.file and d.sector.source == source]
    if not readers:
        known = sorted({d.sector.source for d in registry.sector_tables() if d.sector and d.sector.file})
        raise LakeError(
            f"No dataset reads files of a source {source!r}.", f"Sources with files: {', '.join(known) or '—'}."
        )
    access = access_to(settings, registry, readers[0])
    inbox = open_inbox(access, settings.state / "deliveries" / settings.namespace)
    deliveries = sorted(inbox.deliveries(), key=lambda one: one.modified_at, reverse=True)
    states = {}
    for dataset in readers:
        states.update(_states(settings, dataset, deliveries))
    return [Seen(one, *states.get(one, (None, State.UNKNOWN))) for one in deliveries]


def _states(settings: Settings, dataset: Dataset, deliveries: list[Delivery]) -> dict[Delivery, tuple[str, State]]:
    assert dataset.sector is not None
    assert dataset.sector.file is not None
    layout = dataset.sector.file
    every = {one.delivery for one in pending(deliveries, layout, None, lambda _: False)}
    if not DeltaTable.is_deltatable(str(settings.table_path("bronze", dataset.id))):
        return dict.fromkeys(every, (dataset.id, State.WAITING))
    bronze = Bronze(settings, dataset)
    waiting = {one.delivery: one.late for one in pending(deliveries, layout, bronze.mark, bronze.holds_file)}
    return {
        one: (dataset.id, State.LOADED if one not in waiting else State.LATE if waiting[one] else State.WAITING)
        for one in every
    }
