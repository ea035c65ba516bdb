"""From a reading to the gateway's door: arrival clock, order of arrival, and what must become of each record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry
from pipelines.replay.readings import Reading, stable_number
from pipelines.replay.truth import DatasetTruth, Peak, Truth

_PEAK_TYPES = frozenset({"decimal", "double", "integer"})


@dataclass(frozen=True, slots=True)
class Delivery:
    """One arrival at the gateway: `payload` as the sender gives it, `received_at` the simulated arrival clock (UTC).

    `disposition` (refused, duplicate, on_time, late, corrected), `reason` of a refusal and `quarantined` are what must
    become of it. `key` and `body` are its contract key and fields; None where the payload has none.
    """

    dataset: str
    payload: bytes | Mapping[str, Any] = field(repr=False)
    source: str
    origin: str
    received_at: datetime
    disposition: str
    reason: str | None = None
    quarantined: bool = False
    key: tuple[str, ...] | None = None
    body: Mapping[str, Any] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Replay:
    """A whole replay in order of arrival, with its truth."""

    name: str
    deliveries: tuple[Delivery, ...] = field(repr=False)
    truth: Truth

    def final_rows(self, dataset: str) -> dict[tuple[str, ...], Mapping[str, Any]]:
        """The rows that must stand in silver, by contract key (values as sent, plates not yet tokens)."""
        return {key: dict(d.body or {}) for key, d in _final(self.deliveries, dataset).items()}


def arrival(reading: Reading) -> datetime:
    """When a reading reaches the gateway undisturbed: 1 to 20 s after its event, the same in every run."""
    number = stable_number(reading.dataset, *(v for v in reading.body.values() if isinstance(v, str)))
    return reading.event_at + timedelta(milliseconds=1000 + number % 19_000)


def key_of(dataset: Dataset, body: Mapping[str, Any]) -> tuple[str, ...]:
    """The contract key of a row as texts."""
    return tuple(str(body[name]) for name in dataset.key)


def in_order(deliveries: Iterable[Delivery]) -> tuple[Delivery, ...]:
    """Sort by the arrival clock; ties keep the order in which they were made."""
    return tuple(sorted(deliveries, key=lambda d: (d.received_at, d.dataset)))


def tell_truth(name: str, seed: int, deliveries: tuple[Delivery, ...], registry: Registry) -> Truth:
    """Count what must become of the deliveries, which stand in order of arrival."""
    datasets = sorted({d.dataset for d in deliveries})
    return Truth(name, seed, {d: _tell(registry.dataset(d), deliveries) for d in datasets})


def _tell(dataset: Dataset, deliveries: tuple[Delivery, ...]) -> DatasetTruth:
    own = [d for d in deliveries if d.dataset == dataset.id]
    dispositions = Counter(d.disposition for d in own)
    final = _final(deliveries, dataset.id)
    return DatasetTruth(
        sent=len(own),
        refused=dict(sorted(Counter(str(d.reason) for d in own if d.disposition == "refused").items())),
        duplicate=dispositions["duplicate"],
        on_time=dispositions["on_time"],
        late=dispositions["late"],
        corrected=dispositions["corrected"],
        quarantined=sum(d.quarantined for d in own),
        silver_rows=len(final),
        # Without state in flight a correction is only known by its revision.
        revised_rows=sum(d.disposition == "corrected" or _revision(d) > 0 for d in final.values()),
        origins=dict(sorted(Counter(d.origin for d in final.values()).items())),
        peaks=_peaks(dataset, final.values()),
        keyed=dataset.is_keyed,
    )


def _final(deliveries: tuple[Delivery, ...], dataset: str) -> dict[tuple[str, ...], Delivery]:
    """The newest accepted version of every key: the highest revision, then the latest arrival."""
    final: dict[tuple[str, ...], Delivery] = {}
    for item in deliveries:
        if item.dataset != dataset or item.disposition not in {"on_time", "late", "corrected"} or item.quarantined:
            continue
        if item.key is None or item.body is None:
            raise ValueError(f"an accepted delivery of {dataset} has no key")
        known = final.get(item.key)
        if known is None or _revision(item) >= _revision(known):
            final[item.key] = item
    return final


def _revision(item: Delivery) -> int:
    return int((item.body or {}).get("revision", 0))


def _peaks(dataset: Dataset, final: Iterable[Delivery]) -> dict[str, Peak]:
    """The peak of the first measure by entity; none where an entity is an event of its own."""
    if dataset.event_time is None or dataset.event_time not in dataset.key:
        return {}
    measures = [f.name for f in dataset.fields if f.type.name in _PEAK_TYPES and f.name not in dataset.key]
    best: dict[str, tuple[Decimal, str, str]] = {}
    for item in final:
        body = item.body or {}
        measure = next((m for m in measures if body.get(m) is not None), None)
        if measure is None:
            continue
        entity = "|".join(str(body[k]) for k in dataset.entity_key)
        value, at = Decimal(str(body[measure])), str(body[dataset.event_time])
        known = best.get(entity)
        if known is None or value > known[0] or (value == known[0] and at < known[2]):
            best[entity] = (value, measure, at)
    return {entity: Peak(measure, str(value), at) for entity, (value, measure, at) in sorted(best.items())}
