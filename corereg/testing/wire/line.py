"""One connection to a server, written and read byte by byte."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import anyio
import anyio.abc
import msgspec

_PATIENCE = 20.0  # seconds for an answer
_READ = 65536


class Answer(msgspec.Struct, frozen=True):
    """One answer as it came over the line; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def closes(self) -> bool:
        return self.headers.get("connection", "").lower() == "close"


class Closed(Exception):  # no error: some requests deserve nothing else
    """The server closed the connection instead of answering (further)."""


class Line:
    """One connection to a server, written and read by hand."""

    def __init__(self, stream: anyio.abc.ByteStream, host: str) -> None:
        self._stream = stream
        self._unread = b""
        self.host = host

    async def send(self, data: bytes) -> None:
        """Write `data` as it stands; a server that stopped listening is no failure of the test."""
        try:
            await self._stream.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return

    def head(self, method: str, target: str, *fields: tuple[str, str | None]) -> bytes:
        """A request's head with Host; fields without a value are left out."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self.host}"]
        lines += [f"{name}: {value}" for name, value in fields if value is not None]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    async def answer(self, method: str = "GET") -> Answer:
        """The next final answer; interim ones (100 Continue) are read over."""
        with anyio.fail_after(_PATIENCE):
            while True:
                got = await self._one(method)
                if got.status >= 200 or got.status == 101:
                    return got

    async def interim(self) -> int:
        """The status of the very next answer, interim or not."""
        with anyio.fail_after(_PATIENCE):
            return (await self._one("GET")).status

    async def at_end(self) -> bool:
        """Whether the server closes the connection within two seconds, without saying more."""
        with anyio.move_on_after(2):
            try:
                await self._more()
            except Closed:
                return not self._unread
        return False

    async def _one(self, method: str) -> Answer:
        head = await self._until(b"\r\n\r\n")
        first, *rest = head.decode("latin-1").split("\r\n")
        status = int(first.split(" ", 2)[1])
        headers = {}
        for line in rest:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        return Answer(status, headers, await self._body(method, status, headers))

    async def _body(self, method: str, status: int, headers: dict[str, str]) -> bytes:
        if method == "HEAD" or status < 200 or status in (204, 304):
            return b""
        if "chunked" in headers.get("transfer-encoding", ""):
            body = b""
            while size := int((await self._until(b"\r\n")).split(b";")[0], 16):
                body += await self._exactly(size)
                await self._exactly(2)
            await self._until(b"\r\n")
            return body
        if "content-length" in headers:
            return await self._exactly(int(headers["content-length"]))
        try:
            while True:
                await self._more()
        except Closed:
            body, self._unread = self._unread, b""
            return body

    async def _until(self, mark: bytes) -> bytes:
        while mark not in self._unread:
            await self._more()
        found, _, self._unread = self._unread.partition(mark)
        return found

    async def _exactly(self, size: int) -> bytes:
        while len(self._unread) < size:
            await self._more()
        found, self._unread = self._unread[:size], self._unread[size:]
        return found

    async def _more(self) -> None:
        try:
            self._unread += await self._stream.receive(_READ)
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise Closed from None


Dial = Callable[[], AbstractAsyncContextManager[Line]]


def path_of(location: str) -> str:
    """A Location as it stands on a request line."""
    if location.startswith("http"):
        return "/" + location.split("/", 3)[3]
    return location
