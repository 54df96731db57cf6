"""What a pushed blob costs at the object store: requests and bytes, beside other registries on the same store."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmark.content import KIB, MIB, Blobs, Client
from benchmark.counter import Count, Counting
from benchmark.process import Server
from benchmark.target import Target
from benchmark.wire import Address, Connection

SIZES = (KIB, MIB, 16 * MIB, 100 * MIB)
PUSHES = {KIB: 20, MIB: 10, 16 * MIB: 5, 100 * MIB: 2}
KEYS = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench-secret", "AWS_DEFAULT_REGION": "us-east-1"}


@dataclass(frozen=True)
class Cost:
    """What one blob of `size` cost, on average: requests, bytes beyond its own, seconds of a push (the median)."""

    size: int
    streamed: bool
    requests: float
    methods: str
    overhead: float
    seconds: float


@contextmanager
def store(folder: Path, python: str) -> Iterator[Address]:
    """moto's S3 server, started and answering."""
    server = Server("s3", [python, "-m", "moto.server", "-H", "127.0.0.1", "-p", "{port}"], folder, {})
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                with Connection(server.address) as connection:
                    connection.ask("GET", "/", {})
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        yield server.address
    finally:
        server.stop()


def make_bucket(address: Address, bucket: str) -> None:
    """moto asks for no signature that means anything."""
    with Connection(address) as connection:
        connection.ask("PUT", f"/{bucket}", {"Authorization": _CREDENTIAL}).expect(200)


_CREDENTIAL = "AWS4-HMAC-SHA256 Credential=bench/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"


def measure(target: Target, counting: Counting) -> list[Cost]:
    """Push blobs of each size in both ways, one after the other, and look at what went to the store."""
    found = []
    with Connection(target.address) as connection:
        client = Client(target, connection, target.authorization())
        client.push_whole("library/bench-push", next(Blobs(KIB)))
        for size in SIZES:
            for streamed in (False, True):
                found.append(_cost(client, counting, size, streamed=streamed))
                sys.stderr.write(f"{target.name}: {_said(found[-1])}\n")
    return found


def _cost(client: Client, counting: Counting, size: int, *, streamed: bool) -> Cost:
    blobs = Blobs(size)
    count = PUSHES[size]
    counting.take()
    taken = []
    for _ in range(count):
        blob = next(blobs)
        began = time.monotonic()
        (client.push_streamed if streamed else client.push_whole)("library/bench-push", blob)
        taken.append(time.monotonic() - began)
    counted = counting.take()
    return Cost(
        size,
        streamed,
        counted.requests.total() / count,
        _methods(counted, count),
        (counted.sent + counted.received) / count - size,
        median(taken),
    )


def _methods(counted: Count, count: int) -> str:
    return ", ".join(f"{method} {number / count:.3g}" for method, number in sorted(counted.requests.items()))


def _said(cost: Cost) -> str:
    return f"{name(cost)}: {cost.requests:.1f} requests ({cost.methods}), {cost.seconds * 1e3:.0f} ms"


def name(cost: Cost) -> str:
    """``1 MiB, POST+PUT``."""
    size = f"{cost.size // MIB} MiB" if cost.size >= MIB else f"{cost.size // KIB} KiB"
    return f"{size}, POST+{'PATCH+' if cost.streamed else ''}PUT"
