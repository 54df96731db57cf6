"""Manifests that are refused."""

from __future__ import annotations

import json

from corereg.testing.client import (
    DOCKER_IMAGE,
    DOCKER_LIST,
    EMPTY,
    OCI_CONFIG,
    OCI_IMAGE,
    OCI_INDEX,
    Content,
    RegistryClient,
    blob,
    digest,
    encode,
    error_codes,
    expect,
    image,
    index,
)
from corereg.testing.wire.faults import FAULTS, STRICT_FAULTS
from corereg.testing.wire.protocol import JSON, Protocol, cases, lacks, needs
from corereg.testing.wire.requests import unique


async def good_document(client: RegistryClient, repository: str) -> JSON:
    """A good image manifest whose blobs are in the repository."""
    layer = blob(unique())
    for each in (EMPTY, layer):
        await client.push_blob(repository, each.body)
    document: JSON = json.loads(image(EMPTY, [layer], annotations={"note": "a note"}).body)
    return document


async def check_refused(client: RegistryClient, repository: str, body: bytes, kind: str = OCI_IMAGE) -> None:
    """400, and nothing stored."""
    answer = await client.put_manifest(repository, "latest", Content(kind, body))
    expect(answer, 400, code="MANIFEST_INVALID")
    expect(await client.get_manifest(repository, "latest"), 404)
    expect(await client.get_manifest(repository, digest(body)), 404)


class ManifestRefusalWire(Protocol):
    """Manifests that are none, that contradict themselves, or that lack what they name."""

    async def test_the_manifest_that_the_faults_are_made_of_is_good(
        self, client: RegistryClient, repository: str
    ) -> None:
        document = await good_document(client, repository)
        expect(await client.put_manifest(repository, "latest", Content(OCI_IMAGE, encode(document))), 201)

    @cases("fault", FAULTS)
    async def test_a_faulty_manifest_is_400_manifest_invalid(
        self, client: RegistryClient, repository: str, fault: str
    ) -> None:
        body = FAULTS[fault](await good_document(client, repository))
        await check_refused(client, repository, body)

    @needs("strict_manifests")
    @cases("fault", STRICT_FAULTS)
    async def test_a_doubtful_manifest_is_400_manifest_invalid(
        self, client: RegistryClient, repository: str, fault: str
    ) -> None:
        body = STRICT_FAULTS[fault](await good_document(client, repository))
        await check_refused(client, repository, body)

    @cases("name", ["sha256:totallywrong", "md5:" + "a" * 32, "", "latest", "sha256:" + "A" * 64])
    @cases("where", ["config", "layer", "subject"])
    async def test_a_descriptor_without_a_good_digest_is_400(
        self, client: RegistryClient, repository: str, name: str, where: str
    ) -> None:
        document = await good_document(client, repository)
        bad = {"mediaType": OCI_IMAGE, "size": 2, "digest": name}
        document |= {"layers": [bad]} if where == "layer" else {where: bad}
        answer = await client.put_manifest(repository, "latest", Content(OCI_IMAGE, encode(document)))
        expect(answer, 400)

    async def test_a_docker_manifest_without_media_type_is_400_manifest_invalid(
        self, client: RegistryClient, repository: str
    ) -> None:
        document = await good_document(client, repository)
        del document["mediaType"]
        await check_refused(client, repository, encode(document), DOCKER_IMAGE)

    @cases("kind", [OCI_INDEX, DOCKER_LIST])
    async def test_an_index_that_has_layers_too_is_400_manifest_invalid(
        self, client: RegistryClient, repository: str, kind: str
    ) -> None:
        document = await good_document(client, repository)
        body = encode({**document, "mediaType": kind, "manifests": []})
        await check_refused(client, repository, body, kind)

    @cases("kind", [OCI_IMAGE, DOCKER_IMAGE])
    async def test_an_image_that_has_manifests_too_is_400_manifest_invalid(
        self, client: RegistryClient, repository: str, kind: str
    ) -> None:
        document = await good_document(client, repository)
        body = encode({**document, "mediaType": kind, "manifests": []})
        await check_refused(client, repository, body, kind)

    async def test_an_index_sent_as_an_image_is_400_manifest_invalid(
        self, client: RegistryClient, repository: str
    ) -> None:
        await good_document(client, repository)
        await check_refused(client, repository, encode({"schemaVersion": 2, "manifests": []}), OCI_IMAGE)

    @cases(
        "kind",
        [
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            "application/vnd.docker.distribution.manifest.v1+json",
        ],
    )
    async def test_schema_1_is_400_or_415(self, client: RegistryClient, repository: str, kind: str) -> None:
        body = encode({"schemaVersion": 1, "name": repository, "tag": "latest", "fsLayers": [], "history": []})
        expect(await client.put_manifest(repository, "latest", Content(kind, body)), 400, 415)

    @cases("kind", ["application/json", "text/plain", "application/vnd.example+json", "nonsense", "*/*"])
    async def test_an_unknown_manifest_type_is_400_or_415(
        self, client: RegistryClient, repository: str, kind: str
    ) -> None:
        document = await good_document(client, repository)
        body = encode({**document, "mediaType": kind})
        expect(await client.put_manifest(repository, "latest", Content(kind, body)), 400, 415)

    @lacks("sparse")
    async def test_missing_blobs_are_400_with_one_manifest_blob_unknown_for_each(
        self, client: RegistryClient, repository: str
    ) -> None:
        await client.push_blob(repository, EMPTY.body)
        layers = [blob(unique()) for _ in range(3)]
        answer = await client.put_manifest(repository, "latest", image(EMPTY, [*layers, layers[0]]))
        expect(answer, 400)
        assert error_codes(answer) == ["MANIFEST_BLOB_UNKNOWN"] * 3
        for layer in layers:
            assert layer.digest in answer.text
        expect(await client.get_manifest(repository, "latest"), 404)

    @lacks("sparse")
    async def test_a_missing_config_is_400_manifest_blob_unknown(self, client: RegistryClient, repository: str) -> None:
        manifest = image(Content(OCI_CONFIG, unique()))
        expect(await client.put_manifest(repository, "latest", manifest), 400, code="MANIFEST_BLOB_UNKNOWN")

    @lacks("sparse")
    async def test_a_blob_of_another_repository_is_a_missing_blob(
        self, client: RegistryClient, repository: str
    ) -> None:
        layer = blob(unique())
        await client.push_blob(repository, EMPTY.body)
        await client.push_blob(f"{repository}/other", layer.body)
        answer = await client.put_manifest(repository, "latest", image(EMPTY, [layer]))
        expect(answer, 400, code="MANIFEST_BLOB_UNKNOWN")

    @lacks("sparse")
    async def test_missing_members_of_an_index_are_400_with_one_manifest_blob_unknown_for_each(
        self, client: RegistryClient, repository: str
    ) -> None:
        here = await client.push_image(repository, None)
        missing = [image(annotations={"number": unique().decode()}) for _ in range(2)]
        answer = expect(await client.put_manifest(repository, "latest", index([here, *missing])), 400)
        assert error_codes(answer) == ["MANIFEST_BLOB_UNKNOWN"] * 2

    @lacks("sparse")
    async def test_a_thousand_missing_blobs_are_400(self, client: RegistryClient, repository: str) -> None:
        await client.push_blob(repository, EMPTY.body)
        layers = [blob(unique()) for _ in range(1000)]
        answer = expect(await client.put_manifest(repository, "latest", image(EMPTY, layers)), 400)
        assert set(error_codes(answer)) == {"MANIFEST_BLOB_UNKNOWN"}

    @needs("sparse")
    async def test_a_sparse_manifest_is_accepted(self, client: RegistryClient, repository: str) -> None:
        expect(await client.put_manifest(repository, "image", image(EMPTY, [blob(unique())])), 201)
        expect(await client.put_manifest(repository, "index", index([image(annotations={"a": "b"})])), 201)

    @needs("conditional_put")
    async def test_a_state_that_is_against_it_is_told_before_a_faulty_body(
        self, client: RegistryClient, repository: str
    ) -> None:
        await client.push_image(repository, "latest")
        answer = await client.put_manifest(
            repository, "latest", Content(OCI_IMAGE, b"hello"), headers={"If-None-Match": "*"}
        )
        expect(answer, 412)
