"""How well the quality tests find broken sensors: precision of every test, recall of every fault, on labelled data.

    LAKE_NAMESPACE=bench_qc python benchmarks/qc/run.py [--copies 24] [--out benchmarks/qc/result.json]

Needs `lake up kafka flink spark`. The flood of 2025 is laid into the flood seasons of earlier years, twelve times in
each, its sensors are broken with a seed of each copy (pipelines/replay/sensor_faults.py), and everything is sent
through the gateway and the real jobs with 1 % of the records twice and 1 % late; 2025 stays as it was. What is said of
each reading is read from silver, what its neighbours say from the mart that dbt builds. Each run needs a new namespace
(`lake forget` ends the old one).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from deltalake import DeltaTable

from pipelines.commands.demo import wait_until_settled
from pipelines.commands.platform import start_namespace, stop_namespace
from pipelines.contracts.registry import Registry
from pipelines.gateway.normalise import utc_text
from pipelines.replay import flood
from pipelines.replay.faults import FaultPlan, build_replay
from pipelines.replay.readings import Reading
from pipelines.replay.sender import send_replay
from pipelines.replay.sensor_faults import DROPOUT, SENSORS, Episode, break_sensors
from pipelines.replay.sensor_score import Score, score
from pipelines.runtime import flink
from pipelines.runtime.contracts import registry_of
from pipelines.runtime.services import endpoints
from pipelines.runtime.settings import Settings
from pipelines.serving.bootstrap import apply
from pipelines.streaming.job import jobs_of
from pipelines.warehouse import dbt
from pipelines.warehouse import manifest as runs

COPIES_A_YEAR = 12
"""From 1 September every ten days: the last of nine days ends in December, so that all lie in the flood season."""
FIRST_YEAR = 2014
WAYS = FaultPlan(duplicates=0.01, late=0.01, seed=7)


def _copies(sound: Sequence[Reading], count: int) -> Iterator[tuple[list[Reading], list[Episode]]]:
    """The broken copies with their faults; where a sensor falls silent between two copies, that is a dropout too."""
    begin = min(reading.event_at for reading in sound)
    for number in range(count):
        year, place = divmod(number, COPIES_A_YEAR)
        shift = datetime(FIRST_YEAR + year, 9, 1, tzinfo=UTC) + timedelta(days=10 * place) - begin
        broken, episodes = break_sensors(sound, number)
        moved = [_moved(reading, shift) for reading in broken]
        faults = [replace(e, first_at=e.first_at + shift, last_at=e.last_at + shift) for e in episodes]
        yield moved, [*faults, *_silences(moved if number else [])]


def _moved(reading: Reading, shift: timedelta) -> Reading:
    at = reading.event_at + shift
    return replace(reading, body={**reading.body, "observed_at": utc_text(at)}, event_at=at)


def _silences(readings: Sequence[Reading]) -> Iterator[Episode]:
    first: dict[tuple[str, str], datetime] = {}
    for reading in readings:
        who = (reading.dataset, str(reading.body[SENSORS[reading.dataset].entity]))
        first[who] = min(first.get(who, reading.event_at), reading.event_at)
    return (Episode(dataset, entity, DROPOUT, at, at) for (dataset, entity), at in first.items())


def _said(settings: Settings, name: str) -> tuple[dict[tuple[str, datetime], dict[str, int]], Counter[int]]:
    """What silver holds of each reading: test → result of those that did not pass; and the flags of 2025, unbroken,
    without the first reading of each sensor, which comes after a gap of years."""
    entity = SENSORS[name].entity
    table = DeltaTable(str(settings.table_path("silver", name))).to_pyarrow_table(
        columns=[entity, "observed_at", "qc_flag", "qc_detail"]
    )
    found, real = {}, Counter[int]()
    rows = sorted(table.to_pylist(), key=lambda row: row["observed_at"])
    seen = set()
    for row in rows:
        if row["observed_at"].year == 2025:
            real[row["qc_flag"]] += row[entity] in seen
            seen.add(row[entity])
            continue
        parts = (part.split("=") for part in (row["qc_detail"] or "").split(";") if part)
        found[row[entity], row["observed_at"]] = {test.rpartition(".")[2]: int(flag) for test, flag in parts}
    return found, real


def _neighbours(registry: Registry, name: str) -> dict[str, tuple[str, ...]]:
    pairs: dict[str, tuple[str, ...]] = {}
    for test in registry.dataset(name).qc.neighbour.values():
        for row in registry.code_list(test.neighbours).rows:
            pairs[row["station_id"]] = (*pairs.get(row["station_id"], ()), row["neighbour_id"])
    return pairs


def _shown(found: Score) -> dict[str, Any]:
    tests = {
        name: {"precision": _round(one.precision), "precision_strict": _round(one.in_fault / one.found), **asdict(one)}
        for name, one in found.tests.items()
    }
    faults = {
        name: {
            "recall_readings": _round(one.recall),
            "recall_episodes": _round(one.found_episodes / one.episodes),
            **{key: _round(value) for key, value in asdict(one).items()},
        }
        for name, one in found.faults.items()
    }
    return {
        "readings": found.readings,
        "sound": found.sound,
        "false_alarms": found.false_alarms,
        "tests": tests,
        "faults": faults,
    }


def _round(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


def main() -> None:
    """Send, wait, build, score, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", type=int, default=24)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    settings = Settings.load({**os.environ, "LAKE_NAMESPACE": os.environ.get("LAKE_NAMESPACE", "bench_qc")})
    settings.set_profile("demo")
    registry = registry_of(settings)
    for _ in apply(settings, registry, serving=False):
        pass
    start_namespace(settings, desk=False)
    for job in jobs_of(registry):
        flink.wait_running(settings, settings.group(job), 300)

    # Forecasts of the flood are no sensor's.
    sound = [one for one in flood.readings(registry, settings.home / "data") if one.dataset in SENSORS]
    readings, episodes = list(sound), []
    for more, faults in _copies(sound, args.copies):
        readings += more
        episodes += faults
    began = time.monotonic()
    replay = build_replay("broken-sensors", readings, registry, WAYS)
    send_replay(replay, settings, registry, endpoints(settings).kafka)
    wait_until_settled(settings, registry, 1200)
    streamed_s = time.monotonic() - began
    stop_namespace(settings)

    run = runs.resolve(settings, registry, "bench")
    dbt.build(settings, registry, run, spark_remote=endpoints(settings).spark_remote)
    compared = DeltaTable(str(settings.table_path("gold", "fct_neighbour_check"))).to_pyarrow_table().to_pylist()
    result: dict[str, Any] = {
        "machine": {"cpus": os.cpu_count(), "arch": platform.machine(), "load_1min": round(os.getloadavg()[0], 1)},
        "copies": args.copies,
        "records": len(replay.deliveries),
        "sent_and_landed_s": round(streamed_s, 1),
        "flood_of_2025": {},
        "datasets": {},
    }
    for name in SENSORS:
        said, real = _said(settings, name)
        for row in compared:
            if (row["dataset_id"], row["qc_flag"]) == (name, 3):
                who = (row["entity_id"], row["observed_at"])
                if row["observed_at"].year == 2025:
                    real["neighbour"] += 1  # type: ignore[index]
                else:
                    said[who] = {**said[who], "neighbour": 3}
        result["flood_of_2025"][name] = {str(key): count for key, count in sorted(real.items(), key=str)}
        result["datasets"][name] = _shown(score(registry.dataset(name), said, episodes, _neighbours(registry, name)))
    text = json.dumps(result, indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
