"""Clients that take all the time, or all the memory, they can get."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from pathlib import Path

import h2.connection
import pytest

from corereg.server.transfers import Transfers

from .running import KIB, MIB, POLICY, head, read_head, running

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "flood",
    [
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\n" + b"X-Filler: %s\r\n" % (b"a" * 1000) * 2000,
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Filler: " + b"a" * 2_000_000,
        b"GET /v2/" + b"a" * 2_000_000,
    ],
    ids=["many headers", "a long header", "a long path"],
)
def test_headers_without_end_are_refused(tmp_path: Path, kind: str, flood: bytes) -> None:
    with running(tmp_path, "--server", kind) as server, server.connect() as connection:
        answer = b""
        with suppress(ConnectionError):  # it need not read all of it
            connection.sendall(flood)
        with suppress(ConnectionError):
            answer = connection.recv(4096)
        assert not answer or answer.split()[1] in {b"400", b"414", b"431"}
        assert server.request("GET", "/healthz")[0] == 200
        assert "Traceback" not in server.said


def test_headers_of_a_usual_size_are_taken(tmp_path: Path, kind: str) -> None:
    with running(tmp_path, "--server", kind) as server:
        assert server.request("GET", "/healthz", headers={"Cookie": "a" * 60 * KIB})[0] == 200


IMPATIENT = """
import sys

for name in ("hypercorn", "uvicorn", "granian"):
    if f"corereg.server.{name}" in sys.modules:
        sys.modules[f"corereg.server.{name}"].IDLE = 2
"""


def test_a_client_that_does_not_come_to_the_point_is_left(tmp_path: Path, kind: str) -> None:
    with (
        running(tmp_path, "--server", kind, policy=IMPATIENT + POLICY) as server,
        server.connect() as silent,
        server.connect() as trickling,
        server.connect() as idle,
    ):
        idle.sendall(head("GET", "/healthz"))
        read_head(idle)
        began = time.monotonic()
        with suppress(ConnectionError):
            trickling.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n")
            for _ in range(10):
                time.sleep(0.5)
                trickling.sendall(b"X-Slow: 1\r\n")
        for connection in (silent, trickling, idle):
            connection.settimeout(5)
            with suppress(ConnectionError):
                while connection.recv(4096):
                    pass
        assert time.monotonic() - began < 30


# ---- a body that nobody reads ----


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_body_that_nobody_reads_holds_nothing(tmp_path: Path, kind: str, method: str) -> None:
    with running(tmp_path, "--server", kind) as server:
        connections = []
        for _ in range(5):
            connection = server.connect()
            connection.settimeout(2)
            connection.sendall(head(method, "/v2/demo/app/tags/list", f"Content-Length: {20 * MIB}"))
            with suppress(OSError):  # some answers come with the end of the connection
                connection.sendall(bytes(20 * MIB))
            connections.append(connection)
        for connection in connections:
            with suppress(OSError):
                assert read_head(connection)[0] in {404, 405}
        time.sleep(0.2)
        server.terminate()
        assert server.ended() == 0
        assert "are under way" not in server.said or kind != "hypercorn"
        assert "Traceback" not in server.said
        for connection in connections:
            connection.close()


# ---- a body that stops ----

PUT = {"type": "http", "method": "PUT", "http_version": "1.1", "headers": []}


async def test_a_body_that_stops_is_given_up() -> None:
    never = asyncio.Event()
    got: list[str] = []

    async def app(scope, receive, send) -> None:
        got.append((await receive())["type"])
        got.append((await receive())["type"])
        await asyncio.sleep(0)  # not cancelled any more
        got.append("went on")

    messages = iter([{"type": "http.request", "body": b"x", "more_body": True}])

    async def receive():
        for message in messages:
            return message
        return await never.wait()

    async def send(message) -> None: ...

    transfers = Transfers(app, stalled=0.2)
    watch = asyncio.create_task(transfers.watch())
    await asyncio.wait_for(transfers(PUT, receive, send), 5)
    watch.cancel()
    assert got == ["http.request", "http.disconnect", "went on"]
    assert len(transfers) == 0


async def test_a_body_that_goes_on_slowly_is_not() -> None:
    async def app(scope, receive, send) -> None:
        while (await receive())["more_body"]:
            pass

    left = iter(range(8, -1, -1))

    async def receive():
        await asyncio.sleep(0.1)
        return {"type": "http.request", "body": b"x", "more_body": next(left) > 0}

    async def send(message) -> None: ...

    transfers = Transfers(app, stalled=0.4)
    watch = asyncio.create_task(transfers.watch())
    await asyncio.wait_for(transfers(PUT, receive, send), 5)
    watch.cancel()


async def test_waiting_for_a_client_to_leave_is_no_stop() -> None:
    """A download over HTTP/2: its request is at its end at once, and then somebody watches for the client's leaving."""

    async def app(scope, receive, send) -> None:
        assert not (await receive())["more_body"]
        watcher = asyncio.create_task(receive())
        await asyncio.sleep(0.8)
        assert not watcher.done()
        watcher.cancel()
        await send({"type": "http.response.body", "body": b""})

    messages = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive():
        for message in messages:
            return message
        return await asyncio.Event().wait()

    async def send(message) -> None: ...

    transfers = Transfers(app, stalled=0.2)
    watch = asyncio.create_task(transfers.watch())
    await asyncio.wait_for(transfers({**PUT, "method": "GET", "http_version": "2"}, receive, send), 5)
    watch.cancel()


async def test_what_is_cut_does_not_think_that_the_client_left() -> None:
    seen: list[str] = []

    async def app(scope, receive, send) -> None:
        try:
            seen.append((await receive())["type"])
        except asyncio.CancelledError:
            seen.append("cut")
            raise

    async def receive():
        await asyncio.Event().wait()

    async def send(message) -> None: ...

    transfers = Transfers(app)
    request = asyncio.create_task(transfers(PUT, receive, send))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert transfers.cut() == 1
    with pytest.raises(asyncio.CancelledError):
        await request
    assert seen == ["cut"]
    await transfers.none_left()


def test_http2_clients_that_hang_up_at_once_leave_nothing_under_way(tmp_path: Path) -> None:
    """hypercorn by itself keeps nearly all of a hundred: their answers wait for a sender that has ended."""
    client = h2.connection.H2Connection()
    client.initiate_connection()
    fields = [(":method", "GET"), (":path", "/healthz"), (":scheme", "http"), (":authority", "localhost")]
    client.send_headers(1, fields, end_stream=True)
    begun = client.data_to_send()
    with running(tmp_path, "--server", "hypercorn") as server:
        for _ in range(100):
            with server.connect() as connection:
                connection.sendall(begun)
        assert server.request("GET", "/healthz")[0] == 200
        server.terminate()
        assert server.ended() == 0
