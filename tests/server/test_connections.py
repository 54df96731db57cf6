"""What hypercorn's connections skip, they skip only where h11 would have changed nothing."""

from __future__ import annotations

import h11
import pytest

from corereg.server.connections import Connection, cleaned

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


def said(connection: h11.Connection, request: bytes, response: h11.Response) -> tuple[bytes, object, object]:
    """All that is written, and where both sides stand afterwards."""
    connection.receive_data(request)
    asked = connection.next_event()
    assert isinstance(asked, h11.Request)
    assert isinstance(connection.next_event(), h11.EndOfMessage)
    written = connection.send(response)
    if asked.method == b"GET":
        written += connection.send(h11.Data(data=b"four"))
    written += connection.send(h11.EndOfMessage())
    return written, connection.our_state, connection.their_state


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_a_response_is_what_h11_makes_of_it(request_: bytes, head: Pairs) -> None:
    plain = h11.Response(headers=head, status_code=200, _parsed=True)
    ours = h11.Response(headers=cleaned(head), status_code=200, _parsed=True)
    expected = said(h11.Connection(h11.SERVER), request_, plain)
    assert said(Connection(h11.SERVER), request_, ours) == expected


@pytest.mark.parametrize(
    "head",
    [[LENGTH, (b"content-length", b"5")], [(b"content-length", b"4, 5")], [(b"content-length", b"-4")]],
)
def test_a_length_that_cannot_be_is_refused(head: Pairs) -> None:
    with pytest.raises(h11.LocalProtocolError):
        h11.Response(headers=cleaned(head), status_code=200, _parsed=True)


def test_a_body_of_another_length_than_told_is_refused() -> None:
    connection = Connection(h11.SERVER)
    connection.receive_data(REQUESTS["GET"])
    connection.next_event()
    connection.send(h11.Response(headers=cleaned([LENGTH]), status_code=200, _parsed=True))
    with pytest.raises(h11.LocalProtocolError):
        connection.send(h11.Data(data=b"longer than four"))
