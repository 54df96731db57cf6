"""Blobs that hypercorn sends as files: by the kernel to others, over a desk to this machine."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from corereg.server import files

from .running import KIB, MIB, POLICY, Running, head, read_all, read_head, running

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="hypercorn sends files on Linux")

TOLD = """
import os
import sys

from corereg.server import files


def told(name):
    original = getattr(files.FileConnection, name)

    async def call(self, file, out):
        sys.stderr.write(f"{name} {len(file)}\\n")
        await original(self, file, out)

    setattr(files.FileConnection, name, call)


told("_pass")
told("_copy")
"""
FAR = "files.is_near = lambda connected: False\n"
COLD = "files._NOWAIT = 1 << 30  # no file system knows that flag\n"
WAYS = {"near": "", "near, from the disk": COLD, "far": FAR, "far, from the disk": FAR + COLD}
DATA = hashlib.shake_256(b"a blob").digest(5 * MIB + 4711)


@pytest.fixture(params=WAYS.values(), ids=WAYS)
def patches(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(tmp_path: Path, patches: str) -> Iterator[Running]:
    with running(tmp_path, policy=TOLD + patches + POLICY) as server:
        yield server


def get(connection: socket.socket, path: str) -> bytes:
    connection.sendall(head("GET", path))
    status, headers, body = read_head(connection)
    assert status == 200
    while len(body) < int(headers["content-length"]):
        piece = connection.recv(64 * KIB)
        assert piece, f"ended after {len(body)} bytes"
        body += piece
    return body


def descriptors(server: Running) -> int:
    return len(os.listdir(f"/proc/{server.pid}/fd"))  # noqa: PTH208 - it only counts


def settled(server: Running, expected: int) -> int:
    """Descriptors once there are as few as expected, or after a while."""
    end = time.monotonic() + 10
    while descriptors(server) > expected and time.monotonic() < end:
        time.sleep(0.05)
    return descriptors(server)


def test_one_connection_takes_blobs_of_every_size(server: Running, patches: str) -> None:
    sizes = (1, 4 * KIB, 256 * KIB - 1, 256 * KIB, MIB + 1, len(DATA))
    paths = {size: server.push(DATA[:size]) for size in sizes}
    with server.connect() as connection:
        for size, path in [*paths.items(), *paths.items()]:
            assert get(connection, path) == DATA[:size], size
            assert f"{'_pass' if FAR in patches else '_copy'} {size}\n" in server.said
    assert "Traceback" not in server.said


def test_a_client_takes_its_time(server: Running) -> None:
    path = server.push(DATA)
    with server.connect(buffer=16 * KIB) as connection, server.connect() as other:
        connection.sendall(head("GET", path, "Connection: close"))
        read_head(connection)
        assert get(other, path) == DATA, "nobody waits for the slow one"
        rest = read_all(connection, pause=0.002)
        assert DATA.endswith(rest)


def test_two_requests_at_once_are_answered_in_turn(server: Running) -> None:
    path, small = server.push(DATA), server.push(b"small")
    with server.connect() as connection:
        connection.sendall(head("GET", path) + head("GET", small, "Connection: close"))
        status, _, body = read_head(connection)
        body += read_all(connection)
        assert status == 200
        assert body.startswith(DATA)
        assert body.endswith(b"\r\n\r\nsmall")


def test_clients_that_leave_leave_nothing(server: Running) -> None:
    path = server.push(DATA)
    with server.connect() as connection:
        get(connection, path)
    before = settled(server, 0)
    for turn in range(20):
        with server.connect(buffer=16 * KIB) as connection:
            connection.sendall(head("GET", path))
            if turn % 2:
                read_head(connection)
    assert settled(server, before) <= before
    assert server.request("GET", path)[2] == DATA
    assert "Traceback" not in server.said


def test_a_server_that_stops_ends_the_download_first(server: Running) -> None:
    path = server.push(DATA)
    with server.connect(buffer=16 * KIB) as connection:
        connection.sendall(head("GET", path))
        _, _, body = read_head(connection)
        server.terminate()
        server.wait_refuses()
        assert body + read_all(connection) == DATA
    assert server.ended() == 0


def test_a_file_that_is_cut_short_while_it_is_sent_breaks_the_answer(server: Running) -> None:
    path = server.push(DATA)
    with server.connect(buffer=16 * KIB) as connection:
        connection.sendall(head("GET", path))
        _, headers, body = read_head(connection)
        os.truncate(stored(server, DATA), MIB)
        body += read_all(connection)
        assert len(body) < int(headers["content-length"])
    server.wait_for("broke off: ")


def test_a_file_that_is_gone_is_told_before_the_status(server: Running) -> None:
    path = server.push(DATA)
    stored(server, DATA).unlink()
    status, _, body = server.request("GET", path)
    assert status >= 400
    assert b'"errors"' in body


def test_a_file_that_is_too_short_never_looks_whole(server: Running) -> None:
    path = server.push(DATA)
    os.truncate(stored(server, DATA), MIB)
    with server.connect() as connection:
        connection.sendall(head("GET", path))
        _, headers, body = read_head(connection)
        assert len(body + read_all(connection)) < int(headers["content-length"]), "and the connection is closed"
    assert server.request("GET", "/healthz")[0] == 200


def stored(server: Running, data: bytes) -> Path:
    name = hashlib.sha256(data).hexdigest()
    (found,) = (each for each in (server.folder / "corereg-data").rglob("data") if name in each.parts)
    return found


@pytest.mark.parametrize(
    ("peer", "own", "near"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("::1", "::1", True),
        ("10.0.0.7", "10.0.0.7", True),
        ("10.0.0.7", "10.0.0.1", False),
        ("2001:db8::7", "2001:db8::1", False),
        ("::ffff:127.0.0.1", "::ffff:127.0.0.1", True),
        ("fe80::1%eth0", "fe80::2%eth0", False),
    ],
)
def test_who_is_near(peer: str, own: str, near: bool) -> None:
    class Connected:
        family = socket.AF_INET6 if ":" in peer else socket.AF_INET

        def getpeername(self) -> tuple[str, int]:
            return peer, 4711

        def getsockname(self) -> tuple[str, int]:
            return own, 80

    assert files.is_near(Connected()) is near  # type: ignore[arg-type]  # all of a socket that is asked


def test_who_has_left_is_no_trouble_yet() -> None:
    with socket.socket() as unconnected:
        assert files.is_near(unconnected)
