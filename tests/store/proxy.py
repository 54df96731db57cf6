"""A TCP proxy that cuts connections when a word goes by."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Self


class Proxy:
    """Listens on a port of the loopback address and passes everything on to another one.

    While `word` is set, a connection on which the client sends it is cut as soon as the server has answered to it: the
    server has done it, and the client never hears so. `cut` counts.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self.word: bytes | None = None
        self.cut = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        said = asyncio.Event()
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._to)

        async def forth() -> None:
            while data := await reader.read(65536):
                if self.word is not None and self.word in data:
                    said.set()
                server_writer.write(data)

        async def back() -> None:
            while data := await server_reader.read(65536):
                if said.is_set():
                    self.cut += 1
                    return
                writer.write(data)

        both = [asyncio.create_task(forth()), asyncio.create_task(back())]
        try:
            with suppress(OSError):
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in both:
                each.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            for end in (writer, server_writer):
                end.transport.abort()
            self._tasks.discard(task)
