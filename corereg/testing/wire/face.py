"""The API's face: its base, its errors, its methods, its paths."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from corereg.testing.client import OCI_IMAGE, RegistryClient, exchange, expect
from corereg.testing.wire.answers import check_envelope
from corereg.testing.wire.protocol import ABSENT, Protocol, cases, needs
from corereg.testing.wire.requests import at


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
