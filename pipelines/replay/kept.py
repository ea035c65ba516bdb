"""What the lake has kept of its raw records: dead letters with their bytes, bronze by time, and what was sent again.

Reads Delta tables only. A record's place, ``dataset:partition:offset`` of its raw topic, is its name for people.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as pads
from deltalake import DeltaTable

from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry
from pipelines.contracts.system import MARKER_KEY
from pipelines.gateway.objects import ObjectStore
from pipelines.landing import journal
from pipelines.landing.tables import DEAD_LETTER
from pipelines.runtime.delta import arrow_dataset, arrow_table
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings

_INSTANT: Any = pa.timestamp("us", tz="UTC")
_PLACE = re.compile(r"([a-z][a-z0-9_]*):(\d{1,9}):(\d{1,18})\Z")
_BRONZE = ("raw_partition", "raw_offset", "received_at", "record_key", "source", "payload")
RESENT = "resent"
RESENT_SCHEMA = pa.schema(
    {
        "dataset": pa.string(),
        "raw_partition": pa.int32(),
        "raw_offset": pa.int64(),
        "sent_at": _INSTANT,
        "sent_by": pa.string(),
        "why": pa.string(),
        "replaced_payload": pa.bool_(),
    }
)
"""``quality.resent``: a dead letter that a person sent again; written after Kafka has taken the record."""


@dataclass(frozen=True)
class Place:
    """Where a raw record stood: the partition and offset of its dataset's raw topic."""

    dataset: str
    partition: int
    offset: int

    @classmethod
    def parse(cls, text: str) -> Place:
        """Read ``river_stage:0:17``.

        Raises:
            LakeError: another form.
        """
        match = _PLACE.fullmatch(text)
        if match is None:
            raise LakeError(
                f"{text!r} is no place of a record.", "Write dataset:partition:offset, as `lake deadletter list` does."
            )
        return cls(match[1], int(match[2]), int(match[3]))

    def __str__(self) -> str:
        """As people write it."""
        return f"{self.dataset}:{self.partition}:{self.offset}"


@dataclass(frozen=True)
class Letter:
    """A dead letter without its bytes; ``received_at`` is the arrival clock (UTC), ``resent`` how often it was sent
    again."""

    place: Place
    raw_topic: str
    received_at: datetime
    reason: str
    detail: str | None
    resent: int


@dataclass(frozen=True)
class Kept:
    """A raw record as it stood in its topic; ``key`` is empty when bronze no longer has it."""

    place: Place
    received_at: datetime
    key: bytes
    source: str
    payload: bytes

    @property
    def refused_at_gateway(self) -> dict[str, Any] | None:
        """What the gateway wrote in the place of bytes that it refused; None for an ordinary record."""
        if MARKER_KEY.encode() not in self.payload[:64]:
            return None
        found: dict[str, Any] = json.loads(self.payload)[MARKER_KEY]
        return found


def letters(
    settings: Settings,
    *,
    dataset: str | None = None,
    reason: str | None = None,
    since: datetime | None = None,
    places: Sequence[Place] = (),
) -> list[Letter]:
    """The dead letters that match, oldest first; a rebuilt job repeats them, each is listed once."""
    path = str(settings.table_path("quality", DEAD_LETTER))
    if not DeltaTable.is_deltatable(path):
        return []
    columns = ["dataset", "raw_topic", "raw_partition", "raw_offset", "received_at", "reason", "detail"]
    found = arrow_dataset(DeltaTable(path)).to_table(columns, filter=_filter(dataset, reason, since, places))
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        db.register("letter", found)
        db.register("resent", _resent(settings))
        rows = db.execute(
            "WITH again AS (SELECT dataset, raw_partition, raw_offset, count(*) AS sent FROM resent GROUP BY ALL)"
            " SELECT raw_topic, dataset, raw_partition, raw_offset, received_at, reason, detail, coalesce(sent, 0)"
            " FROM letter LEFT JOIN again USING (dataset, raw_partition, raw_offset)"
            " QUALIFY row_number() OVER (PARTITION BY raw_topic, raw_partition, raw_offset ORDER BY reason) = 1"
            " ORDER BY received_at, dataset, raw_partition, raw_offset"
        ).fetchall()
    return [Letter(Place(row[1], row[2], row[3]), row[0], row[4].astimezone(UTC), *row[5:]) for row in rows]


def _filter(dataset: str | None, reason: str | None, since: datetime | None, places: Sequence[Place]) -> Any:
    field = pads.field
    wanted: Any = pads.scalar(True)
    if dataset is not None:
        wanted &= field("dataset") == dataset
    if reason is not None:
        wanted &= field("reason") == reason
    if since is not None:
        wanted &= field("received_at") >= pa.scalar(since, _INSTANT)
    if places:
        wanted &= field("dataset").isin(sorted({p.dataset for p in places}))
        wanted &= field("raw_offset").isin(sorted({p.offset for p in places}))
    return wanted


def _resent(settings: Settings) -> pa.Table:
    path = str(settings.table_path("quality", RESENT))
    return arrow_table(DeltaTable(path)) if DeltaTable.is_deltatable(path) else RESENT_SCHEMA.empty_table()


def note_resent(settings: Settings, rows: Sequence[dict[str, Any]]) -> None:
    """Append to ``quality.resent``, which is made on first use."""
    title = "Bản ghi bị từ chối được gửi lại — Dead letters that were sent again"
    journal.append(settings, "quality", RESENT, rows, RESENT_SCHEMA, title)


def kept(settings: Settings, registry: Registry, store: ObjectStore, places: Sequence[Place]) -> Iterator[Kept]:
    """The raw records at some places, in their order; from bronze, else from the dead letter's own bytes.

    Raises:
        LakeError: a place of which neither is left.
    """
    for name in sorted({place.dataset for place in places}):
        dataset = registry.dataset(name)
        wanted = {(p.partition, p.offset): p for p in places if p.dataset == name}
        found = {k.place: k for k in _bronze(settings, dataset, pads.field("raw_offset").isin([o for _, o in wanted]))}
        for position in sorted(wanted):
            place = wanted[position]
            yield found[place] if place in found else _from_letter(settings, dataset, store, place)


def arrived(settings: Settings, dataset: Dataset, since: datetime) -> Iterator[Kept]:
    """Everything of a dataset that arrived from ``since`` on, in the order of arrival of each partition.

    What was sent again stands in bronze once for each sending, and is given once; what the gateway had refused is left
    out: it has a way of its own.
    """
    day = since.astimezone(UTC).date()
    after: Any = (pads.field("received_date") >= day) & (pads.field("received_at") >= pa.scalar(since, _INSTANT))
    given: set[tuple[int, datetime, bytes, bytes]] = set()
    for record in _bronze(settings, dataset, after):
        same = (record.place.partition, record.received_at, record.key, record.payload)
        if same not in given and record.refused_at_gateway is None:
            given.add(same)
            yield record


def _bronze(settings: Settings, dataset: Dataset, wanted: Any) -> Iterator[Kept]:
    path = str(settings.table_path("bronze", dataset.id))
    if not DeltaTable.is_deltatable(path):
        return
    table = arrow_dataset(DeltaTable(path)).to_table(list(_BRONZE), filter=wanted)
    table = table.sort_by([("raw_partition", "ascending"), ("raw_offset", "ascending")])
    for batch in table.to_batches(max_chunksize=10_000):
        for partition, offset, received_at, key, source, payload in zip(
            *(batch[name].to_pylist() for name in _BRONZE), strict=True
        ):
            # A record that was emptied at a person's request has nothing to send any more.
            if payload is not None:
                place = Place(dataset.id, partition, offset)
                yield Kept(place, received_at, (key or "").encode(), source or "unknown", payload)


def _from_letter(settings: Settings, dataset: Dataset, store: ObjectStore, place: Place) -> Kept:
    path = str(settings.table_path("quality", DEAD_LETTER))
    wanted: Any = (
        (pads.field("dataset") == place.dataset)
        & (pads.field("raw_partition") == place.partition)
        & (pads.field("raw_offset") == place.offset)
    )
    columns = ["received_at", "payload", "raw_topic"]
    found: list[dict[str, Any]] = []
    if DeltaTable.is_deltatable(path):
        found = arrow_dataset(DeltaTable(path)).to_table(columns, filter=wanted).to_pylist()
    # A letter of a clean topic has the place of that topic: its bytes are not what a sender sent.
    rows = [row for row in found if ".raw." in row["raw_topic"]]
    if not rows:
        raise LakeError(
            f"Nothing is kept of {place}.", "`lake deadletter list` shows what there is; bronze keeps it for a while."
        )
    text = rows[0]["payload"].encode("ascii")
    payload = store.decrypt(text) if dataset.is_protected else base64.b64decode(text)
    return Kept(place, rows[0]["received_at"], b"", "unknown", payload)
