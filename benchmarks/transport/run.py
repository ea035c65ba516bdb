"""The job `transport` beside plain Flink SQL, Spark, Pathway and Bytewax on the same Kafka topics, per CPU-second.

    LAKE_STATE=FOLDER python benchmarks/transport/run.py [--events 8000000] [--engines ours,flink] [--out result.json]

Starts Kafka in LAKE_STATE unless it runs there, fills topics with seeded lane readings (`events.py`), and lets every
engine read them in processes of its own. Each engine reads a short and a long topic: the difference is its rate, the
rest its start-up. CPU is user and system time of all processes of an engine, the broker excluded. What our job and
plain Flink write is compared with the truth; a run that differs fails. Python peers get virtual environments below
LAKE_CACHE (~/.cache/hue-lakehouse), Spark its Kafka jars by Maven.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import venv
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import engines
import psutil
from confluent_kafka import Producer
from events import Generator, Load, Truth
from flink_jobs import DATASET, WINDOWS, at_cadence

sys.path.append(str(Path(__file__).parents[1] / "common"))
from spark_jars import spark_kafka_jars

from pipelines.contracts.registry import Registry
from pipelines.contracts.targets import kafka as topics
from pipelines.runtime import kafka, services
from pipelines.runtime.contracts import registry_of
from pipelines.runtime.install import cache_dir
from pipelines.runtime.settings import Settings

CADENCES_S = {"minute": 60.0, "second": 1.0}
SLOW = {"spark": 4, "spark_windows": 2, "pathway": 10, "bytewax": 40}
"""These get so many times fewer events."""
SHORT = 8
"""The short run has so many times fewer events than the long one."""


def fill(settings: Settings, registry: Registry, load: Load) -> engines.Case:
    """Make the namespace's topics and send a load, unless they hold it already."""
    needed = [topics.dead_letter_topic(simulated_clock=True)]
    for name in (DATASET, *WINDOWS):
        needed += topics.topics(registry.dataset(name), simulated_clock=True)
    kafka.ensure_topics(settings, [replace(topic, partitions=load.partitions) for topic in needed])
    bootstrap = services.endpoints(settings).kafka
    generator, raw = Generator(load), settings.topic(topics.raw_topic(registry.dataset(DATASET)))
    remembered = settings.state / "loads" / f"{settings.namespace}.json"
    if remembered.is_file():
        known = json.loads(remembered.read_text(encoding="utf-8"))
        if known["load"] == asdict(load):
            return engines.Case(settings, bootstrap, Truth(**known["truth"]))
        raise SystemExit(f"{raw} holds another load; remove {settings.state} or take another LAKE_STATE")
    config = {"linger.ms": 50, "queue.buffering.max.messages": 500_000}
    producer = Producer({**kafka.producer_config(bootstrap), **config})
    for batch in generator.batches():
        rows = zip(batch.partitions, batch.keys, batch.values, batch.timestamps_ms, strict=True)
        for partition, key, value, stamp in rows:
            producer.produce(raw, value, key, partition, timestamp=stamp)
        while len(producer) > 200_000:
            producer.poll(0.1)
    producer.flush()
    remembered.parent.mkdir(parents=True, exist_ok=True)
    remembered.write_text(json.dumps({"load": asdict(load), "truth": asdict(generator.truth)}), encoding="utf-8")
    return engines.Case(settings, bootstrap, generator.truth)


def environment(name: str) -> Path:
    """Make the virtual environment of a Python peer, or bring it up to its requirements."""
    folder = cache_dir() / "benchmarks" / name
    if not (folder / "bin" / "python").is_file():
        venv.create(folder, with_pip=True)
    requirements = engines.PEERS / f"{name}.txt"
    stamp = folder / "requirements.txt"
    if not stamp.is_file() or stamp.read_bytes() != requirements.read_bytes():
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "-r", str(requirements)]
        subprocess.run(pip, check=True)
        stamp.write_bytes(requirements.read_bytes())
    return folder


def engine(name: str, registry: Registry) -> engines.Engine:
    """Return the engine of this name, installed."""
    windows_only = name.endswith("_windows")
    match name.removesuffix("_windows"):
        case "ours":
            return engines.ours_on(registry, windows_only=windows_only)
        case "flink":
            return engines.plain_on(registry, windows_only=windows_only)
        case "spark":
            return engines.spark(spark_kafka_jars(), "windows" if windows_only else "all")
        case "pathway":
            return engines.python_peer("pathway", environment("pathway"), says_done=False)
        case "bytewax":
            return engines.python_peer("bytewax", environment("bytewax"), says_done=True)
    raise SystemExit(f"no engine {name}; there are {', '.join(engines.names())}")


def compare(name: str, registry: Registry, settings: Settings, load: Load, prefix: str) -> dict[str, Any]:
    """Run one engine over a short and a long topic and return its rate and its start-up."""
    run = engine(name, at_cadence(registry, load.cadence_s))
    events = load.events // SLOW.get(name, 1)
    measured = []
    for size in (events // SHORT, events):
        case = fill(settings.with_namespace(f"{prefix}_{size}"), registry, replace(load, events=size))
        found = run(case)
        measured.append((case.truth, found))
        print(f"{prefix} {name}: {found.records} records, {found.cpu_s:.1f} CPU-s, {found.wall_s:.1f} s", flush=True)
    (_, short), (truth, long) = measured
    rate = (long.records - short.records) / (long.cpu_s - short.cpu_s)
    return {
        "records": long.records,
        "records_per_cpu_s": round(rate),
        "start_up_cpu_s": round(short.cpu_s - short.records / rate, 1),
        "cpu_s": round(long.cpu_s, 2),
        "wall_s": round(long.wall_s, 1),
        "short": {"records": short.records, "cpu_s": round(short.cpu_s, 2)},
        "peak_rss_mib": long.peak_rss_mib,
        "rows": dict(long.rows),
        "windows_1min_of_truth": truth.windows_1min,
        **({"state_mib": long.state_mib} if long.state_mib is not None else {}),
    }


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_before": round(os.getloadavg()[0], 1),
        "python": sys.version.split()[0],
        "versions": {name: version(name) for name in ("apache-flink", "pyspark")},
    }


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=8_000_000, help="of the long run; slow peers get fewer")
    parser.add_argument("--detectors", type=int, default=1000)
    parser.add_argument("--cadence", choices=CADENCES_S, action="append", help="a lane reports once a …; default: both")
    parser.add_argument("--engines", default=",".join(engines.names()))
    parser.add_argument("--scale", default="", help="detectors of one lane each, for our job: 100,200000")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    settings = Settings.load()
    registry = registry_of(settings)
    services.up(settings, ("kafka",), supervise=False)
    result: dict[str, Any] = {"machine": machine(), "runs": {}, "scale": {}}
    try:
        for cadence in args.cadence or CADENCES_S:
            load = Load(args.events, args.detectors, CADENCES_S[cadence])
            result["runs"][cadence] = {}
            for name in args.engines.split(",") if args.engines else ():
                result["runs"][cadence][name] = compare(name, registry, settings, load, f"bench_{cadence}")
                _write(result, args.out)
        for count in (int(text) for text in args.scale.split(",") if text):
            # Once a minute each: as many windows a reading, however many sensors there are.
            load = Load(args.events, count, CADENCES_S["minute"], lanes=1)
            result["scale"][str(count)] = compare("ours", registry, settings, load, f"bench_{count}")
            _write(result, args.out)
    finally:
        services.down(settings, ("kafka",))
    print(json.dumps(result, indent=2))


def _write(result: dict[str, Any], out: Path | None) -> None:
    if out:
        out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
