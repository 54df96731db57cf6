"""Bodies in chunks are taken as h11 takes them, however they are cut; what is wrong with them is wrong with both."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.events import Closed, RawData
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.typing import ConnectionState
from hypothesis import example, given, settings
from hypothesis import strategies as st

from corereg.server.connections import Lines

HEAD = b"PATCH /upload HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n\r\n"
NEXT = b"GET /next HTTP/1.1\r\nhost: here\r\n\r\n"
PLAIN = b"3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n"

Heard = tuple[list[tuple[str, bytes, bool]], list[bytes], bool]


async def heard(kind: type[H11Protocol], pieces: list[bytes]) -> Heard:
    """What the application got of each request (path, body, whether it was whole), the statuses, and who closed."""
    requests: list[tuple[str, bytes, bool]] = []
    sent: list[bytes] = []
    closed = False

    async def app(scope: Any, receive: Any, send: Any, *_: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                requests.append((scope["path"], body, False))
                return
            assert message["body"] or not message["more_body"]
            body += message["body"]
            more = message["more_body"]
        requests.append((scope["path"], body, True))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async def send(event: Any) -> None:
        nonlocal closed
        if isinstance(event, RawData):
            sent.append(event.data)
        elif isinstance(event, Closed):
            closed = True

    config = Config()
    config.errorlog = None
    async with TaskGroup(asyncio.get_running_loop()) as group:
        state = ConnectionState({})
        protocol = kind(app, config, WorkerContext(None), group, state, False, None, None, send)  # type: ignore[arg-type]
        for piece in pieces:
            await asyncio.wait_for(protocol.handle(RawData(piece)), 5)
            for _ in range(10):
                await asyncio.sleep(0)
        await protocol.handle(Closed())
    return requests, re.findall(rb"^HTTP/1.1 (\d+)", b"".join(sent), re.MULTILINE), closed


def same(pieces: list[bytes]) -> Heard:
    """What both hear, which has to be the same."""

    async def both() -> Heard:
        ours, theirs = await heard(Lines, pieces), await heard(H11Protocol, pieces)
        assert ours == theirs
        return ours

    return asyncio.run(both())


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """`data` in pieces."""
    ends = sorted({place % (len(data) + 1) for place in places} | {len(data)})
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False) if data[start:end]]


@pytest.mark.parametrize("size", range(1, len(HEAD + PLAIN + NEXT)))
def test_plain_chunks_in_pieces_of_every_size(size: int) -> None:
    data = HEAD + PLAIN + NEXT
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    assert same(pieces) == ([("/upload", b"abc0123456789abcdef", True), ("/next", b"", True)], [b"200", b"200"], False)


HEADS = st.sampled_from(
    [b"%x\r\n", b"%X\r\n", b"000%x\r\n", b"%x ;a=b\r\n", b"%x;name\r\n", b"%x \r\n", b"0" * 17 + b"%x\r\n"]
)
CONTENT = st.binary(min_size=1, max_size=40)
WRONG = [
    b"",
    b"\n",
    b"\r",
    b"x\r\n",
    b"-1\r\n",
    b"0x1\r\na\r\n",
    b"g\r\n",
    b"1\n",
    b"1\r\na\r\r\n",
    b"1\r\nab\r\n",
    b"1\r\naXX",
    b"1\r\na\rX",
    b"f" * 21 + b"\r\n",
]
ENDS = [
    b"0\r\n\r\n",
    b"000\r\n\r\n",
    b"0;end\r\n\r\n",
    b"0\r\nsum: 1\r\n\r\n",
    b"0\r\nsum\r\n\r\n",
    b"0\r\n\r\n" + NEXT,
    b"",
]


@settings(max_examples=300, deadline=None)
@given(
    chunks=st.lists(st.tuples(HEADS, CONTENT), max_size=8),
    wrong=st.one_of(st.just(b""), st.sampled_from(WRONG), st.binary(max_size=4)),
    end=st.sampled_from(ENDS),
    places=st.lists(st.integers(0, 1000), max_size=12),
)
@example(
    chunks=[(b"%x\r\n", b"abc")], wrong=b"1\r\na\r\r\n", end=b"0\r\n\r\n" + NEXT, places=[len(HEAD), len(HEAD) + 9]
)
@example(chunks=[(b"%x\r\n", b"abc")], wrong=b"x\r\n", end=NEXT, places=[len(HEAD), len(HEAD) + 8, len(HEAD) + 11])
def test_whatever_comes_is_heard_as_h11_hears_it(
    chunks: list[tuple[bytes, bytes]], wrong: bytes, end: bytes, places: list[int]
) -> None:
    body = b"".join(head % len(data) + data + b"\r\n" for head, data in chunks)
    same(cut(HEAD + body + wrong + end, places))


@pytest.mark.parametrize(
    "pieces",
    [
        [b"3\r\nabc\r\n", b"x\r\n", b"3\r\ndef\r\n", b"0\r\n\r\n"],
        [b"3\r\nabc", b"XX", b"\r\n3\r\ndef\r\n", b"0\r\n\r\n"],  # h11 still waits for the end of the first
    ],
)
def test_a_broken_chunk_ends_the_connection_and_nothing_after_it_is_heard(pieces: list[bytes]) -> None:
    requests, statuses, closed = same([HEAD, *pieces])
    assert requests == [("/upload", b"abc", False)]
    assert set(statuses) == {b"400"}
    assert closed


def test_many_chunks_are_one_message() -> None:
    async def messages() -> int:
        count = 0

        async def app(scope: Any, receive: Any, send: Any, *_: Any) -> None:
            nonlocal count
            while (await receive())["more_body"]:
                count += 1
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        async def send(event: Any) -> None: ...

        async with TaskGroup(asyncio.get_running_loop()) as group:
            state = ConnectionState({})
            lines = Lines(app, Config(), WorkerContext(None), group, state, False, None, None, send)
            await lines.handle(RawData(HEAD))
            await lines.handle(RawData(b"8\r\n01234567\r\n" * 1000))
            await lines.handle(RawData(b"0\r\n\r\n"))
        return count

    assert asyncio.run(messages()) == 1
