"""Requests that HTTP, a proxy in front or an application around allows, though few send them."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from corereg import OPEN, Response, Route, Session, asgi, hookimpl
from corereg.config import ServerConfig
from corereg.http import paths
from corereg.messages import Request
from corereg.testing.client import AppTransport, Credentials, RegistryClient, digest, expect, with_query
from corereg.testing.registry import Person, may, scratch

pytestmark = pytest.mark.anyio

SECRET = "admin secret"
PEOPLE = {"admin": Person(SECRET), "bob": Person(SECRET, grants=(may("demo/*", "pull", "push"),))}
BASIC = {"authorization": f"Basic {base64.b64encode(f'admin:{SECRET}'.encode()).decode()}"}
BEHIND = ServerConfig(trusted_proxies=("10.0.0.0/8",))


class Note(msgspec.Struct):
    """A text."""

    text: str


class Notes:
    """A plugin that takes JSON, and answers in pieces."""

    @hookimpl
    def provide_routes(self) -> list[Route]:
        return [Route("POST", "/note", self.post_note, OPEN), Route("GET", "/pieces", self.get_pieces, OPEN)]

    async def post_note(self, session: Session, body: Note) -> str:
        return body.text

    async def get_pieces(self, session: Session) -> Response:
        return Response(200, [("content-type", "text/plain")], self._pieces())

    async def _pieces(self) -> AsyncIterator[bytes]:
        for number in range(5):
            yield b"line %d\n" % number


async def ask(
    app: Any, method: str, path: str, headers: Mapping[str, str] = {}, body: bytes = b"", **scope: Any
) -> tuple[int, dict[str, str], bytes]:
    """What servers hand over, as they do it, with nothing in between that would mend it."""
    sent: list[Any] = []
    coming = [{"type": "http.request", "body": body, "more_body": False}, {"type": "http.disconnect"}]

    async def receive() -> Any:
        return coming.pop(0) if len(coming) > 1 else coming[0]

    async def send(message: Any) -> None:
        sent.append(message)

    base = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "query_string": b"",
        "headers": [(b"host", b"registry.test"), *((name.encode(), value.encode()) for name, value in headers.items())],
        "client": ("192.0.2.1", 1234),
        "server": ("registry.test", 80),
    }
    await app(base | scope, receive, send)
    told = {name.decode(): value.decode("latin-1") for name, value in sent[0]["headers"]}
    return sent[0]["status"], told, b"".join(each.get("body", b"") for each in sent[1:])


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Any]:
    async with scratch(tmp_path, Notes, people=PEOPLE) as registry:
        yield asgi(registry)


# ---- sizes ----


async def test_a_refused_path_is_not_remembered(app: Any) -> None:
    before = paths._kept.cache_info().currsize
    status, _, _ = await ask(app, "GET", f"/v2/{'a' * 60_000}/tags/list")
    assert status == 400
    assert paths._kept.cache_info().currsize == before


@pytest.mark.parametrize("length", ["0" * 5000, "00", "9" * 5000])
@pytest.mark.parametrize("path", ["/healthz", "/v2/", "/v2/demo/app/manifests/v1"])
async def test_a_length_of_thousands_of_digits_is_a_number(app: Any, path: str, length: str) -> None:
    status, told, _ = await ask(app, "GET", path, {"content-length": length})
    assert status == (200 if path == "/healthz" else 401)
    assert ("connection" in told) is ("9" in length), "a body is in the way, or none"


async def test_a_manifest_of_a_length_of_thousands_of_digits_is_too_large(app: Any) -> None:
    headers = BASIC | {"content-length": "9" * 5000, "content-type": "application/vnd.oci.image.manifest.v1+json"}
    status, _, body = await ask(app, "PUT", "/v2/demo/app/manifests/v1", headers)
    assert (status, msgspec.json.decode(body)["errors"][0]["code"]) == (413, "MANIFEST_INVALID")


@pytest.mark.parametrize("body", [b'{"text":"\xff"}', b'{"\xff":1}', b'"\xff"', b"\xff"])
async def test_json_that_is_no_utf_8_is_malformed(app: Any, body: bytes) -> None:
    status, _, said = await ask(app, "POST", "/note", {"content-length": str(len(body))}, body)
    assert status == 422
    assert b"body of the request" in said


@pytest.mark.parametrize("number", ["1", "0000000001", "00000000001", "0" * 300 + "1"])
async def test_a_page_of_one_is_one_however_it_is_written(app: Any, number: str) -> None:
    async with RegistryClient(app=app, credentials=Credentials("admin", SECRET)) as client:
        for tag in ("a", "b"):
            await client.push_image("demo/app", tag)
        answer = expect(await client.request("GET", f"/v2/demo/app/tags/list?n={number}"), 200)
    assert answer.json()["tags"] == ["a"]
    assert "last=a" in answer.headers["link"]


async def test_pieces_without_a_length_are_all_sent(app: Any) -> None:
    status, _, body = await ask(app, "GET", "/pieces")
    assert (status, body) == (200, b"".join(b"line %d\n" % number for number in range(5)))


# ---- proxies in front ----


@pytest.fixture
async def behind(tmp_path: Path) -> AsyncIterator[Any]:
    async with scratch(tmp_path, people=PEOPLE, server=BEHIND) as registry:
        yield asgi(registry)


@pytest.mark.parametrize("client", [None, ("", 0), ("unix", 0)])
async def test_a_proxy_on_a_unix_socket_has_no_address(behind: Any, client: Any) -> None:
    status, told, _ = await ask(behind, "GET", "/v2/", {"x-forwarded-host": "elsewhere.test"}, client=client)
    assert status == 401
    assert told["www-authenticate"].startswith('Bearer realm="http://registry.test/service/token"')


@pytest.mark.parametrize(
    ("hops", "address"),
    [
        ("203.0.113.8", "203.0.113.8"),
        ("203.0.113.8:40001", "203.0.113.8"),
        ("203.0.113.8, 10.0.0.2:80", "203.0.113.8"),
        ("[2001:db8::7]:443, 10.0.0.2", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("2001:db8::7", "2001:db8::7"),
        ("::ffff:203.0.113.8", "203.0.113.8"),
        ("198.51.100.1, unknown, 10.0.0.2", "10.0.0.2"),
        ("198.51.100.1, _hidden", "10.0.0.1"),
        ("198.51.100.1,", "10.0.0.1"),
        ("", "10.0.0.1"),
    ],
)
async def test_a_client_is_known_by_its_address_alone(tmp_path: Path, hops: str, address: str) -> None:
    """A port changes with each connection, and whoever counts failures by it counts none."""
    async with scratch(tmp_path, people=PEOPLE, server=BEHIND) as registry:
        gate = asgi(registry).gate
        headers = [(b"x-forwarded-for", hops.encode())]
        scope = {"type": "http", "method": "GET", "path": "/v2/", "headers": headers, "client": ("10.0.0.1", 5)}
        assert gate.address(Request(scope, receive)) == address


async def receive() -> Any:
    raise AssertionError("nobody reads the body")


# ---- mounted ----


@pytest.mark.parametrize("prefix", ["registry", "реестр", "a b", "a?b", 'a",realm="b', "a;b", "a%2Fb"])
async def test_what_is_said_of_the_prefix_can_be_asked_for(app: Any, prefix: str) -> None:
    outer = Starlette(routes=[Mount("/{tenant}", app)])
    here = "/" + quote(prefix, safe="")
    async with httpx2.AsyncClient(transport=AppTransport(outer), base_url="http://registry.test") as client:

        async def go(method: str, target: str, **more: Any) -> httpx2.Response:
            return await client.request(method, "/", extensions={"target": target.encode()}, **more)

        challenge = (await go("GET", f"{here}/v2/")).headers["www-authenticate"]
        realm, _, rest = challenge.removeprefix('Bearer realm="').partition('"')
        assert rest == ',service="corereg"'
        assert (await go("GET", realm.removeprefix("http://registry.test"), headers=BASIC)).status_code == 200
        begun = expect(await go("POST", f"{here}/v2/demo/app/blobs/uploads/", headers=BASIC), 202)
        put = with_query(begun.headers["location"], digest=digest(b"blob"))
        done = expect(await go("PUT", put, headers=BASIC, content=b"blob"), 201)
        assert (await go("GET", done.headers["location"], headers=BASIC)).content == b"blob"


# ---- conditions ----


async def test_a_deletion_holds_to_its_condition(app: Any) -> None:
    async with RegistryClient(app=app, credentials=Credentials("admin", SECRET)) as client:
        name = (await client.push_image("demo/app", "v1")).digest
        for reference in ("v1", name):
            target = f"/v2/demo/app/manifests/{reference}"
            stale = {"If-Match": f'"{digest(b"older")}"'}
            expect(await client.request("DELETE", target, headers=stale), 412)
            expect(await client.request("GET", target), 200)
            expect(await client.request("DELETE", target, headers={"If-Match": f'"{name}"'}), 202)
            expect(await client.request("DELETE", target, headers={"If-Match": f'"{name}"'}), 404)


@pytest.mark.parametrize("kind", ["manifests", "blobs"])
async def test_a_condition_may_stand_on_several_lines(app: Any, kind: str) -> None:
    async with RegistryClient(app=app, credentials=Credentials("admin", SECRET)) as client:
        name = (await client.push_image("demo/app", "v1")).digest
        name = name if kind == "manifests" else await client.push_blob("demo/app", b"blob")
        headers = [("If-None-Match", '"another"'), ("If-None-Match", f'W/"{name}"')]
        expect(await client.request("GET", f"/v2/demo/app/{kind}/{name}", headers=headers), 304)


# ---- rights ----


@pytest.mark.parametrize("asked", [[], [("scope", "repository:demo/app:pull")]])
async def test_a_token_without_the_catalog_is_told_of_one_with_it(app: Any, asked: list[tuple[str, str]]) -> None:
    """Who may pull something may ask what there is, with either kind of credentials."""
    async with RegistryClient(app=app, credentials=Credentials("admin", SECRET)) as admin:
        await admin.push_image("demo/app", "v1")
        await admin.push_image("other/app", "v1")
    async with RegistryClient(app=app, credentials=Credentials("bob", SECRET)) as bob:
        answer = await bob.token("http://registry.test/service/token", [("service", "corereg"), *asked])
        narrow = {"Authorization": f"Bearer {answer.json()['token']}"}
        refused = expect(await bob.request("GET", "/v2/_catalog", headers=narrow), 401)
        assert 'error="insufficient_scope"' in refused.headers["www-authenticate"]
        assert 'scope="registry:catalog:*"' in refused.headers["www-authenticate"]
        found = expect(await bob.request("GET", "/v2/_catalog"), 200)
    assert found.json() == {"repositories": ["demo/app"]}
