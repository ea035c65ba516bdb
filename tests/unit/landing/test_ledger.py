"""The ledger adds up when everything landed once, and names what does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa

from pipelines.contracts.registry import Registry
from pipelines.landing.apply import Quality, Silver, apply
from pipelines.landing.broker import Range
from pipelines.landing.ledger import DatasetLedger, ledger
from pipelines.landing.sink import Sink
from pipelines.landing.tables import bronze_spec
from pipelines.runtime.settings import Settings

TOPIC = "t.raw.river_stage"


def _bronze(settings: Settings, registry: Registry, offsets: Sequence[int]) -> None:
    sink = Sink.open(settings, bronze_spec(registry.dataset("river_stage")))
    count = len(offsets)
    rows: dict[str, Any] = {
        "raw_topic": [TOPIC] * count, "raw_partition": [0] * count, "raw_offset": list(offsets),
        "received_at": [datetime(2025, 10, 27, tzinfo=UTC)] * count, "record_key": [None] * count,
        "source": [None] * count, "payload": [b"{}"] * count, "received_date": [date(2025, 10, 27)] * count,
    }  # fmt: skip
    sink.append(pa.table(rows, schema=pa.schema([(f.name, f.type) for f in sink.spec.schema])), {})


def _entry(settings: Settings, registry: Registry, ranges: Any = None) -> DatasetLedger:
    """The entry of one dataset; the others of the catalogue have nothing that could be counted."""
    found = replace(registry, datasets=(registry.dataset("river_stage"), registry.dataset("rain_gauge")))
    return next(e for e in ledger(settings, found, ranges).datasets if e.dataset == "river_stage")


def _land(settings: Settings, registry: Registry, events: Any) -> None:
    dataset = registry.dataset("river_stage")
    rows = [
        events.reading(step=0, raw_offset=0),
        events.reading(step=0, raw_offset=1, disposition="duplicate"),
        events.reading(step=0, raw_offset=2, stage="2.000", disposition="corrected"),
        events.reading(step=9, raw_offset=3, disposition="late"),
        events.reading("nowhere", step=4, raw_offset=4),
    ]
    silver, quality = Silver.open(settings, registry, dataset, None), Quality.open(settings)
    apply(silver, quality, events.batch_of(dataset, rows))
    # A rebuilt job sends everything again under another topic id.
    apply(silver, quality, events.batch_of(dataset, rows, app="cluster/rebuilt/0"))


def test_an_empty_lake_balances(settings: Settings, registry: Registry) -> None:
    found = ledger(settings, registry)
    assert found.balances and found.to_dict()["violations"] == []


def test_a_rebuild_counts_every_event_once(settings: Settings, registry: Registry, events: Any) -> None:
    _bronze(settings, registry, range(6))
    _land(settings, registry, events)
    entry = _entry(settings, registry, {TOPIC: {0: Range(0, 6)}})
    terms = {
        "received": 6, "refused": 0, "duplicate": 1, "accepted": 4, "on_time": 2, "late": 1, "corrected": 1,
        "inserted": 2, "updated": 1, "unchanged": 0, "quarantined": 1, "in_flight": 1, "ahead": 0, "rows_in_silver": 2,
    }  # fmt: skip
    assert {name: getattr(entry, name) for name in terms} == terms
    assert entry.violations == ()


def test_what_does_not_add_up_is_named(settings: Settings, registry: Registry, events: Any) -> None:
    _bronze(settings, registry, [0, 1, 2, 4])
    _land(settings, registry, events)
    Silver.open(settings, registry, registry.dataset("river_stage"), None).sink.table.delete("observed_at IS NOT NULL")
    found = _entry(settings, registry, {TOPIC: {0: Range(0, 7)}}).violations
    assert any("river_stage: rows in silver = 0, but inserted = 2" in text for text in found)
    assert any("holds 4 offsets of 0 … 4, which are 5" in text for text in found)
    assert any("Kafka holds 0 … 6" in text for text in found)
    assert any("1 outcomes are of raw records that bronze does not hold" in text for text in found)


def test_outcomes_that_are_ahead_of_silver_are_not_counted_yet(
    settings: Settings, registry: Registry, events: Any
) -> None:
    dataset = registry.dataset("river_stage")
    _bronze(settings, registry, range(3))
    silver, quality = Silver.open(settings, registry, dataset, None), Quality.open(settings)
    apply(silver, quality, events.batch_of(dataset, [events.reading(step=0, raw_offset=0)]))
    waiting = silver.plan(events.batch_of(dataset, [events.reading(step=1, raw_offset=1)], 1))
    quality.write([waiting.aside])
    entry = _entry(settings, registry)
    assert (entry.inserted, entry.in_flight, entry.rows_in_silver, entry.violations) == (1, 2, 1, ())
    silver.commit(waiting)
    assert _entry(settings, registry).in_flight == 1
