"""Sends prepared HTTP requests over some connections as fast as they are answered; prints what came of it as JSON.

    python benchmarks/gateway/load.py HOST:PORT PATH TOKEN BODIES REQUESTS CONNECTIONS

BODIES is a file of length-prefixed bodies (4 bytes, big endian), used in turn. The client is a socket and no more, so
that it costs less than what it measures.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from itertools import cycle
from pathlib import Path


def bodies(path: Path) -> list[bytes]:
    """The bodies of a file."""
    data, found, at = path.read_bytes(), [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        found.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return found


async def send(address: str, requests: list[bytes], share: int, latencies: list[float], seen: Counter[str]) -> None:
    """One connection: a request, its answer, the next one."""
    host, _, port = address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    for request, _ in zip(cycle(requests), range(share), strict=False):
        began = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        size = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        body = json.loads(await reader.readexactly(size))
        latencies.append(time.perf_counter() - began)
        seen[head.split(b" ", 2)[1].decode()] += 1
        seen["accepted"] += body.get("accepted", 0)
    writer.close()


async def main() -> None:
    """Send everything."""
    address, path, token, file, count, connections = sys.argv[1:]
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n"
        "Content-Type: application/json\r\n"
    )
    requests = [f"{head}Content-Length: {len(b)}\r\n\r\n".encode() + b for b in bodies(Path(file))]
    latencies: list[float] = []
    seen: Counter[str] = Counter()
    share, number = int(count) // int(connections), int(connections)
    began = time.perf_counter()
    parts = [requests[n * len(requests) // number :] + requests[: n * len(requests) // number] for n in range(number)]
    await asyncio.gather(*(send(address, part, share, latencies, seen) for part in parts))
    wall = time.perf_counter() - began
    latencies.sort()
    quantiles = {
        f"p{q}_ms": round(1000 * latencies[min(len(latencies) - 1, q * len(latencies) // 100)], 1) for q in (50, 95, 99)
    }
    print(json.dumps({"wall_s": round(wall, 2), "seen": dict(seen), **quantiles}))


asyncio.run(main())
