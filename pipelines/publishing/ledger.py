"""``catalog.publication``: the record of every pin that was moved, and which versions must stay alive.

Moving a pin is two records around one view: *planned*, then the view, then *published*. The view in Trino is what
people read; the records say why. A crash between any two steps leaves either an unmoved pin with a plan, or a moved pin
with a plan: maintenance protects planned versions like published ones, and the next publication of the run finishes
what is open. (A record without a plan before would either claim a version that nobody reads, or leave the version that
people read unprotected.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Literal

import pyarrow as pa
from filelock import FileLock

from pipelines.landing import journal
from pipelines.runtime.settings import Settings

State = Literal["planned", "published"]
Action = Literal["publish", "rollback"]
ROLLBACK_DAYS = 7
"""So long a version that was published once stays readable after its pin has moved on."""

_FIELDS: tuple[tuple[str, pa.DataType], ...] = (
    ("dataset", pa.string()),
    ("layer", pa.string()),
    ("version", pa.int64()),
    ("previous_version", pa.int64()),
    ("state", pa.string()),
    ("action", pa.string()),
    ("verdict", pa.string()),
    ("run_id", pa.string()),
    ("reason", pa.string()),
    ("published_by", pa.string()),
    ("published_at", pa.timestamp("us", tz="UTC")),
)
_SCHEMA = pa.schema([pa.field(name, kind) for name, kind in _FIELDS])


@dataclass(frozen=True)
class Publication:
    """One step of moving one pin; ``published_at`` is UTC, ``previous_version`` None at the first publication."""

    dataset: str
    layer: str
    version: int
    previous_version: int | None
    state: State
    action: Action
    verdict: str
    run_id: str
    reason: str
    published_by: str
    published_at: datetime


def lock(settings: Settings) -> FileLock:
    """The lock under which pins move and maintenance cleans: a version cannot be pinned while it is vacuumed."""
    folder = settings.lake_root / settings.namespace / "_locks"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / "publication.lock", timeout=600)


def record(settings: Settings, publications: Iterable[Publication]) -> None:
    """Append records in one commit; none write nothing."""
    title = "Mọi lần dời phiên bản công bố — Every move of a published pin"
    journal.append(settings, "catalog", "publication", [asdict(item) for item in publications], _SCHEMA, title)


def publications(settings: Settings) -> list[Publication]:
    """Every record, oldest first; none when nothing was published yet."""
    rows = journal.read(settings, "catalog", "publication")
    order = {"planned": 0, "published": 1}
    return sorted((Publication(**r) for r in rows), key=lambda p: (p.published_at, order[p.state], p.dataset))


def current(records: Sequence[Publication]) -> Mapping[str, Publication]:
    """The newest finished publication of every dataset."""
    return {record.dataset: record for record in records if record.state == "published"}


def open_plans(records: Sequence[Publication]) -> tuple[Publication, ...]:
    """Plans that no record has finished and no later one replaced: what a crash left."""
    last: dict[str, Publication] = {}
    for item in records:
        last[item.dataset] = item
    return tuple(item for item in last.values() if item.state == "planned")


def needed_versions(
    records: Sequence[Publication],
    now: datetime,
    rollback: timedelta = timedelta(days=ROLLBACK_DAYS),
    retired: Mapping[str, int] = MappingProxyType({}),
) -> Mapping[tuple[str, str], frozenset[int]]:
    """The versions that must stay readable, by layer and dataset.

    The current pin and every open plan, however old; the pin before it, so that a rollback always has somewhere to
    go; and whatever was published within ``rollback``. ``retired``: table (``silver.river_stage``) → the version from
    which on rows past their retention are gone; what lies below it is not kept just to go back to.
    """
    needed: dict[tuple[str, str], set[int]] = {}
    kept = [*current(records).values(), *open_plans(records)]
    kept += [item for item in records if now - item.published_at <= rollback]
    for item in kept:
        versions = needed.setdefault((item.layer, item.dataset), set())
        floor = retired.get(f"{item.layer}.{item.dataset}", 0)
        versions |= {v for v in (item.version, item.previous_version) if v is not None and v >= floor}
    for item in (*current(records).values(), *open_plans(records)):
        needed[item.layer, item.dataset].add(item.version)
    return {key: frozenset(versions) for key, versions in needed.items()}
