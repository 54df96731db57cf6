"""Manifests: what is put comes back, byte for byte."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import suppress

import anyio
import httpx2
import pytest

from corereg.testing.client import (
    DOCKER_CONFIG,
    DOCKER_IMAGE,
    DOCKER_LAYER,
    DOCKER_LIST,
    EMPTY,
    MANIFEST_TYPES,
    OCI_IMAGE,
    OCI_INDEX,
    OCI_LAYER,
    Content,
    RegistryClient,
    blob,
    digest,
    encode,
    expect,
    image,
    index,
)
from corereg.testing.wire.protocol import ABSENT, ALGORITHMS, Protocol, cases, needs
from corereg.testing.wire.requests import at, pieces, unique


def _docker_image(*layers: Content) -> Content:
    return image(Content(DOCKER_CONFIG, EMPTY.body), layers, DOCKER_IMAGE)


class ManifestWire(Protocol):
    """Manifests: the exact bytes, by tag and by digest."""

    @cases("method", ["GET", "HEAD"])
    @cases("by", ["tag", "digest"])
    async def test_a_manifest_carries_type_digest_and_length(
        self, client: RegistryClient, repository: str, method: str, by: str
    ) -> None:
        manifest = await client.push_image(repository, "latest")
        reference = "latest" if by == "tag" else manifest.digest
        answer = expect(await client.get_manifest(repository, reference, method=method), 200)
        assert answer.content == (manifest.body if method == "GET" else b"")
        assert answer.headers["content-type"] == OCI_IMAGE
        assert answer.headers["docker-content-digest"] == manifest.digest
        assert answer.headers["content-length"] == str(len(manifest.body))

    @cases("kind", MANIFEST_TYPES)
    async def test_every_manifest_type_is_accepted_and_answered_as_pushed(
        self, client: RegistryClient, repository: str, kind: str
    ) -> None:
        layer = blob(unique(), DOCKER_LAYER if kind in (DOCKER_IMAGE, DOCKER_LIST) else OCI_LAYER)
        member = _docker_image(layer) if kind in (DOCKER_IMAGE, DOCKER_LIST) else image(EMPTY, [layer])
        await client.push(repository, None, member, EMPTY, layer)
        manifest = index([member], kind) if kind in (OCI_INDEX, DOCKER_LIST) else member
        expect(await client.put_manifest(repository, "latest", manifest), 201)
        answer = expect(await client.get_manifest(repository, "latest"), 200)
        assert answer.content == manifest.body
        assert answer.headers["content-type"] == kind

    @cases("by", ["tag", "digest"])
    async def test_a_stored_manifest_is_201_with_its_digest_and_a_location_that_can_be_pulled(
        self, client: RegistryClient, repository: str, by: str
    ) -> None:
        await client.push_blob(repository, EMPTY.body)
        manifest = image(annotations={"made": "here"})
        answer = await client.put_manifest(repository, "latest" if by == "tag" else manifest.digest, manifest)
        expect(answer, 201)
        assert answer.headers["docker-content-digest"] == manifest.digest
        pulled = expect(await client.request("GET", answer.headers["location"], headers={"Accept": OCI_IMAGE}), 200)
        assert pulled.content == manifest.body

    async def test_a_manifest_pushed_by_tag_can_be_pulled_by_digest(
        self, client: RegistryClient, repository: str
    ) -> None:
        manifest = await client.push_image(repository, "latest")
        assert expect(await client.get_manifest(repository, manifest.digest), 200).content == manifest.body

    @needs("sha512")
    async def test_a_manifest_can_be_pushed_and_pulled_by_sha512(self, client: RegistryClient, repository: str) -> None:
        await client.push_blob(repository, EMPTY.body)
        manifest = image(annotations={"made": "here"})
        name = digest(manifest.body, "sha512")
        answer = expect(await client.put_manifest(repository, name, manifest), 201)
        assert answer.headers["docker-content-digest"] == name
        for method in ("GET", "HEAD"):
            answer = expect(await client.get_manifest(repository, name, method=method), 200)
            assert answer.headers["docker-content-digest"] == name
        assert expect(await client.get_manifest(repository, name), 200).content == manifest.body

    @needs("sha512")
    async def test_an_image_of_sha512_blobs_is_accepted(self, client: RegistryClient, repository: str) -> None:
        layer = blob(unique())
        for each in (EMPTY, layer):
            await client.push_blob(repository, each.body, "sha512")
        manifest = image(EMPTY.descriptor("sha512"), [layer.descriptor("sha512")])
        expect(await client.put_manifest(repository, "latest", manifest), 201)

    @cases("algorithm", ALGORITHMS)
    async def test_a_manifest_put_under_another_digest_is_400_digest_invalid(
        self, client: RegistryClient, repository: str, algorithm: str
    ) -> None:
        await client.push_blob(repository, EMPTY.body)
        wrong = digest(b"something else", algorithm)
        expect(await client.put_manifest(repository, wrong, image()), 400, code="DIGEST_INVALID")
        expect(await client.get_manifest(repository, wrong), 404)
        expect(await client.get_manifest(repository, image().digest), 404)

    async def test_an_absent_manifest_is_404_manifest_unknown(self, client: RegistryClient, repository: str) -> None:
        expect(await client.get_manifest(repository, "latest"), 404)
        await client.push_image(repository, "latest")
        for reference in ("absent", ABSENT):
            expect(await client.get_manifest(repository, reference), 404, code="MANIFEST_UNKNOWN")
            expect(await client.get_manifest(repository, reference, method="HEAD"), 404)

    async def test_a_manifest_is_not_seen_from_another_repository(
        self, client: RegistryClient, repository: str
    ) -> None:
        manifest = await client.push_image(repository, "latest")
        await client.push_image(f"{repository}/other", "own")
        for reference in ("latest", manifest.digest):
            expect(await client.get_manifest(f"{repository}/other", reference), 404, code="MANIFEST_UNKNOWN")

    async def test_a_blob_is_no_manifest_and_a_manifest_no_blob_of_its_repository(
        self, client: RegistryClient, repository: str
    ) -> None:
        await client.push_image(repository, "latest")
        expect(await client.get_manifest(repository, EMPTY.digest), 404, code="MANIFEST_UNKNOWN")

    @needs("any_accept")
    @cases("accept", [None, "*/*", "application/json", "text/html", DOCKER_IMAGE, OCI_INDEX, "nonsense", ""])
    async def test_a_manifest_is_answered_as_stored_whatever_accept_says(
        self, client: RegistryClient, repository: str, accept: str | None
    ) -> None:
        manifest = await client.push_image(repository, "latest")
        headers = {} if accept is None else {"Accept": accept}
        answer = expect(await client.request("GET", at(repository, "manifests", "latest"), headers=headers), 200)
        assert answer.content == manifest.body
        assert answer.headers["content-type"] == OCI_IMAGE

    @needs("caching")
    @cases("method", ["GET", "HEAD"])
    @cases("by", ["tag", "digest"])
    async def test_a_manifest_that_is_known_is_304_with_its_digest(
        self, client: RegistryClient, repository: str, method: str, by: str
    ) -> None:
        manifest = await client.push_image(repository, "latest")
        target = at(repository, "manifests", "latest" if by == "tag" else manifest.digest)
        accept = {"Accept": OCI_IMAGE}
        etag = expect(await client.request(method, target, headers=accept), 200).headers["etag"]
        answer = expect(await client.request(method, target, headers={**accept, "If-None-Match": etag}), 304)
        assert answer.headers["etag"] == etag
        assert answer.headers["docker-content-digest"] == manifest.digest
        assert answer.content == b""

    @needs("caching")
    async def test_a_tag_that_moved_is_sent_to_who_knows_the_old_one(
        self, client: RegistryClient, repository: str
    ) -> None:
        old = await client.push_image(repository, "latest")
        new = await client.push_image(repository, "latest")
        headers = {"If-None-Match": f'"{old.digest}"', "Accept": OCI_IMAGE}
        answer = expect(await client.request("GET", at(repository, "manifests", "latest"), headers=headers), 200)
        assert answer.content == new.body

    async def test_a_tag_moves_and_the_old_manifest_stays(self, client: RegistryClient, repository: str) -> None:
        old = await client.push_image(repository, "latest")
        new = await client.push_image(repository, "latest")
        assert expect(await client.get_manifest(repository, "latest"), 200).content == new.body
        assert expect(await client.get_manifest(repository, old.digest), 200).content == old.body

    async def test_the_same_manifest_put_twice_is_201_twice(self, client: RegistryClient, repository: str) -> None:
        manifest = await client.push_image(repository, "latest")
        for reference in ("latest", manifest.digest, "again"):
            expect(await client.put_manifest(repository, reference, manifest), 201)

    async def test_a_manifest_may_come_without_content_length(self, client: RegistryClient, repository: str) -> None:
        await client.push_blob(repository, EMPTY.body)
        manifest = image()
        body = pieces(manifest.body[:100], manifest.body[100:])
        headers = {"Content-Type": OCI_IMAGE}
        expect(await client.request("PUT", at(repository, "manifests", "latest"), headers=headers, content=body), 201)
        assert expect(await client.get_manifest(repository, "latest"), 200).content == manifest.body

    async def test_parameters_of_a_content_type_are_ignored_and_not_kept(
        self, client: RegistryClient, repository: str
    ) -> None:
        await client.push_blob(repository, EMPTY.body)
        manifest = image()
        target = at(repository, "manifests", "latest")
        headers = {"Content-Type": f"{OCI_IMAGE}; charset=utf-8"}
        expect(await client.request("PUT", target, headers=headers, content=manifest.body), 201)
        assert expect(await client.get_manifest(repository, "latest"), 200).headers["content-type"] == OCI_IMAGE

    async def test_many_pushes_of_one_tag_at_once_all_succeed_and_one_stays(
        self, client: RegistryClient, repository: str
    ) -> None:
        await client.push_blob(repository, EMPTY.body)
        manifests = [image(annotations={"number": str(number)}) for number in range(8)]

        async def put(manifest: Content) -> None:
            expect(await client.put_manifest(repository, "latest", manifest), 201)

        async with anyio.create_task_group() as group:
            for manifest in manifests:
                group.start_soon(put, manifest)
        kept = expect(await client.get_manifest(repository, "latest"), 200).content
        assert kept in [manifest.body for manifest in manifests]

    # What a manifest may hold

    async def test_an_oci_image_may_lack_its_media_type(self, client: RegistryClient, repository: str) -> None:
        await client.push_blob(repository, EMPTY.body)
        body = encode({"schemaVersion": 2, "config": EMPTY.descriptor(), "layers": []})
        await client.push(repository, "latest", Content(OCI_IMAGE, body))
        answer = expect(await client.get_manifest(repository, "latest"), 200)
        assert answer.headers["content-type"] == OCI_IMAGE
        assert answer.content == body

    async def test_an_oci_index_may_lack_its_media_type(self, client: RegistryClient, repository: str) -> None:
        body = encode({"schemaVersion": 2, "manifests": []})
        await client.push(repository, "latest", Content(OCI_INDEX, body))
        assert expect(await client.get_manifest(repository, "latest"), 200).headers["content-type"] == OCI_INDEX

    async def test_unknown_fields_and_odd_layout_survive(self, client: RegistryClient, repository: str) -> None:
        await client.push_blob(repository, EMPTY.body)
        document = json.loads(image().body)
        body = json.dumps({"org.example.extra": [1, 2.50, None, {"ä": "\u2028"}], **document}, ensure_ascii=True)
        body = "\n\t " + body.replace(", ", " ,\r\n") + "\n\n"
        await client.push(repository, "latest", Content(OCI_IMAGE, body.encode()))
        assert expect(await client.get_manifest(repository, "latest"), 200).content == body.encode()

    @cases("what", ["no layers", "empty blob", "zstd", "artifact", "two equal layers", "no annotations", "unicode"])
    async def test_an_unusual_image_is_accepted(self, client: RegistryClient, repository: str, what: str) -> None:
        empty, zstd = blob(b""), blob(unique(), "application/vnd.oci.image.layer.v1.tar+zstd")
        odd = blob(unique(), "application/vnd.example.thing+json")
        manifest = {
            "no layers": image(),
            "empty blob": image(EMPTY, [empty]),
            "zstd": image(EMPTY, [zstd]),
            "artifact": image(odd, [odd], artifactType="application/vnd.example.kind"),
            "two equal layers": image(EMPTY, [zstd, zstd]),
            "no annotations": image(annotations={}),
            "unicode": image(annotations={"ключ": "値 \U0001f40b", "": ""}),
        }[what]
        await client.push(repository, "latest", manifest, EMPTY, empty, zstd, odd)
        assert expect(await client.get_manifest(repository, "latest"), 200).content == manifest.body

    async def test_an_empty_index_is_accepted(self, client: RegistryClient, repository: str) -> None:
        await client.push(repository, "latest", index())

    async def test_an_index_of_indexes_is_accepted(self, client: RegistryClient, repository: str) -> None:
        member = await client.push_image(repository, None)
        inner = await client.push(repository, None, index([member]))
        outer = await client.push(repository, "latest", index([inner, member]))
        assert expect(await client.get_manifest(repository, "latest"), 200).content == outer.body

    async def test_a_descriptor_may_carry_its_data(self, client: RegistryClient, repository: str) -> None:
        data = base64.b64encode(EMPTY.body).decode()
        manifest = image(EMPTY.descriptor(data=data))
        await client.push(repository, "latest", manifest, EMPTY)
        assert expect(await client.get_manifest(repository, "latest"), 200).content == manifest.body

    @needs("nondistributable")
    @cases(
        "kind",
        [
            "application/vnd.oci.image.layer.nondistributable.v1.tar",
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        ],
    )
    async def test_a_layer_that_may_not_be_distributed_need_not_be_here(
        self, client: RegistryClient, repository: str, kind: str
    ) -> None:
        await client.push_blob(repository, EMPTY.body)
        layer = blob(unique(), kind).descriptor(urls=["https://elsewhere.test/layer"])
        manifest = (
            image(Content(DOCKER_CONFIG, EMPTY.body), [layer], DOCKER_IMAGE)
            if "docker" in kind
            else image(EMPTY, [layer])
        )
        await client.push(repository, "latest", manifest)

    @cases("text", ["\\ud800", "\\u0000", "\\uffff", "\\ud83d\\udc0b", "\\u202e", "%0d%0a"])
    async def test_odd_characters_in_annotations_are_kept_or_refused(
        self, client: RegistryClient, repository: str, text: str
    ) -> None:
        subject = await client.push_image(repository, "subject")
        body = image(subject=subject.descriptor(), annotations={"odd": "@"}).body.replace(b'"@"', f'"{text}"'.encode())
        answer = expect(await client.put_manifest(repository, "odd", Content(OCI_IMAGE, body)), 201, 400)
        if answer.status_code == 201:
            assert expect(await client.get_manifest(repository, "odd"), 200).content == body
        answer = await client.request("GET", at(repository, "referrers", subject.digest))
        if expect(answer, 200, 404).status_code == 200:
            answer.json()

    @cases("number", ["1e999", "-0", "1" * 5000, "1.0", "1E400", "0.1e-400"])
    async def test_odd_numbers_in_unknown_fields_are_kept_or_refused(
        self, client: RegistryClient, repository: str, number: str
    ) -> None:
        await client.push_blob(repository, EMPTY.body)
        body = image(odd="@").body.replace(b'"@"', number.encode())
        answer = expect(await client.put_manifest(repository, "odd", Content(OCI_IMAGE, body)), 201, 400)
        if answer.status_code == 201:
            assert expect(await client.get_manifest(repository, "odd"), 200).content == body

    async def test_a_manifest_of_a_good_depth_is_accepted(self, client: RegistryClient, repository: str) -> None:
        await client.push_blob(repository, EMPTY.body)
        body = image(deep="@").body.replace(b'"@"', b"[" * 50 + b"]" * 50)
        await client.push(repository, "latest", Content(OCI_IMAGE, body))

    # How large

    async def test_a_manifest_of_four_million_bytes_is_accepted(self, client: RegistryClient, repository: str) -> None:
        await client.push_blob(repository, EMPTY.body)
        manifest = image(annotations={f"a{number:03}": "x" * 10_000 for number in range(398)})
        assert 3_980_000 < len(manifest.body) < 4_000_000
        expect(await client.put_manifest(repository, "latest", manifest), 201)
        assert expect(await client.get_manifest(repository, "latest"), 200).content == manifest.body

    @needs("manifest_limit")
    async def test_a_manifest_of_four_mebibytes_is_accepted(self, client: RegistryClient, repository: str) -> None:
        await client.push_blob(repository, EMPTY.body)
        body = image().body
        manifest = Content(OCI_IMAGE, body + b" " * (4 * 1024 * 1024 - len(body)))
        expect(await client.put_manifest(repository, "latest", manifest), 201)

    @needs("manifest_limit")
    @cases("length", ["declared", "undeclared"])
    async def test_a_manifest_above_four_mebibytes_is_413(
        self, client: RegistryClient, repository: str, length: str
    ) -> None:
        await client.push_blob(repository, EMPTY.body)
        body = image().body
        body += b" " * (4 * 1024 * 1024 + 1 - len(body))
        parts = [body[start : start + 65536] for start in range(0, len(body), 65536)]
        # A server may hang up on who sends on; that its answer arrives all the same is a promise of its own.
        with suppress(httpx2.TransportError):
            answer = await client.request(
                "PUT",
                at(repository, "manifests", "latest"),
                headers={"Content-Type": OCI_IMAGE},
                content=body if length == "declared" else pieces(*parts),
            )
            expect(answer, 413)
        expect(await client.get_manifest(repository, "latest"), 404)

    @needs("manifest_limit")
    async def test_a_manifest_declared_too_large_is_413_before_its_body_is_read(
        self, client: RegistryClient, repository: str
    ) -> None:
        if not client.in_process:
            pytest.skip("only the application itself shows what it reads; see the tests of the socket")
        never = anyio.Event()

        async def body() -> AsyncIterator[bytes]:
            await never.wait()
            yield b""

        headers = {"Content-Type": OCI_IMAGE, "Content-Length": "100000000"}
        await client.push_blob(repository, EMPTY.body)
        with anyio.fail_after(10):
            target = at(repository, "manifests", "latest")
            async with client.stream("PUT", target, headers=headers, content=body) as answer:
                assert answer.status_code == 413
