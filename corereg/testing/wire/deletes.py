"""Deletes of tags, manifests and blobs."""

from __future__ import annotations

from collections import Counter

import anyio
import httpx2

from corereg.testing.client import EMPTY, RegistryClient, blob, digest, expect, image
from corereg.testing.wire.protocol import ABSENT, Protocol, lacks, needs
from corereg.testing.wire.requests import at, unique


async def delete(client: RegistryClient, repository: str, noun: str, reference: str) -> httpx2.Response:
    """DELETE a blob or manifest."""
    return await client.request("DELETE", at(repository, noun, reference))


async def listed_tags(client: RegistryClient, repository: str) -> list[str]:
    """The tags of a repository, one page."""
    listed: list[str] = expect(await client.request("GET", f"/v2/{repository}/tags/list"), 200).json()["tags"]
    return listed


class DeleteWire(Protocol):
    """What is deleted is gone, and only that."""

    @needs("delete")
    async def test_deleting_a_tag_removes_only_the_tag(self, client: RegistryClient, repository: str) -> None:
        manifest = await client.push_image(repository, "one")
        await client.push(repository, "two", manifest)
        expect(await delete(client, repository, "manifests", "one"), 202)
        expect(await client.get_manifest(repository, "one"), 404)
        for reference in ("two", manifest.digest):
            assert expect(await client.get_manifest(repository, reference), 200).content == manifest.body
        assert await listed_tags(client, repository) == ["two"]

    @needs("delete")
    async def test_deleting_the_last_tag_leaves_the_manifest(self, client: RegistryClient, repository: str) -> None:
        manifest = await client.push_image(repository, "one")
        expect(await delete(client, repository, "manifests", "one"), 202)
        assert expect(await client.get_manifest(repository, manifest.digest), 200).content == manifest.body

    @needs("delete")
    async def test_deleting_a_digest_removes_the_manifest_and_all_its_tags(
        self, client: RegistryClient, repository: str
    ) -> None:
        manifest = await client.push_image(repository, "one")
        await client.push(repository, "two", manifest)
        await client.push_image(repository, "three")
        expect(await delete(client, repository, "manifests", manifest.digest), 202)
        for reference in ("one", "two", manifest.digest):
            expect(await client.get_manifest(repository, reference), 404, code="MANIFEST_UNKNOWN")
        assert await listed_tags(client, repository) == ["three"]

    @needs("delete", "sha512")
    async def test_a_manifest_can_be_deleted_by_sha512(self, client: RegistryClient, repository: str) -> None:
        await client.push_blob(repository, EMPTY.body)
        name = digest(image().body, "sha512")
        expect(await client.put_manifest(repository, name, image()), 201)
        expect(await delete(client, repository, "manifests", name), 202)
        expect(await client.get_manifest(repository, name), 404)

    @needs("delete")
    async def test_deleting_what_is_gone_is_404(self, client: RegistryClient, repository: str) -> None:
        manifest = await client.push_image(repository, "one")
        await client.push_image(repository, "two")
        name = await client.push_blob(repository, unique())
        for noun, reference in (("manifests", "one"), ("manifests", manifest.digest), ("blobs", name)):
            expect(await delete(client, repository, noun, reference), 202)
            expect(await delete(client, repository, noun, reference), 404)

    @needs("delete")
    async def test_deleting_in_an_unknown_repository_is_404(self, client: RegistryClient, repository: str) -> None:
        for noun, reference in (("manifests", "latest"), ("manifests", ABSENT), ("blobs", ABSENT)):
            expect(await delete(client, repository, noun, reference), 404)

    @needs("delete")
    async def test_a_deleted_blob_is_404_here_and_stays_elsewhere(
        self, client: RegistryClient, repository: str
    ) -> None:
        data = unique()
        name = await client.push_blob(repository, data)
        await client.push_blob(f"{repository}/other", data)
        expect(await delete(client, repository, "blobs", name), 202)
        for method in ("GET", "HEAD"):
            expect(await client.request(method, at(repository, "blobs", name)), 404)
        assert await client.pull_blob(f"{repository}/other", name) == data

    @needs("delete")
    async def test_what_was_deleted_can_be_pushed_and_pulled_again(
        self, client: RegistryClient, repository: str
    ) -> None:
        layer = blob(unique())
        manifest = image(EMPTY, [layer])
        for _ in range(2):
            await client.push(repository, "latest", manifest, EMPTY, layer)
            assert expect(await client.get_manifest(repository, "latest"), 200).content == manifest.body
            assert await client.pull_blob(repository, layer.digest) == layer.body
            expect(await delete(client, repository, "manifests", manifest.digest), 202)
            expect(await delete(client, repository, "blobs", layer.digest), 202)
            expect(await client.get_manifest(repository, "latest"), 404)
            expect(await client.request("GET", at(repository, "blobs", layer.digest)), 404)

    @needs("delete")
    @lacks("sparse")
    async def test_a_deleted_blob_is_a_missing_blob(self, client: RegistryClient, repository: str) -> None:
        layer = blob(unique())
        for each in (EMPTY, layer):
            await client.push_blob(repository, each.body)
        expect(await delete(client, repository, "blobs", layer.digest), 202)
        answer = await client.put_manifest(repository, "latest", image(EMPTY, [layer]))
        expect(answer, 400, code="MANIFEST_BLOB_UNKNOWN")

    @needs("delete")
    async def test_a_repository_whose_tags_are_all_deleted_lists_none(
        self, client: RegistryClient, repository: str
    ) -> None:
        await client.push_image(repository, "latest")
        expect(await delete(client, repository, "manifests", "latest"), 202)
        answer = expect(await client.request("GET", f"/v2/{repository}/tags/list"), 200)
        assert answer.json()["tags"] == []

    @needs("delete")
    async def test_deleting_a_member_by_many_at_once_is_202_once(self, client: RegistryClient, repository: str) -> None:
        manifest = await client.push_image(repository, "latest")
        answers: list[httpx2.Response] = []

        async def once() -> None:
            answers.append(await delete(client, repository, "manifests", manifest.digest))

        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(once)
        assert Counter(answer.status_code for answer in answers) == {202: 1, 404: 3}

    @lacks("delete")
    async def test_deletes_that_are_switched_off_are_405_unsupported(
        self, client: RegistryClient, repository: str
    ) -> None:
        manifest = await client.push_image(repository, "latest")
        for noun, reference in (("manifests", "latest"), ("manifests", manifest.digest), ("blobs", EMPTY.digest)):
            expect(await delete(client, repository, noun, reference), 405, code="UNSUPPORTED")
        assert expect(await client.get_manifest(repository, "latest"), 200).content == manifest.body
