"""uvicorn: HTTP/1.1, several times as many small requests as hypercorn; an extra."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import uvicorn
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from corereg.server.refusals import refusal
from corereg.server.shutdown import Stop
from corereg.server.sockets import BACKLOG, HEADERS, IDLE
from corereg.server.tls import Certificate
from corereg.server.transfers import Application


class Server(uvicorn.Server):
    """uvicorn without its own signals: it would end the process with the signal that stopped it."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


class Connection(HttpToolsProtocol):
    """A connection whose request line and headers may neither grow nor take time without end, as uvicorn lets them."""

    _in_head = True
    _head = 0
    _overdue: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_nothing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head and not self.transport.is_closing():
            self._head += len(data)
            if self._head > HEADERS:
                self.send_400_response("")

    def on_message_begin(self) -> None:
        self._expect_head()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head = 0
        self._expect_nothing()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """400, or 431 where the head is too large."""
        status = 400 if self._head <= HEADERS else 431
        headers, body = refusal(status)
        lines = b"".join(b"%s: %s\r\n" % header for header in (*self.server_state.default_headers, *headers))
        self.transport.write(STATUS_LINE[status] + lines + b"\r\n" + body)
        self.transport.close()

    def _count(self, size: int) -> None:
        self._head += size
        if self._head > HEADERS:
            raise ValueError("the headers are too large")  # the parser gives up; see send_400_response

    def _expect_head(self) -> None:
        self._expect_nothing()
        self._in_head = True
        self._head = 0
        self._overdue = self.loop.call_later(IDLE, self.timeout_keep_alive_handler)

    def _expect_nothing(self) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None


async def serve(app: Application, listener: socket.socket, certificate: Certificate | None, stop: Stop) -> None:
    """Serve until `stop` is requested and every connection is closed."""
    if logging.getLogger("uvicorn").level > logging.INFO:
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # it warns of each malformed request
    config = Config(
        app,
        http=Connection,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=IDLE,
        timeout_graceful_shutdown=None,  # the deadline is ours: see corereg.server.shutdown
    )
    config.load()
    if certificate is not None:
        config.ssl = certificate.context(["http/1.1"])
    server = Server(config)
    ended = asyncio.create_task(_end(server, stop))
    try:
        await server.serve(sockets=[socket.socket(fileno=listener.detach())])
    finally:
        ended.cancel()


async def _end(server: Any, stop: Stop) -> None:
    await stop.requested.wait()
    server.should_exit = True
