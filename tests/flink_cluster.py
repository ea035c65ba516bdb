"""A mini cluster for tests of single functions: SQL in, rows out, without Kafka."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipelines.streaming.job import FUNCTIONS

if TYPE_CHECKING:
    from pyflink.table import TableEnvironment

MODULE = Path(__file__).resolve().parents[1] / "pipelines" / "streaming" / "java"
BACKENDS = ("hashmap", "rocksdb")


def jar() -> Path:
    """The module's jar; built here if there is none or a source is newer."""
    sources = [MODULE / "pom.xml", *(path for path in (MODULE / "src" / "main").rglob("*") if path.is_file())]
    jars = sorted((MODULE / "target").glob("hue-lakehouse-flink-*.jar"))
    if not jars or jars[-1].stat().st_mtime < max(path.stat().st_mtime for path in sources):
        maven = shutil.which("mvn")
        assert maven is not None, "Maven is needed to build the Flink functions; install it or run `lake doctor`."
        subprocess.run([maven, "-q", "-B", "package", "-DskipTests"], cwd=MODULE, check=True)
        jars = sorted((MODULE / "target").glob("hue-lakehouse-flink-*.jar"))
    return jars[-1]


def environment() -> TableEnvironment:
    """A streaming table environment with one slot, the functions registered, times shown in UTC."""
    os.environ.setdefault("_python_worker_execution_mode", "process")
    from pyflink.table import EnvironmentSettings, TableEnvironment  # after the variable is set

    env = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
    config = env.get_config()
    config.set("pipeline.jars", jar().as_uri())
    config.set("parallelism.default", "1")
    config.set("table.local-time-zone", "UTC")
    for name, java in FUNCTIONS:
        env.execute_sql(f"CREATE TEMPORARY SYSTEM FUNCTION {name} AS '{java}'")
    return env


def collect(flink: TableEnvironment, sql: str) -> list[tuple[Any, ...]]:
    """The rows of a bounded query, in the order in which they were emitted."""
    with flink.execute_sql(sql).collect() as rows:
        return [tuple(row) for row in rows]


def write(tmp_path: Path, lines: Sequence[bytes]) -> str:
    """Write a file of these lines and return its URI."""
    path = tmp_path / f"{uuid.uuid4().hex}.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path.as_uri()


def plan_error(flink: TableEnvironment, sql: str) -> str:
    """The text with which the planner refuses a query."""
    from py4j.protocol import Py4JJavaError

    with pytest.raises(Py4JJavaError) as caught:
        flink.explain_sql(sql)
    return str(caught.value)
