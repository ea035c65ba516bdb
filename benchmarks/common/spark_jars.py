"""Spark's Kafka jars, which only the benchmarks' peers need."""

from __future__ import annotations

import subprocess
from pathlib import Path

from pipelines.runtime.install import cache_dir


def spark_kafka_jars() -> tuple[Path, ...]:
    """Download the jars once, by Maven, below LAKE_CACHE (~/.cache/hue-lakehouse), and return their paths."""
    folder = cache_dir() / "benchmarks" / "spark"
    if len(list(folder.glob("*.jar"))) < 4:
        pom = str(Path(__file__).with_name("spark-pom.xml"))
        subprocess.run(["mvn", "-B", "-q", "-f", pom, "package", f"-Djars={folder}"], check=True)
    return tuple(sorted(folder.glob("*.jar")))
