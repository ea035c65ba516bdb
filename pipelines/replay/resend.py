"""Sends kept raw records once more: dead letters after a mend, or what arrived since some time, out of bronze.

A record goes back with its bytes, key, source and arrival clock. So nothing doubles, however often it is sent: a job
that remembers the key calls it a duplicate, one that has forgotten classifies it as it did the first time, and landing
keeps of two readings of one key the one of the higher revision, else the one that the city received later. The ledger
counts every sending as received.

Bytes that the gateway had refused go through the gateway again, since a contract that was mended may take them now.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pipelines.contracts.registry import Registry
from pipelines.contracts.targets.kafka import raw_topic
from pipelines.gateway.envelope import RawRecord
from pipelines.gateway.intake import Gateway
from pipelines.gateway.publisher import Publisher
from pipelines.replay.kept import Kept, Place, arrived, kept, note_resent
from pipelines.runtime.decision import Decision
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import DEFAULT_NAMESPACE, Settings

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Progress = Callable[[int], None]
"""Told how many records have been queued."""


@dataclass(frozen=True)
class Resender:
    """Sends kept records of one namespace; ``arrived_now`` gives them the present as their arrival clock."""

    settings: Settings
    registry: Registry
    bootstrap: str
    arrived_now: bool = False

    def __post_init__(self) -> None:
        """Refuse what would move the clock of an exercise.

        Raises:
            LakeError: ``arrived_now`` in a namespace whose arrival clock is simulated.
        """
        if self.arrived_now and self.settings.namespace != DEFAULT_NAMESPACE:
            raise LakeError(
                f"The arrival clock of {self.settings.namespace} is that of its replay: a record of today would make "
                "every later one of the replay late.",
                "Send it with its own clock (leave --arrived-now out).",
            )

    def letters(
        self,
        places: Iterable[Place],
        decision: Decision,
        *,
        origin: str | None = None,
        replacement: bytes | None = None,
        progress: Progress = lambda done: None,
    ) -> Counter[str]:
        """Send dead letters again and note who decided it; how many by dataset.

        ``origin`` is that of bytes which the gateway refused, where their mark does not say it. ``replacement`` stands
        for the bytes of a single letter: a person has mended them.

        Raises:
            LakeError: nothing is kept of a place, an origin is missing, or several letters for one replacement.
            PublishError: Kafka did not take a record; what it took may be sent again.
        """
        wanted = list(places)
        if replacement is not None and len(wanted) != 1:
            raise LakeError(f"{len(wanted)} dead letters and one mended payload.", "Name exactly one place.")
        sent: list[Place] = []
        with Publisher(self.settings, self.bootstrap) as publisher:
            gateway = Gateway.open(self.registry, self.settings)
            for number, record in enumerate(kept(self.settings, self.registry, gateway.store, wanted), start=1):
                publisher.publish(self._letter(record, gateway, origin, replacement))
                sent.append(record.place)
                progress(number)
        at = datetime.now(UTC)
        note_resent(
            self.settings,
            [
                {
                    "dataset": place.dataset,
                    "raw_partition": place.partition,
                    "raw_offset": place.offset,
                    "sent_at": at,
                    "sent_by": decision.by,
                    "why": decision.why,
                    "replaced_payload": replacement is not None,
                }
                for place in sent
            ],
        )
        return Counter(place.dataset for place in sent)

    def arrived(self, dataset_id: str, since: datetime, progress: Progress = lambda done: None) -> int:
        """Send everything of a dataset that arrived from ``since`` on, out of bronze; how many.

        It reaches to the present, because a later record may correct an earlier one.

        Raises:
            LakeError: the dataset is no stream.
            PublishError: Kafka did not take a record.
        """
        dataset = self.registry.dataset(dataset_id)
        if dataset.stream is None:
            streams = ", ".join(d.id for d in self.registry.streams())
            raise LakeError(f"{dataset_id} is no stream.", f"Allowed: {streams}.")
        number = 0
        with Publisher(self.settings, self.bootstrap) as publisher:
            for number, record in enumerate(arrived(self.settings, dataset, since), start=1):
                publisher.publish(self._as_it_was(record))
                progress(number)
        return number

    def _letter(self, record: Kept, gateway: Gateway, origin: str | None, replacement: bytes | None) -> RawRecord:
        mark = record.refused_at_gateway
        if mark is None and replacement is None:
            return self._as_it_was(record)
        payload = replacement if replacement is not None else gateway.store.get(str((mark or {})["ref"]))
        known = (mark or {}).get("origin", origin)
        if known is None:
            raise LakeError(
                f"{record.place}: the gateway did not note where it came from.",
                "Give --origin observed, replay or synthetic.",
            )
        return gateway.accept(
            record.place.dataset,
            payload,
            source=record.source,
            origin=str(known),
            received_at=self._arrival(record),
        )

    def _as_it_was(self, record: Kept) -> RawRecord:
        dataset = self.registry.dataset(record.place.dataset)
        stamp = (self._arrival(record) - _EPOCH) // timedelta(milliseconds=1)
        headers = (("source", record.source.encode()),)
        return RawRecord(raw_topic(dataset), record.key, record.payload, stamp, headers, as_came=True)

    def _arrival(self, record: Kept) -> datetime:
        return datetime.now(UTC) if self.arrived_now else record.received_at.astimezone(UTC)
