"""The service commands as people and programs use them, without a real server."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pipelines.runtime import status
from pipelines.runtime.commands import services_app
from pipelines.runtime.console import run_app
from pipelines.runtime.errors import LakeError, ServiceError
from pipelines.runtime.launcher import start_service
from pipelines.runtime.service import Service
from pipelines.runtime.settings import Settings

MakeFake = Callable[..., Service]


@pytest.fixture
def lake(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run `lake …` on the test's installation."""
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    return lambda *arguments: CliRunner().invoke(services_app, list(arguments))


def test_every_command_and_option_is_described() -> None:
    import typer

    commands = typer.main.get_command(services_app).commands  # type: ignore[attr-defined]
    assert set(commands) == {"install", "up", "down", "forget", "status", "logs", "doctor", "airflow"}
    for command in commands.values():
        assert command.help
        assert all(getattr(parameter, "help", "") for parameter in command.params if parameter.name != "help")


def test_status_of_a_new_installation_only_reads(lake: Callable[..., Result], settings: Settings) -> None:
    answer = json.loads(lake("status", "--json").stdout)
    assert {service["state"] for service in answer["services"]} == {"stopped"}
    assert {"kafka", "flink-taskmanager", "spark", "trino", "postgres"} <= {s["name"] for s in answer["services"]}
    assert answer["flink_jobs"] == []
    assert not settings.state.exists()


def test_status_shows_a_daemon_and_its_death(
    lake: Callable[..., Result], settings: Settings, fake: MakeFake, wait_until: Callable[..., None]
) -> None:
    record = start_service(settings, fake(name="city.landing"), lambda _phrase: None)

    def daemon() -> dict[str, object]:
        services = json.loads(lake("status", "--json").stdout)["services"]
        return next(service for service in services if service["name"] == "city.landing")

    assert (daemon()["state"], daemon()["pid"]) == ("ready", record.pid)
    assert int(str(daemon()["rss_bytes"])) > 1_000_000
    process = record.process()
    assert process is not None
    process.kill()
    wait_until(lambda: daemon()["state"] == "dead")
    assert re.search(r"city\.landing\W+dead", lake("status").stdout)


def test_other_packages_add_sections(lake: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    section = status.Section("Freshness", ("dataset", "age"), [("river_stage", "2 min")])
    monkeypatch.setattr(status, "status_sections", [lambda _settings: section])
    assert json.loads(lake("status", "--json").stdout)["sections"] == {
        "Freshness": [{"dataset": "river_stage", "age": "2 min"}]
    }
    assert "river_stage" in lake("status").stdout


def test_down_where_nothing_runs(lake: Callable[..., Result]) -> None:
    assert lake("down").stdout.strip() == "Nothing was running."


def test_logs_of_an_unknown_service_name_the_known(
    lake: Callable[..., Result], settings: Settings, fake: MakeFake
) -> None:
    start_service(settings, fake(), lambda _phrase: None)
    assert "listening on" in lake("logs", "fake", "-n", "1").stdout
    error = lake("logs", "kafak").exception
    assert isinstance(error, ServiceError)
    assert error.remedy == "With logs: fake."


def test_airflows_own_commands_run_on_this_installation(
    lake: Callable[..., Result], settings: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    error = lake("airflow", "version").exception
    assert isinstance(error, ServiceError)
    assert error.remedy == "Run `lake up --only airflow`."
    home = settings.state / "airflow"
    home.mkdir(parents=True)
    (home / "airflow.cfg").write_text("[core]\ninstance = Huế\n", encoding="utf-8")
    assert lake("airflow", "config", "get-value", "core", "instance").exit_code == 0
    assert capfd.readouterr().out.strip() == "Huế"
    assert lake("airflow", "no-such-command", "--only", "x").exit_code == 2, "its options and exit status are its own"


def test_the_doctor_answers_programs(lake: Callable[..., Result]) -> None:
    result = lake("doctor", "--json")
    answer = json.loads(result.stdout)
    assert answer["ok"] is (result.exit_code == 0) is False, "an installation without downloads is not well"
    assert all(finding["remedy"] for finding in answer["findings"] if finding["problem"])


def test_the_citys_own_namespace_is_never_forgotten(lake: Callable[..., Result], settings: Settings) -> None:
    error = lake("forget").exception
    assert isinstance(error, LakeError)
    assert "observed data" in error.what
    assert not (settings.state / "services").exists()


def test_a_problem_is_two_sentences_and_status_1(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LAKE_STATE", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["lake", "logs", "kafka"])
    with pytest.raises(SystemExit) as caught:
        run_app(services_app)
    assert caught.value.code == 1
    shown = capsys.readouterr().err
    assert "✘ kafka has no log" in shown
    assert "→ With logs: none yet." in shown
    assert "Traceback" not in shown
