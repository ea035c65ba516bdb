"""What the job of the scenarios costs: idle, reading what no rule asks for, judging, and how soon it tells.

    LAKE_NAMESPACE=bench_scn python benchmarks/scenarios/run.py [--records 3000000] [--out result.json]

Needs Kafka and Flink (`lake up`). It holds the whole catalogue, so that every stream has its topics and jobs, writes
clean lane readings straight into their topic, and counts the CPU seconds of the TaskManager until a job has read them.
Beside it, on the same records: one threshold as a fixed Flink SQL statement with the stock json format, without state,
hysteresis, evidence or a rule that could change. A new namespace each time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from confluent_kafka import Consumer, Producer, TopicPartition

from pipelines.contracts.registry import Registry
from pipelines.contracts.scenario import Scenario
from pipelines.contracts.targets import flink as ddl
from pipelines.replay.traffic import load_events
from pipelines.runtime import flink, kafka
from pipelines.runtime.contracts import registry_of
from pipelines.runtime.flink import Cluster
from pipelines.runtime.services import endpoints
from pipelines.runtime.settings import Settings
from pipelines.runtime.status import service_statuses
from pipelines.scenarios import publish, rules
from pipelines.streaming.job import Job, jobs_of, plan
from pipelines.streaming.submit import Submission, submit
from pipelines.streaming.topics import ensure_topics

TOPIC, RUNS = "clean.lane_minute", "alert.scenario_run"
MANAGERS = ("flink-jobmanager", "flink-taskmanager")
WAIT_S = 300.0
LIMIT_KMH = 8.1
"""One reading in 600 is slower, so that runs are rare, as they are in a city."""


def scenario(name: str, limit: float) -> Scenario:
    """A jam: a lane slower than `limit`."""
    text = {"vi": f"{name} {{scope}} {{value}}", "en": name}
    condition = {"kind": "threshold", "dataset": "lane_minute", "field": "mean_speed_kmh", "operator": "<"}
    return Scenario.model_validate(
        {
            "id": name,
            "title": text,
            "description": text,
            "kind": "department",
            "owner": "H57.XD",
            "clauses": ["I.2.đ"],
            "severity": "low",
            "status": "verified",
            "enabled": True,
            "trigger": {"conditions": [{**condition, "value": limit, "clear_value": limit + 5}]},
            "headline": text,
            "actions": [{"action": "alert"}],
        }
    )


def cpu_s(settings: Settings, names: tuple[str, ...]) -> float:
    """CPU seconds of these services so far."""
    found = [psutil.Process(s.pid).cpu_times() for s in service_statuses(settings) if s.name in names and s.pid]
    return sum(times.user + times.system for times in found)


def idle(settings: Settings, seconds: int) -> float:
    """Cores that Flink's managers take while nothing is sent."""
    time.sleep(15)
    before = cpu_s(settings, MANAGERS)
    time.sleep(seconds)
    return round((cpu_s(settings, MANAGERS) - before) / seconds, 3)


def start(settings: Settings, jobs: list[Job]) -> dict[str, str]:
    """Submit jobs and wait until they run; returns name → id."""
    ids = dict(submit([Submission(job) for job in jobs], settings))
    for job in jobs:
        flink.wait_running(settings, job.name, WAIT_S)
    return ids


def cancel(settings: Settings, ids: Mapping[str, str]) -> None:
    """End jobs."""
    with Cluster(endpoints(settings).flink_rest) as cluster:
        for job_id in ids.values():
            cluster.cancel(job_id)


def write_facts(settings: Settings, count: int) -> int:
    """Write clean lane readings; returns the end offset of the topic's one partition."""
    producer = kafka.producer(settings)
    at = 0
    for load in load_events(count, 7, 1000.0, start=datetime(2025, 10, 27, tzinfo=UTC)):
        for key, value, stamp in zip(load.keys, load.values, load.timestamps_ms, strict=True):
            clock = datetime.fromtimestamp(stamp / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            tail = f',"qc_flag":1,"received_at":"{clock}","raw_partition":0,"raw_offset":{at},"disposition":"on_time"}}'
            producer.produce(settings.topic(TOPIC), key=key, value=value[:-1] + tail.encode(), timestamp=stamp)
            at += 1
            if at % 1000 == 0:
                producer.poll(0)
        while len(producer) > 50_000:
            producer.poll(0.1)
    producer.flush(60)
    return at


def until_read(settings: Settings, group: str, end: int) -> None:
    """Wait until the source of a job has committed the end of the topic, which it does with a checkpoint."""
    consumer = Consumer({"bootstrap.servers": endpoints(settings).kafka, "group.id": group})
    place = TopicPartition(settings.topic(TOPIC), 0)
    deadline = time.monotonic() + WAIT_S
    while consumer.committed([place], timeout=10)[0].offset < end:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{group} has not read {end} records within {WAIT_S} s")
        time.sleep(0.2)
    consumer.close()


def per_cpu_s(settings: Settings, job: Job, group: str, count: int) -> int:
    """Records per CPU second of the TaskManager, from the job's start until it has read all."""
    before = cpu_s(settings, ("flink-taskmanager",))
    ids = start(settings, [job])
    until_read(settings, group, count)
    spent = cpu_s(settings, ("flink-taskmanager",)) - before
    cancel(settings, ids)
    return int(count / spent)


def fixed(registry: Registry, settings: Settings) -> Job:
    """The threshold as one SQL statement."""
    where = ddl.Connection(endpoints(settings).kafka, settings.topic(""), settings.group("fixed"))
    columns = (
        "detector_id STRING, lane_no INT, observed_at TIMESTAMP_LTZ(3), mean_speed_kmh DECIMAL(9, 3), origin STRING"
    )
    options = {
        "connector": "kafka",
        "topic": settings.topic(TOPIC),
        "properties.bootstrap.servers": where.bootstrap,
        "properties.group.id": where.group,
        "scan.startup.mode": "earliest-offset",
        "format": "json",
        "json.timestamp-format.standard": "ISO-8601",
    }
    table = ", ".join(f"'{key}' = '{value}'" for key, value in options.items())
    sink = {"connector": "blackhole"}
    out = ", ".join(f"'{key}' = '{value}'" for key, value in sink.items())
    return Job(
        settings.group("fixed"),
        "fixed",
        (f"CREATE TABLE facts ({columns}) WITH ({table})", f"CREATE TABLE jams ({columns}) WITH ({out})"),
        ("INSERT INTO jams SELECT * FROM facts WHERE mean_speed_kmh < 8.1",),
        (("pipeline.name", settings.group("fixed")), ("parallelism.default", "1"), ("pipeline.object-reuse", "true")),
        (),
    )


def tell(settings: Settings, number: int) -> list[float]:
    """Milliseconds from handing a fact to the producer until the row of the run it began is consumed."""
    bootstrap = endpoints(settings).kafka
    topic = settings.topic(RUNS)
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench", "fetch.wait.max.ms": 10})
    consumer.assign([TopicPartition(topic, 0, consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=10)[1])])
    producer = Producer({**kafka.producer_config(bootstrap), "linger.ms": 0})
    found = []
    at = datetime(2026, 1, 1, tzinfo=UTC)
    for step in range(number):
        at += timedelta(minutes=1)
        clock = at.strftime("%Y-%m-%dT%H:%M:%SZ")
        speed = 3.0 if step % 2 else 90.0
        fact = {"detector_id": "HUE-D01", "lane_no": 99, "observed_at": clock, "mean_speed_kmh": speed, "qc_flag": 1}
        fact |= {"origin": "synthetic", "received_at": clock, "raw_partition": 0, "raw_offset": step}
        began = time.perf_counter()
        producer.produce(
            settings.topic(TOPIC), key=b"HUE-D01|99", value=json.dumps(fact, separators=(",", ":")).encode()
        )
        producer.poll(0)
        while step:  # every fact but the first begins or ends a run
            message = consumer.poll(5)
            if message is None:
                raise TimeoutError("no row within 5 s")
            if message.error() is None:
                found.append((time.perf_counter() - began) * 1000)
                break
        time.sleep(0.02)
    consumer.close()
    return found


def switched(settings: Settings, registry: Registry, times: int) -> list[float]:
    """Milliseconds from the command until the job has said that it took the change in."""
    found = []
    for step in range(times):
        told = replace(registry, scenarios=(scenario("jam", 12 + step),))
        began = time.perf_counter()
        records = publish.switch(settings, told, "jam", enabled=True, by="bench")
        assert rules.wait_until_taken(settings, records, 30) == ()
        found.append((time.perf_counter() - began) * 1000)
    return found


def percentiles(values: list[float]) -> dict[str, float]:
    """Median, 95th and 99th percentile."""
    names = ("p50_ms", "p95_ms", "p99_ms")
    return {n: round(float(v), 1) for n, v in zip(names, np.percentile(values, (50, 95, 99)), strict=True)}


def throughput(settings: Settings, registry: Registry, count: int, *, asked: bool) -> int:
    """Records per CPU second that the job reads, with or without a rule that asks for them."""
    ensure_topics(settings, registry)
    if asked:
        told = replace(registry, scenarios=(scenario("jam", LIMIT_KMH),))
        publish.switch(settings, told, "jam", enabled=True, by="bench")  # before the facts, so that it judges them
    write_facts(settings, count)
    job = plan("scenarios", registry, settings, bootstrap=endpoints(settings).kafka, now=datetime.now(UTC))
    return per_cpu_s(settings, job, job.name, count)


def idle_cores(settings: Settings, registry: Registry, seconds: int) -> dict[str, float]:
    """Cores of Flink's managers with every stream's job and nothing sent: without this job, and with every rule on."""
    ensure_topics(settings, registry)
    where, now = endpoints(settings).kafka, datetime.now(UTC)
    jobs = {name: plan(name, registry, settings, bootstrap=where, now=now) for name in jobs_of(registry)}
    ids = start(settings, [job for name, job in jobs.items() if name != "scenarios"])
    found = {"idle_cores_without": idle(settings, seconds)}
    ids |= start(settings, [jobs["scenarios"]])
    for item in registry.scenarios:
        publish.switch(settings, registry, item.id, enabled=True, by="bench")
    found["idle_cores_with_every_scenario_on"] = idle(settings, seconds)
    cancel(settings, ids)
    return found


def latencies(settings: Settings, registry: Registry) -> dict[str, Any]:
    """From the command to the job, and from a fact to the row of its run; the first hundred facts warm the JVM."""
    job = plan("scenarios", registry, settings, bootstrap=endpoints(settings).kafka, now=datetime.now(UTC))
    ids = start(settings, [job])
    found = {"command_to_taken": percentiles(switched(settings, registry, 12)[2:])}
    found["fact_to_run"] = percentiles(tell(settings, 700)[100:])
    cancel(settings, ids)
    return found


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=3_000_000)
    parser.add_argument("--idle-seconds", type=int, default=60)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    base = Settings.load({**os.environ, "LAKE_NAMESPACE": os.environ.get("LAKE_NAMESPACE", "bench_scn")})
    named = {part: base.with_namespace(f"{base.namespace}_{part}") for part in ("idle", "unasked", "asked")}
    for settings in named.values():
        settings.set_profile(None)
    registry = registry_of(base)
    result: dict[str, Any] = {
        "machine": {"cpus": os.cpu_count(), "arch": platform.machine(), "load_1min": os.getloadavg()[0]},
        "topics_read": sum(1 for dataset in registry.datasets if dataset.topic and dataset.job != "scenarios"),
        "rules": len(registry.scenarios),
        **idle_cores(named["idle"], registry, args.idle_seconds),
        "records": args.records,
        "read_unasked_per_cpu_s": throughput(named["unasked"], registry, args.records, asked=False),
        "judged_per_cpu_s": throughput(named["asked"], registry, args.records, asked=True),
    }
    sql = fixed(registry, named["asked"])
    result["fixed_sql_per_cpu_s"] = per_cpu_s(named["asked"], sql, sql.name, args.records)
    result |= latencies(named["asked"], registry)
    text = json.dumps(result, indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
