"""The landing process on a real broker: killed, doubled, its topics made anew, its records gone."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from pipelines.contracts.registry import load_registry
from pipelines.contracts.targets import kafka
from pipelines.landing.drain import NotDrained, accept_loss, drain
from pipelines.landing.removal import NotRemoved, Removal, ask, asked, committed, is_answered
from pipelines.landing.status import TableStatus, read_status
from pipelines.runtime.errors import LakeError


def _table(city: Any, layer: str, name: str) -> DeltaTable:
    return DeltaTable(str(city.settings.table_path(layer, name)))


def _status(city: Any, table: str) -> TableStatus | None:
    status = read_status(city.settings)
    return next((t for t in status.tables if t.table == table), None) if status else None


def _drain(city: Any, timeout_s: float = 60.0) -> None:
    drain(city.settings, city.registry, city.bootstrap, timeout_s=timeout_s)


def _send_day(city: Any, steps: range) -> dict[str, int]:
    """Readings of both gauges with repeats, duplicates, corrections, an unknown station and refused records."""
    truth = dict.fromkeys(("received", "refused", "duplicate", "inserted", "updated", "quarantined"), 0)
    for step in steps:
        for partition in (0, 1):
            record = city.raw(step, partition)
            truth["received"] += 1
            if step % 10 == 3:
                city.dead(record)
                truth["refused"] += 1
                continue
            if step % 10 == 5:
                city.clean({**record, "station_id": "nowhere"}, partition)
                truth["quarantined"] += 1
                continue
            city.clean(record, partition)
            truth["inserted"] += 1
            if step % 10 == 7:
                again = city.raw(step, partition)
                city.clean({**again, "disposition": "duplicate"}, partition)
                corrected = city.raw(step, partition)
                city.clean({**corrected, "disposition": "corrected", "stage_m": 2.25}, partition)
                truth["received"] += 2
                truth["duplicate"] += 1
                truth["updated"] += 1
            if step % 10 == 8:
                city.clean(record, partition)  # at least once: the same record a second time
    city.flush()
    return truth


def _check(city: Any, truth: dict[str, int]) -> None:
    entry = next(e for e in city.ledger().datasets if e.dataset == "river_stage")
    assert entry.violations == ()
    assert {name: getattr(entry, name) for name in truth} == truth
    assert entry.in_flight == entry.ahead == 0
    silver = _table(city, "silver", "river_stage").to_pyarrow_table()
    assert (
        silver.num_rows
        == truth["inserted"]
        == silver.select(["station_id", "observed_at"]).group_by(["station_id", "observed_at"]).aggregate([]).num_rows
    )
    corrected = [float(v) for v in silver["stage_m"].to_pylist() if float(v) == 2.25]
    assert len(corrected) == truth["updated"]


def test_a_killed_landing_goes_on_where_it_was(city: Any, until: Callable[..., Any]) -> None:
    process = city.start()
    truth = _send_day(city, range(0, 400))
    for start in (400, 800, 1200):
        until(
            lambda: (
                (_status(city, "silver.river_stage") or TableStatus("", "", "", 0, {}, None, None, {}, {}, None)).rows
            )
        )
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        more = _send_day(city, range(start, start + 400))
        truth = {name: truth[name] + more[name] for name in truth}
        process = city.start()
    _drain(city)
    _check(city, truth)
    process.terminate()
    assert process.wait(30) == 0


def test_of_two_landings_one_says_so_and_the_other_takes_over(city: Any, until: Callable[..., Any]) -> None:
    first = city.start()
    until(lambda: _status(city, "silver.river_stage"))
    second = city.start()
    assert second.wait(60) == 1
    said = second.stderr.read()
    assert f"Process {first.pid}" in said and "writes" in said
    third = city.start("--wait")
    truth = _send_day(city, range(50))
    _drain(city)
    first.kill()
    first.wait(30)
    until(lambda: (status := read_status(city.settings)) and status.pid == third.pid)
    more = _send_day(city, range(50, 100))
    _drain(city)
    _check(city, {name: truth[name] + more[name] for name in truth})


def test_rows_leave_a_table_while_landing_writes_it(city: Any, until: Callable[..., Any]) -> None:
    """Landing deletes what it is asked to, in silver and in a shared table, and goes on without reading anything again;
    what it remembers of keys that are gone doubles nothing and loses nothing."""
    process = city.start()
    records = [city.raw(step) for step in range(20)]
    for record in records:
        city.clean(record)
    city.flush()
    _drain(city)
    cutoff = records[10]["observed_at"]
    instant = f"""arrow_cast('{cutoff}', 'Timestamp(Microsecond, Some("UTC"))')"""
    removals = [
        Removal("one", "silver.river_stage", f"observed_at < {instant}"),
        Removal("two", "quality.outcome", "dataset = 'river_stage' AND raw_offset < 5"),
        Removal("three", "silver.no_table_of_ours", "TRUE"),
    ]
    for removal in removals:
        ask(city.settings, removal)
    for removal in removals[:2]:
        until(lambda removal=removal: is_answered(city.settings, removal))
    assert asked(city.settings) == tuple(removals[2:]), "what another process holds is not this one's to answer"
    silver = _table(city, "silver", "river_stage")
    assert (silver.count(), _table(city, "quality", "outcome").count()) == (10, 15)
    assert committed(silver, "one", 0) == silver.version()
    ask(city.settings, Removal("four", "silver.river_stage", "no_such_column = 1"))
    failed = Removal("four", "silver.river_stage", "")
    with pytest.raises(NotRemoved, match="no_such_column"):
        until(lambda: is_answered(city.settings, failed))
    city.clean({**records[0], "disposition": "late"})
    city.clean({**city.raw(15), "disposition": "corrected", "stage_m": 2.25})
    city.clean(city.raw(30))
    city.flush()
    _drain(city)
    rows = _table(city, "silver", "river_stage").to_pyarrow_table()
    assert rows.num_rows == 12 and sorted(float(v) for v in rows["stage_m"].to_pylist()).count(2.25) == 1
    process.terminate()
    assert process.wait(30) == 0
    told = process.stderr.read()
    assert "rows removed" in told and "table failed" not in told and "shared tables failed" not in told


def test_a_clean_topic_made_anew_is_read_from_its_beginning(city: Any, until: Callable[..., Any]) -> None:
    city.start()
    records = [city.raw(step) for step in range(20)]
    for record in records:
        city.clean(record)
    city.flush()
    _drain(city)
    city.delete_topic("clean.river_stage")
    city.make_topics("clean.river_stage")
    for record in records:  # a rebuilt job writes the same rows again, and goes on
        city.clean(record)
    city.clean(city.raw(20))
    city.flush()
    _drain(city)
    truth = {"received": 21, "refused": 0, "duplicate": 0, "inserted": 21, "updated": 0, "quarantined": 0}
    _check(city, truth)


def test_records_that_are_gone_are_an_error_until_the_loss_is_accepted(city: Any, until: Callable[..., Any]) -> None:
    process = city.start()
    for step in range(5):
        city.clean(city.raw(step))
    city.flush()
    _drain(city)
    process.terminate()
    assert process.wait(30) == 0
    for step in range(5, 15):
        city.clean(city.raw(step))
    city.flush()
    city.delete_records("clean.river_stage", 0, 12)
    topic = city.settings.topic("clean.river_stage")
    process = city.start()
    problem = until(lambda: (s := _status(city, "silver.river_stage")) and s.problem)
    assert f"{topic}[0] begins at offset 12" in problem and "7 records are gone" in problem and "accept-loss" in problem
    # The other tables go on.
    until(lambda: _table(city, "bronze", "river_stage").count() == 15)
    assert _table(city, "silver", "river_stage").count() == 5
    process.terminate()
    process.wait(30)
    with pytest.raises(NotDrained, match="Nobody lands"):
        _drain(city, 1)
    assert accept_loss(city.settings, city.registry, city.bootstrap, topic, 0) == 7
    with pytest.raises(LakeError, match="nothing is lost"):
        accept_loss(city.settings, city.registry, city.bootstrap, topic, 0)
    city.start()
    _drain(city)
    assert _table(city, "silver", "river_stage").count() == 8


def test_an_unreadable_clean_record_becomes_a_dead_letter(city: Any) -> None:
    city.start()
    good, bad, worse = city.raw(0), city.raw(1), city.raw(2)
    city.clean(good)
    city.clean(b'{"raw_partition":0,"raw_offset":%d,"stage_m":"high"}' % bad["raw_offset"])
    city.clean(b"")
    city.dead(worse)
    city.flush()
    _drain(city)
    truth = {"received": 3, "refused": 2, "duplicate": 0, "inserted": 1, "updated": 0, "quarantined": 0}
    _check(city, truth)
    letters = _table(city, "quality", "dead_letter").to_pyarrow_table().to_pylist()
    assert sorted((x["raw_offset"], x["reason"]) for x in letters) == [
        (1, "unreadable_clean_record"),
        (2, "malformed"),
        (2, "unreadable_clean_record"),
    ]


def test_one_row_commits_are_compacted_and_the_disturbed_table_is_told(city: Any, until: Callable[..., Any]) -> None:
    process = city.start()
    for step in range(60):
        city.clean(city.raw(step))
        city.flush()
        _drain(city)
    table = _table(city, "silver", "river_stage")
    operations = [commit["operation"] for commit in table.history()]
    assert "OPTIMIZE" in operations
    assert len(table.file_uris()) < 30
    assert table.count() == 60
    assert process.poll() is None


def test_a_contract_that_is_added_while_landing_runs_is_landed(
    city: Any, until: Callable[..., Any], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(city.settings.home / "pyproject.toml", home)
    shutil.copytree(city.settings.home / "schemas", home / "schemas")
    profiles = home / "schemas/profiles.yaml"
    listed = profiles.read_text(encoding="utf-8").replace("- river_stage\n", "- river_stage\n      - creek_stage\n", 1)
    profiles.write_text(listed, encoding="utf-8")
    code = city.settings.home
    city.settings = replace(city.settings, home=home)
    city.start(path=code)
    until(lambda: _status(city, "silver.river_stage"))
    source = (home / "schemas/datasets/flood/river_stage.yaml").read_text(encoding="utf-8")
    target = home / "schemas/datasets/flood/creek_stage.yaml"
    target.with_suffix(".tmp").write_text(source.replace("id: river_stage", "id: creek_stage", 1), encoding="utf-8")
    target.with_suffix(".tmp").rename(target)
    city.registry = load_registry(home / "schemas").only("demo")
    creek = city.registry.dataset("creek_stage")
    city.make_topics(*(t.name for t in kafka.topics(creek, simulated_clock=True)), dataset=creek)
    city.send("clean.creek_stage", city.raw(0))
    city.flush()
    _drain(city)
    assert _table(city, "silver", "creek_stage").count() == 1
