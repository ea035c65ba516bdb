"""Airflow's processes: API server, scheduler with a local executor, DAG processor and triggerer."""

import importlib.metadata
import subprocess
import sys
from base64 import urlsafe_b64encode
from hashlib import sha256
from pathlib import Path

import httpx

from pipelines.runtime.airflow import AirflowClient
from pipelines.runtime.airflow_plan import pools
from pipelines.runtime.errors import ServiceError
from pipelines.runtime.launcher import child_environment
from pipelines.runtime.ports import listener, service_folder
from pipelines.runtime.process import service_processes
from pipelines.runtime.secret_files import secret_text
from pipelines.runtime.servers import postgres
from pipelines.runtime.service import Context, Service, ServiceSpec
from pipelines.runtime.settings import Settings
from pipelines.runtime.templates import fingerprint, render, write_text

API = "airflow-api"
SCHEDULER = "airflow-scheduler"
DAG_PROCESSOR = "airflow-dag-processor"
TRIGGERER = "airflow-triggerer"
_PROBE_TIMEOUT_S = 5.0
_CONNECTION = "AIRFLOW_CONN_"
_HEALTH_KEYS = {SCHEDULER: "scheduler", DAG_PROCESSOR: "dag_processor", TRIGGERER: "triggerer"}


def airflow_home(settings: Settings) -> Path:
    """Return AIRFLOW_HOME: configuration, task logs, bundles."""
    return settings.state / "airflow"


def command_line(*arguments: str) -> tuple[str, ...]:
    """Return a command of the Airflow that is installed beside this Python."""
    return (str(Path(sys.prefix) / "bin" / "airflow"), *arguments)


def environment(settings: Settings) -> dict[str, str]:
    """Return the variables under which `airflow` commands and tasks work on this installation."""
    return {
        **settings.environment(),
        "AIRFLOW_HOME": str(airflow_home(settings)),
        "AIRFLOW_CONFIG": str(airflow_home(settings) / "airflow.cfg"),
        # Tasks begin `lake`, `dbt` and `airflow` by name.
        "PATH": f"{Path(sys.prefix) / 'bin'}:/usr/local/bin:/usr/bin:/bin",
        "PYTHONPATH": str(settings.home),
        # Its processes rename themselves; without this that overwrites the environment by which we recognise them.
        "SPT_NOENV": "1",
    }


def _connections(context: Context) -> dict[str, str]:
    """Return the connections that its tasks find in the environment: those of who starts it, and that of the sample."""
    given = {name: value for name, value in context.env.items() if name.startswith(_CONNECTION)}
    sample = postgres.dsn(context.settings, context.port(postgres.NAME, "sql"), "sector")
    return {**given, f"{_CONNECTION}{postgres.SAMPLE_CONNECTION.upper()}": sample}


def _derived_key(settings: Settings, name: str) -> str:
    """Return 32 bytes in URL-safe base64, derived from the secret `airflow.key` for one purpose."""
    return urlsafe_b64encode(sha256(f"{name}:{secret_text(settings, 'airflow.key')}".encode()).digest()).decode()


def _config(context: Context) -> str:
    settings, port = context.settings, context.port(API, "http")
    sql = postgres.dsn(settings, context.port(postgres.NAME, "sql"), "airflow")
    values = {
        "root": airflow_home(settings),
        "dags": settings.home / "dags",
        "port": port,
        "base_url": f"http://127.0.0.1:{port}",
        "sql_conn": sql.replace("postgresql://", "postgresql+psycopg2://"),
        "fernet_key": _derived_key(settings, "fernet"),
        "secret_key": _derived_key(settings, "session"),
        "jwt_secret": _derived_key(settings, "jwt"),
    }
    # The config parser reads % as the begin of a reference.
    text = render(settings.home / "infra" / "airflow" / "airflow.cfg", values)
    return text.replace("%", "%%")


def _service(context: Context, name: str, arguments: tuple[str, ...]) -> Service:
    settings = context.settings
    config, port = _config(context), context.port(API, "http")
    folder = service_folder(settings, name)

    def prepare() -> None:
        home = airflow_home(settings)
        for part in ("logs", "plugins", "bundles"):
            (home / part).mkdir(parents=True, exist_ok=True)
        write_text(home / "airflow.cfg", config, mode=0o600)
        if name == API:
            _migrate(settings, folder)

    def probe() -> str | None:
        return _probe(settings, name, port)

    def on_ready() -> None:
        if name == API:
            # A task whose pool is missing waits for ever, without a word.
            with AirflowClient(f"http://127.0.0.1:{port}") as client:
                client.ensure_pools(pools(settings.home))

    return Service(
        name=name,
        command=command_line(*arguments),
        cwd=folder,
        env=environment(settings.with_namespace("city")),
        private=_connections(context),
        ports={"http": port} if name == API else {},
        needs=(postgres.NAME,) if name == API else (API,),
        probe=probe,
        prepare=prepare,
        on_ready=on_ready,
        fingerprint=fingerprint(config),
        start_timeout_s=240.0,
        stop_grace_s=20.0,
    )


def _migrate(settings: Settings, folder: Path) -> None:
    """Bring the metadata database to the installed version; a stamp makes the next start skip it."""
    stamp = airflow_home(settings) / "migrated"
    database = (settings.state / "postgres" / "data" / "global" / "pg_control").stat().st_ino
    wanted = f"{importlib.metadata.version('apache-airflow')} {database}\n"
    if stamp.is_file() and stamp.read_text(encoding="ascii") == wanted:
        return
    command = command_line("db", "migrate")
    result = subprocess.run(
        command,
        env=child_environment(environment(settings), folder),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if result.returncode != 0:
        raise ServiceError(
            f"Airflow's metadata database cannot be migrated: {(result.stdout + result.stderr).strip()[-1500:]}",
            "Mend what it names, then run `lake up` again.",
        )
    write_text(stamp, wanted)


def _probe(settings: Settings, name: str, port: int) -> str | None:
    url = f"http://127.0.0.1:{port}/api/v2/monitor/health"
    owner = listener(port)
    ours = {process.pid for process in service_processes(service_folder(settings, API))}
    if owner is not None and owner.pid not in ours:
        return f"port {port} is held by process {owner.pid}, which is not ours"
    try:
        health = httpx.get(url, timeout=_PROBE_TIMEOUT_S).raise_for_status().json()
    except (httpx.HTTPError, ValueError) as error:
        return f"no answer from {url} yet ({type(error).__name__})"
    part = _HEALTH_KEYS.get(name, "metadatabase")
    status = (health.get(part) or {}).get("status")
    return None if status == "healthy" else f"{part} is {status or 'not reporting yet'}"


def _api(context: Context) -> Service:
    port = context.port(API, "http")
    return _service(context, API, ("api-server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"))


def _scheduler(context: Context) -> Service:
    # Without its log server, which would listen on every interface: the API server reads the same log folder.
    return _service(context, SCHEDULER, ("scheduler", "--skip-serve-logs"))


def _dag_processor(context: Context) -> Service:
    return _service(context, DAG_PROCESSOR, ("dag-processor",))


def _triggerer(context: Context) -> Service:
    return _service(context, TRIGGERER, ("triggerer", "--skip-serve-logs"))


AIRFLOW = (
    ServiceSpec(name=API, ports=("http",), needs=(postgres.NAME,), build=_api, group="airflow", pin="airflow"),
    ServiceSpec(name=SCHEDULER, ports=(), needs=(API,), build=_scheduler, group="airflow"),
    ServiceSpec(name=DAG_PROCESSOR, ports=(), needs=(API,), build=_dag_processor, group="airflow"),
    ServiceSpec(name=TRIGGERER, ports=(), needs=(API,), build=_triggerer, group="airflow"),
)
