"""Rows go when they are older than their contract says, and not before; what was done can be asked."""

from __future__ import annotations

import base64
import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipelines.contracts.durations import kept_from
from pipelines.contracts.registry import Registry
from pipelines.contracts.system import MARKER_KEY
from pipelines.contracts.targets import delta
from pipelines.gateway.objects import open_store
from pipelines.landing import retired
from pipelines.landing.apply import PART, POSITION, Batch, Quality, Silver, apply
from pipelines.landing.lease import lease, leases
from pipelines.landing.ledger import ledger
from pipelines.landing.removal import Removal, answer, asked, remove
from pipelines.landing.retired import open_plans, records
from pipelines.landing.sink import Sink
from pipelines.landing.tables import bronze_spec, ensure_table, quality_spec, silver_spec
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings
from pipelines.warehouse.commands import coming
from pipelines.warehouse.retention import Condition, Rule, due_at, expression, look, predicate, rules
from pipelines.warehouse.retire import Report, plan, retire, settle

HOME = Path(__file__).resolve().parents[3]
NOW = datetime(2026, 6, 15, 19, 30, tzinfo=UTC)
DAY = timedelta(days=1)
APP = "cluster/topic/0"


@pytest.fixture
def city(tmp_path: Path) -> Settings:
    """An empty lake of the city: only there retention runs."""
    return Settings.load({"LAKE_HOME": str(HOME), "LAKE_STATE": str(tmp_path / "state"), "LAKE_NAMESPACE": "city"})


@pytest.fixture(scope="session")
def small(registry: Registry) -> Registry:
    """The contracts of the tests; every other table of the catalogue would be looked for in vain."""
    names = ("river_stage", "ai_event", "med_price")
    return replace(registry, datasets=tuple(registry.dataset(name) for name in names))


def reading(offset: int, observed_at: datetime, received_at: datetime | None = None, **more: Any) -> dict[str, Any]:
    row = {
        "station_id": "71520", "observed_at": observed_at, "stage_m": Decimal("1.000"), "qc_flag": 1,
        "qc_detail": None, "origin": "observed", "revision": 0, "received_at": received_at or observed_at,
        "raw_partition": 0, "raw_offset": offset, "disposition": "on_time",
    }  # fmt: skip
    return {**row, **more}


def batch(registry: Registry, rows: Sequence[dict[str, Any]]) -> Batch:
    schema = pa.schema([(f.name, f.type) for f in delta.clean_schema(registry.dataset("river_stage"))])
    offsets = [row["raw_offset"] for row in rows]
    table = pa.Table.from_pylist(list(rows), schema=schema)
    table = table.append_column(PART, pa.array([0] * len(rows), pa.int32()))
    table = table.append_column(POSITION, pa.array(offsets, pa.int64()))
    return Batch(table, {0: APP}, {0: max(offsets) + 1})


def land(settings: Settings, registry: Registry, rows: Sequence[dict[str, Any]]) -> None:
    """Land readings in bronze, outcome and silver as the landing process does."""
    dataset = registry.dataset("river_stage")
    sink = Sink.open(settings, bronze_spec(dataset))
    raw = [
        {
            "raw_topic": "city.raw.river_stage", "raw_partition": 0, "raw_offset": row["raw_offset"],
            "received_at": row["received_at"], "record_key": None, "source": "s", "payload": b"{}",
            "received_date": row["received_at"].date(),
        }
        for row in rows
    ]  # fmt: skip
    sink.append(pa.Table.from_pylist(raw, schema=delta.arrow_schema(dataset, "bronze")), {})
    silver = Silver.open(settings, registry, dataset, None)
    apply(silver, Quality.open(settings), batch(registry, rows))


def aged(ages: Sequence[float], start: int = 0) -> list[dict[str, Any]]:
    return [reading(start + n, NOW - days * DAY) for n, days in enumerate(ages)]


def count(settings: Settings, table: str) -> int:
    return DeltaTable(str(settings.table_path(*table.split(".", 1)))).count()


def run(settings: Settings, registry: Registry, **more: Any) -> Report:
    return retire(settings, registry, by="test", run_id="r1", now=NOW, wait_s=5.0, **more)


def balance(settings: Settings, registry: Registry) -> Any:
    found = next(e for e in ledger(settings, registry).datasets if e.dataset == "river_stage")
    assert found.violations == ()
    return found


# ── rules ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_table_that_landing_and_ingestion_fill_has_a_rule(registry: Registry) -> None:
    found = {rule.table for rule in rules(registry, NOW)}
    for dataset in registry.datasets:
        assert (f"bronze.{dataset.id}" in found) == bool(dataset.stream or dataset.sector), dataset.id
        assert (f"silver.{dataset.id}" in found) == (dataset.mart is None), dataset.id


def test_a_mart_is_promised_no_shorter_than_its_inputs_are_kept(registry: Registry) -> None:
    """Marts are built anew from what silver holds: a shorter promise could not be kept there."""
    silver = {d.id: d.retention.silver for d in registry.datasets if not d.mart}
    for mart in registry.marts():
        for name in mart.mart.inputs if mart.mart else ():
            assert mart.retention.silver >= silver.get(name, timedelta()), (mart.id, name)


def test_a_code_list_shortens_what_is_kept_of_single_types(registry: Registry) -> None:
    rule = next(r for r in rules(registry, NOW) if r.table == "silver.ai_event")
    shorter = [tests for tests in rule.terms if tests[0].operator == "in"]
    days = {code: (NOW - older.value).days for some, older in shorter for code in some.value}
    listed = {row["code"]: row["retention_d"] for row in registry.code_list("event_retention").rows}
    assert days == {code: kept for code, kept in listed.items() if kept < 365}


def test_time_that_gives_no_age_is_refused(registry: Registry) -> None:
    table = registry.dataset("river_stage")
    assert table.stream is not None
    odd = table.model_copy(update={"stream": table.stream.model_copy(update={"event_time": "station_id"})})
    with pytest.raises(LakeError, match="no age follows from station_id"):
        rules(replace(registry, datasets=(odd,)), NOW)


@pytest.mark.parametrize(
    ("kept", "oldest", "due"),
    [
        (30, datetime(2026, 1, 1, 0, 0, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)),
        (30, datetime(2026, 1, 1, 23, 59, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)),
    ],
)
def test_a_row_falls_due_at_the_midnight_after_its_time_is_over(kept: int, oldest: datetime, due: datetime) -> None:
    assert due_at(oldest, kept * DAY) == due
    assert not oldest < kept_from(kept * DAY, due - timedelta(seconds=1))
    assert oldest < kept_from(kept * DAY, due)


ROWS = st.lists(
    st.tuples(
        st.integers(0, 500).map(lambda hours: NOW - timedelta(hours=hours)),
        st.none() | st.sampled_from(["plate_trace", "jam", "other"]),
        st.booleans(),
    ),
    min_size=1,
    max_size=25,
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    return lambda: tmp_path_factory.mktemp("table")


@given(rows=ROWS, days=st.tuples(st.integers(1, 20), st.integers(1, 20)), files=st.integers(1, 3))
@hypothesis_settings(max_examples=40, deadline=None)
def test_a_row_goes_exactly_when_it_is_older_than_its_contract_says(
    folders: Callable[[], Path], rows: list[Any], days: tuple[int, int], files: int
) -> None:
    """Arrow counts, delta-rs deletes and plain Python agree, whatever the rows and however they lie in files."""
    kept, short = kept_from(days[0] * DAY, NOW), kept_from(days[1] * DAY, NOW)
    some = Condition("kind", "in", ("jam", "plate_trace"))
    terms = (
        (Condition("at", "<", kept),),
        (Condition("at", "is null"), Condition("received_at", "<", kept)),
        (some, Condition("at", "<", short)),
        (
            some,
            Condition("at", "is null"),
            Condition("received_at", "<", short),
        ),
    )
    instant: Any = pa.timestamp("us", tz="UTC")
    schema = pa.schema({"n": pa.int64(), "at": instant, "received_at": instant, "kind": pa.string()})
    whole = [
        {"n": n, "at": at if timed else None, "received_at": at, "kind": kind}
        for n, (at, kind, timed) in enumerate(rows)
    ]
    path = str(folders())
    for part in range(files):
        write_deltalake(path, pa.Table.from_pylist(whole[part::files], schema=schema), mode="append")
    table = DeltaTable(path)
    expected = {
        row["n"]
        for row in whole
        if row["received_at"] < kept or (row["kind"] in {"jam", "plate_trace"} and row["received_at"] < short)
    }
    rule = Rule("silver.x", "x", "at", days[0] * DAY, kept, terms, "1.0.0", "silver.x")
    assert look(rule, table).rows == len(expected)
    assert set(table.to_pyarrow_dataset().to_table(filter=expression(terms))["n"].to_pylist()) == expected
    table.delete(predicate(terms))
    assert set(table.to_pyarrow_table()["n"].to_pylist()) == {row["n"] for row in whole} - expected
    assert look(rule, table).rows == 0


# ── carrying it out ──────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_too_old_goes_once_and_the_ledger_goes_on(city: Settings, small: Registry) -> None:
    # Bronze of river_stage is kept for 90 days, silver for 10 years.
    land(city, small, aged([4000, 3700, 100, 91.2, 89, 2]))
    before = {name: count(city, name) for name in ("bronze.river_stage", "silver.river_stage", "quality.outcome")}
    assert set(before.values()) == {6}
    promised = run(city, small, dry_run=True)
    assert {name: count(city, name) for name in before} == before, "a dry run changes nothing"
    report = run(city, small)
    expected = {"bronze.river_stage": 4, "quality.outcome": 4, "silver.river_stage": 2}
    for said in (promised, report):
        assert {item.rule.table: item.rows for item in said.due if item.rows} == expected
    assert {name: count(city, name) for name in before} == {
        "bronze.river_stage": 2, "quality.outcome": 2, "silver.river_stage": 4
    }  # fmt: skip
    done = {item.table: item for item in records(city) if item.state == "done"}
    assert {name: item.rows for name, item in done.items()} == expected
    assert done["bronze.river_stage"].floors == '{"0": 4}'
    assert done["quality.outcome"].inserted == 4
    assert {item.removed_by for item in done.values()} == {"test"}
    assert not open_plans(records(city))
    found = balance(city, small)
    assert (found.received, found.inserted_in_silver, found.removed_from_silver) == (2, 6, 2)
    versions = {name: DeltaTable(str(city.table_path(*name.split(".")))).version() for name in before}
    again = run(city, small)
    assert not any(item.rows for item in again.due)
    assert {name: DeltaTable(str(city.table_path(*name.split(".")))).version() for name in before} == versions
    assert len([item for item in records(city) if item.state == "done"]) == 3
    # Half a month later the next ones are due, and the totals go on from those that were folded.
    later = retire(city, small, by="test", run_id="r2", now=NOW + 15 * DAY)
    assert {item.rule.table: item.rows for item in later.due if item.rows} == {
        "bronze.river_stage": 1, "quality.outcome": 1
    }  # fmt: skip
    assert balance(city, small).received == 1


def test_versions_that_still_hold_what_went_are_known(city: Settings, small: Registry) -> None:
    land(city, small, aged([4000, 2]))
    run(city, small)
    now = datetime.now(UTC)
    version = DeltaTable(str(city.table_path("silver", "river_stage"))).version()
    assert retired.emptied(records(city), now)["silver.river_stage"] == version
    assert retired.emptied(records(city), now - DAY) == {}


def test_bronze_leaves_by_whole_days_without_reading_a_file(city: Settings, small: Registry) -> None:
    land(city, small, aged([100, 95, 3]))
    left = set(DeltaTable(str(city.table_path("bronze", "river_stage"))).file_uris())
    run(city, small)
    table = DeltaTable(str(city.table_path("bronze", "river_stage")))
    assert set(table.file_uris()) < left
    metrics = table.history(1)[0]["operationMetrics"]
    assert (metrics["num_copied_rows"], metrics["num_added_files"]) == (0, 0)


@pytest.mark.parametrize("name", ["bronze.river_stage", "silver.river_stage", "quality.outcome", "record"])
def test_a_run_that_is_killed_is_finished_by_the_next(city: Settings, small: Registry, name: str) -> None:
    class Killed(BaseException):
        pass

    def step(at: str) -> None:
        if at == name:
            raise Killed

    land(city, small, aged([4000, 3700, 100, 89, 2]))
    with pytest.raises(Killed):
        run(city, small, step=step)
    run(city, small)
    assert {table: count(city, table) for table in ("bronze.river_stage", "silver.river_stage", "quality.outcome")} == {
        "bronze.river_stage": 2, "silver.river_stage": 3, "quality.outcome": 2
    }  # fmt: skip
    done = [item for item in records(city) if item.state == "done"]
    assert sorted((item.table, item.rows) for item in done) == [
        ("bronze.river_stage", 3), ("quality.outcome", 3), ("silver.river_stage", 2)
    ]  # fmt: skip
    balance(city, small)


def test_a_plan_that_nobody_carried_out_is_dropped(city: Settings, small: Registry) -> None:
    land(city, small, aged([4000, 2]))
    with pytest.raises(RuntimeError):
        run(city, small, step=lambda _name: (_ for _ in ()).throw(RuntimeError("ended")))
    plans = open_plans(records(city))
    assert plans and count(city, "bronze.river_stage") == 2
    settle(city)
    assert open_plans(records(city)) == plans, "a holder that was asked may still do it"
    old = [replace(item, recorded_at=item.recorded_at - timedelta(hours=2)) for item in plans]
    path = city.table_path("catalog", "retention")
    write_deltalake(
        str(path), pa.Table.from_pylist([vars(item) for item in old], schema=retired._SCHEMA), mode="overwrite"
    )
    settle(city)
    assert not open_plans(records(city))


@contextmanager
def holder(settings: Settings, tables: Sequence[str], *, answers: bool) -> Iterator[list[Removal]]:
    """A landing process as far as retention sees it: it holds leases, and deletes when it is asked."""
    done: list[Removal] = []
    ends = threading.Event()
    ready = threading.Event()

    def loop() -> None:
        with leases(settings, tables):
            ready.set()
            while not ends.wait(0.02):
                for removal in asked(settings) if answers else ():
                    remove(settings, removal)
                    answer(settings, removal)
                    done.append(removal)

    thread = threading.Thread(target=loop)
    thread.start()
    ready.wait(5)
    try:
        yield done
    finally:
        ends.set()
        thread.join()


HELD = ("bronze.river_stage", "silver.river_stage", "quality.dead_letter", "quality.compaction")


def test_the_holder_of_a_table_deletes_from_it(city: Settings, small: Registry) -> None:
    land(city, small, aged([4000, 100, 2]))
    with holder(city, HELD, answers=True) as done:
        report = run(city, small)
    assert report.left == ()
    assert {removal.table for removal in done} == {"bronze.river_stage", "quality.outcome", "silver.river_stage"}
    assert [count(city, name) for name in ("bronze.river_stage", "silver.river_stage")] == [1, 2]
    assert {i.table: i.rows for i in records(city) if i.state == "done"}["silver.river_stage"] == 1
    balance(city, small)


def test_a_holder_that_does_not_answer_is_named_and_its_table_left(city: Settings, small: Registry) -> None:
    land(city, small, aged([4000, 2]))
    with holder(city, ("silver.river_stage",), answers=False):
        report = retire(city, small, by="t", run_id="r", now=NOW, wait_s=0.3)
    assert [text.split(":")[0] for text in report.left] == ["silver.river_stage"]
    assert "writes silver.river_stage" in report.left[0]
    assert asked(city) == (), "nothing is asked of a landing that comes later"
    assert count(city, "silver.river_stage") == 2 and count(city, "bronze.river_stage") == 1
    run(city, small)
    assert count(city, "silver.river_stage") == 1
    balance(city, small)


def test_a_load_of_a_sector_table_is_waited_for_before_shared_tables_are_touched(
    city: Settings, small: Registry
) -> None:
    land(city, small, aged([4000, 2]))
    with lease(city, "silver.med_price"):
        report = retire(city, small, by="t", run_id="r", now=NOW, wait_s=0.2)
    assert [text.split(":")[0] for text in report.left] == ["quality.outcome"]
    assert run(city, small).left == () and count(city, "quality.outcome") == 1


def test_landing_goes_on_with_what_it_knows_of_a_table_that_lost_rows(city: Settings, small: Registry) -> None:
    """What it remembers of keys is older than the delete: nothing is doubled, nothing is lost, whatever comes next."""
    dataset = small.dataset("river_stage")
    land(city, small, aged([4000, 3900, 100, 2]))
    silver, quality = Silver.open(city, small, dataset, None), Quality.open(city)
    run(city, small)
    for sink in (silver.sink, *quality.sinks):
        sink.refresh()
    again = reading(4, NOW - 4000 * DAY, NOW)
    corrected = reading(5, NOW - 2 * DAY, NOW, stage_m=Decimal("2.000"), disposition="corrected")
    newest = reading(6, NOW, NOW)
    result = apply(silver, quality, batch(small, [again, corrected, newest]))
    assert {name: result.counts[name] for name in ("inserted", "updated")} == {"inserted": 2, "updated": 1}
    rows = DeltaTable(str(city.table_path("silver", "river_stage"))).to_pyarrow_table()
    assert sorted(rows["raw_offset"].to_pylist()) == [2, 4, 5, 6]
    assert run(city, small).rows == 1, "what came too late for its retention goes the next night"


def test_a_stale_handle_cannot_write_behind_a_delete(city: Settings, small: Registry) -> None:
    """Why the holder deletes: the counter-test of a delete behind its back."""
    land(city, small, aged([4000, 2]))
    silver = Silver.open(city, small, small.dataset("river_stage"), None)
    remove(city, Removal("x", "silver.river_stage", "\"observed_at\" < '2020-01-01T00:00:00Z'"))
    plan_ = silver.plan(batch(small, [reading(2, NOW)]))
    with pytest.raises(Exception, match="concurrent transaction deleted data"):
        silver.commit(plan_)


def test_types_of_camera_events_go_by_their_own_retention(city: Settings, small: Registry) -> None:
    dataset = small.dataset("ai_event")
    table = ensure_table(city, silver_spec(dataset))
    kinds = [("plate_trace", 29), ("plate_trace", 32), ("flooding", 32), ("flooding", 367), ("blacklisted_plate", 92)]
    rows = [
        {
            "event_id": f"E{n}", "camera_event_type": kind, "observed_at": NOW - days * DAY,
            "observed_date": (NOW - days * DAY).date(), "received_at": NOW - days * DAY,
        }
        for n, (kind, days) in enumerate(kinds)
    ]  # fmt: skip
    write_deltalake(table, pa.Table.from_pylist(rows, schema=delta.arrow_schema(dataset, "silver")), mode="append")
    run(city, small)
    left = DeltaTable(str(city.table_path("silver", "ai_event"))).to_pyarrow_table()
    assert sorted(left["event_id"].to_pylist()) == ["E0", "E2"]


def test_refused_rows_go_with_the_bronze_of_their_dataset(city: Settings, small: Registry) -> None:
    ages = {"river_stage": [1, 89, 92], "ai_event": [1, 6, 9], "unknown": [1, 9]}
    for name in ("dead_letter", "quarantine"):
        sink = Sink.open(city, quality_spec(name))
        rows = [
            {"dataset": dataset, "raw_partition": 0, "raw_offset": n, "received_at": NOW - days * DAY, "reason": "r"}
            for dataset, listed in ages.items()
            for n, days in enumerate(listed)
        ]
        sink.append(pa.Table.from_pylist(rows, schema=sink.spec.schema), {})
    run(city, small)
    left = {}
    for name in ("dead_letter", "quarantine"):
        found = DeltaTable(str(city.table_path("quality", name))).to_pyarrow_table().group_by("dataset")
        left[name] = {
            r["dataset"]: r["raw_offset_count"] for r in found.aggregate([("raw_offset", "count")]).to_pylist()
        }
    assert left["dead_letter"] == {"river_stage": 2, "ai_event": 2, "unknown": 1}
    # Rows that are in quarantine were read, so their dataset is known.
    assert left["quarantine"] == {"river_stage": 2, "ai_event": 2, "unknown": 2}


def test_bronze_that_silver_has_not_read_stays(city: Settings, small: Registry) -> None:
    dataset = small.dataset("med_price")
    bronze, silver = Sink.open(city, bronze_spec(dataset)), Sink.open(city, silver_spec(dataset))
    received = NOW - 100 * DAY
    row = {"raw_partition": 0, "raw_offset": 0, "received_at": received, "received_date": received.date()}
    bronze.append(pa.Table.from_pylist([row], schema=bronze.spec.schema), {"ingest/med_price": 1})
    (held,) = [item for item in run(city, small).due if item.rows]
    assert held.rule.table == "bronze.med_price" and "load the table again first" in held.note
    assert count(city, "bronze.med_price") == 1
    silver.append(silver.spec.schema.empty_table(), {"ingest/med_price": 1})
    assert run(city, small).rows == 1 and count(city, "bronze.med_price") == 0


def test_refused_payloads_go_when_no_letter_names_them(city: Settings, small: Registry) -> None:
    store = open_store(city)
    sink = Sink.open(city, quality_spec("dead_letter"))
    old = (NOW - 100 * DAY).timestamp()
    for dataset, protected in (("river_stage", False), ("ai_event", True)):
        named = store.put(dataset, b"named", protected=protected).ref
        forgotten = store.put(dataset, b"forgotten", protected=protected).ref
        fresh = store.put(dataset, b"fresh", protected=protected).ref
        for ref in (named, forgotten):
            os.utime(store.root / ref, (old, old))
        body = json.dumps({MARKER_KEY: {"reason": "too_large", "ref": named, "size_bytes": 5, "origin": "o"}}).encode()
        text = store.cipher.encrypt(body) if protected else base64.b64encode(body)
        letter = {
            "dataset": dataset, "raw_partition": 0, "raw_offset": 1, "received_at": NOW, "reason": "too_large",
            "payload": text.decode(),
        }  # fmt: skip
        sink.append(pa.Table.from_pylist([letter], schema=sink.spec.schema), {})
        assert (store.root / forgotten).exists() and (store.root / fresh).exists()
    report = run(city, small)
    assert [(item.rule.table, item.rule.dataset, item.rows) for item in report.due if item.rows] == [
        ("_objects", "river_stage", 1),
        ("_objects", "ai_event", 1),
    ]
    assert len(list(store.root.rglob("*"))) == 2 + 4
    assert run(city, small).rows == 0


def test_a_replay_is_not_aged_by_todays_clock(tmp_path: Path, small: Registry) -> None:
    drill = Settings.load({"LAKE_HOME": str(HOME), "LAKE_STATE": str(tmp_path), "LAKE_NAMESPACE": "drill"})
    land(drill, small, aged([4000]))
    with pytest.raises(LakeError, match="holds a replay"):
        run(drill, small)
    assert count(drill, "silver.river_stage") == 1


def test_two_retentions_do_not_run_at_once(city: Settings, small: Registry) -> None:
    land(city, small, aged([4000]))

    def second(_name: str) -> None:
        with pytest.raises(LakeError, match="Another retention runs"):
            run(city, small)

    run(city, small, step=second)
    assert count(city, "silver.river_stage") == 0


def test_the_plan_says_when_the_next_row_falls_due(city: Settings, small: Registry) -> None:
    land(city, small, aged([80, 2]))
    found = {item.rule.table: item for item in plan(city, small, NOW)}
    # Received on 27 March at 19:30, kept for 90 days: over on 25 June at 19:30.
    assert found["bronze.river_stage"].next_at == datetime(2026, 6, 26, tzinfo=UTC)
    assert found["silver.river_stage"].rows == 0
    assert [item.rule.table for item in coming(list(found.values()))] == ["bronze.river_stage", "silver.river_stage"]
