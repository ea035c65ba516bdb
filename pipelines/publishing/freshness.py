"""How old the data of every dataset are, where people read them: at the pin and live, against the promise.

Read from the Delta logs alone (file statistics), so that it costs milliseconds and works while every engine is down.

Clocks: a stream's age is that of its newest event. In a namespace of replays the events are of the past, so the age is
taken against the *replay clock*, the newest arrival clock of the namespace's streams. A sector table's age is that of
its newest good load on the wall clock, whether or not the source had changed; a pin that lacks rows of the live
table is as old as its own newest arrival. A mart's is how far its version lies behind the newest input, and a mart
on stale inputs is stale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry
from pipelines.ingestion.records import LastLoad, last_loads
from pipelines.publishing import ledger
from pipelines.runtime.contracts import registry_of
from pipelines.runtime.settings import DEFAULT_NAMESPACE, Settings
from pipelines.runtime.status import Section, status_sections

WALL_CLOCK, REPLAY_CLOCK, INPUT_CLOCK = "wall clock", "replay clock", "newest input"


@dataclass(frozen=True)
class Newest:
    """The newest row of one version: event time and arrival (UTC; None when unknown), and when it was committed."""

    version: int
    event_at: datetime | None
    received_at: datetime | None
    committed_at: datetime


@dataclass(frozen=True)
class Freshness:
    """The age of a dataset; ``pinned`` is None when it is not published, ``live`` None when it has no table.

    ``is_fresh`` judges what is published, or the live table of a stream that is not published yet; it is None when
    there is nothing to judge. ``clock`` says against what the ages were taken.
    """

    dataset: str
    layer: str
    promised: timedelta
    clock: str
    pinned: Newest | None
    live: Newest | None
    pinned_age: timedelta | None
    live_age: timedelta | None
    is_fresh: bool | None


def freshness(settings: Settings, registry: Registry, now: datetime | None = None) -> tuple[Freshness, ...]:
    """The freshness of every dataset, inputs before the marts that rest on them; ``now`` is UTC."""
    wall = now or datetime.now(UTC)
    pins = {name: record.version for name, record in ledger.current(ledger.publications(settings)).items()}
    live: dict[str, Newest] = {}
    pinned: dict[str, Newest] = {}
    for dataset in registry.datasets:
        path = str(settings.table_path(dataset.layer, dataset.id))
        if not DeltaTable.is_deltatable(path):
            continue
        live[dataset.id] = newest(dataset, DeltaTable(path))
        pin = pins.get(dataset.id)
        if pin is not None:
            same = pin == live[dataset.id].version
            pinned[dataset.id] = live[dataset.id] if same else newest(dataset, DeltaTable(path, version=pin))
    loads = last_loads(settings)
    clock, clock_name = _stream_clock(settings, registry, live, wall)
    found: dict[str, Freshness] = {}
    for dataset in _inputs_first(registry):
        one, other = pinned.get(dataset.id), live.get(dataset.id)
        if dataset.mart:
            found[dataset.id] = _mart(dataset, one, other, live, found)
            continue
        is_timed = dataset.stream is not None or dataset.derived is not None
        at, name = (clock, clock_name) if is_timed else (wall, WALL_CLOCK)
        load = loads.get(dataset.id)
        pinned_age = _age(dataset, one, at, None if _lacks(one, other) else load)
        found[dataset.id] = _judged(dataset, name, one, other, pinned_age, _age(dataset, other, at, load))
    return tuple(found.values())


def newest(dataset: Dataset, table: DeltaTable) -> Newest:
    """Read the newest times of a table version from the statistics of its files; no data file is opened."""
    actions = pa.table(table.get_add_actions(flatten=True))
    columns = {name: actions[name] for name in actions.column_names}
    commit = table.history(1)
    committed = datetime.fromtimestamp(commit[0]["timestamp"] / 1000, UTC) if commit else datetime.now(UTC)
    event = dataset.event_time
    return Newest(
        version=table.version(),
        event_at=_maximum(columns.get(f"max.{event}")) if event else None,
        received_at=_maximum(columns.get("max.received_at")),
        committed_at=committed,
    )


def _maximum(column: Any) -> datetime | None:
    if column is None:
        return None
    value = pc.max(column).as_py()
    if value is None:
        return None
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    # A date: the day has begun at least.
    return datetime(value.year, value.month, value.day, tzinfo=UTC)


def _stream_clock(
    settings: Settings, registry: Registry, live: Mapping[str, Newest], wall: datetime
) -> tuple[datetime, str]:
    if settings.namespace == DEFAULT_NAMESPACE:
        return wall, WALL_CLOCK
    streams = {d.id for d in registry.datasets if d.stream}
    arrivals = [item.received_at for name, item in live.items() if name in streams and item.received_at]
    return (max(arrivals), REPLAY_CLOCK) if arrivals else (wall, WALL_CLOCK)


def _lacks(item: Newest | None, live: Newest | None) -> bool:
    """Whether rows have arrived in the live table since a version of it."""
    return item is not None and live is not None and item.received_at != live.received_at


def _age(dataset: Dataset, item: Newest | None, at: datetime, load: LastLoad | None) -> timedelta | None:
    if item is None:
        return None
    known = item.event_at
    if load is not None and load.good_at is not None:
        known = load.good_at
    elif dataset.sector and item.received_at is not None:
        # Filled otherwise, or behind the live table: what is known is when its rows arrived.
        known = max(item.received_at, known) if known else item.received_at
    return None if known is None else max(at - known, timedelta(0))


def _judged(
    dataset: Dataset,
    clock: str,
    pinned: Newest | None,
    live: Newest | None,
    pinned_age: timedelta | None,
    live_age: timedelta | None,
    inputs_are_fresh: bool = True,
) -> Freshness:
    age = pinned_age if pinned is not None else live_age
    is_fresh = None if age is None else age <= dataset.sla.freshness and inputs_are_fresh
    return Freshness(
        dataset.id, dataset.layer, dataset.sla.freshness, clock, pinned, live, pinned_age, live_age, is_fresh
    )


def _mart(
    dataset: Dataset,
    pinned: Newest | None,
    built: Newest | None,
    live: Mapping[str, Newest],
    found: Mapping[str, Freshness],
) -> Freshness:
    inputs = dataset.mart.inputs if dataset.mart else ()
    commits = [live[name].committed_at for name in inputs if name in live]

    def behind(item: Newest | None) -> timedelta | None:
        if item is None:
            return None
        return max(max(commits, default=item.committed_at) - item.committed_at, timedelta(0))

    # A stream that the mart can do without makes its other rows no older.
    needed = dataset.mart.needed if dataset.mart else ()
    are_fresh = all(found[name].is_fresh is not False for name in needed if name in found)
    return _judged(dataset, INPUT_CLOCK, pinned, built, behind(pinned), behind(built), are_fresh)


def _inputs_first(registry: Registry) -> tuple[Dataset, ...]:
    """Every dataset after those it rests on, otherwise by id; a circle of marts ends in the order of ids."""
    rest = list(registry.datasets)
    done: list[Dataset] = []
    while rest:
        waiting = {d.id for d in rest}
        ready = [d for d in rest if not (d.mart and waiting & set(d.mart.inputs))] or rest[:1]
        done += ready
        rest = [d for d in rest if d not in ready]
    return tuple(done)


def age_text(age: timedelta | None) -> str:
    """An age for people: ``3 phút``, ``5 giờ 10 phút``, ``2 ngày``."""
    if age is None:
        return "—"
    minutes = int(age.total_seconds() // 60)
    if minutes < 1:
        return f"{int(age.total_seconds())} giây"
    if minutes < 60:
        return f"{minutes} phút"
    if minutes < 48 * 60:
        return f"{minutes // 60} giờ {minutes % 60} phút"
    return f"{minutes // 1440} ngày"


_STATES = {True: "[green]mới[/]", False: "[red]CŨ[/]", None: "[dim]chưa có[/]"}
_CLOCKS = {WALL_CLOCK: "giờ thật", REPLAY_CLOCK: "giờ phát lại (replay clock)", INPUT_CLOCK: "so với đầu vào"}


def section(settings: Settings) -> Section:
    """The freshness table of `lake status`."""
    found = freshness(settings, registry_of(settings))
    rows = [
        (
            item.dataset,
            _STATES[item.is_fresh],
            age_text(item.pinned_age),
            age_text(item.live_age),
            age_text(item.promised),
            _CLOCKS[item.clock],
            "—" if item.pinned is None else str(item.pinned.version),
        )
        for item in found
    ]
    return Section(
        title="Độ mới của dữ liệu — Freshness",
        columns=("dataset", "", "published", "live", "promised", "clock", "pin"),
        rows=rows,
        is_good=not any(item.is_fresh is False for item in found),
    )


status_sections.append(section)
