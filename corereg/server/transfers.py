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

BODY_HEADERS = frozenset({b"content-length", b"transfer-encoding"})

Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class Transfers:
    """An ASGI application round another one, which knows what is under way.

    A client that stops sending in the middle of a body is taken for gone after `STALLED` seconds: none of the servers
    watches that. (A client that stops reading is the kernel's affair: see `corereg.server.sockets`.)
    """

    def __init__(self, app: Application, *, stalled: float = STALLED) -> None:
        self._app = app
        self._stalled = stalled
        self._tasks: dict[asyncio.Task[Any], Scope] = {}
        self._bodies: set[_Body] = set()
        self._none: asyncio.Event | None = None
        """What whoever waits for the last of them waits for."""

    def __len__(self) -> int:
        return len(self._tasks)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        task: asyncio.Task[Any] = asyncio.current_task()  # type: ignore[assignment]  # we are in one
        self._tasks[task] = scope
        body = None
        if _may_have_body(scope):
            body = _Body(receive, send)
            self._bodies.add(body)
            receive, send = body.receive, body.send
        try:
            await self._app(scope, receive, send)
        finally:
            if body is not None:
                self._bodies.discard(body)
            self._tasks.pop(task, None)
            if self._none is not None and not self._tasks:
                self._none.set()

    def names(self, most: int = 3) -> str:
        """Some of the requests under way, for the log."""
        shown = [f"{scope['method']} {scope.get('path', '')}" for scope in list(self._tasks.values())[:most]]
        return ", ".join(shown) + (", ..." if len(self._tasks) > most else "")

    async def none_left(self) -> None:
        """Wait until nothing is under way."""
        while self._tasks:
            if self._none is None or self._none.is_set():
                self._none = asyncio.Event()
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


def _may_have_body(scope: Scope) -> bool:
    if scope["method"] not in {"GET", "HEAD"} or scope.get("http_version") == "2":
        return True
    for name, _ in scope["headers"]:  # noqa: SIM110 - on every pull, and three times as fast as any()
        if name in BODY_HEADERS:
            return True
    return False


class _Body:
    """One request's `receive`: since when it waits, and whether it has come to its end.

    hypercorn waits for ever for room in a full queue, also to tell a stream that it has ended. So what an application
    leaves unread is taken out of its way while it says its last.
    """

    __slots__ = ("_ended", "_gone", "_loop", "_receive", "_send", "_since", "_waiter")

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._waiter: asyncio.Task[Any] | None = None
        self._ended = False
        self._loop = asyncio.get_running_loop()
        self._since = 0.0
        self._gone = False

    async def receive(self) -> Any:
        if self._gone:
            return {"type": "http.disconnect"}
        self._since = self._loop.time()
        self._waiter = asyncio.current_task()
        try:
            message = await self._receive()
            self._ended = not message.get("more_body", False)
            return message
        except asyncio.CancelledError:
            if self._taken_back():
                return {"type": "http.disconnect"}
            raise
        finally:
            self._since = 0.0

    async def send(self, message: Any) -> None:
        last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if not last or self._ended or self._since:  # whoever waits for more takes it himself
            await self._send(message)
            return
        rest = asyncio.create_task(self._drained())
        try:
            await self._send(message)
        finally:
            rest.cancel()

    async def _drained(self) -> None:
        while (await self._receive()).get("more_body", False):
            pass

    def _taken_back(self) -> bool:
        """Whether the cancellation was ours, and nobody else's; it is undone then."""
        return self._gone and self._waiter is not None and self._waiter.uncancel() == 0

    def give_up(self, late: float) -> None:
        """Tell whoever waits since before `late` that the client is gone. After the end of a body that is no news: then
        an application waits for the client to leave, for as long as it likes.
        """
        if self._since and self._since < late and not self._ended and not self._gone and self._waiter is not None:
            self._gone = True
            self._waiter.cancel()
