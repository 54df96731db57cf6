"""The requests under way in one process: how many, which have stalled, and how to end them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from corereg.messages import Receive, Scope, Send

STALLED = 300.0
"""Seconds the next piece of a body may take."""
ROUND = 15.0
"""Seconds between two looks at bodies that wait."""

Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class Transfers:
    """An ASGI application round another one, which knows what is under way.

    A client that stops sending in the middle of a body is taken for gone after `STALLED` seconds: none of the servers
    watches that. (A client that stops reading is the kernel's affair: see `corereg.server.sockets`.)
    """

    def __init__(self, app: Application, *, stalled: float = STALLED) -> None:
        self._app = app
        self._stalled = stalled
        self._tasks: set[asyncio.Task[Any]] = set()
        self._bodies: set[_Body] = set()
        self._none = asyncio.Event()
        self._none.set()

    def __len__(self) -> int:
        return len(self._tasks)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        task: asyncio.Task[Any] = asyncio.current_task()  # type: ignore[assignment]  # we are in one
        self._tasks.add(task)
        self._none.clear()
        body = None
        if scope["method"] not in {"GET", "HEAD"}:
            body = _Body(receive, task)
            self._bodies.add(body)
            receive = body.receive
        try:
            await self._app(scope, receive, send)
        finally:
            if body is not None:
                self._bodies.discard(body)
            self._tasks.discard(task)
            if not self._tasks:
                self._none.set()

    async def none_left(self) -> None:
        """Wait until nothing is under way."""
        await self._none.wait()

    def cut(self) -> int:
        """End what is under way; how many there were."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        return len(tasks)

    async def watch(self) -> None:
        """Look for stalled bodies, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(ROUND, self._stalled / 4))
            late = loop.time() - self._stalled
            for body in self._bodies:
                body.give_up(late)


class _Body:
    """One request's `receive`, and since when it waits."""

    __slots__ = ("_gone", "_loop", "_receive", "_since", "_task")

    def __init__(self, receive: Receive, task: asyncio.Task[Any]) -> None:
        self._receive = receive
        self._task = task
        self._loop = asyncio.get_running_loop()
        self._since = 0.0
        self._gone = False

    async def receive(self) -> Any:
        if self._gone:
            return {"type": "http.disconnect"}
        self._since = self._loop.time()
        try:
            return await self._receive()
        except asyncio.CancelledError:
            if self._taken_back():
                return {"type": "http.disconnect"}
            raise
        finally:
            self._since = 0.0

    def _taken_back(self) -> bool:
        """Whether the cancellation was ours, and nobody else's; it is undone then."""
        return self._gone and self._task.uncancel() == 0

    def give_up(self, late: float) -> None:
        """Tell the application that the client is gone if it has waited since before `late`."""
        if self._since and self._since < late and not self._gone:
            self._gone = True
            self._task.cancel()
