"""Two contracts gain a field while their streams run: nothing stops, and old rows get what their bytes held all along.

One stream of a keyed job, one of the shared job. Senders had the field in their payloads before the contract knew it.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from unicodedata import normalize

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from pipelines.commands.demo import wait_until_settled
from pipelines.commands.ledger import read_balance
from pipelines.commands.platform import start_namespace
from pipelines.commands.stages import Track
from pipelines.contracts import published
from pipelines.contracts.changes import Bump, Kind
from pipelines.contracts.registry import Registry, load_registry
from pipelines.gateway.intake import Gateway
from pipelines.gateway.publisher import Publisher
from pipelines.landing.drain import drain
from pipelines.landing.ledger import DatasetLedger
from pipelines.publishing.publication import publish
from pipelines.quality.gate import judge
from pipelines.runtime import flink
from pipelines.runtime.contracts import registry_of
from pipelines.runtime.forget import forget_namespace
from pipelines.runtime.services import endpoints
from pipelines.runtime.settings import Settings
from pipelines.serving.bootstrap import apply
from pipelines.serving.trino import Client
from pipelines.streaming.job import jobs_of
from pipelines.streaming.supervise import Records
from pipelines.warehouse.manifest import RunManifest

pytestmark = pytest.mark.timeout(600)
T0 = datetime(2025, 10, 27, tzinfo=UTC)
_VERSION = re.compile(r"^version: (\d+)\.(\d+)\.\d+$", re.MULTILINE)
_TESTS = re.compile(r"^qc:\n(?:  .*\n)+", re.MULTILINE)
STEP = timedelta(minutes=10)
OLD_STEPS = 40
RIVER, CABINET = "river_stage", "lighting_cabinet"
ENTITIES = {RIVER: ("71520", "71518"), CABINET: ("TCS-0001", "TCS-0002")}
ENTITY = {RIVER: "station_id", CABINET: "cabinet_id"}
GAINED = {RIVER: ("water_temp_c",), CABINET: ("battery_pct", "lamp_maker")}
MALFORMED, UNUSABLE, IMPOSSIBLE, SAID_MORE = 11, 13, 15, 17
"""Steps of old rows with: no JSON; a value that is no number; one outside the range; a repeat that has the field."""
MAKER = "Điện Quang"

Key = tuple[str, datetime]


@dataclass
class Sent:
    """What was sent of one dataset: the newest values per key, and how many records of which kind."""

    values: dict[Key, dict[str, Any]] = field(default_factory=dict)
    received: int = 0
    refused: int = 0


class Sensors:
    """Sends readings of every entity through the gateway, step after step."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self.settings, self.gateway = settings, Gateway.open(registry, settings)
        self.sent = {dataset: Sent() for dataset in ENTITIES}
        self.publisher = Publisher(settings, endpoints(settings).kafka)
        self.step = 0

    def old(self) -> None:
        """Steps with every kind of record, before the contracts know the fields."""
        for _ in range(OLD_STEPS):
            step = self.next()
            for dataset, entities in ENTITIES.items():
                for entity in entities:
                    self.faulty(dataset, entity, step)
        self.publisher.flush()

    def faulty(self, dataset: str, entity: str, step: int) -> None:
        """What comes after (or instead of) the reading of a step."""
        if step == 5:
            self.read(dataset, entity, step)
        elif step == 7:
            self.read(dataset, entity, step, revision=1, **measured(dataset, step + 1), **gained(dataset, step + 1))
        elif step == MALFORMED:
            self.send(dataset, b'{"station_id"', step)
            self.sent[dataset].refused += 1
        elif step == SAID_MORE:
            self.read(dataset, entity, step, **gained(dataset, 0))

    def next(self) -> int:
        """One reading of every entity; returns the number of the step."""
        step, self.step = self.step, self.step + 1
        for dataset, entities in ENTITIES.items():
            for entity in entities:
                extra: Mapping[str, Any] = {}
                if step == UNUSABLE:
                    extra = dict.fromkeys(GAINED[dataset][:1], "ấm")
                elif step == IMPOSSIBLE:
                    extra = {GAINED[dataset][0]: Decimal("999.5")}
                elif step == 9:
                    extra = {"observed_at": at(step) - timedelta(hours=2, minutes=1), **gained(dataset, 0)}
                elif step != SAID_MORE:
                    extra = gained(dataset, step)
                self.read(dataset, entity, step, **extra)
        return step

    def read(self, dataset: str, entity: str, step: int, **more: Any) -> None:
        """Send one reading and note what a reader must find under the newer contract."""
        body = {ENTITY[dataset]: entity, "observed_at": at(step), **measured(dataset, step), **more}
        found = {name: value for name, value in body.items() if name != "revision"}
        found |= {name: found.get(name) for name in GAINED[dataset]}
        if step == UNUSABLE:
            found[GAINED[dataset][0]] = None
        self.sent[dataset].values[entity, body["observed_at"]] = found
        if body.get("lamp_maker"):
            body["lamp_maker"] = normalize("NFD", body["lamp_maker"])
        self.send(dataset, {**body, "observed_at": body["observed_at"].isoformat()}, step)

    def send(self, dataset: str, payload: Any, step: int) -> None:
        received = at(step) + timedelta(seconds=5)
        record = self.gateway.accept(dataset, payload, source="test", origin="replay", received_at=received)
        self.publisher.publish(record)
        self.sent[dataset].received += 1


def at(step: int) -> datetime:
    return T0 + step * STEP


def measured(dataset: str, step: int) -> dict[str, Any]:
    """The fields that the contract had from the beginning; the river passes BĐ1 and BĐ2 every twenty steps."""
    if dataset == RIVER:
        return {"stage_m": Decimal(step % 20) / 8}
    lamps = {"lamp_count": 60, "healthy_lamp_count": 60 - step % 3}
    return {"ward_code": "19753", "voltage_v": 220.0 + step % 5, "energy_kwh": 0.5, **lamps}


def gained(dataset: str, step: int) -> dict[str, Any]:
    """The fields that are no part of the contract yet: known, null, or not sent at all."""
    if step % 4 == 1:
        return dict.fromkeys(GAINED[dataset])
    if step % 4 == 2:
        return {}
    values = {"water_temp_c": Decimal("24.50") + step % 7, "battery_pct": 50.5 + step % 7, "lamp_maker": MAKER}
    return {name: values[name] for name in GAINED[dataset]}


def keep_sending(sensors: Sensors, until: threading.Event) -> None:
    while not until.wait(0.05):
        sensors.next()
    sensors.publisher.flush()


@dataclass(frozen=True)
class Story:
    """What there was before the change, and after it."""

    settings: Settings
    registry: Registry
    sent: Mapping[str, Sent]
    comparisons: Mapping[str, Any]
    rows: tuple[Mapping[str, pa.Table], Mapping[str, pa.Table]]
    columns: tuple[Mapping[str, list[str]], Mapping[str, list[str]], Mapping[str, list[str]]]
    ledgers: tuple[Mapping[str, DatasetLedger], Mapping[str, DatasetLedger]]


@pytest.fixture(scope="module")
def story(
    lake_services: Any, tmp_path_factory: pytest.TempPathFactory, wait_until: Callable[..., None]
) -> Iterator[Story]:
    lake_services.need("kafka", "flink", "trino", "spark")
    settings = _home(lake_services.settings.with_namespace("evolving"), tmp_path_factory.mktemp("home"))
    settings.set_profile("evolving")
    old = registry_of(settings)
    for _ in apply(settings, old):
        pass
    start_namespace(settings, desk=False)
    try:
        yield _run(settings, old, wait_until)
    finally:
        forget_namespace(settings)


def _run(settings: Settings, old: Registry, wait_until: Callable[..., None]) -> Story:
    _wait_running(settings, old)
    sensors = Sensors(settings, old)
    sensors.old()
    wait_until_settled(settings, old, 120)
    _publish(settings, old, "before")
    rows, columns, ledgers = _rows(settings, old), _columns(settings), _ledgers(settings, old)

    enough = threading.Event()
    stream = Track(lambda: keep_sending(sensors, enough))
    comparisons = _next_version(settings.home)
    records = Records(settings)
    wait_until(lambda: all(_rebuilds(records, job) == 1 for job in jobs_of(old)), 240, "both jobs are rebuilt")
    new = registry_of(settings)
    between = _columns(settings)
    _wait_running(settings, new)
    enough.set()
    stream.result()
    # Only the rebuilt jobs see these: once they have landed, everything before them was read again.
    sensors.gateway = Gateway.open(new, settings)
    sensors.next()
    sensors.publisher.flush()
    wait_until_settled(settings, new, 120)
    drain(settings, new, endpoints(settings).kafka)
    _publish(settings, new, "after")
    return Story(
        settings,
        new,
        sensors.sent,
        comparisons,
        (rows, _rows(settings, new)),
        (columns, between, _columns(settings)),
        (ledgers, _ledgers(settings, new)),
    )


def _home(settings: Settings, home: Path) -> Settings:
    """A project whose contracts the test may edit, with a profile of its own."""
    for path in settings.home.iterdir():
        if path.name not in {"schemas", "catalog", ".lake"}:
            (home / path.name).symlink_to(path)
    shutil.copytree(settings.home / "schemas", home / "schemas")
    shutil.copytree(settings.home / "catalog", home / "catalog")
    profiles = home / "schemas" / "profiles.yaml"
    listed = ", ".join((RIVER, "flood_alert", CABINET))
    profile = f"  evolving:\n    title: {{vi: Thử đổi hợp đồng, en: Evolution}}\n    datasets: [{listed}]\n"
    profiles.write_text(profiles.read_text(encoding="utf-8") + profile, encoding="utf-8")
    # Tests with a memory judge a reading by those before it, so that one that changed would change what is said of
    # others: here the readings alone are compared.
    river = home / "schemas" / "datasets" / "flood" / f"{RIVER}.yaml"
    river.write_text(_TESTS.sub("", river.read_text(encoding="utf-8")), encoding="utf-8")
    (home / published.FOLDER / "flood" / f"{RIVER}.json").unlink()
    published.publish(home, load_registry(home / "schemas"), date(2025, 10, 1))
    return replace(settings, home=home)


def _next_version(home: Path) -> Mapping[str, Any]:
    """Give both contracts their optional fields as their owners would, and publish the editions."""
    schemas = home / "schemas"
    maker = (
        "lamp_maker: {type: string, title: {vi: Hãng đèn, en: Maker of the lamps},\n"
        "             description: {vi: Hãng sản xuất đèn., en: Who made the lamps.}}\n"
    )
    _write(schemas / "fields.yaml", (schemas / "fields.yaml").read_text(encoding="utf-8") + maker)
    for folder, dataset, after in (("flood", RIVER, "stage_m"), ("energy", CABINET, "healthy_lamp_count")):
        path = schemas / "datasets" / folder / f"{dataset}.yaml"
        text = _VERSION.sub(lambda m: f"version: {m[1]}.{int(m[2]) + 1}.0", path.read_text(encoding="utf-8"), count=1)
        lines = text.splitlines(keepends=True)
        place = next(n for n, line in enumerate(lines) if line.startswith(f"  - {after}"))
        lines[place + 1 : place + 1] = [f"  - {name}\n" for name in GAINED[dataset]]
        _write(path, "".join(lines))
    registry = load_registry(schemas)
    today = date(2025, 11, 1)
    compared = published.compare_all(published.read(home / published.FOLDER), published.editions(registry), today)
    published.publish(home, registry, today)
    return {one.id: one for one in compared if one.state != "unchanged"}


def _write(path: Path, text: str) -> None:
    """Replace a file whole, as an editor or git does."""
    partial = path.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def _wait_running(settings: Settings, registry: Registry) -> None:
    for job in jobs_of(registry):
        flink.wait_running(settings, settings.group(job), 240)


def _rebuilds(records: Records, job: str) -> int:
    record = records.read(job)
    return record.rebuilds if record else 0


def _publish(settings: Settings, registry: Registry, run: str) -> None:
    """Judge and publish the newest version of one table, as a run of the warehouse does."""
    version = DeltaTable(str(settings.table_path("silver", CABINET))).version()
    manifest = RunManifest(run, settings.namespace, "2025-11-01T00:00:00+00:00", {f"silver.{CABINET}": version})
    verdicts = judge(settings, registry, manifest, "silver", domain="energy")
    (move,) = publish(settings, registry, manifest, verdicts, "test", run)
    assert move.outcome == "published", move.sentence


def _rows(settings: Settings, registry: Registry) -> Mapping[str, pa.Table]:
    return {
        dataset.id: DeltaTable(str(settings.table_path("silver", dataset.id)))
        .to_pyarrow_table()
        .sort_by([(name, "ascending") for name in dataset.key])
        for dataset in registry.datasets
    }


def _columns(settings: Settings) -> Mapping[str, list[str]]:
    """The columns of the views that people read, which must answer whatever happens below them."""
    found = {}
    with Client(settings, "analyst") as client:
        for view in (f"live.{RIVER}", f"live.{CABINET}", f"published.{CABINET}"):
            client.query(f"SELECT count(*) FROM {view}")
            found[view] = [str(row[0]) for row in client.query(f"SHOW COLUMNS FROM {view}")]
    return found


def _ledgers(settings: Settings, registry: Registry) -> Mapping[str, DatasetLedger]:
    balance = read_balance(settings, registry)
    assert balance.violations == ()
    return {entry.dataset: entry for entry in balance.records.datasets}


def _by_key(dataset: str, rows: pa.Table) -> dict[Key, dict[str, Any]]:
    return {(row[ENTITY[dataset]], row["observed_at"]): row for row in rows.to_pylist()}


def test_the_change_is_a_minor_version(story: Story) -> None:
    assert set(story.comparisons) == set(ENTITIES)
    for name, one in story.comparisons.items():
        assert one.published != one.declared
        assert (one.required, one.problem) == (Bump.MINOR, "")
        assert [c.subject for c in one.changes if c.kind is Kind.FIELD_ADDED] == list(GAINED[name])


@pytest.mark.parametrize("dataset", ENTITIES)
def test_every_row_has_what_its_bytes_held(story: Story, dataset: str) -> None:
    found = _by_key(dataset, story.rows[1][dataset])
    expected = story.sent[dataset].values
    assert found.keys() == expected.keys()
    names = next(iter(expected.values())).keys()
    assert {key: {n: row[n] for n in names} for key, row in found.items()} == expected
    with_value = [key for key, row in expected.items() if row[GAINED[dataset][-1]] is not None]
    assert sum(key[1] < at(OLD_STEPS) for key in with_value) > OLD_STEPS / 2, "old rows got values too"


@pytest.mark.parametrize("dataset", ENTITIES)
def test_nothing_else_of_an_old_row_changes(story: Story, dataset: str) -> None:
    before, after = (_by_key(dataset, tables[dataset]) for tables in story.rows)
    changed = {
        (key[1] - T0) // STEP: {name for name in row if row[name] != after[key][name]}
        for key, row in before.items()
        if any(row[name] != after[key][name] for name in row)
    }
    # Its new value is outside the range; and what was a repeat says something else now.
    assert changed == {
        IMPOSSIBLE: {"qc_flag", "qc_detail"},
        SAID_MORE: {"raw_offset"},
    }
    assert {row["qc_flag"] for row in after.values()} == {1, 4}


def test_the_alarms_of_the_river_are_as_they_were(story: Story) -> None:
    before, after = (tables["flood_alert"].to_pylist() for tables in story.rows)
    assert len(before) > 4
    assert [row for row in before if row not in after] == []


@pytest.mark.parametrize("dataset", ENTITIES)
def test_the_ledger_balances_and_counts_every_record_once(story: Story, dataset: str) -> None:
    before, after = (ledgers[dataset] for ledgers in story.ledgers)
    sent = story.sent[dataset]
    assert (after.received, after.refused) == (sent.received, sent.refused)
    assert (before.refused, before.late) == (after.refused, after.late)
    assert after.rows_in_silver == after.inserted == len(sent.values)
    assert after.quarantined == after.in_flight == 0


def test_the_views_go_on_and_show_the_field_when_it_is_there(story: Story) -> None:
    before, between, after = story.columns
    for view in before:
        names = GAINED[view.partition(".")[2]]
        assert not set(names) & set(before[view]), view
        assert between[view] == before[view], "a view goes on as it was until somebody renews it"
        assert set(names) <= set(after[view]), view
        assert before[view] == [name for name in after[view] if name not in names], view


def test_a_refused_record_is_shown_once_though_it_was_read_twice(story: Story) -> None:
    stored = DeltaTable(str(story.settings.table_path("quality", "dead_letter"))).to_pyarrow_table().to_pylist()
    with Client(story.settings, "steward") as client:
        shown = client.query("SELECT dataset, reason, detail, raw_offset FROM live.quality_dead_letter")
    malformed = [row for row in shown if row[1] == "malformed"]
    assert len(malformed) == sum(sent.refused for sent in story.sent.values())
    assert len(stored) > len(shown) == len({tuple(row) for row in shown})
