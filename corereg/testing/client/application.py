"""The application in this process, reached as a server would reach it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

import anyio
import httpx2

Message = MutableMapping[str, Any]
Application = Callable[[Any, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]
_SOON = 5.0  # seconds an application may take to notice that its client left


class AppTransport(httpx2.AsyncBaseTransport):
    """Sends requests to an ASGI application in the running event loop.

    Unlike `httpx2.ASGITransport` it hands on the exact target, streams both bodies (the request's is read only as the
    application asks, the answer's waits for its reader), tells the application when its client leaves, and holds the
    application to ASGI: lower-case header names, as many bytes as Content-Length says, none after 204 or 304.
    """

    def __init__(self, app: Application, client: tuple[str, int] = ("127.0.0.1", 49152)) -> None:
        self._app = app
        self._client = client

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        visit = _Visit(request)
        visit.begin(self._app, self._scope(request))
        try:
            status, headers = await visit.head()
        except BaseException:
            with anyio.CancelScope(shield=True):
                await visit.leave()
            raise
        return httpx2.Response(status, headers=headers, stream=visit)

    def _scope(self, request: httpx2.Request) -> dict[str, Any]:
        target = bytes(request.extensions.get("target", request.url.raw_path))
        raw_path, _, query = target.partition(b"?")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": request.url.scheme,
            "path": unquote(raw_path.decode("latin-1")),
            "raw_path": raw_path,
            "query_string": query,
            "root_path": "",
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "client": self._client,
            "server": (request.url.host, request.url.port or 80),
        }


class _Visit(httpx2.AsyncByteStream):
    """One request on its way through an application; as a stream, the body of the answer."""

    def __init__(self, request: httpx2.Request) -> None:
        assert isinstance(request.stream, httpx2.AsyncByteStream)
        self._method = request.method
        self._pieces = aiter(request.stream)
        self._piece: asyncio.Future[bytes | None] | None = None
        self._body: asyncio.Queue[bytes | None] = asyncio.Queue(4)
        self._over = asyncio.Event()
        self._head: asyncio.Future[tuple[int, list[tuple[bytes, bytes]]]] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None
        self._broken: BaseException | None = None
        self._promised: int | None = None
        self._sent = 0

    def begin(self, app: Application, scope: dict[str, Any]) -> None:
        self._task = asyncio.create_task(self._run(app, scope))

    async def _run(self, app: Application, scope: dict[str, Any]) -> None:
        try:
            await app(scope, self._receive, self._send)
            if not self._over.is_set():
                raise AssertionError(
                    f"{self._method} {scope['raw_path']!r}: the application returned, but did not answer"
                )
        except BaseException as error:
            self._break(error)
            raise

    def _break(self, error: BaseException) -> None:
        """Whoever waits for the answer gets `error`; the application, if it still runs, sees its client leave."""
        self._broken = self._broken or error
        self._over.set()
        if not self._head.done():
            self._head.set_exception(self._broken)
            self._head.exception()  # seen: a visitor who left already shall not be warned
        if self._body.full():
            self._body.get_nowait()
        self._body.put_nowait(None)

    async def head(self) -> tuple[int, list[tuple[bytes, bytes]]]:
        return await asyncio.shield(self._head)

    async def _receive(self) -> Message:
        if self._over.is_set():
            return {"type": "http.disconnect"}
        if self._piece is None:
            # A future of its own, so that an application which times out in receive() loses no bytes.
            self._piece = asyncio.ensure_future(_next(self._pieces))
        await self._unless_over(self._piece)
        if not self._piece.done():
            return {"type": "http.disconnect"}
        if (error := self._piece.exception()) is not None:
            self._break(error)
            return {"type": "http.disconnect"}
        piece = self._piece.result()
        if piece is None:
            self._piece = asyncio.get_running_loop().create_future()  # nothing more comes: the next receive() waits
            return {"type": "http.request", "body": b"", "more_body": False}
        self._piece = None
        return {"type": "http.request", "body": piece, "more_body": True}

    async def _send(self, message: Message) -> None:
        if self._over.is_set():
            return  # as servers do when the client has left
        if message["type"] == "http.response.start":
            self._start(message["status"], [(bytes(name), bytes(value)) for name, value in message.get("headers", ())])
        elif message["type"] == "http.response.body":
            await self._add(message.get("body", b""), more=message.get("more_body", False))
        else:
            raise AssertionError(f"the application sent {message['type']}, which this server does not offer")

    def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        assert not self._head.done(), "the application started two answers"
        for name, value in headers:
            assert name == name.lower(), f"ASGI wants lower-case header names, not {name!r}"
            assert b"\n" not in value and b"\r" not in value, f"header {name!r} holds a line break: {value!r}"
            if name == b"content-length" and self._method != "HEAD" and status != 304:
                self._promised = int(value)
        if status in (204, 304):
            self._promised = 0
        self._head.set_result((status, headers))

    async def _add(self, body: bytes, *, more: bool) -> None:
        assert self._head.done(), "the application sent a body before its answer's head"
        if self._method != "HEAD":
            self._sent += len(body)
            if self._promised is not None:
                fits = self._sent <= self._promised if more else self._sent == self._promised
                assert fits, f"Content-Length promises {self._promised} bytes, the application sent {self._sent}"
            if body:
                await self._queue(body)
        if not more:
            await self._queue(None)
            self._over.set()

    async def _queue(self, item: bytes | None) -> None:
        """Wait until the reader has room, or has left."""
        room = asyncio.ensure_future(self._body.put(item))
        try:
            await self._unless_over(room)
        finally:
            room.cancel()

    async def _unless_over(self, event: asyncio.Future[Any]) -> None:
        """Wait for `event`, but no longer than the client is there."""
        over: asyncio.Future[Any] = asyncio.ensure_future(self._over.wait())
        try:
            await asyncio.wait({event, over}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            over.cancel()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (piece := await self._body.get()) is not None:
            yield piece
        if self._broken is not None:
            raise self._broken

    async def aclose(self) -> None:
        await self.leave()
        if self._broken is not None:
            raise self._broken

    async def leave(self) -> None:
        """The client is gone: tell the application and wait until it is done."""
        self._over.set()
        if self._piece is not None:
            self._piece.cancel()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=_SOON)
            self._task.cancel()


async def _next(pieces: AsyncIterator[bytes]) -> bytes | None:
    return await anext(pieces, None)


@asynccontextmanager
async def running(app: Application) -> AsyncIterator[Application]:
    """Run `app`'s lifespan around a block, as a server does: a registry made with ``manage=True`` opens and closes."""
    incoming: asyncio.Queue[Message] = asyncio.Queue()
    outgoing: asyncio.Queue[Message] = asyncio.Queue()
    scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}
    task = asyncio.ensure_future(app(scope, incoming.get, outgoing.put))

    async def step(word: str) -> None:
        await incoming.put({"type": f"lifespan.{word}"})
        said = asyncio.ensure_future(outgoing.get())
        await asyncio.wait({task, said}, return_when=asyncio.FIRST_COMPLETED)
        if not said.done():
            said.cancel()
            await task
            raise AssertionError(f"the application's lifespan ended at {word}")
        if said.result()["type"] != f"lifespan.{word}.complete":
            raise AssertionError(f"{word} failed: {said.result().get('message', '')}")

    await step("startup")
    try:
        yield app
    finally:
        await step("shutdown")
        await task
