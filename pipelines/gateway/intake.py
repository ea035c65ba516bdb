"""The gateway as a library: every collector (HTTP, MQTT, files, a replay) calls :meth:`Gateway.accept`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry
from pipelines.gateway.envelope import RawRecord, Refusal, is_protected, marker, seal
from pipelines.gateway.objects import ObjectStore, open_store
from pipelines.gateway.tokens import Tokeniser, load_tokeniser
from pipelines.runtime.settings import Settings


@dataclass
class Gateway:
    """Seals payloads and stores what is refused.

    `counts` says what happened, by dataset: (dataset, "accepted" | "as_came" | "dropped_fields" | a reason of refusal).
    """

    registry: Registry
    tokeniser: Tokeniser
    store: ObjectStore
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    @classmethod
    def open(cls, registry: Registry, settings: Settings) -> Gateway:
        """A gateway with the installation's keys and the namespace's object store."""
        return cls(registry, load_tokeniser(settings), open_store(settings))

    def reload_keys(self, settings: Settings) -> None:
        """Take up keys that were rotated since."""
        self.tokeniser, self.store = load_tokeniser(settings), open_store(settings)

    def accept(
        self, dataset_id: str, payload: bytes | Mapping[str, Any], *, source: str, origin: str, received_at: datetime
    ) -> RawRecord:
        """The record to publish for one payload: the sealed one, or the marker of a refused one (whose bytes are safe
        in the object store before this returns).

        Raises:
            KeyError: an unknown dataset.
            ValueError, TypeError: as :func:`pipelines.gateway.envelope.seal`.
        """
        dataset = self.registry.dataset(dataset_id)
        sealed = seal(dataset, payload, source=source, origin=origin, received_at=received_at, tokeniser=self.tokeniser)
        return self.settle(dataset, sealed, source=source, origin=origin, received_at=received_at)

    def settle(
        self, dataset: Dataset, sealed: RawRecord | Refusal, *, source: str, origin: str, received_at: datetime
    ) -> RawRecord:
        """Count what was sealed, and put refused bytes into the object store, a marker in their place.

        Raises:
            OSError: the store cannot keep the bytes; nothing was counted.
        """
        if isinstance(sealed, Refusal):
            stored = self.store.put(dataset.id, sealed.data, protected=is_protected(dataset))
            self.counts[dataset.id, sealed.reason] += 1
            return marker(
                dataset,
                sealed.reason,
                stored.ref,
                stored.size_bytes,
                source=source,
                origin=origin,
                received_at=received_at,
                detail=sealed.detail,
            )
        self.counts[dataset.id, "as_came" if sealed.as_came else "accepted"] += 1
        if sealed.dropped_fields:
            self.counts[dataset.id, "dropped_fields"] += sealed.dropped_fields
        return sealed
