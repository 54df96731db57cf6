"""What a client sends is read whole and in order, in pieces worth their work, and never more of it than has room."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from corereg.server import inlet as module
from corereg.server.inlet import DESK, LARGEST_ROOM, SMALLEST_ROOM, UNREAD, UNREAD_PIECES, Inlet

KIB = 1024
MIB = 1024 * KIB
LOOPS = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}

Test = Callable[[Inlet, socket.socket], Awaitable[None]]
Run = Callable[[Test], None]


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Inlet, socket.socket]]:
    """An inlet, and the other end of its connection, which blocks."""
    made: asyncio.Queue[tuple[Inlet, asyncio.StreamWriter]] = asyncio.Queue()

    async def accepted(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transport: Any = writer.transport
        made.put_nowait((Inlet(transport, b"", ended=False), writer))

    server = await asyncio.start_server(accepted, "127.0.0.1", 0)
    async with server:
        with socket.create_connection(server.sockets[0].getsockname(), timeout=10) as client:
            inlet, writer = await made.get()
            try:
                yield inlet, client
            finally:
                writer.close()


@pytest.fixture(params=LOOPS.values(), ids=LOOPS)
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a test in an event loop; nobody is counted any more when it is over."""

    async def main(test: Test) -> None:
        async with connected() as (inlet, client):
            await asyncio.wait_for(test(inlet, client), 20)
        for _ in range(100):
            if not Inlet._receiving:
                return
            await asyncio.sleep(0.01)
        pytest.fail("a connection that has ended still counts")

    def in_loop(test: Test) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(main(test))

    return in_loop


def beside(call: Callable[..., object], *arguments: Any) -> Coroutine[Any, Any, Any]:
    return asyncio.to_thread(call, *arguments)


@pytest.mark.parametrize("size", [1, SMALLEST_ROOM, SMALLEST_ROOM + 1, MIB, 3 * MIB + 5])
def test_a_body_comes_whole_in_large_pieces(run: Run, size: int) -> None:
    async def test(inlet: Inlet, client: socket.socket) -> None:
        data = random.randbytes(size)
        sent = asyncio.create_task(beside(client.sendall, data + b"and the next request"))
        pieces: list[bytes] = []
        while (came := sum(map(len, pieces))) < size + 20:
            pieces.append(await inlet.read(max(size - came, 0)))
        assert b"".join(pieces) == data + b"and the next request"
        assert [len(piece) for piece in pieces if len(piece) >= LARGEST_ROOM] == [LARGEST_ROOM] * (size // LARGEST_ROOM)
        await sent

    run(test)


def test_bytes_come_in_order_however_they_are_sent(run: Run) -> None:
    async def test(inlet: Inlet, client: socket.socket) -> None:
        chance = random.Random(5)
        data = chance.randbytes(4 * MIB)

        def send() -> None:
            position = 0
            while position < len(data):
                size = chance.choice((1, 100, 5000, 70 * KIB, 300 * KIB))
                client.sendall(data[position : position + size])
                position += size
                time.sleep(chance.choice((0, 0, 0, 0.01)))
            client.shutdown(socket.SHUT_WR)

        sent = asyncio.create_task(beside(send))
        found = b""
        reading = random.Random(7)
        while piece := await inlet.read(min(reading.choice((0, 70 * KIB, 2 * MIB)), len(data) - len(found))):
            found += piece
            await asyncio.sleep(reading.choice((0, 0, 0.01)))
        assert found == data
        await sent

    run(test)


def test_a_piece_that_is_not_full_is_passed_on(run: Run) -> None:
    async def test(inlet: Inlet, client: socket.socket) -> None:
        client.sendall(b"slow")
        began = time.monotonic()
        assert await inlet.read(MIB) == b"slow"
        assert time.monotonic() - began >= module.LINGER * 0.9  # it was waited for more
        client.sendall(b"ly")
        assert await inlet.read(MIB) == b"ly"

    run(test)


@pytest.mark.parametrize("body", [b"5\r\nwhole\r\n0\r\n\r\n", b"x" * 100_000], ids=["last chunk", "told length"])
def test_nothing_is_waited_for_after_the_end_of_a_body(run: Run, monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    monkeypatch.setattr(module, "LINGER", 3600)  # the test is over before

    async def test(inlet: Inlet, client: socket.socket) -> None:
        client.sendall(body)
        assert await inlet.read(max(len(body), SMALLEST_ROOM + 1)) == body

    run(test)


@pytest.mark.parametrize("wanted", [0, 64 * MIB])
def test_what_nobody_reads_stays_with_the_client(run: Run, wanted: int) -> None:
    async def test(inlet: Inlet, client: socket.socket) -> None:
        data = bytes(32 * MIB)  # more than the kernel keeps for one connection
        client.settimeout(1)
        if wanted:
            came, _ = await asyncio.gather(inlet.read(wanted), beside(client.send, bytes(100)))
            assert came == bytes(100)
        with pytest.raises(TimeoutError):
            await beside(client.sendall, data)
        assert sum(len(piece) for piece in inlet._ready) < UNREAD + DESK

    run(test)


def test_small_pieces_that_nobody_reads_are_few(run: Run) -> None:
    async def test(inlet: Inlet, client: socket.socket) -> None:
        for _ in range(1000):
            client.sendall(b"x")
            await asyncio.sleep(0.0005)
        assert len(inlet._ready) <= UNREAD_PIECES
        came = b""
        while len(came) < 1000:
            came += await inlet.read(0)
        assert came == b"x" * 1000

    run(test)


@pytest.mark.parametrize("wanted", [0, MIB])
def test_the_end_comes_after_all_that_was_sent(run: Run, wanted: int) -> None:
    async def test(inlet: Inlet, client: socket.socket) -> None:
        client.sendall(b"last words")
        client.shutdown(socket.SHUT_WR)
        assert await inlet.read(wanted) == b"last words"
        assert await inlet.read(wanted) == b""
        assert await inlet.read(wanted) == b""

    run(test)


def test_a_connection_that_breaks_gives_what_came_and_then_says_so(run: Run) -> None:
    async def test(inlet: Inlet, client: socket.socket) -> None:
        client.sendall(b"last words")
        reading = asyncio.create_task(inlet.read(MIB))
        while not (inlet._filled or reading.done()):  # a reset drops what has not come
            await asyncio.sleep(0.001)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        assert await reading == b"last words"
        with pytest.raises(ConnectionResetError):
            await inlet.read(MIB)

    run(test)


def test_whoever_is_cancelled_leaves_the_bytes_to_the_next(run: Run) -> None:
    async def test(inlet: Inlet, client: socket.socket) -> None:
        reading = asyncio.create_task(inlet.read(MIB))
        await asyncio.sleep(0)
        client.sendall(b"kept")
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert await inlet.read(MIB) == b"kept"

    run(test)


def test_rooms_are_smaller_when_there_are_many(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUDGET", 3 * LARGEST_ROOM // 2)

    async def test(inlet: Inlet, client: socket.socket) -> None:
        async with connected() as (other, its_client):
            sent = asyncio.create_task(beside(its_client.sendall, bytes(LARGEST_ROOM)))
            await other.read(2 * LARGEST_ROOM)  # and is busy with that now: it still counts
            await sent
            sent = asyncio.create_task(beside(client.sendall, bytes(2 * LARGEST_ROOM)))
            assert len(await inlet.read(2 * LARGEST_ROOM)) == 3 * LARGEST_ROOM // 4
            its_client.sendall(b"the next request")
            await other.read(0)  # does not
            assert len(await inlet.read(2 * LARGEST_ROOM)) == LARGEST_ROOM
            await inlet.read(LARGEST_ROOM // 4)
            await sent

    run(test)
