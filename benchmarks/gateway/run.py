"""Readings a second that the gateway takes over HTTP and Kafka acknowledges, per CPU-second of its process.

    LAKE_NAMESPACE=bench python benchmarks/gateway/run.py [--batch 500] [--readings 1000000] [--out result.json]

Needs Kafka (`lake up --only kafka`). It makes the topics of its namespace, starts a gateway there, and sends batches
over eight connections: river stages (3 fields) and lane readings (8 fields), each reading at an instant of its own.
Beside it, on the same bodies, a plain FastAPI service (peer.py), and the same readings as FIWARE entities and as
personal camera events, which no bulk way can take. CPU is that of the serving process with all its threads.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil

from pipelines.gateway.sources import Source, create_token
from pipelines.runtime.contracts import registry_of
from pipelines.runtime.ports import is_free
from pipelines.runtime.services import endpoints
from pipelines.runtime.settings import Settings
from pipelines.streaming.topics import ensure_topics

HERE = Path(__file__).parent
START = datetime(2025, 10, 27, tzinfo=UTC)
DATASETS = ("river_stage", "lane_minute", "violation_event")
CONNECTIONS = 8


def stage(n: int) -> dict[str, Any]:
    """A river stage."""
    at = START + timedelta(seconds=n)
    return {
        "station_id": ("71520", "71518")[n % 2],
        "observed_at": at.isoformat(),
        "stage_m": round(n % 5000 / 1000, 3),
    }


def lane(n: int) -> dict[str, Any]:
    """A lane reading."""
    at = START + timedelta(seconds=n)
    return {
        "detector_id": f"HUE-D0{n % 4 + 1}",
        "lane_no": n % 3 + 1,
        "observed_at": at.isoformat(),
        "vehicle_count": n % 60,
        "mean_speed_kmh": round(20 + n % 400 / 10, 1),
        "occupancy_pct": round(n % 1000 / 10, 1),
        "travel_time_s": n % 300,
        "queue_m": n % 90,
    }


def entity(n: int) -> dict[str, Any]:
    """The same lane reading as a FIWARE entity in its normalised form."""
    row = lane(n)
    values = {
        "laneId": row["lane_no"],
        "intensity": row["vehicle_count"],
        "occupancy": round(row["occupancy_pct"] / 100, 3),
        "averageVehicleSpeed": row["mean_speed_kmh"],
    }
    return {
        "id": f"urn:ngsi-ld:TrafficFlowObserved:{row['detector_id']}",
        "type": "TrafficFlowObserved",
        "dateObserved": {"type": "DateTime", "value": row["observed_at"]},
        **{name: {"type": "Number", "value": value} for name, value in values.items()},
    }


def event(n: int) -> dict[str, Any]:
    """A camera event with a number plate."""
    return {
        "event_id": f"V{n}",
        "observed_at": (START + timedelta(seconds=n)).isoformat(),
        "camera_id": "HUE-C19789-1",
        "violation_type": "red_light",
        "plate": f"75A-{n % 100000:05}",
        "confidence": 0.91,
        "review_status": "pending",
        "ward_code": "19789",
        "evidence_uri": f"evidence/V{n}.jpg",
    }


CASES: dict[str, tuple[str, Callable[[int], dict[str, Any]], float]] = {
    "river_stage": ("river_stage", stage, 1.0),
    "lane_minute": ("lane_minute", lane, 1.0),
    "lane_minute_fiware": ("lane_minute", entity, 0.1),
    "violation_event": ("violation_event", event, 0.1),
}
"""Name → dataset, maker of a reading, and the share of the readings that is sent."""


def write_bodies(path: Path, make: Callable[[int], dict[str, Any]], batch: int, count: int) -> None:
    """Write `count` bodies of `batch` readings."""
    with path.open("wb") as stream:
        for number in range(count):
            body = json.dumps([make(number * batch + n) for n in range(batch)], separators=(",", ":")).encode()
            stream.write(len(body).to_bytes(4, "big") + body)


@contextmanager
def server(command: list[str], port: int, env: dict[str, str], probe: str) -> Iterator[psutil.Process]:
    """A serving process, once it answers."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 60
            while True:
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise RuntimeError(log.read().decode())
                try:
                    if httpx.get(f"http://127.0.0.1:{port}{probe}").status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                time.sleep(0.1)
            yield psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait(timeout=30)


def measure(
    process: psutil.Process, port: int, dataset: str, token: str, bodies: Path, batch: int, readings: int
) -> dict[str, Any]:
    """Warm up, then send; CPU of the process by the readings that it took."""
    command = [sys.executable, str(HERE / "load.py"), f"127.0.0.1:{port}", f"/v1/ingest/{dataset}", token, str(bodies)]
    subprocess.run([*command, str(CONNECTIONS * 5), str(CONNECTIONS)], check=True, capture_output=True)
    before = process.cpu_times()
    done = subprocess.run(
        [*command, str(readings // batch), str(CONNECTIONS)], check=True, capture_output=True, text=True
    )
    after = process.cpu_times()
    told = json.loads(done.stdout)
    cpu = after.user + after.system - before.user - before.system
    accepted = told["seen"]["accepted"]
    return {
        "readings": accepted,
        "cpu_s": round(cpu, 2),
        "readings_per_cpu_s": round(accepted / cpu),
        "readings_per_s": round(accepted / told["wall_s"]),
        **{name: told[name] for name in ("p50_ms", "p95_ms", "p99_ms")},
        "answers": {name: count for name, count in told["seen"].items() if name != "accepted"},
    }


def main() -> None:
    """Measure every case, and print and write the result."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--batch", type=int, default=500)
    options.add_argument("--readings", type=int, default=1_000_000)
    options.add_argument("--out", type=Path)
    asked = options.parse_args()
    settings = Settings.load()
    registry = registry_of(settings)
    ensure_topics(settings, registry)
    wanted = Source("bench", "H57.XD", DATASETS, rate_per_s=1_000_000, is_delegated=True, origin="synthetic")
    token = create_token(settings, registry, wanted)
    env = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    port = next(p for p in range(30_500, 32_000) if is_free(p))
    result: dict[str, Any] = {
        "machine": {"cpu": platform.machine(), "cores": psutil.cpu_count(), "load_before": psutil.getloadavg()[0]},
        "python": platform.python_version(),
        "batch": asked.batch,
        "connections": CONNECTIONS,
        "gateway": {},
        "fastapi": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / name for name in CASES}
        for name, (_, make, share) in CASES.items():
            count = max(CONNECTIONS, int(share * asked.readings) // asked.batch // 4)
            write_bodies(files[name], make, asked.batch, count)
        gateway = [sys.executable, "-m", "pipelines.cli", "gateway", "serve", "--port", str(port)]
        with server(gateway, port, env, "/health") as process:
            while httpx.get(f"http://127.0.0.1:{port}/ready").json()["kafka"] != "connected":
                time.sleep(0.1)
            for name, (dataset, _, share) in CASES.items():
                readings = int(share * asked.readings)
                found = measure(process, port, dataset, token, files[name], asked.batch, readings)
                result["gateway"][name] = found
                print(name, json.dumps(found), flush=True)
            result["gateway"]["rss_mib"] = round(process.memory_info().rss / 2**20)
        peer = [sys.executable, str(HERE / "peer.py"), str(port), endpoints(settings).kafka, settings.namespace]
        with server(peer, port, env, "/openapi.json") as process:
            for name in ("river_stage", "lane_minute"):
                found = measure(process, port, name, "none", files[name], asked.batch, asked.readings // 4)
                result["fastapi"][name] = found
                print("fastapi", name, json.dumps(found), flush=True)
    for name, found in result["fastapi"].items():
        ratio = result["gateway"][name]["readings_per_cpu_s"] / found["readings_per_cpu_s"]
        result.setdefault("ratio", {})[name] = round(ratio, 2)
    print(json.dumps(result.get("ratio")))
    if asked.out:
        asked.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


main()
