"""CPU cost of the lake-json format, of Disposition and of QualityTests, side by side with what Flink brings.

Records of river stage are read from a file and thrown away on a mini cluster with one slot; the figure is records per
second of CPU time of the whole JVM (reading, decoding, state, garbage collection), the best of the measured runs after
one that warms up. Usage: python benchmarks/flink_format/bench.py [records]
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
RUNS = 3
HEAD = '"event_time": "observed_at", "cadence_ms": 30000'
SPIKE = '"spike": {"window_ms": 600000, "suspect": "9"}, "rate_of_change": {"window_ms": 600000, "suspect": "99999"}'
FLAT = '"flat_line": {"tolerance": "0", "suspect_ms": 3600000}'
WIDE = '"attenuated_signal": {"window_ms": 4320000, "suspect": "0.001"}'
QUALITY = {
    "gap": f'{{{HEAD}, "keep_ms": 90000, "gap": {{"suspect_ms": 90000}}}}',
    "gap, spike, rate over 20 readings": f'{{{HEAD}, "keep_ms": 690000, "gap": {{"suspect_ms": 90000}}, "fields":'
    f' {{"stage_m": {{{SPIKE}}}}}}}',
    "all over 144 readings": f'{{{HEAD}, "keep_ms": 4410000, "gap": {{"suspect_ms": 90000}}, "fields":'
    f' {{"stage_m": {{{SPIKE}, {FLAT}, {WIDE}}}}}}}',
}
"""What a contract with few tests asks for, and one with all of them over a day of ten-minute readings."""
COLUMNS = "station_id STRING, observed_at TIMESTAMP_LTZ(6), stage_m DECIMAL(9, 3), origin STRING, revision INT"
FORMATS = {
    "json, ignore-parse-errors": "'format' = 'json', 'json.ignore-parse-errors' = 'true',"
    " 'json.timestamp-format.standard' = 'ISO-8601'",
    "lake-json": "'format' = 'lake-json'",
}


def write_records(path: Path, count: int) -> None:
    """Writes distinct readings of 20 stations; one in a hundred repeats its predecessor."""
    start = datetime(2025, 10, 26, tzinfo=UTC)
    with path.open("w", encoding="utf-8") as out:
        line = ""
        for i in range(count):
            if i % 100 or not i:
                record = {
                    "station_id": str(71500 + i % 20),
                    "observed_at": (start + timedelta(seconds=30 * (i // 20))).strftime("%Y-%m-%dT%H:%M:%SZ"),
                    "stage_m": round(1 + (i * 7919 % 5000) / 1000, 3),
                    "origin": "replay",
                    "revision": 0,
                }
                line = json.dumps(record, separators=(",", ":")) + "\n"
            out.write(line)


def main(records: int) -> None:
    """Measures and prints one line per variant."""
    os.environ.setdefault("_python_worker_execution_mode", "process")
    from pyflink.table import EnvironmentSettings, TableEnvironment  # after the variable is set

    env = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
    config = env.get_config()
    jars = sorted((ROOT / "pipelines/streaming/java/target").glob("hue-lakehouse-flink-*.jar"))
    config.set("pipeline.jars", jars[-1].as_uri())
    config.set("parallelism.default", "1")
    config.set("pipeline.object-reuse", "true")
    for function in ("Disposition", "QualityTests"):
        env.execute_sql(f"CREATE TEMPORARY SYSTEM FUNCTION {function} AS 'vn.hue.lake.flink.{function}'")
    jvm = next(child for child in psutil.Process().children(recursive=True) if child.name() == "java")

    def measure(name: str, insert: str) -> None:
        rates = []
        for _ in range(RUNS + 1):
            before = sum(jvm.cpu_times()[:2])
            env.execute_sql(insert).wait()
            rates.append(records / (sum(jvm.cpu_times()[:2]) - before))
        print(f"{name:<56}{max(rates[1:]) / 1000:8.0f} thousand records per CPU-second", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "records.jsonl"
        write_records(path, records)
        print(f"{records} records of {path.stat().st_size // records} bytes")
        for i, (name, options) in enumerate(FORMATS.items()):
            errors = "" if i == 0 else ", `_raw` BYTES, `_err` STRING"
            env.execute_sql(f"""
                CREATE TEMPORARY TABLE source_{i} ({COLUMNS}{errors})
                WITH ('connector' = 'filesystem', 'path' = '{path.as_uri()}', {options})
            """)
            env.execute_sql(f"CREATE TEMPORARY TABLE sink_{i} ({COLUMNS}{errors}) WITH ('connector' = 'blackhole')")
            measure(name, f"INSERT INTO sink_{i} SELECT * FROM source_{i}")

        env.execute_sql("""
            CREATE TEMPORARY VIEW parsed AS
            SELECT
                station_id, observed_at, stage_m, origin, COALESCE(revision, 0) AS `_revision`, FALSE AS `_late`,
                1 AS `_qc_flag`, CAST(NULL AS STRING) AS `_qc_detail`,
                COALESCE(CAST(observed_at AS TIMESTAMP_LTZ(3)), CURRENT_TIMESTAMP) AS `_received_at`
            FROM source_1
        """)
        env.execute_sql("""
            CREATE TEMPORARY TABLE sink (s STRING, o TIMESTAMP_LTZ(6), m DECIMAL(9, 3), d STRING)
            WITH ('connector' = 'blackhole')
        """)
        first_row = """
            SELECT station_id, observed_at, stage_m, 'first' FROM (
                SELECT *, ROW_NUMBER() OVER (PARTITION BY station_id, observed_at ORDER BY PROCTIME()) AS n FROM parsed
            ) WHERE n = 1
        """
        disposition = """
            SELECT station_id, observed_at, stage_m, disposition FROM Disposition(
                input => TABLE parsed PARTITION BY (station_id, observed_at), horizon_ms => CAST(86400000 AS BIGINT))
        """
        config.set("table.exec.state.ttl", "3 d")  # as Disposition's own
        for backend in ("hashmap", "rocksdb"):
            config.set("state.backend.type", backend)
            measure(f"lake-json, first row by SQL, {backend}", f"INSERT INTO sink {first_row}")
            measure(f"lake-json, Disposition, {backend}", f"INSERT INTO sink {disposition}")
            for name, tests in QUALITY.items():
                measure(
                    f"lake-json, {name}, {backend}",
                    f"""INSERT INTO sink
                    SELECT station_id, observed_at, stage_m, _tested_detail FROM QualityTests(
                        input => TABLE parsed PARTITION BY station_id, tests => CAST('{tests}' AS STRING))""",
                )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
