"""The peer in Pathway: parse, drop duplicates by key, one-minute windows per lane, Kafka sink.

    python pathway_windows.py BOOTSTRAP PREFIX

A window is emitted once, when the event clock is 130 s past its end. It runs until it is ended.
"""

from __future__ import annotations

import sys
from datetime import timedelta

import pathway as pw


class Reading(pw.Schema):
    """What a record holds."""

    detector_id: str
    lane_no: int
    observed_at: str
    vehicle_count: int
    mean_speed_kmh: float
    occupancy_pct: float
    origin: str


def main(bootstrap: str, prefix: str) -> None:
    """Build the graph and run it."""
    settings = {"bootstrap.servers": bootstrap, "group.id": "pathway", "auto.offset.reset": "earliest"}
    topic = f"{prefix}.raw.lane_minute"
    raw = pw.io.kafka.read(settings, topic=topic, format="json", schema=Reading, autocommit_duration_ms=1000)
    once = raw.groupby(raw.detector_id, raw.lane_no, raw.observed_at).reduce(
        raw.detector_id,
        raw.lane_no,
        raw.observed_at,
        vehicle_count=pw.reducers.any(raw.vehicle_count),
        mean_speed_kmh=pw.reducers.any(raw.mean_speed_kmh),
        occupancy_pct=pw.reducers.any(raw.occupancy_pct),
        origin=pw.reducers.any(raw.origin),
    )
    readings = once.select(
        pw.this.detector_id,
        pw.this.lane_no,
        pw.this.vehicle_count,
        pw.this.occupancy_pct,
        pw.this.origin,
        weighted=pw.this.mean_speed_kmh * pw.this.vehicle_count,
        at=pw.this.observed_at.dt.strptime("%Y-%m-%dT%H:%M:%S%.fZ"),
        lane=pw.this.detector_id + "|" + pw.this.lane_no.to_string(),
    )
    windows = readings.windowby(
        readings.at,
        window=pw.temporal.tumbling(duration=timedelta(minutes=1)),
        instance=readings.lane,
        behavior=pw.temporal.exactly_once_behavior(timedelta(seconds=130)),
    ).reduce(
        lane=pw.this._pw_instance,
        detector_id=pw.reducers.any(pw.this.detector_id),
        lane_no=pw.reducers.any(pw.this.lane_no),
        window_start_at=pw.this._pw_window_start,
        window_end_at=pw.this._pw_window_end,
        reading_count=pw.reducers.count(),
        vehicle_count=pw.reducers.sum(pw.this.vehicle_count),
        weighted=pw.reducers.sum(pw.this.weighted),
        occupancy_pct=pw.reducers.avg(pw.this.occupancy_pct),
        origin=pw.reducers.min(pw.this.origin),
    )
    out = windows.select(
        *pw.this.without("weighted"),
        mean_speed_kmh=pw.if_else(pw.this.vehicle_count > 0, pw.this.weighted / pw.this.vehicle_count, None),
    )
    pw.io.kafka.write(
        out, {"bootstrap.servers": bootstrap}, topic_name=f"{prefix}.agg.lane_flow_1min", format="json", key=out.lane
    )
    pw.run(monitoring_level=pw.MonitoringLevel.NONE)


if __name__ == "__main__":
    main(*sys.argv[1:])
