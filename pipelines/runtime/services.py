"""The services of an installation: up, down, daemons, and the addresses at which they answer."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pipelines.runtime.errors import LakeError, ServiceError
from pipelines.runtime.launcher import start_service, stop_service
from pipelines.runtime.ports import assign_ports, service_folder
from pipelines.runtime.process import ProcessRecord
from pipelines.runtime.servers import (
    SPECS,
    airflow,
    connect,
    flink,
    kafka,
    postgres,
    spark,
    trino,
)
from pipelines.runtime.service import Context, Service, ServiceSpec, pin_variable, plan, stop_waves
from pipelines.runtime.settings import Settings

SUPERVISOR = "supervisor"
_DAEMON_START_TIMEOUT_S = 30.0
# Told of every step: service name and a phrase ("no metadata yet", "ready"). It is called from several threads.
Report = Callable[[str, str], None]


def silent(_name: str, _phrase: str) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Endpoints:
    """Addresses of the running services; reading the address of one that is down raises ServiceError."""

    settings: Settings
    records: Mapping[str, ProcessRecord]

    @property
    def kafka(self) -> str:
        """Bootstrap servers: `127.0.0.1:port`."""
        return f"127.0.0.1:{self._port(kafka.NAME, 'broker')}"

    @property
    def flink_rest(self) -> str:
        """Address of the JobManager's REST API and web page."""
        return f"http://127.0.0.1:{self._port(flink.JOBMANAGER, 'rest')}"

    @property
    def spark_remote(self) -> str:
        """Address of the Spark Connect server (SPARK_REMOTE)."""
        return f"sc://127.0.0.1:{self._port(spark.NAME, 'grpc')}"

    @property
    def trino(self) -> str:
        """Address of the Trino coordinator."""
        return f"http://127.0.0.1:{self._port(trino.NAME, 'http')}"

    @property
    def airflow(self) -> str:
        """Address of Airflow's API server and web page."""
        return f"http://127.0.0.1:{self._port(airflow.API, 'http')}"

    @property
    def connect(self) -> str:
        """Address of Kafka Connect's REST API."""
        return f"http://127.0.0.1:{self._port(connect.NAME, 'http')}"

    @property
    def gateway(self) -> str:
        """Address of the namespace's gateway for HTTP."""
        name = self.settings.group("gateway")
        record = self.records.get(name)
        if record is None:
            raise ServiceError(f"{name} is not running in {self.settings.state}.", "Run `lake start`.")
        use, port = next(iter(record.ports.items()))
        return f"{use}://127.0.0.1:{port}"

    @property
    def postgres(self) -> str:
        """Connection URL of the sample sector database, password included; also what its connection in Airflow says."""
        return self.postgres_dsn("sector")

    def postgres_dsn(self, database: str) -> str:
        """Return the connection URL of one database of the PostgreSQL server, password included."""
        return postgres.dsn(self.settings, self._port(postgres.NAME, "sql"), database)

    def _port(self, service: str, use: str) -> int:
        record = self.records.get(service)
        if record is None:
            group = next(spec.group_name for spec in SPECS if spec.name == service)
            raise ServiceError(f"{service} is not running in {self.settings.state}.", f"Run `lake up --only {group}`.")
        return record.ports[use]


def running(settings: Settings) -> dict[str, ProcessRecord]:
    """Return the records of every living process of the installation, daemons and supervisor included, by name."""
    found: dict[str, ProcessRecord] = {}
    for folder in sorted((settings.state / "services").glob("*/process.json")):
        record = ProcessRecord.read(folder.parent)
        if record is not None and record.process() is not None:
            found[record.name] = record
    return found


def endpoints(settings: Settings) -> Endpoints:
    """Return the addresses of the services that run now."""
    return Endpoints(settings=settings, records=running(settings))


def built(settings: Settings, env: Mapping[str, str] | None = None) -> dict[str, Service]:
    """Return every service of the installation with the ports that it has or would get."""
    variables = os.environ if env is None else env
    context = Context(settings=settings, ports=assign_ports(settings, SPECS, variables), env=variables)
    return {spec.name: spec.build(context) for spec in SPECS}


def up(
    settings: Settings, only: Iterable[str] = (), report: Report = silent, *, supervise: bool = True
) -> dict[str, ProcessRecord]:
    """Start the services (all, or `only` those and their needs) in parallel and wait until every one answers.

    Services that run already are left alone. Raises ServiceError naming every service that failed; the others stay.
    """
    settings.state.mkdir(parents=True, exist_ok=True)
    specs = plan(SPECS, only)
    services = built(settings)
    if supervise:
        _start_supervisor(settings)
    with ThreadPoolExecutor(max_workers=len(specs)) as pool:
        futures: dict[str, Future[ProcessRecord]] = {}
        for spec in specs:
            needs = [futures[need] for need in spec.needs]
            futures[spec.name] = pool.submit(_start_after, settings, services[spec.name], spec, needs, report)
        failures = [error for error in (future.exception() for future in futures.values()) if error is not None]
    unexpected = [error for error in failures if not isinstance(error, LakeError)]
    if unexpected:
        raise unexpected[0]
    if failures:
        raise ServiceError("\n".join(str(error) for error in failures))
    return {name: future.result() for name, future in futures.items()}


def _start_after(
    settings: Settings, service: Service, spec: ServiceSpec, needs: Sequence[Future[ProcessRecord]], report: Report
) -> ProcessRecord:
    for need in needs:
        if need.exception() is not None:
            raise ServiceError(f"{spec.name} was not started: a service that it needs failed.")
    report(service.name, "starting")
    record = start_service(settings, service, lambda phrase: report(service.name, phrase))
    report(service.name, "ready")
    return record


def down(settings: Settings, only: Iterable[str] = (), report: Report = silent) -> dict[str, str]:
    """End what `up` and `start_daemon` began (all, or `only` those); returns service → "stopped", "killed", ….

    The supervisor goes first, then daemons, then servers in the reverse order of their needs. It works from the state
    folder alone, so also after a crash of `lake`, and ends nothing else.
    """
    waves = stop_waves(SPECS)
    servers = [name for wave in waves for name in wave]
    services = settings.state / "services"
    present = [folder.name for folder in sorted(services.glob("*")) if folder.is_dir()]
    daemons = tuple(name for name in present if name not in servers and name != SUPERVISOR)
    asked = set(only)
    groups = {spec.name: spec.group_name for spec in SPECS}
    unknown = asked - {SUPERVISOR, *daemons, *servers, *groups.values()}
    if unknown:
        raise ServiceError(f"There is no service {', '.join(sorted(unknown))} in {services}.", "Run `lake status`.")
    outcome: dict[str, str] = {}

    def stop(name: str) -> None:
        outcome[name] = stop_service(settings, name)
        report(name, outcome[name])

    with ThreadPoolExecutor(max_workers=8) as pool:
        for wave in ((SUPERVISOR,), daemons, *waves):
            names = [name for name in wave if not asked or name in asked or groups.get(name) in asked]
            list(pool.map(stop, [name for name in names if name in present]))
    return outcome


def start_daemon(
    settings: Settings,
    name: str,
    argv: Sequence[str],
    *,
    ports: Mapping[str, int] | None = None,
    env: Mapping[str, str] | None = None,
    probe: Callable[[], str | None] | None = None,
    report: Report = silent,
) -> ProcessRecord:
    """Start one daemon of the namespace (`landing`, `jobs`) unless it runs; the supervisor restarts it when it dies.

    `argv` is the whole command, `ports` are those on which it listens (see :func:`daemon_ports`), `env` is added to
    its environment. `probe` says when it works; without one it must outlive its first second. Its state is in
    `<state>/services/<namespace>.<name>/`.
    """
    full_name = settings.group(name)
    folder = service_folder(settings, full_name)
    service = Service(
        name=full_name,
        command=tuple(argv),
        cwd=folder,
        env={**settings.environment(), "PYTHONUNBUFFERED": "1", **(env or {})},
        ports=ports or {},
        probe=probe or _outlives(folder),
        start_timeout_s=_DAEMON_START_TIMEOUT_S if probe is None else 120.0,
        stop_grace_s=30.0,
    )
    _start_supervisor(settings)
    return start_service(settings, service, lambda phrase: report(full_name, phrase))


def daemon_ports(settings: Settings, name: str, uses: tuple[str, ...]) -> dict[str, int]:
    """Give one daemon of the namespace its ports: those it has, else a pinned or free one for each use.

    `LAKE_PORT_<NAME>_<NAMESPACE>` pins the first.
    """
    daemon = _Daemon(settings.group(name), uses, pin_variable(f"{name}_{settings.namespace}"))
    return assign_ports(settings, (daemon,), os.environ)[daemon.name]


@dataclass(frozen=True)
class _Daemon:
    """A daemon of a namespace as far as its ports go."""

    name: str
    ports: tuple[str, ...]
    pin_variable: str


def stop_daemon(settings: Settings, name: str) -> str:
    """End one daemon of the namespace; returns "stopped", "killed" or "was not running"."""
    return stop_service(settings, settings.group(name))


def _outlives(folder: Path) -> Callable[[], str | None]:
    def probe() -> str | None:
        import time

        record = ProcessRecord.read(folder)
        if record is None or time.time() - record.started_at_s < 1.0:
            return "just begun"
        return None

    return probe


def _start_supervisor(settings: Settings) -> None:
    import sys

    folder = service_folder(settings, SUPERVISOR)
    service = Service(
        name=SUPERVISOR,
        command=(sys.executable, "-m", "pipelines.runtime.supervisor"),
        cwd=folder,
        env={**settings.with_namespace("city").environment(), "PYTHONUNBUFFERED": "1"},
        probe=lambda: None,
    )
    start_service(settings, service, lambda _phrase: None)
