"""A TCP proxy before an S3 server that does, for a while, what stores do on bad days."""

from __future__ import annotations

import asyncio
import random
import threading
from contextlib import suppress
from typing import Literal, Self

Mood = Literal["well", "failing", "slow", "cutting"]
ANSWER = b"<?xml version='1.0'?><Error><Code>InternalError</Code><Message>try again</Message></Error>"
FAILED = b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/xml\r\nConnection: close\r\n" + (
    f"Content-Length: {len(ANSWER)}\r\n\r\n".encode() + ANSWER
)


class Faults:
    """Passes everything on to `port`, by its `mood`: each connection of a failing store is answered with 500, of a slow
    one every piece takes its time, of a cutting one the line breaks after some bytes. `met` counts them.

    It runs in a thread of its own.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self.mood: Mood = "well"
        self.met = 0
        self._random = random.Random(5)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        opening = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop)
        self._server = opening.result()
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there: asyncio.StreamWriter | None = None
        try:
            answers, there = await asyncio.open_connection("127.0.0.1", self._to)
            both = asyncio.gather(self._pass(reader, there, writer), self._pass(answers, writer, None))
            with suppress(OSError, EOFError):
                await both
            both.cancel()
        finally:
            for end in (writer, there):
                if end is not None:
                    end.transport.abort()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, back: asyncio.StreamWriter | None
    ) -> None:
        """One direction; raises EOFError at its end. `back` leads to the client, when it is the client that speaks."""
        while data := await reader.read(65536):
            mood = self.mood
            self.met += mood != "well"
            if mood == "failing" and back is not None:
                back.write(FAILED)
                await back.drain()
                await asyncio.sleep(0.05)
                raise EOFError
            if mood == "slow":
                await asyncio.sleep(0.2)
            if mood == "cutting" and self._random.random() < 0.5:
                writer.write(data[: self._random.randrange(len(data))])
                await writer.drain()
                raise EOFError
            writer.write(data)
            await writer.drain()
        raise EOFError
