"""What a server answers by itself, before the application is asked, to whatever is no HTTP: the same JSON as elsewhere.

granian answers in Rust, without a body.
"""

from __future__ import annotations

from corereg.oci.errors import HeadersTooLarge, NameInvalid, NotImplementedYet, OCIError

_UNREADABLE = NameInvalid("the request is not HTTP as it can be read; check the client, or the proxy in between")
_KNOWN: dict[int, OCIError] = {
    431: HeadersTooLarge(),
    501: NotImplementedYet("only chunked is understood as a Transfer-Encoding"),
}


def refusal(status: int) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Headers and body for a status; the connection ends with it."""
    body = _KNOWN.get(status, _UNREADABLE).as_json()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-content-type-options", b"nosniff"),
        (b"connection", b"close"),
    ]
    return headers, body
