"""What hypercorn's connections skip, they skip only where h11 would have changed nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

import h11
import pytest
from h11._abnf import header_field
from hypothesis import example, given
from hypothesis import strategies as st

from corereg.server.connections import HEADER_FIELD, Connection

Pairs = list[tuple[bytes, bytes]]

LENGTH = (b"content-length", b"4")
NOTE = (b"x-note", b"kept as it is")
HEADS: dict[str, Pairs] = {
    "a length": [NOTE, LENGTH],
    "a length in capitals": [NOTE, (b"Content-Length", b"4")],
    "the same length twice": [LENGTH, NOTE, (b"Content-Length", b"4")],
    "a list of the same length": [(b"content-length", b"4, 4")],
    "no length": [NOTE],
    "in pieces": [NOTE, (b"transfer-encoding", b"chunked")],
    "in pieces, and a length": [LENGTH, (b"Transfer-Encoding", b"chunked")],
    "to be closed": [LENGTH, (b"Connection", b"close")],
    "to be kept": [LENGTH, (b"connection", b"keep-alive")],
}
REQUESTS = {
    "GET": b"GET / HTTP/1.1\r\nhost: here\r\n\r\n",
    "HEAD": b"HEAD / HTTP/1.1\r\nhost: here\r\n\r\n",
    "to be closed": b"GET / HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n",
    "1.0": b"GET / HTTP/1.0\r\n\r\n",
    "1.0, to be kept": b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
}


def said(connection: h11.Connection, request: bytes, write: Callable[[], bytes]) -> tuple[bytes, object, object]:
    """All that is written, and where both sides stand afterwards."""
    connection.receive_data(request)
    asked = connection.next_event()
    assert isinstance(asked, h11.Request)
    assert isinstance(connection.next_event(), h11.EndOfMessage)
    written = write()
    if asked.method == b"GET":
        written += connection.send(h11.Data(data=b"four"))
    written += connection.send(h11.EndOfMessage())
    return written, connection.our_state, connection.their_state


@pytest.mark.parametrize("status", [200, 404])
@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_a_response_is_what_h11_makes_of_it(request_: bytes, head: Pairs, status: int) -> None:
    plain, ours = h11.Connection(h11.SERVER), Connection(h11.SERVER)
    response = h11.Response(headers=head, status_code=status, _parsed=True)
    expected = said(plain, request_, partial(plain.send, response))
    assert said(ours, request_, partial(ours.respond, status, head)) == expected


@pytest.mark.parametrize(
    "head",
    [[LENGTH, (b"content-length", b"5")], [(b"content-length", b"4, 5")], [(b"content-length", b"-4")]],
)
def test_a_length_that_cannot_be_is_refused(head: Pairs) -> None:
    connection = asked()
    with pytest.raises(h11.LocalProtocolError):
        connection.respond(200, head)


def test_a_second_response_is_refused() -> None:
    connection = asked()
    connection.respond(200, [LENGTH])
    with pytest.raises(h11.LocalProtocolError):
        connection.respond(200, [LENGTH])


def asked() -> Connection:
    """A connection that owes an answer."""
    connection = Connection(h11.SERVER)
    connection.receive_data(REQUESTS["GET"])
    connection.next_event()
    return connection


def test_a_body_of_another_length_than_told_is_refused() -> None:
    connection = asked()
    connection.respond(200, [LENGTH])
    with pytest.raises(h11.LocalProtocolError):
        connection.send(h11.Data(data=b"longer than four"))


def heard(connection: Connection, pieces: list[bytes]) -> tuple[bytes, list[type], int]:
    """The body, the events beside it, and how many pieces passed unparsed."""
    body, events, passed = b"", list[type](), 0
    for piece in pieces:
        if connection.passes(piece):
            body += piece
            passed += 1
            if connection.expected:
                continue
        else:
            connection.receive_data(piece)
        while (event := connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            if isinstance(event, h11.Data):
                body += event.data
            else:
                events.append(type(event))
    return body, events, passed


PUT = b"PUT / HTTP/1.1\r\nhost: here\r\ncontent-length: 10\r\n"
WHOLE = [h11.Request, h11.EndOfMessage]


@pytest.mark.parametrize(
    ("pieces", "events", "passed"),
    [
        ([PUT + b"\r\n0123456789"], WHOLE, 0),
        ([PUT + b"\r\n", b"0123456789"], WHOLE, 1),
        ([PUT + b"\r\n", b"0123", b"456789"], WHOLE, 2),
        ([PUT + b"\r\n01", b"234", b"5678", b"9"], WHOLE, 3),
        ([PUT, b"\r\n", b"01234567", b"89" + REQUESTS["GET"]], WHOLE, 1),  # what follows is another request
        ([PUT + b"\r\n", b"01234", b"", b""], [h11.Request], 1),  # broken off
    ],
)
def test_pieces_of_a_body_pass_and_are_counted(pieces: list[bytes], events: list[type], passed: int) -> None:
    connection = Connection(h11.SERVER)
    if b"" in pieces:
        with pytest.raises(h11.RemoteProtocolError, match="received 5 bytes, expected 10"):
            heard(connection, pieces)
        return
    assert heard(connection, pieces) == (b"0123456789", events, passed)
    assert connection.their_state is h11.DONE


def test_nothing_passes_but_a_body_whose_length_was_told() -> None:
    chunked = PUT.replace(b"content-length: 10", b"transfer-encoding: chunked")
    assert heard(Connection(h11.SERVER), [chunked + b"\r\n", b"2\r\n01\r\n", b"0\r\n\r\n"]) == (b"01", WHOLE, 0)
    assert heard(Connection(h11.SERVER), [REQUESTS["GET"][:9], REQUESTS["GET"][9:]]) == (b"", WHOLE, 0)
    waits = Connection(h11.SERVER)
    waits.receive_data(PUT + b"expect: 100-continue\r\n\r\n")
    waits.next_event()
    assert waits.client_is_waiting_for_100_continue
    assert not waits.passes(b"0123")  # h11 has to learn that nobody waits any more
    assert heard(waits, [b"0123", b"45", b"6789"]) == (b"0123456789", [h11.EndOfMessage], 2)


THEIRS = re.compile(header_field.encode("ascii"))
VALUES = st.lists(
    st.sampled_from([b"a", b" ", b"\t", b"\0", b"\r", b"\n", b"\v", b"\f", b"\x1c", b"\x85", b"\xff", b":"])
)


@given(
    st.one_of(st.binary(max_size=12), VALUES.map(b"".join)), st.sampled_from([b"name:", b"na me:", b"name", b":", b""])
)
@example(b" a \t b  ", b"name:")
def test_a_header_is_what_h11_takes_it_for(value: bytes, name: bytes) -> None:
    ours, theirs = HEADER_FIELD.fullmatch(name + value), THEIRS.fullmatch(name + value)
    assert (ours and ours.groupdict()) == (theirs and theirs.groupdict())


def test_every_byte_of_a_header_is_what_h11_takes_it_for() -> None:
    for number in range(256):
        for line in (b"n:a%cb", b"n:%c", b"n:%c%c", b"n%c:b"):
            text = line.replace(b"%c", bytes([number]))
            assert bool(HEADER_FIELD.fullmatch(text)) == bool(THEIRS.fullmatch(text)), text
