"""Registries with robots, some projects, and people who may do this and that in them."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
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
    Session,
    asgi,
    hookimpl,
)
from corereg.config import DatabaseConfig
from corereg.store.engines import connect
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


@pytest.fixture
async def database_url(pytestconfig: pytest.Config) -> AsyncIterator[str | None]:
    """None for SQLite in the test's folder; else a database of the test's own on the server of --corereg-database."""
    url: str | None = pytestconfig.getoption("--corereg-database")
    if url is None or not url.startswith("postgresql"):
        yield None
        return
    server, name = connect(url), f"robots_{secrets.token_hex(6)}"
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
        config = Config(data=tmp_path, database=DatabaseConfig(url=database_url))
        robots = Robots(Robots.Settings(**settings))
        return Registry(config, plugins=[Surroundings(projects, people), robots, *plugins])

    return make


@pytest.fixture
async def registry(make_registry: Callable[..., Registry]) -> AsyncIterator[Registry]:
    async with make_registry() as registry:
        yield registry


class Api:
    """Harbor's API as one client sees it."""

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


@pytest.fixture
async def api(registry: Registry) -> AsyncIterator[Api]:
    async with RegistryClient(app=asgi(registry), sign_in="never") as client:
        yield Api(client)


def access(*rights: str) -> list[dict[str, str]]:
    """``access("repository:pull")`` as the API takes it."""
    pairs = (right.split(":") for right in rights)
    return [{"resource": resource, "action": action, "effect": "allow"} for resource, action in pairs]


def project_robot(project: str, name: str = "ci", *rights: str, **more: Any) -> dict[str, Any]:
    """The body that asks for a robot of a project."""
    permission = {"kind": "project", "namespace": project, "access": access(*(rights or ("repository:pull",)))}
    return {"name": name, "level": "project", "permissions": [permission], **more}


def system_robot(name: str = "ci", *permissions: tuple[str, str, tuple[str, ...]], **more: Any) -> dict[str, Any]:
    """The body that asks for a robot of the system; each permission is (kind, namespace, rights)."""
    wanted = permissions or (("system", "/", ("catalog:read",)), ("project", "*", ("repository:pull",)))
    said = [{"kind": kind, "namespace": namespace, "access": access(*rights)} for kind, namespace, rights in wanted]
    return {"name": name, "level": "system", "permissions": said, **more}


async def delete_project(registry: Registry, projects: dict[str, int], name: str) -> None:
    """As the plugin `projects` does it, as far as others see it."""
    session: Session = registry.session()
    operation = session.operation("project.delete", details={"id": projects[name], "name": name})
    async with session.change(operation, needs=Action("project", "delete", f"{name}/*")) as change:
        del projects[name]
        change.rights_changed("*")
