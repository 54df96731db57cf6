"""hypercorn: HTTP/1.1 and HTTP/2, the default."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any

import h2.errors
import h2.events
import h2.settings
import hypercorn.protocol
from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config
from hypercorn.events import Closed, Event
from hypercorn.protocol.h2 import H2Protocol

from corereg.server.connections import DatedConfig, IdleTimer, install
from corereg.server.shutdown import Stop
from corereg.server.sockets import BACKLOG, HEADERS, IDLE
from corereg.server.tls import Certificate
from corereg.server.transfers import Application

WINDOW = 1024 * 1024
"""Bytes a client may send on one HTTP/2 stream before it hears from us; the protocol's own 64 KiB make a push over a
distance slow. A connection has the double. It costs no memory: what the application has not asked for stays with the
kernel."""
FRAME = 64 * 1024
"""Bytes of one HTTP/2 frame."""


async def serve(app: Application, listener: socket.socket, certificate: Certificate | None, stop: Stop) -> None:
    """Serve until `stop` is requested and every connection is closed."""
    vars(hypercorn.protocol)["H2Protocol"] = Streams  # there is no other door to the windows
    install()
    asgi: Any = app  # hypercorn types ASGI as unions of TypedDicts

    async def stopping() -> None:
        await stop.requested.wait()
        asyncio.get_running_loop().call_soon(IdleTimer.end_all)

    await hypercorn_serve(asgi, _config(listener, certificate), shutdown_trigger=stopping, mode="asgi")


def _config(listener: socket.socket, certificate: Certificate | None) -> Config:
    config = DatedConfig()
    config.bind = [f"fd://{listener.detach()}"]
    config.backlog = BACKLOG
    config.errorlog = logging.getLogger("hypercorn.error")
    config.accesslog = None
    config.include_server_header = False
    config.keep_alive_timeout = IDLE
    config.keep_alive_max_requests = 100_000
    config.read_timeout = None  # it would also end a long download, during which a client says nothing
    config.ssl_handshake_timeout = 10
    config.graceful_timeout = 10**8  # the deadline is ours: see corereg.server.shutdown
    config.h11_max_incomplete_size = HEADERS
    config.h2_max_header_list_size = HEADERS
    config.h2_max_inbound_frame_size = FRAME
    config.websocket_max_message_size = 1024
    # Pieces of a body that wait (see `corereg.server.inlet`): a hundred uploads have them a hundred times. Not fewer
    # than two: hypercorn tells an application that never asks that its body has ended, and that its client is gone.
    config.max_app_queue_size = 2
    if certificate is not None:
        config.certfile = str(certificate.cert)
        config.keyfile = str(certificate.key)
    return config


class Streams(H2Protocol):
    """HTTP/2 with windows wide enough for blobs, and at peace with a client that sends on after its answer."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        wanted = {
            h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: WINDOW,
            h2.settings.SettingCodes.MAX_FRAME_SIZE: FRAME,
            h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: self.config.h2_max_concurrent_streams,
            h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE: self.config.h2_max_header_list_size,
        }
        self.connection.local_settings = h2.settings.Settings(client=False, initial_values=wanted)
        self.connection.max_inbound_frame_size = FRAME

    async def initiate(self, headers: list[tuple[bytes, bytes]] | None = None, settings: bytes | None = None) -> None:
        await super().initiate(headers, settings)
        self.connection.increment_flow_control_window(2 * WINDOW)
        await self._flush()

    async def handle(self, event: Event) -> None:
        """Also let go of answers that nobody will take any more. The task that sends ends with its connection, and
        hypercorn lets whoever waits for it wait for ever: a request that is then under way until the server is stopped.
        """
        await super().handle(event)
        if isinstance(event, Closed):
            for buffer in list(self.stream_buffers.values()):
                await buffer.close()

    async def _handle_events(self, events: list[h2.events.Event]) -> None:
        """One by one: hypercorn fails, and the whole connection with it, over data for a stream it has answered."""
        for event in events:
            if isinstance(event, h2.events.DataReceived) and event.stream_id not in self.streams:
                self._refuse(event)
            else:
                await super()._handle_events([event])
        await self._flush()

    def _refuse(self, event: h2.events.DataReceived) -> None:
        length = event.flow_controlled_length or 0
        if length:
            self.connection.acknowledge_received_data(length, event.stream_id)
        if event.stream_ended is None and event.stream_id not in self.stream_buffers:
            try:
                self.connection.reset_stream(event.stream_id, h2.errors.ErrorCodes.NO_ERROR)
            except h2.exceptions.StreamClosedError:
                return
