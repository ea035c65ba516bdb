"""Sends in what waited in quarantine for its device to be registered."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from pipelines.contracts.registry import Registry
from pipelines.contracts.targets.kafka import raw_topic
from pipelines.gateway.envelope import RawRecord, milliseconds, source_headers
from pipelines.gateway.limits import Limits
from pipelines.gateway.publisher import Publisher
from pipelines.gateway.quarantine import Kept
from pipelines.gateway.sealing import Sealing
from pipelines.gateway.sources import Source, Sources
from pipelines.gateway.submission import Submission
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings


@dataclass(frozen=True, slots=True)
class Released:
    """What became of a stream's quarantine: records sent, and devices that are still not registered."""

    sent: int
    refused: int
    still_unknown: tuple[str, ...]


def release(
    settings: Settings, registry: Registry, bootstrap: str, dataset_id: str, device: str | None = None
) -> Released:
    """Send the kept records of one device, or of every device of the stream that is registered by now.

    They are received now: what was measured long ago is late, and says so. A record is dropped from the quarantine
    when Kafka has it; after a failure some may be sent twice, which changes nothing.

    Raises:
        LakeError: no such stream or device, one that is still not registered, or Kafka did not take a record.
    """
    dataset = {d.id: d for d in registry.streams()}.get(dataset_id)
    if dataset is None:
        raise LakeError(f"There is no stream {dataset_id!r}.", "See `lake gateway devices`.")
    sealing, sources = Sealing(settings, registry, Limits()), Sources(settings)
    try:
        strangers = [s.device for s in sealing.quarantine.strangers() if s.dataset == dataset_id]
        if device is not None and device not in strangers:
            raise LakeError(f"No record of {device!r} is kept for {dataset_id}.", "See `lake gateway devices`.")
        chosen = strangers if device is None else [device]
        known = [name for name in chosen if sealing.devices.is_known(dataset_id, name)]
        if device is not None and not known:
            what = f"{device!r} is still not in {dataset.register}."
            raise LakeError(what, "Register it first: add it to the code list, or wait for the next load of the table.")
        sent = refused = 0
        with Publisher(settings, bootstrap) as publisher:
            for name in known:
                kept = sealing.quarantine.records(dataset_id, name)
                for item in kept:
                    now = datetime.now(UTC)
                    body = sealing.gateway.store.get(item.ref)
                    submission = Submission(dataset_id, body, item.media_type, _source(item, sources), now)
                    sealed = sealing.seal(dataset, submission)
                    refused += len(sealed.refused)
                    for key, value in sealed.pairs:
                        headers = source_headers(item.source)
                        publisher.publish(RawRecord(raw_topic(dataset), key, value, milliseconds(now), headers))
                        sent += 1
                publisher.flush()
                sealing.quarantine.forget(item.number for item in kept)
        return Released(sent, refused, tuple(name for name in chosen if name not in known))
    finally:
        sealing.close()


def _source(kept: Kept, sources: Sources) -> Source:
    """Who sent it, with what its Datastreams stand for; a source that is gone is at least named."""
    found = next((source for source in sources.all() if source.name == kept.source), None)
    return found or Source(kept.source, "", (kept.dataset,), origin=kept.origin)
