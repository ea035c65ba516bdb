"""The Trino server: serving and governance over the Delta tables, one catalog per namespace."""

import hashlib
from pathlib import Path

import httpx

from pipelines.runtime.errors import ServiceError
from pipelines.runtime.java import LATE_OPTIMISING, trino_java_home
from pipelines.runtime.service import Context, Service, ServiceSpec
from pipelines.runtime.settings import Settings
from pipelines.runtime.templates import fingerprint, render, write_text
from pipelines.runtime.trino import PLATFORM_USER, ensure_catalog_at, execute_at

NAME = "trino"
VERSION = "476"
# Start to first query 19-29 s and 0.8-1.8 GB resident; 1200 MB of heap fails a 20M-row join.
_JVM = (
    "-Xms256m",
    "-Xmx1500M",
    "-XX:+UseG1GC",
    "-XX:G1HeapRegionSize=8M",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:-OmitStackTraceInFastThrow",
    "-XX:ReservedCodeCacheSize=192M",
    "-XX:PerMethodRecompilationCutoff=10000",
    "-XX:PerBytecodeRecompilationCutoff=10000",
    "-Djdk.attach.allowAttachSelf=true",
    "-Djdk.nio.maxCachedBufferSize=2000000",
    "-Dfile.encoding=UTF-8",
    "-Duser.timezone=UTC",
    "-XX:+EnableDynamicAgentLoading",
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
    *LATE_OPTIMISING,
)
_PROBE_TIMEOUT_S = 5.0


def server_home(settings: Settings) -> Path:
    """Return the extracted server distribution."""
    return settings.dist / f"trino-server-{VERSION}"


def rules_path(settings: Settings) -> Path:
    """Return the access rules in force; writers replace it by an atomic rename, the server reads it every 5 s."""
    return settings.state / "trino" / "etc" / "rules.json"


def environment_name(settings: Settings) -> str:
    """Return the Trino environment of this installation: it tells our server from another on the same port."""
    return "lake_" + hashlib.sha256(str(settings.state).encode()).hexdigest()[:12]


def _build(context: Context) -> Service:
    settings = context.settings
    root, home, port = settings.state / "trino", server_home(settings), context.port(NAME, "http")
    etc, infra = root / "etc", settings.home / "infra" / "trino"
    values = {
        "environment": environment_name(settings),
        "data": root / "data",
        "etc": etc,
        "port": port,
        "plugins": home / "plugin",
    }
    config = render(infra / "config.properties", values)
    access = render(infra / "access-control.properties", values)
    levels = (infra / "log.properties").read_text(encoding="utf-8")

    def prepare() -> None:
        if not (home / "lib").is_dir():
            raise ServiceError(f"The Trino server is not in {home}.", "Run `make setup`.")
        for part in (etc / "catalog", root / "data" / "var" / "log"):
            part.mkdir(parents=True, exist_ok=True)
        write_text(etc / "config.properties", config)
        write_text(etc / "access-control.properties", access)
        write_text(etc / "log.properties", levels)
        if not rules_path(settings).exists():
            write_text(rules_path(settings), (infra / "rules.json").read_text(encoding="utf-8"))

    def probe() -> str | None:
        return _probe(f"http://127.0.0.1:{port}", environment_name(settings))

    def on_ready() -> None:
        ensure_catalog_at(f"http://127.0.0.1:{port}", settings)

    return Service(
        name=NAME,
        command=(
            str(trino_java_home() / "bin" / "java"),
            *_JVM,
            f"-Dconfig={etc / 'config.properties'}",
            f"-Dlog.levels-file={etc / 'log.properties'}",
            "-cp",
            f"{home / 'lib'}/*",
            "io.trino.server.TrinoServer",
        ),
        cwd=root,
        env={"JAVA_HOME": str(trino_java_home())},
        ports={"http": port},
        probe=probe,
        prepare=prepare,
        on_ready=on_ready,
        fingerprint=fingerprint(config, access, levels),
        start_timeout_s=180.0,
        stop_grace_s=20.0,
    )


def _probe(url: str, environment: str) -> str | None:
    try:
        info = httpx.get(f"{url}/v1/info", timeout=_PROBE_TIMEOUT_S).raise_for_status().json()
    except (httpx.HTTPError, ValueError) as error:
        return f"no answer from {url} yet ({type(error).__name__})"
    if info.get("environment") != environment:
        return f"the server at {url} belongs to the environment {info.get('environment')!r}, not to ours"
    if info.get("starting"):
        return "starting"
    try:
        execute_at(url, PLATFORM_USER, "SELECT 1")
    except ServiceError as error:
        return error.what
    return None


TRINO = ServiceSpec(name=NAME, ports=("http",), needs=(), build=_build)
