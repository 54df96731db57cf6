"""Blobs: whole, in part, or known already."""

from __future__ import annotations

from corereg.testing.client import RegistryClient, expect
from corereg.testing.wire.protocol import ABSENT, ALGORITHMS, Protocol, cases, needs
from corereg.testing.wire.requests import at, unique


class BlobWire(Protocol):
    """What is pushed comes back, whole or in part, and only where it was pushed."""

    @cases("algorithm", ALGORITHMS)
    @cases("size", [0, 1, 65537, 5_000_000])
    async def test_a_pushed_blob_comes_back(
        self, client: RegistryClient, repository: str, algorithm: str, size: int
    ) -> None:
        data = (unique() * (size // 30 + 1))[:size]
        name = await client.push_blob(repository, data, algorithm)
        assert await client.pull_blob(repository, name) == data

    @cases("algorithm", ALGORITHMS)
    @cases("method", ["GET", "HEAD"])
    async def test_a_blob_carries_the_digest_that_was_asked_for(
        self, client: RegistryClient, repository: str, algorithm: str, method: str
    ) -> None:
        name = await client.push_blob(repository, unique(), algorithm)
        answer = expect(await client.request(method, at(repository, "blobs", name), follow=True), 200)
        assert answer.headers["docker-content-digest"] == name

    @cases("method", ["GET", "HEAD"])
    async def test_a_blob_carries_its_length(self, client: RegistryClient, repository: str, method: str) -> None:
        data = unique()
        name = await client.push_blob(repository, data)
        answer = expect(await client.request(method, at(repository, "blobs", name), follow=True), 200)
        assert answer.headers["content-length"] == str(len(data))

    async def test_head_of_a_blob_is_answered_here_and_without_a_body(
        self, client: RegistryClient, repository: str
    ) -> None:
        name = await client.push_blob(repository, unique())
        answer = expect(await client.request("HEAD", at(repository, "blobs", name)), 200)
        assert answer.content == b""

    @cases("method", ["GET", "HEAD"])
    async def test_an_absent_blob_is_404_blob_unknown(
        self, client: RegistryClient, repository: str, method: str
    ) -> None:
        expect(await client.request(method, at(repository, "blobs", ABSENT)), 404)
        await client.push_image(repository, "latest")
        expect(await client.request(method, at(repository, "blobs", ABSENT)), 404, code="BLOB_UNKNOWN")

    @cases("method", ["GET", "HEAD"])
    async def test_a_blob_is_not_seen_from_another_repository(
        self, client: RegistryClient, repository: str, method: str
    ) -> None:
        name = await client.push_blob(repository, unique())
        await client.push_image(f"{repository}/other", "latest")
        expect(await client.request(method, at(f"{repository}/other", "blobs", name)), 404, code="BLOB_UNKNOWN")

    @needs("blob_headers")
    @cases("method", ["GET", "HEAD"])
    async def test_a_blob_is_an_attachment_that_nobody_sniffs(
        self, client: RegistryClient, repository: str, method: str
    ) -> None:
        name = await client.push_blob(repository, b"<html><script>alert(1)</script></html>")
        headers = expect(await client.request(method, at(repository, "blobs", name)), 200).headers
        assert headers["content-type"] == "application/octet-stream"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-disposition"].startswith("attachment")

    @needs("ranges")
    @cases("method", ["GET", "HEAD"])
    async def test_a_blob_says_that_it_has_ranges(self, client: RegistryClient, repository: str, method: str) -> None:
        name = await client.push_blob(repository, unique())
        answer = expect(await client.request(method, at(repository, "blobs", name), follow=True), 200)
        assert answer.headers["accept-ranges"] == "bytes"

    @needs("caching")
    @cases("method", ["GET", "HEAD"])
    async def test_a_blob_may_be_kept_for_a_year(self, client: RegistryClient, repository: str, method: str) -> None:
        name = await client.push_blob(repository, unique())
        headers = expect(await client.request(method, at(repository, "blobs", name)), 200).headers
        assert headers["etag"] == f'"{name}"'
        assert "max-age=31536000" in headers["cache-control"]

    @needs("caching")
    @cases("method", ["GET", "HEAD"])
    @cases("form", ['"{d}"', 'W/"{d}"', '"x", "{d}"', "*"])
    async def test_a_blob_that_is_known_is_304(
        self, client: RegistryClient, repository: str, method: str, form: str
    ) -> None:
        name = await client.push_blob(repository, unique())
        headers = {"If-None-Match": form.format(d=name)}
        answer = expect(await client.request(method, at(repository, "blobs", name), headers=headers), 304)
        assert answer.headers["etag"] == f'"{name}"'
        assert answer.content == b""

    @needs("caching")
    async def test_a_blob_known_by_another_tag_is_sent(self, client: RegistryClient, repository: str) -> None:
        name = await client.push_blob(repository, unique())
        headers = {"If-None-Match": f'"{ABSENT}"'}
        expect(await client.request("GET", at(repository, "blobs", name), headers=headers), 200)

    @needs("caching")
    async def test_an_absent_blob_is_404_even_to_if_none_match(self, client: RegistryClient, repository: str) -> None:
        await client.push_blob(repository, unique())
        for form in (f'"{ABSENT}"', "*"):
            answer = await client.request("GET", at(repository, "blobs", ABSENT), headers={"If-None-Match": form})
            expect(answer, 404)

    @needs("ranges")
    @cases(
        ("text", "first", "last"),
        [
            ("bytes=0-0", 0, 0),
            ("bytes=0-9", 0, 9),
            ("bytes=10-19", 10, 19),
            ("bytes=990-", 990, 999),
            ("bytes=0-", 0, 999),
            ("bytes=999-999", 999, 999),
            ("bytes=-1", 999, 999),
            ("bytes=-10", 990, 999),
            ("bytes=-5000", 0, 999),
            ("bytes=990-5000", 990, 999),
            ("bytes=0-99999999999999999999999", 0, 999),
        ],
    )
    async def test_a_range_of_a_blob_is_206_with_exactly_these_bytes(
        self, client: RegistryClient, repository: str, text: str, first: int, last: int
    ) -> None:
        data = bytes(range(250)) * 4
        name = await client.push_blob(repository, data)
        answer = await client.request("GET", at(repository, "blobs", name), headers={"Range": text}, follow=True)
        expect(answer, 206)
        assert answer.content == data[first : last + 1]
        assert answer.headers["content-range"] in (f"bytes {first}-{last}/1000", f"bytes {first}-{last}/*")
        assert answer.headers["content-length"] == str(last - first + 1)

    @needs("ranges")
    @cases("text", ["bytes=1000-", "bytes=1000-2000", "bytes=99999999999999999999-", "bytes=500-0", "bytes=-0"])
    async def test_a_range_that_cannot_be_had_is_416_with_the_size(
        self, client: RegistryClient, repository: str, text: str
    ) -> None:
        name = await client.push_blob(repository, b"r" * 1000)
        answer = await client.request("GET", at(repository, "blobs", name), headers={"Range": text}, follow=True)
        expect(answer, 416)
        assert answer.headers["content-range"] == "bytes */1000"

    @needs("ranges")
    @cases("text", ["bytes=", "bytes=a-b", "bytes=1", "bytes", "bytes=--1", "bytes=+1-2", "lines=1-2", "bytes=1-2-3"])
    async def test_a_range_that_is_none_is_ignored_or_416(
        self, client: RegistryClient, repository: str, text: str
    ) -> None:
        name = await client.push_blob(repository, b"r" * 1000)
        answer = await client.request("GET", at(repository, "blobs", name), headers={"Range": text}, follow=True)
        if expect(answer, 200, 416).status_code == 200:
            assert answer.content == b"r" * 1000

    @needs("ranges")
    async def test_several_ranges_are_the_whole_blob_or_multipart(
        self, client: RegistryClient, repository: str
    ) -> None:
        data = bytes(range(200)) * 5
        name = await client.push_blob(repository, data)
        headers = {"Range": "bytes=0-9,500-509"}
        answer = await client.request("GET", at(repository, "blobs", name), headers=headers, follow=True)
        if expect(answer, 200, 206).status_code == 200:
            assert answer.content == data
        else:
            assert answer.headers["content-type"].startswith("multipart/byteranges")
            assert data[0:10] in answer.content
            assert data[500:510] in answer.content

    @needs("ranges")
    async def test_a_hundred_thousand_ranges_cost_no_more_than_one_blob(
        self, client: RegistryClient, repository: str
    ) -> None:
        name = await client.push_blob(repository, b"r" * 1000)
        headers = {"Range": "bytes=" + ",".join("0-" for _ in range(2000))}
        answer = await client.request("GET", at(repository, "blobs", name), headers=headers, follow=True)
        assert expect(answer, 200, 206, 400, 416, 431).status_code >= 400 or len(answer.content) <= 4000

    @needs("ranges")
    async def test_head_of_a_blob_ignores_range(self, client: RegistryClient, repository: str) -> None:
        name = await client.push_blob(repository, b"r" * 1000)
        answer = await client.request("HEAD", at(repository, "blobs", name), headers={"Range": "bytes=0-9"})
        assert expect(answer, 200).headers["content-length"] == "1000"

    @needs("ranges", "caching")
    async def test_if_range_with_the_blobs_tag_gives_the_range(self, client: RegistryClient, repository: str) -> None:
        name = await client.push_blob(repository, b"r" * 1000)
        headers = {"Range": "bytes=0-9", "If-Range": f'"{name}"'}
        answer = expect(await client.request("GET", at(repository, "blobs", name), headers=headers, follow=True), 206)
        assert answer.content == b"r" * 10

    @needs("ranges", "caching")
    @cases("form", [f'"{ABSENT}"', 'W/"{d}"', "Sat, 29 Oct 1994 19:43:31 GMT"])
    async def test_if_range_with_anything_else_gives_the_whole_blob(
        self, client: RegistryClient, repository: str, form: str
    ) -> None:
        name = await client.push_blob(repository, b"r" * 1000)
        headers = {"Range": "bytes=0-9", "If-Range": form.format(d=name)}
        answer = expect(await client.request("GET", at(repository, "blobs", name), headers=headers, follow=True), 200)
        assert answer.content == b"r" * 1000

    @needs("ranges", "caching")
    async def test_if_none_match_goes_before_range(self, client: RegistryClient, repository: str) -> None:
        name = await client.push_blob(repository, b"r" * 1000)
        headers = {"Range": "bytes=0-9", "If-None-Match": f'"{name}"'}
        expect(await client.request("GET", at(repository, "blobs", name), headers=headers), 304)

    @needs("ranges")
    async def test_a_range_of_an_empty_blob_is_416_or_nothing(self, client: RegistryClient, repository: str) -> None:
        name = await client.push_blob(repository, b"")
        answer = await client.request("GET", at(repository, "blobs", name), headers={"Range": "bytes=0-"}, follow=True)
        if expect(answer, 200, 416).status_code == 200:
            assert answer.content == b""
