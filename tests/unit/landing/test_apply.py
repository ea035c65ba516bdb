"""Silver is what a plain loop would make of the events, whatever their order, repeats, batches and crashes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipelines.contracts.registry import Registry
from pipelines.landing.apply import Quality, Silver, apply
from pipelines.runtime.settings import Settings

SLOW = hypothesis_settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
OUTCOME_KEY = ("raw_partition", "raw_offset", "effect")


def version(row: dict[str, Any]) -> tuple[int, int, int]:
    return (row["revision"], row["raw_offset"], row["raw_partition"])


def oracle(rows: Sequence[dict[str, Any]], key: Sequence[str]) -> tuple[dict[Any, dict[str, Any]], list[str | None]]:
    """The table and the effects when events are applied one by one in the order of arrival."""
    table: dict[Any, dict[str, Any]] = {}
    effects: list[str | None] = []
    for row in rows:
        if row["disposition"] == "duplicate":
            effects.append(None)
            continue
        identity = tuple(row[name] for name in key)
        before = table.get(identity)
        if before is not None and version(row) <= version(before):
            effects.append("unchanged")
            continue
        table[identity] = row
        effects.append("inserted" if before is None else "updated")
    return table, effects


def land(settings: Settings, registry: Registry, dataset_id: str, batches: Sequence[Any], **more: Any) -> list[Any]:
    silver = Silver.open(settings, registry, registry.dataset(dataset_id), more.get("encrypt"))
    quality = Quality.open(settings)
    return [apply(silver, quality, batch) for batch in batches]


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[str, int, int, bool]]:
    """Events as (station, step, revision, duplicate?), each drawn possibly again, in any order."""
    event = st.tuples(st.sampled_from(["71520", "71518"]), st.integers(0, 300), st.integers(0, 2), st.booleans())
    close = st.tuples(st.just("71520"), st.integers(0, 3), st.integers(0, 1), st.just(False))
    return draw(st.lists(st.one_of(event, close), min_size=1, max_size=40))


@SLOW
@given(
    history=histories(),
    repeats=st.lists(st.integers(0, 39), max_size=10),
    cuts=st.lists(st.integers(0, 50), max_size=4),
)
def test_any_history_ends_as_the_oracle_says(
    fresh: Callable[[], Settings], registry: Registry, events: Any, history: Any, repeats: Any, cuts: Any
) -> None:
    rows = [
        events.reading(s, step, f"{n}.000", revision=r, raw_offset=n, disposition="duplicate" if d else "on_time")
        for n, (s, step, r, d) in enumerate(history)
    ]
    rows += [rows[i % len(rows)] for i in repeats]  # at-least-once: the same raw record again
    expected, effects = oracle(rows, ("station_id", "observed_at"))
    edges = sorted({0, len(rows), *(c for c in cuts if c < len(rows))})
    dataset = registry.dataset("river_stage")
    settings = fresh()
    batches = [events.batch_of(dataset, rows[a:b], a) for a, b in pairwise(edges)]
    results = land(settings, registry, "river_stage", batches)

    silver = Silver.open(settings, registry, dataset, None)
    stored = {(r["station_id"], r["observed_at"]): r for r in silver.sink.table.to_pyarrow_table().to_pylist()}
    assert len(stored) == silver.sink.table.to_pyarrow_table().num_rows, "a key stands twice"
    assert {k: (version(r), r["stage_m"]) for k, r in stored.items()} == {
        k: (version(r), r["stage_m"]) for k, r in expected.items()
    }
    outcomes = Quality.open(settings).outcome.table.to_pyarrow_table().to_pylist()
    assert Counter((o["raw_offset"], o["disposition"], o["effect"]) for o in outcomes) == Counter(
        (r["raw_offset"], r["disposition"], e) for r, e in zip(rows, effects, strict=True)
    )
    assert sum(r.counts["inserted"] for r in results) == len(stored)
    assert silver.sink.committed(events.app) == len(rows)


class Crash(RuntimeError):
    """Ends a run between two commits."""


@pytest.mark.parametrize("stop_at", ["quality.quarantine", "quality.outcome", "silver.river_stage"])
@pytest.mark.parametrize("larger", [False, True])
def test_a_crash_between_two_commits_doubles_nothing(
    settings: Settings, registry: Registry, events: Any, stop_at: str, larger: bool
) -> None:
    dataset = registry.dataset("river_stage")
    first = [events.reading(step=n, raw_offset=n) for n in range(4)]
    second = [
        events.reading(step=2, stage="2.000", raw_offset=4, disposition="corrected"),
        events.reading("nowhere", step=5, raw_offset=5),
        events.reading(step=6, raw_offset=6),
        events.reading(step=6, raw_offset=7, disposition="duplicate"),
    ]
    later = [events.reading(step=6, stage="9.000", raw_offset=8, disposition="corrected")] if larger else []
    land(settings, registry, "river_stage", [events.batch_of(dataset, first)])

    silver, quality = Silver.open(settings, registry, dataset, None), Quality.open(settings)

    def step(name: str) -> None:
        if name == stop_at:
            raise Crash(name)

    with pytest.raises(Crash):
        apply(silver, quality, events.batch_of(dataset, second, 4), step)
    # A new process reads from silver's offset, and may cut its batches differently.
    silver, quality = Silver.open(settings, registry, dataset, None), Quality.open(settings)
    start = silver.sink.committed(events.app)
    assert start == 4
    apply(silver, quality, events.batch_of(dataset, second + later, start))
    apply(silver, quality, events.batch_of(dataset, second + later, start))

    outcomes = quality.outcome.table.to_pyarrow_table().to_pylist()
    effects = {o["raw_offset"]: o["effect"] for o in outcomes}
    assert len(outcomes) == 8 + len(later)
    assert effects == dict.fromkeys(range(4), "inserted") | {4: "updated", 5: "quarantined", 6: "inserted", 7: None} | (
        {8: "updated"} if larger else {}
    )
    assert quality.quarantine.table.to_pyarrow_table().column("reason").to_pylist() == ["code_list:station_id"]
    stored = events.content(silver.sink.table, sort=["observed_at"])
    assert [float(r["stage_m"]) for r in stored] == [1, 1, 2, 1, 9 if larger else 1]


def test_an_empty_batch_records_its_offset(settings: Settings, registry: Registry, events: Any) -> None:
    dataset = registry.dataset("river_stage")
    land(settings, registry, "river_stage", [events.batch_of(dataset, [], 0, end=17)])
    assert Silver.open(settings, registry, dataset, None).sink.committed(events.app) == 17


def test_a_correction_that_changes_the_day_replaces_its_row(
    settings: Settings, registry: Registry, events: Any
) -> None:
    # event_id alone is the key of a violation: its day may change, so that looking in one partition would double it.
    dataset = registry.dataset("violation_event")
    camera, kind = registry.code_list("cameras").codes[0], registry.code_list("violation_types").codes[0]
    status, ward = registry.code_list("review_statuses").codes[0], registry.code_list("wards").codes[0]
    base = {
        "event_id": "e1", "camera_id": camera, "violation_type": kind, "confidence": 0.9, "review_status": status,
        "ward_code": ward, "plate_token": None, "evidence_uri": None,
    }  # fmt: skip
    rows = [
        {**events.reading(step=0, raw_offset=0), **base},
        {**events.reading(step=500, raw_offset=1, disposition="corrected"), **base},
        {**events.reading(step=300, raw_offset=2, disposition="corrected"), **base},
    ]
    for row in rows:
        row["received_at"] = rows[1]["received_at"]
        del row["station_id"], row["stage_m"]
    results = land(
        settings, registry, "violation_event", [events.batch_of(dataset, [r], n) for n, r in enumerate(rows)],
        encrypt=lambda data: data,
    )  # fmt: skip
    stored = Silver.open(settings, registry, dataset, lambda data: data).sink.table.to_pyarrow_table().to_pylist()
    assert [r["raw_offset"] for r in stored] == [2]
    assert [dict(r.counts)["updated"] for r in results] == [0, 1, 1]


def test_a_later_reading_of_an_old_day_is_found_after_a_restart(
    settings: Settings, registry: Registry, events: Any
) -> None:
    # Only the newest days are read at start: an entity that fell silent long ago must not be taken as unknown.
    dataset = registry.dataset("river_stage")
    old = events.reading("71518", step=0, raw_offset=0)
    rest = [events.reading("71520", step=144 * day, raw_offset=day) for day in range(1, 15)]
    land(settings, registry, "river_stage", [events.batch_of(dataset, [old, *rest])])
    again = [
        events.reading("71518", step=0, stage="7.000", raw_offset=20),
        events.reading("71518", step=1, raw_offset=21),
    ]
    results = land(settings, registry, "river_stage", [events.batch_of(dataset, again, 15)])
    assert dict(results[0].counts) == {
        "inserted": 1,
        "updated": 1,
        "unchanged": 0,
        "deleted": 0,
        "quarantined": 0,
        "duplicate": 0,
    }
    assert Silver.open(settings, registry, dataset, None).sink.table.to_pyarrow_table().num_rows == 16
