"""The OpenAPI document: valid, and true: what answers come out is declared."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import httpx2
import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from corereg import (
    OPEN,
    SIGNED_IN,
    Action,
    Created,
    Exists,
    Grant,
    Identity,
    Listed,
    Listing,
    Namespace,
    Precondition,
    Registry,
    Request,
    Response,
    Route,
    Session,
    asgi,
    hookimpl,
    openapi_document,
)
from corereg.http.openapi import TEXTS
from corereg.testing.client import AppTransport
from corereg.testing.registry import scratch

pytestmark = pytest.mark.anyio

API = "/api/v2.0"


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Part(msgspec.Struct, frozen=True):
    """A part of a thing."""

    colour: Colour = Colour.RED
    parts: list[Part] = []


class Thing(msgspec.Struct, frozen=True):
    """A thing with parts."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=20)]
    part: Part | None = None
    labels: dict[str, int] = {}


class ThingListing(Listing, frozen=True, kw_only=True):
    """Things of one colour."""

    colour: Colour | None = None
    public: bool | None = None


class Form(msgspec.Struct, frozen=True):
    principal: str
    password: str


class Shapes:
    """A route of every shape."""

    @hookimpl
    async def identify(self, request: Request) -> Identity | None:
        name = request.headers.get("x-caller")
        return Identity(name=name, subject=f"user:{name}") if name else None

    @hookimpl
    async def grants(self, identity: Identity) -> Sequence[Grant]:
        return [Grant("*", "*", frozenset({"*"}))] if identity.name == "root" else []

    @hookimpl
    async def resolve_namespace(self, reference: int | str) -> Namespace | None:
        return Namespace(1, "demo") if reference in {1, "demo"} else None

    @hookimpl
    def provide_routes(self) -> list[Route]:
        one = f"{API}/projects/{{namespace}}"
        return [
            Route("GET", f"{API}/things", self.list_things, SIGNED_IN, "List things.", tag="thing"),
            Route("POST", f"{API}/things", self.create_thing, OPEN, "Make a thing.", tag="thing", errors=(409,)),
            Route("GET", f"{API}/things/{{thing_id}}", self.get_thing, OPEN, "One thing.", tag="thing"),
            Route("DELETE", f"{API}/things/{{thing_id}}", self.delete_thing, OPEN, "Take it away.", errors=(412,)),
            Route("GET", one, self.get_project, Action("project", "read", "{namespace}/*"), "One project."),
            Route("GET", f"{one}/repositories/{{repository:path}}", self.get_repository, OPEN, "One repository."),
            Route("POST", f"{API}/robots", self.create_robot, Action("robot", "create"), "Make a robot."),
            Route("GET", f"{API}/cert", self.get_cert, OPEN, "A file.", produces="application/octet-stream"),
            Route("POST", f"{API}/login", self.login, OPEN, "Sign in.", extension=True),
            Route("PUT", f"{API}/settings", self.update_settings, SIGNED_IN, "Change.", status=202),
            Route("GET", "/c/hidden", self.get_cert, OPEN, "Not of the API."),
        ]

    async def list_things(self, session: Session, query: ThingListing) -> Listed[Thing]:
        """All of them.

        Of one colour.
        """
        assert query.terms is not None
        return Listed([], 0)

    async def create_thing(self, session: Session, body: Thing) -> Created[None]:
        if body.name == "taken":
            raise Exists
        return Created(1)

    async def get_thing(self, session: Session, thing_id: int) -> Thing:
        return Thing("a")

    async def delete_thing(self, session: Session, thing_id: int) -> None:
        raise Precondition

    async def get_project(self, session: Session, namespace: Namespace) -> Thing:
        return Thing(namespace.name)

    async def get_repository(self, session: Session, namespace: Namespace, repository: str) -> Thing:
        return Thing("a")

    async def create_robot(self, session: Session, body: Part) -> Created[Thing]:
        return Created(1, Thing("robot"))

    async def get_cert(self, session: Session) -> Response:
        return Response(200, [("content-type", "application/octet-stream")], b"x")

    async def login(self, session: Session, form: Form) -> None:
        return None

    async def update_settings(self, session: Session, body: dict[str, Any]) -> None:
        return None


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    async with scratch(tmp_path, Shapes(), people={}) as opened:
        yield opened


@pytest.fixture
def document(registry: Registry) -> dict[str, Any]:
    return msgspec.json.decode(msgspec.json.encode(openapi_document(registry)))  # type: ignore[no-any-return]  # an object


async def test_the_document_is_valid(document: dict[str, Any]) -> None:
    errors = [f"{list(error.path)}: {error.message}" for error in OpenAPIV31SpecValidator(document).iter_errors()]
    assert errors == []


async def test_what_it_says(document: dict[str, Any]) -> None:
    paths = document["paths"]
    assert all(path.startswith("/api/") for path in paths)
    assert "{repository}" in next(path for path in paths if "repositories" in path), "clients know no kinds of segments"
    listed = paths[f"{API}/things"]["get"]
    assert listed["operationId"] == "listThings"
    assert listed["tags"] == ["thing"]
    assert {each["name"] for each in listed["parameters"]} == {"q", "sort", "page", "page_size", "colour", "public"}
    assert not any(each["required"] for each in listed["parameters"])
    good = listed["responses"]["200"]
    assert set(good["headers"]) == {"X-Total-Count", "Link"}
    assert good["content"]["application/json"]["schema"]["type"] == "array"
    made = paths[f"{API}/things"]["post"]["responses"]
    assert set(made["201"]) == {"description", "headers"}
    assert "200" not in made
    assert {"409", "413", "422", "429", "503"} <= set(made)
    assert paths[f"{API}/cert"]["get"]["responses"]["200"]["content"].keys() == {"application/octet-stream"}
    assert paths[f"{API}/login"]["post"]["x-extension"] is True
    assert paths[f"{API}/login"]["post"]["requestBody"]["content"].keys() == {"application/x-www-form-urlencoded"}
    assert paths[f"{API}/projects/{{namespace}}"]["get"]["x-needs"] == {"resource": "project", "action": "read"}
    assert document["components"]["schemas"]["Part"]["properties"]["parts"]["items"] == {
        "$ref": "#/components/schemas/Part"
    }
    operations = [each["operationId"] for methods in paths.values() for each in methods.values()]
    assert len(operations) == len(set(operations))


async def test_every_status_has_its_sentence(document: dict[str, Any]) -> None:
    for methods in document["paths"].values():
        for operation in methods.values():
            for status, response in operation["responses"].items():
                assert response["description"] == TEXTS[int(status)]


CALLS = [
    ("GET", "/things", "/things", {}),
    ("GET", "/things?page=x", "/things", {}),
    ("GET", "/things?q=x", "/things", {}),
    ("GET", "/things?q=%FF", "/things", {}),
    ("GET", "/things?colour=green", "/things", {}),
    ("POST", "/things", "/things", {"content": b'{"name": "a"}'}),
    ("POST", "/things", "/things", {"content": b'{"name": "taken"}'}),
    ("POST", "/things", "/things", {"content": b"{"}),
    ("POST", "/things", "/things", {"content": b" " * 2_000_000}),
    ("POST", "/things", "/things", {"content": b"{}", "headers": {"transfer-encoding": "gzip"}}),
    ("GET", "/things/1", "/things/{thing_id}", {}),
    ("GET", "/things/x", "/things/{thing_id}", {}),
    ("GET", f"/things/{2**70}", "/things/{thing_id}", {}),
    ("DELETE", "/things/1", "/things/{thing_id}", {}),
    ("GET", "/projects/demo", "/projects/{namespace}", {}),
    ("GET", "/projects/none", "/projects/{namespace}", {}),
    ("GET", "/projects/demo/repositories/a%252Fb", "/projects/{namespace}/repositories/{repository}", {}),
    ("GET", "/projects/none/repositories/a", "/projects/{namespace}/repositories/{repository}", {}),
    ("POST", "/robots", "/robots", {"content": b"{}"}),
    ("POST", "/robots", "/robots", {"content": b'{"colour": "green"}'}),
    ("GET", "/cert", "/cert", {}),
    ("POST", "/login", "/login", {"data": {"principal": "a", "password": "b"}}),
    ("POST", "/login", "/login", {"data": {"principal": "a"}}),
    ("POST", "/login", "/login", {"content": b"{}"}),
    ("PUT", "/settings", "/settings", {"content": b"{}"}),
    ("PUT", "/settings", "/settings", {"content": b"[]"}),
]


@pytest.mark.parametrize("caller", ["", "stranger", "root"])
async def test_no_answer_comes_out_that_is_not_declared(
    registry: Registry, document: dict[str, Any], caller: str
) -> None:
    seen: set[int] = set()
    transport = AppTransport(asgi(registry))
    async with httpx2.AsyncClient(transport=transport, base_url="http://registry.test") as client:
        for method, path, route, given in CALLS:
            headers = {"x-caller": caller, **given.get("headers", {})}
            answer = await client.request(method, f"{API}{path}", **{**given, "headers": headers})
            declared = document["paths"][f"{API}{route}"][method.lower()]["responses"]
            assert str(answer.status_code) in declared, f"{method} {path}: {answer.status_code} {answer.text}"
            content = declared[str(answer.status_code)].get("content", {})
            assert (answer.headers.get("content-type", "").partition(";")[0] in content) is bool(content)
            assert bool(answer.content) is bool(content)
            seen.add(answer.status_code)
    assert seen >= {"": {200, 401, 404, 409, 412, 413, 422}, "stranger": {202, 403}, "root": {201, 404}}[caller]
