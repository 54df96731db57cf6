"""Manifests put under a condition."""

from __future__ import annotations

from collections import Counter

import anyio
import httpx2

from corereg.testing.client import EMPTY, Content, RegistryClient, digest, expect, image
from corereg.testing.wire.protocol import ABSENT, Protocol, cases, needs


async def put_if(client: RegistryClient, repository: str, **headers: str) -> httpx2.Response:
    """PUT a new image as `latest` under a condition."""
    await client.push_blob(repository, EMPTY.body)
    fields = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return await client.put_manifest(repository, "latest", image(annotations={"new": "yes"}), headers=fields)


async def check_kept(client: RegistryClient, repository: str, manifest: Content) -> None:
    """The tag is where it was."""
    assert expect(await client.get_manifest(repository, "latest"), 200).content == manifest.body


class ConditionalPutWire(Protocol):
    """Compare and set: If-Match and If-None-Match on a manifest PUT."""

    @needs("conditional_put")
    async def test_if_none_match_star_makes_a_new_tag(self, client: RegistryClient, repository: str) -> None:
        expect(await put_if(client, repository, If_None_Match="*"), 201)

    @needs("conditional_put")
    async def test_if_none_match_star_moves_no_tag_but_is_412(self, client: RegistryClient, repository: str) -> None:
        old = await client.push_image(repository, "latest")
        expect(await put_if(client, repository, If_None_Match="*"), 412)
        await check_kept(client, repository, old)

    @needs("conditional_put")
    @cases("form", ['"{d}"', '"x", "{d}"', "*"])
    async def test_if_match_moves_the_tag_it_knows(self, client: RegistryClient, repository: str, form: str) -> None:
        old = await client.push_image(repository, "latest")
        expect(await put_if(client, repository, If_Match=form.format(d=old.digest)), 201)

    @needs("conditional_put")
    async def test_the_etag_of_a_manifest_is_what_if_match_takes(self, client: RegistryClient, repository: str) -> None:
        await client.push_image(repository, "latest")
        etag = expect(await client.get_manifest(repository, "latest"), 200).headers["etag"]
        expect(await put_if(client, repository, If_Match=etag), 201)

    @needs("conditional_put")
    @cases("form", [f'"{ABSENT}"', 'W/"{d}"', ""])
    async def test_if_match_moves_no_tag_it_does_not_know_but_is_412(
        self, client: RegistryClient, repository: str, form: str
    ) -> None:
        old = await client.push_image(repository, "latest")
        expect(await put_if(client, repository, If_Match=form.format(d=old.digest)), 412)
        await check_kept(client, repository, old)

    @needs("conditional_put")
    @cases("form", [f'"{ABSENT}"', "*"])
    async def test_if_match_makes_no_tag_but_is_412(self, client: RegistryClient, repository: str, form: str) -> None:
        expect(await put_if(client, repository, If_Match=form), 412)
        expect(await client.get_manifest(repository, "latest"), 404)

    @needs("conditional_put")
    async def test_a_condition_in_two_lines_counts_whole(self, client: RegistryClient, repository: str) -> None:
        old = await client.push_image(repository, "latest")
        new = image(annotations={"new": "yes"})
        none = [("If-None-Match", f'"{ABSENT}"'), ("If-None-Match", "*")]
        expect(await client.put_manifest(repository, "latest", new, headers=none), 412)
        await check_kept(client, repository, old)
        match = [("If-Match", f'"{ABSENT}"'), ("If-Match", f'"{old.digest}"')]
        expect(await client.put_manifest(repository, "latest", new, headers=match), 201)

    @needs("conditional_put")
    async def test_of_many_who_make_one_tag_under_if_none_match_one_wins(
        self, client: RegistryClient, repository: str
    ) -> None:
        await client.push_blob(repository, EMPTY.body)
        manifests = [image(annotations={"number": str(number)}) for number in range(8)]
        answers: dict[str, httpx2.Response] = {}

        async def put(manifest: Content) -> None:
            headers = {"If-None-Match": "*"}
            answers[manifest.digest] = await client.put_manifest(repository, "latest", manifest, headers=headers)

        async with anyio.create_task_group() as group:
            for manifest in manifests:
                group.start_soon(put, manifest)
        assert Counter(answer.status_code for answer in answers.values()) == {201: 1, 412: 7}
        winner = next(name for name, answer in answers.items() if answer.status_code == 201)
        assert digest(expect(await client.get_manifest(repository, "latest"), 200).content) == winner
