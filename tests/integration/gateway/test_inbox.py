"""A file that is dropped reaches Kafka, whatever is killed while it is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .conftest import GatewayProcess
from .test_outages import in_kafka, numbers, readings


def receipts(inbox: Path, where: str = "done") -> list[dict[str, Any]]:
    return [json.loads(path.read_bytes()) for path in sorted((inbox / where).glob("*.receipt.json"))]


def test_a_gateway_that_is_killed_within_a_file_goes_on_behind_the_last_receipt(
    start_gateway: Callable[..., GatewayProcess], wait_until: Callable[..., None], tmp_path: Path
) -> None:
    gateway = start_gateway("--inbox", str(tmp_path), "--settle-s", "0.5")
    inbox = tmp_path / gateway.settings.namespace / "test-1" / "river_stage"
    inbox.mkdir(parents=True)
    wait_until(lambda: gateway.ready()["kafka"] == "connected", what="the gateway finds kafka")
    table = ["station_id;observed_at;stage_m"]
    table += [f"{row['station_id']};{row['observed_at']};{row['stage_m']}" for row in readings(0, 80_000)]
    (inbox / ".a.csv").write_text("\n".join([*table, "71520;yesterday;1"]), encoding="utf-8")
    (inbox / ".a.csv").rename(inbox / "a.csv")
    for _ in range(2):
        seen = len(in_kafka(gateway.settings))
        wait_until(
            lambda seen=seen: len(in_kafka(gateway.settings)) > seen + 4_000, timeout_s=60, what="the file is read"
        )
        gateway.kill()
        gateway.start()
    wait_until(lambda: bool(receipts(inbox)), timeout_s=90, what="the file is put away")
    told = receipts(inbox)[0]
    assert (told["records"], told["refused"], told["resumed"]) == (80_001, 1, 2)
    assert told["refused_records"][0]["line"] == 80_002
    # What a gateway takes before it has found Kafka lies in its spool, and is safe there.
    wait_until(lambda: gateway.ready()["spooled"] == {}, timeout_s=60, what="the spool is empty")
    messages = [m for m in in_kafka(gateway.settings) if m.key() != b"test-1"]
    found = numbers(messages)
    assert sorted(set(found)) == list(range(80_000))
    # Only a piece that was under way can stand twice: the same key with the same content.
    assert len(found) - 80_000 <= 2 * 2_000
    assert len({(m.key(), m.value()) for m in messages}) == 80_000
    assert gateway.stop() == 0
