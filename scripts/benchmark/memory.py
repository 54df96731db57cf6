"""A hundred uploads and a hundred downloads at once, and what the server's processes hold meanwhile."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmark.content import BYTES, KIB, Blob, Blobs, Content, path_of
from benchmark.process import Server, command_line, listens, status
from benchmark.target import Target
from benchmark.wire import Answer, WireError, head, parse_head

FRAME = 32 * KIB
"""Bytes in one chunk of an upload; Docker sends such."""
STEPS = 10
"""How often the clients wait for one another. Nobody is more than a step ahead, so all transfers overlap."""
PATIENCE = 600.0
"""Seconds a step may take."""


@dataclass(frozen=True)
class Peak:
    """What one process of the server held: resident bytes before and at the highest."""

    pid: int
    command: str
    listens: bool
    idle: int
    highest: int


class Watch:
    """Looks at processes ten times a second, and sees those that come later too."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._idle = {pid: status(pid, "VmRSS") for pid in server.pids}
        self._highest = dict(self._idle)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._end.wait(0.1):
            for pid in self._server.pids:
                self._highest[pid] = max(self._highest.get(pid, 0), status(pid, "VmRSS"), status(pid, "VmHWM"))

    def stop(self) -> Sequence[Peak]:
        """The peaks, one for each process that still lives."""
        self._end.set()
        self._thread.join()
        port = self._server.address.port
        return [
            Peak(pid, command_line(pid), listens(pid, port), self._idle.get(pid, 0), self._highest.get(pid, 0))
            for pid in self._server.pids
        ]


def measure(target: Target, content: Content, size: int, clients: int) -> Sequence[Peak]:
    """`clients` uploads and as many downloads of `size` bytes at once against a server we started."""
    if target.server is None:
        raise ValueError(f"{target.name}: only a server started here can be watched")
    content.seed_blobs(target, [content.blob(size)])
    content.seed_manifest(target, "library/bench-push")
    watch = Watch(target.server)
    asyncio.run(_overlap(target, content.blob(size), size, clients))
    return watch.stop()


async def _overlap(target: Target, stored: Blob, size: int, clients: int) -> None:
    authorization = await asyncio.to_thread(target.authorization)
    together = asyncio.Barrier(2 * clients)
    blobs = Blobs(size)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(clients):
            tasks.create_task(_Upload(target, authorization, together).run(next(blobs)))
            tasks.create_task(_Download(target, authorization, together).run(stored))


class _Transfer:
    def __init__(self, target: Target, authorization: str, together: asyncio.Barrier) -> None:
        self.target = target
        self.headers: Mapping[str, str] = {"Authorization": authorization}
        self._together = together
        self._loop = asyncio.get_running_loop()

    async def step(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self._together.wait()

    async def connect(self) -> socket.socket:
        address = self.target.address
        connected = socket.socket()
        connected.setblocking(False)
        await self._loop.sock_connect(connected, (address.host, address.port))
        return connected

    async def send(self, connected: socket.socket, data: bytes | memoryview) -> None:
        await self._loop.sock_sendall(connected, data)

    async def answer(self, connected: socket.socket, expected: int) -> Answer:
        """The head of an answer, and what came with it; raises WireError for another status."""
        data = b""
        while b"\r\n\r\n" not in data:
            more = await self._loop.sock_recv(connected, 4096)
            if not more:
                raise WireError("the server closed the connection")
            data += more
        raw, _, rest = data.partition(b"\r\n\r\n")
        return Answer(*parse_head(raw), rest).expect(expected)


class _Download(_Transfer):
    async def run(self, blob: Blob) -> None:
        """Ask, then read in steps: between them the server has more to send than anyone takes."""
        with await self.connect() as connected:
            path = f"/v2/library/bench-pull/blobs/{blob.digest}"
            await self.send(connected, head(self.target.address, "GET", path, self.headers))
            taken = len((await self.answer(connected, 200)).body)
            buffer = memoryview(bytearray(256 * KIB))
            for number in range(1, STEPS + 1):
                await self.step()
                while taken < blob.size * number // STEPS:
                    count = await self._loop.sock_recv_into(connected, buffer)
                    if not count:
                        raise WireError(f"GET {path} ended after {taken} of {blob.size} bytes")
                    taken += count


class _Upload(_Transfer):
    async def run(self, blob: Blob) -> None:
        """POST, PATCH in frames as Docker sends them, PUT."""
        with await self.connect() as connected:
            location = await self.ask(connected, "POST", "/v2/library/bench-push/blobs/uploads/", 202)
            headers = {**self.headers, "Content-Type": BYTES, "Transfer-Encoding": "chunked"}
            await self.send(connected, head(self.target.address, "PATCH", location, headers))
            whole = memoryview(blob.start)
            for number in range(STEPS):
                await self.step()
                start, end = (len(whole) * each // STEPS for each in (number, number + 1))
                for place in range(start, end, FRAME):
                    piece = whole[place : min(place + FRAME, end)]
                    await self.send(connected, b"".join((b"%x\r\n" % len(piece), piece, b"\r\n")))
            await self.send(connected, b"%x\r\n%b\r\n0\r\n\r\n" % (len(blob.end), blob.end))
            location = path_of(await self.answer(connected, 202))
            mark = "&" if "?" in location else "?"
            await self.ask(connected, "PUT", f"{location}{mark}digest={blob.digest}", 201)

    async def ask(self, connected: socket.socket, method: str, path: str, expected: int) -> str:
        """Ask without a body; where the answer points."""
        await self.send(connected, head(self.target.address, method, path, self.headers, 0))
        return path_of(await self.answer(connected, expected))
