"""Registries with robots, some projects, and people who may do this and that in them."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import fsspec
import httpx2
import msgspec
import pytest
import sqlalchemy as sa

from corereg import (
    EVERYTHING,
    Action,
    Config,
    FsspecStorage,
    Grant,
    Identity,
    Namespace,
    Registry,
    asgi,
    hookimpl,
)
from corereg.testing.client import Credentials, RegistryClient
from corereg_robots import Robots
from corereg_robots.allowed import PROJECT

PASSWORD = "a password for tests only"


class Surroundings:
    """What a registry needs beside robots: somewhere to keep bytes, projects, people with grants.

    The projects are shared by all registries that are given the same ones, as a database would do it.
    """

    name = "surroundings"

    def __init__(self, projects: dict[str, int], people: Mapping[str, Iterable[Grant]]) -> None:
        self.projects = projects
        self.people = people
        self.asked: list[str] = []

    @hookimpl
    def provide_storage(self, url: str) -> FsspecStorage:
        return FsspecStorage(fsspec.filesystem("memory"), f"/{secrets.token_hex(8)}")

    @hookimpl
    async def resolve_namespace(self, reference: int | str) -> Namespace | None:
        for name, number in self.projects.items():
            if reference in (name, number):
                return Namespace(number, name)
        return None

    @hookimpl
    async def check_password(self, name: str, password: str) -> Identity | None:
        self.asked.append(name)
        if name not in self.people or password != PASSWORD:
            return None
        number = list(self.people).index(name) + 1
        return Identity(name=name, subject=f"user:{number}", administrator=name == "admin", source=self.name)

    @hookimpl
    async def grants(self, identity: Identity) -> Iterable[Grant] | None:
        return self.people.get(identity.name) if identity.source == self.name else None


def administers(*projects: str) -> list[Grant]:
    """All that robots may do in projects and, as Harbor's project administrators, to change robots there."""
    scopes = frozenset(f"{each}/*" for each in projects)
    rights: dict[str, set[str]] = {"robot": {"update"}}
    for each in PROJECT:
        if each.resource != "metadata" or each.action != "list":
            rights.setdefault(each.resource, set()).add(each.action)
    return [Grant(scopes, resource, frozenset(actions)) for resource, actions in rights.items()]


PEOPLE: dict[str, list[Grant]] = {
    "admin": [EVERYTHING],
    "ann": administers("alpha"),
    "ben": administers("beta"),
    "guest": [Grant("alpha/*", "robot", frozenset({"read", "list"}))],
    "nobody": [],
}


def configured(folder: Path, database_url: str | None) -> Config:
    """A configuration with all data in one folder, but for a database elsewhere."""
    return Config.load(overrides={"data": str(folder), "database.url": database_url})


@pytest.fixture
async def database_url(corereg_database: str | None, tmp_path: Path) -> AsyncIterator[str | None]:
    """None for SQLite in the test's folder; else a database of the test's own on the server of --corereg-database."""
    url = corereg_database
    if url is None:
        yield None
        return
    server = Registry(configured(tmp_path, url), plugins=[Surroundings({}, {})]).database
    name = f"robots_{secrets.token_hex(6)}"
    await server.open()
    try:
        await server.rows(sa.text(f"CREATE DATABASE {name}"))
        yield sa.make_url(url).set(database=name).render_as_string(hide_password=False)
        await server.rows(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    finally:
        await server.close()


@pytest.fixture
def projects() -> dict[str, int]:
    return {"alpha": 1, "beta": 2, "123": 3}


@pytest.fixture
def people() -> dict[str, list[Grant]]:
    return dict(PEOPLE)


@pytest.fixture
def make_registry(
    tmp_path: Path, database_url: str | None, projects: dict[str, int], people: dict[str, list[Grant]]
) -> Callable[..., Registry]:
    """One more registry on the same data, as another process sees it; `settings` are those of robots."""

    def make(*plugins: object, **settings: Any) -> Registry:
        config = configured(tmp_path, database_url)
        robots = Robots(Robots.Settings(**settings))
        return Registry(config, plugins=[Surroundings(projects, people), robots, *plugins])

    return make


@pytest.fixture
async def registry(make_registry: Callable[..., Registry]) -> AsyncIterator[Registry]:
    async with make_registry() as registry:
        yield registry


class Api:
    """Harbor's API as one client sees it, and what tests say to it."""

    def __init__(self, client: RegistryClient) -> None:
        self.client = client

    async def __call__(
        self, who: str | Credentials | None, method: str, path: str, body: Any = None
    ) -> httpx2.Response:
        """Who: one of the people by name, somebody by credentials, or nobody."""
        if isinstance(who, str):
            who = Credentials(who, PASSWORD)
        headers = {"Authorization": who.basic} if who else {}
        content = b"" if body is None else msgspec.json.encode(body)
        return await self.client.request(method, f"/api/v2.0{path}", headers=headers, content=content)

    @staticmethod
    def access(*rights: str) -> list[dict[str, str]]:
        """``access("repository:pull")`` as the API takes it."""
        pairs = (right.split(":") for right in rights)
        return [{"resource": resource, "action": action, "effect": "allow"} for resource, action in pairs]

    def project_robot(self, project: str, name: str = "ci", *rights: str, **more: Any) -> dict[str, Any]:
        """The body that asks for a robot of a project."""
        given = self.access(*(rights or ("repository:pull",)))
        permission = {"kind": "project", "namespace": project, "access": given}
        return {"name": name, "level": "project", "permissions": [permission], **more}

    def system_robot(
        self, name: str = "ci", *permissions: tuple[str, str, tuple[str, ...]], **more: Any
    ) -> dict[str, Any]:
        """The body that asks for a robot of the system; each permission is (kind, namespace, rights)."""
        wanted = permissions or (("system", "/", ("catalog:read",)), ("project", "*", ("repository:pull",)))
        said = [{"kind": kind, "namespace": place, "access": self.access(*rights)} for kind, place, rights in wanted]
        return {"name": name, "level": "system", "permissions": said, **more}

    async def made(self, body: dict[str, Any], who: str | Credentials = "admin") -> dict[str, Any]:
        """What the registry says of a new robot."""
        answer = await self(who, "POST", "/robots", body)
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def shown(self, robot: int, who: str = "admin") -> dict[str, Any]:
        """A robot as it is shown."""
        answer = await self(who, "GET", f"/robots/{robot}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def changed(self, robot: int, who: str = "admin", **fields: Any) -> httpx2.Response:
        """PUT the robot as it is shown to the administrator, with other fields."""
        return await self(who, "PUT", f"/robots/{robot}", {**await self.shown(robot), **fields})

    async def signed_in(self, who: Credentials, scope: str = "repository:alpha/app:pull,push") -> httpx2.Response:
        """``docker login``."""
        headers = {"Authorization": who.basic}
        return await self.client.request("GET", f"/service/token?service=corereg&scope={scope}", headers=headers)

    async def bearer(self, who: Credentials, scope: str = "repository:alpha/app:pull,push") -> dict[str, str]:
        """Headers with a token."""
        answer = await self.signed_in(who, scope)
        assert answer.status_code == 200, answer.text
        return {"Authorization": f"Bearer {answer.json()['token']}"}

    async def push(self, headers: dict[str, str], repository: str = "alpha/app") -> int:
        """The status of a push that begins."""
        return (await self.client.request("POST", f"/v2/{repository}/blobs/uploads/", headers=headers)).status_code


@pytest.fixture
async def api(registry: Registry) -> AsyncIterator[Api]:
    async with RegistryClient(app=asgi(registry), sign_in="never") as client:
        yield Api(client)


@pytest.fixture
def api_of() -> Callable[[Registry], Any]:
    """The API of another registry, in an ``async with`` block."""

    @asynccontextmanager
    async def open_api(registry: Registry) -> AsyncIterator[Api]:
        async with RegistryClient(app=asgi(registry), sign_in="never") as client:
            yield Api(client)

    return open_api


@pytest.fixture
def delete_project(projects: dict[str, int]) -> Callable[[Registry, str], Awaitable[None]]:
    """As the plugin `projects` does it, as far as others see it."""

    async def delete(registry: Registry, name: str) -> None:
        session = registry.session()
        operation = session.operation("project.delete", details={"id": projects[name], "name": name})
        async with session.change(operation, needs=Action("project", "delete", f"{name}/*")) as change:
            del projects[name]
            change.rights_changed("*")

    return delete
