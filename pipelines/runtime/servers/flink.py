"""The Flink cluster: JobManager and TaskManager from the PyFlink wheel, each its Java main class in the foreground."""

import importlib.util
import os
import shutil
from functools import cache
from pathlib import Path

import httpx

from pipelines.runtime.errors import ServiceError
from pipelines.runtime.java import LATE_OPTIMISING, NEVER_OPTIMISING, java_home_17
from pipelines.runtime.ports import service_folder
from pipelines.runtime.service import Context, Service, ServiceSpec
from pipelines.runtime.settings import Settings
from pipelines.runtime.templates import fingerprint, render, write_text

JOBMANAGER = "flink-jobmanager"
TASKMANAGER = "flink-taskmanager"
SLOTS = 12
"""A namespace takes one for each of its five jobs."""
_PROBE_TIMEOUT_S = 3.0
_EXPORTS = (
    "java.rmi/sun.rmi.registry",
    "jdk.compiler/com.sun.tools.javac.api",
    "jdk.compiler/com.sun.tools.javac.file",
    "jdk.compiler/com.sun.tools.javac.parser",
    "jdk.compiler/com.sun.tools.javac.tree",
    "jdk.compiler/com.sun.tools.javac.util",
    "java.security.jgss/sun.security.krb5",
)
_OPENS = (
    "java.base/java.lang",
    "java.base/java.net",
    "java.base/java.io",
    "java.base/java.nio",
    "java.base/sun.nio.ch",
    "java.base/java.lang.reflect",
    "java.base/java.text",
    "java.base/java.time",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "java.base/java.util.concurrent.locks",
)
_JAVA_OPENS = (
    *(f"--add-exports={package}=ALL-UNNAMED" for package in _EXPORTS),
    *(f"--add-opens={package}=ALL-UNNAMED" for package in _OPENS),
)
# Heap and direct memory follow infra/flink/config.yaml: framework + task heap; framework off-heap + network.
_JOBMANAGER_JVM = ("-Xms192m", "-Xmx448m", "-XX:MaxMetaspaceSize=256m", "-XX:+UseSerialGC", *NEVER_OPTIMISING)
_TASKMANAGER_JVM = (
    "-Xms256m",
    "-Xmx768m",
    "-XX:MaxDirectMemorySize=224m",
    "-XX:MaxMetaspaceSize=256m",
    "-XX:+UseG1GC",
    *LATE_OPTIMISING,
)


@cache
def flink_home() -> Path:
    """Return the Flink distribution inside the PyFlink wheel."""
    found = importlib.util.find_spec("pyflink")
    if found is None or found.origin is None:
        raise ServiceError("PyFlink is not installed in this environment.", "Run `make setup`.")
    return Path(found.origin).parent


def conf_dir(settings: Settings) -> Path:
    """Return the folder with the cluster's and the clients' configuration (FLINK_CONF_DIR)."""
    return settings.state / "flink" / "conf"


def lib_dir(settings: Settings) -> Path:
    """Return the folder of links to the wheel's jars and ours (FLINK_LIB_DIR)."""
    return settings.state / "flink" / "lib"


def checkpoint_dir(settings: Settings) -> Path:
    """Return the folder under which every job keeps its checkpoints, one folder per job id."""
    return settings.state / "flink" / "checkpoints"


def client_environment(settings: Settings) -> dict[str, str]:
    """Return the variables under which a PyFlink client finds the cluster's jars and configuration.

    They must be set before the first `TableEnvironment` of a process is made.
    """
    return {
        "FLINK_HOME": str(flink_home()),
        "FLINK_CONF_DIR": str(conf_dir(settings)),
        "FLINK_LIB_DIR": str(lib_dir(settings)),
        "FLINK_LOG_DIR": str(settings.state / "flink" / "client-logs"),
        "JAVA_HOME": str(java_home_17()),
        # PyFlink only defines jobs here: without this it looks for Beam, which is left out.
        "_python_worker_execution_mode": "process",
    }


def lib_jars(settings: Settings) -> tuple[Path, ...]:
    """Return the jars of the cluster: the wheel's, the connectors and our own module."""
    return (*sorted((flink_home() / "lib").glob("*.jar")), *sorted((settings.dist / "jars" / "flink").glob("*.jar")))


def prepare_lib_dir(settings: Settings) -> Path:
    """Fill `lib_dir` with one link per jar and remove what is no longer there; raises ServiceError without jars."""
    jars = {jar.name: jar for jar in lib_jars(settings)}
    if not any(name.startswith("flink-sql-connector-kafka") for name in jars):
        raise ServiceError(
            f"Flink's Kafka connector is not in {settings.dist / 'jars' / 'flink'}.", "Run `make setup`."
        )
    folder = lib_dir(settings)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if old.name not in jars:
            old.unlink()
    for name, jar in jars.items():
        link = folder / name
        if link.is_symlink() and link.readlink() == jar:
            continue
        temporary = folder / f".{name}.{os.getpid()}"
        temporary.symlink_to(jar)
        os.replace(temporary, link)
    return folder


def _config(context: Context) -> str:
    settings = context.settings
    root = settings.state / "flink"
    values = {
        "state": settings.state,
        "java_home": java_home_17(),
        # Only clients read these: planning a job is over before optimising pays.
        "client_java_options": " ".join((*_JAVA_OPENS, *NEVER_OPTIMISING)),
        "client_logs": root / "client-logs",
        "work": root / "work",
        "checkpoints": checkpoint_dir(settings).as_uri(),
        "savepoints": (root / "savepoints").as_uri(),
        "jobmanager_rpc_port": context.port(JOBMANAGER, "rpc"),
        "blob_port": context.port(JOBMANAGER, "blob"),
        "rest_port": context.port(JOBMANAGER, "rest"),
        "slots": SLOTS,
        "taskmanager_rpc_port": context.port(TASKMANAGER, "rpc"),
        "taskmanager_data_port": context.port(TASKMANAGER, "data"),
    }
    return render(settings.home / "infra" / "flink" / "config.yaml", values)


def _service(context: Context, name: str, jvm: tuple[str, ...], main: tuple[str, ...]) -> Service:
    settings = context.settings
    conf, config = conf_dir(settings), _config(context)
    logging = (settings.home / "infra" / "flink" / "log4j2.properties").read_text(encoding="utf-8")
    rest = f"http://127.0.0.1:{context.port(JOBMANAGER, 'rest')}"

    def prepare() -> None:
        prepare_lib_dir(settings)
        root = settings.state / "flink"
        if name == TASKMANAGER:
            # What a killed TaskManager left: its state lives in checkpoints, not here.
            shutil.rmtree(root / "work" / "rocksdb", ignore_errors=True)
            shutil.rmtree(root / "work" / "tmp", ignore_errors=True)
        for part in ("checkpoints", "savepoints", "client-logs", "work/blob", "work/web", "work/tmp", "work/rocksdb"):
            (root / part).mkdir(parents=True, exist_ok=True)
        write_text(conf / "config.yaml", config)
        write_text(conf / "log4j2.properties", logging)
        # The client's Java gateway looks for its logging under this name.
        write_text(conf / "log4j-cli.properties", logging)

    def probe() -> str | None:
        return _probe(rest, settings.state, want_slots=name == TASKMANAGER)

    return Service(
        name=name,
        command=(
            str(java_home_17() / "bin" / "java"),
            *jvm,
            *_JAVA_OPENS,
            f"-Dlog4j2.configurationFile={conf / 'log4j2.properties'}",
            "-cp",
            f"{lib_dir(settings)}/*",
            *main,
            "--configDir",
            str(conf),
        ),
        cwd=service_folder(settings, name),
        env={"JAVA_HOME": str(java_home_17()), "FLINK_CONF_DIR": str(conf), "FLINK_LIB_DIR": str(lib_dir(settings))},
        ports=context.ports[name],
        needs=() if name == JOBMANAGER else (JOBMANAGER,),
        probe=probe,
        prepare=prepare,
        fingerprint=fingerprint(config, logging, files=lib_jars(settings)),
        stop_grace_s=15.0,
    )


def _jobmanager(context: Context) -> Service:
    main = ("org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint",)
    return _service(context, JOBMANAGER, _JOBMANAGER_JVM, main)


def _taskmanager(context: Context) -> Service:
    main = ("org.apache.flink.runtime.taskexecutor.TaskManagerRunner",)
    return _service(context, TASKMANAGER, _TASKMANAGER_JVM, main)


def _probe(rest: str, state: Path, *, want_slots: bool) -> str | None:
    try:
        config = httpx.get(f"{rest}/jobmanager/config", timeout=_PROBE_TIMEOUT_S).raise_for_status().json()
        overview = httpx.get(f"{rest}/overview", timeout=_PROBE_TIMEOUT_S).raise_for_status().json()
    except (httpx.HTTPError, ValueError) as error:
        return f"no answer from {rest} yet ({type(error).__name__})"
    owner = next((entry["value"] for entry in config if entry["key"] == "lake.state"), "another installation")
    if owner != str(state):
        return f"the server at {rest} belongs to {owner}"
    if want_slots and overview["slots-total"] < SLOTS:
        return f"{overview['slots-total']} of {SLOTS} slots"
    return None


FLINK = (
    ServiceSpec(
        name=JOBMANAGER, ports=("rest", "rpc", "blob"), needs=(), build=_jobmanager, group="flink", pin="flink"
    ),
    ServiceSpec(name=TASKMANAGER, ports=("rpc", "data"), needs=(JOBMANAGER,), build=_taskmanager, group="flink"),
)
