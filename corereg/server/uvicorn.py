"""uvicorn: HTTP/1.1, several times as many small requests; an extra."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import uvicorn
from uvicorn.config import Config

from corereg.server.shutdown import Stop
from corereg.server.sockets import BACKLOG
from corereg.server.tls import Certificate
from corereg.server.transfers import Application

HEADERS = 64 * 1024
IDLE = 75


class Server(uvicorn.Server):
    """uvicorn without its own signals: it would end the process with the signal that stopped it."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


async def serve(app: Application, listener: socket.socket, certificate: Certificate | None, stop: Stop) -> None:
    """Serve until `stop` is requested and every connection is closed."""
    config = Config(
        app,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=IDLE,
        timeout_graceful_shutdown=None,  # the deadline is ours: see corereg.server.shutdown
        h11_max_incomplete_event_size=HEADERS,
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
