"""What a team would write in an afternoon: FastAPI and pydantic in front of the same producer, and nothing else.

    python benchmarks/gateway/peer.py PORT BOOTSTRAP NAMESPACE

It validates types, rewrites times as UTC, and answers when Kafka has every record. It keeps no refused bytes, knows no
tokens, rates, devices or spool, and rounds nothing.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import uvicorn
from confluent_kafka import Producer
from fastapi import FastAPI
from pydantic import AwareDatetime, BaseModel

from pipelines.gateway.publisher import publisher_config


class Stage(BaseModel):
    """River stage."""

    station_id: str
    observed_at: AwareDatetime
    stage_m: Decimal


class Lane(BaseModel):
    """Traffic by lane."""

    detector_id: str
    lane_no: int
    observed_at: AwareDatetime
    vehicle_count: int | None = None
    mean_speed_kmh: Decimal | None = None
    occupancy_pct: Decimal | None = None
    travel_time_s: Decimal | None = None
    queue_m: Decimal | None = None


app = FastAPI()
port, bootstrap, namespace = int(sys.argv[1]), sys.argv[2], sys.argv[3]
producer = Producer({**publisher_config(bootstrap), "queue.buffering.max.messages": 200_000})


def poll() -> None:
    """Serve delivery reports."""
    while True:
        producer.poll(0.1)


async def publish(topic: str, rows: list[Any], key: Any) -> dict[str, int]:
    """Send rows and wait for every acknowledgement."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    left = len(rows)

    def told(error: Any, _message: Any) -> None:
        nonlocal left
        left -= 1
        if not left:
            loop.call_soon_threadsafe(done.set)

    now = int(datetime.now(UTC).timestamp() * 1000)
    for row in rows:
        row.observed_at = row.observed_at.astimezone(UTC)
        producer.produce(
            topic,
            row.model_dump_json().encode(),
            key(row).encode(),
            on_delivery=told,
            timestamp=now,
            headers=[("source", b"peer")],
        )
    await done.wait()
    return {"accepted": len(rows)}


@app.post("/v1/ingest/river_stage", status_code=202)
async def river_stage(rows: list[Stage]) -> dict[str, int]:
    """Take river stages."""
    return await publish(f"{namespace}.raw.river_stage", rows, lambda row: row.station_id)


@app.post("/v1/ingest/lane_minute", status_code=202)
async def lane_minute(rows: list[Lane]) -> dict[str, int]:
    """Take lane readings."""
    return await publish(f"{namespace}.raw.lane_minute", rows, lambda row: f"{row.detector_id}|{row.lane_no}")


threading.Thread(target=poll, daemon=True).start()
uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", http="httptools", loop="uvloop")
