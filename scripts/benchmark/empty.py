"""An ASGI app that does nothing: what the HTTP server alone can do is the ceiling of whatever runs on it.

``GET /<n>`` answers n bytes out of memory; whatever comes with POST, PUT and PATCH is read and dropped.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

CHUNK = bytes(1 << 20)
STATUS = {"POST": 202, "PATCH": 202, "PUT": 201}


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Answer with as many headers as a registry sends, and with nothing looked up."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    method = scope["method"]
    if method in STATUS:
        while (await receive()).get("more_body"):
            pass
        await _start(send, STATUS[method], 0, (b"location", b"/0"))
        await send({"type": "http.response.body", "body": b""})
        return
    tail = scope["path"][1:]
    size = int(tail) if tail.isdigit() else 0
    await _start(send, 200, size, (b"etag", b'"sha256:0"'))
    if method == "HEAD":
        await send({"type": "http.response.body", "body": b""})
        return
    while size > len(CHUNK):
        await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
        size -= len(CHUNK)
    await send({"type": "http.response.body", "body": CHUNK[:size]})


async def _start(send: Send, status: int, size: int, extra: tuple[bytes, bytes]) -> None:
    headers = [
        (b"content-type", b"application/octet-stream"),
        (b"content-length", b"%d" % size),
        (b"docker-content-digest", b"sha256:" + b"0" * 64),
        (b"docker-distribution-api-version", b"registry/2.0"),
        (b"x-content-type-options", b"nosniff"),
        extra,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return
