"""HTTP/1.1 as bytes on a socket: no more work for the client than the measurement needs."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

TIMEOUT = 300.0
"""Seconds any single answer may take."""


class WireError(Exception):
    """The other side closed the connection, or does not speak HTTP/1.1."""


@dataclass(frozen=True)
class Address:
    """Where a server listens."""

    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Address:
        """The address in `url`; raises ValueError for anything but http://HOST:PORT."""
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname or parts.path.strip("/"):
            raise ValueError(f"{url}: a peer is http://HOST:PORT (over TLS the cipher would be measured)")
        return cls(parts.hostname, parts.port or 80)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def connect(self) -> socket.socket:
        """A connected socket that sends at once what it is given."""
        connected = socket.create_connection((self.host, self.port), timeout=TIMEOUT)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connected


@dataclass(frozen=True)
class Answer:
    """What came back. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def expect(self, *statuses: int) -> Answer:
        """Itself; raises WireError when its status is another one."""
        if self.status not in statuses:
            raise WireError(f"answered {self.status}, expected {statuses}: {self.body[:300].decode(errors='replace')}")
        return self


def head(address: Address, method: str, path: str, headers: Mapping[str, str], length: int | None = None) -> bytes:
    """The bytes of a request up to its body of `length` bytes (None: no Content-Length)."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {address.host}:{address.port}"]
    lines += [f"{name}: {value}" for name, value in headers.items() if value]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def parse_head(raw: bytes) -> tuple[int, dict[str, str]]:
    """Status and headers of an answer, from its bytes before the empty line."""
    first, *lines = raw.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    if not version.startswith("HTTP/1."):
        raise WireError(f"not HTTP/1.1: {first[:100]}")
    pairs = (line.partition(":") for line in lines)
    return int(rest[:3]), {name.strip().lower(): value.strip() for name, _, value in pairs}


def framed(body: Iterable[bytes], size: int) -> Iterator[bytes]:
    """The body in chunks of at most `size` bytes, each in one piece with its frame."""
    for piece in body:
        view = memoryview(piece)
        for start in range(0, len(view), size):
            data = view[start : start + size]
            yield b"".join((b"%x\r\n" % len(data), data, b"\r\n"))
    yield b"0\r\n\r\n"


class Connection:
    """One keep-alive connection that asks one thing after another, blocking."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._socket = address.connect()
        self._rest = b""
        self._closing = False  # some servers close after so many requests

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, method: str, path: str, headers: Mapping[str, str], *body: bytes, chunk: int | None = None) -> Answer:
        """Send a request, `body` in as many pieces as it has, and wait for the whole answer.

        With `chunk` nobody is told how long the body is: it goes in chunks of so many bytes.
        """
        sends = method in ("POST", "PUT", "PATCH")
        length = sum(map(len, body)) if sends else None
        if chunk is not None:
            length, headers = None, {**headers, "Transfer-Encoding": "chunked"}
        if self._closing:
            self._socket.close()
            self._socket, self._rest, self._closing = self.address.connect(), b"", False
        self._socket.sendall(head(self.address, method, path, headers, length))
        for piece in body if chunk is None else framed(body, chunk):
            self._socket.sendall(piece)
        status, found = parse_head(self._until(b"\r\n\r\n"))
        self._closing = found.get("connection", "").lower() == "close"
        return Answer(status, found, b"" if method == "HEAD" or status in (204, 304) else self._body(found))

    def _body(self, headers: Mapping[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            pieces = []
            while size := int(self._until(b"\r\n").split(b";")[0], 16):
                pieces.append(self._exactly(size))
                self._until(b"\r\n")
            self._until(b"\r\n")
            return b"".join(pieces)
        return self._exactly(int(headers.get("content-length", "0")))

    def _more(self) -> bytes:
        data = self._socket.recv(1 << 18)
        if not data:
            raise WireError("the server closed the connection")
        return data

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._rest:
            self._rest += self._more()
        found, _, self._rest = self._rest.partition(mark)
        return found

    def _exactly(self, size: int) -> bytes:
        pieces, missing = [self._rest], size - len(self._rest)
        while missing > 0:
            pieces.append(self._more())
            missing -= len(pieces[-1])
        data = b"".join(pieces)
        self._rest = data[size:]
        return data[:size]
