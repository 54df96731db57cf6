"""Files as bodies of responses: ``http.response.pathsend`` on hypercorn.

The bytes of a blob go from the page cache to the socket, by the kernel (sendfile(2)) or over a desk, and never through
the application. That is offered where nothing stands between the two: on HTTP/1.1 without TLS.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from hypercorn.events import Closed
from hypercorn.events import Event as ToBelow
from hypercorn.protocol.events import Event, Request, Response
from hypercorn.protocol.http_stream import ASGIHTTPState, HTTPStream

from corereg.messages import LINGERS, PATHSEND
from corereg.server.inlet import InletConnection
from corereg.store.threads import Threads

STRETCH = 1024 * 1024
"""Bytes of a file that are sent at most before others have their turn."""
DESK = 256 * 1024
"""Bytes that are copied at a time."""
READ_AHEAD = 128 * 1024
"""Bytes the kernel reads from a disk at least, one after the other: one of them tells where the rest is."""
THREADS = 8
"""Threads of a process that wait for the disk."""
_NOWAIT: int = getattr(os, "RWF_NOWAIT", 0)
SENDS = sys.platform == "linux" and bool(_NOWAIT)
"""Whether this system can send files so."""


@dataclass(frozen=True)
class FileBody(Event):
    """A file as the body of a response, on its way from a stream to the connection."""

    path: str


class FileData(ToBelow):
    """An open file on its way to the socket. Its length stands for its bytes where they are only counted (h11)."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._length = os.fstat(descriptor).st_size

    def __len__(self) -> int:
        return self._length


class FileStream(HTTPStream):
    """A request that may be answered with a file; its headers go out as the application gave them."""

    async def handle(self, event: Event) -> None:
        await super().handle(event)
        if isinstance(event, Request):  # the application is a task, and has not begun
            self.scope["extensions"] |= {PATHSEND: {}, LINGERS: {}}

    async def app_send(self, message: Any) -> None:
        kind = None if message is None else message["type"]
        if kind == "http.response.start" and self.state == ASGIHTTPState.REQUEST:
            # hypercorn would copy every header and strip it; those of our application are as they shall go out.
            self.response = message
            await self.send(Response(self.stream_id, headers=message.get("headers", []), status_code=message["status"]))
            self.state = ASGIHTTPState.RESPONSE
        elif kind != PATHSEND:
            await super().app_send(message)
        elif self.state == ASGIHTTPState.RESPONSE and not self.closed:
            await self.send(FileBody(self.stream_id, message["path"]))
            await self._send_closed()


class FileConnection(InletConnection):
    """A connection that files can be sent on."""

    _threads = Threads(THREADS, "sendfile")
    _desk = memoryview(bytearray(DESK))

    async def protocol_send(self, event: ToBelow) -> None:
        if isinstance(event, FileData):
            async with self.send_lock:
                try:
                    await self._send_file(event)
                except (ConnectionError, TimeoutError) as error:
                    await self.protocol.handle(Closed())
                    raise ConnectionAbortedError("the client has left") from error
        else:
            await super().protocol_send(event)

    async def _send_file(self, file: FileData) -> None:
        self._check_open()  # a closed transport cannot even be asked
        await self._written()
        connected = self.writer.get_extra_info("socket")
        send = self._copy if is_near(connected) else self._pass
        # A descriptor of our own: the connection may be closed meanwhile, and its number be somebody else's.
        out = os.dup(connected.fileno())
        try:
            await send(file, out)
        finally:
            os.close(out)

    async def _pass(self, file: FileData, out: int) -> None:
        """The kernel takes the bytes from where they lie: a fifth of the work, where the other end is far."""
        position = 0
        while position < len(file):
            self._check_open()
            stretch = file.descriptor, position, min(STRETCH, len(file) - position)
            try:
                if _in_memory(*stretch):
                    sent = os.sendfile(out, *stretch)
                else:
                    sent = await self._threads.run(os.sendfile, out, *stretch)
            except BlockingIOError:
                await self._writable(out)
            else:
                position += _some(sent)
                await asyncio.sleep(0)

    async def _copy(self, file: FileData, out: int) -> None:
        """The bytes go over a desk that stays in the processor's cache, and are still there when they are received.

        Passed on from where they lie, it would be the other end that waits for memory, and on one machine that costs
        more than the copy: three times as much of its time as this saves of ours.
        """
        position = 0
        while position < len(file):
            self._check_open()
            into = self._desk[: len(file) - position]
            try:
                read = os.preadv(file.descriptor, [into], position, _NOWAIT)
            except OSError:  # it would wait, or this file system cannot tell
                data = await self._threads.run(os.pread, file.descriptor, len(into), position)
                position += _some(len(data))
                await self._write(memoryview(data), out)
                continue
            # What does not go now is read again later: the desk is for everybody, and nobody leaves his things on it.
            position += await self._write_some(into[: _some(read)], out)

    async def _write(self, data: memoryview, out: int) -> None:
        while data:
            self._check_open()
            data = data[await self._write_some(data, out) :]

    async def _write_some(self, data: memoryview, out: int) -> int:
        """How many bytes went without waiting; when it returns, more may go."""
        try:
            sent = os.write(out, data)
        except BlockingIOError:  # no room at all
            sent = 0
        if sent < len(data):
            await self._writable(out)
        else:
            await asyncio.sleep(0)
        return sent

    def _check_open(self) -> None:
        if self.writer.is_closing():
            raise ConnectionAbortedError

    async def _written(self) -> None:
        """Wait until the connection has nothing left to write."""
        transport = self.writer.transport
        transport.set_write_buffer_limits(0)
        try:
            await self.writer.drain()
        finally:
            if not transport.is_closing():
                transport.set_write_buffer_limits()

    async def _writable(self, descriptor: int) -> None:
        free = self.loop.create_future()
        self.loop.add_writer(descriptor, _done, free)
        try:
            await free
        finally:
            self.loop.remove_writer(descriptor)


def _done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def is_near(connected: socket.socket) -> bool:
    """Whether the other end is on this machine: a proxy, most likely."""
    try:
        peer, own = connected.getpeername(), connected.getsockname()
    except OSError:  # the other end has left, as whoever writes will hear
        return True
    if connected.family not in {socket.AF_INET, socket.AF_INET6}:
        return True
    return peer[0] == own[0] or ip_address(peer[0]).is_loopback


def _some(count: int) -> int:
    if not count:
        raise OSError(errno.EIO, "a file was cut short while it was sent")
    return count


def _in_memory(descriptor: int, start: int, length: int) -> bool:
    """Whether sending that stretch waits for no disk, as far as the system can tell."""
    try:
        probe = bytearray(1)
        for position in range(start, start + length, READ_AHEAD):
            os.preadv(descriptor, [probe], position, _NOWAIT)
    except OSError:  # it would wait, or this file system cannot tell
        return False
    return True
