"""A proxy in front of an S3 server that counts: requests by method, bytes each way. It forwards what it is given."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Self

from benchmark.wire import Address

HEAD_LIMIT = 256 * 1024


@dataclass
class Count:
    """What went through since it was last taken."""

    requests: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    received: int = 0


class Counting:
    """A proxy on a free port of 127.0.0.1, in a thread of its own; use it as a context."""

    def __init__(self, behind: Address) -> None:
        self._behind = behind
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._count = Count()

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0, limit=HEAD_LIMIT), self._loop
        ).result()
        self.address = Address("127.0.0.1", self._server.sockets[0].getsockname()[1])
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def take(self) -> Count:
        """What was counted since the last time."""
        found, self._count = self._count, Count()
        return found

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            onward, away = await asyncio.open_connection(self._behind.host, self._behind.port)
        except OSError:
            writer.close()
            return
        back = asyncio.create_task(self._back(onward, writer))
        try:
            await self._forth(reader, away)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            away.close()
            await asyncio.wait([back], timeout=5)
            writer.close()

    async def _forth(self, reader: asyncio.StreamReader, away: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            self._count.requests[head.split(b" ", 1)[0].decode()] += 1
            away.write(head)
            self._count.sent += len(head)
            left = _length(head)
            while left:
                data = await reader.read(min(left, 1 << 20))
                if not data:
                    return
                left -= len(data)
                self._count.sent += len(data)
                away.write(data)
                await away.drain()

    async def _back(self, onward: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await onward.read(1 << 20):
                self._count.received += len(data)
                writer.write(data)
                await writer.drain()
        except OSError:
            pass


def _length(head: bytes) -> int:
    """Bytes of the body. Clients of S3 give its length, also of a body in signed chunks."""
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    return 0
