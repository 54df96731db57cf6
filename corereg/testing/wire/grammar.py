"""Names, tags, digests, and how they are written in a path."""

from __future__ import annotations

from corereg.testing.client import EMPTY, RegistryClient, exchange, expect, image
from corereg.testing.wire.protocol import ABSENT, Protocol, cases, needs
from corereg.testing.wire.requests import at, uploads

BAD_DIGESTS = (
    "sha256:totallywrong",
    "sha256:" + "a" * 63,
    "sha256:" + "a" * 65,
    "sha256:" + "A" * 64,
    "sha256:" + "g" * 64,
    "SHA256:" + "a" * 64,
    "sha512:" + "a" * 64,
    "md5:" + "a" * 32,
    "sha256+:" + "a" * 64,
    "sha256:" + "a" * 32 + "%00" + "a" * 31,
    "sha256:" + "a" * 64 + "%0a",
    "sha256:",
    ":" + "a" * 64,
    "unheardof:abc",
)


class GrammarWire(Protocol):
    """What a repository, a tag and a digest may be called."""

    @cases(
        "tail",
        [
            "a",
            "0",
            "a.b",
            "a_b",
            "a__b",
            "a-b",
            "a---b",
            "a/b/c/d/e/f/g",
            "blobs",
            "manifests",
            "tags",
            "uploads",
            "referrers",
            "list",
            "tags/list",
            "blobs/uploads",
            "manifests/latest",
            "v2",
            "service/token",
            "tags/list/tags/list",
        ],
    )
    async def test_a_name_of_the_grammar_can_be_pushed_pulled_and_listed(
        self, client: RegistryClient, repository: str, tail: str
    ) -> None:
        name = f"{repository}/{tail}"
        manifest = await client.push_image(name, "latest")
        assert expect(await client.get_manifest(name, "latest"), 200).content == manifest.body
        listed = expect(await client.request("GET", f"/v2/{name}/tags/list"), 200).json()
        assert listed["name"] == name
        assert listed["tags"] == ["latest"]
        assert await client.pull_blob(name, EMPTY.digest) == EMPTY.body

    @cases(
        "tail",
        [
            "A",
            "aB",
            "a..b",
            "a___b",
            "a.-b",
            "-a",
            "a-",
            "a.",
            ".a",
            "a_",
            "a%20b",
            "a%2Bb",
            "%C3%A4",
            "a%00",
            "a%0A",
            "a@b",
            "a,b",
            "a~b",
        ],
    )
    @cases("door", ["list", "manifest", "upload"])
    async def test_a_name_outside_the_grammar_is_400_name_invalid(
        self, client: RegistryClient, repository: str, tail: str, door: str
    ) -> None:
        name = f"{repository}/{tail}"
        if door == "list":
            answer = await client.request("GET", f"/v2/{name}/tags/list")
        elif door == "manifest":
            answer = await client.put_manifest(name, "latest", image())
        else:
            answer = await client.request("POST", uploads(name))
        expect(answer, 400, code="NAME_INVALID")

    @needs("exact_paths")
    @cases("tail", ["a//b", "/a", "a/", "a/./b", "a/../b", "..", "."])
    async def test_a_name_with_an_empty_or_dotted_component_is_refused_and_never_redirected(
        self, client: RegistryClient, repository: str, tail: str
    ) -> None:
        expect(await client.request("GET", f"/v2/{repository}/{tail}/tags/list"), 400, 404)

    async def test_a_component_cannot_start_with_an_underscore(self, client: RegistryClient, repository: str) -> None:
        expect(await client.request("GET", f"/v2/{repository}/_a/tags/list"), 400, 404)
        expect(await client.request("POST", uploads(f"{repository}/_a")), 400, 404, 405)

    @needs("name_limit")
    async def test_the_longest_name_that_fits_255_with_its_host_is_accepted(
        self, client: RegistryClient, repository: str
    ) -> None:
        room = 255 - len(client.host) - 1
        name = (repository + "/" + "a" * 255)[:room]
        await client.push_image(name, "latest")

    @needs("name_limit")
    async def test_a_name_that_passes_255_with_its_host_is_400_name_invalid(
        self, client: RegistryClient, repository: str
    ) -> None:
        room = 255 - len(client.host) - 1
        name = (repository + "/" + "a" * 300)[: room + 1]
        expect(await client.request("POST", uploads(name)), 400, code="NAME_INVALID")

    @needs("name_limit")
    @cases("length", [300, 3000])
    async def test_a_very_long_name_is_400_name_invalid(
        self, client: RegistryClient, repository: str, length: int
    ) -> None:
        name = (repository + "/a" * length)[:length].rstrip("/")
        expect(await client.request("GET", f"/v2/{name}/tags/list"), 400, code="NAME_INVALID")

    @cases("tag", ["a", "_", "_a", "0", "A.b-c_D", "latest", "a" * 128, "a..b", "a--", "list", "sha256"])
    async def test_a_tag_of_the_grammar_can_be_pushed_and_pulled(
        self, client: RegistryClient, repository: str, tag: str
    ) -> None:
        manifest = await client.push_image(repository, tag)
        assert expect(await client.get_manifest(repository, tag), 200).content == manifest.body

    @cases("tag", ["a" * 129, ".a", "-a", "a%20b", "a%2Bb", "%C3%A4", "a%00", "a%0A", "a@b", "a%25", "%2E%2E"])
    async def test_a_tag_outside_the_grammar_cannot_be_pushed(
        self, client: RegistryClient, repository: str, tag: str
    ) -> None:
        await client.push_blob(repository, EMPTY.body)
        expect(await client.put_manifest(repository, tag, image()), 400)

    @cases("tag", ["a" * 129, ".a", "-a", "a%20b", "a%00", "a@b"])
    async def test_a_tag_outside_the_grammar_cannot_be_asked_for(
        self, client: RegistryClient, repository: str, tag: str
    ) -> None:
        expect(await client.get_manifest(repository, tag), 400, 404)

    @cases("name", BAD_DIGESTS)
    @cases("method", ["GET", "HEAD"])
    async def test_a_blob_digest_that_is_none_is_400_digest_invalid(
        self, client: RegistryClient, repository: str, name: str, method: str
    ) -> None:
        expect(await client.request(method, at(repository, "blobs", name)), 400, code="DIGEST_INVALID")

    @cases("name", BAD_DIGESTS)
    async def test_a_manifest_digest_that_is_none_is_400_digest_invalid(
        self, client: RegistryClient, repository: str, name: str
    ) -> None:
        expect(await client.get_manifest(repository, name), 400, code="DIGEST_INVALID")
        expect(await client.put_manifest(repository, name, image()), 400, code="DIGEST_INVALID")

    @needs("delete")
    @cases("noun", ["blobs", "manifests"])
    async def test_a_digest_that_is_none_cannot_be_deleted(
        self, client: RegistryClient, repository: str, noun: str
    ) -> None:
        target = at(repository, noun, "sha256:totallywrong")
        expect(await client.request("DELETE", target), 400, code="DIGEST_INVALID")

    @needs("referrers")
    @cases("name", ["sha256:totallywrong", "md5:" + "a" * 32, "latest", "sha256:" + "A" * 64])
    async def test_referrers_of_a_digest_that_is_none_are_400_digest_invalid(
        self, client: RegistryClient, repository: str, name: str
    ) -> None:
        expect(await client.request("GET", at(repository, "referrers", name)), 400, code="DIGEST_INVALID")

    @needs("exact_paths")
    async def test_percent_encoding_is_undone_once(self, client: RegistryClient, repository: str) -> None:
        manifest = await client.push_image(repository, "latest")
        encoded = f"%{ord(repository[0]):02x}{repository[1:]}"
        assert expect(await client.get_manifest(encoded, "%6Catest"), 200).content == manifest.body
        name = manifest.digest.replace(":", "%3A")
        assert expect(await client.get_manifest(repository, name), 200).content == manifest.body

    @needs("exact_paths")
    async def test_percent_encoding_is_not_undone_twice(self, client: RegistryClient, repository: str) -> None:
        await client.push_image(repository, "latest")
        twice = f"%25{ord(repository[0]):02x}{repository[1:]}"
        expect(await client.get_manifest(twice, "latest"), 400, code="NAME_INVALID")
        expect(await client.get_manifest(repository, "%256Catest"), 400, 404)

    @cases("text", ["%zz", "%", "%f", "%ff", "%c0%af", "%ed%a0%80", "%00"])
    async def test_broken_percent_encoding_in_a_path_is_refused(
        self, client: RegistryClient, repository: str, text: str
    ) -> None:
        expect(await client.request("GET", f"/v2/{repository}{text}/tags/list"), 400, 404)
        expect(await client.request("GET", f"/v2/{repository}/manifests/a{text}"), 400, 404)

    @cases("text", ["%zz", "%", "%ff", "%c0%af", "%ed%a0%80", "%00", "&&&=", "=", "a" * 4000])
    async def test_strange_queries_are_never_a_fault_of_the_server(
        self, client: RegistryClient, repository: str, text: str
    ) -> None:
        await client.push_image(repository, "latest")
        for target in (
            f"/v2/{repository}/tags/list?last={text}",
            f"/v2/{repository}/tags/list?n={text}",
            f"/v2/{repository}/tags/list?{text}",
            f"/v2/{repository}/manifests/latest?ns={text}",
            f"/v2/{repository}/referrers/{ABSENT}?artifactType={text}",
        ):
            answer = await client.request("GET", target)
            assert answer.status_code < 500, exchange(answer)
        for query in (f"digest={text}", f"mount={text}", f"mount={ABSENT}&from={text}", f"digest-algorithm={text}"):
            answer = await client.request("POST", f"{uploads(repository)}?{query}")
            assert answer.status_code < 500, exchange(answer)
