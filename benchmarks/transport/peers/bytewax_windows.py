"""The peer in Bytewax: parse, drop duplicates by key, one-minute windows per lane, Kafka sink.

    python bytewax_windows.py BOOTSTRAP PREFIX

Reads the topic from its beginning to its end and closes all windows there. One worker: it is Python per record.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import bytewax.operators as op
import bytewax.operators.windowing as win
import orjson
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.operators.windowing import EventClock, TumblingWindower
from bytewax.testing import run_main

REMEMBERED = 200
"""Readings of one lane whose repetition is recognised."""


def parse(messages: Iterable[KafkaSourceMessage]) -> Iterable[tuple[str, dict]]:
    """Records that can be read, keyed by lane, with their event time parsed."""
    for message in messages:
        try:
            record = orjson.loads(message.value)
            record["at"] = datetime.fromisoformat(record["observed_at"])
            yield f"{record['detector_id']}|{record['lane_no']}", record
        except (ValueError, KeyError):
            continue


def once(seen: OrderedDict | None, record: dict) -> tuple[OrderedDict, list[dict]]:
    """Drop a reading of the same event time."""
    if seen is None:
        seen = OrderedDict()
    moment = record["observed_at"]
    if moment in seen:
        return seen, []
    seen[moment] = None
    if len(seen) > REMEMBERED:
        seen.popitem(last=False)
    return seen, [record]


def add(totals: list, record: dict) -> list:
    """Count one reading in."""
    count = record["vehicle_count"]
    totals[0] += 1
    totals[1] += count
    totals[2] += record["mean_speed_kmh"] * count
    totals[3] += record["occupancy_pct"]
    return totals


def merge(left: list, right: list) -> list:
    """Join two parts of a window."""
    return [a + b for a, b in zip(left, right, strict=True)]


START = datetime(2025, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def message(item: tuple[str, tuple[int, list]]) -> KafkaSinkMessage:
    """One window as a keyed JSON record."""
    lane, (number, (readings, vehicles, weighted, occupancy)) = item
    detector, lane_no = lane.split("|")
    body = {
        "detector_id": detector,
        "lane_no": int(lane_no),
        "window_start_at": START + number * MINUTE,
        "window_end_at": START + (number + 1) * MINUTE,
        "reading_count": readings,
        "vehicle_count": vehicles,
        "mean_speed_kmh": round(weighted / vehicles, 3) if vehicles else None,
        "occupancy_pct": round(occupancy / readings, 3),
        "origin": "synthetic",
    }
    return KafkaSinkMessage(lane.encode(), orjson.dumps(body))


def build(bootstrap: str, prefix: str) -> Dataflow:
    """The dataflow."""
    flow = Dataflow("transport_peer")
    raw = op.input("raw", flow, KafkaSource([bootstrap], [f"{prefix}.raw.lane_minute"], tail=False, batch_size=5000))
    readings = op.flat_map_batch("parse", raw, parse)
    distinct = op.stateful_flat_map("once", readings, once)
    clock = EventClock(ts_getter=lambda r: r["at"], wait_for_system_duration=timedelta(seconds=130))
    windower = TumblingWindower(length=MINUTE, align_to=START)
    windows = win.fold_window("windows", distinct, clock, windower, lambda: [0, 0, 0.0, 0.0], add, merge, ordered=False)
    op.output("out", op.map("message", windows.down, message), KafkaSink([bootstrap], f"{prefix}.agg.lane_flow_1min"))
    return flow


if __name__ == "__main__":
    run_main(build(*sys.argv[1:]))
    print("DONE", flush=True)
    sys.stdin.readline()  # the parent reads our CPU time before we go
