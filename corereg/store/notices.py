"""What nodes call out to one another through PostgreSQL (NOTIFY): look, there is something new.

A notice may be lost (a connection breaks, a pooler in between drops LISTEN), so nobody relies on one: who waits for a
notice also looks by itself from time to time. It is given at most once more than needed after every reconnection.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

log = logging.getLogger(__name__)

Heard = Callable[[str], None]
"""Called in the event loop with what was said; empty when something may have been missed."""

ALIVE = 30.0
"""Seconds of silence after which the connection is tried: a peer that is gone says nothing, too."""
SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 10.0
"""Seconds between two tries to connect."""


class Listener:
    """One connection that listens for a whole process; it comes back by itself.

    `connect` makes an asyncpg connection.
    """

    def __init__(self, connect: Callable[[], Awaitable[Any]]) -> None:
        self._connect = connect
        self._heard: dict[str, list[Heard]] = {}
        self._new = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def listen(self, channel: str, heard: Heard) -> None:
        """Call `heard` for every notice on a channel, from soon on."""
        self._heard.setdefault(channel, []).append(heard)
        self._new.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="corereg notices")

    async def close(self) -> None:
        """Listen no more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _run(self) -> None:
        pause = SHORTEST_PAUSE
        while True:
            try:
                connection = await self._connect()
            except Exception as error:  # noqa: BLE001 - whatever it is: nothing but promptness is lost
                log.info("no notices of other nodes for now: %s", error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
                continue
            pause = SHORTEST_PAUSE
            try:
                await self._stay(connection)
            except Exception as error:  # noqa: BLE001 - as above
                log.info("the connection that hears other nodes broke: %s", error)
            finally:
                connection.terminate()

    async def _stay(self, connection: Any) -> None:
        """Listen until the connection breaks."""
        connection.add_termination_listener(lambda _: self._new.set())
        known: set[str] = set()
        while not connection.is_closed():
            self._new.clear()
            for channel in self._heard.keys() - known:
                await connection.add_listener(channel, self._notice)
                known.add(channel)
                self._tell(channel, "")
            try:
                await asyncio.wait_for(self._new.wait(), ALIVE)
            except TimeoutError:
                await connection.execute("SELECT 1", timeout=ALIVE)

    def _notice(self, _connection: object, _process: int, channel: str, payload: str) -> None:
        self._tell(channel, payload)

    def _tell(self, channel: str, payload: str) -> None:
        for heard in self._heard[channel]:
            heard(payload)
