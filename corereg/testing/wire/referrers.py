"""Referrers: what names a manifest as its subject."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from corereg.testing.client import EMPTY, OCI_INDEX, Content, RegistryClient, blob, digest, expect, image, index
from corereg.testing.wire.answers import walk
from corereg.testing.wire.protocol import ABSENT, JSON, Protocol, cases, needs
from corereg.testing.wire.requests import at, unique


async def referrers(client: RegistryClient, repository: str, name: str, query: str = "") -> list[JSON]:
    """All descriptors that refer to `name`, over all pages."""
    pages = await walk(client, at(repository, "referrers", name) + query)
    return [descriptor for page in pages for descriptor in page.json()["manifests"]]


async def refer(client: RegistryClient, repository: str, subject: Content, **fields: Any) -> Content:
    """Push an artifact that refers to `subject`."""
    await client.push_blob(repository, EMPTY.body)
    fields = {"artifactType": "application/vnd.example.signature", **fields}
    return await client.push(repository, None, image(subject=subject.descriptor(), **fields))


class ReferrersWire(Protocol):
    """Who refers to a manifest by its subject."""

    @needs("referrers")
    async def test_referrers_in_an_unknown_repository_are_an_empty_index(
        self, client: RegistryClient, repository: str
    ) -> None:
        answer = expect(await client.request("GET", at(repository, "referrers", ABSENT)), 200)
        assert answer.headers["content-type"] == OCI_INDEX
        document = answer.json()
        assert document["schemaVersion"] == 2
        assert document["mediaType"] == OCI_INDEX
        assert document["manifests"] == []

    @needs("referrers")
    async def test_referrers_of_an_unknown_subject_are_an_empty_index(
        self, client: RegistryClient, repository: str
    ) -> None:
        await client.push_image(repository, "latest")
        answer = expect(await client.request("GET", at(repository, "referrers", ABSENT)), 200)
        assert answer.json()["manifests"] == []

    @needs("referrers")
    @cases("kind", ["image", "index"])
    async def test_a_put_with_a_subject_tells_it(self, client: RegistryClient, repository: str, kind: str) -> None:
        await client.push_blob(repository, EMPTY.body)
        subject = image(annotations={"never": "pushed"}).descriptor()
        manifest = image(subject=subject) if kind == "image" else index(subject=subject)
        answer = expect(await client.put_manifest(repository, "latest", manifest), 201)
        assert answer.headers["oci-subject"] == subject["digest"]

    async def test_a_manifest_whose_subject_is_not_there_is_accepted(
        self, client: RegistryClient, repository: str
    ) -> None:
        await client.push_blob(repository, EMPTY.body)
        expect(await client.put_manifest(repository, "latest", image(subject=blob(unique()).descriptor())), 201)

    async def test_a_put_without_a_subject_tells_none(self, client: RegistryClient, repository: str) -> None:
        await client.push_blob(repository, EMPTY.body)
        assert "oci-subject" not in expect(await client.put_manifest(repository, "latest", image()), 201).headers

    @needs("referrers")
    async def test_an_image_is_listed_with_its_artifact_type_and_annotations(
        self, client: RegistryClient, repository: str
    ) -> None:
        subject = await client.push_image(repository, "subject")
        notes = {"org.example.a": "ä", "b": ""}
        manifest = await refer(client, repository, subject, annotations=notes)
        assert await referrers(client, repository, subject.digest) == [
            manifest.descriptor(artifactType="application/vnd.example.signature", annotations=notes)
        ]

    @needs("referrers")
    async def test_an_image_without_artifact_type_is_listed_with_that_of_its_config(
        self, client: RegistryClient, repository: str
    ) -> None:
        subject = await client.push_image(repository, "subject")
        config = Content("application/vnd.example.config", b"{}")
        await client.push(repository, None, image(config, subject=subject.descriptor()), config)
        [descriptor] = await referrers(client, repository, subject.digest)
        assert descriptor["artifactType"] == "application/vnd.example.config"

    @needs("referrers")
    async def test_an_index_is_listed_with_its_artifact_type(self, client: RegistryClient, repository: str) -> None:
        subject = await client.push_image(repository, "subject")
        kind = "application/vnd.example.bundle"
        manifest = index(subject=subject.descriptor(), artifactType=kind, annotations={"a": "b"})
        await client.push(repository, None, manifest)
        assert await referrers(client, repository, subject.digest) == [
            manifest.descriptor(artifactType=kind, annotations={"a": "b"})
        ]

    @needs("referrers")
    async def test_an_index_without_artifact_type_is_listed_without(
        self, client: RegistryClient, repository: str
    ) -> None:
        subject = await client.push_image(repository, "subject")
        await client.push(repository, None, index(subject=subject.descriptor()))
        [descriptor] = await referrers(client, repository, subject.digest)
        assert "artifactType" not in descriptor

    @needs("referrers")
    async def test_a_referrer_that_came_before_its_subject_is_listed(
        self, client: RegistryClient, repository: str
    ) -> None:
        layer = blob(unique())
        subject = image(EMPTY, [layer])
        manifest = await refer(client, repository, subject)
        await client.push(repository, "subject", subject, EMPTY, layer)
        assert [each["digest"] for each in await referrers(client, repository, subject.digest)] == [manifest.digest]

    @needs("referrers")
    async def test_a_referrer_pushed_twice_or_tagged_is_listed_once(
        self, client: RegistryClient, repository: str
    ) -> None:
        subject = await client.push_image(repository, "subject")
        manifest = await refer(client, repository, subject)
        for reference in (None, "one", "two"):
            await client.push(repository, reference, manifest)
        assert len(await referrers(client, repository, subject.digest)) == 1

    @needs("referrers")
    async def test_referrers_of_another_repository_are_not_listed(
        self, client: RegistryClient, repository: str
    ) -> None:
        subject = await client.push_image(repository, "subject")
        await refer(client, f"{repository}/other", subject)
        assert await referrers(client, repository, subject.digest) == []

    @needs("referrers", "sha512")
    async def test_referrers_of_a_sha512_subject_are_listed(self, client: RegistryClient, repository: str) -> None:
        await client.push_blob(repository, EMPTY.body)
        subject = image(annotations={"subject": "yes"})
        name = digest(subject.body, "sha512")
        expect(await client.put_manifest(repository, name, subject), 201)
        manifest = image(subject=subject.descriptor("sha512"))
        answer = expect(await client.put_manifest(repository, manifest.digest, manifest), 201)
        assert answer.headers["oci-subject"] == name
        assert [each["digest"] for each in await referrers(client, repository, name)] == [manifest.digest]

    @needs("referrers")
    @cases("kind", ["application/vnd.example.sbom", "application/vnd.example.sbom+json"])
    async def test_a_filter_shows_only_its_type_and_says_so(
        self, client: RegistryClient, repository: str, kind: str
    ) -> None:
        subject = await client.push_image(repository, "subject")
        await refer(client, repository, subject)
        wanted = await refer(client, repository, subject, artifactType=kind)
        target = f"{at(repository, 'referrers', subject.digest)}?artifactType={quote(kind, safe='')}"
        answer = expect(await client.request("GET", target), 200)
        assert "artifactType" in [word.strip() for word in answer.headers["oci-filters-applied"].split(",")]
        assert [each["digest"] for each in answer.json()["manifests"]] == [wanted.digest]

    @needs("referrers")
    async def test_a_filter_finds_the_type_of_a_config(self, client: RegistryClient, repository: str) -> None:
        subject = await client.push_image(repository, "subject")
        config = Content("application/vnd.example.config", b"{}")
        manifest = image(config, subject=subject.descriptor())
        await client.push(repository, None, manifest, config)
        listed = await referrers(client, repository, subject.digest, f"?artifactType={config.media_type}")
        assert [each["digest"] for each in listed] == [manifest.digest]

    @needs("referrers")
    async def test_a_filter_that_matches_nothing_gives_an_empty_index(
        self, client: RegistryClient, repository: str
    ) -> None:
        subject = await client.push_image(repository, "subject")
        await refer(client, repository, subject)
        target = f"{at(repository, 'referrers', subject.digest)}?artifactType=application/vnd.example.absent"
        answer = expect(await client.request("GET", target), 200)
        assert answer.json()["manifests"] == []
        assert answer.headers["oci-filters-applied"] == "artifactType"

    @needs("referrers")
    async def test_without_a_filter_none_is_said(self, client: RegistryClient, repository: str) -> None:
        answer = expect(await client.request("GET", at(repository, "referrers", ABSENT)), 200)
        assert "oci-filters-applied" not in answer.headers

    @needs("referrers", "delete")
    async def test_a_deleted_referrer_is_gone_from_the_list_at_once(
        self, client: RegistryClient, repository: str
    ) -> None:
        subject = await client.push_image(repository, "subject")
        first = await refer(client, repository, subject, annotations={"number": "1"})
        second = await refer(client, repository, subject, annotations={"number": "2"})
        assert len(await referrers(client, repository, subject.digest)) == 2
        expect(await client.request("DELETE", at(repository, "manifests", first.digest)), 202)
        assert [each["digest"] for each in await referrers(client, repository, subject.digest)] == [second.digest]

    @needs("referrers", "delete")
    async def test_referrers_outlive_their_subject(self, client: RegistryClient, repository: str) -> None:
        subject = await client.push_image(repository, "subject")
        manifest = await refer(client, repository, subject)
        expect(await client.request("DELETE", at(repository, "manifests", subject.digest)), 202)
        assert [each["digest"] for each in await referrers(client, repository, subject.digest)] == [manifest.digest]

    @needs("referrers")
    @cases("query", ["", "?artifactType=application/vnd.example.signature"])
    async def test_a_list_larger_than_a_manifest_comes_in_pages(
        self, client: RegistryClient, repository: str, query: str
    ) -> None:
        subject = await client.push_image(repository, "subject")
        pushed = set()
        for number in range(12):
            notes = {"number": str(number), "long": "x" * 400_000}
            pushed.add((await refer(client, repository, subject, annotations=notes)).digest)
        pages = await walk(client, at(repository, "referrers", subject.digest) + query)
        assert len(pages) > 1
        for page in pages:
            assert len(page.content) <= 4 * 1024 * 1024
            assert page.headers["content-type"] == OCI_INDEX
            assert ("oci-filters-applied" in page.headers) == bool(query)
        listed = [each["digest"] for page in pages for each in page.json()["manifests"]]
        assert sorted(listed) == sorted(pushed)

    @needs("referrers")
    async def test_what_a_client_listed_under_the_fallback_tag_is_listed_once(
        self, client: RegistryClient, repository: str
    ) -> None:
        subject = await client.push_image(repository, "subject")
        referrer = await refer(client, repository, subject)
        stranger = await client.push_image(repository, None)
        await client.push(repository, subject.digest.replace(":", "-"), index([referrer, stranger]))
        assert [each["digest"] for each in await referrers(client, repository, subject.digest)] == [referrer.digest]
