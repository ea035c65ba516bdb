"""Devices: who is known, who is silent, and what becomes of the records of strangers."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from typer.testing import CliRunner

from pipelines.contracts.registry import Registry
from pipelines.gateway.commands import gateway_app
from pipelines.gateway.core import Core
from pipelines.gateway.devices import Devices, Heard
from pipelines.gateway.housekeeping import Housekeeper
from pipelines.gateway.limits import KEPT_FOR, Limits
from pipelines.gateway.metrics import Metrics
from pipelines.gateway.objects import open_store
from pipelines.gateway.quarantine import BLOCK_BYTES, Quarantine, journal_path, kept_at
from pipelines.gateway.sources import Source
from pipelines.gateway.state import Report, read_report, section, write_report
from pipelines.gateway.submission import Receipt, Submission
from pipelines.runtime.errors import LakeError
from pipelines.runtime.process import birth_mark
from pipelines.runtime.settings import Settings

from .conftest import no_kafka

NOW = datetime(2025, 10, 27, 13, 0, tzinfo=UTC)
SOURCE = Source("gw-1", "H57.NNMT", ("river_stage", "urban_flood_depth", "device_heartbeat", "camera_health"))
AT = "2025-10-27T13:00:00Z"


def send(
    core: Core, dataset: str, body: object, media_type: str = "application/json", at: datetime | None = None
) -> Receipt:
    """Send as if it came at an instant; by default now: what came in 2025 is kept no longer."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    received = at or datetime.now(UTC)
    return core.submit(Submission(dataset, data, media_type, SOURCE, received)).result(timeout=20)


def register(settings: Settings, *ids: str) -> None:
    """Load the register of IoT devices, as ingestion does."""
    path = settings.table_path("silver", "iot_device")
    write_deltalake(str(path), pa.table({"device_id": list(ids)}), mode="overwrite")


def test_a_stranger_is_refused_kept_and_counted(core: Core, settings: Settings) -> None:
    known = {"station_id": "71520", "observed_at": AT, "stage_m": 1}
    stranger = b'{"station_id": "S-99" , "observed_at": "2025-10-27T13:00:00Z", "stage_m": 2}'
    now = datetime.now(UTC)
    receipt = send(core, "river_stage", b"[" + json.dumps(known).encode() + b"," + stranger + b"]", at=now)
    assert (receipt.spooled, [(r.index, r.reason) for r in receipt.refused]) == (1, [(1, "unknown_device")])
    assert receipt.refused[0].detail == "the device is not in stations; it is kept until it is"
    (found,) = core.sealing.quarantine.strangers()
    assert (found.dataset, found.device, found.records) == ("river_stage", "S-99", 1)
    (kept,) = core.sealing.quarantine.records("river_stage", "S-99")
    assert core.sealing.gateway.store.get(kept.ref) == stranger
    assert (kept.source, kept.media_type, kept.received_at) == ("gw-1", "application/json", now.isoformat())


def strange(number: int, device: str, *, minute: int = 0) -> dict[str, object]:
    return {"station_id": device, "observed_at": f"2025-10-27T13:{minute:02}:00Z", "stage_m": number}


def test_a_stranger_who_never_stops_pushes_out_its_own_records_only(settings: Settings, registry: Registry) -> None:
    room = 20 * BLOCK_BYTES
    with Core(settings, registry, Limits(quarantine_bytes=room), bootstrap=no_kafka) as core:
        quarantine, store = core.sealing.quarantine, core.sealing.gateway.store
        send(core, "river_stage", strange(1, "S-quiet"))
        (quiet,) = quarantine.records("river_stage", "S-quiet")
        for minute in range(4):
            send(core, "river_stage", [strange(n, "S-loud", minute=minute) for n in range(10)])
            assert quarantine.used_bytes() <= room
        usage = quarantine.usage()
        assert [(g.dataset, g.why) for g in usage.gone] == [("river_stage", "full")]
        kept = usage.records["river_stage"]
        assert kept + usage.gone[0].records == 41
        assert (usage.used_bytes, usage.limit_bytes) == (kept * BLOCK_BYTES, room)
        assert store.get(quiet.ref)
        # The newest stay, and no bytes lie on the disk of which the journal says nothing.
        stages = [json.loads(store.get(k.ref))["observed_at"] for k in quarantine.records("river_stage", "S-loud")]
        assert stages[-1] == "2025-10-27T13:03:00Z"
        assert len(list((settings.object_root / "river_stage").iterdir())) == kept


def test_records_that_nobody_released_in_time_go_and_are_counted_where_people_look(
    settings: Settings, registry: Registry, monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., None]
) -> None:
    with Core(settings, registry, bootstrap=no_kafka) as core:
        send(core, "river_stage", [strange(1, "S-1"), strange(1, "S-1"), strange(2, "S-2")])
    quarantine = Quarantine(settings)
    first, same, other = [*quarantine.records("river_stage", "S-1"), *quarantine.records("river_stage", "S-2")]
    assert first.ref == same.ref
    # The second of two equal records came later: the bytes are still needed.
    received = [kept_at(NOW), *[kept_at(NOW + timedelta(days=1))] * 2]
    for at, kept in zip(received, (first, same, other), strict=True):
        quarantine.db.execute("update kept set received_at = ? where number = ?", (at, kept.number))
    assert quarantine.expire(NOW + KEPT_FOR) == 0
    assert quarantine.expire(NOW + KEPT_FOR + timedelta(seconds=1)) == 1
    store = open_store(settings)
    assert store.get(first.ref) and store.get(other.ref)
    quarantine.close()
    # What was received in 2025 is older than that now.
    with Core(settings, registry, bootstrap=no_kafka) as core, Housekeeper(core, period_s=3600) as keeper:
        wait_until(lambda: not core.sealing.quarantine.usage().records, what="the core lets them go")
        keeper.look()
        text = Metrics(core).render().decode()
    assert 'lake_gateway_quarantine_gone_records_total{dataset="river_stage",why="expired"} 3.0' in text
    assert "lake_gateway_quarantine_bytes 0.0" in text
    for ref in (first.ref, other.ref):
        with pytest.raises(LakeError, match="There is no refused object"):
            store.get(ref)
    told = dict(section(settings).rows)["bản ghi của thiết bị lạ đã bỏ · records of unknown devices let go"]
    assert told.startswith("river_stage 3 expired, ")
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert "expired" in CliRunner().invoke(gateway_app, ["devices"]).output


def test_a_journal_of_an_earlier_version_is_taken_on(settings: Settings) -> None:
    path = journal_path(settings)
    path.parent.mkdir(parents=True)
    older = sqlite3.connect(path)
    older.execute(
        "create table kept (number integer primary key autoincrement, dataset text, device text, ref text,"
        " media_type text, source text, origin text, received_at text)"
    )
    older.execute(
        "insert into kept (dataset, device, ref, media_type, source, origin, received_at)"
        " values ('river_stage', 'S-1', 'river_stage/x', 'text/csv', 'gw-1', 'observed', ?)", (NOW.isoformat(),)
    )  # fmt: skip
    older.commit()
    older.close()
    quarantine = Quarantine(settings)
    (kept,) = quarantine.records("river_stage", "S-1")
    assert (kept.size_bytes, kept.received_at, quarantine.used_bytes()) == (0, NOW.isoformat(), BLOCK_BYTES)
    quarantine.close()


def test_a_stranger_in_a_table_or_of_an_internal_dataset_is_kept_too(core: Core) -> None:
    table = b"station_id,observed_at,stage_m\nS-98,2025-10-27T13:00:00Z,1\n"
    assert [r.reason for r in send(core, "river_stage", table, "text/csv").refused] == ["unknown_device"]
    (kept,) = core.sealing.quarantine.records("river_stage", "S-98")
    assert core.sealing.gateway.store.get(kept.ref) == table


def test_a_register_that_has_no_table_checks_nobody(core: Core, settings: Settings) -> None:
    beat = {"device_id": "IOT-000001", "observed_at": AT, "is_ok": True}
    assert send(core, "device_heartbeat", beat).spooled == 1
    register(settings, "IOT-000002")
    core.devices.refresh(core.registry)
    assert [r.reason for r in send(core, "device_heartbeat", beat).refused] == ["unknown_device"]
    register(settings, "IOT-000001", "IOT-000002")
    core.devices.refresh(core.registry)
    assert send(core, "device_heartbeat", beat).spooled == 1


def test_an_empty_register_checks_nobody(settings: Settings, registry: Registry) -> None:
    path = settings.table_path("silver", "iot_device")
    write_deltalake(str(path), pa.table({"device_id": pa.array([], pa.string())}))
    assert Devices(settings, registry).is_known("device_heartbeat", "anything")


def test_the_register_tells_what_a_foreign_message_leaves_out(core: Core, settings: Settings) -> None:
    flood = {
        "id": "urn:ngsi-ld:FloodMonitoring:x",
        "type": "FloodMonitoring",
        "stationID": "HUE-N19753-1",
        "observationDateTime": AT,
        "currentLevel": 0.35,
    }
    assert send(core, "urban_flood_depth", flood).spooled == 1
    (record,) = core.spool.oldest("urban_flood_depth", 10)
    told = json.loads(record.value)
    assert (told["ward_code"], told["depth_cm"]) == ("19753", 35)


def test_silence_follows_the_freshness_that_the_contract_promises(settings: Settings, registry: Registry) -> None:
    devices = Devices(settings, registry)
    fresh = registry.dataset("river_stage").sla.freshness
    devices.hear("river_stage", ("71520",), NOW)
    devices.hear("river_stage", ("71518", "gone"), NOW - fresh - timedelta(seconds=1))
    (found,) = devices.silence([registry.dataset("river_stage")], {"river_stage": 3}, NOW)
    assert (found.registered, found.reporting, found.silent, found.never) == (10, 1, 1, 8)
    assert (found.names, found.unknown, found.is_checked) == (("71518",), 3, True)
    assert len(found.never_names) == 8
    assert {"71520", "71518", "gone"}.isdisjoint(found.never_names)
    (beat,) = devices.silence([registry.dataset("device_heartbeat")], {}, NOW)
    assert not beat.is_checked


def test_what_was_heard_outlives_a_restart(settings: Settings) -> None:
    quarantine = Quarantine(settings)
    Heard(quarantine.db).save({"river_stage": {"71520": NOW, "old": NOW - timedelta(days=1)}}, NOW)
    quarantine.close()
    again = Quarantine(settings)
    assert Heard(again.db).load() == {"river_stage": {"71520": NOW}}
    again.close()


def test_the_status_names_silent_and_unknown_devices(settings: Settings, registry: Registry) -> None:
    with Core(settings, registry, bootstrap=no_kafka) as core, Housekeeper(core, period_s=3600) as keeper:
        send(core, "river_stage", strange(1, "71520"), at=NOW)
        send(core, "river_stage", strange(1, "S-1"))
        keeper.look()
        report = read_report(settings)
        assert report is not None
        stage = next(row for row in report.devices if row.dataset == "river_stage")
        # What was received in 2025 has been silent since.
        assert (stage.silent, stage.names, stage.unknown) == (1, ("71520",), 1)
    told = dict(section(settings).rows)
    assert told["thiết bị im lặng · silent devices"] == "river_stage 1 (71520)"
    never = told["đã đăng ký, chưa từng gửi · registered, never reported"]
    assert f"river_stage 9 ({', '.join(stage.never_names)})" in never
    assert "device_heartbeat (iot_device)" in told["chưa có danh mục, không kiểm · no register yet, not checked"]
    assert not section(settings).is_good


def test_devices_that_never_reported_are_a_finding_of_their_own(settings: Settings, registry: Registry) -> None:
    with Core(settings, registry, bootstrap=no_kafka) as core, Housekeeper(core, period_s=3600) as keeper:
        keeper.look()
    told = dict(section(settings).rows)
    assert "thiết bị im lặng · silent devices" not in told
    assert "river_stage 10 (" in told["đã đăng ký, chưa từng gửi · registered, never reported"]
    assert not section(settings).is_good


@pytest.mark.parametrize("why", ["its process is gone", "it has not written", "another has its pid"])
def test_a_gateway_that_is_gone_is_told_and_not_its_last_words(
    settings: Settings, registry: Registry, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    with Core(settings, registry, bootstrap=no_kafka) as core, Housekeeper(core, period_s=3600) as keeper:
        send(core, "river_stage", strange(1, "71520"), at=NOW)
        send(core, "river_stage", strange(1, "S-1"))
        keeper.look()
    report = read_report(settings)
    assert report is not None
    assert "Kafka" in dict(section(settings).rows)
    write_report(settings, _gone(report, why))
    rows = dict(section(settings).rows)
    assert rows.keys() == {
        "không chạy · not running", "chờ trên đĩa · spooled", "bản ghi của thiết bị lạ · records of unknown devices",
    }  # fmt: skip
    since = _gone(report, why).written_at[:19]
    assert rows["không chạy · not running"] == f"không có cửa nhận từ · no gateway since {since}Z"
    assert not section(settings).is_good
    for name, text in settings.environment().items():
        monkeypatch.setenv(name, text)
    runner = CliRunner()
    assert "không chạy · not running" in runner.invoke(gateway_app, ["status"]).output
    assert json.loads(runner.invoke(gateway_app, ["status", "--json"]).output)["is_alive"] is False
    assert "no gateway since" in " ".join(runner.invoke(gateway_app, ["devices"]).output.split())


def _gone(report: Report, why: str) -> Report:
    """What a gateway wrote that ended, is stuck, or has left its pid to another."""
    if why == "it has not written":
        return replace(report, written_at=(datetime.now(UTC) - timedelta(seconds=31)).isoformat())
    if why == "another has its pid":
        return replace(report, birth="of another")
    child = subprocess.Popen(["true"])
    born = birth_mark(child.pid)
    child.wait()
    return replace(report, pid=child.pid, birth=born or "before")


def test_contracts_that_change_are_taken_up(settings: Settings, registry: Registry, tmp_path: Path) -> None:
    import shutil

    home = tmp_path / "home"
    home.mkdir()
    (home / "pyproject.toml").write_text("")
    shutil.copytree(settings.home / "schemas", home / "schemas")
    own = replace(settings, home=home)
    with Core(own, registry, bootstrap=no_kafka) as core, Housekeeper(core, period_s=3600) as keeper:
        contract = home / "schemas/datasets/flood/river_stage.yaml"
        text = contract.read_text()
        contract.write_text(text.replace("device: station_id", "device: nothing}}"))
        keeper.look()
        report = read_report(own)
        assert report is not None
        assert report.problem is not None
        assert "river_stage.yaml" in report.problem
        contract.write_text(text.replace(", device: station_id", ""))
        keeper.look()
        stranger = {"station_id": "S-1", "observed_at": AT, "stage_m": 1}
        assert send(core, "river_stage", stranger).spooled == 1


def test_commands_show_devices(
    settings: Settings, registry: Registry, monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., None]
) -> None:
    for name, text in settings.environment().items():
        monkeypatch.setenv(name, text)
    runner = CliRunner()
    assert "Chưa chạy" in runner.invoke(gateway_app, ["status"]).output
    with Core(settings, registry, bootstrap=no_kafka) as core, Housekeeper(core, period_s=3600):
        send(core, "river_stage", {"station_id": "S-1", "observed_at": AT, "stage_m": 1})
        # The core looks at itself twice a second; the last report tells what it saw.
        wait_until(lambda: bool(core.state.outcomes), what="the core has counted the record")
    assert "S-1" in runner.invoke(gateway_app, ["devices"]).output
    assert json.loads(runner.invoke(gateway_app, ["status", "--json"]).output)["refused"] == 1
    assert "unknown devices" in runner.invoke(gateway_app, ["status"]).output
