"""Registries with labels, some projects with images in them, and people who may do this and that there."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
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
from corereg_labels import Labels

PASSWORD = "a password for tests only"


class Surroundings:
    """What a registry needs beside labels: somewhere to keep bytes, projects, people with grants."""

    name = "surroundings"

    def __init__(self, projects: dict[str, int], people: Mapping[str, Iterable[Grant]]) -> None:
        self.projects = projects
        self.people = people

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
        known = name in self.people and password == PASSWORD
        return Identity(name=name, subject=f"user:{name}", source=self.name) if known else None

    @hookimpl
    async def grants(self, identity: Identity) -> Iterable[Grant] | None:
        public = [Grant("public/*", "label", frozenset({"read", "list"}))]
        return [*public, *self.people.get(identity.name, ())] if identity.source == self.name else public


def administers(project: str) -> list[Grant]:
    """What Harbor's project administrators may do, as far as labels are concerned."""
    rights = {
        "label": {"create", "read", "update", "delete", "list"},
        "artifact-label": {"create", "delete"},
        "repository": {"pull", "push"},
    }
    return [Grant(f"{project}/*", resource, frozenset(actions)) for resource, actions in rights.items()]


PEOPLE: dict[str, list[Grant]] = {
    "admin": [EVERYTHING],
    "ann": administers("alpha"),
    "ben": administers("beta"),
    "guest": [Grant("alpha/*", "label", frozenset({"read", "list"}))],
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
    name = f"labels_{secrets.token_hex(6)}"
    await server.open()
    try:
        await server.rows(sa.text(f"CREATE DATABASE {name}"))
        yield sa.make_url(url).set(database=name).render_as_string(hide_password=False)
        await server.rows(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    finally:
        await server.close()


@pytest.fixture
def projects() -> dict[str, int]:
    return {"alpha": 1, "beta": 2, "public": 3}


@pytest.fixture
def people() -> dict[str, list[Grant]]:
    return dict(PEOPLE)


@pytest.fixture
async def registry(
    tmp_path: Path, database_url: str | None, projects: dict[str, int], people: dict[str, list[Grant]]
) -> AsyncIterator[Registry]:
    config = configured(tmp_path, database_url)
    async with Registry(config, plugins=[Surroundings(projects, people), Labels]) as registry:
        yield registry


class Api:
    """Harbor's API as one client sees it, and what tests say to it."""

    def __init__(self, client: RegistryClient, pusher: RegistryClient) -> None:
        self.client = client
        self.pusher = pusher

    async def __call__(self, who: str | None, method: str, path: str, body: Any = None) -> httpx2.Response:
        """Who: one of the people by name, or nobody."""
        headers = {"Authorization": Credentials(who, PASSWORD).basic} if who else {}
        content = b"" if body is None else msgspec.json.encode(body)
        return await self.client.request(method, f"/api/v2.0{path}", headers=headers, content=content)

    async def made(self, name: str, project: int = 0, **more: Any) -> int:
        """The id of a new label."""
        body = {"name": name, "scope": "p" if project else "g", "project_id": project, **more}
        answer = await self("admin", "POST", "/labels", body)
        assert (answer.status_code, answer.content) == (201, b""), answer.text
        path, _, number = answer.headers["location"].rpartition("/")
        assert path == "/api/v2.0/labels"
        return int(number)

    async def shown(self, label: int) -> dict[str, Any]:
        """A label as it is shown."""
        answer = await self("admin", "GET", f"/labels/{label}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def image(self, repository: str, tag: str = "latest") -> str:
        """Push an image; its digest."""
        return (await self.pusher.push_image(repository, tag)).digest

    @staticmethod
    def path(repository: str, reference: str) -> str:
        """Where the labels of an artifact are; the slashes of the name are encoded twice, as clients do it."""
        project, _, name = repository.partition("/")
        name = name.replace("/", "%252F")
        return f"/projects/{project}/repositories/{name}/artifacts/{reference}/labels"

    async def attach(self, repository: str, reference: str, label: int, who: str | None = "admin") -> httpx2.Response:
        """Put a label on an artifact."""
        return await self(who, "POST", self.path(repository, reference), {"id": label})

    async def detach(self, repository: str, reference: str, label: int, who: str | None = "admin") -> httpx2.Response:
        """Take one from it."""
        return await self(who, "DELETE", f"{self.path(repository, reference)}/{label}")


@pytest.fixture
async def api(registry: Registry) -> AsyncIterator[Api]:
    app = asgi(registry)
    async with (
        RegistryClient(app=app, sign_in="never") as client,
        RegistryClient(app=app, credentials=Credentials("admin", PASSWORD)) as pusher,
    ):
        yield Api(client, pusher)


@pytest.fixture
def labels(registry: Registry) -> Labels:
    """The plugin of that registry."""
    (plugin,) = (each.plugin for each in registry.plugins if each.name == "labels")
    assert isinstance(plugin, Labels)
    return plugin


@pytest.fixture
def delete_project(projects: dict[str, int]) -> Callable[[Registry, str], Awaitable[None]]:
    """As the plugin `projects` does it, as far as others see it."""

    async def delete(registry: Registry, name: str) -> None:
        session = registry.session()
        operation = session.operation("project.delete", details={"id": projects[name], "name": name})
        async with session.change(operation, needs=Action("project", "delete", f"{name}/*")):
            del projects[name]

    return delete
