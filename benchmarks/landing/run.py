"""Rows per CPU-second of landing on topics that are filled beforehand.

    python benchmarks/landing/run.py --kafka 127.0.0.1:9092 [--rows 1000000] [--corrections 0.01] [--out result.json]

Fills `clean.lane_minute` and `raw.lane_minute` in namespaces of its own, lands silver alone (the clean topic only) and
bronze with silver, with the landing process's own loop, and prints one JSON object: machine, rows, wall and CPU seconds
(of all threads of the process, the Kafka client's included), peak memory. A row is a raw event, counted once.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from pipelines.contracts.registry import Registry, load_registry
from pipelines.contracts.targets import kafka
from pipelines.landing.drain import drain
from pipelines.landing.ledger import ledger
from pipelines.landing.service import Landing
from pipelines.runtime.settings import Settings

HOME = Path(__file__).resolve().parents[2]
LANES = 4
START = datetime(2025, 10, 1, tzinfo=UTC)


def records(
    rows: int, corrections: float, detectors: tuple[str, ...], partitions: int
) -> Iterator[tuple[int, str, str, str]]:
    """Yield (partition, key, raw JSON, clean JSON) of lanes that report every minute; a share again as corrections."""
    offsets = [0] * partitions
    every = int(1 / corrections) if corrections else 0
    lanes = [(d, lane) for d in detectors for lane in range(1, LANES + 1)]
    for number in range(rows):
        is_correction = bool(every) and number % every == every - 1 and number > len(lanes) * 10
        minute, which = divmod(number - len(lanes) * 5 if is_correction else number, len(lanes))
        detector, lane = lanes[which]
        partition = which % partitions
        at = (START + timedelta(minutes=minute)).strftime("%Y-%m-%dT%H:%M:%SZ")
        measures = (
            f'"detector_id":"{detector}","lane_no":{lane},"observed_at":"{at}","vehicle_count":{number % 40},'
            f'"mean_speed_kmh":{30 + number % 20}.{number % 1000:03d},"occupancy_pct":{number % 100}.5,'
            f'"travel_time_s":null,"queue_m":null,"origin":"synthetic","revision":0'
        )
        disposition = "corrected" if is_correction else "on_time"
        clean = (
            f'{{{measures},"qc_flag":1,"qc_detail":null,"received_at":"{at}","raw_partition":{partition},'
            f'"raw_offset":{offsets[partition]},"disposition":"{disposition}"}}'
        )
        offsets[partition] += 1
        yield partition, f"{detector}|{lane}", f"{{{measures}}}", clean


def fill(settings: Settings, registry: Registry, bootstrap: str, args: argparse.Namespace, *, raw: bool) -> float:
    """Create the topics and fill them; returns the mean size of a clean record in bytes."""
    topics = {
        t.name: t
        for t in kafka.topics(registry.dataset("lane_minute"), simulated_clock=True)
        if raw or "clean" in t.name
    }
    admin = AdminClient({"bootstrap.servers": bootstrap})
    made = admin.create_topics(
        [NewTopic(settings.topic(t.name), t.partitions, 1, config=dict(t.config)) for t in topics.values()]
    )
    for future in made.values():
        future.result(30)
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 50, "queue.buffering.max.messages": 1_000_000})
    headers: Any = [("source", b"bench")]
    size = 0
    detectors = registry.code_list("detectors").codes
    partitions = min(topic.partitions for topic in topics.values())
    filled = records(args.rows, args.corrections, detectors, partitions)
    for number, (partition, key, raw_json, clean_json) in enumerate(filled):
        size += len(clean_json)
        if raw:
            producer.produce(settings.topic("raw.lane_minute"), raw_json, key=key, partition=partition, headers=headers)
        producer.produce(settings.topic("clean.lane_minute"), clean_json, key=key, partition=partition)
        if number % 20_000 == 0:
            while len(producer) > 400_000:
                producer.poll(0.1)
            producer.poll(0)
    producer.flush()
    return float(size / max(args.rows, 1))


def land(settings: Settings, registry: Registry, args: argparse.Namespace) -> dict[str, float]:
    """Land what the namespace's topics hold into empty tables and measure."""
    landing = Landing(settings, registry, args.kafka)
    thread = threading.Thread(target=landing.run)
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    thread.start()
    while not (settings.state / "landing" / f"{settings.namespace}.json").exists():
        time.sleep(0.05)
    drain(settings, registry, args.kafka, timeout_s=900)
    wall_s = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    landing.stop()
    thread.join()
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "wall_s": round(wall_s, 2),
        "cpu_s": round(cpu_s, 2),
        "rows_per_cpu_s": round(args.rows / cpu_s),
        "rows_per_s": round(args.rows / wall_s),
    }


def main() -> int:
    """Run the benchmark and print its result; returns 1 when the rows do not add up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kafka", required=True, help="host:port of a running broker")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--corrections", type=float, default=0.0, help="share of rows that correct an older one")
    parser.add_argument("--only", choices=("silver", "both"), help="measure one of the two")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    registry = load_registry(HOME / "schemas").only("demo")
    result: dict[str, Any] = {
        "machine": {
            "cpu": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "load_before": os.getloadavg()[0],
        },
        "versions": {name: version(name) for name in ("deltalake", "pyarrow", "confluent-kafka")},
        "python": sys.version.split()[0],
        "rows": args.rows,
        "corrections": args.corrections,
    }
    balanced = True
    with tempfile.TemporaryDirectory(prefix="bench-landing-") as folder:
        for name, raw in (("silver", False), ("both", True)):
            if args.only not in (None, name):
                continue
            values = {"LAKE_HOME": str(HOME), "LAKE_STATE": f"{folder}/{name}"}
            settings = Settings.load({**values, "LAKE_NAMESPACE": f"bench_{name}_{int(time.time())}"})
            result["record_bytes"] = round(fill(settings, registry, args.kafka, args, raw=raw))
            result["silver_only" if name == "silver" else "bronze_and_silver"] = land(settings, registry, args)
            entry = next(e for e in ledger(settings, registry).datasets if e.dataset == "lane_minute")
            balanced &= entry.inserted_in_silver == entry.rows_in_silver > 0
            balanced &= not raw or (entry.received == args.rows and not entry.violations)
    result["peak_rss_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    result["balanced"] = balanced
    text = json.dumps(result, indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")
    return 0 if balanced else 1


if __name__ == "__main__":
    raise SystemExit(main())
