"""The Spark Connect server: the one long-lived Spark driver, with Delta Lake and a Derby catalogue."""

import importlib.util
import os
import shutil
import uuid
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pipelines.runtime.errors import ServiceError
from pipelines.runtime.java import LATE_OPTIMISING, java_home_17
from pipelines.runtime.ports import service_folder
from pipelines.runtime.service import Context, Service, ServiceSpec
from pipelines.runtime.templates import fingerprint, render, write_text

NAME = "spark"
MAIN = "org.apache.spark.sql.connect.service.SparkConnectServer"
_PROBE_TIMEOUT_S = 10.0


@cache
def spark_home() -> Path:
    """Return the Spark distribution inside the PySpark wheel."""
    found = importlib.util.find_spec("pyspark")
    if found is None or found.origin is None:
        raise ServiceError("PySpark is not installed in this environment.", "Run `make setup`.")
    return Path(found.origin).parent


def _build(context: Context) -> Service:
    settings = context.settings
    folder, root = service_folder(settings, NAME), settings.state / "spark"
    conf, jars = folder / "conf", settings.dist / "jars" / "spark"
    port = context.port(NAME, "grpc")
    infra = settings.home / "infra" / "spark"
    values = {"state": settings.state, "jars": jars, "folder": folder, "root": root, "grpc_port": port}
    values["jit"] = " ".join(LATE_OPTIMISING)
    defaults = render(infra / "spark-defaults.conf", values)
    logging = (infra / "log4j2.properties").read_text(encoding="utf-8")

    def prepare() -> None:
        if not any(jars.glob("delta-spark_*.jar")):
            raise ServiceError(f"Delta Lake's jars for Spark are not in {jars}.", "Run `make setup`.")
        root.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(root / "local", ignore_errors=True)
        (root / "local").mkdir()
        write_text(conf / "spark-defaults.conf", defaults)
        write_text(conf / "log4j2.properties", logging)

    def probe() -> str | None:
        return _probe(f"127.0.0.1:{port}", str(settings.state))

    return Service(
        name=NAME,
        # The scripts replace themselves by java (exec), so the pid stays ours.
        command=(str(spark_home() / "bin" / "spark-submit"), "--class", MAIN, "spark-internal"),
        cwd=folder,
        env={
            "JAVA_HOME": str(java_home_17()),
            "SPARK_HOME": str(spark_home()),
            "SPARK_CONF_DIR": str(conf),
            "SPARK_LOCAL_IP": "127.0.0.1",
        },
        ports={"grpc": port},
        probe=probe,
        prepare=prepare,
        fingerprint=fingerprint(defaults, logging, files=tuple(jars.glob("*.jar"))),
        start_timeout_s=180.0,
        stop_grace_s=30.0,
    )


def _probe(address: str, state: str) -> str | None:
    # gRPC's own reports of a server that is not up yet would land between our lines.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    import grpc
    from pyspark.sql.connect.proto import base_pb2, base_pb2_grpc

    operation = base_pb2.ConfigRequest.Operation(get=base_pb2.ConfigRequest.Get(keys=["spark.lake.state"]))
    # A session of its own each time: the server closes one that was idle for an hour, and never opens it again.
    session: Mapping[str, Any] = {
        "session_id": str(uuid.uuid4()),
        "user_context": base_pb2.UserContext(user_id="lake-probe"),
    }
    request = base_pb2.ConfigRequest(**session, operation=operation)
    try:
        with grpc.insecure_channel(address) as channel:
            server = base_pb2_grpc.SparkConnectServiceStub(channel)
            answer = server.Config(request, timeout=_PROBE_TIMEOUT_S)
            server.ReleaseSession(base_pb2.ReleaseSessionRequest(**session), timeout=_PROBE_TIMEOUT_S)
    except grpc.RpcError as error:
        return f"no Spark session at {address} yet ({error.code().name})"
    owner = answer.pairs[0].value if answer.pairs else "another installation"
    return None if owner == state else f"the server at {address} belongs to {owner}"


SPARK = ServiceSpec(name=NAME, ports=("grpc",), needs=(), build=_build)
