"""The clients: wrk where it can, a loop over epoll for HEAD, threads with prepared bytes for pushes."""

from __future__ import annotations

import json
import os
import resource
import select
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from benchmark.target import Target
from benchmark.wire import TIMEOUT, Connection, WireError, head

SCRIPT = Path(__file__).with_name("request.lua")


class LoadError(Exception):
    """The client could not run, so nothing was measured."""


@dataclass(frozen=True)
class Sample:
    """One run against one target.

    `requests` done in `seconds`, of which `errors` went wrong; `bytes` moved in the row's direction. `cpu` is what the
    server's processes used meanwhile, in processor seconds (0 if they are not ours), `client` what the load took.
    Latencies are in milliseconds, 0 where they were not taken.
    """

    requests: int
    seconds: float
    bytes: int
    errors: int = 0
    cpu: float = 0.0
    client: float = 0.0
    p50: float = 0.0
    p99: float = 0.0

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds

    @property
    def megabytes(self) -> float:
        """Million bytes a second."""
        return self.bytes / self.seconds / 1e6


@dataclass
class Meter:
    """What a run costs both sides, read when it begins and when it ends."""

    target: Target
    seconds: float = 0.0
    cpu: float = 0.0
    client: float = 0.0
    _start: tuple[float, float, float] = field(default=(0.0, 0.0, 0.0), init=False)

    def _now(self) -> tuple[float, float, float]:
        own = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return time.perf_counter(), self.target.cpu, sum(each.ru_utime + each.ru_stime for each in own)

    @contextmanager
    def running(self) -> Iterator[None]:
        self._start = self._now()
        yield
        end = self._now()
        self.seconds, self.cpu, self.client = (after - before for after, before in zip(end, self._start, strict=True))


@dataclass(frozen=True)
class Request:
    """What is asked again and again. With `tag`, every request puts `body` under a tag of its own that begins so."""

    method: str
    path: str
    accept: str = ""
    media_type: str = ""
    tag: str = ""
    body: str = ""


def wrk(target: Target, request: Request, *, seconds: float, connections: int, threads: int = 1) -> Sample:
    """Let wrk ask for `seconds`."""
    binary = shutil.which("wrk")
    if binary is None:
        raise LoadError("wrk is not installed (Debian: apt-get install wrk)")
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "BENCH_METHOD": request.method,
        "BENCH_AUTHORIZATION": target.authorization(),
        "BENCH_ACCEPT": request.accept,
        "BENCH_TYPE": request.media_type,
        **({"BENCH_TAG": request.tag, "BENCH_BODY": request.body} if request.tag else {}),
    }
    command = [binary, f"-t{threads}", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "60s"]
    command += ["-s", str(SCRIPT), target.address.url + request.path]
    meter = Meter(target)
    with meter.running():
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - wrk
    lines = [line for line in run.stdout.splitlines() if line.startswith("RESULT ")]
    if run.returncode or not lines:
        raise LoadError(f"{' '.join(command)}\n{run.stdout}{run.stderr}")
    found = json.loads(lines[-1].removeprefix("RESULT "))
    return Sample(
        requests=found["requests"],
        seconds=found["microseconds"] / 1e6,
        bytes=found["bytes"],
        errors=found["errors"],
        cpu=meter.cpu,
        client=meter.client,
        p50=found["p50"] / 1e3,
        p99=found["p99"] / 1e3,
    )


def heads(target: Target, path: str, *, seconds: float, connections: int) -> Sample:
    """HEAD again and again; wrk waits for a body that never comes."""
    request = head(target.address, "HEAD", path, {"Authorization": target.authorization()})
    meter = Meter(target)
    with _Heads(target, request, connections) as asked:
        with meter.running():
            asked.run(seconds)
        delays = sorted(asked.delays)
    if not delays:
        raise WireError(f"no answer to HEAD within {seconds:g} s")
    return Sample(
        requests=len(delays),
        seconds=meter.seconds,
        bytes=0,
        errors=asked.errors,
        cpu=meter.cpu,
        client=meter.client,
        p50=delays[len(delays) // 2] * 1e3,
        p99=delays[len(delays) * 99 // 100] * 1e3,
    )


class _Heads:
    """One request on many connections, each asking again when it is answered."""

    def __init__(self, target: Target, request: bytes, connections: int) -> None:
        self.delays: list[float] = []
        self.errors = 0
        self._address = target.address
        self._request = request
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._parts: dict[int, bytes] = {}
        self._sent: dict[int, float] = {}
        self._connections = connections

    def __enter__(self) -> Self:
        for _ in range(self._connections):
            self._open()
        return self

    def __exit__(self, *_: object) -> None:
        self._poll.close()
        for each in self._sockets.values():
            each.close()

    def _open(self) -> int:
        opened = self._address.connect()
        number = opened.fileno()
        self._sockets[number] = opened
        self._poll.register(number, select.EPOLLIN)
        return number

    def _ask(self, number: int) -> None:
        self._parts[number] = b""
        self._sent[number] = time.perf_counter()
        self._sockets[number].sendall(self._request)

    def run(self, seconds: float) -> None:
        deadline = time.perf_counter() + seconds
        for number in self._sockets:
            self._ask(number)
        while (left := deadline - time.perf_counter()) > 0:
            for number, _ in self._poll.poll(left):
                self._take(number)

    def _take(self, number: int) -> None:
        some = self._sockets[number].recv(65536)
        if not some:
            raise WireError("the server closed the connection")
        data = self._parts[number] = self._parts[number] + some
        if not data.endswith(b"\r\n\r\n"):
            return
        self.delays.append(time.perf_counter() - self._sent[number])
        self.errors += not data.startswith(b"HTTP/1.1 200")
        if b"\r\nconnection: close" in data.lower():  # some servers do so after so many requests
            self._poll.unregister(number)
            self._sockets.pop(number).close()
            number = self._open()
        self._ask(number)


Push = Callable[[Connection, str], int]
"""One push over a connection with an authorization: how many bytes it moved."""


def pushes(target: Target, push: Push, *, seconds: float, clients: int, limit: int) -> Sample:
    """`clients` push one after another, each until `seconds` have passed or together they have moved `limit` bytes."""
    authorization = target.authorization()
    start = threading.Barrier(clients + 1)

    def work() -> tuple[int, int, float]:
        count = moved = 0
        with Connection(target.address) as connection:
            start.wait(TIMEOUT)
            deadline = time.perf_counter() + seconds
            while time.perf_counter() < deadline and moved < limit / clients:
                moved += push(connection, authorization)
                count += 1
            return count, moved, time.perf_counter()

    meter = Meter(target)
    with ThreadPoolExecutor(clients) as threads:
        running = [threads.submit(work) for _ in range(clients)]
        start.wait(TIMEOUT)
        with meter.running():
            began = time.perf_counter()
            results = [each.result() for each in running]
    return Sample(
        requests=sum(count for count, _, _ in results),
        seconds=max(end for _, _, end in results) - began,
        bytes=sum(moved for _, moved, _ in results),
        cpu=meter.cpu,
        client=meter.client,
    )
