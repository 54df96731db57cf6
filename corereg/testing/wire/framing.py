"""Framing that says two things, chunks that are none, heads that are none."""

from __future__ import annotations

import anyio

from corereg.testing.client import RegistryClient, digest, expect, with_query
from corereg.testing.wire.line import Answer, Closed, Dial, Line, path_of
from corereg.testing.wire.protocol import cases
from corereg.testing.wire.sockets import SocketWire, strict


class FramingWire(SocketWire):
    """Bytes that two readers could take for two different requests, or for none."""

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
