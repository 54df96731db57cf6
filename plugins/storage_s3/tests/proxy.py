"""A proxy in front of an S3 server that spoils some answers."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

Fault = int | str
"""A status to answer with, ``lose`` (the server answers, nobody hears it), ``cut`` (after some of the body), or
``silent`` (as cut, and the connection stays).
"""
_CODES = {500: "InternalError", 503: "SlowDown", 403: "AccessDenied"}
PASSED = 300_000
"""Bytes of an answer that come through before it is cut."""


@dataclass
class Proxy:
    """Use it as a context; `spoil` says what goes wrong."""

    behind: str
    seen: list[str] = field(default_factory=list)
    faults: list[tuple[re.Pattern[str], Fault, int]] = field(default_factory=list)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def spoil(self, requests: str, fault: Fault, times: int = 1) -> None:
        """The next `times` requests whose head matches `requests`."""
        self.faults.append((re.compile(requests), fault, times))

    async def __aenter__(self) -> Self:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 20)
        self.address = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _fault(self, head: str) -> Fault | None:
        for number, (pattern, fault, times) in enumerate(self.faults):
            if pattern.search(head):
                self.faults[number : number + 1] = [(pattern, fault, times - 1)] if times > 1 else []
                return fault
        return None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                head = await reader.readuntil(b"\r\n\r\n")
                self.seen.append(head.decode())
                await self._answer(head, self._fault(head.decode()), reader, writer)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(
        self, head: bytes, fault: Fault | None, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if isinstance(fault, int):
            body = f"<Error><Code>{_CODES[fault]}</Code><Message>spoiled</Message></Error>".encode()
            writer.write(b"HTTP/1.1 %d Spoiled\r\nContent-Type: application/xml\r\n" % fault)
            writer.write(b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            await writer.drain()
            return
        host, port = self.behind.removeprefix("http://").split(":")
        onward, away = await asyncio.open_connection(host, int(port))
        away.write(head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
        forth = asyncio.create_task(_pump(reader, away))
        try:
            passed = 0
            while data := await onward.read(65536):
                if fault == "lose":
                    if data.startswith(b"HTTP/1.1 100"):  # send the body, it says
                        writer.write(data)
                elif fault is None or passed < PASSED:
                    writer.write(data)
                    await writer.drain()
                    passed += len(data)
                elif fault == "silent":
                    await forth  # until the client has had enough
                    return
                else:
                    return
        finally:
            forth.cancel()
            away.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
