"""Uploads that come in pieces: streams, and chunks that say their place."""

from __future__ import annotations

from corereg.testing.client import RegistryClient, digest, expect
from corereg.testing.wire.protocol import ALGORITHMS, Protocol, cases, needs
from corereg.testing.wire.requests import OCTETS, close_upload, pieces, send_chunk, unique


class ChunkWire(Protocol):
    """An upload receives bytes in order, or says 416 and where it stands."""

    async def test_a_stream_without_length_is_appended(self, client: RegistryClient, repository: str) -> None:
        parts = [unique(), unique(), unique()]
        data = b"".join(parts)
        location = await client.start_upload(repository)
        answer = expect(await client.request("PATCH", location, headers=OCTETS, content=pieces(*parts)), 202)
        assert answer.headers["range"] == f"0-{len(data) - 1}"
        expect(await close_upload(client, answer.headers["location"], digest(data)), 201)
        assert await client.pull_blob(repository, digest(data)) == data

    async def test_two_streams_after_one_another_are_appended(self, client: RegistryClient, repository: str) -> None:
        parts = [unique(), unique()]
        location = await client.start_upload(repository)
        for part in parts:
            location = expect(await send_chunk(client, location, part), 202).headers["location"]
        data = b"".join(parts)
        expect(await close_upload(client, location, digest(data)), 201)
        assert await client.pull_blob(repository, digest(data)) == data

    async def test_a_stored_stream_says_range_location_and_uuid(self, client: RegistryClient, repository: str) -> None:
        location = await client.start_upload(repository)
        answer = expect(await send_chunk(client, location, b"x" * 100), 202)
        assert answer.headers["range"] == "0-99"
        assert answer.headers["docker-upload-uuid"] in answer.headers["location"]

    @needs("chunks")
    @cases("form", ["{a}-{b}", "bytes {a}-{b}/{t}", "bytes {a}-{b}/*"])
    @cases("algorithm", ALGORITHMS)
    async def test_chunks_in_order_make_a_blob(
        self, client: RegistryClient, repository: str, form: str, algorithm: str
    ) -> None:
        parts = [unique("first"), unique("second"), unique("third")]
        data = b"".join(parts)
        location, start = await client.start_upload(repository), 0
        for part in parts:
            text = form.format(a=start, b=start + len(part) - 1, t=len(data))
            answer = expect(await send_chunk(client, location, part, text), 202)
            start += len(part)
            assert answer.headers["range"] == f"0-{start - 1}"
            location = answer.headers["location"]
        name = digest(data, algorithm)
        expect(await close_upload(client, location, name), 201)
        assert await client.pull_blob(repository, name) == data

    @needs("chunks")
    async def test_the_last_chunk_may_come_with_the_put(self, client: RegistryClient, repository: str) -> None:
        data = b"0123456789"
        location = await client.start_upload(repository)
        location = expect(await send_chunk(client, location, data[:6], "0-5"), 202).headers["location"]
        expect(await close_upload(client, location, digest(data), data[6:], "6-9"), 201)
        assert await client.pull_blob(repository, digest(data)) == data

    async def test_the_last_bytes_may_come_with_the_put_without_content_range(
        self, client: RegistryClient, repository: str
    ) -> None:
        data = unique()
        location = await client.start_upload(repository)
        location = expect(await send_chunk(client, location, data[:6]), 202).headers["location"]
        expect(await close_upload(client, location, digest(data), data[6:]), 201)
        assert await client.pull_blob(repository, digest(data)) == data

    @needs("chunks")
    @cases(
        ("text", "body"),
        [("5-9", b"56789"), ("12-15", b"xxxx"), ("0-9", b"0123456789"), ("9-9", b"9"), ("20-30", b"xxxx")],
    )
    async def test_a_chunk_out_of_order_is_416_with_location_range_and_uuid(
        self, client: RegistryClient, repository: str, text: str, body: bytes
    ) -> None:
        location = await client.start_upload(repository)
        location = expect(await send_chunk(client, location, b"0123456789", "0-9"), 202).headers["location"]
        answer = expect(await send_chunk(client, location, body, text), 416)
        assert answer.headers["range"] == "0-9"
        assert answer.headers["docker-upload-uuid"] in answer.headers["location"]

    @needs("chunks")
    async def test_a_first_chunk_that_does_not_start_at_0_is_416(self, client: RegistryClient, repository: str) -> None:
        location = await client.start_upload(repository)
        expect(await send_chunk(client, location, b"56789", "5-9"), 416)

    @needs("chunks")
    @cases(
        "text",
        [
            "",
            "a-b",
            "0-",
            "-9",
            "0",
            "9-0",
            "0-9,10-19",
            "+0-9",
            "0 - 9",
            "\u0660-\u0669",
            "-1-9",
        ],
    )
    async def test_a_content_range_that_is_none_is_416(
        self, client: RegistryClient, repository: str, text: str
    ) -> None:
        if not text.isascii():
            text = text.encode().decode("latin-1")
        location = await client.start_upload(repository)
        expect(await send_chunk(client, location, b"0123456789", text), 416)
        data = unique()
        expect(await close_upload(client, location, digest(data), data), 201)

    @needs("chunks")
    async def test_a_refused_chunk_changes_nothing_and_the_upload_goes_on(
        self, client: RegistryClient, repository: str
    ) -> None:
        data = b"0123456789" + unique()
        first = await client.start_upload(repository)
        location = expect(await send_chunk(client, first, data[:10], "0-9"), 202).headers["location"]
        expect(await send_chunk(client, location, b"xxxxx", "20-24"), 416)
        answer = expect(await client.request("GET", location), 204)
        assert answer.headers["range"] == "0-9"
        text = f"10-{len(data) - 1}"
        location = expect(await send_chunk(client, answer.headers["location"], data[10:], text), 202).headers[
            "location"
        ]
        expect(await close_upload(client, location, digest(data)), 201)
        assert await client.pull_blob(repository, digest(data)) == data

    @needs("chunks")
    @cases(("text", "body"), [("0-9", b"01234"), ("0-4", b"0123456789"), ("0-0", b"")])
    async def test_a_chunk_as_long_as_it_does_not_say_is_400_size_invalid_and_changes_nothing(
        self, client: RegistryClient, repository: str, text: str, body: bytes
    ) -> None:
        location = await client.start_upload(repository)
        expect(await send_chunk(client, location, body, text), 400, code="SIZE_INVALID")
        assert expect(await client.request("GET", location), 204).headers["range"] == "0-0"
        data = unique()
        expect(await close_upload(client, location, digest(data), data), 201)

    @needs("chunks")
    @cases("parts", [(b"01234",), (b"01234", b"56789", b"more")])
    async def test_a_streamed_chunk_as_long_as_it_does_not_say_is_400(
        self, client: RegistryClient, repository: str, parts: tuple[bytes, ...]
    ) -> None:
        location = await client.start_upload(repository)
        headers = {**OCTETS, "Content-Range": "0-9"}
        expect(await client.request("PATCH", location, headers=headers, content=pieces(*parts)), 400)

    @needs("chunks")
    async def test_a_last_chunk_out_of_order_is_416_and_the_upload_goes_on(
        self, client: RegistryClient, repository: str
    ) -> None:
        data = b"0123456789"
        location = await client.start_upload(repository)
        location = expect(await send_chunk(client, location, data[:6], "0-5"), 202).headers["location"]
        expect(await close_upload(client, location, digest(data), data[6:], "7-10"), 416)
        assert expect(await client.request("GET", location), 204).headers["range"] == "0-5"
        expect(await close_upload(client, location, digest(data), data[6:], "6-9"), 201)
        assert await client.pull_blob(repository, digest(data)) == data
