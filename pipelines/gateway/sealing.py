"""From the bytes of a submission to records that may travel, and what is to be told of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry
from pipelines.contracts.targets.kafka import MAX_PAYLOAD_BYTES
from pipelines.gateway.devices import Devices
from pipelines.gateway.envelope import RESERVED, UNKNOWN_DEVICE, RawRecord, Refusal, is_protected, seal, unusable
from pipelines.gateway.formats.entry import Entry, Unreadable
from pipelines.gateway.formats.select import JsonReader, media_type_of, reader
from pipelines.gateway.given import completed
from pipelines.gateway.intake import Gateway
from pipelines.gateway.limits import Limits
from pipelines.gateway.quarantine import Kept, Quarantine, kept_at
from pipelines.gateway.submission import Empty, Oversized, Refused, Submission
from pipelines.gateway.typed_rows import TypedRows
from pipelines.runtime.settings import Settings


@dataclass(slots=True)
class Sealed:
    """The records of one submission as (key, value), those that are no use with their reason, and fields left out."""

    pairs: list[tuple[bytes, bytes]] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    dropped: int = 0
    kept: list[Kept] = field(default_factory=list)


class Sealing:
    """Seals the submissions of one namespace. One thread uses it."""

    def __init__(self, settings: Settings, registry: Registry, limits: Limits) -> None:
        """Open the keys, the object store, the registers and the quarantine."""
        self._limits = limits
        self.gateway = Gateway.open(registry, settings)
        self.devices = Devices(settings, registry)
        self.quarantine = Quarantine(settings, limits.quarantine_bytes)
        self._rows: dict[tuple[str, str], tuple[Dataset, TypedRows | None]] = {}

    def seal(self, dataset: Dataset, submission: Submission) -> Sealed:
        """Every record of a submission; refused bytes are safe before this returns.

        Raises:
            Empty, Oversized: no record, or too many; nothing was taken.
            OSError: refused bytes cannot be kept; nothing counts.
        """
        sealed = Sealed()
        read = reader(dataset, submission.media_type, submission.source)
        try:
            rows = None if submission.given else self._typed(dataset, submission.source.origin)
            if isinstance(read, JsonReader) and rows is not None:
                self._bulk(dataset, submission, read, rows, sealed)
            else:
                entries = read.parse(submission.body)
                self._bounded(len(entries))
                for index, entry in enumerate(entries):
                    self._one(dataset, submission, index, completed(entry, submission.given), sealed)
        except Unreadable as error:
            self._one(dataset, submission, None, Entry(submission.body, problem=str(error)), sealed)
        self._bounded(len(sealed.pairs))
        if sealed.kept:
            self.quarantine.keep(sealed.kept)
        return sealed

    def close(self) -> None:
        """Close the files."""
        self.quarantine.close()

    def _bulk(
        self, dataset: Dataset, submission: Submission, read: JsonReader, rows: TypedRows, sealed: Sealed
    ) -> None:
        """Typed rows at once; what is unusual one by one, in its place."""
        raws = read.split(submission.body)
        self._bounded(len(raws))
        if RESERVED in submission.body:
            pairs: Sequence[tuple[bytes, bytes] | None] = [None] * len(raws)
            devices: Sequence[str | None] = [None] * len(raws)
        else:
            pairs, devices = rows.seal(raws)
        named = {device for device in devices if device is not None}
        unknown = self.devices.unknown(dataset.id, named)
        good = [pair for pair in pairs if pair is not None]
        if len(good) == len(raws) and not unknown and len(submission.body) <= MAX_PAYLOAD_BYTES:
            sealed.pairs = good
        else:
            for raw, pair, device in zip(raws, pairs, devices, strict=True):
                if pair is not None and device not in unknown and len(raw) <= MAX_PAYLOAD_BYTES:
                    sealed.pairs.append(pair)
                else:
                    for entry in read.entries(raw):
                        self._one(dataset, submission, len(sealed.pairs), entry, sealed)
        self.devices.hear(dataset.id, named - unknown, submission.received_at)

    def _one(self, dataset: Dataset, submission: Submission, index: int | None, entry: Entry, sealed: Sealed) -> None:
        """Seal one entry; what is refused goes to the object store, with a marker in its place."""
        source, received_at = submission.source, submission.received_at
        if entry.problem:
            found = unusable(
                dataset, entry.raw, entry.problem, source=source.name, origin=source.origin, received_at=received_at
            )
        else:
            body = entry.raw if entry.body is None else self._completed(dataset, entry)
            found = seal(
                dataset,
                body,
                source=source.name,
                origin=source.origin,
                received_at=received_at,
                tokeniser=self.gateway.tokeniser,
                original=entry.raw,
            )
        stranger = None
        if isinstance(found, RawRecord) and found.device is not None:
            if self.devices.is_known(dataset.id, found.device):
                self.devices.hear(dataset.id, (found.device,), received_at)
            else:
                stranger = found.device
                said = f"the device is not in {dataset.register}; it is kept until it is"
                found = Refusal(UNKNOWN_DEVICE, said, entry.raw)
        record = self.gateway.settle(dataset, found, source=source.name, origin=source.origin, received_at=received_at)
        if stranger is not None and record.ref is not None:
            at, kind = kept_at(received_at), media_type_of(submission.media_type)
            sealed.kept.append(
                Kept(dataset.id, stranger, record.ref, kind, source.name, source.origin, at, len(entry.raw))
            )
        sealed.pairs.append((record.key, record.value))
        sealed.dropped += record.dropped_fields + entry.dropped
        if record.reason:
            sealed.refused.append(Refused(index, record.reason, record.detail))

    def _completed(self, dataset: Dataset, entry: Entry) -> Mapping[str, Any]:
        """The fields of a foreign message with those that the register knows of its device."""
        body = entry.body or {}
        if not entry.is_foreign or dataset.stream is None or dataset.stream.device is None:
            return body
        return {**self.devices.says(dataset.id, body.get(dataset.stream.device)), **body}

    def _bounded(self, records: int) -> None:
        if not records:
            raise Empty("The body holds no record.", "Send one object, or an array of them.")
        if records > self._limits.batch_records:
            what = f"The body has {records} records; at most {self._limits.batch_records} are taken."
            raise Oversized(what, "Send smaller batches.")

    def _typed(self, dataset: Dataset, origin: str) -> TypedRows | None:
        """The typed rows of an open dataset, compiled again when its contract is another one."""
        known, rows = self._rows.get((dataset.id, origin), (None, None))
        if known is not dataset:
            rows = None if is_protected(dataset) else TypedRows(dataset, origin)
            self._rows[dataset.id, origin] = (dataset, rows)
        return rows
