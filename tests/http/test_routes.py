"""The manners of the management API: segments, namespaces, errors, headers, forms. One plugin plays all parts."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from corereg import (
    OPEN,
    SIGNED_IN,
    Action,
    BadRequest,
    Created,
    Denied,
    Exists,
    Forbidden,
    Grant,
    Identity,
    Listed,
    Listing,
    ManifestUnknown,
    Missing,
    Namespace,
    OCIError,
    Operation,
    PluginError,
    Precondition,
    Refusal,
    Request,
    Route,
    Session,
    TooManyRequests,
    Unprocessable,
    Unsupported,
    asgi,
    hookimpl,
)
from corereg.http.routes import BODY_LIMIT, Table
from corereg.store.database import ValueRefused
from corereg.testing.client import AppTransport
from corereg.testing.registry import scratch

pytestmark = pytest.mark.anyio

API = "/api/v2.0"
RIGHTS: dict[str, Sequence[Grant]] = {
    "root": [Grant("*", "*", frozenset({"*"}))],
    "everywhere": [Grant("*/*", "*", frozenset({"*"}))],
    "member": [Grant(frozenset({"demo/*", "7/*", "a/b/*"}), "thing", frozenset({"read"}))],
    "pusher": [Grant("demo/app", "repository", frozenset({"pull"}))],
    "stranger": [],
}
NAMESPACES = {"demo": 1, "7": 2, "007": 3, "a/b": 4, "ns": 7}


class Thing(msgspec.Struct, frozen=True):
    name: str
    size: int = 0


class Filter(Listing, frozen=True, kw_only=True):
    kind: str = ""


class Choice(msgspec.Struct, frozen=True):
    flag: bool = False
    number: int = 0


ERRORS: dict[str, OCIError] = {
    "bad": BadRequest("no"),
    "denied": Denied("no"),
    "forbidden": Forbidden("no"),
    "missing": Missing("no"),
    "manifest": ManifestUnknown("no"),
    "exists": Exists("no"),
    "precondition": Precondition("no"),
    "shape": Unprocessable("no"),
    "often": TooManyRequests("no"),
    "unsupported": Unsupported("no"),
}


class Parts:
    """Routes of every shape, somebody who is believed, and namespaces."""

    # ---- who and where ----

    @hookimpl
    async def identify(self, request: Request) -> Identity | None:
        name = request.headers.get("x-caller")
        return Identity(name=name, subject=f"user:{name}", source="parts") if name else None

    @hookimpl
    async def grants(self, identity: Identity) -> Sequence[Grant]:
        return RIGHTS.get(identity.name, ())

    @hookimpl
    async def resolve_namespace(self, reference: int | str) -> Namespace | None:
        if isinstance(reference, str):
            return Namespace(NAMESPACES[reference], reference) if reference in NAMESPACES else None
        return next((Namespace(number, name) for name, number in NAMESPACES.items() if number == reference), None)

    @hookimpl
    async def admit(self, operation: Operation) -> Refusal | None:
        return Refusal("by policy") if operation.kind == "thing.refused" else None

    # ---- routes ----

    @hookimpl
    def provide_routes(self) -> list[Route]:
        one, repository = f"{API}/projects/{{namespace}}", f"{API}/projects/{{namespace}}/repositories"
        read = Action("thing", "read", "{namespace}/*")
        pull = Action("repository", "pull", "{namespace}/{repository}")
        return [
            # a name that takes slashes stands before the words below it, on purpose
            Route("GET", f"{repository}/{{repository:path}}", self.show_repository, OPEN),
            Route("GET", f"{repository}/{{repository:path}}/artifacts", self.list_artifacts, OPEN),
            Route("GET", f"{repository}/{{repository:path}}/artifacts/{{reference}}", self.show_artifact, OPEN),
            Route("DELETE", f"{repository}/{{repository:path}}", self.delete_repository, pull),
            Route("GET", one, self.show_namespace, read),
            Route("GET", f"{one}/open", self.show_namespace, OPEN),
            Route("GET", f"{one}/signed", self.show_namespace, SIGNED_IN),
            Route("GET", f"{API}/named/{{namespace:name}}", self.show_namespace, read),
            Route("GET", f"{API}/things", self.list_things, OPEN),
            Route("POST", f"{API}/things", self.create_thing, OPEN),
            Route("POST", f"{API}/things/{{name}}/parts", self.create_thing_here, OPEN),
            Route("GET", f"{API}/things/{{number}}", self.show_number, OPEN),
            Route("GET", f"{API}/things/special", self.show_special, OPEN),
            Route("PUT", f"{API}/things/{{number}}", self.put_thing, OPEN),
            Route("GET", f"{API}/secret", self.show_special, Action("thing", "read")),
            Route("GET", f"{API}/{{kind}}/kinds", self.show_kind, OPEN),
            Route("GET", f"{API}/errors/{{name}}", self.fail, OPEN),
            Route("GET", "/c/errors/{name}", self.fail, OPEN),
            Route("POST", f"{API}/refused", self.refuse, OPEN),
            Route("POST", "/c/form", self.take_form, OPEN),
            Route("POST", f"{API}/form", self.take_form, OPEN),
            Route("GET", f"{API}/nothing", self.nothing, OPEN),
        ]  # fmt: skip

    async def show_repository(self, session: Session, namespace: Namespace, repository: str) -> dict[str, str]:
        return {"repository": f"{namespace.name}/{repository}"}

    async def list_artifacts(self, session: Session, namespace: Namespace, repository: str) -> dict[str, str]:
        return {"artifacts": f"{namespace.name}/{repository}"}

    async def show_artifact(
        self, session: Session, namespace: Namespace, repository: str, reference: str
    ) -> dict[str, str]:
        return {"artifact": f"{namespace.name}/{repository}@{reference}"}

    async def delete_repository(self, session: Session, namespace: Namespace, repository: str) -> dict[str, str]:
        return {"deleted": f"{namespace.name}/{repository}"}

    async def show_namespace(self, session: Session, namespace: Namespace) -> Namespace:
        return namespace

    async def list_things(self, session: Session, query: Filter) -> Listed[Thing]:
        total = int(query.kind or 0)
        return Listed([Thing("one")] if total else [], total)

    async def create_thing(self, session: Session, body: Thing) -> Created[None]:
        return Created(7)

    async def create_thing_here(self, session: Session, name: str, body: Thing) -> Created[Thing]:
        return Created("a b/c%2Fd", body, location=f"/elsewhere/{name}") if body.size else Created("a b", body)

    async def show_number(self, session: Session, number: int) -> dict[str, int]:
        return {"number": number}

    async def show_special(self, session: Session) -> dict[str, str]:
        return {"special": session.identity.name}

    async def put_thing(self, session: Session, number: int, body: Thing) -> None:
        return None

    async def show_kind(self, session: Session, kind: str) -> dict[str, str]:
        return {"kind": kind}

    async def fail(self, session: Session, name: str) -> None:
        if name == "bug":
            raise ZeroDivisionError
        if name == "value":
            raise ValueRefused("a number is too large")
        raise type(ERRORS[name])("no")

    async def refuse(self, session: Session) -> None:
        async with session.change(session.operation("thing.refused")):
            pass

    async def take_form(self, session: Session, form: Choice) -> Choice:
        return form

    async def nothing(self, session: Session) -> None:
        return None


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    async with scratch(tmp_path, Parts(), people={}) as registry:
        transport = AppTransport(asgi(registry))
        async with httpx2.AsyncClient(transport=transport, base_url="http://registry.test") as opened:
            yield opened


def code(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["errors"][0]["code"]


# ---- names with slashes ----


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("app", {"repository": "demo/app"}),
        ("a/b", {"repository": "demo/a/b"}),
        ("a%2Fb", {"repository": "demo/a/b"}),
        ("a%252Fb", {"repository": "demo/a/b"}),  # as Harbor's clients send it
        ("a%252fb%252Fc", {"repository": "demo/a/b/c"}),
        ("a%25252Fb", {"repository": "demo/a%2Fb"}),  # twice is undone, and no more
        ("app/artifacts", {"artifacts": "demo/app"}),
        ("a%252Fb/artifacts", {"artifacts": "demo/a/b"}),
        ("a/b/artifacts", {"artifacts": "demo/a/b"}),
        ("a%252Fartifacts", {"repository": "demo/a/artifacts"}),
        ("a%252Fartifacts/artifacts", {"artifacts": "demo/a/artifacts"}),
        ("a/artifacts/artifacts", {"artifacts": "demo/a/artifacts"}),
        ("artifacts", {"repository": "demo/artifacts"}),
        ("artifacts/artifacts", {"artifacts": "demo/artifacts"}),
        ("app/artifacts/latest", {"artifact": "demo/app@latest"}),
        ("app/artifacts/sha256:12", {"artifact": "demo/app@sha256:12"}),
        ("a%252Fartifacts%252Fx/artifacts/latest", {"artifact": "demo/a/artifacts/x@latest"}),
        ("app%252Fartifacts%252Flatest", {"repository": "demo/app/artifacts/latest"}),
    ],
)
async def test_repositories_in_paths(client: httpx2.AsyncClient, path: str, said: dict[str, str]) -> None:
    answer = await client.get(f"{API}/projects/demo/repositories/{path}")
    assert (answer.status_code, answer.json()) == (200, said)


async def test_a_right_over_one_repository_is_one_over_no_other(client: httpx2.AsyncClient) -> None:
    """What is checked and what the handler gets are the same name."""
    for path, status in (
        ("app", 200),
        ("app2", 403),
        ("app%252Fx", 403),
        ("x%252F..%252Fapp", 403),
        ("%252A", 403),
        ("*", 403),
    ):
        answer = await client.delete(f"{API}/projects/demo/repositories/{path}", headers={"x-caller": "pusher"})
        assert answer.status_code == status, path


async def test_the_more_a_route_says_the_earlier_it_is_asked(client: httpx2.AsyncClient) -> None:
    assert (await client.get(f"{API}/things/special")).json() == {"special": "anonymous"}
    assert (await client.get(f"{API}/things/12")).json() == {"number": 12}
    assert (await client.get(f"{API}/animals/kinds")).json() == {"kind": "animals"}
    answer = await client.get(f"{API}/things/kinds")
    assert code(answer) == (422, "UNPROCESSABLE_ENTITY"), "things/{number} says more than {kind}/kinds at its place"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/v2.0/things/special/", 200),
        ("/api/v2.0/things/special///", 200),
        ("/api//v2.0///things//special", 200),
        ("//api/v2.0/things/special", 200),
        ("/api/v2.0/things/", 200),
        ("/api/v2.0/thing", 404),
        ("/api/v2.0", 404),
        ("/api/", 404),
        ("/api/v2.0/things/special/more", 404),
        ("/API/v2.0/things/special", 404),
        ("/api/v2.0/things/%73pecial", 200),
        ("/api/v2.0/{kind}/kinds", 200),
        ("/nowhere", 404),
    ],
)
async def test_slashes(client: httpx2.AsyncClient, path: str, status: int) -> None:
    answer = await client.get(f"http://registry.test{path}")
    assert answer.status_code == status
    if status == 404:
        assert code(answer)[1] == ("NOT_FOUND" if path.startswith("/api/") else "UNSUPPORTED")


@pytest.mark.parametrize("number", ["x", "1.5", "1e3", "", " 1", "١", "0x1", "NaN", "true", "null", "-", "1%2F2"])
async def test_a_number_that_is_none(client: httpx2.AsyncClient, number: str) -> None:
    assert (await client.get(f"{API}/things/{number}")).status_code in {200, 404, 422} - ({200} if number else set())


@pytest.mark.parametrize("number", [2**63, 10**40, -(2**63) - 1])
async def test_a_number_that_nothing_has(client: httpx2.AsyncClient, number: int) -> None:
    assert (await client.get(f"{API}/things/{number}")).status_code in {404, 422}


async def test_head_asks_what_get_would_answer(client: httpx2.AsyncClient) -> None:
    got, head = await client.get(f"{API}/things/special"), await client.head(f"{API}/things/special")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == got.headers["content-length"]
    assert (await client.head(f"{API}/things?kind=3")).headers["x-total-count"] == "3"
    assert (await client.head(f"{API}/nowhere")).status_code == 404
    assert (await client.head(f"{API}/secret")).status_code == 401
    assert (await client.head(f"{API}/refused")).status_code == 405


async def test_a_method_the_path_does_not_take(client: httpx2.AsyncClient) -> None:
    answer = await client.delete(f"{API}/things")
    assert code(answer) == (405, "METHOD_NOT_ALLOWED")
    assert sorted(answer.headers["allow"].split(", ")) == ["GET", "POST"]
    assert (await client.patch(f"{API}/things/special")).headers["allow"] == "GET, PUT"


# ---- namespaces ----


@pytest.mark.parametrize(
    ("path", "headers", "said"),
    [
        ("projects/demo", {}, (1, "demo")),
        ("projects/1", {}, (1, "demo")),
        ("projects/7", {}, (7, "ns")),
        ("projects/007", {}, (7, "ns")),
        ("projects/7", {"X-Is-Resource-Name": "true"}, (2, "7")),
        ("projects/7", {"x-is-resource-name": "TRUE"}, (2, "7")),
        ("projects/7", {"X-Is-Resource-Name": "false"}, (7, "ns")),
        ("projects/7", {"X-Is-Resource-Name": "yes"}, (7, "ns")),
        ("projects/007", {"X-Is-Resource-Name": "true"}, (3, "007")),
        ("projects/a%252Fb", {}, (4, "a/b")),
        ("named/7", {}, (2, "7")),
        ("named/demo", {}, (1, "demo")),
    ],
)
async def test_numbers_and_names(
    client: httpx2.AsyncClient, path: str, headers: dict[str, str], said: tuple[int, str]
) -> None:
    answer = await client.get(f"{API}/{path}", headers={"x-caller": "root", **headers})
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"id": said[0], "name": said[1]}


@pytest.mark.parametrize(
    ("caller", "there", "missing"),
    [("", 401, 401), ("stranger", 403, 403), ("member", 200, 403), ("root", 200, 404), ("everywhere", 200, 404)],
)
async def test_whether_a_namespace_is_there_is_for_those_who_may_know(
    client: httpx2.AsyncClient, caller: str, there: int, missing: int
) -> None:
    headers = {"x-caller": caller}
    for name in ("demo", "1"):
        assert (await client.get(f"{API}/projects/{name}", headers=headers)).status_code == there
    for name in ("nobody", "99", "*", "%252A", "system", "demo%252F*", "%2520", "9" * 40, "-1", "1 OR 1=1"):
        assert (await client.get(f"{API}/projects/{name}", headers=headers)).status_code == missing, name


async def test_who_may_not_know_hears_the_same(client: httpx2.AsyncClient) -> None:
    """Not even the words differ, but for the name that was asked."""
    headers = {"x-caller": "stranger"}
    there = await client.get(f"{API}/projects/demo", headers=headers)
    missing = await client.get(f"{API}/projects/nobody", headers=headers)
    assert code(there) == code(missing) == (403, "FORBIDDEN")
    assert there.text.replace("demo/*", "nobody/*") == missing.text
    by_number = await client.get(f"{API}/projects/1", headers=headers)
    assert by_number.text.replace("1/*", "nobody/*") == missing.text, "a number does not tell its name"


async def test_routes_for_everybody_say_what_is_missing(client: httpx2.AsyncClient) -> None:
    assert code(await client.get(f"{API}/projects/nobody/open")) == (404, "NOT_FOUND")
    assert code(await client.get(f"{API}/projects/nobody/signed")) == (401, "UNAUTHORIZED")
    assert code(await client.get(f"{API}/projects/nobody/signed", headers={"x-caller": "stranger"})) == (
        404,
        "NOT_FOUND",
    )


# ---- errors ----


@pytest.mark.parametrize(
    ("name", "status", "harbors", "protocols"),
    [
        ("bad", 400, "BAD_REQUEST", "BAD_REQUEST"),
        ("denied", 403, "FORBIDDEN", "DENIED"),
        ("forbidden", 403, "FORBIDDEN", "FORBIDDEN"),
        ("missing", 404, "NOT_FOUND", "NOT_FOUND"),
        ("manifest", 404, "NOT_FOUND", "MANIFEST_UNKNOWN"),
        ("exists", 409, "CONFLICT", "CONFLICT"),
        ("precondition", 412, "PRECONDITION", "PRECONDITION"),
        ("shape", 422, "UNPROCESSABLE_ENTITY", "UNPROCESSABLE_ENTITY"),
        ("often", 429, "TOO_MANY_REQUEST", "TOOMANYREQUESTS"),
        ("unsupported", 405, "METHOD_NOT_ALLOWED", "UNSUPPORTED"),
        ("bug", 500, "UNKNOWN", "UNKNOWN"),
    ],
)
async def test_errors_have_harbors_codes_below_api(
    client: httpx2.AsyncClient, name: str, status: int, harbors: str, protocols: str
) -> None:
    answer = await client.get(f"{API}/errors/{name}")
    assert code(answer) == (status, harbors)
    assert set(answer.json()["errors"][0]) == {"code", "message"}
    assert answer.headers["content-type"].startswith("application/json")
    assert code(await client.get(f"/c/errors/{name}")) == (status, protocols)


async def test_a_policys_code_stays_as_it_is(client: httpx2.AsyncClient) -> None:
    assert code(await client.post(f"{API}/refused")) == (403, "DENIED")


async def test_a_fault_tells_nothing_of_itself(client: httpx2.AsyncClient) -> None:
    answer = await client.get(f"{API}/errors/bug")
    assert "ZeroDivision" not in answer.text
    assert "number" in answer.json()["errors"][0]["message"]


async def test_a_value_that_the_database_cannot_keep_is_the_callers_fault(client: httpx2.AsyncClient) -> None:
    assert code(await client.get(f"{API}/errors/value")) == (400, "BAD_REQUEST")


@pytest.mark.parametrize("given", ["abc-123", "a" * 128, "req:1/2.3_4+5="])
async def test_a_request_keeps_its_number(client: httpx2.AsyncClient, given: str) -> None:
    for path in (f"{API}/things", f"{API}/nowhere", f"{API}/errors/bug", "/healthz", f"{API}/nothing"):
        assert (await client.get(path, headers={"X-Request-ID": given})).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", " ", "a b", "a" * 129, "<script>", "é", 'a"b', "a\tb", "a;b", "a,b"])
async def test_a_strange_number_is_replaced(client: httpx2.AsyncClient, given: str) -> None:
    answer = await client.get(f"{API}/things", headers={"X-Request-ID": given.encode("latin-1")})
    assert uuid.UUID(answer.headers["x-request-id"]).version == 4


async def test_every_request_without_a_number_gets_another_one(client: httpx2.AsyncClient) -> None:
    numbers = {(await client.get(f"{API}/things")).headers["x-request-id"] for _ in range(5)}
    assert len(numbers) == 5


# ---- what is made ----


@pytest.mark.parametrize("path", ["things", "things/", "/things", "things//"])
async def test_made_things_say_where_they_are(client: httpx2.AsyncClient, path: str) -> None:
    answer = await client.post(f"{API}/{path}", json={"name": "a"})
    assert (answer.status_code, answer.content) == (201, b"")
    assert answer.headers["location"] == f"{API}/things/7"
    assert answer.headers["content-length"] == "0"


async def test_a_location_never_names_another_host(client: httpx2.AsyncClient) -> None:
    """``//api/...`` would be the host ``api``."""
    answer = await client.post(f"http://registry.test/{API}/things", json={"name": "a"})
    assert answer.headers["location"] == f"{API}/things/7"


async def test_locations_are_encoded(client: httpx2.AsyncClient) -> None:
    answer = await client.post(f"{API}/things/x%20y%252Fz/parts", json={"name": "a"})
    assert (answer.status_code, answer.json()) == (201, {"name": "a", "size": 0})
    assert answer.headers["location"] == f"{API}/things/x%20y%252Fz/parts/a%20b"
    answer = await client.post(f"{API}/things/x/parts", json={"name": "a", "size": 1})
    assert answer.headers["location"] == "/elsewhere/x"


async def test_below_a_mount_paths_begin_with_it(tmp_path: Path) -> None:
    async with scratch(tmp_path, Parts(), people={}) as registry:
        app = asgi(registry)

        async def mounted(scope: Any, receive: Any, send: Any) -> None:
            await app({**scope, "root_path": "/hub", "path": "/hub" + scope["path"]}, receive, send)

        transport = AppTransport(mounted)
        async with httpx2.AsyncClient(transport=transport, base_url="http://registry.test") as client:
            answer = await client.post(f"{API}/things", json={"name": "a"})
            assert answer.headers["location"] == f"/hub{API}/things/7"
            answer = await client.get(f"{API}/things?kind=30")
            assert answer.headers["link"] == f'</hub{API}/things?kind=30&page=2&page_size=10>; rel="next"'


# ---- lists ----


@pytest.mark.parametrize(
    ("query", "link"),
    [
        ("kind=0", None),
        ("kind=10", None),
        ("kind=11", '<P?kind=11&page=2&page_size=10>; rel="next"'),
        ("kind=30&page=2", '<P?kind=30&page=1&page_size=10>; rel="prev" , <P?kind=30&page=3&page_size=10>; rel="next"'),
        ("kind=30&page=3", '<P?kind=30&page=2&page_size=10>; rel="prev"'),
        ("kind=30&page=4", '<P?kind=30&page=3&page_size=10>; rel="prev"'),
        ("kind=30&page=9", None),
        ("kind=30&page_size=15", '<P?kind=30&page=2&page_size=15>; rel="next"'),
        ("kind=30&page_size=0", None),
        ("kind=30&page_size=-1", None),
        (
            "kind=11&q=name%3D~a%26b&sort=-name",
            '<P?kind=11&q=name%3D~a%26b&sort=-name&page=2&page_size=10>; rel="next"',
        ),
    ],
)
async def test_links(client: httpx2.AsyncClient, query: str, link: str | None) -> None:
    answer = await client.get(f"{API}/things?{query}")
    assert answer.status_code == 200
    assert answer.headers["x-total-count"] == dict(part.split("=", 1) for part in query.split("&"))["kind"]
    assert answer.headers.get("link") == (link.replace("P?", f"{API}/things?") if link else None)


async def test_nobody_writes_into_a_link(client: httpx2.AsyncClient) -> None:
    answer = await client.get(f"{API}/things?kind=30&q=%3E%3B%20rel%3D%22next%22%0D%0Ax%3A1&%3E%0D%0A=1")
    assert answer.headers["link"].count(">") == 1
    assert "\r" not in answer.headers["link"]


@pytest.mark.parametrize("query", ["page=0", "page=x", "page_size=101", "page_size=-2"])
async def test_pages_that_are_none(client: httpx2.AsyncClient, query: str) -> None:
    assert code(await client.get(f"{API}/things?{query}")) == (422, "UNPROCESSABLE_ENTITY")


async def test_an_empty_parameter_is_none(client: httpx2.AsyncClient) -> None:
    answer = await client.get(f"{API}/things?kind=&page=&page_size=")
    assert (answer.status_code, answer.headers["x-total-count"]) == (200, "0")
    answer = await client.get(f"{API}/things?kind=11&page=")
    assert "page=2&page_size=10" in answer.headers["link"]


@pytest.mark.parametrize("query", ["q=%FF", "&".join(f"a{number}=1" for number in range(1001))])
async def test_queries_that_cannot_be_read(client: httpx2.AsyncClient, query: str) -> None:
    assert code(await client.get(f"{API}/things?{query}")) == (400, "BAD_REQUEST")


# ---- bodies and forms ----


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b"7", b"null", b"\xff", b"[" * 100_000),
        *(b'{"name": 7}', b'{"name": "a", "size": "1"}', b'{"name": "\\ud800"}'),
    ],
    ids=lambda body: repr(body[:30]),
)
async def test_bodies_of_another_shape(client: httpx2.AsyncClient, body: bytes) -> None:
    answer = await client.post(f"{API}/things", content=body)
    assert code(answer) == (422, "UNPROCESSABLE_ENTITY")
    assert answer.json()["errors"][0]["message"].startswith("body of the request: ")


async def _pieces(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // 4096 + 1):
        yield b" " * 4096


async def test_bodies_that_are_too_large(client: httpx2.AsyncClient) -> None:
    body = json.dumps({"name": "a"}).encode()
    assert (await client.post(f"{API}/things", content=body.ljust(BODY_LIMIT))).status_code == 201
    assert code(await client.post(f"{API}/things", content=b" " * (BODY_LIMIT + 1))) == (
        413,
        "REQUEST_ENTITY_TOO_LARGE",
    )
    answer = await client.post(f"{API}/things", content=_pieces(BODY_LIMIT))
    assert code(answer) == (413, "REQUEST_ENTITY_TOO_LARGE"), "what is not announced is counted"
    form = {"content-type": "application/x-www-form-urlencoded"}
    answer = await client.post("/c/form", content=b"a" * (BODY_LIMIT + 1), headers=form)
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("", {"flag": False, "number": 0}),
        ("flag=true&number=5", {"flag": True, "number": 5}),
        ("number=5&number=6&other=1", {"flag": False, "number": 6}),
    ],
)
async def test_forms(client: httpx2.AsyncClient, form: str, said: dict[str, Any]) -> None:
    for kind in ("application/x-www-form-urlencoded", "Application/X-WWW-Form-Urlencoded; charset=UTF-8"):
        answer = await client.post("/c/form", content=form.encode(), headers={"content-type": kind})
        assert (answer.status_code, answer.json()) == (200, said)


async def test_forms_that_are_none(client: httpx2.AsyncClient) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert (await client.post(f"{API}/form", content=b"flag=perhaps", headers=form)).status_code == 422
    for headers, body in (
        ({"content-type": "application/json"}, b"{}"),
        ({}, b"flag=true"),
        (form, b"flag=%ff"),
        (form, b"\xff"),
    ):
        assert code(await client.post(f"{API}/form", content=body, headers=headers)) == (400, "BAD_REQUEST")


async def test_nothing_is_an_empty_answer(client: httpx2.AsyncClient) -> None:
    answer = await client.get(f"{API}/nothing")
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "0")


# ---- what does not start ----


async def nothing(session: Session) -> None:
    return None


async def unfilled(session: Session, stranger: str) -> None:
    return None


async def unannotated(session: Session, body) -> None:  # type: ignore[no-untyped-def]  # that is the fault
    return None


def not_async(session: Session) -> None:
    return None


@pytest.mark.parametrize(
    ("route", "sentence"),
    [
        (Route("GET", "/x", nothing, None), "say what it needs"),  # type: ignore[arg-type]  # that is the fault
        (Route("GET", "x", nothing, OPEN), "a path begins with two literal segments"),
        (Route("GET", "/{x}", nothing, OPEN), "a path begins with two literal segments"),
        (Route("GET", "/v2/x", nothing, OPEN), "lies outside /v2/"),
        (Route("GET", "/a/b/{name:name}", nothing, OPEN), "is no segment"),
        (Route("GET", "/a/b/{name:int}", nothing, OPEN), "is no segment"),
        (Route("GET", "/a/b", nothing, Action("x", "y", "{namespace}/*")), "which the path does not have"),
        (Route("GET", "/a/b", unfilled, OPEN), "nothing fills the parameter 'stranger'"),
        (Route("GET", "/a/b", unannotated, OPEN), "annotate body with a msgspec Struct"),
        (Route("GET", "/a/b", not_async, OPEN), "write `async def`"),
    ],
)
def test_routes_that_do_not_fit(route: Route, sentence: str) -> None:
    with pytest.raises(PluginError) as refused:
        Table([("mine", route)])
    assert str(refused.value).startswith(f"plugin 'mine', route {route.method} {route.path}: ")
    assert sentence in str(refused.value)


def test_two_routes_of_one_shape() -> None:
    first, second = Route("GET", "/a/b/{x}", nothing, OPEN), Route("GET", "/a/b/{y}", nothing, OPEN)
    with pytest.raises(PluginError, match="plugins 'one' and 'two' both answer GET /a/b/"):
        Table([("one", first), ("two", second)])
