"""Metrics of a process that serves: put down for the other workers, and answered on a port of their own."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from corereg.http.metrics import scrape
from corereg.metrics import CONTENT_TYPE
from corereg.registry import Registry

log = logging.getLogger(__name__)

OFTEN = 1.0
"""Seconds between two times a worker puts down what it has counted; so much is lost when it is killed."""
HEAD = 16 * 1024
"""Bytes the head of a request may have here."""
PATIENCE = 10.0
"""Seconds a request may take to come, and its answer to be taken."""


@asynccontextmanager
async def telling(registry: Registry, listener: socket.socket | None) -> AsyncGenerator[None]:
    """While the body runs, this process's numbers are told."""
    publishing = asyncio.create_task(_publish(registry), name="corereg metrics")
    server = (
        None if listener is None else await asyncio.start_server(_Scrapes(registry).answer, sock=listener, limit=HEAD)
    )
    try:
        yield
    finally:
        publishing.cancel()
        if server is not None:
            server.close()
        registry.metrics.publish()


async def _publish(registry: Registry) -> None:
    while True:
        await asyncio.sleep(OFTEN)
        registry.metrics.publish()


class _Scrapes:
    """As much HTTP as Prometheus speaks: one GET for each connection."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read the head of a request, answer it, close."""
        try:
            async with asyncio.timeout(PATIENCE):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(await self._answer(head.split(b"\r\n", 1)[0]))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            log.debug("a scrape broke off: %r", error)
        except Exception:
            log.exception("a scrape failed")
        finally:
            writer.close()
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await writer.wait_closed()

    async def _answer(self, line: bytes) -> bytes:
        method, _, rest = line.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if path != b"/metrics":
            return _response(b"404 Not Found", b"here is /metrics alone\n")
        if method not in {b"GET", b"HEAD"}:
            return _response(b"405 Method Not Allowed", b"GET /metrics\n", b"Allow: GET, HEAD\r\n")
        body = await scrape(self._registry)
        whole = _response(b"200 OK", body, kind=CONTENT_TYPE.encode())
        return whole if method == b"GET" else whole[: len(whole) - len(body)]


def _response(status: bytes, body: bytes, more: bytes = b"", kind: bytes = b"text/plain; charset=utf-8") -> bytes:
    head = b"HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n%sConnection: close\r\n\r\n"
    return head % (status, kind, len(body), more) + body
