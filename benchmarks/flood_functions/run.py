"""What a reading costs in the functions of sql/flood.sql, CPU per reading on one core, beside reading it alone.

    python benchmarks/flood_functions/run.py [--gauges 1000] [--readings 400] [--out result.json]

Each gauge sends so many readings ten minutes apart; one in fifty comes an hour late, one in fifty is corrected. The
views are those of the job, over files, on Flink's mini cluster with RocksDB; their rows go nowhere. `none` reads and
parses them: what a function costs is its figure less that of `none`. Starting the JVM is left out: every statement runs
twice, the second run counts.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil

from pipelines.contracts.registry import load_registry
from pipelines.streaming.job import FUNCTIONS, job_sql

HOME = Path(__file__).resolve().parents[2]
START = datetime(2025, 10, 25, tzinfo=UTC)
STREAMS = {
    "river_stage": ("station_id", "stage_m DECIMAL(9, 3)", ("flood_alert__transitions", "river_trend__rates")),
    "rain_gauge": ("station_id", "rain_mm DECIMAL(9, 3)", ("rain_accumulation__sums",)),
}


def _cpu_s() -> float:
    """CPU seconds of this process and the JVM below it."""
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return sum(p.cpu_times().user + p.cpu_times().system for p in processes)


def _write(path: Path, entity: str, measure: str, gauges: int, readings: int) -> int:
    """Readings in the order of arrival, one JSON object a line; returns how many."""
    late: dict[int, list[str]] = {}
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for i in range(readings):
            at = START + timedelta(minutes=10 * i)
            for gauge in range(gauges):
                number = i * gauges + gauge
                body = {
                    entity: f"G{gauge}",
                    measure: round((number * 37 % 500) / 100, 3),
                    "observed_at": f"{at:%Y-%m-%dT%H:%M:%SZ}",
                    "received_at": f"{at + timedelta(seconds=5):%Y-%m-%dT%H:%M:%SZ}",
                    "qc_flag": 1,
                    "origin": "synthetic",
                    "disposition": "on_time",
                    "raw_offset": number,
                }
                line = json.dumps(body)
                if number % 50 == 7:
                    late.setdefault(i + 6, []).append(line)
                    continue
                file.write(line + "\n")
                count += 1
                if number % 50 == 9:
                    file.write(json.dumps({**body, measure: body[measure] + 0.01, "disposition": "corrected"}) + "\n")
                    count += 1
            for line in late.pop(i, []):
                file.write(line + "\n")
                count += 1
    return count


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gauges", type=int, default=1000)
    parser.add_argument("--readings", type=int, default=400)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    os.environ.setdefault("_python_worker_execution_mode", "process")
    from pyflink.table import EnvironmentSettings, TableEnvironment

    flink = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
    (jar,) = (HOME / "pipelines" / "streaming" / "java" / "target").glob("hue-lakehouse-flink-*.jar")
    for name, value in (
        ("pipeline.jars", jar.as_uri()),
        ("parallelism.default", "1"),
        ("table.local-time-zone", "UTC"),
        ("state.backend.type", "rocksdb"),
        ("pipeline.object-reuse", "true"),
    ):
        flink.get_config().set(name, value)
    for name, java_class in FUNCTIONS:
        flink.execute_sql(f"CREATE TEMPORARY SYSTEM FUNCTION {name} AS '{java_class}'")
    flink.execute_sql("CREATE TEMPORARY TABLE nowhere (received_at TIMESTAMP_LTZ(3)) WITH ('connector' = 'blackhole')")
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        counts = {}
        for stream, (entity, column, _) in STREAMS.items():
            path = Path(folder) / f"{stream}.json"
            counts[stream] = _write(path, entity, column.split()[0], args.gauges, args.readings)
            flink.execute_sql(f"""
                CREATE TEMPORARY TABLE file_{stream} (
                    {entity} STRING, {column}, observed_at TIMESTAMP_LTZ(6), received_at TIMESTAMP_LTZ(3), qc_flag INT,
                    origin STRING, disposition STRING, raw_offset BIGINT
                ) WITH ('connector' = 'filesystem', 'path' = '{path.as_uri()}', 'format' = 'json',
                        'json.timestamp-format.standard' = 'ISO-8601')
            """)
            flink.execute_sql(f"CREATE VIEW {stream}__conformed AS SELECT *, 0 AS raw_partition FROM file_{stream}")
        registry = load_registry(HOME / "schemas")
        for statement in job_sql("flood", registry):
            if statement.startswith("CREATE VIEW") and "urban" not in statement and "reservoir" not in statement:
                flink.execute_sql(statement)
        for stream, (_, _, views) in STREAMS.items():
            for view in (f"{stream}__evaluated", *views):
                for _ in range(2):
                    before = _cpu_s()
                    flink.execute_sql(f"INSERT INTO nowhere SELECT received_at FROM {view}").wait()
                    spent = _cpu_s() - before
                name = "none" if view.endswith("__evaluated") else view
                result[f"{stream}: {name}"] = {
                    "cpu_us_per_reading": round(spent / counts[stream] * 1e6, 1),
                    "readings_per_cpu_s": round(counts[stream] / spent),
                }
    said = {
        "machine": {"cpus": os.cpu_count(), "arch": platform.machine(), "load_1min": round(os.getloadavg()[0], 1)},
        "gauges": args.gauges,
        "readings": counts,
        "cost": result,
    }
    text = json.dumps(said, indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
