"""Devices: who is known, who is silent, and what becomes of the records of strangers."""

from __future__ import annotations

import json
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
from pipelines.gateway.quarantine import Quarantine
from pipelines.gateway.sources import Source
from pipelines.gateway.state import read_report, section
from pipelines.gateway.submission import Receipt, Submission
from pipelines.runtime.settings import Settings

from .conftest import no_kafka

NOW = datetime(2025, 10, 27, 13, 0, tzinfo=UTC)
SOURCE = Source("gw-1", "H57.NNMT", ("river_stage", "urban_flood_depth", "device_heartbeat", "camera_health"))
AT = "2025-10-27T13:00:00Z"


def send(core: Core, dataset: str, body: object, media_type: str = "application/json") -> Receipt:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return core.submit(Submission(dataset, data, media_type, SOURCE, NOW)).result(timeout=20)


def register(settings: Settings, *ids: str) -> None:
    """Load the register of IoT devices, as ingestion does."""
    path = settings.table_path("silver", "iot_device")
    write_deltalake(str(path), pa.table({"device_id": list(ids)}), mode="overwrite")


def test_a_stranger_is_refused_kept_and_counted(core: Core, settings: Settings) -> None:
    known = {"station_id": "71520", "observed_at": AT, "stage_m": 1}
    stranger = b'{"station_id": "S-99" , "observed_at": "2025-10-27T13:00:00Z", "stage_m": 2}'
    receipt = send(core, "river_stage", b"[" + json.dumps(known).encode() + b"," + stranger + b"]")
    assert (receipt.spooled, [(r.index, r.reason) for r in receipt.refused]) == (1, [(1, "unknown_device")])
    assert receipt.refused[0].detail == "the device is not in stations; it is kept until it is"
    (found,) = core.sealing.quarantine.strangers()
    assert (found.dataset, found.device, found.records) == ("river_stage", "S-99", 1)
    (kept,) = core.sealing.quarantine.records("river_stage", "S-99")
    assert core.sealing.gateway.store.get(kept.ref) == stranger
    assert (kept.source, kept.media_type, kept.received_at) == ("gw-1", "application/json", NOW.isoformat())


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
        send(core, "river_stage", [{"station_id": s, "observed_at": AT, "stage_m": 1} for s in ("71520", "S-1")])
        keeper.look()
        report = read_report(settings)
        assert report is not None
        stage = next(row for row in report.devices if row.dataset == "river_stage")
        # What was received in 2025 has been silent since.
        assert (stage.silent, stage.names, stage.unknown) == (1, ("71520",), 1)
    told = dict(section(settings).rows)
    assert told["thiết bị im lặng · silent devices"] == "river_stage 1 (71520)"
    assert "device_heartbeat (iot_device)" in told["chưa có danh mục, không kiểm · no register yet, not checked"]
    assert not section(settings).is_good


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
