"""What no HTTP client would send: requests written to the socket byte by byte.

Smuggling shapes, broken framing, slow clients, clients that vanish, clients that wait for 100 Continue. The tests need
a server at an address (``--corereg-url``) and skip for an application in this process. `RawWire` is part of
`corereg.testing.wire.WireContract`, whose fixtures it uses.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, ClassVar

import anyio
import anyio.abc
import msgspec
import pytest

from corereg.testing.client import EMPTY, OCI_IMAGE, RegistryClient, digest, expect, image, with_query

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
cases = pytest.mark.parametrize
strict = pytest.mark.corereg_needs("strict_framing")


class RawWire:
    """Framing, hostile and human: what a server must survive, refuse or wait for."""

    pytestmark: ClassVar[Any] = [pytest.mark.anyio, pytest.mark.corereg_needs("socket")]

    @pytest.fixture
    def dial(self, corereg_address: tuple[str, int, bool], client: RegistryClient) -> Dial:
        """Opens connections to the server."""
        host, port, secure = corereg_address

        @asynccontextmanager
        async def connect() -> AsyncIterator[Line]:
            stream: anyio.abc.ByteStream
            if secure:
                context = ssl.create_default_context()
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                stream = await anyio.connect_tcp(host, port, ssl_context=context, tls_standard_compatible=False)
            else:
                stream = await anyio.connect_tcp(host, port)
            async with stream:
                yield Line(stream, client.host)

        return connect

    async def refusal(self, dial: Dial, data: bytes) -> Answer | None:
        """What the server says to `data`; None when it just closes the connection."""
        async with dial() as line:
            await line.send(data)
            try:
                return await line.answer()
            except Closed:
                return None

    async def check_alive(self, client: RegistryClient) -> None:
        """Whatever was sent, the next visitor is served."""
        expect(await client.request("GET", "/v2/"), 200)

    # Framing that says two things

    async def say_both(self, line: Line, client: RegistryClient, location: str, coding: str) -> Answer:
        """PATCH with Content-Length and Transfer-Encoding, and what is said to it."""
        fields = (
            ("Authorization", await client.authorization("PATCH", location)),
            ("Content-Length", "5"),
            ("Transfer-Encoding", coding),
        )
        await line.send(line.head("PATCH", path_of(location), *fields) + b"0\r\n\r\n")
        return await line.answer()

    @strict
    @cases("coding", ["chunked", "Chunked", "identity", "x"])
    async def test_content_length_beside_transfer_encoding_is_400_and_closes(
        self, dial: Dial, client: RegistryClient, repository: str, coding: str
    ) -> None:
        location = await client.start_upload(repository)
        async with dial() as line:
            answer = await self.say_both(line, client, location, coding)
            assert answer.status in ((400,) if coding.lower() == "chunked" else (400, 501))
            assert answer.closes or await line.at_end()
        assert expect(await client.request("GET", location), 204).headers["range"] == "0-0"
        await self.check_alive(client)

    async def test_after_content_length_beside_transfer_encoding_no_more_is_read(
        self, dial: Dial, client: RegistryClient, repository: str
    ) -> None:
        location = await client.start_upload(repository)
        async with dial() as line:
            answer = await self.say_both(line, client, location, "chunked")
            assert answer.status in (202, 400)
            assert answer.closes or await line.at_end()
        assert expect(await client.request("GET", location), 204).headers["range"] == "0-0"

    async def test_two_content_lengths_that_differ_are_400_and_close(
        self, dial: Dial, client: RegistryClient, repository: str
    ) -> None:
        location = await client.start_upload(repository)
        async with dial() as line:
            fields = (
                ("Authorization", await client.authorization("PATCH", location)),
                ("Content-Length", "5"),
                ("Content-Length", "6"),
            )
            await line.send(line.head("PATCH", path_of(location), *fields) + b"helloo")
            answer = await line.answer()
            assert answer.status == 400
            assert answer.closes or await line.at_end()
        assert expect(await client.request("GET", location), 204).headers["range"] == "0-0"

    @cases("length", ["-1", "+5", "0x5", "5 5", "5;", "five", "5.0", "\xb2"])
    async def test_a_content_length_that_is_none_is_400(
        self, dial: Dial, client: RegistryClient, repository: str, length: str
    ) -> None:
        async with dial() as line:
            await line.send(
                line.head("POST", f"/v2/{repository}/blobs/uploads/", ("Content-Length", length)) + b"hello"
            )
            assert (await line.answer()).status == 400
        await self.check_alive(client)

    @strict
    @cases("coding", ["gzip", "gzip, chunked", "xchunked", "chunked, gzip", "compress"])
    async def test_an_unknown_transfer_coding_is_501(
        self, dial: Dial, client: RegistryClient, repository: str, coding: str
    ) -> None:
        answer = await self.say_in(coding, dial, client, await client.start_upload(repository))
        assert answer.status == 501

    @cases("coding", ["gzip", "gzip, chunked", "xchunked", "chunked, gzip", "compress"])
    async def test_a_body_in_an_unknown_transfer_coding_is_not_stored(
        self, dial: Dial, client: RegistryClient, repository: str, coding: str
    ) -> None:
        location = await client.start_upload(repository)
        answer = await self.say_in(coding, dial, client, location)
        assert answer.status in (400, 501)
        assert expect(await client.request("GET", location), 204).headers["range"] == "0-0"

    async def say_in(self, coding: str, dial: Dial, client: RegistryClient, location: str) -> Answer:
        """PATCH in a transfer coding, and what is said to it."""
        async with dial() as line:
            fields = (
                ("Authorization", await client.authorization("PATCH", location)),
                ("Transfer-Encoding", coding),
            )
            await line.send(line.head("PATCH", path_of(location), *fields) + b"5\r\nhello\r\n0\r\n\r\n")
            return await line.answer()

    @cases(
        "body",
        [b"zz\r\nhello\r\n0\r\n\r\n", b"-5\r\nhello\r\n0\r\n\r\n", b"5\r\nhelloxx0\r\n\r\n", b"f" * 40 + b"\r\nx"],
    )
    async def test_broken_chunks_are_400_and_close_and_finish_no_blob(
        self, dial: Dial, client: RegistryClient, repository: str, body: bytes
    ) -> None:
        location = with_query(await client.start_upload(repository), digest=digest(b"hello"))
        async with dial() as line:
            fields = (
                ("Authorization", await client.authorization("PUT", location)),
                ("Transfer-Encoding", "chunked"),
            )
            await line.send(line.head("PUT", path_of(location), *fields) + body)
            try:
                assert (await line.answer()).status == 400
            except Closed:
                pass  # all that some servers do, and enough
            else:
                assert await line.at_end()
        expect(await client.request("HEAD", f"/v2/{repository}/blobs/{digest(b'hello')}"), 404)
        await self.check_alive(client)

    async def test_chunk_extensions_and_trailers_are_read_over(
        self, dial: Dial, client: RegistryClient, repository: str
    ) -> None:
        location = await client.start_upload(repository)
        async with dial() as line:
            fields = (
                ("Authorization", await client.authorization("PATCH", location)),
                ("Transfer-Encoding", "chunked"),
                ("Trailer", "X-Sum"),
            )
            body = b"5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nX-Sum: 6\r\n\r\n"
            await line.send(line.head("PATCH", path_of(location), *fields) + body)
            answer = await line.answer()
        assert answer.status == 202
        assert answer.headers["range"] == "0-5"

    # Heads that are none

    @cases(
        "head",
        [
            b"\r\n\r\n\r\n",
            b"hello\r\n\r\n",
            b"GET\r\n\r\n",
            b"GET /v2/\r\n\r\n",
            b"GET /v2/ HTTP/1.1\r\n\r\n",
            b"GET /v2/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            b"GET /v2/ HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n\r\n",
            b"GET /v2/ HTTP/1.1\r\nHost: a\r\nX : x\r\n\r\n",
            b"GET /v2/ HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
            b"GET /v2/ HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n",
            b"GET /v2/ HTTP/1.1\r\nHost: a\r\nnocolon\r\n\r\n",
            b"GET /v2/ HTTP/9.9\r\nHost: a\r\n\r\n",
            b"G@T /v2/ HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET  /v2/  HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /v2/\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET v2/ HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /v2/\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100,
        ],
    )
    async def test_a_request_that_is_none_is_refused_and_harms_nobody(
        self, dial: Dial, client: RegistryClient, head: bytes
    ) -> None:
        async with dial() as line:
            await line.send(head)
            with anyio.move_on_after(3):  # a server may also wait for the rest of what it takes for half a request
                try:
                    answer = await line.answer()
                    assert 400 <= answer.status < 500 or answer.status in (501, 505), answer
                except Closed:
                    pass
        await self.check_alive(client)

    @cases("target", ["*", "http://elsewhere.test/v2/", "/v2/#fragment", "elsewhere.test:443", "/v2/?", "/v2/ä"])
    @cases("method", ["GET", "OPTIONS", "CONNECT", "TRACE", "get", "PRI", "BREW"])
    async def test_odd_targets_and_methods_are_no_fault_of_the_server(
        self, dial: Dial, client: RegistryClient, target: str, method: str
    ) -> None:
        async with dial() as line:
            answer = await self.refusal(dial, line.head(method, target))
        assert answer is None or answer.status < 500 or answer.status in (501, 505), answer
        assert answer is None or method != "TRACE" or answer.status >= 400, "TRACE shows headers to scripts"
        await self.check_alive(client)

    @strict
    @cases("where", ["line", "one header", "many headers"])
    async def test_a_huge_head_is_refused(self, dial: Dial, client: RegistryClient, where: str) -> None:
        fields: list[tuple[str, str]] = []
        if where == "one header":
            fields = [("X-Long", "x" * 300_000)]
        if where == "many headers":
            fields = [(f"X-{number}", "x" * 20) for number in range(20_000)]
        async with dial() as line:
            target = "/v2/" + "a" * 300_000 * (where == "line")
            answer = await self.refusal(dial, line.head("GET", target, *fields))
        assert answer is None or answer.status in (400, 414, 431), answer
        await self.check_alive(client)

    @cases("protocol", ["websocket", "h2c", "nonsense"])
    async def test_an_upgrade_is_not_a_fault_of_the_server(
        self, dial: Dial, client: RegistryClient, protocol: str
    ) -> None:
        async with dial() as line:
            head = line.head(
                "GET",
                "/v2/",
                ("Connection", "Upgrade, HTTP2-Settings"),
                ("Upgrade", protocol),
                ("HTTP2-Settings", "AAMAAABkAAQCAAAAAAIAAAAA"),
                ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
                ("Sec-WebSocket-Version", "13"),
            )
            answer = await self.refusal(dial, head)
        assert answer is None or answer.status < 500, answer
        assert answer is None or answer.status != 101, "a registry changes to no other protocol"
        await self.check_alive(client)

    # One connection, several requests

    async def test_a_connection_serves_one_request_after_another(
        self, dial: Dial, client: RegistryClient, repository: str
    ) -> None:
        name = await client.push_blob(repository, b"hello")
        target = f"/v2/{repository}/blobs/{name}"
        authorization = ("Authorization", await client.authorization("GET", target))
        async with dial() as line:
            for method in ("HEAD", "GET", "HEAD", "GET"):
                await line.send(line.head(method, target, authorization))
                answer = await line.answer(method)
                assert answer.status == 200
                assert answer.body == (b"hello" if method == "GET" else b"")

    async def test_requests_sent_at_once_are_answered_in_order(
        self, dial: Dial, client: RegistryClient, repository: str
    ) -> None:
        await client.push_blob(repository, b"hello")
        names = [digest(b"hello"), digest(b"absent"), digest(b"hello")]
        targets = [f"/v2/{repository}/blobs/{name}" for name in names]
        authorization = ("Authorization", await client.authorization("GET", targets[0]))
        async with dial() as line:
            await line.send(b"".join(line.head("GET", target, authorization) for target in targets))
            assert [(await line.answer()).status for _ in targets] == [200, 404, 200]

    async def test_an_http_1_0_request_is_answered_and_the_connection_closed(
        self, dial: Dial, client: RegistryClient
    ) -> None:
        authorization = await client.authorization("GET", "/v2/")
        field = "" if authorization is None else f"Authorization: {authorization}\r\n"
        async with dial() as line:
            await line.send(f"GET /v2/ HTTP/1.0\r\n{field}\r\n".encode())
            answer = await line.answer()
            assert answer.status == 200
            assert answer.closes or await line.at_end()

    @cases("where", ["unknown upload", "bad digest", "too large"])
    async def test_after_an_early_error_the_rest_of_the_body_is_never_taken_for_a_request(
        self, dial: Dial, client: RegistryClient, repository: str, where: str
    ) -> None:
        target, fields, status = self.early_error(where, repository)
        authorization = ("Authorization", await client.authorization("PUT", target))
        hidden = b"PROPFIND /v2/ HTTP/1.1\r\nHost: x\r\n\r\n"
        size = dict(fields).get("Content-Length", str(len(hidden) * 1000))
        rest = [field for field in fields if field[0] != "Content-Length"]
        async with dial() as line:
            await line.send(line.head("PUT", target, authorization, *rest, ("Content-Length", size)))
            await line.send(hidden * 1000)
            assert (await line.answer()).status == status
            await line.send(line.head("GET", "/v2/"))
            # Either the connection is closed (or waits for the rest of what is too large), or the body was read over.
            with suppress(Closed), anyio.move_on_after(2):
                assert (await line.answer()).status in (200, 401)
        await self.check_alive(client)

    @cases("size", [1_000, 100_000, 5_000_000])
    @cases("coding", ["length", "chunks"])
    async def test_an_early_error_reaches_a_client_that_sends_its_whole_body_first(
        self, dial: Dial, client: RegistryClient, repository: str, size: int, coding: str
    ) -> None:
        target, _, status = self.early_error("unknown upload", repository)
        fields = [("Authorization", await client.authorization("PUT", target))]
        body = b"x" * size
        if coding == "length":
            fields.append(("Content-Length", str(size)))
        else:
            fields.append(("Transfer-Encoding", "chunked"))
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (size, body)
        async with dial() as line:
            await line.send(line.head("PUT", target, *fields) + body)
            assert (await line.answer()).status == status

    def early_error(self, where: str, repository: str) -> tuple[str, list[tuple[str, str]], int]:
        """A PUT whose head alone is reason to refuse it: target, headers, status."""
        upload = f"/v2/{repository}/blobs/uploads/00000000-0000-4000-8000-000000000000"
        return {
            "unknown upload": (f"{upload}?digest={digest(b'x')}", [], 404),
            "bad digest": (f"/v2/{repository}/manifests/sha256:totallywrong", [("Content-Type", OCI_IMAGE)], 400),
            "too large": (
                f"/v2/{repository}/manifests/latest",
                [("Content-Type", OCI_IMAGE), ("Content-Length", "100000000")],
                413,
            ),
        }[where]

    # Clients that wait

    @cases("where", ["unknown upload", "bad digest", "too large"])
    async def test_who_expects_100_continue_gets_an_error_without_sending_the_body(
        self, dial: Dial, client: RegistryClient, repository: str, where: str
    ) -> None:
        target, fields, status = self.early_error(where, repository)
        authorization = ("Authorization", await client.authorization("PUT", target))
        if not any(name == "Content-Length" for name, _ in fields):
            fields = [*fields, ("Content-Length", "1000000")]
        async with dial() as line:
            await line.send(line.head("PUT", target, authorization, *fields, ("Expect", "100-continue")))
            assert (await line.answer()).status == status
        await self.check_alive(client)

    async def test_who_expects_100_continue_gets_416_without_sending_the_chunk(
        self, dial: Dial, client: RegistryClient, repository: str
    ) -> None:
        location = await client.start_upload(repository)
        async with dial() as line:
            fields = (
                ("Authorization", await client.authorization("PATCH", location)),
                ("Content-Range", "500-999"),
                ("Content-Length", "500"),
                ("Expect", "100-continue"),
            )
            await line.send(line.head("PATCH", path_of(location), *fields))
            assert (await line.answer()).status == 416

    @pytest.mark.corereg_needs("auth")
    async def test_a_stranger_who_expects_100_continue_gets_401_without_sending_the_body(
        self, dial: Dial, client: RegistryClient, repository: str
    ) -> None:
        async with dial() as line:
            fields = (("Content-Length", "1000000"), ("Expect", "100-continue"))
            await line.send(line.head("POST", f"/v2/{repository}/blobs/uploads/", *fields))
            assert (await line.answer()).status == 401

    async def test_who_expects_100_continue_is_told_to_go_on(
        self, dial: Dial, client: RegistryClient, repository: str
    ) -> None:
        location = await client.start_upload(repository)
        async with dial() as line:
            fields = (
                ("Authorization", await client.authorization("PATCH", location)),
                ("Content-Length", "5"),
                ("Expect", "100-continue"),
            )
            await line.send(line.head("PATCH", path_of(location), *fields))
            assert await line.interim() == 100
            await line.send(b"hello")
            answer = await line.answer()
        assert answer.status == 202
        assert answer.headers["range"] == "0-4"

    async def test_a_slow_client_is_waited_for(self, dial: Dial, client: RegistryClient, repository: str) -> None:
        data = b"a slow client's bytes"
        location = await client.start_upload(repository)
        async with dial() as line:
            fields = (
                ("Authorization", await client.authorization("PATCH", location)),
                ("Content-Length", str(len(data))),
            )
            for byte in line.head("PATCH", path_of(location), *fields)[:40]:
                await line.send(bytes([byte]))
            await line.send(line.head("PATCH", path_of(location), *fields)[40:])
            for byte in data:
                await anyio.sleep(0.05)
                await line.send(bytes([byte]))
            answer = await line.answer()
        assert answer.status == 202
        expect(await client.request("PUT", with_query(answer.headers["location"], digest=digest(data))), 201)

    async def test_fifty_silent_clients_stand_in_nobodys_way(
        self, dial: Dial, client: RegistryClient, repository: str
    ) -> None:
        location = await client.start_upload(repository)
        authorization = ("Authorization", await client.authorization("PATCH", location))
        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(self.stay_silent, dial, path_of(location), authorization)
            await anyio.sleep(0.5)
            with anyio.fail_after(10):
                await client.push_image(repository, "latest")
            group.cancel_scope.cancel()

    async def stay_silent(self, dial: Dial, target: str, authorization: tuple[str, str | None]) -> None:
        """Promise a body and send none."""
        async with dial() as line:
            await line.send(line.head("PATCH", target, authorization, ("Content-Length", "1000")))
            await anyio.sleep(60)

    # Clients that vanish

    async def test_a_blob_whose_client_vanished_is_not_stored(
        self, dial: Dial, client: RegistryClient, repository: str
    ) -> None:
        data = b"x" * 1000
        target = f"/v2/{repository}/blobs/uploads/?digest={digest(data)}"
        put = with_query(await client.start_upload(repository), digest=digest(data))
        for method, where in (("POST", target), ("PUT", path_of(put))):
            async with dial() as line:
                authorization = ("Authorization", await client.authorization(method, where))
                await line.send(line.head(method, where, authorization, ("Content-Length", "2000")) + data)
        await anyio.sleep(0.5)
        expect(await client.request("HEAD", f"/v2/{repository}/blobs/{digest(data)}"), 404)

    async def test_a_manifest_whose_client_vanished_is_not_stored(
        self, dial: Dial, client: RegistryClient, repository: str
    ) -> None:
        await client.push_blob(repository, EMPTY.body)
        target = f"/v2/{repository}/manifests/latest"
        async with dial() as line:
            fields = (
                ("Authorization", await client.authorization("PUT", target)),
                ("Content-Type", OCI_IMAGE),
                ("Content-Length", "5000"),
            )
            await line.send(line.head("PUT", target, *fields) + image().body)
        await anyio.sleep(0.5)
        expect(await client.get_manifest(repository, "latest"), 404)

    async def test_an_upload_goes_on_after_its_connection_broke(
        self, dial: Dial, client: RegistryClient, repository: str
    ) -> None:
        data = b"0123456789" * 100
        location = await client.start_upload(repository)
        async with dial() as line:
            fields = (
                ("Authorization", await client.authorization("PATCH", location)),
                ("Content-Length", "1000"),
            )
            await line.send(line.head("PATCH", path_of(location), *fields) + data[:500])
            await anyio.sleep(0.2)
        with anyio.fail_after(20):
            while True:  # until the registry noticed
                answer = expect(await client.request("GET", location), 204)
                end = int(answer.headers["range"].partition("-")[2])
                start = end + 1 if end else 0
                assert start <= 500
                headers = {"Content-Range": f"{start}-999"}
                answer = await client.request("PATCH", location, headers=headers, content=data[start:])
                if expect(answer, 202, 416).status_code == 202:
                    break
                await anyio.sleep(0.2)
        expect(await client.request("PUT", with_query(location, digest=digest(data))), 201)
        assert await client.pull_blob(repository, digest(data)) == data


def path_of(location: str) -> str:
    """A Location as it stands on a request line."""
    if location.startswith("http"):
        return "/" + location.split("/", 3)[3]
    return location
