"""Event → alert and event → visible in Trino `live`, under a load of lane readings; idle CPU of all jobs; memory.

    LAKE_NAMESPACE=bench python benchmarks/latency/run.py [--rate 1000] [--sensors 48] [--peer spark] [--out FILE]

Needs the services (`lake up`). It starts the jobs and landing of its namespace, sends `--rate` synthetic lane
readings a second through Kafka, and every 100 ms a river stage that crosses an alarm level. Latencies are by the wall
clock of this process: from handing the record to the producer until the alert is consumed, and until a query of the
live view that ended later has seen it. The stage readings carry a simulated clock (40 minutes a reading), so that
each one is a transition; the lane readings carry the real one. The namespace holds the datasets of the demo, or with
LAKE_PROFILE= (empty) the whole catalogue. Each run needs a new namespace (`lake forget` ends the old one): to a
second run in the same one its stages would be old readings.

`--peer spark` starts Spark Structured Streaming in place of the jobs and landing, into the same silver tables of two of
the streams; it raises no alerts.

With `--sensors` above 48, the lanes of the four detectors that the code list knows, the namespace runs in a home of its
own, whose code list has more detectors; as many sensors as the rate is once a second for each.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from confluent_kafka import Consumer, Producer, TopicPartition

sys.path.append(str(Path(__file__).parents[1] / "common"))
from spark_jars import spark_kafka_jars

from pipelines.commands.platform import start_namespace, stop_namespace
from pipelines.contracts.registry import Registry
from pipelines.replay.traffic import load_events
from pipelines.runtime import flink, kafka
from pipelines.runtime.contracts import registry_of
from pipelines.runtime.java import java_home_17
from pipelines.runtime.services import endpoints
from pipelines.runtime.settings import Settings
from pipelines.runtime.status import service_statuses
from pipelines.serving.bootstrap import apply
from pipelines.serving.trino import Client
from pipelines.streaming.job import jobs_of

ALERT_EVERY_S = 0.1
STATION = "71520"
WARM_UP_S = 20
LANES = 12
"""Of a detector."""
KNOWN_DETECTORS = 4
PEER_DATASETS = ("lane_minute", "river_stage")


def _percentiles(values_ms: list[float]) -> dict[str, float]:
    if not values_ms:
        return {"count": 0}
    found = np.percentile(np.array(values_ms), (50, 95, 99))
    names = ("p50_ms", "p95_ms", "p99_ms")
    return {"count": len(values_ms), **{n: round(float(v), 1) for n, v in zip(names, found, strict=True)}}


def _cpu_s(names: tuple[str, ...], settings: Settings) -> float:
    """CPU seconds of the processes of these services so far."""
    total = 0.0
    for service in service_statuses(settings):
        if service.name in names and service.pid:
            times = psutil.Process(service.pid).cpu_times()
            total += times.user + times.system
    return total


@contextmanager
def platform_of(settings: Settings, registry: Registry) -> Iterator[Callable[[], float]]:
    """The jobs and landing of the namespace; yields what tells the CPU seconds of Flink's managers so far."""
    start_namespace(settings, desk=False)
    for domain in jobs_of(registry):
        flink.wait_running(settings, settings.group(domain), 240)
    yield lambda: _cpu_s(("flink-jobmanager", "flink-taskmanager"), settings)
    stop_namespace(settings)


@contextmanager
def spark_of(settings: Settings, registry: Registry) -> Iterator[Callable[[], float]]:
    """The peer in their place; yields what tells its CPU seconds so far."""
    with tempfile.TemporaryDirectory() as checkpoints:
        jars = [*spark_kafka_jars(), *sorted((settings.dist / "jars" / "spark").glob("*.jar"))]
        tables = []
        for dataset in map(registry.dataset, PEER_DATASETS):
            columns = ";".join(f"{field.name} {field.type.on('spark')}" for field in dataset.fields)
            tables.append(f"{dataset.id}={columns}:{dataset.partition or ''}")
        silver = settings.table_path("silver", PEER_DATASETS[0]).parent
        command = [sys.executable, str(Path(__file__).parent / "peers" / "spark_landing.py")]
        command += [endpoints(settings).kafka, settings.namespace, str(silver), checkpoints]
        command += [",".join(map(str, jars)), *tables]
        env = {**os.environ, "JAVA_HOME": str(java_home_17())}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env, start_new_session=True) as peer:
            assert peer.stdout is not None
            try:
                if not any("READY" in line for line in peer.stdout):
                    raise RuntimeError(f"the peer ended with {peer.wait()}")
                yield lambda: _tree_cpu_s(peer.pid)
            finally:
                os.killpg(peer.pid, signal.SIGKILL)


def _tree_cpu_s(pid: int) -> float:
    root = psutil.Process(pid)
    times = [process.cpu_times() for process in (root, *root.children(recursive=True))]
    return sum(t.user + t.system for t in times)


class Alerts(threading.Thread):
    """Sends stage readings that raise and clear in turn, and consumes the alerts."""

    def __init__(self, settings: Settings, stop: threading.Event) -> None:
        super().__init__()
        self.settings, self.stopping = settings, stop
        self.latencies_ms: list[float] = []
        self.is_warm = threading.Event()
        self._sent: dict[tuple[int, int], float] = {}

    def run(self) -> None:
        """Send and consume until told to stop, then wait for the last alerts."""
        where = endpoints(self.settings)
        topic = self.settings.topic("alert.flood")
        consumer = Consumer({"bootstrap.servers": where.kafka, "group.id": "bench", "auto.offset.reset": "latest"})
        end = consumer.get_watermark_offsets(TopicPartition(topic, 0))[1]
        consumer.assign([TopicPartition(topic, 0, end)])
        producer = Producer({**kafka.producer_config(where.kafka), "linger.ms": 0})
        at = datetime(2025, 11, 20, tzinfo=UTC)
        number, due = 0, time.monotonic()
        while not self.stopping.is_set() or time.monotonic() < due + 3:
            if time.monotonic() >= due and not self.stopping.is_set():
                number, due = number + 1, due + ALERT_EVERY_S
                at += timedelta(minutes=40)
                # One reading above the third level, two below it: raise, then clear after 40 min. So fast a river may
                # move: quality control lets it pass.
                stage = "3.350" if number % 3 else "3.600"
                body = f'"station_id":"{STATION}","observed_at":"{at:%Y-%m-%dT%H:%M:%SZ}","stage_m":{stage}'
                value = f'{{{body},"origin":"synthetic"}}'
                began = time.monotonic()
                producer.produce(
                    self.settings.topic("raw.river_stage"),
                    key=STATION.encode(),
                    value=value.encode(),
                    timestamp=int(at.timestamp() * 1000),
                    on_delivery=lambda error, m, began=began: self._sent.__setitem__(
                        (m.partition(), m.offset()), began
                    ),
                )
            producer.poll(0)
            for message in consumer.consume(100, 0.002):
                if message.error():
                    continue
                alert = json.loads(message.value())
                key = (alert["trigger_partition"], alert["trigger_offset"])
                producer.poll(0)
                if self.is_warm.is_set() and alert["transition"] in {"raise", "clear"} and key in self._sent:
                    self.latencies_ms.append((time.monotonic() - self._sent[key]) * 1000)
        consumer.close()


class Live(threading.Thread):
    """Polls the newest arrival clock that a query of the live view sees."""

    def __init__(self, settings: Settings, stop: threading.Event) -> None:
        super().__init__()
        self.settings, self.stopping = settings, stop
        self.seen: list[tuple[float, float]] = []

    def run(self) -> None:
        """Query without a pause until told to stop."""
        with Client(self.settings, user="bench") as client:
            while not self.stopping.is_set():
                newest = client.query("SELECT max(received_at) FROM live.lane_minute")[0][0]
                if newest is not None:
                    self.seen.append((time.time(), newest.timestamp()))

    def latencies_ms(self, events_s: np.ndarray) -> list[float]:
        """Per event: from its arrival clock until the end of the first query that saw it."""
        found: list[float] = []
        before = -np.inf
        for ended, newest in self.seen:
            fresh = events_s[(events_s > before) & (events_s <= newest)]
            found += ((ended - fresh) * 1000).tolist()
            before = max(before, newest)
        return found


def _send(settings: Settings, rate: int, seconds: int, sensors: int) -> np.ndarray:
    """Send readings of so many lanes paced by their own clock; returns their arrival clocks in seconds."""
    producer = kafka.producer(settings)
    topic = settings.topic("raw.lane_minute")
    arrivals: list[int] = []
    began = datetime.now(UTC)
    detectors = _detectors(sensors)
    for load in load_events(rate * seconds, 7, rate, start=began, batch=max(rate // 20, 1), detectors=detectors):
        ahead = load.timestamps_ms[-1] / 1000 - time.time()
        if ahead > 0:
            time.sleep(ahead)
        for key, value, stamp in zip(load.keys, load.values, load.timestamps_ms, strict=True):
            producer.produce(topic, key=key, value=value, timestamp=stamp)
        producer.poll(0)
        arrivals += load.timestamps_ms
    producer.flush(30)
    return np.array(arrivals) / 1000


def _detectors(sensors: int) -> tuple[str, ...]:
    return tuple(f"HUE-D{number:02d}" for number in range(1, sensors // LANES + 1))


def _home_with(settings: Settings, sensors: int) -> Settings:
    """The project beside whose own detectors the code list knows as many as that; else the settings as they are."""
    unknown = _detectors(sensors)[KNOWN_DETECTORS:]
    if not unknown:
        return settings
    home = settings.state / f"home-{sensors}"
    if not home.exists():
        home.mkdir(parents=True)
        for entry in settings.home.iterdir():
            if entry.name != "schemas" and not entry.name.startswith("."):
                (home / entry.name).symlink_to(entry)
        shutil.copytree(settings.home / "schemas", home / "schemas")
        with (home / "schemas" / "codelists" / "detectors.yaml").open("a", encoding="utf-8") as file:
            for name in unknown:
                file.write(
                    f'  - {{detector_id: {name}, name_vi: {name}, ward_code: "19815", lon_deg: 107.6, lat_deg: 16.4}}\n'
                )
    return replace(settings, home=home)


def _measure(settings: Settings, args: argparse.Namespace, cpu_s: Callable[[], float]) -> dict[str, Any]:
    """Send the load to whatever runs in the namespace, and say how late it was and what it cost."""
    stop = threading.Event()
    alerts, live = None if args.peer else Alerts(settings, stop), Live(settings, stop)
    if alerts:
        alerts.start()
    _send(settings, args.rate, WARM_UP_S, args.sensors)  # the JIT and the first commits are no part of the figures
    if alerts:
        alerts.is_warm.set()
    live.start()
    before = cpu_s()
    arrivals = _send(settings, args.rate, args.seconds, args.sensors)
    busy = (cpu_s() - before) / args.seconds
    time.sleep(10)
    stop.set()
    live.join()
    found: dict[str, Any] = {}
    if alerts:
        alerts.join()
        found["event_to_alert"] = _percentiles(alerts.latencies_ms)

    time.sleep(20)
    before = cpu_s()
    time.sleep(args.idle_seconds)
    idle = (cpu_s() - before) / args.idle_seconds
    memory = sum(service.rss_bytes for service in service_statuses(settings))
    return {
        **found,
        "event_to_live": _percentiles(live.latencies_ms(arrivals)),
        "cores_busy": round(busy, 3),
        "cores_idle": round(idle, 3),
        "memory_rss_gb": round(memory / 2**30, 2),
    }


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument(
        "--sensors", type=int, default=48, help="lanes that share the rate; as many: once a second each"
    )
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--idle-seconds", type=int, default=60)
    parser.add_argument("--peer", choices=("spark",), help="what runs in place of the platform's jobs and landing")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    settings = Settings.load({**os.environ, "LAKE_NAMESPACE": os.environ.get("LAKE_NAMESPACE", "bench")})
    settings.set_profile(os.environ.get("LAKE_PROFILE", "demo") or None)
    settings = _home_with(settings, args.sensors)
    registry = registry_of(settings)
    for _ in apply(settings, registry):
        pass
    with (spark_of if args.peer else platform_of)(settings, registry) as cpu_s:
        figures = _measure(settings, args, cpu_s)
    result: dict[str, Any] = {
        "machine": {"cpus": os.cpu_count(), "arch": platform.machine(), "load_1min": os.getloadavg()[0]},
        "engine": args.peer or "ours",
        "streams": len(PEER_DATASETS) if args.peer else len(registry.streams()),
        "rate_per_s": args.rate,
        "sensors": args.sensors,
        **figures,
    }
    text = json.dumps(result, indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
