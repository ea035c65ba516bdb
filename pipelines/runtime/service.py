"""What a local service is, and in which order a set of them starts. Pure: nothing here touches the machine."""

import hashlib
import json
import signal
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.runtime.errors import ServiceError
from pipelines.runtime.settings import Settings


def _nothing() -> None:
    return None


@dataclass(frozen=True)
class Service:
    """One server process, ready to be started.

    `probe` returns None when the server answers as ours and works, else a phrase saying what is missing; it never
    raises for a server that is down. `prepare` writes configuration and formats storage, `on_ready` finishes the
    set-up inside the running server; both are idempotent. `fingerprint` stands for inputs that the command does not
    name (jars, rendered configuration): when it changes, the running process is out of date. `private` are variables
    beside `env` that hold secrets and whose change lets a running process be: who starts the service from another
    shell has others, or none.
    """

    name: str
    command: tuple[str, ...]
    cwd: Path
    probe: Callable[[], str | None]
    env: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    prepare: Callable[[], None] = _nothing
    on_ready: Callable[[], None] = _nothing
    fingerprint: str = ""
    start_timeout_s: float = 120.0
    stop_grace_s: float = 20.0
    stop_signal: int = signal.SIGTERM
    private: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def command_hash(self) -> str:
        """Hash of everything that decides how the process behaves."""
        parts = [self.command, sorted(self.env.items()), str(self.cwd), sorted(self.ports.items()), self.fingerprint]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@dataclass(frozen=True)
class Context:
    """What a service is built from: the settings, the ports of every service of the plan by service and use, and the
    environment of who starts it."""

    settings: Settings
    ports: Mapping[str, Mapping[str, int]]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)

    def port(self, service: str, use: str) -> int:
        """Return one port of a service of the plan."""
        return self.ports[service][use]


def pin_variable(name: str) -> str:
    """The environment variable that pins the first port of a service or daemon: `LAKE_PORT_KAFKA`."""
    return "LAKE_PORT_" + name.upper().replace("-", "_")


@dataclass(frozen=True)
class ServiceSpec:
    """A service before it has ports. `build` is pure; the first of `ports` is the one that people connect to; an
    `optional` one starts only when it is named."""

    name: str
    ports: tuple[str, ...]
    needs: tuple[str, ...]
    build: Callable[[Context], Service]
    group: str = ""
    pin: str = ""
    optional: bool = False

    @property
    def pin_variable(self) -> str:
        """The variable that pins the main port: `LAKE_PORT_KAFKA`, `LAKE_PORT_FLINK`."""
        return pin_variable(self.pin or self.name)

    @property
    def group_name(self) -> str:
        """The name under which people ask for it: `flink` means both of its processes."""
        return self.group or self.name


def plan(specs: Iterable[ServiceSpec], only: Iterable[str] = ()) -> tuple[ServiceSpec, ...]:
    """Return the asked specs (services or groups; when `only` is empty all but the optional ones) with their needs,
    needs first.

    The order is deterministic. Raises ServiceError for an unknown name or a circle.
    """
    by_name = {spec.name: spec for spec in specs}
    wanted: list[str] = []
    for name in only:
        members = [spec.name for spec in by_name.values() if name in {spec.name, spec.group_name}]
        if not members:
            known = ", ".join(sorted({spec.group_name for spec in by_name.values()} | set(by_name)))
            raise ServiceError(f"There is no service {name!r}.", f"Services: {known}.")
        wanted += members
    ordered: dict[str, ServiceSpec] = {}
    open_names: list[str] = []

    def visit(name: str) -> None:
        if name in ordered:
            return
        if name in open_names:
            raise ServiceError(f"The services {' → '.join([*open_names, name])} need each other in a circle.")
        open_names.append(name)
        for need in by_name[name].needs:
            visit(need)
        open_names.pop()
        ordered[name] = by_name[name]

    for name in wanted or [spec.name for spec in by_name.values() if not spec.optional]:
        visit(name)
    return tuple(ordered.values())


def stop_waves(specs: Iterable[ServiceSpec]) -> tuple[tuple[str, ...], ...]:
    """Return the names in groups that may stop at once: what needs others goes before what it needs."""
    known = tuple(specs)
    ordered = plan(known, [spec.name for spec in known])
    depth: dict[str, int] = {}
    for spec in ordered:
        depth[spec.name] = 1 + max((depth[need] for need in spec.needs), default=-1)
    levels = sorted(set(depth.values()), reverse=True)
    return tuple(tuple(spec.name for spec in ordered if depth[spec.name] == level) for level in levels)
