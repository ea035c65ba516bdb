"""What a front (HTTP, MQTT, a watched folder) gives to the core, what it gets back, and why it may be turned away.

A front takes bytes off its wire, says who sent them and in which format, and calls `Core.submit`. It tells its sender
"yes" only with the receipt in hand: by then every record is in Kafka or on disk. An :class:`IntakeError` means that
nothing was taken and the sender keeps its bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from pipelines.gateway.sources import Source
from pipelines.runtime.errors import LakeError


@dataclass(frozen=True, slots=True)
class Submission:
    """One body for one dataset: a record or a batch of them.

    `media_type` names the format as HTTP does (`application/json`, `text/csv`, …; parameters after `;` are allowed),
    `received_at` is the receipt clock (with a zone): it becomes the arrival clock of every record. `given` are fields
    that the way itself says of every record, such as a level of a topic: field → text.
    """

    dataset: str
    body: bytes = field(repr=False)
    media_type: str
    source: Source
    received_at: datetime
    given: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that is no use; its bytes are kept and counted all the same.

    `index` is its place in the batch from 0, None for a body that could not be read as a whole. `detail` repeats no
    value.
    """

    index: int | None
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a submission, when all of it is safe: records = accepted + spooled + refused.

    `accepted` are in Kafka; `spooled` are on this machine's disk and go to Kafka in order when it is back; `refused`
    are kept as the dead letter or in the object store. `dropped_fields` counts what the contract has no field for.
    """

    dataset: str
    records: int
    accepted: int
    spooled: int
    refused: tuple[Refused, ...] = ()
    dropped_fields: int = 0


class IntakeError(LakeError):
    """Nothing of a submission was taken. `retry_after_s` says when trying again makes sense; None: never as it is."""

    def __init__(self, what: str, remedy: str = "", retry_after_s: float | None = None) -> None:
        """Keep what happened, what to do, and the seconds to wait."""
        super().__init__(what, remedy)
        self.retry_after_s = retry_after_s


class UnknownDataset(IntakeError):
    """There is no stream of that name in this namespace."""


class NotAllowed(IntakeError):
    """The source may not send to this dataset."""


class UnknownFormat(IntakeError):
    """The dataset does not accept this format."""


class Oversized(IntakeError):
    """The body has too many bytes or records; the sender should cut its batches smaller."""


class Empty(IntakeError):
    """The body holds no record."""


class Throttled(IntakeError):
    """The source has used up its rate."""


class Busy(IntakeError):
    """Too much is in flight, or the spool is full: back-pressure to the sender."""
