"""Brokers and inboxes as people meet them: commands, the section of `lake status`, what needs no restart."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pipelines.contracts.registry import Registry
from pipelines.gateway.collectors import Collectors
from pipelines.gateway.commands import gateway_app
from pipelines.gateway.core import Core
from pipelines.gateway.housekeeping import Housekeeper
from pipelines.gateway.mqtt.connections import Connection, connections, set_connection
from pipelines.gateway.mqtt.unbound import Unbound
from pipelines.gateway.sources import Source, Sources, create_token
from pipelines.gateway.state import section
from pipelines.runtime.errors import LakeError
from pipelines.runtime.ports import is_free
from pipelines.runtime.settings import Settings

SOURCE = Source("gw-1", "H57.NNMT", ("river_stage", "rain_gauge"))
Run = Callable[..., Result]


@pytest.fixture
def lake(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`lake gateway …` in the installation of the test."""
    for name, text in {**settings.environment(), "COLUMNS": "200"}.items():
        monkeypatch.setenv(name, text)
    return lambda *words: CliRunner().invoke(gateway_app, [str(word) for word in words])


def error_of(result: Result) -> str:
    assert isinstance(result.exception, LakeError)
    return str(result.exception)


def test_a_broker_is_connected_listed_and_forgotten_by_commands(lake: Run, settings: Settings, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("x")
    assert "There are: field" in error_of(lake("mqtt", "connect", "nothing", "--url", "mqtt://127.0.0.1"))
    assert "in clear" in error_of(lake("mqtt", "connect", "field", "--url", "mqtt://mqtt.hue.local"))
    assert connections(settings) == {}
    options = ("--url", "mqtt://127.0.0.1", "--user", "lake", "--password-file", secret)
    assert lake("mqtt", "connect", "field", *options).exit_code == 0
    session = connections(settings)["field"].client_id
    assert session.startswith("lake-unit-field-")
    assert lake("mqtt", "connect", "field", *options, "--version", "3.1.1").exit_code == 0
    # The broker keeps what came meanwhile under this name: it stays when the address changes.
    assert connections(settings)["field"].client_id == session
    assert session in lake("mqtt", "list").output
    assert "mqtt://127.0.0.1" in lake("check").output
    assert lake("mqtt", "forget", "field").exit_code == 0
    assert "is not connected" in error_of(lake("mqtt", "forget", "field"))


def test_an_inbox_is_opened_for_a_source_that_may_send(lake: Run, settings: Settings, registry: Registry) -> None:
    create_token(settings, registry, SOURCE)
    assert "There is no source 'gw-9'" in error_of(lake("inbox", "open", "gw-9", "river_stage"))
    assert "There is no stream 'nothing'" in error_of(lake("inbox", "open", "gw-1", "nothing"))
    assert "It is bound to: river_stage" in error_of(lake("inbox", "open", "gw-1", "tide"))
    opened = Path(lake("inbox", "open", "gw-1", "river_stage").output.strip())
    assert opened == settings.state / "gateway/unit/inbox/gw-1/river_stage"
    assert {path.name for path in opened.iterdir()} == {".taken", "done", "failed"}
    assert lake("check").exit_code == 0
    (opened.parent / "tide").mkdir()
    found = lake("check")
    assert (found.exit_code, "gw-1 may not send to tide" in found.output) == (1, True)


def test_messages_without_a_place_are_looked_at_by_commands(lake: Run, settings: Settings) -> None:
    unbound = Unbound(settings)
    unbound.keep("field", "hue/v1/gw-9/tide", "", b'{"a": 1}', "unknown_source", "There is no source 'gw-9'.")
    assert "hue/v1/gw-9/tide" in lake("unbound", "list").output
    shown = lake("unbound", "show", 1)
    assert '{"a": 1}' in shown.output
    assert "unknown_source: There is no source 'gw-9'." in shown.stderr
    assert "There is no message 7" in error_of(lake("unbound", "show", 7))
    assert "--by and --why" in error_of(lake("unbound", "replay"))
    assert "--by and --why" in error_of(lake("unbound", "drop", 1, "--by", "An"))
    assert [each.again for each in unbound.all()] == [0]
    assert "1: " in lake("unbound", "replay", "--by", "An", "--why", "nguồn đã tạo").output
    assert [each.again for each in unbound.all()] == [1]
    assert "1: " in lake("unbound", "drop", 1, "--by", " Bình ", "--why", "thiết bị thử").output
    assert unbound.all() == ()
    said = [(each.action, each.messages, each.ids, each.decided_by, each.why) for each in unbound.decisions()]
    assert said == [("replay", 1, "all", "An", "nguồn đã tạo"), ("drop", 1, "1", "Bình", "thiết bị thử")]
    assert "thiết bị thử" in lake("unbound", "log").output


def test_brokers_and_inboxes_are_followed_without_a_restart_and_stand_in_the_status(
    core: Core, settings: Settings, registry: Registry, wait_until: Callable[..., None]
) -> None:
    create_token(settings, registry, SOURCE)
    port = next(port for port in range(28_000, 29_000) if is_free(port))
    away = Connection("field", f"mqtt://127.0.0.1:{port}", "t-unit")
    inbox = settings.state / "gateway" / "unit" / "inbox" / "gw-1" / "river_stage"
    with (
        Collectors(core, Sources(settings), settle_s=0) as collectors,
        Housekeeper(core, period_s=3600, others=collectors) as keeper,
    ):
        assert collectors.told() == ()
        set_connection(settings, "field", away)
        set_connection(settings, "gone", replace(away, collector="gone"))
        inbox.mkdir(parents=True)
        (inbox / "a.json").write_text(json.dumps([{"station_id": "71520"}]))
        (inbox / "b.txt").write_text("71520 is high")

        def problems() -> dict[str, str]:
            return {told.name: told.problem for told in collectors.told()}

        wait_until(lambda: "cannot be reached" in problems().get("field", ""), what="the broker is looked for")
        assert problems()["gone"] == "schemas/collectors/gone.yaml is not there"
        wait_until(lambda: len(list(inbox.glob("*/*.receipt.json"))) == 2, what="the files are put away")
        Unbound(settings).keep("field", "a", "", b"x", "unknown_topic", "")
        wait_until(lambda: bool(collectors.unbound()), what="kept messages are counted")
        keeper.look()
        rows = dict(section(settings).rows)
        assert "cannot be reached" in rows["mqtt field"]
        assert "files_done 1" in rows["inbox gw-1/river_stage"]
        assert "files_failed 1" in rows["inbox gw-1/river_stage"]
        assert rows["chưa rõ bộ dữ liệu · messages of no dataset"] == "1 (lake gateway unbound list)"
        assert not section(settings).is_good
        set_connection(settings, "field", None)
        wait_until(lambda: "field" not in problems(), what="the broker is left")
