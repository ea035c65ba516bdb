"""Detection rate, false alarms and time to detect of the live incident detection, through the SQL of the transport job.

    python benchmarks/incident/run.py [--out result.json]

The readings go through the views of ``pipelines/streaming/sql/transport.sql`` and the Java functions on a Flink mini
cluster, from conformed rows to ``traffic_incident``: the logic that runs in the city, without Kafka. Two sets:

- the recorded loop series of ``data/traffic_loops`` with the anomaly windows of the Numenta Anomaly Benchmark
  (``labels.csv``), by speed threshold. Its labels are statistical anomalies, half of the incidents found outside them
  are as real; and a window is wide, so that a time to detect from its start says little;
- a simulated road between two stations (``simulation.py``) with a known truth, by the California algorithm: synthetic.

An incident is right when it overlaps a labelled window, else a false alarm; a window is found when an incident overlaps
it. Times are event times: live, a window of five minutes is known 130 s after its end (watermark and slack).
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import mean
from typing import Any

from simulation import Run, simulate

from pipelines.contracts.model import CodeList
from pipelines.contracts.registry import Registry, load_registry
from pipelines.replay.readings import LOCAL
from pipelines.replay.traffic import SERIES, SHIFT, readings
from pipelines.streaming.job import FUNCTIONS, job_statements
from pipelines.streaming.job import job_sql as filled_sql

HOME = Path(__file__).resolve().parents[2]
JAR = HOME / "pipelines" / "streaming" / "java" / "target" / "hue-lakehouse-flink-0.1.0.jar"
START = datetime(2025, 11, 3, tzinfo=UTC)
DAYS, INCIDENTS, SEED = 30, 60, 7
WATERMARK_S = 130

COLUMNS = """detector_id STRING, lane_no INT, observed_at TIMESTAMP_LTZ(3), vehicle_count INT,
    mean_speed_kmh DECIMAL(9, 3), occupancy_pct DECIMAL(9, 3), travel_time_s DECIMAL(9, 3), queue_m DECIMAL(9, 3),
    origin STRING, disposition AS 'on_time', qc_flag AS 1"""


@dataclass(frozen=True)
class Found:
    """One incident: when it began by its windows, when it was raised, and when it was cleared (None: never)."""

    section: str
    method: str
    started: datetime
    raised: datetime
    cleared: datetime | None


@dataclass(frozen=True)
class Truth:
    """A labelled window of a section."""

    section: str
    start: datetime
    end: datetime


def flink_rows(registry: Registry, rows: Iterable[Mapping[str, Any]]) -> list[Found]:
    """Run the transport job's SQL over conformed lane readings and return the incidents that it finds."""
    os.environ.setdefault("_python_worker_execution_mode", "process")
    from pyflink.table import EnvironmentSettings, TableEnvironment

    env = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
    for key, value in (("pipeline.jars", JAR.as_uri()), ("parallelism.default", "1"), ("table.local-time-zone", "UTC")):
        env.get_config().set(key, value)
    for name, java in FUNCTIONS:
        env.execute_sql(f"CREATE TEMPORARY SYSTEM FUNCTION {name} AS '{java}'")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lane_minute.jsonl"
        path.write_text("".join(json.dumps(row, default=str) + "\n" for row in rows), encoding="utf-8")
        env.execute_sql(f"""
            CREATE TEMPORARY TABLE lane_minute__conformed (
                {COLUMNS}, received_at AS observed_at, rowtime AS observed_at,
                WATERMARK FOR rowtime AS rowtime - INTERVAL '10' SECOND
            ) WITH ('connector' = 'filesystem', 'path' = '{path.as_uri()}', 'format' = 'json',
                    'json.timestamp-format.standard' = 'ISO-8601', 'scan.watermark.emit.strategy' = 'on-event')
        """)
        only = replace(registry, datasets=tuple(d for d in registry.datasets if d.id == "traffic_incident"))
        assert job_statements("transport", only), "the job writes no incidents"
        *views, insert = filled_sql("transport", only)
        for view in views:
            env.execute_sql(view.replace("CREATE VIEW", "CREATE TEMPORARY VIEW", 1))
        head, select = insert.split("SELECT", 1)
        names = [name.strip() for name in head.partition("(")[2].rpartition(")")[0].split(",")]
        env.execute_sql(f"CREATE TEMPORARY VIEW incidents ({', '.join(names)}) AS SELECT {select}")
        wanted = ("alert_id", "transition", "section_id", "incident_method", "started_at", "transition_at")
        shown = ", ".join(f"CAST({name} AS STRING)" for name in wanted)
        with env.execute_sql(f"SELECT {shown} FROM incidents").collect() as found:
            return _paired([dict(zip(wanted, row, strict=True)) for row in found])


def _paired(rows: Sequence[Mapping[str, str]]) -> list[Found]:
    cleared = {row["alert_id"]: _time(row["transition_at"]) for row in rows if row["transition"] == "clear"}
    return [
        Found(
            row["section_id"],
            row["incident_method"],
            _time(row["started_at"]),
            _time(row["transition_at"]),
            cleared.get(row["alert_id"]),
        )
        for row in rows
        if row["transition"] == "raise"
    ]


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def figures(found: Sequence[Found], truth: Sequence[Truth], days: float) -> dict[str, Any]:
    """Detection rate, false alarms a day and times to detect of one section."""
    end_of_time = datetime.max.replace(tzinfo=UTC)

    def overlaps(incident: Found, window: Truth) -> bool:
        return incident.raised <= window.end and (incident.cleared or end_of_time) >= window.start

    first = {w: min((f.raised for f in found if overlaps(f, w)), default=None) for w in truth}
    late = [(raised - w.start).total_seconds() / 60 for w, raised in first.items() if raised is not None]
    centre = [(raised - w.start - (w.end - w.start) / 2).total_seconds() / 60 for w, raised in first.items() if raised]
    wrong = [f for f in found if not any(overlaps(f, w) for w in truth)]
    return {
        "days": round(days, 1),
        "labelled": len(truth),
        "detected": len(late),
        "detection_rate_pct": round(100 * len(late) / len(truth), 1) if truth else None,
        "raised": len(found),
        "false_alarms": len(wrong),
        "false_alarms_per_day": round(len(wrong) / days, 3),
        "mean_time_to_detect_min": round(mean(max(0.0, minutes) for minutes in late), 1) if late else None,
        "mean_after_centre_of_label_min": round(mean(centre), 1) if centre else None,
    }


def with_persistence(registry: Registry, windows: int) -> Registry:
    """The contracts with another number of windows until the raise, for both methods."""
    lists = []
    for code_list in registry.code_lists:
        if code_list.id == "incident_thresholds":
            rows = tuple({**row, "raise_window_count": windows} for row in code_list.rows)
            lists.append(CodeList.model_validate({**dict(code_list), "rows": rows}))
        else:
            lists.append(code_list)
    return replace(registry, code_lists=tuple(lists))


def recorded(registry: Registry) -> dict[str, Any]:
    """The recorded series with their labels, by persistence."""
    labels = list(csv.DictReader((HOME / "data/traffic_loops/labels.csv").open(encoding="utf-8")))
    detectors = dict(
        zip((s.file.removesuffix(".csv") for s in SERIES), registry.code_list("detectors").codes, strict=False)
    )

    def instant(text: str) -> datetime:
        return (datetime.fromisoformat(text).replace(tzinfo=LOCAL) + SHIFT).astimezone(UTC)

    rows = sorted(
        (dict(r.body, origin=r.origin) for r in readings(registry, HOME / "data")), key=lambda r: r["observed_at"]
    )
    results: dict[str, Any] = {}
    for windows in (1, 2, 3):
        found = flink_rows(with_persistence(registry, windows), rows)
        for series, detector in detectors.items():
            if series.startswith("occupancy"):
                continue  # one station that measures occupancy only: no method looks at it
            times = [_time(str(r["observed_at"]).rstrip("Z")) for r in rows if r["detector_id"] == detector]
            truth = [Truth(detector, instant(x["from"]), instant(x["to"])) for x in labels if x["series"] == series]
            own = [f for f in found if f.section == detector]
            days = (max(times) - min(times)).total_seconds() / 86400
            results.setdefault(series, {})[f"raise_after_{windows}_windows"] = figures(own, truth, days)
    return results


def simulated(registry: Registry) -> dict[str, Any]:
    """The simulated pair, by persistence."""
    run = simulate(DAYS, INCIDENTS, SEED)
    truth = [
        # Until the queue has gone: another half hour.
        Truth("HUE-D02-D04", _minute(i.start_min), _minute(i.end_min + 30))
        for i in run.incidents
    ]
    results = {}
    for windows in (1, 2, 3):
        found = [
            f for f in flink_rows(with_persistence(registry, windows), _pair_rows(run)) if f.method == "california"
        ]
        results[f"raise_after_{windows}_windows"] = figures(found, truth, DAYS)
    return results


def _minute(number: int) -> datetime:
    return START + timedelta(minutes=int(number))


def _pair_rows(run: Run) -> Iterable[dict[str, Any]]:
    for number, pair in enumerate(zip(run.upstream_pct, run.downstream_pct, strict=True)):
        at = _minute(number).strftime("%Y-%m-%dT%H:%M:%SZ")
        for detector, value in zip(("HUE-D02", "HUE-D04"), pair, strict=True):
            yield {
                "detector_id": detector,
                "lane_no": 1,
                "observed_at": at,
                "occupancy_pct": round(float(value), 3),
                "origin": "synthetic",
            }


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    registry = load_registry(HOME / "schemas")
    result = {
        "machine": {"cpus": os.cpu_count(), "arch": platform.machine()},
        "through": "the views of sql/transport.sql and the Java functions on a Flink mini cluster",
        "known_live_after_window_end_s": WATERMARK_S,
        "labels": "Numenta Anomaly Benchmark, labels/combined_windows.json (see data/README.md)",
        "recorded_speed_threshold": recorded(registry),
        "simulated_california": {"days": DAYS, "incidents": INCIDENTS, "seed": SEED, **simulated(registry)},
    }
    text = json.dumps(result, indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
