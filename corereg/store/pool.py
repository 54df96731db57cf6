"""A pool of connections to PostgreSQL.

Taking one that is idle costs neither a round trip nor a switch to another task: whether it still lives shows when it
is used, and then all idle ones are forgotten at once, because what killed one (a restart, a failover) killed them all.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from corereg.store.database import DatabaseUnavailable


class Connection:
    """One connection: asyncpg's own (`raw`), and SQLAlchemy's view of it, made when it is first needed."""

    __slots__ = ("born", "generation", "raw", "wrapped")

    def __init__(self, raw: Any, generation: int) -> None:
        self.raw = raw
        self.wrapped: Any = None
        self.born = time.monotonic()
        self.generation = generation

    @property
    def lost(self) -> bool:
        """Whether it is closed, or SQLAlchemy gave it up: what was cancelled in its hands it does not go on with."""
        return bool(self.raw.is_closed() or (self.wrapped is not None and self.wrapped.invalidated))


class Pool:
    """At most `size` + `overflow` connections, of which `size` are kept.

    `timeout`: seconds to wait for one. `recycle`: seconds after which one is replaced, when it is next asked for; 0 is
    never. `connect` makes one; what it raises reaches whoever asked.
    """

    def __init__(
        self, connect: Callable[[], Awaitable[Any]], *, size: int, overflow: int, timeout: float, recycle: float
    ) -> None:
        self._connect = connect
        self._size = size
        self._most = size + overflow
        self._timeout = timeout
        self._recycle = recycle
        self._generation = 0
        self._idle: list[Connection] = []
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()
        self._closed = False
        self.open = 0
        """Connections that there are, or that are being made."""

    @property
    def idle(self) -> int:
        """Connections that nobody uses."""
        return len(self._idle)

    @property
    def waiting(self) -> int:
        """How many wait for a connection."""
        return len(self._waiting)

    async def take(self) -> Connection:
        """A connection for the caller alone, to be given back with `give` or `drop`."""
        while True:
            while self._idle:
                found = self._idle.pop()
                if self._good(found):
                    return found
                self.drop(found)
            if self.open < self._most:
                return await self._make()
            given = await self._wait()
            if given is not None:
                return given

    def _good(self, connection: Connection) -> bool:
        return (
            connection.generation == self._generation
            and not connection.lost
            and not (self._recycle and time.monotonic() - connection.born > self._recycle)
        )

    async def _make(self) -> Connection:
        self.open += 1
        generation = self._generation
        try:
            return Connection(await self._connect(), generation)
        except BaseException:
            self._gone()
            raise

    async def _wait(self) -> Connection | None:
        """A connection that somebody gives back; None: there is room for a new one."""
        future: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            async with asyncio.timeout(self._timeout):
                return await future
        except BaseException as error:
            with suppress(ValueError):
                self._waiting.remove(future)
            if future.done() and not future.cancelled():  # it was given in the moment in which it was given up
                given = future.result()
                if given is None:
                    self._call_next(None)
                else:
                    self.give(given)
            if isinstance(error, TimeoutError):
                message = f"all {self._most} connections to the database were busy for {self._timeout:g} s"
                raise DatabaseUnavailable(message) from error
            raise

    def give(self, connection: Connection) -> None:
        """Give it back, in order and outside any transaction."""
        if self._closed or not self._good(connection):
            self.drop(connection)
        elif not self._call_next(connection):
            if self.open > self._size:
                self.drop(connection)
            else:
                self._idle.append(connection)

    def drop(self, connection: Connection) -> None:
        """Give it back to be closed: it is broken, or nobody knows what it is doing."""
        connection.wrapped = None
        connection.raw.terminate()
        self._gone()

    def forget(self) -> None:
        """The idle ones are as broken as the one that was just dropped; so are those that others still use."""
        self._generation += 1
        while self._idle:
            self.drop(self._idle.pop())

    def _gone(self) -> None:
        self.open -= 1
        self._call_next(None)

    def _call_next(self, given: Connection | None) -> bool:
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(given)
                return True
        return False

    async def close(self) -> None:
        """Close the idle ones, and each that is in use when it is given back."""
        self._closed = True
        while self._idle:
            connection = self._idle.pop()
            with suppress(Exception):  # it may be broken; then there is nothing to say goodbye to
                await connection.raw.close(timeout=5)
            self.drop(connection)
