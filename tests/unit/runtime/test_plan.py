"""Which services start, in which order, on which ports."""

import os
import socket
from collections.abc import Iterator

import psutil
import pytest

from pipelines.runtime.errors import ServiceError
from pipelines.runtime.ports import assign_ports, describe_listener, is_free, remembered_ports
from pipelines.runtime.servers import SPECS
from pipelines.runtime.service import Context, Service, ServiceSpec, plan, stop_waves
from pipelines.runtime.settings import Settings


def spec(name: str, *needs: str, ports: tuple[str, ...] = ("main",)) -> ServiceSpec:
    def build(_context: Context) -> Service:
        raise AssertionError("planning builds nothing")

    return ServiceSpec(name=name, ports=ports, needs=needs, build=build)


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield int(holder.getsockname()[1])


def test_needs_come_first() -> None:
    specs = [spec("c", "b"), spec("b", "a"), spec("a"), spec("d")]
    assert [found.name for found in plan(specs)] == ["a", "b", "c", "d"]
    assert [found.name for found in plan(specs, ["b"])] == ["a", "b"]


def test_what_needs_others_stops_before_them() -> None:
    specs = [spec("a"), spec("b", "a"), spec("c", "b"), spec("d")]
    assert stop_waves(specs) == (("c",), ("b",), ("a", "d"))


def test_a_group_means_all_of_its_members() -> None:
    assert [found.name for found in plan(SPECS, ["flink"])] == ["flink-jobmanager", "flink-taskmanager"]
    assert plan(SPECS, ["airflow"])[0].name == "postgres"


def test_every_service_of_the_installation_is_planned_once() -> None:
    names = [found.name for found in plan(SPECS)]
    assert sorted(names) == sorted(set(names)) == sorted(found.name for found in SPECS if not found.optional)


def test_an_optional_service_starts_when_it_is_named_and_ends_with_all() -> None:
    assert [found.name for found in SPECS if found.optional] == ["connect"]
    assert [found.name for found in plan(SPECS, ["connect"])] == ["kafka", "connect"]
    assert stop_waves(SPECS)[-1] == tuple(found.name for found in SPECS if not found.needs)
    assert {name for wave in stop_waves(SPECS) for name in wave} == {found.name for found in SPECS}


def test_an_unknown_service_is_answered_with_the_known() -> None:
    with pytest.raises(ServiceError, match=r"no service 'kafak'\. Services: .*kafka.*trino"):
        plan(SPECS, ["kafak"])


def test_a_circle_is_named() -> None:
    with pytest.raises(ServiceError, match="a → b → a need each other in a circle"):
        plan([spec("a", "b"), spec("b", "a")])


def test_ports_are_free_distinct_and_remembered(settings: Settings) -> None:
    specs = [spec("a", ports=("main", "side")), spec("b")]
    first = assign_ports(settings, specs, {})
    chosen = [port for ports in first.values() for port in ports.values()]
    assert len(set(chosen)) == 3
    assert all(is_free(port) and 18000 <= port <= 29999 for port in chosen)
    assert assign_ports(settings, specs, {}) == first
    assert remembered_ports(settings, "a") == first["a"]


def test_a_remembered_port_that_was_taken_since_is_replaced(settings: Settings) -> None:
    first = assign_ports(settings, [spec("a")], {})["a"]["main"]
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", first))
        holder.listen()
        assert assign_ports(settings, [spec("a")], {})["a"]["main"] != first


def test_a_pinned_port_is_used(settings: Settings, free_port: int) -> None:
    assert assign_ports(settings, [spec("a-b")], {"LAKE_PORT_A_B": str(free_port)})["a-b"]["main"] == free_port


def test_a_taken_pinned_port_names_who_has_to_move(settings: Settings, taken_port: int) -> None:
    own_name = psutil.Process().name()
    with pytest.raises(ServiceError) as caught:
        assign_ports(settings, [spec("a")], {"LAKE_PORT_A": str(taken_port)})
    assert f"Port {taken_port} for a (LAKE_PORT_A) is taken by process {os.getpid()} ({own_name})" in caught.value.what
    assert "unset it" in caught.value.remedy


@pytest.mark.parametrize("text", ["kafka", "80", "70000", "-1", "9092x"])
def test_what_is_no_port_is_refused(settings: Settings, text: str) -> None:
    with pytest.raises(ServiceError, match="is not a port"):
        assign_ports(settings, [spec("a")], {"LAKE_PORT_A": text})


def test_the_pin_of_a_group_is_its_front() -> None:
    pins = {found.name: found.pin_variable for found in SPECS if found.ports}
    assert pins["flink-jobmanager"] == "LAKE_PORT_FLINK"
    assert pins["airflow-api"] == "LAKE_PORT_AIRFLOW"
    assert len(set(pins.values())) == len(pins)


def test_nobody_listens_on_a_free_port(free_port: int) -> None:
    assert describe_listener(free_port) == "another process"


def test_building_the_services_writes_nothing_but_secrets(settings: Settings) -> None:
    context = Context(settings=settings, ports=assign_ports(settings, SPECS, {}))
    built = [found.build(context) for found in SPECS]
    assert {path.name for path in settings.state.iterdir()} <= {"services", "secrets"}
    for service, found in zip(built, SPECS, strict=True):
        assert (service.name, tuple(service.ports), service.needs) == (found.name, found.ports, found.needs)
        assert service.command_hash == found.build(context).command_hash, "the same inputs, the same hash"


def test_connections_reach_airflow_alone_and_restart_nothing(settings: Settings) -> None:
    ports = assign_ports(settings, SPECS, {})
    given = {"AIRFLOW_CONN_SECTOR_SOYT": "postgresql://u:hush@h/d", "AIRFLOW_HOME": "/elsewhere"}
    for found in SPECS:
        plain = found.build(Context(settings=settings, ports=ports))
        told = found.build(Context(settings=settings, ports=ports, env=given))
        assert told.command_hash == plain.command_hash
        assert "hush" not in repr(told)
        names = {"AIRFLOW_CONN_SECTOR_SOYT", "AIRFLOW_CONN_LAKE_SAMPLE"} if found.group_name == "airflow" else set()
        assert set(told.private) == names
        assert names == set() or told.private["AIRFLOW_CONN_LAKE_SAMPLE"].endswith("/sector")


def test_no_command_line_shows_a_secret(settings: Settings) -> None:
    context = Context(settings=settings, ports=assign_ports(settings, SPECS, {}))
    shown = " ".join(" ".join([*s.command, *s.env.values()]) for s in (found.build(context) for found in SPECS))
    secrets = [path.read_text(encoding="utf-8") for path in settings.secrets_dir.iterdir()]
    assert secrets
    assert not any(secret in shown for secret in secrets)
