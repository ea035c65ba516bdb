"""Loopback ports: free ones, chosen once, remembered, and explained when they are taken."""

import hashlib
import json
import socket
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Protocol

import psutil
from filelock import FileLock

from pipelines.runtime.errors import ServiceError
from pipelines.runtime.process import ProcessRecord, write_json
from pipelines.runtime.settings import Settings

LOOPBACK = "127.0.0.1"
# Below the range from which the kernel takes ports for outgoing connections (32768 on Linux): a port that is free now
# cannot be lost to a client socket while a server is still starting.
_FIRST, _LAST = 18000, 29999
_PORTS_NAME = "ports.json"


class Listener(Protocol):
    """Who wants ports: one for each use, the first of which a variable may pin."""

    @property
    def name(self) -> str:
        """The name of its folder."""
        ...

    @property
    def ports(self) -> tuple[str, ...]:
        """Its uses."""
        ...

    @property
    def pin_variable(self) -> str:
        """The environment variable that pins the first."""
        ...


def is_loopback(host: str) -> bool:
    """Say whether a host name or address is this machine itself, so that nothing travels over a network."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def is_free(port: int) -> bool:
    """Say whether a server could listen on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def listener(port: int) -> psutil.Process | None:
    """Return the process that listens on a loopback or any-address port; None when unknown or nobody."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return None
    for connection in connections:
        address = connection.laddr
        if connection.status == psutil.CONN_LISTEN and address and address.port == port and connection.pid:
            try:
                return psutil.Process(connection.pid)
            except psutil.NoSuchProcess:
                return None
    return None


def describe_listener(port: int) -> str:
    """Return a phrase naming who listens on `port`, for a sentence to people."""
    process = listener(port)
    if process is None:
        return "another process"
    try:
        return f"process {process.pid} ({process.name()})"
    except psutil.NoSuchProcess:
        return "another process"


def service_folder(settings: Settings, name: str) -> Path:
    """Return the state folder of a service: its record, ports, log, configuration and lock."""
    return settings.state / "services" / name


def remembered_ports(settings: Settings, name: str) -> dict[str, int]:
    """Return the ports that a service used last; empty when it never ran."""
    try:
        values = json.loads((service_folder(settings, name) / _PORTS_NAME).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return {str(use): int(port) for use, port in values.items()}


def assign_ports(settings: Settings, specs: Iterable[Listener], env: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """Give every listener ports: those of the running process, else pinned ones, else the remembered, else free ones.

    Raises ServiceError when a pinned port is not a port or is taken; the text names who holds it and the variable.
    """
    assigned: dict[str, dict[str, int]] = {}
    services = settings.state / "services"
    services.mkdir(parents=True, exist_ok=True)
    with FileLock(services / "ports.lock", timeout=30):
        used: set[int] = set()
        for other in services.glob(f"*/{_PORTS_NAME}"):
            used |= set(remembered_ports(settings, other.parent.name).values())
        for spec in specs:
            folder = service_folder(settings, spec.name)
            record = ProcessRecord.read(folder)
            if record is not None and record.process() is not None and set(record.ports) >= set(spec.ports):
                assigned[spec.name] = {use: record.ports[use] for use in spec.ports}
                continue
            assigned[spec.name] = _choose(settings, spec, env, used)
            write_json(folder / _PORTS_NAME, assigned[spec.name])
    return assigned


def _choose(settings: Settings, spec: Listener, env: Mapping[str, str], used: set[int]) -> dict[str, int]:
    remembered = remembered_ports(settings, spec.name)
    chosen: dict[str, int] = {}
    for index, use in enumerate(spec.ports):
        variable = spec.pin_variable
        if index == 0 and env.get(variable):
            chosen[use] = _pinned(spec.name, variable, env[variable])
        elif use in remembered and is_free(remembered[use]):
            chosen[use] = remembered[use]
        else:
            chosen[use] = _free_port(f"{settings.state}/{spec.name}/{use}", used)
        used.add(chosen[use])
    return chosen


def _pinned(service: str, variable: str, text: str) -> int:
    if not text.isdigit() or not 1024 <= int(text) <= 65535:
        raise ServiceError(
            f"{variable}={text} is not a port.", "Set it to a number from 1024 to 65535, or unset it for a free one."
        )
    port = int(text)
    if not is_free(port):
        raise ServiceError(
            f"Port {port} for {service} ({variable}) is taken by {describe_listener(port)}.",
            f"Stop that process, or set {variable} to another port, or unset it for a free one.",
        )
    return port


def _free_port(seed: str, used: set[int]) -> int:
    # Every state folder and use begins its search at its own place, so two installations rarely meet.
    span = _LAST - _FIRST + 1
    start = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:4]) % span
    for step in range(span):
        port = _FIRST + (start + step) % span
        if port not in used and is_free(port):
            return port
    raise ServiceError(f"No port from {_FIRST} to {_LAST} is free.", "End processes that listen on many ports.")
