"""granian: HTTP/1.1 and HTTP/2 in Rust, sends files by itself; an extra."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any

from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings, HTTP2Settings
from granian.server.embed import Server as EmbeddedServer

from corereg.server.shutdown import Stop
from corereg.server.sockets import BACKLOG, HEADERS, IDLE
from corereg.server.tls import Certificate
from corereg.server.transfers import Application

WINDOW = 1024 * 1024


class Server(EmbeddedServer):
    """granian on a socket that is there already."""

    listener: socket.socket

    def _init_shared_socket(self) -> None:
        self._shd: Any = SocketHolder(self.listener.detach(), False, BACKLOG)  # type: ignore[call-arg]  # its stub errs
        self._ssp = None


async def serve(app: Application, listener: socket.socket, certificate: Certificate | None, stop: Stop) -> None:
    """Serve until `stop` is requested."""
    logging.getLogger("_granian").setLevel(logging.ERROR)  # it warns that to be embedded is experimental
    server = Server(
        app,
        interface=Interfaces.ASGINL,
        # to find out which protocol a connection speaks, it would wait for ever
        http=HTTPModes.http1 if certificate is None else HTTPModes.auto,
        websockets=False,
        backlog=BACKLOG,
        backpressure=BACKLOG,
        http1_settings=HTTP1Settings(header_read_timeout=IDLE * 1000, max_buffer_size=2 * HEADERS),
        http2_settings=HTTP2Settings(
            initial_connection_window_size=2 * WINDOW,
            initial_stream_window_size=WINDOW,
            max_frame_size=256 * 1024,
            max_headers_size=HEADERS,
        ),
        log_enabled=False,
        log_access=False,
        ssl_cert=None if certificate is None else certificate.cert,
        ssl_key=None if certificate is None else certificate.key,
        ssl_protocol_min=SSLProtocols.tls12,
    )
    server.listener = listener
    ended = asyncio.create_task(_end(server, stop))
    try:
        await server.serve()
    finally:
        ended.cancel()


async def _end(server: Any, stop: Stop) -> None:
    await stop.requested.wait()
    server.stop()
