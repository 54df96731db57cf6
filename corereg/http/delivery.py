"""A response on its way out, and what becomes of a request's body that nobody read."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from itertools import chain
from typing import Any

import anyio

from corereg.messages import LINGERS, PATHSEND, ClientGone, Request, Response, Send
from corereg.oci.errors import OCIError
from corereg.store.storage import StorageError

log = logging.getLogger(__name__)

DRAINED = 64 * 1024
"""Bytes of an unread body that are read after an error, so that the connection can be kept."""
PATIENCE = 1.0
"""Seconds a small rest of a body may take to come before its client is answered."""
LINGER = 5.0
"""Seconds a client may go on sending after it was answered."""


def unsendable(response: Response) -> str | None:
    """The name of a header that would end its line, and begin another header or the body (RFC 9110, 5.5); None without
    one. It is looked for here because not every server does.
    """
    if not _ends_line(b"".join(chain.from_iterable(response.headers))):
        return None
    return next(repr(name) for name, value in response.headers if _ends_line(name + value))


def _ends_line(text: bytes) -> bool:
    return b"\n" in text or b"\r" in text or b"\0" in text  # three searches by memchr, faster than any expression


async def begin(request: Request, response: Response) -> Response:
    """Fetch the first piece of a body that comes in pieces: before the status is out, a storage that fails is still an
    honest 503. Raises StorageError.
    """
    if isinstance(response.body, bytes) or request.method == "HEAD":
        return response
    if _sends_file(request, response):
        return response
    response.path = None
    pieces: Any = response.body
    response.first = await anext(pieces, b"")
    if response.length is not None and len(response.first) >= response.length:
        response.body = response.first
        if isinstance(pieces, AsyncGenerator):
            await pieces.aclose()
    return response


async def deliver(request: Request, response: Response, send: Send) -> None:
    """Send the response. The rest of a request's body that nobody wanted is in the way: a little is read, much ends the
    connection, though not before the client had time to read why.
    """
    if not request.sends_body or not await _leaves_much(request) or not isinstance(response.body, bytes):
        await _send(request, response, send)
        return
    # Somebody must take what still comes, or hypercorn waits for ever for room to tell that the stream has ended.
    rest = asyncio.ensure_future(request.drained())
    try:
        if request.scope.get("http_version", "1.1").startswith("1"):
            await _linger(request, response, send, rest)
        else:
            await _send(request, response, send)
    finally:
        rest.cancel()


async def _linger(request: Request, response: Response, send: Send, rest: asyncio.Future[None]) -> None:
    """The whole answer, then a while of listening, then the end: a connection that is closed on unread bytes is reset,
    and the client never sees what was said. A server that sends files (granian) counts, and closes with the last byte
    of the answer: there that one waits.
    """
    response.headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": response.status, "headers": response.headers})
    body: Any = b"" if request.method == "HEAD" else response.body
    now = len(body) - 1 if _server_counts(request) else len(body)
    await send({"type": "http.response.body", "body": body[:now], "more_body": True})
    request.sent = len(body)
    await asyncio.wait([rest], timeout=LINGER)
    await send({"type": "http.response.body", "body": body[now:]})


def _server_counts(request: Request) -> bool:
    """Whether the server closes a connection with the last byte of an answer that came too early: granian."""
    extensions = request.scope.get("extensions", ())
    return PATHSEND in extensions and LINGERS not in extensions


def _sends_file(request: Request, response: Response) -> bool:
    """Whether the server is to send the file: it can, and the file is what it should be. Else it is read, and one that
    is gone or unreadable is an honest error.
    """
    return (
        response.path is not None
        and PATHSEND in request.scope.get("extensions", ())
        and _is_whole(response.path, response.length)
    )


def _is_whole(path: str, length: int | None) -> bool:
    try:
        return os.stat(path).st_size == length and os.access(path, os.R_OK)  # noqa: PTH116 - on every pull
    except OSError:
        return False


async def _leaves_much(request: Request) -> bool:
    """Whether more of a body is unread than is worth reading; a small rest is read here."""
    length = request.length
    if request.consumed or not request.sends_body:
        return False
    if length is None or length > DRAINED or request.header(b"expect") is not None:
        return True
    try:
        with anyio.move_on_after(PATIENCE):
            await request.body(DRAINED)
    except (ClientGone, OCIError):
        return True
    return not request.consumed


async def _send(request: Request, response: Response, send: Send) -> None:
    await send({"type": "http.response.start", "status": response.status, "headers": response.headers})
    if request.method == "HEAD":
        await send({"type": "http.response.body", "body": b""})
    elif isinstance(response.body, bytes):
        await send({"type": "http.response.body", "body": response.body})
        request.sent = len(response.body)
    elif response.path is not None:
        await _send_file(request, response.path, response.length, send)
    else:
        await _stream(request, response, response.body, send)


async def _send_file(request: Request, path: str, length: int | None, send: Send) -> None:
    try:
        await send({"type": PATHSEND, "path": path})
    except ConnectionError:  # the client has left
        return
    except OSError as error:
        _broke_off(request, error)
        raise
    request.sent = length or 0


async def _stream(request: Request, response: Response, body: Any, send: Send) -> None:
    """Send the pieces as the client takes them.

    Servers swallow what is sent to somebody who has left, so that is watched for beside it: a blob of many gigabytes is
    not read for nobody.
    """
    gone = asyncio.ensure_future(request.gone())
    try:
        async with aclosing(body) as pieces:
            await send({"type": "http.response.body", "body": response.first, "more_body": True})
            request.sent = len(response.first)
            async for piece in pieces:
                if gone.done():
                    return
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                request.sent += len(piece)
    except StorageError as error:
        _broke_off(request, error)
        raise  # the status is out: only a cut connection tells the client that this is not the whole
    finally:
        gone.cancel()
    await send({"type": "http.response.body", "body": b""})


def _broke_off(request: Request, error: Exception) -> None:
    log.error("%s %s broke off: %s", request.method, request.path, error)
