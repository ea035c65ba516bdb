"""The Kafka server: one KRaft node from Maven jars, broker and controller in one process."""

import subprocess
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path

from pipelines.runtime.errors import ServiceError
from pipelines.runtime.java import LATE_OPTIMISING, java_home_17
from pipelines.runtime.ports import service_folder
from pipelines.runtime.service import Context, Service, ServiceSpec
from pipelines.runtime.settings import Settings
from pipelines.runtime.templates import fingerprint, render, write_text

NAME = "kafka"
# 0.3-0.4 GB resident with the city's topics; below 384 MB of heap the log cleaner's buffers do not fit.
_HEAP = ("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:MaxDirectMemorySize=128m")
_PROBE_TIMEOUT_S = 3.0


def _build(context: Context) -> Service:
    settings = context.settings
    folder = service_folder(settings, NAME)
    data, conf = settings.state / "kafka", folder / "conf"
    jars = settings.dist / "jars" / "kafka"
    broker, controller = context.port(NAME, "broker"), context.port(NAME, "controller")
    infra = settings.home / "infra" / "kafka"
    values = {"broker_port": broker, "controller_port": controller, "data": data / "log"}
    properties = render(infra / "server.properties", values)
    logging = (infra / "log4j2.properties").read_text(encoding="utf-8")
    java = str(java_home_17() / "bin" / "java")
    base = (
        java,
        *_HEAP,
        *LATE_OPTIMISING,
        f"-Dlog4j2.configurationFile={conf / 'log4j2.properties'}",
        "-cp",
        f"{jars}/*",
    )

    def prepare() -> None:
        if not any(jars.glob("kafka_2.13-*.jar")):
            raise ServiceError(f"Kafka's jars are not in {jars}.", "Run `make setup`.")
        write_text(conf / "server.properties", properties)
        write_text(conf / "log4j2.properties", logging)
        if not (data / "log" / "meta.properties").is_file():
            _format(base, data, conf / "server.properties")

    def probe() -> str | None:
        return _probe(f"127.0.0.1:{broker}", data)

    return Service(
        name=NAME,
        command=(*base, "kafka.Kafka", str(conf / "server.properties")),
        cwd=folder,
        env={"JAVA_HOME": str(java_home_17())},
        ports={"broker": broker, "controller": controller},
        probe=probe,
        prepare=prepare,
        fingerprint=fingerprint(properties, logging),
        stop_grace_s=30.0,
    )


def cluster_id(settings: Settings) -> str:
    """Return the id of this installation's Kafka cluster; raises ServiceError when it was never started."""
    try:
        return (settings.state / "kafka" / "cluster.id").read_text(encoding="ascii").strip()
    except FileNotFoundError as error:
        raise ServiceError("Kafka was never started here.", "Run `lake up --only kafka`.") from error


def _format(base: tuple[str, ...], data: Path, properties: Path) -> None:
    id_file = data / "cluster.id"
    if not id_file.is_file():
        # Sixteen random bytes in Kafka's spelling; a leading dash would be read as an option.
        text = "-"
        while text.startswith("-"):
            text = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        write_text(id_file, text + "\n")
    cluster = id_file.read_text(encoding="ascii").strip()
    command = [*base, "kafka.tools.StorageTool", "format", "--ignore-formatted", "-t", cluster, "-c", str(properties)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if result.returncode != 0:
        raise ServiceError(
            f"Kafka's storage in {data} cannot be formatted: {(result.stdout + result.stderr).strip()[-800:]}",
            f"If the data are of no use any more, remove {data} and run `lake up` again.",
        )


def _probe(address: str, data: Path) -> str | None:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    client = AdminClient({"bootstrap.servers": address, "socket.timeout.ms": 3000, "log_level": 0})
    try:
        metadata = client.list_topics(timeout=_PROBE_TIMEOUT_S)
    except KafkaException as error:
        return f"no metadata from {address} yet ({error.args[0].name()})"
    ours = (data / "cluster.id").read_text(encoding="ascii").strip()
    if metadata.cluster_id != ours:
        return f"the server at {address} belongs to cluster {metadata.cluster_id}, not to ours ({ours})"
    return None


KAFKA = ServiceSpec(name=NAME, ports=("broker", "controller"), needs=(), build=_build)
