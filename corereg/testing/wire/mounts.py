"""Mounts: blobs that another repository has."""

from __future__ import annotations

from urllib.parse import quote
from uuid import uuid4

import httpx2
import pytest

from corereg.testing.client import RegistryClient, digest, expect, with_query
from corereg.testing.wire.protocol import ABSENT, ALGORITHMS, Protocol, cases, needs
from corereg.testing.wire.requests import OCTETS, at, unique, uploads


def mount_target(repository: str, name: str, source: str | None) -> str:
    """Where to ask for a mount."""
    return f"{uploads(repository)}?mount={name}" + ("" if source is None else f"&from={source}")


async def check_falls_back(client: RegistryClient, repository: str, answer: httpx2.Response) -> None:
    """202, and the Location takes an upload."""
    expect(answer, 202)
    data = unique()
    location = with_query(answer.headers["location"], digest=digest(data))
    expect(await client.request("PUT", location, headers=OCTETS, content=data), 201)
    assert await client.pull_blob(repository, digest(data)) == data


class MountWire(Protocol):
    """POST ?mount=: a blob that is here already is not sent again."""

    @needs("mount")
    @cases("algorithm", ALGORITHMS)
    async def test_a_blob_mounts_with_201(self, client: RegistryClient, repository: str, algorithm: str) -> None:
        data = unique()
        name = await client.push_blob(f"{repository}/source", data, algorithm)
        answer = await client.request("POST", mount_target(repository, name, f"{repository}/source"))
        expect(answer, 201)
        assert answer.headers["docker-content-digest"] == name
        assert expect(await client.request("GET", answer.headers["location"], follow=True), 200).content == data
        assert await client.pull_blob(repository, name) == data

    @needs("mount")
    async def test_a_source_may_be_percent_encoded(self, client: RegistryClient, repository: str) -> None:
        name = await client.push_blob(f"{repository}/source", unique())
        source = quote(f"{repository}/source", safe="")
        expect(await client.request("POST", mount_target(repository, quote(name, safe=""), source)), 201)

    @needs("mount", "delete")
    async def test_a_mounted_blob_outlives_its_source(self, client: RegistryClient, repository: str) -> None:
        data = unique()
        name = await client.push_blob(f"{repository}/source", data)
        expect(await client.request("POST", mount_target(repository, name, f"{repository}/source")), 201)
        expect(await client.request("DELETE", at(f"{repository}/source", "blobs", name)), 202)
        assert await client.pull_blob(repository, name) == data

    async def test_a_blob_that_is_nowhere_falls_back_to_an_upload(
        self, client: RegistryClient, repository: str
    ) -> None:
        await client.push_image(f"{repository}/source", "latest")
        answer = await client.request("POST", mount_target(repository, ABSENT, f"{repository}/source"))
        await check_falls_back(client, repository, answer)

    async def test_an_unknown_source_falls_back_to_an_upload(self, client: RegistryClient, repository: str) -> None:
        answer = await client.request("POST", mount_target(repository, ABSENT, f"{repository}/nowhere"))
        await check_falls_back(client, repository, answer)

    async def test_a_source_without_the_blob_is_no_source(self, client: RegistryClient, repository: str) -> None:
        name = await client.push_blob(f"{repository}/elsewhere", unique())
        await client.push_image(f"{repository}/source", "latest")
        answer = await client.request("POST", mount_target(repository, name, f"{repository}/source"))
        await check_falls_back(client, repository, answer)
        expect(await client.request("HEAD", at(repository, "blobs", name)), 404)

    @cases("name", ["sha256:totallywrong", "md5:" + "a" * 32, "latest", ""])
    async def test_a_mount_of_a_digest_that_is_none_falls_back_to_an_upload(
        self, client: RegistryClient, repository: str, name: str
    ) -> None:
        answer = await client.request("POST", mount_target(repository, name, f"{repository}/source"))
        await check_falls_back(client, repository, answer)

    @cases("source", ["UPPER", "a//b", "..", ""])
    async def test_a_mount_from_a_name_that_is_none_falls_back_to_an_upload(
        self, client: RegistryClient, repository: str, source: str
    ) -> None:
        answer = await client.request("POST", mount_target(repository, ABSENT, source))
        await check_falls_back(client, repository, answer)

    @needs("mount_without_from")
    async def test_a_mount_without_from_finds_the_blob(self, client: RegistryClient, repository: str) -> None:
        data = unique()
        name = await client.push_blob(f"{repository}/source", data)
        expect(await client.request("POST", mount_target(repository, name, None)), 201)
        assert await client.pull_blob(repository, name) == data

    async def test_a_mount_without_from_of_what_is_nowhere_falls_back_to_an_upload(
        self, client: RegistryClient, repository: str
    ) -> None:
        answer = await client.request("POST", mount_target(repository, ABSENT, None))
        await check_falls_back(client, repository, answer)

    @needs("auth")
    async def test_a_mount_shows_nobody_what_he_may_not_pull(
        self, client: RegistryClient, other: RegistryClient, repository: str, corereg_other_namespace: str | None
    ) -> None:
        if corereg_other_namespace is None:
            pytest.skip("needs a namespace that the second person may push to: --corereg-other-namespace")
        own = f"{corereg_other_namespace}/{uuid4().hex}"
        name = await client.push_blob(repository, unique())
        for source in (repository, None):
            expect(await other.request("POST", mount_target(own, name, source)), 202)
            expect(await other.request("HEAD", at(own, "blobs", name)), 404)
