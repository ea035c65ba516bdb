"""Kafka Connect with Debezium's connector for PostgreSQL: one worker, started only when it is asked for."""

import httpx

from pipelines.runtime.errors import ServiceError
from pipelines.runtime.install import connect_jars
from pipelines.runtime.java import LATE_OPTIMISING, java_home_17
from pipelines.runtime.ports import service_folder
from pipelines.runtime.servers import kafka
from pipelines.runtime.service import Context, Service, ServiceSpec
from pipelines.runtime.settings import Settings
from pipelines.runtime.templates import fingerprint, render, write_text

NAME = "connect"
# 0.2 GB resident with one connector; its queue of 8192 changes is what may grow.
_HEAP = ("-Xms64m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:MaxDirectMemorySize=64m")
_PROBE_TIMEOUT_S = 3.0


def _build(context: Context) -> Service:
    settings = context.settings
    folder = service_folder(settings, NAME)
    conf, jars, port = folder / "conf", connect_jars(settings), context.port(NAME, "http")
    values = {
        "broker": f"127.0.0.1:{context.port(kafka.NAME, 'broker')}",
        "port": port,
        "secrets": settings.capture_secrets,
    }
    properties = render(settings.home / "infra" / "connect" / "worker.properties", values)
    logging = (settings.home / "infra" / "kafka" / "log4j2.properties").read_text(encoding="utf-8")

    def prepare() -> None:
        if not any(jars.glob("connect-runtime-*.jar")):
            raise ServiceError(f"The jars of Kafka Connect are not in {jars}.", "Run `lake capture install`.")
        settings.capture_secrets.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_text(conf / "worker.properties", properties)
        write_text(conf / "log4j2.properties", logging)

    def probe() -> str | None:
        return _probe(settings, f"http://127.0.0.1:{port}")

    return Service(
        name=NAME,
        command=(
            str(java_home_17() / "bin" / "java"),
            *_HEAP,
            *LATE_OPTIMISING,
            f"-Dlog4j2.configurationFile={conf / 'log4j2.properties'}",
            "-cp",
            f"{jars}/*",
            "org.apache.kafka.connect.cli.ConnectDistributed",
            str(conf / "worker.properties"),
        ),
        cwd=folder,
        env={"JAVA_HOME": str(java_home_17())},
        ports={"http": port},
        needs=(kafka.NAME,),
        probe=probe,
        prepare=prepare,
        fingerprint=fingerprint(properties, logging),
        start_timeout_s=120.0,
        stop_grace_s=30.0,
    )


def _probe(settings: Settings, url: str) -> str | None:
    try:
        health = httpx.get(f"{url}/health", timeout=_PROBE_TIMEOUT_S)
        cluster = httpx.get(url, timeout=_PROBE_TIMEOUT_S).raise_for_status().json().get("kafka_cluster_id")
    except (httpx.HTTPError, ValueError) as error:
        return f"no answer from {url} yet ({type(error).__name__})"
    if cluster != kafka.cluster_id(settings):
        return f"the worker at {url} belongs to the Kafka cluster {cluster}, not to ours"
    return None if health.is_success else "starting"


CONNECT = ServiceSpec(name=NAME, ports=("http",), needs=(kafka.NAME,), build=_build, optional=True)
