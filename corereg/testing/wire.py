"""`WireContract`: what a registry promises on the wire, one black-box test per promise.

The tests know nothing but HTTP. They follow the OCI distribution specification (1.1 and what is on its main branch),
the Docker V2 documents, and, where those leave room, what corereg chose to do; a registry that chose otherwise, or
does less, declares so by capability::

    class TestOurs(WireContract):
        capabilities = WireContract.capabilities - {"digest_put_tag", "conditional_put"}

or ``--corereg-lacks digest_put_tag,conditional_put``. Every test works in a repository of its own, so the registry may
be in use. What an HTTP client cannot send is in `corereg.testing.rawwire`.
"""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from typing import Any, ClassVar
from urllib.parse import parse_qs, quote, urlsplit
from uuid import uuid4

import anyio
import httpx2
import pytest
from joserfc import jwk, jws

from corereg.testing.client import (
    DOCKER_CONFIG,
    DOCKER_IMAGE,
    DOCKER_LAYER,
    DOCKER_LIST,
    EMPTY,
    MANIFEST_TYPES,
    OCI_CONFIG,
    OCI_IMAGE,
    OCI_INDEX,
    OCI_LAYER,
    Content,
    RegistryClient,
    blob,
    challenges,
    digest,
    encode,
    error_codes,
    exchange,
    expect,
    image,
    index,
    with_query,
)
from corereg.testing.plugin import declared
from corereg.testing.rawwire import RawWire
from corereg.testing.uploads import explore_uploads

CAPABILITIES: Mapping[str, str] = {
    "auth": "asks strangers to sign in",
    "token": "hands out bearer tokens (Docker token flow)",
    "oauth2": "its token service takes POST, too",
    "jwt": "its tokens are JWTs as the Docker documents describe them",
    "basic": "takes Basic credentials on every path",
    "grammar_first": "refuses bad grammar (400) before it asks who is there (401)",
    "name_limit": "refuses names that, with the host before them, pass 255 characters",
    "manifest_limit": "answers 413 to manifests above 4 MiB",
    "strict_manifests": "refuses ambiguous JSON and descriptors that contradict themselves or the stored blob",
    "sparse": "accepts manifests whose blobs or members it does not have (usually not declared)",
    "nondistributable": "accepts non-distributable layers that were never pushed",
    "any_accept": "answers a manifest as stored, whatever Accept says",
    "blob_headers": "serves blobs as attachments that no browser sniffs or renders",
    "caching": "says ETag and Cache-Control, answers 304",
    "ranges": "serves parts of blobs",
    "chunks": "takes uploads in chunks of any size",
    "single_post": "takes a whole blob in one POST",
    "digest_algorithm": "lets a POST name the algorithm of the blob to come",
    "sha512": "keeps blobs and manifests by sha512, too",
    "mount": "mounts blobs from other repositories",
    "mount_without_from": "finds the source of a mount by itself",
    "digest_put_tag": "sets tags while a manifest is put by digest (?tag=)",
    "conditional_put": "honours If-Match and If-None-Match when a manifest is put",
    "delete": "deletes tags, manifests and blobs",
    "referrers": "lists what refers to a manifest",
    "catalog": "lists its repositories",
    "json_errors": "answers every 4xx with the JSON envelope, unknown paths and methods included",
    "exact_paths": "takes paths as they are written: no cleaning, percent-encoding undone once",
    "strict_framing": "judges framing itself: 400 to two lengths at once, 501 to unknown codings, 431 to huge heads",
    "socket": "the server itself is reached, not a proxy that repairs or refuses requests before it",
}

ERROR_CODES = frozenset(
    {
        "BLOB_UNKNOWN",
        "BLOB_UPLOAD_INVALID",
        "BLOB_UPLOAD_UNKNOWN",
        "DIGEST_INVALID",
        "MANIFEST_BLOB_UNKNOWN",
        "MANIFEST_INVALID",
        "MANIFEST_UNKNOWN",
        "NAME_INVALID",
        "NAME_UNKNOWN",
        "SIZE_INVALID",
        "UNAUTHORIZED",
        "DENIED",
        "UNSUPPORTED",
        "TOOMANYREQUESTS",
    }
)

needs = pytest.mark.corereg_needs
lacks = pytest.mark.corereg_lacks
cases = pytest.mark.parametrize

OCTETS = {"Content-Type": "application/octet-stream"}
ABSENT = digest(b"nobody ever pushed this")
ALGORITHMS = ("sha256", pytest.param("sha512", marks=needs("sha512")))

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


def uploads(repository: str) -> str:
    """Where uploads begin."""
    return f"/v2/{repository}/blobs/uploads/"


def at(repository: str, noun: str, reference: str) -> str:
    """The path of a blob, manifest or referrers list."""
    return f"/v2/{repository}/{noun}/{reference}"


def pieces(*parts: bytes) -> Callable[[], AsyncIterator[bytes]]:
    """A body that is sent chunked, without Content-Length."""

    async def make() -> AsyncIterator[bytes]:
        for part in parts:
            yield part

    return make


def stored_bytes(answer: httpx2.Response) -> int:
    """How many bytes of an upload the registry says it has (``0-0`` is taken for one; ask only when there are some)."""
    match = re.fullmatch(r"0-(\d+)", answer.headers.get("range", ""))
    assert match is not None, f"Range must be 0-<end>\n{exchange(answer)}"
    return int(match[1]) + 1


def unique(text: str = "") -> bytes:
    """Bytes that nobody has pushed before."""
    return f"{text} {uuid4()}".encode()


def next_page(answer: httpx2.Response) -> str | None:
    """The target of an answer's ``Link: <...>; rel="next"`` (RFC 8288)."""
    for link in answer.headers.get_list("link"):
        if match := re.fullmatch(r'\s*<([^>]+)>\s*;\s*rel="?next"?\s*', link):
            url = httpx2.URL(str(answer.request.url)).join(match[1])
            return url.raw_path.decode()
    return None


async def walk(client: RegistryClient, target: str | None) -> list[httpx2.Response]:
    """All pages of a list."""
    pages: list[httpx2.Response] = []
    while target is not None:
        assert len(pages) < 1000, "the list does not end"
        pages.append(expect(await client.request("GET", target), 200))
        target = next_page(pages[-1])
    return pages


def check_envelope(answer: httpx2.Response) -> None:
    """An error as the specification writes it: JSON, known codes, messages in words."""
    if answer.request.method == "HEAD":
        assert answer.content == b"", exchange(answer)
        return
    kind = answer.headers.get("content-type", "").partition(";")[0].strip()
    assert kind == "application/json", f"an error must be application/json\n{exchange(answer)}"
    errors = json.loads(answer.content)["errors"]
    assert isinstance(errors, list), exchange(answer)
    assert errors, exchange(answer)
    for error in errors:
        assert error["code"] in ERROR_CODES, f"{error['code']} is no code of the specification\n{exchange(answer)}"
        assert isinstance(error["message"], str), exchange(answer)
        assert error["message"], exchange(answer)


class Protocol:
    """What all parts of the contract share: who asks, where, and what the registry declares."""

    pytestmark: ClassVar[Any] = pytest.mark.anyio
    capabilities: ClassVar[frozenset[str]] = frozenset(CAPABILITIES) - {"sparse"}

    @pytest.fixture(scope="session")
    @classmethod
    def anyio_backend(cls) -> str:
        return "asyncio"

    @pytest.fixture
    def declared(self, pytestconfig: pytest.Config) -> frozenset[str]:
        """The capabilities in force."""
        return declared(pytestconfig, self.capabilities, CAPABILITIES)

    @pytest.fixture(autouse=True)
    def _fits(self, request: pytest.FixtureRequest, declared: frozenset[str]) -> None:
        """Skip what the registry declares not to promise."""
        for mark in request.node.iter_markers("corereg_needs"):
            if missing := set(mark.args) - declared:
                pytest.skip(f"the registry declares that it lacks: {', '.join(sorted(missing))}")
        for mark in request.node.iter_markers("corereg_lacks"):
            if present := set(mark.args) & declared:
                pytest.skip(f"the registry declares that it has: {', '.join(sorted(present))}")

    @pytest.fixture
    def client(self, registry_client: RegistryClient) -> RegistryClient:
        """Somebody who may do everything in the namespace of the tests."""
        return registry_client

    @pytest.fixture
    def anonymous(self, anonymous_client: RegistryClient) -> RegistryClient:
        """Nobody, who never signs in."""
        return anonymous_client

    @pytest.fixture
    def other(self, other_client: RegistryClient) -> RegistryClient:
        """Somebody who may sign in but do nothing in the namespace of the tests."""
        return other_client

    @pytest.fixture
    def repository(self, repository_name: str) -> str:
        """A repository of the test's own."""
        return repository_name


# Names, tags, digests -------------------------------------------------------------------------------------------------


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


# The API's face -------------------------------------------------------------------------------------------------------


class FaceWire(Protocol):
    """GET /v2/, errors, methods, paths."""

    @cases("method", ["GET", "HEAD"])
    async def test_the_base_answers_200(self, client: RegistryClient, method: str) -> None:
        expect(await client.request(method, "/v2/"), 200)

    async def test_the_base_is_a_json_object(self, client: RegistryClient) -> None:
        answer = expect(await client.request("GET", "/v2/"), 200)
        assert isinstance(answer.json(), dict)
        assert answer.headers["content-type"].partition(";")[0] == "application/json"

    async def test_the_base_tells_the_api_version(self, client: RegistryClient) -> None:
        answer = await client.request("GET", "/v2/")
        assert answer.headers["docker-distribution-api-version"] == "registry/2.0"

    async def test_the_base_without_its_slash_leads_to_the_base(self, client: RegistryClient) -> None:
        answer = expect(await client.request("GET", "/v2"), 200, 301, 307, 308, 404)
        if answer.is_redirect:
            assert urlsplit(answer.headers["location"]).path == "/v2/"

    @needs("json_errors")
    @cases(
        ("method", "path", "status", "code"),
        [
            ("GET", "{r}/blobs/" + ABSENT, 404, "BLOB_UNKNOWN"),
            ("HEAD", "{r}/blobs/" + ABSENT, 404, None),
            ("GET", "{r}/blobs/sha256:totallywrong", 400, "DIGEST_INVALID"),
            ("GET", "{r}/manifests/absent", 404, "MANIFEST_UNKNOWN"),
            ("GET", "{r}/manifests/" + ABSENT, 404, "MANIFEST_UNKNOWN"),
            ("HEAD", "{r}/manifests/absent", 404, None),
            ("GET", "{r}/manifests/sha256:totallywrong", 400, "DIGEST_INVALID"),
            ("GET", "{r}/absent/tags/list", 404, "NAME_UNKNOWN"),
            ("GET", "{r}/UPPER/tags/list", 400, "NAME_INVALID"),
            ("GET", "{r}/tags/list?n=-1", 400, None),
            ("GET", "{r}/nothing", 404, None),
            ("GET", "{r}/tags", 404, None),
            ("GET", "nothing", 404, None),
            ("GET", "_nothing/at/all", 404, None),
            ("PUT", "{r}/manifests/latest", 400, "MANIFEST_INVALID"),
            ("POST", "{r}/manifests/latest", 405, "UNSUPPORTED"),
            ("PROPFIND", "", 405, "UNSUPPORTED"),
            ("PUT", "{r}/blobs/" + ABSENT, 405, "UNSUPPORTED"),
            ("GET", "{r}/blobs/uploads/00000000-0000-4000-8000-000000000000", 404, "BLOB_UPLOAD_UNKNOWN"),
            ("PATCH", "{r}/blobs/uploads/00000000-0000-4000-8000-000000000000", 404, "BLOB_UPLOAD_UNKNOWN"),
            (
                "PUT",
                "{r}/blobs/uploads/00000000-0000-4000-8000-000000000000?digest=" + ABSENT,
                404,
                "BLOB_UPLOAD_UNKNOWN",
            ),
            ("DELETE", "{r}/blobs/uploads/00000000-0000-4000-8000-000000000000", 404, "BLOB_UPLOAD_UNKNOWN"),
            pytest.param("DELETE", "{r}/blobs/" + ABSENT, 404, "BLOB_UNKNOWN", marks=needs("delete")),
            pytest.param("DELETE", "{r}/manifests/" + ABSENT, 404, "MANIFEST_UNKNOWN", marks=needs("delete")),
            pytest.param("DELETE", "{r}/manifests/absent", 404, "MANIFEST_UNKNOWN", marks=needs("delete")),
            pytest.param("GET", "{r}/referrers/latest", 400, "DIGEST_INVALID", marks=needs("referrers")),
            pytest.param("GET", "_catalog?n=-1", 400, None, marks=needs("catalog")),
        ],
    )
    async def test_a_refusal_is_json_with_a_code_of_the_specification(
        self, client: RegistryClient, repository: str, method: str, path: str, status: int, code: str | None
    ) -> None:
        await client.push_image(repository, "latest")
        answer = expect(await client.request(method, "/v2/" + path.format(r=repository)), status, code=code)
        check_envelope(answer)

    @cases(
        ("method", "path", "allowed"),
        [
            ("POST", "", {"GET", "HEAD"}),
            ("PROPFIND", "", {"GET", "HEAD"}),
            ("PUT", "{r}/tags/list", {"GET"}),
            ("DELETE", "{r}/tags/list", {"GET"}),
            ("POST", "{r}/manifests/latest", {"GET", "HEAD", "PUT"}),
            ("PATCH", "{r}/manifests/latest", {"GET", "HEAD", "PUT"}),
            ("PROPFIND", "{r}/manifests/latest", {"GET", "HEAD", "PUT"}),
            ("PUT", "{r}/blobs/" + ABSENT, {"GET", "HEAD"}),
            ("POST", "{r}/blobs/" + ABSENT, {"GET", "HEAD"}),
            ("PUT", "{r}/blobs/uploads/", {"POST"}),
            ("POST", "{r}/blobs/uploads/00000000-0000-4000-8000-000000000000", {"GET", "PATCH", "PUT", "DELETE"}),
            pytest.param("POST", "{r}/referrers/" + ABSENT, {"GET"}, marks=needs("referrers")),
            pytest.param("DELETE", "_catalog", {"GET"}, marks=needs("catalog")),
        ],
    )
    async def test_an_unknown_method_is_405_with_allow(
        self, client: RegistryClient, repository: str, method: str, path: str, allowed: set[str]
    ) -> None:
        answer = expect(await client.request(method, "/v2/" + path.format(r=repository)), 405)
        said = {word.strip() for word in answer.headers.get("allow", "").split(",")}
        assert allowed <= said, f"Allow names {said}, not all of {allowed}"
        assert method not in said

    @needs("exact_paths")
    @cases(
        "path",
        [
            "//v2/",
            "/v2//",
            "/v2//tags/list",
            "/v2/{r}//tags/list",
            "/v2/{r}/tags//list",
            "/v2/{r}/tags/list/",
            "/v2/{r}/manifests//latest",
            "/v2/{r}/manifests/latest/",
            "/v2/./{r}/tags/list",
            "/v2/x/../{r}/tags/list",
            "/v2/{r}/manifests/x/../latest",
            "/v2/%2e%2e/v2/",
        ],
    )
    async def test_paths_are_neither_cleaned_nor_redirected(
        self, client: RegistryClient, repository: str, path: str
    ) -> None:
        await client.push_image(repository, "latest")
        for method in ("GET", "POST"):
            answer = await client.request(method, path.format(r=repository))
            assert answer.status_code in (400, 404, 405), exchange(answer)

    async def test_other_origins_get_no_cors_permission(self, client: RegistryClient) -> None:
        answer = await client.request("GET", "/v2/", headers={"Origin": "https://elsewhere.test"})
        assert "access-control-allow-origin" not in answer.headers
        assert "access-control-allow-credentials" not in answer.headers

    async def test_a_pull_that_names_its_upstream_is_answered_all_the_same(
        self, client: RegistryClient, repository: str
    ) -> None:
        manifest = await client.push_image(repository, "latest")
        target = f"{at(repository, 'manifests', 'latest')}?ns=docker.io"
        answer = expect(await client.request("GET", target, headers={"Accept": OCI_IMAGE}), 200)
        assert answer.content == manifest.body
        assert answer.headers.get("oci-namespace") in (None, "docker.io")


# Blobs ----------------------------------------------------------------------------------------------------------------


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


# Uploads --------------------------------------------------------------------------------------------------------------


async def send_chunk(
    client: RegistryClient, location: str, data: bytes, content_range: str | None = None
) -> httpx2.Response:
    """One chunk with Content-Length."""
    headers = OCTETS if content_range is None else {**OCTETS, "Content-Range": content_range}
    return await client.request("PATCH", location, headers=headers, content=data)


async def close_upload(
    client: RegistryClient, location: str, name: str, data: bytes = b"", content_range: str | None = None
) -> httpx2.Response:
    """The request that closes an upload."""
    headers = OCTETS if content_range is None else {**OCTETS, "Content-Range": content_range}
    return await client.request("PUT", with_query(location, digest=name), headers=headers, content=data)


class UploadWire(Protocol):
    """The life of an upload: started, receiving, committed or cancelled."""

    # Start

    async def test_post_starts_an_upload_with_202_and_a_location(self, client: RegistryClient, repository: str) -> None:
        answer = expect(await client.request("POST", uploads(repository)), 202)
        assert answer.headers["location"]
        assert answer.headers["content-length"] == "0"

    async def test_the_location_of_an_upload_holds_its_uuid(self, client: RegistryClient, repository: str) -> None:
        answer = expect(await client.request("POST", uploads(repository)), 202)
        name = answer.headers["docker-upload-uuid"]
        assert re.fullmatch(r"[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}", name, re.IGNORECASE)
        assert name in answer.headers["location"]

    async def test_a_new_upload_says_range_0_0(self, client: RegistryClient, repository: str) -> None:
        answer = expect(await client.request("POST", uploads(repository)), 202)
        assert answer.headers["range"] == "0-0"

    async def test_every_upload_is_its_own(self, client: RegistryClient, repository: str) -> None:
        assert len({urlsplit(await client.start_upload(repository)).path for _ in range(5)}) == 5

    async def test_a_minimal_chunk_length_is_a_number_where_it_is_said(
        self, client: RegistryClient, repository: str
    ) -> None:
        answer = expect(await client.request("POST", uploads(repository)), 202)
        assert re.fullmatch(r"[0-9]+", answer.headers.get("oci-chunk-min-length", "0"))

    # Whole blobs

    @cases("algorithm", ALGORITHMS)
    async def test_post_then_put_stores_a_blob_with_201(
        self, client: RegistryClient, repository: str, algorithm: str
    ) -> None:
        data = unique()
        name = digest(data, algorithm)
        answer = expect(await close_upload(client, await client.start_upload(repository), name, data), 201)
        assert answer.headers["docker-content-digest"] == name
        assert await client.pull_blob(repository, name) == data

    async def test_the_location_of_a_stored_blob_can_be_pulled(self, client: RegistryClient, repository: str) -> None:
        data = unique()
        answer = expect(await close_upload(client, await client.start_upload(repository), digest(data), data), 201)
        assert expect(await client.request("GET", answer.headers["location"], follow=True), 200).content == data

    async def test_put_takes_a_whole_blob_without_content_length(self, client: RegistryClient, repository: str) -> None:
        parts = [unique(), unique()]
        name = digest(b"".join(parts))
        location = with_query(await client.start_upload(repository), digest=name)
        expect(await client.request("PUT", location, headers=OCTETS, content=pieces(*parts)), 201)
        assert await client.pull_blob(repository, name) == b"".join(parts)

    @needs("single_post")
    @cases("algorithm", ALGORITHMS)
    async def test_a_single_post_stores_a_blob_with_201(
        self, client: RegistryClient, repository: str, algorithm: str
    ) -> None:
        data = unique()
        name = digest(data, algorithm)
        target = f"{uploads(repository)}?digest={name}"
        answer = expect(await client.request("POST", target, headers=OCTETS, content=data), 201)
        assert answer.headers.get("docker-content-digest", name) == name
        assert expect(await client.request("GET", answer.headers["location"], follow=True), 200).content == data

    @needs("single_post")
    async def test_a_single_post_may_come_without_content_length(self, client: RegistryClient, repository: str) -> None:
        data = unique()
        target = f"{uploads(repository)}?digest={digest(data)}"
        await client.authorization("POST", uploads(repository))
        expect(await client.request("POST", target, headers=OCTETS, content=pieces(data)), 201)
        assert await client.pull_blob(repository, digest(data)) == data

    @needs("single_post")
    async def test_a_single_post_of_the_empty_blob_is_201(self, client: RegistryClient, repository: str) -> None:
        expect(await client.request("POST", f"{uploads(repository)}?digest={digest(b'')}", headers=OCTETS), 201)
        assert await client.pull_blob(repository, digest(b"")) == b""

    @needs("single_post")
    async def test_a_single_post_of_other_bytes_is_400_digest_invalid_and_stores_nothing(
        self, client: RegistryClient, repository: str
    ) -> None:
        promised, sent = unique(), unique()
        target = f"{uploads(repository)}?digest={digest(promised)}"
        answer = await client.request("POST", target, headers=OCTETS, content=sent)
        expect(answer, 400, code="DIGEST_INVALID")
        for data in (promised, sent):
            expect(await client.request("HEAD", at(repository, "blobs", digest(data))), 404)

    @needs("single_post")
    @cases("name", ["sha256:totallywrong", "md5:" + "a" * 32, "latest", ""])
    async def test_a_single_post_with_a_digest_that_is_none_is_400_digest_invalid(
        self, client: RegistryClient, repository: str, name: str
    ) -> None:
        target = f"{uploads(repository)}?digest={name}"
        expect(await client.request("POST", target, headers=OCTETS, content=b"x"), 400, code="DIGEST_INVALID")

    @needs("single_post")
    async def test_two_digests_that_differ_are_400(self, client: RegistryClient, repository: str) -> None:
        data = unique()
        query = f"?digest={digest(data)}&digest={ABSENT}"
        expect(await client.request("POST", uploads(repository) + query, headers=OCTETS, content=data), 400)
        location = await client.start_upload(repository)
        location = with_query(with_query(location, digest=ABSENT), digest=digest(data))
        expect(await client.request("PUT", location, headers=OCTETS, content=data), 400)

    @needs("digest_algorithm", "sha512")
    async def test_a_post_may_name_the_algorithm_to_come(self, client: RegistryClient, repository: str) -> None:
        data = unique()
        answer = expect(await client.request("POST", f"{uploads(repository)}?digest-algorithm=sha512"), 202)
        name = digest(data, "sha512")
        expect(await close_upload(client, answer.headers["location"], name, data), 201)
        assert await client.pull_blob(repository, name) == data

    @needs("digest_algorithm")
    @cases("algorithm", ["md5", "sha256x", "SHA256", "", "sha-256", "%00"])
    async def test_an_unsupported_algorithm_to_come_is_400(
        self, client: RegistryClient, repository: str, algorithm: str
    ) -> None:
        expect(await client.request("POST", f"{uploads(repository)}?digest-algorithm={algorithm}"), 400)

    # Streams and chunks

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
    @cases(("text", "body"), [("5-9", b"56789"), ("12-15", b"xxxx"), ("0-9", b"0123456789"), ("9-9", b"9")])
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

    # Status

    @cases("method", ["GET", "HEAD"])
    async def test_the_status_of_an_upload_is_204_with_location_range_and_uuid(
        self, client: RegistryClient, repository: str, method: str
    ) -> None:
        location = await client.start_upload(repository)
        location = expect(await send_chunk(client, location, b"0123456789"), 202).headers["location"]
        answer = expect(await client.request(method, location), 204)
        assert answer.headers["range"] == "0-9"
        assert answer.headers["docker-upload-uuid"] in answer.headers["location"]

    async def test_the_status_of_an_empty_upload_says_range_0_0(self, client: RegistryClient, repository: str) -> None:
        location = await client.start_upload(repository)
        assert expect(await client.request("GET", location), 204).headers["range"] == "0-0"

    @needs("chunks")
    async def test_the_first_location_stays_good_for_status_and_chunks(
        self, client: RegistryClient, repository: str
    ) -> None:
        location = await client.start_upload(repository)
        expect(await send_chunk(client, location, b"01234", "0-4"), 202)
        expect(await send_chunk(client, location, b"56789", "0-4"), 416)
        assert expect(await client.request("GET", location), 204).headers["range"] == "0-4"
        expect(await send_chunk(client, location, b"56789", "5-9"), 202)
        expect(await close_upload(client, location, digest(b"0123456789")), 201)

    # Close

    async def test_put_without_digest_is_400_digest_invalid_and_the_upload_goes_on(
        self, client: RegistryClient, repository: str
    ) -> None:
        data = unique()
        location = await client.start_upload(repository)
        location = expect(await send_chunk(client, location, data), 202).headers["location"]
        expect(await client.request("PUT", location), 400, code="DIGEST_INVALID")
        expect(await close_upload(client, location, digest(data)), 201)
        assert await client.pull_blob(repository, digest(data)) == data

    @cases("name", ["sha256:totallywrong", "md5:" + "a" * 32, "latest", "sha256:" + "A" * 64, ""])
    async def test_put_with_a_digest_that_is_none_is_400_digest_invalid_and_the_upload_goes_on(
        self, client: RegistryClient, repository: str, name: str
    ) -> None:
        data = unique()
        location = await client.start_upload(repository)
        location = expect(await send_chunk(client, location, data), 202).headers["location"]
        expect(await close_upload(client, location, name), 400, code="DIGEST_INVALID")
        expect(await close_upload(client, location, digest(data)), 201)

    @cases("algorithm", ALGORITHMS)
    async def test_put_with_another_blobs_digest_is_400_digest_invalid_and_stores_nothing(
        self, client: RegistryClient, repository: str, algorithm: str
    ) -> None:
        data, promised = unique(), digest(unique(), algorithm)
        location = await client.start_upload(repository)
        expect(await close_upload(client, location, promised, data), 400, code="DIGEST_INVALID")
        for name in (promised, digest(data)):
            expect(await client.request("HEAD", at(repository, "blobs", name)), 404)

    async def test_after_a_digest_that_did_not_match_the_upload_is_404(
        self, client: RegistryClient, repository: str
    ) -> None:
        data = unique()
        location = await client.start_upload(repository)
        expect(await close_upload(client, location, ABSENT, data), 400, code="DIGEST_INVALID")
        expect(await close_upload(client, location, digest(data), data), 404, code="BLOB_UPLOAD_UNKNOWN")
        expect(await client.request("GET", location), 404, code="BLOB_UPLOAD_UNKNOWN")

    async def test_a_finished_upload_is_404_blob_upload_unknown(self, client: RegistryClient, repository: str) -> None:
        data = unique()
        location = await client.start_upload(repository)
        expect(await close_upload(client, location, digest(data), data), 201)
        expect(await client.request("GET", location), 404, code="BLOB_UPLOAD_UNKNOWN")
        expect(await send_chunk(client, location, data), 404, code="BLOB_UPLOAD_UNKNOWN")
        expect(await close_upload(client, location, digest(data), data), 404, code="BLOB_UPLOAD_UNKNOWN")
        expect(await client.request("DELETE", location), 404, code="BLOB_UPLOAD_UNKNOWN")

    async def test_a_blob_is_not_there_before_its_upload_is_finished(
        self, client: RegistryClient, repository: str
    ) -> None:
        data = unique()
        location = await client.start_upload(repository)
        location = expect(await send_chunk(client, location, data), 202).headers["location"]
        expect(await client.request("GET", at(repository, "blobs", digest(data))), 404)
        expect(await close_upload(client, location, digest(data)), 201)
        expect(await client.request("GET", at(repository, "blobs", digest(data)), follow=True), 200)

    async def test_delete_cancels_an_upload_with_204(self, client: RegistryClient, repository: str) -> None:
        location = await client.start_upload(repository)
        location = expect(await send_chunk(client, location, unique()), 202).headers["location"]
        expect(await client.request("DELETE", location), 204)

    async def test_a_cancelled_upload_is_404(self, client: RegistryClient, repository: str) -> None:
        location = await client.start_upload(repository)
        expect(await client.request("DELETE", location), 204)
        expect(await client.request("DELETE", location), 404, code="BLOB_UPLOAD_UNKNOWN")
        expect(await client.request("GET", location), 404, code="BLOB_UPLOAD_UNKNOWN")
        expect(await send_chunk(client, location, b"x"), 404, code="BLOB_UPLOAD_UNKNOWN")
        expect(await close_upload(client, location, digest(b"x"), b"x"), 404, code="BLOB_UPLOAD_UNKNOWN")

    # Whose upload

    async def test_an_upload_belongs_to_its_repository(self, client: RegistryClient, repository: str) -> None:
        location = await client.start_upload(repository)
        foreign = location.replace(repository, f"{repository}/other")
        assert foreign != location
        await client.push_image(f"{repository}/other", "latest")
        expect(await client.request("GET", foreign), 404, code="BLOB_UPLOAD_UNKNOWN")
        expect(await send_chunk(client, foreign, b"x"), 404, code="BLOB_UPLOAD_UNKNOWN")
        expect(await close_upload(client, foreign, digest(b"x"), b"x"), 404, code="BLOB_UPLOAD_UNKNOWN")
        expect(await client.request("DELETE", foreign), 404, code="BLOB_UPLOAD_UNKNOWN")
        expect(await client.request("GET", location), 204)

    @needs("auth")
    async def test_an_upload_belongs_to_who_started_it(
        self, client: RegistryClient, other: RegistryClient, repository: str
    ) -> None:
        location = await client.start_upload(repository)
        expect(await other.request("GET", location), 403, 404)
        expect(await send_chunk(other, location, b"x"), 403, 404)
        expect(await close_upload(other, location, digest(b"x"), b"x"), 403, 404)
        expect(await other.request("DELETE", location), 403, 404)
        assert expect(await client.request("GET", location), 204).headers["range"] == "0-0"

    @cases(
        "name",
        [
            "00000000-0000-4000-8000-000000000000",
            "x",
            "%2e%2e",
            "..%2f..%2fetc%2fpasswd",
            "a" * 2000,
            "00000000-0000-4000-8000-00000000000g",
            "%00",
            "'%20OR%201=1",
        ],
    )
    @cases("method", ["GET", "PATCH", "PUT", "DELETE"])
    async def test_a_made_up_upload_is_404_or_400(
        self, client: RegistryClient, repository: str, name: str, method: str
    ) -> None:
        target = f"{uploads(repository)}{name}?digest={digest(b'x')}"
        expect(await client.request(method, target, headers=OCTETS), 404, 400)

    @cases("old,new", [("4", "5"), ("a", "b")])
    async def test_a_tampered_upload_id_is_404_or_400(
        self, client: RegistryClient, repository: str, old: str, new: str
    ) -> None:
        answer = expect(await client.request("POST", uploads(repository)), 202)
        name = answer.headers["docker-upload-uuid"]
        expect(await client.request("GET", uploads(repository) + name[:-1] + "gG"[name[-1] == "g"]), 404, 400)
        changed = name.replace(old, new) if old in name else name[::-1]
        expect(await client.request("GET", uploads(repository) + changed), 404, 400)

    # Several at once

    async def test_the_same_blob_pushed_twice_is_201_twice(self, client: RegistryClient, repository: str) -> None:
        data = unique()
        for _ in range(2):
            await client.push_blob(repository, data)
        assert await client.pull_blob(repository, digest(data)) == data

    async def test_the_same_blob_pushed_by_many_at_once_is_201_for_all(
        self, client: RegistryClient, repository: str
    ) -> None:
        data = unique() * 1000
        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(client.push_blob, repository, data)
        assert await client.pull_blob(repository, digest(data)) == data

    async def test_many_uploads_at_once_do_not_mix(self, client: RegistryClient, repository: str) -> None:
        async def push(number: int) -> None:
            parts = [f"{number} {part} ".encode() * 5000 for part in range(4)]
            location = await client.start_upload(repository)
            for part in parts:
                location = expect(await send_chunk(client, location, part), 202).headers["location"]
            data = b"".join(parts)
            expect(await close_upload(client, location, digest(data)), 201)
            assert await client.pull_blob(repository, digest(data)) == data

        async with anyio.create_task_group() as group:
            for number in range(8):
                group.start_soon(push, number)

    @needs("chunks")
    async def test_of_chunks_racing_for_one_place_one_wins_and_the_others_are_416(
        self, client: RegistryClient, repository: str
    ) -> None:
        parts = [f"{number}".encode() * 100_000 for number in range(4)]
        answers: list[httpx2.Response] = [httpx2.Response(0)] * 4
        location = await client.start_upload(repository)

        async def send(number: int) -> None:
            answers[number] = await send_chunk(client, location, parts[number], "0-99999")

        async with anyio.create_task_group() as group:
            for number in range(4):
                group.start_soon(send, number)
        assert sorted(answer.status_code for answer in answers) == [202, 416, 416, 416]
        winner = next(part for part, answer in zip(parts, answers, strict=True) if answer.status_code == 202)
        expect(await close_upload(client, location, digest(winner)), 201)
        assert await client.pull_blob(repository, digest(winner)) == winner

    async def test_a_second_writer_meets_416_while_the_first_still_writes(
        self, client: RegistryClient, repository: str
    ) -> None:
        location = await client.start_upload(repository)
        begun, finish = anyio.Event(), anyio.Event()
        answers: list[httpx2.Response] = []

        async def slowly() -> AsyncIterator[bytes]:
            yield b"1" * 70_000
            begun.set()
            with anyio.move_on_after(5):
                await finish.wait()
            yield b"1" * 70_000

        async def first() -> None:
            answers.append(await client.request("PATCH", location, headers=OCTETS, content=slowly()))

        await client.authorization("PATCH", location)
        async with anyio.create_task_group() as group:
            group.start_soon(first)
            await begun.wait()
            await anyio.sleep(0.2)
            answers.append(await send_chunk(client, location, b"2" * 1000))
            finish.set()
        assert sorted(answer.status_code for answer in answers) == [202, 416]
        won = b"1" * 140_000 if answers[1].status_code == 202 else b"2" * 1000
        expect(await close_upload(client, location, digest(won)), 201)
        assert await client.pull_blob(repository, digest(won)) == won

    async def test_an_upload_whose_client_vanished_goes_on_where_the_status_says(
        self, client: RegistryClient, repository: str
    ) -> None:
        data = unique() * 10_000
        location = await client.start_upload(repository)
        await client.authorization("PATCH", location)

        async def vanish() -> AsyncIterator[bytes]:
            yield data[:100_000]
            await anyio.sleep(0.1)
            raise ConnectionAbortedError

        with pytest.raises(ConnectionAbortedError):
            await client.request("PATCH", location, headers=OCTETS, content=vanish())
        answer = expect(await client.request("GET", location), 204)
        with anyio.fail_after(20):
            while True:  # the registry may need a moment to notice
                answer = expect(await client.request("GET", location), 204)
                start = 0 if answer.headers["range"] == "0-0" else stored_bytes(answer)
                text = f"{start}-{len(data) - 1}"
                answer = expect(await send_chunk(client, location, data[start:], text), 202, 416)
                if answer.status_code == 202:
                    break
                await anyio.sleep(0.2)
        expect(await close_upload(client, location, digest(data)), 201)
        assert await client.pull_blob(repository, digest(data)) == data

    async def test_of_two_puts_racing_to_close_one_upload_the_blob_is_whole(
        self, client: RegistryClient, repository: str
    ) -> None:
        data = unique() * 1000
        location = await client.start_upload(repository)
        location = expect(await send_chunk(client, location, data), 202).headers["location"]
        answers: list[httpx2.Response] = []

        async def close() -> None:
            answers.append(await close_upload(client, location, digest(data)))

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(close)
        for answer in answers:
            expect(answer, 201, 404, 416)
        assert 201 in {answer.status_code for answer in answers}
        assert await client.pull_blob(repository, digest(data)) == data

    @needs("chunks")
    async def test_any_order_of_upload_requests_keeps_to_the_model(
        self, client: RegistryClient, repository: str, declared: frozenset[str]
    ) -> None:
        await explore_uploads(client, repository, declared)


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


# Manifests ------------------------------------------------------------------------------------------------------------


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


JSON = dict[str, Any]


def _changed(**fields: Any) -> Callable[[JSON], bytes]:
    return lambda document: encode({**document, **fields})


def _replaced(old: bytes, new: bytes) -> Callable[[JSON], bytes]:
    def replace(document: JSON) -> bytes:
        assert old in encode(document)
        return encode(document).replace(old, new, 1)

    return replace


def _config(**fields: Any) -> Callable[[JSON], bytes]:
    return lambda document: encode({**document, "config": {**document["config"], **fields}})


def _without(name: str) -> Callable[[JSON], bytes]:
    return lambda document: encode({key: value for key, value in document.items() if key != name})


def _layer(**fields: Any) -> Callable[[JSON], bytes]:
    return lambda document: encode({**document, "layers": [{**document["layers"][0], **fields}]})


# What is wrong with a manifest -> how a good image (config, one layer, an annotation) becomes that.
FAULTS: Mapping[str, Callable[[JSON], bytes]] = {
    "empty": lambda _: b"",
    "no_json": lambda _: b"hello",
    "null": lambda _: b"null",
    "a_list": lambda _: b"[]",
    "a_string": lambda _: b'"manifest"',
    "cut_short": lambda document: encode(document)[:-3],
    "something_after_it": lambda document: encode(document) + b"x",
    "two_documents": lambda document: encode(document) * 2,
    "a_comment": _replaced(b"{", b"{/* hello */"),
    "nan": _changed(x=float("nan")),
    "infinity": _changed(x=float("inf")),
    "single_quotes": lambda document: encode(document).replace(b'"', b"'"),
    "schema_version_a_string": _changed(schemaVersion="2"),
    "no_config": _without("config"),
    "config_a_list": _changed(config=[]),
    "layers_an_object": _changed(layers={}),
    "layers_of_strings": _changed(layers=["a"]),
    "media_type_a_number": _changed(mediaType=2),
    "media_type_unlike_content_type": _changed(mediaType=DOCKER_IMAGE),
    "manifests_beside_layers": _changed(manifests=[]),
    "annotation_a_number": _changed(annotations={"a": 1}),
    "annotation_null": _changed(annotations={"a": None}),
    "annotations_a_list": _changed(annotations=["a"]),
    "subject_a_string": _changed(subject=ABSENT),
    "subject_without_digest": _changed(subject={"mediaType": OCI_IMAGE, "size": 2}),
    "size_negative": _config(size=-1),
    "size_a_fraction": _config(size=1.5),
    "size_a_string": _config(size="2"),
    "size_true": _config(size=True),
    "size_beyond_64_bits": _config(size=2**70),
    "digest_a_number": _config(digest=5),
    "descriptor_media_type_a_number": _config(mediaType=5),
    "artifact_type_a_number": _changed(artifactType=5),
}
STRICT_FAULTS: Mapping[str, Callable[[JSON], bytes]] = {
    "key_twice": _replaced(b'"schemaVersion"', b'"schemaVersion": 2, "schemaVersion"'),
    "key_twice_by_escape": _replaced(b'"schemaVersion"', b'"schema\\u0056ersion": 2, "schemaVersion"'),
    "key_twice_in_a_descriptor": _replaced(b'"size"', b'"size": 2, "size"'),
    "key_twice_in_annotations": _replaced(b'"note"', b'"note": "b", "note"'),
    "byte_order_mark": lambda document: b"\xef\xbb\xbf" + encode(document),
    "utf_16": lambda document: encode(document).decode().encode("utf-16"),
    "utf_8_broken": _replaced(b'"a note"', b'"\xff"'),
    "utf_8_surrogate": _replaced(b'"a note"', b'"\xed\xa0\x80"'),
    "utf_8_overlong": _replaced(b'"a note"', b'"\xc0\xaf"'),
    "too_deep": _replaced(b'"a note"', b'"a note"}, "x": {"y": ' + b"[" * 70 + b"]" * 70),
    "much_too_deep": _replaced(b'"a note"', b'"a note"}, "x": {"y": ' + b"[" * 200_000 + b"]" * 200_000),
    "config_size_unlike_the_blob": _config(size=3),
    "layer_size_unlike_the_blob": _layer(size=5),
    "data_unlike_its_digest": _config(data=base64.b64encode(b"[]").decode()),
    "data_no_base64": _config(data="!!!"),
}


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
    @cases("form", [f'"{ABSENT}"', 'W/"{d}"'])
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


# Delete ---------------------------------------------------------------------------------------------------------------


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


# Referrers ------------------------------------------------------------------------------------------------------------


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


# Lists ----------------------------------------------------------------------------------------------------------------


class ListWire(Protocol):
    """Tags and repositories, page by page."""

    TAGS = ("0", "A", "B.1", "_x", "a", "a-1", "a.1", "a_1", "b", "latest", "z")

    @pytest.fixture
    def tagged(self) -> Callable[[RegistryClient, str], Any]:
        """Gives a repository all the tags, in another order than they are listed."""

        async def push(client: RegistryClient, repository: str) -> None:
            await client.push_blob(repository, EMPTY.body)
            for tag in self.TAGS[1::2] + self.TAGS[::2]:
                expect(await client.put_manifest(repository, tag, image()), 201)

        return push

    async def test_tags_are_listed_in_byte_order(
        self, client: RegistryClient, repository: str, tagged: Callable[[RegistryClient, str], Any]
    ) -> None:
        await tagged(client, repository)
        answer = expect(await client.request("GET", f"/v2/{repository}/tags/list"), 200)
        assert answer.json() == {"name": repository, "tags": sorted(self.TAGS)}
        assert answer.headers["content-type"].partition(";")[0] == "application/json"
        assert next_page(answer) is None

    @cases("size", [1, 2, 5, 10, 11, 12])
    async def test_pages_of_tags_follow_one_another_without_gap_or_overlap(
        self, client: RegistryClient, repository: str, tagged: Callable[[RegistryClient, str], Any], size: int
    ) -> None:
        await tagged(client, repository)
        pages = await walk(client, f"/v2/{repository}/tags/list?n={size}")
        assert all(len(page.json()["tags"]) == size for page in pages[:-1])
        assert [tag for page in pages for tag in page.json()["tags"]] == sorted(self.TAGS)

    async def test_a_page_of_tags_links_the_next_one(
        self, client: RegistryClient, repository: str, tagged: Callable[[RegistryClient, str], Any]
    ) -> None:
        await tagged(client, repository)
        answer = expect(await client.request("GET", f"/v2/{repository}/tags/list?n=3"), 200)
        assert answer.json()["tags"] == sorted(self.TAGS)[:3]
        target = next_page(answer)
        assert target is not None, exchange(answer)
        assert urlsplit(target).path == f"/v2/{repository}/tags/list"
        assert parse_qs(urlsplit(target).query) == {"n": ["3"], "last": [sorted(self.TAGS)[2]]}

    async def test_a_page_of_no_tags_is_empty_and_links_nothing(
        self, client: RegistryClient, repository: str, tagged: Callable[[RegistryClient, str], Any]
    ) -> None:
        await tagged(client, repository)
        answer = expect(await client.request("GET", f"/v2/{repository}/tags/list?n=0"), 200)
        assert answer.json()["tags"] == []
        assert "link" not in answer.headers

    @cases("last", ["a", "a-0", "B", "zz", "0", "-", "~", "A%20", "%C3%A4"])
    async def test_last_is_exclusive_and_need_not_exist(
        self, client: RegistryClient, repository: str, tagged: Callable[[RegistryClient, str], Any], last: str
    ) -> None:
        await tagged(client, repository)
        answer = expect(await client.request("GET", f"/v2/{repository}/tags/list?last={last}"), 200)
        given = last.replace("%20", " ").replace("%C3%A4", "ä")
        assert answer.json()["tags"] == [tag for tag in sorted(self.TAGS) if tag > given]

    @cases("number", ["-1", "a", "1.5", "%2B1", "0x1", "%201", "1%20", "1e3", "%D9%A3", "--1", "", "1_0", "%00"])
    async def test_an_n_that_is_no_number_is_400(self, client: RegistryClient, repository: str, number: str) -> None:
        await client.push_image(repository, "latest")
        expect(await client.request("GET", f"/v2/{repository}/tags/list?n={number}"), 400)

    @cases("number", ["1000000", "99999999999999999999", "9" * 500])
    async def test_an_n_above_the_cap_is_clamped(self, client: RegistryClient, repository: str, number: str) -> None:
        await client.push_image(repository, "latest")
        answer = expect(await client.request("GET", f"/v2/{repository}/tags/list?n={number}"), 200)
        assert answer.json()["tags"] == ["latest"]

    async def test_tags_of_an_unknown_repository_are_404_name_unknown(
        self, client: RegistryClient, repository: str
    ) -> None:
        expect(await client.request("GET", f"/v2/{repository}/tags/list"), 404, code="NAME_UNKNOWN")

    async def test_a_repository_without_tags_lists_none(self, client: RegistryClient, repository: str) -> None:
        await client.push_image(repository, None)
        answer = expect(await client.request("GET", f"/v2/{repository}/tags/list"), 200)
        assert answer.json() == {"name": repository, "tags": []}

    @cases("last", ["%0d%0aX-Evil:%20yes", "%22%3E%3B", "%3C%3E", "a%00b"])
    async def test_no_last_gets_into_a_header_unquoted(
        self, client: RegistryClient, repository: str, tagged: Callable[[RegistryClient, str], Any], last: str
    ) -> None:
        await tagged(client, repository)
        answer = await client.request("GET", f"/v2/{repository}/tags/list?n=1&last={last}")
        expect(answer, 200, 400)
        assert "x-evil" not in answer.headers
        assert len(re.findall("[<>]", answer.headers.get("link", ""))) in (0, 2)

    # Repositories

    @needs("catalog")
    async def test_the_catalog_lists_what_was_pushed_in_order(self, client: RegistryClient, repository: str) -> None:
        names = [f"{repository}/{tail}" for tail in ("a", "a-b", "b", "a/b", "a.b")]
        for name in names:
            await client.push_image(name, "latest")
        pages = await walk(client, f"/v2/_catalog?last={quote(repository, safe='')}&n=5")
        listed = [name for page in pages for name in page.json()["repositories"]]
        assert [name for name in listed if name.startswith(repository)] == sorted(names)

    @needs("catalog")
    async def test_the_catalog_comes_in_pages(self, client: RegistryClient, repository: str) -> None:
        names = sorted(f"{repository}/{tail}" for tail in ("a", "b", "c"))
        for name in names:
            await client.push_image(name, "latest")
        found: list[str] = []
        target: str | None = f"/v2/_catalog?n=2&last={quote(repository, safe='')}"
        while target is not None and len(found) < 4:
            answer = expect(await client.request("GET", target), 200)
            assert len(answer.json()["repositories"]) <= 2
            found += answer.json()["repositories"]
            target = next_page(answer)
        assert found[:3] == names

    @needs("catalog")
    @cases("number", ["-1", "a", "1.5", "%2B1", "%D9%A3"])
    async def test_a_catalog_n_that_is_no_number_is_400(self, client: RegistryClient, number: str) -> None:
        expect(await client.request("GET", f"/v2/_catalog?n={number}"), 400)

    @needs("catalog")
    async def test_a_catalog_n_above_the_cap_is_clamped(self, client: RegistryClient) -> None:
        expect(await client.request("GET", "/v2/_catalog?n=99999999999999999999"), 200)


# Who may ask ----------------------------------------------------------------------------------------------------------


def _part(token: str, number: int) -> JSON:
    """Header (0) or claims (1) of a JWT, unverified."""
    text = token.split(".")[number]
    decoded: JSON = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return decoded


def _encoded(part: JSON) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


async def realm_of(anonymous: RegistryClient, target: str = "/v2/") -> tuple[str, list[tuple[str, str]]]:
    """Where to ask for a token, and for which service."""
    [challenge] = challenges(expect(await anonymous.request("GET", target), 401))
    return challenge.parameters["realm"], [("service", challenge.parameters["service"])]


async def token_for(client: RegistryClient, anonymous: RegistryClient, *scopes: str) -> JSON:
    """A token for these scopes, with what comes along."""
    realm, service = await realm_of(anonymous)
    answer = await client.token(realm, service + [("scope", scope) for scope in scopes])
    said: JSON = expect(answer, 200).json()
    return said


async def post_for_token(anonymous: RegistryClient, **fields: str) -> httpx2.Response:
    """POST a form to the token service."""
    realm, service = await realm_of(anonymous)
    form = "&".join(f"{name}={quote(value, safe='')}" for name, value in [*service, *fields.items()])
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return await anonymous.request("POST", realm, headers=headers, content=form.encode())


class AuthWire(Protocol):
    """Challenges, tokens, and what they open."""

    # Strangers

    @needs("auth")
    async def test_a_stranger_at_the_base_is_401_with_challenge_and_version(self, anonymous: RegistryClient) -> None:
        answer = expect(await anonymous.request("GET", "/v2/"), 401, code="UNAUTHORIZED")
        assert answer.headers["www-authenticate"]
        assert answer.headers["docker-distribution-api-version"] == "registry/2.0"
        check_envelope(answer)

    @needs("auth", "token")
    async def test_a_challenge_is_one_header_bearer_first_and_never_says_basic(self, anonymous: RegistryClient) -> None:
        for target in ("/v2/", "/v2/wire/absent/tags/list"):
            answer = expect(await anonymous.request("GET", target), 401)
            [header] = answer.headers.get_list("www-authenticate")
            assert header.startswith("Bearer ")
            assert "basic" not in header.lower()
            [challenge] = challenges(answer)
            assert urlsplit(challenge.parameters["realm"]).scheme in ("http", "https")
            assert challenge.parameters["service"]

    @needs("auth", "token")
    @cases(
        ("method", "path", "actions"),
        [
            ("GET", "manifests/latest", {"pull"}),
            ("HEAD", "manifests/latest", {"pull"}),
            ("GET", "blobs/" + ABSENT, {"pull"}),
            ("GET", "tags/list", {"pull"}),
            ("GET", "referrers/" + ABSENT, {"pull"}),
            ("PUT", "manifests/latest", {"pull", "push"}),
            ("POST", "blobs/uploads/", {"pull", "push"}),
            ("DELETE", "manifests/latest", {"delete"}),
            ("DELETE", "blobs/" + ABSENT, {"delete"}),
        ],
    )
    async def test_a_challenge_names_the_scope_that_is_needed(
        self, anonymous: RegistryClient, repository: str, method: str, path: str, actions: set[str]
    ) -> None:
        answer = expect(await anonymous.request(method, f"/v2/{repository}/{path}"), 401)
        [scope] = challenges(answer)[0].scopes
        kind, name, said = scope.split(":")
        assert (kind, name) == ("repository", repository)
        assert actions <= set(said.split(","))
        assert "delete" in actions or "delete" not in said

    @needs("auth", "token")
    async def test_the_challenge_of_a_mount_names_both_repositories(
        self, anonymous: RegistryClient, repository: str
    ) -> None:
        target = f"{uploads(repository)}?mount={ABSENT}&from={repository}/source"
        answer = expect(await anonymous.request("POST", target), 401)
        scopes = challenges(answer)[0].scopes
        assert any(scope.startswith(f"repository:{repository}:") and "push" in scope for scope in scopes)
        assert f"repository:{repository}/source:pull" in scopes

    @needs("auth", "token", "catalog")
    async def test_the_challenge_of_the_catalog_names_its_scope(self, anonymous: RegistryClient) -> None:
        answer = expect(await anonymous.request("GET", "/v2/_catalog"), 401)
        assert challenges(answer)[0].scopes == ("registry:catalog:*",)

    @needs("auth")
    async def test_a_stranger_cannot_tell_what_exists(
        self, client: RegistryClient, anonymous: RegistryClient, repository: str
    ) -> None:
        manifest = await client.push_image(repository, "latest")
        for path in ("tags/list", "manifests/latest", f"manifests/{manifest.digest}", f"blobs/{EMPTY.digest}"):
            here = await anonymous.request("GET", f"/v2/{repository}/{path}")
            there = await anonymous.request("GET", f"/v2/{repository}/absent/{path}")
            assert expect(here, 401).text.replace(repository, "") == expect(there, 401).text.replace(
                f"{repository}/absent", ""
            )

    @needs("auth", "grammar_first")
    @cases(
        ("method", "path"),
        [
            ("GET", "{r}/UPPER/tags/list"),
            ("GET", "{r}/manifests/sha256:totallywrong"),
            ("GET", "{r}/blobs/sha256:totallywrong"),
            ("PUT", "{r}/manifests/-a"),
        ],
    )
    async def test_bad_grammar_is_400_before_anybody_is_asked_who_he_is(
        self, anonymous: RegistryClient, repository: str, method: str, path: str
    ) -> None:
        expect(await anonymous.request(method, "/v2/" + path.format(r=repository)), 400)

    @needs("auth")
    async def test_a_stranger_is_401_before_state_and_body_are_looked_at(
        self, client: RegistryClient, anonymous: RegistryClient, repository: str
    ) -> None:
        location = await client.start_upload(repository)
        for method, target in (
            ("PUT", at(repository, "manifests", "latest")),
            ("PATCH", location),
            ("GET", location),
            ("DELETE", location),
            ("PUT", location),
            ("POST", uploads(repository) + f"?digest={ABSENT}"),
        ):
            expect(await anonymous.request(method, target, headers={"Content-Range": "5-9"}), 401)

    # Somebody without rights

    @needs("auth")
    async def test_somebody_without_rights_cannot_tell_what_exists(
        self, client: RegistryClient, other: RegistryClient, repository: str
    ) -> None:
        await client.push_image(repository, "latest")
        for path in ("tags/list", "manifests/latest", f"blobs/{EMPTY.digest}"):
            here = expect(await other.request("GET", f"/v2/{repository}/{path}"), 401, 403, 404)
            there = expect(await other.request("GET", f"/v2/{repository}/absent/{path}"), 401, 403, 404)
            assert here.status_code == there.status_code
            assert here.text.replace(repository, "") == there.text.replace(f"{repository}/absent", "")

    @needs("auth")
    async def test_a_push_without_rights_is_403_denied_with_a_sentence(
        self, other: RegistryClient, repository: str
    ) -> None:
        answer = expect(await other.request("POST", uploads(repository)), 403, code="DENIED")
        check_envelope(answer)
        assert len(answer.json()["errors"][0]["message"].split()) > 2

    # Credentials

    @needs("auth", "basic")
    async def test_basic_credentials_open_every_path(self, client: RegistryClient, repository: str) -> None:
        assert client.credentials is not None
        headers = {"Authorization": client.credentials.basic}
        expect(await client.request("GET", "/v2/", headers=headers), 200)
        expect(await client.request("POST", uploads(repository), headers=headers), 202)

    @needs("auth")
    @cases(
        "value",
        [
            "Bearer",
            "Bearer x",
            "Bearer x.y.z",
            "Bearer " + "a" * 5000,
            "Bearer e30.e30.",
            "Basic",
            "Basic !!!",
            "Basic " + base64.b64encode(b"nocolon").decode(),
            "Basic " + base64.b64encode(b"\xff\xfe:\xff").decode(),
            "Basic " + base64.b64encode(b"nobody-of-that-name:wrong").decode(),
            "Basic " + base64.b64encode(b":").decode(),
            "Digest username=x",
            "nonsense",
            "Bearer \u00e4",
        ],
    )
    async def test_credentials_that_are_none_are_401(self, anonymous: RegistryClient, value: str) -> None:
        answer = await anonymous.request("GET", "/v2/", headers={"Authorization": value.encode().decode("latin-1")})
        expect(answer, 401, 400, 429) if len(value) < 5000 else expect(answer, 401, 400, 431)
        if answer.status_code == 401:
            assert answer.headers["www-authenticate"]

    @needs("auth", "token")
    async def test_a_token_comes_with_its_life_in_the_documents_form(
        self, client: RegistryClient, anonymous: RegistryClient, repository: str
    ) -> None:
        said = await token_for(client, anonymous, f"repository:{repository}:pull")
        assert said["token"] == said["access_token"]
        assert said["expires_in"] >= 60
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", said["issued_at"])

    @needs("auth", "token", "jwt")
    async def test_a_token_is_a_jwt_with_the_documents_claims(
        self, client: RegistryClient, anonymous: RegistryClient, repository: str
    ) -> None:
        said = await token_for(client, anonymous, f"repository:{repository}:pull,push")
        header, claims = _part(said["token"], 0), _part(said["token"], 1)
        assert header["typ"] == "JWT"
        assert header["alg"] not in ("none", "HS256")
        assert {"kid", "jwk", "x5c"} & set(header)
        assert {"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "access"} <= set(claims)
        assert claims["exp"] > claims["iat"]
        [access] = claims["access"]
        assert (access["type"], access["name"]) == ("repository", repository)
        assert set(access["actions"]) == {"pull", "push"}

    @needs("auth", "token", "jwt")
    async def test_a_token_holds_what_may_be_granted_of_what_was_asked(
        self, client: RegistryClient, anonymous: RegistryClient, repository: str
    ) -> None:
        said = await token_for(client, anonymous, f"repository:{repository}:pull,dance", "nonsense:x:y")
        granted = {(each["name"], action) for each in _part(said["token"], 1)["access"] for action in each["actions"]}
        assert granted == {(repository, "pull")}

    @needs("auth", "token")
    async def test_several_scopes_come_in_one_token(
        self, client: RegistryClient, anonymous: RegistryClient, repository: str
    ) -> None:
        names = [f"{repository}/a", f"{repository}/b"]
        for name in names:
            await client.push_image(name, "latest")
        said = await token_for(client, anonymous, *(f"repository:{name}:pull" for name in names))
        headers = {"Authorization": f"Bearer {said['token']}"}
        for name in names:
            expect(await anonymous.request("GET", f"/v2/{name}/tags/list", headers=headers), 200)

    @needs("auth", "token")
    @cases(
        "scope",
        [
            "repository:host.test:5000/a/b:pull",
            "repository(plugin):a/b:pull",
            "repository:a/b:*",
            "repository:a/b",
            "repository",
            "",
            ":::",
            "repository::pull",
            "registry:catalog:*",
            "repository:UPPER:pull",
            "repository:a/b:" + ",".join(["pull"] * 1000),
            "repository:%00:pull",
            "ä:ö:ü",
        ],
    )
    async def test_no_scope_is_too_odd_for_the_token_service(
        self, client: RegistryClient, anonymous: RegistryClient, scope: str
    ) -> None:
        realm, service = await realm_of(anonymous)
        expect(await client.token(realm, [*service, ("scope", scope)]), 200, 400)

    @needs("auth", "token")
    async def test_a_wrong_password_is_401_with_a_sentence(
        self, client: RegistryClient, anonymous: RegistryClient
    ) -> None:
        realm, service = await realm_of(anonymous)
        wrong = base64.b64encode(f"nobody-{uuid4()}:wrong".encode()).decode()
        target = f"{realm}?service={quote(service[0][1])}"
        answer = await anonymous.request("GET", target, headers={"Authorization": f"Basic {wrong}"})
        if expect(answer, 401, 429).status_code == 401:
            assert error_codes(answer) == ["UNAUTHORIZED"]
            assert len(answer.json()["errors"][0]["message"].split()) > 2

    @needs("auth", "token")
    async def test_a_token_for_one_repository_opens_no_other(
        self, client: RegistryClient, anonymous: RegistryClient, repository: str
    ) -> None:
        await client.push_image(repository, "latest")
        await client.push_image(f"{repository}/other", "latest")
        said = await token_for(client, anonymous, f"repository:{repository}:pull")
        headers = {"Authorization": f"Bearer {said['token']}"}
        expect(await anonymous.request("GET", f"/v2/{repository}/tags/list", headers=headers), 200)
        answer = expect(await anonymous.request("GET", f"/v2/{repository}/other/tags/list", headers=headers), 401)
        assert challenges(answer)[0].parameters["error"] == "insufficient_scope"
        assert challenges(answer)[0].scopes == (f"repository:{repository}/other:pull",)

    @needs("auth", "token")
    async def test_a_token_for_pulls_pushes_and_deletes_nothing(
        self, client: RegistryClient, anonymous: RegistryClient, repository: str
    ) -> None:
        await client.push_image(repository, "latest")
        said = await token_for(client, anonymous, f"repository:{repository}:pull")
        headers = {"Authorization": f"Bearer {said['token']}"}
        for method, target in (
            ("POST", uploads(repository)),
            ("PUT", at(repository, "manifests", "latest")),
            ("DELETE", at(repository, "manifests", "latest")),
        ):
            expect(await anonymous.request(method, target, headers=headers), 401)

    @needs("auth", "token", "jwt")
    @cases("trick", ["none", "None", "signature", "claims", "hs256", "jwk", "jku", "kid", "typ", "four parts"])
    async def test_a_forged_token_is_401_invalid_token(
        self, client: RegistryClient, anonymous: RegistryClient, repository: str, trick: str
    ) -> None:
        await client.push_image(repository, "latest")
        said = await token_for(client, anonymous, f"repository:{repository}:pull")
        forged = _forge(said["token"], trick)
        headers = {"Authorization": f"Bearer {forged}"}
        answer = expect(await anonymous.request("GET", f"/v2/{repository}/tags/list", headers=headers), 401)
        assert challenges(answer)[0].parameters["error"] == "invalid_token"

    @needs("auth", "token", "oauth2")
    async def test_a_posted_password_gives_a_token_that_works(
        self, client: RegistryClient, anonymous: RegistryClient, repository: str
    ) -> None:
        await client.push_image(repository, "latest")
        assert client.credentials is not None
        scope = f"repository:{repository}:pull"
        said = expect(
            await post_for_token(
                anonymous,
                grant_type="password",
                client_id="wire",
                username=client.credentials.name,
                password=client.credentials.password,
                scope=scope,
                access_type="offline",
            ),
            200,
        ).json()
        assert said["access_token"]
        assert said["expires_in"] >= 60
        assert said["scope"] == scope
        headers = {"Authorization": f"Bearer {said['access_token']}"}
        expect(await anonymous.request("GET", f"/v2/{repository}/tags/list", headers=headers), 200)
        if refresh := said.get("refresh_token"):
            again = await post_for_token(
                anonymous, grant_type="refresh_token", client_id="wire", refresh_token=refresh, scope=scope
            )
            assert expect(again, 200).json()["access_token"]

    @needs("auth", "token", "oauth2")
    @cases(
        "fields",
        [
            {},
            {"grant_type": "dance"},
            {"grant_type": "password", "username": "nobody-of-that-name", "password": "wrong"},
            {"grant_type": "password"},
            {"grant_type": "refresh_token", "refresh_token": "x"},
            {"grant_type": "refresh_token"},
        ],
    )
    async def test_a_post_for_a_token_that_asks_wrongly_is_refused(
        self, anonymous: RegistryClient, fields: dict[str, str]
    ) -> None:
        expect(await post_for_token(anonymous, client_id="wire", **fields), 400, 401, 429)


def _forge(token: str, trick: str) -> str:
    """A token like `token` that nobody who holds the registry's key has signed."""
    header, claims, signature = token.split(".")
    if trick in ("none", "None"):
        return f"{_encoded({'typ': 'JWT', 'alg': trick})}.{claims}."
    if trick == "signature":
        return f"{header}.{claims}.{signature[:-4]}{'AAAA' if signature[-4:] != 'AAAA' else 'BBBB'}"
    if trick == "claims":
        return f"{header}.{_encoded({**_part(token, 1), 'sub': 'root', 'jti': 'x'})}.{signature}"
    if trick == "four parts":
        return f"{token}.{signature}"
    return _signed_anew(token, trick)


def _signed_anew(token: str, trick: str) -> str:
    """The same claims under a key of our own, with a header that asks to trust it."""
    header = _part(token, 0)
    if trick == "hs256":
        secret = jwk.OctKey.import_key(b"a secret of thirty-two characters")
        return jws.serialize_compact({**header, "alg": "HS256"}, _claims(token), secret, algorithms=["HS256"])
    own = jwk.ECKey.generate_key("P-256")
    public = own.as_dict(private=False)
    changed: dict[str, JSON] = {
        "jwk": {"jwk": public},
        "jku": {"jku": "http://127.0.0.1:9/keys.json"},
        "kid": {"kid": "../../../../dev/null"},
        "typ": {"typ": "at+jwt"},
    }
    kept = {name: value for name, value in header.items() if name in ("typ", "kid")}
    registry = jws.JWSRegistry(algorithms=["ES256"], strict_check_header=False)
    return jws.serialize_compact({**kept, **changed[trick], "alg": "ES256"}, _claims(token), own, registry=registry)


def _claims(token: str) -> bytes:
    text = token.split(".")[1]
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class WireContract(
    GrammarWire,
    FaceWire,
    BlobWire,
    UploadWire,
    MountWire,
    ManifestWire,
    ManifestRefusalWire,
    TagPutWire,
    ConditionalPutWire,
    DeleteWire,
    ReferrersWire,
    ListWire,
    AuthWire,
    RawWire,
):
    """The whole protocol. Inherit from it, and take from `capabilities` what the registry does not promise."""


class TestWire(WireContract):
    """What ``pytest --pyargs corereg.testing.wire --corereg-url ...`` collects."""
