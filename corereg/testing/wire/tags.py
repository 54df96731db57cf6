"""Tags that come with a manifest put by digest."""

from __future__ import annotations

import httpx2

from corereg.testing.client import EMPTY, RegistryClient, digest, expect, image
from corereg.testing.wire.protocol import ABSENT, Protocol, cases, needs


def told_tags(answer: httpx2.Response) -> set[str]:
    """What OCI-Tag lists, in one field or several."""
    return {tag.strip() for field in answer.headers.get_list("oci-tag") for tag in field.split(",")}


async def put_with_tags(client: RegistryClient, repository: str, tags: list[str]) -> httpx2.Response:
    """PUT the same small image by its digest, with these tags."""
    await client.push_blob(repository, EMPTY.body)
    query = "?" + "&".join(f"tag={tag}" for tag in tags)
    return await client.put_manifest(repository, image().digest, image(), query=query)


class TagPutWire(Protocol):
    """PUT by digest with ?tag=."""

    @needs("digest_put_tag")
    @cases("tags", [["one"], ["a", "b"], [f"t{number}" for number in range(10)]])
    async def test_tags_in_the_query_are_set_and_told(
        self, client: RegistryClient, repository: str, tags: list[str]
    ) -> None:
        answer = expect(await put_with_tags(client, repository, tags), 201)
        assert told_tags(answer) == set(tags)
        assert answer.headers["docker-content-digest"] == image().digest
        for tag in tags:
            assert expect(await client.get_manifest(repository, tag), 200).content == image().body
        assert expect(await client.request("GET", f"/v2/{repository}/tags/list"), 200).json()["tags"] == sorted(tags)

    @needs("digest_put_tag")
    async def test_a_tag_in_the_query_moves(self, client: RegistryClient, repository: str) -> None:
        await client.push_image(repository, "a")
        expect(await put_with_tags(client, repository, ["a", "a"]), 201)
        assert expect(await client.get_manifest(repository, "a"), 200).content == image().body

    @needs("digest_put_tag", "sha512")
    async def test_tags_can_be_set_with_a_sha512_digest(self, client: RegistryClient, repository: str) -> None:
        await client.push_blob(repository, EMPTY.body)
        name = digest(image().body, "sha512")
        answer = expect(await client.put_manifest(repository, name, image(), query="?tag=a"), 201)
        assert told_tags(answer) == {"a"}
        assert answer.headers["docker-content-digest"] == name
        assert expect(await client.get_manifest(repository, "a"), 200).content == image().body

    @needs("digest_put_tag")
    async def test_too_many_tags_are_414_and_none_is_set(self, client: RegistryClient, repository: str) -> None:
        await client.push_image(repository, "here")
        expect(await put_with_tags(client, repository, [f"t{number}" for number in range(200)]), 414)
        assert expect(await client.request("GET", f"/v2/{repository}/tags/list"), 200).json()["tags"] == ["here"]

    @needs("digest_put_tag")
    @cases("tag", ["-a", "", "a" * 129, "a%20b", ABSENT])
    async def test_a_bad_tag_in_the_query_is_400_and_none_is_set(
        self, client: RegistryClient, repository: str, tag: str
    ) -> None:
        await client.push_image(repository, "here")
        expect(await put_with_tags(client, repository, ["good", tag]), 400)
        assert expect(await client.request("GET", f"/v2/{repository}/tags/list"), 200).json()["tags"] == ["here"]

    @needs("digest_put_tag")
    async def test_tags_in_the_query_of_a_put_by_tag_are_refused_or_set(
        self, client: RegistryClient, repository: str
    ) -> None:
        await client.push_blob(repository, EMPTY.body)
        answer = expect(await client.put_manifest(repository, "one", image(), query="?tag=two"), 400, 201)
        expect(await client.get_manifest(repository, "two"), 200 if answer.status_code == 201 else 404)

    async def test_a_put_without_tags_in_the_query_tells_none(self, client: RegistryClient, repository: str) -> None:
        await client.push_blob(repository, EMPTY.body)
        for reference in ("latest", image().digest):
            answer = expect(await client.put_manifest(repository, reference, image()), 201)
            assert "oci-tag" not in answer.headers
