"""Hostile input gets the right 4xx, in the envelope, and never a 500."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey

from corereg import Registry, asgi
from corereg.testing.client import AppTransport
from corereg.testing.registry import Person, may, scratch

pytestmark = pytest.mark.anyio

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
EMPTY = "sha256:" + hashlib.sha256(b"").hexdigest()


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    people = {
        "admin": Person("admin secret"),
        "alice": Person("alice secret", grants=(may("demo/*", "pull", "push"),)),
        "mallory": Person("mallory secret", grants=(may("demo/*", "pull", "push"),)),
    }
    async with scratch(tmp_path, people=people) as opened:
        yield opened


@pytest.fixture
async def client(registry: Registry) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(transport=AppTransport(asgi(registry)), base_url="http://registry.test") as opened:
        yield opened


async def ask(
    registry: Registry, method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b""
) -> Any:
    """A request as a server hands it over, without a client that would tidy it up: (status, headers, body)."""
    target, _, query = path.partition("?")
    sent: list[dict[str, Any]] = []
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": target,
        "query_string": query.encode("utf-8", "surrogateescape"),
        "headers": [(k.lower().encode(), v.encode("latin-1")) for k, v in (headers or {}).items()],
        "client": ("192.0.2.1", 1234),
        "server": ("registry.test", 80),
    }
    await asgi(registry)(scope, receive, send)
    answer = {k.decode(): v.decode("latin-1") for k, v in sent[0]["headers"]}
    return sent[0]["status"], answer, b"".join(each.get("body", b"") for each in sent[1:])


def check_envelope(status: int, headers: dict[str, str], body: bytes) -> None:
    """Every 4xx is JSON of the one shape."""
    assert 400 <= status < 500, (status, body)
    assert headers["content-type"] == "application/json"
    for error in json.loads(body)["errors"]:
        assert error["code"].isupper()
        assert error["message"]


BASIC = {"authorization": "Basic " + base64.b64encode(b"admin:admin secret").decode()}


@pytest.mark.parametrize(
    "path",
    [
        "/v2/../../etc/passwd/tags/list",
        "/v2/demo/../other/tags/list",
        "/v2/demo/./app/tags/list",
        "/v2//demo/app/tags/list",
        "/v2/demo//app/tags/list",
        "/v2/demo/app/tags/list/",
        "/v2/Demo/app/tags/list",
        "/v2/demo/app%2Ftags/tags/list",
        "/v2/demo\\app/tags/list",
        "/v2/demo/app\x00/tags/list",
        "/v2/demo/app\r\nX-Evil: 1/tags/list",
        "/v2/demo/äpp/tags/list",
        "/v2/demo/ａpp/tags/list",
        "/v2/-demo/tags/list",
        "/v2/demo-/tags/list",
        "/v2/de..mo/tags/list",
        "/v2/de___mo/tags/list",
        "/v2/" + "a/" * 200 + "a/tags/list",
        "/v2/" + "a" * 300 + "/tags/list",
        "/v2/demo/app/manifests/",
        "/v2/demo/app/manifests/" + "a" * 129,
        "/v2/demo/app/manifests/.hidden",
        "/v2/demo/app/manifests/sha256:xyz",
        "/v2/demo/app/manifests/sha256:" + "A" * 64,
        "/v2/demo/app/manifests/md5:" + "0" * 32,
        "/v2/demo/app/manifests/sha256:" + "0" * 63,
        "/v2/demo/app/blobs/../../../../etc/passwd",
        "/v2/demo/app/blobs/sha256:../../../../etc/passwd",
        "/v2/demo/app/blobs/" + EMPTY + "/data",
        "/v2/demo/app/referrers/latest",
        "/v2/_catalog/",
        "/v2/_oci/ext/unknown",
        "/v2/tags/list",
        "/v2/blobs/uploads/",
        "/nowhere",
        "/service/token/",
        "/..",
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "BREW"])
async def test_paths_nobody_should_ask_for(registry: Registry, path: str, method: str) -> None:
    status, headers, body = await ask(registry, method, path, BASIC)
    check_envelope(status, headers, body)
    assert status in {400, 404, 405}
    assert "x-evil" not in headers


@pytest.mark.parametrize(
    "query",
    [
        "n=-1",
        "n=1.5",
        "n=٣",
        "n=0x10",
        "n=1&n=2",
        "n=",
        "n=%31e3",
        "n=" + "9" * 5000 + "x",
        "last=" + "a" * 2000,
        "last=%00",
        "n=1;last=2&n=%ff",
        "&".join(f"a{i}=1" for i in range(2000)),
    ],
)
async def test_pages_nobody_can_turn_to(registry: Registry, query: str) -> None:
    status, headers, body = await ask(registry, "GET", f"/v2/_catalog?{query}", BASIC)
    check_envelope(status, headers, body)
    assert status == 400


async def test_a_link_header_cannot_be_split(registry: Registry, client: httpx2.AsyncClient) -> None:
    body = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []})
    for tag in ("a", "b"):
        answer = await client.put(
            f"/v2/demo/app/manifests/{tag}",
            content=body,
            headers={"content-type": "application/vnd.oci.image.index.v1+json"},
            auth=("admin", "admin secret"),
        )
        assert answer.status_code == 201, answer.text
    status, headers, _ = await ask(registry, "GET", "/v2/demo/app/tags/list?n=1&last=%0d%0aX-Evil:%201", BASIC)
    assert status == 200
    assert "x-evil" not in headers
    assert "\r" not in headers["link"]


# ---- credentials ----


@pytest.mark.parametrize(
    "value",
    [
        "Basic",
        "Basic ",
        "Basic !!!",
        "Basic " + base64.b64encode(b"no colon").decode(),
        "Basic " + base64.b64encode(b"admin:\xff\xfe").decode(),
        "Basic " + base64.b64encode(b":").decode(),
        "Basic " + base64.b64encode(b"admin:" + b"x" * 100_000).decode(),
        "Basic " + base64.b64encode(b"admin\x00:admin secret").decode(),
        "Bearer",
        "Bearer ",
        "Bearer a.b.c",
        "Bearer ..",
        "Bearer " + "a" * 100_000,
        "Bearer a.b",
        "Bearer é.é.é",
        "Negotiate abc",
        "",
        " ",
        "bearer  ",
        "Digest username=admin",
    ],
)
async def test_credentials_nobody_can_read(registry: Registry, value: str) -> None:
    status, headers, body = await ask(registry, "GET", "/v2/", {"authorization": value})
    check_envelope(status, headers, body)
    assert status == 401
    assert headers["www-authenticate"].startswith("Bearer realm=")
    assert "basic" not in headers["www-authenticate"].lower().replace("bearer", ""), "clients take the last word"


def forged(key: Any, header: dict[str, Any], **claims: Any) -> str:
    now = int(time.time())
    body = {
        "iss": "corereg",
        "aud": "corereg",
        "sub": "admin",
        "iat": now,
        "nbf": now - 1,
        "exp": now + 600,
        "jti": "1",
        "access": [{"type": "repository", "name": "demo/app", "actions": ["pull", "push", "delete"]}],
        "corereg": {
            "subject": "user:admin",
            "kind": "user",
            "groups": [],
            "administrator": True,
            "source": "",
            "serial": 0,
        },
    } | claims
    return jwt.encode({"typ": "JWT", **header}, body, key, algorithms=[header["alg"]])


def segment(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


async def rejected(registry: Registry, token: str) -> None:
    status, headers, body = await ask(registry, "GET", "/v2/demo/app/tags/list", {"authorization": f"Bearer {token}"})
    check_envelope(status, headers, body)
    assert status == 401
    assert 'error="invalid_token"' in headers["www-authenticate"]


def signing_key(registry: Registry) -> Any:
    return registry.tokens._current


async def test_a_token_of_ours_is_believed_or_these_tests_mean_nothing(registry: Registry) -> None:
    key = signing_key(registry)
    token = forged(key.private, {"alg": "ES256", "kid": key.id})
    status, _, body = await ask(registry, "GET", "/v2/demo/app/tags/list", {"authorization": f"Bearer {token}"})
    assert (status, json.loads(body)["errors"][0]["code"]) == (404, "NAME_UNKNOWN")


async def test_tokens_signed_by_somebody_else(registry: Registry) -> None:
    stranger, key = ECKey.generate_key("P-256"), signing_key(registry)
    public = stranger.as_dict(private=False)
    for header in (
        {"alg": "ES256", "kid": key.id},
        {"alg": "ES256", "kid": "unknown"},
        {"alg": "ES256", "kid": key.id, "jwk": public},
        {"alg": "ES256", "kid": "unknown", "jwk": public},
        {"alg": "ES256", "kid": key.id, "jku": "http://192.0.2.9/keys"},
        {"alg": "ES256", "kid": "../../keys", "x5u": "http://192.0.2.9/cert"},
    ):
        try:
            token = forged(stranger, dict(header))
        except Exception:  # noqa: BLE001 - the library that forges may refuse; write the header by hand then
            honest = forged(stranger, {"alg": "ES256", "kid": key.id}).split(".")
            token = f"{segment(header)}.{honest[1]}.{honest[2]}"
        await rejected(registry, token)


async def test_tokens_without_or_with_another_algorithm(registry: Registry) -> None:
    key = signing_key(registry)
    payload = forged(key.private, {"alg": "ES256", "kid": key.id}).split(".")[1]
    for algorithm in ("none", "None", "NONE", "HS256", "RS256", "ES384", ""):
        head = segment({"alg": algorithm, "typ": "JWT", "kid": key.id})
        await rejected(registry, f"{head}.{payload}.")
    # The classic: the public key as the secret of an HMAC.
    head = segment({"alg": "HS256", "typ": "JWT", "kid": key.id})
    secret = key.private.as_pem(private=False)
    mac = hmac.digest(secret, f"{head}.{payload}".encode(), "sha256")
    await rejected(registry, f"{head}.{payload}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}")


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "somebody"},
        {"aud": "another"},
        {"aud": None},
        {"aud": []},
        {"exp": 1},
        {"exp": "tomorrow"},
        {"exp": None},
        {"nbf": 9_999_999_999},
        {"access": "all"},
        {"access": [{"type": "repository"}]},
        {"access": None},
        {"corereg": None},
        {"corereg": {"subject": "user:admin"}},
        {"sub": 7},
    ],
)
async def test_tokens_with_claims_that_do_not_hold(registry: Registry, claims: dict[str, Any]) -> None:
    key = signing_key(registry)
    await rejected(registry, forged(key.private, {"alg": "ES256", "kid": key.id}, **claims))


async def test_a_tampered_payload(registry: Registry) -> None:
    key = signing_key(registry)
    head, _, signature = forged(key.private, {"alg": "ES256", "kid": key.id}).split(".")
    await rejected(registry, f"{head}.{segment({'iss': 'corereg', 'aud': 'corereg', 'sub': 'root'})}.{signature}")


async def test_scopes_that_are_no_scopes_grant_nothing(client: httpx2.AsyncClient) -> None:
    for scope in (
        "",
        ":",
        "::",
        "repository::",
        "repository:../etc:pull",
        "repository:demo/app",
        "x" * 10_000,
        "repository:DEMO:pull",
        "registry:catalog",
        "registry:other:*",
        "user:admin:*",
        "repository(:x:pull",
    ):
        answer = await client.get("/service/token", params={"scope": scope}, auth=("alice", "alice secret"))
        assert answer.status_code == 200
        payload = answer.json()["token"].split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
        assert claims["access"] == [], scope


async def test_scopes_beyond_ones_rights_are_cut(client: httpx2.AsyncClient) -> None:
    scopes = "repository:demo/app:pull,push,delete,* repository:other/app:pull repository(plugin):demo/x:pull"
    answer = await client.get("/service/token", params={"scope": scopes}, auth=("alice", "alice secret"))
    claims = json.loads(base64.urlsafe_b64decode(answer.json()["token"].split(".")[1] + "=="))
    assert [(each["name"], set(each["actions"])) for each in claims["access"]] == [
        ("demo/app", {"pull", "push"}),
        ("demo/x", {"pull"}),
    ]


# ---- uploads of others ----


async def test_forged_and_foreign_upload_ids(registry: Registry, client: httpx2.AsyncClient) -> None:
    alice, mallory = ("alice", "alice secret"), ("mallory", "mallory secret")
    location = (await client.post("/v2/demo/app/blobs/uploads/", auth=alice)).headers["location"]
    upload = location.rpartition("/")[2]
    strange = [
        f"/v2/demo/app/blobs/uploads/{uuid.uuid4()}",
        f"/v2/demo/other/blobs/uploads/{upload}",
        f"/v2/demo/app/blobs/uploads/{upload.upper()}",
        f"/v2/demo/app/blobs/uploads/{upload.replace('-', '')}",
        f"/v2/demo/app/blobs/uploads/{{{upload}}}",
        "/v2/demo/app/blobs/uploads/" + "a" * 5000,
    ]
    for path in strange:
        for method in ("GET", "PATCH", "PUT", "DELETE"):
            answer = await client.request(method, f"{path}?digest={EMPTY}", auth=alice)
            assert answer.status_code == 404, (method, path, answer.text)
            assert answer.json()["errors"][0]["code"] == "BLOB_UPLOAD_UNKNOWN"
    for method in ("GET", "PATCH", "PUT", "DELETE"):
        answer = await client.request(method, f"{location}?digest={EMPTY}", auth=mallory)
        assert answer.status_code == 404, "another identity's upload does not exist for mallory"
    assert (await client.put(f"{location}?digest={EMPTY}", auth=alice)).status_code == 201
    assert [stat async for stat in registry.storage.uploads()] == []


async def test_two_digests_that_differ(client: httpx2.AsyncClient) -> None:
    alice = ("alice", "alice secret")
    location = (await client.post("/v2/demo/app/blobs/uploads/", auth=alice)).headers["location"]
    other = "sha256:" + "0" * 64
    answer = await client.put(f"{location}?digest={EMPTY}&digest={other}", auth=alice)
    assert answer.status_code == 400
    assert (await client.put(f"{location}?digest={EMPTY}", auth=alice)).status_code == 201, "the upload lives on"


# ---- bodies ----


async def put(client: httpx2.AsyncClient, body: Any, kind: str = MANIFEST) -> httpx2.Response:
    return await client.put(
        "/v2/demo/app/manifests/v1", content=body, headers={"content-type": kind}, auth=("alice", "alice secret")
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"1",
        b'"x"',
        b"\xef\xbb\xbf{}",
        b"\xff\xfe",
        b"{}",
        b'{"schemaVersion":1}',
        b'{"schemaVersion":2,"schemaVersion":2}',
        b'{"schemaVersion":2,"config":null,"layers":[]}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"schemaVersion":2e400}',
        b'{"schemaVersion":NaN}',
        b'{"schemaVersion":' + b"9" * 100_000 + b"}",
        b'{"a":"' + b"x" * 3_900_000 + b'"}',
    ],
)
async def test_manifests_that_are_none(client: httpx2.AsyncClient, body: bytes) -> None:
    answer = await put(client, body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["errors"][0]["code"] == "MANIFEST_INVALID"


async def test_a_manifest_over_the_limit_announced_or_not(client: httpx2.AsyncClient) -> None:
    big = b"{" + b" " * (4 * 1024 * 1024) + b"}"
    assert (await put(client, big)).status_code == 413

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield b" " * 65536

    assert (await put(client, pieces())).status_code == 413


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "X" * 50]),
    path=st.one_of(
        st.text(st.characters(codec="utf-8"), max_size=60).map(lambda text: "/" + text),
        st.lists(
            st.sampled_from(
                [
                    "v2",
                    "demo",
                    "app",
                    "blobs",
                    "manifests",
                    "tags",
                    "list",
                    "uploads",
                    "referrers",
                    "_catalog",
                    "",
                    "..",
                    EMPTY,
                ]
            ),
            max_size=9,
        ).map(lambda parts: "/v2/" + "/".join(parts)),
    ),
    query=st.text(st.characters(codec="ascii", exclude_characters="#"), max_size=60),
    headers=st.dictionaries(
        st.sampled_from(
            [
                "range",
                "content-range",
                "content-type",
                "if-none-match",
                "if-match",
                "content-length",
                "host",
                "accept",
                "x-forwarded-for",
                "x-forwarded-host",
                "expect",
            ]
        ),
        st.text(st.characters(codec="latin-1"), max_size=40),
        max_size=4,
    ),
    body=st.binary(max_size=200),
)
async def test_no_request_of_any_shape_is_a_500(
    registry: Registry, method: str, path: str, query: str, headers: dict[str, str], body: bytes
) -> None:
    status, answer, said = await ask(registry, method, f"{path}?{query}", {**BASIC, **headers}, body)
    assert status < 500 or status == 501, (status, said)
    if status >= 400 and method != "HEAD":
        check_envelope(status, answer, said)
