"""What comes in on a hypercorn connection, copied once where asyncio's streams copy it four times.

A request's head is taken as it comes. The body of an upload is received into a room of its own until a piece worth the
work of passing it on is there: each costs its share of the way to the application.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.events import Closed, RawData

DESK = 256 * 1024
"""Bytes that are received at a time where nobody knows how many will come."""
UNREAD, UNREAD_PIECES = 64 * 1024, 64
"""Bytes, and pieces, that may wait for whoever reads before the client has to."""
SMALLEST_ROOM, LARGEST_ROOM = 64 * 1024, 1024 * 1024
BUDGET = 8 * 1024 * 1024
"""Bytes of the rooms of all connections in the middle of a body, while they are few enough. Each of them holds several
pieces of that size on their way to the storage."""
LINGER = 0.05
"""Seconds from the first byte of a piece until it is passed on though it is not full."""
LAST_CHUNK = b"0\r\n\r\n"
"""How a body in chunks ends: nothing is waited for after that."""
EVERYTHING = 1024 * 1024 * 1024


class Inlet(asyncio.BufferedProtocol):
    """The receiving half of a connection, in the place of asyncio's StreamReader.

    What its StreamWriter has to know it tells the protocol that was there before. `first` are bytes that had come by
    then; with `ended` nothing comes after them.
    """

    _desk = memoryview(bytearray(DESK))
    """One for all: between the two calls that a transport makes for what it receives nobody else has a turn."""
    _receiving: ClassVar[int] = 0
    """How many connections are in the middle of a large body."""
    _spare = memoryview(b"")
    """The last room that was given up: a new one has to be swept first."""

    def __init__(self, transport: asyncio.Transport, first: bytes, *, ended: bool) -> None:
        self._transport = transport
        self._behind: Any = None
        self._loop = asyncio.get_running_loop()
        self._ready = [first] if first else []
        self._unread = len(first)
        self._receives = False
        self._room: memoryview | None = None
        self._filled = 0
        self._timer: asyncio.TimerHandle | None = None
        self._ended = ended
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        if not ended:
            self._behind = transport.get_protocol()
            transport.set_protocol(self)

    async def read(self, wanted: int) -> bytes:
        """What has come; where `wanted` bytes of a body are still to come, a large piece of them. Nothing is the end.

        Raises what the connection was lost by.
        """
        if not self._ready and not self._ended:
            self._receive(wanted > SMALLEST_ROOM)
            if self._receives and self._room is None:
                self._make_room(wanted)
            self._transport.resume_reading()
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._ready:
            data = self._ready[0] if len(self._ready) == 1 else b"".join(self._ready)
            self._ready.clear()
            self._unread = 0
            return data
        if self._error is not None:
            raise self._error
        return b""

    def _receive(self, receives: bool) -> None:  # noqa: FBT001 - what it is from now on
        if receives is not self._receives:
            self._receives = receives
            Inlet._receiving += 1 if receives else -1

    def _make_room(self, wanted: int) -> None:
        size = min(max(SMALLEST_ROOM, min(LARGEST_ROOM, BUDGET // Inlet._receiving)), wanted)
        spare, Inlet._spare = Inlet._spare, memoryview(b"")
        self._room = spare if len(spare) == size else memoryview(bytearray(size))

    # ---- what the transport calls ----

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._desk if self._room is None else self._room[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        if self._room is None:
            self._pass(self._desk[:nbytes])
            if self._unread >= UNREAD or len(self._ready) >= UNREAD_PIECES:
                self._transport.pause_reading()
            return
        self._filled += nbytes
        if self._filled == len(self._room) or self._room[max(self._filled - 5, 0) : self._filled] == LAST_CHUNK:
            self._transport.pause_reading()  # until somebody wants more, and says how much
            self._empty_room()
        elif self._timer is None:
            self._timer = self._loop.call_later(LINGER, self._empty_room)

    def eof_received(self) -> bool | None:
        self._end(None)
        return self._behind.eof_received()  # type: ignore[no-any-return]  # the protocol of asyncio's streams

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc)
        self._behind.connection_lost(exc)

    def pause_writing(self) -> None:
        self._behind.pause_writing()

    def resume_writing(self) -> None:
        self._behind.resume_writing()

    # ---- what is passed on ----

    def _empty_room(self) -> None:
        """Pass on what the room holds, and give it up."""
        room, filled = self._room, self._filled
        self._room, self._filled = None, 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if room is not None:
            if filled:
                self._pass(room[:filled])
            Inlet._spare = room

    def _pass(self, data: memoryview) -> None:
        self._ready.append(bytes(data))
        self._unread += len(data)
        self._wake()

    def _end(self, error: Exception | None) -> None:
        self._ended = True
        self._error = self._error or error
        self._empty_room()
        self._receive(False)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class InletConnection(TCPServer):
    """A connection that is read by an `Inlet`."""

    async def _read_data(self) -> None:
        inlet = await self._open()
        while True:
            try:
                data = await inlet.read(self._expected())
            except OSError:
                break
            await self.protocol.handle(RawData(data))  # nothing says that this is the end
            if not data:
                break
        await self.protocol.handle(Closed())

    async def _open(self) -> Inlet:
        """Take over from the stream, with what it holds already."""
        transport: Any = self.writer.transport  # it reads as well, whatever its type says
        try:
            first = await self.reader.read(EVERYTHING)
        except OSError:
            first = b""
        return Inlet(transport, first, ended=self.reader.at_eof() or transport.is_closing())

    def _expected(self) -> int:
        """How many bytes of a body are still to come, as far as it was told."""
        return getattr(self.protocol.protocol, "expected", 0)
