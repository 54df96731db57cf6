"""A registry with the plugin, projects that are there by name, people with rights, and a client that pushes."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote
from uuid import uuid4

import httpx2
import msgspec
import pytest
import sqlalchemy as sa

from corereg import Action, Grant, Namespace, Registry, asgi, hookimpl
from corereg.testing.client import Content, Credentials, RegistryClient, blob, expect, image, index
from corereg.testing.registry import Person, scratch
from corereg_management import Management

PASSWORD = "a password for tests only"
ADMIN = Credentials("admin", PASSWORD)
GUEST = Credentials("guest", PASSWORD)
STRANGER = Credentials("stranger", PASSWORD)
API = "/api/v2.0"
CONFIG = "application/vnd.oci.image.config.v1+json"
READING = {
    "repository": {"pull", "list", "read"},
    "artifact": {"read", "list"},
    "artifact-addition": {"read"},
    "tag": {"list"},
    "accessory": {"list"},
}


class Projects:
    """Stands for the plugin that keeps projects: three names, and what it would say about them."""

    name = "projects"
    places: ClassVar[dict[str, int]] = {"library": 1, "secret": 2, "other": 3}

    @hookimpl
    async def resolve_namespace(self, reference: int | str) -> Namespace | None:
        for name, number in self.places.items():
            if reference in {name, number}:
                return Namespace(number, name)
        return None

    @hookimpl(optionalhook=True)
    async def search_projects(self, session: Any, text: str) -> list[dict[str, Any]]:
        return [
            {"project_id": number, "name": name}
            for name, number in self.places.items()
            if text in name and session.may(Action("repository", "list", f"{name}/*"))
        ]

    @hookimpl(optionalhook=True)
    async def count_projects(self, session: Any) -> dict[str, int]:
        return {"public_project_count": 1, "private_project_count": 2, "total_project_count": 3, "strange": 4}

    @hookimpl(optionalhook=True)
    async def describe_system(self, session: Any) -> dict[str, Any]:
        return {"auth_mode": "db_auth", "project_creation_restriction": "everyone"}


def reading(*scopes: str) -> tuple[Grant, ...]:
    """What a guest may do there."""
    return tuple(Grant(scope, resource, frozenset(words)) for scope in scopes for resource, words in READING.items())


@pytest.fixture
def people() -> dict[str, Person]:
    return {
        "admin": Person(PASSWORD),
        "guest": Person(PASSWORD, grants=reading("library/*")),
        "stranger": Person(PASSWORD, grants=reading("other/*")),
    }


@pytest.fixture
async def database_url(corereg_database: str | None) -> AsyncIterator[str | None]:
    """A database of its own for each test, where the tests run on PostgreSQL."""
    if corereg_database is None:
        yield None
        return
    asyncpg = pytest.importorskip("asyncpg")
    name, server = f"management_{uuid4().hex}", corereg_database.rpartition("/")[0]
    connection = await asyncpg.connect(corereg_database)
    await connection.execute(f"CREATE DATABASE {name}")
    yield f"{server}/{name}"
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.close()


Make = Callable[..., Any]


@pytest.fixture
def make_registry(tmp_path: Path, people: dict[str, Person], database_url: str | None) -> Make:
    """One more registry on the same data; plugins given come first."""

    def make(*plugins: object, management: bool = True, anonymous: tuple[Grant, ...] = (), **sections: Any) -> Registry:
        ours = [Management()] if management else []
        registry = scratch(tmp_path, *plugins, *ours, Projects(), people=people, database=database_url, **sections)
        (crowd,) = (each.plugin for each in registry.plugins if each.name == "people")
        crowd.anonymous = anonymous
        return registry

    return make


@pytest.fixture
async def registry(make_registry: Make) -> AsyncIterator[Registry]:
    async with make_registry() as registry:
        yield registry


class Api:
    """Somebody who pushes, and asks the API."""

    def __init__(self, registry: Registry, credentials: Credentials | None = ADMIN) -> None:
        self.registry = registry
        self.client = RegistryClient(app=asgi(registry), credentials=credentials, sign_in="basic")

    async def call(self, method: str, path: str, status: int | None = 200, body: Any = None, **headers: str) -> Any:
        """The answer's JSON (None without one); or with `status` None the answer."""
        content = b"" if body is None else msgspec.json.encode(body)
        target = path if path.startswith(("/api/", "/dev")) else API + path
        answer = await self.client.request(method, target, content=content, headers=headers)
        if status is None:
            return answer
        expect(answer, status)
        return answer.json() if answer.content and "json" in answer.headers.get("content-type", "") else None

    async def get(self, path: str, status: int = 200) -> Any:
        return await self.call("GET", path, status)

    async def answer(self, method: str, path: str, body: Any = None) -> httpx2.Response:
        answer: httpx2.Response = await self.call(method, path, None, body)
        return answer

    async def push(self, repository: str, tag: str | None, config: Any = None, **fields: Any) -> Content:
        """An image with a layer of its own; `config` is its config's JSON."""
        layer = blob(f"layer {repository} {tag} {next(_numbers)}".encode())
        said = {"architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"]}, "history": [{"created_by": "x"}]}
        conf = Content(CONFIG, msgspec.json.encode(said if config is None else config))
        return await self.client.push(repository, tag, image(conf, [layer], **fields), conf, layer)

    async def push_index(self, repository: str, tag: str | None, *children: Content, **fields: Any) -> Content:
        described = [
            child.descriptor(platform={"architecture": f"arch{number}", "os": "linux"})
            for number, child in enumerate(children)
        ]
        return await self.client.push(repository, tag, index(described, **fields))

    @staticmethod
    def repository(name: str) -> str:
        """The path of a repository: its name encoded twice, as clients do."""
        project, _, rest = name.partition("/")
        return f"/projects/{project}/repositories/{quote(quote(rest, safe=''), safe='')}"

    @classmethod
    def of(cls, repository: str, *more: str) -> str:
        """The path of its artifacts, of one of them, or below."""
        return "/".join([cls.repository(repository), "artifacts", *more])

    async def names(self, path: str) -> list[Any]:
        """Digests of a list of artifacts."""
        return [each["digest"] for each in await self.get(path)]

    async def settled(self) -> None:
        """Returns when everything that has happened was told to the plugin."""
        await self.registry.journal.flush()
        database = self.registry.database
        newest = (await database.rows(sa.text("SELECT coalesce(max(serial), 0) FROM journal")))[0][0]
        query = sa.text("SELECT serial FROM journal_cursors WHERE reader = 'management'")
        while (await database.rows(query))[0][0] < newest:
            await asyncio.sleep(0.01)


_numbers = itertools.count()


@pytest.fixture
async def api(registry: Registry) -> AsyncIterator[Api]:
    api = Api(registry)
    async with api.client:
        yield api


@pytest.fixture
async def as_guest(registry: Registry) -> AsyncIterator[Api]:
    api = Api(registry, GUEST)
    async with api.client:
        yield api


@pytest.fixture
async def as_nobody(registry: Registry) -> AsyncIterator[Api]:
    api = Api(registry, None)
    async with api.client:
        yield api


@pytest.fixture
async def opened(make_registry: Make) -> AsyncIterator[Callable[..., Awaitable[Api]]]:
    """A registry with other plugins, or settings, and somebody who asks it."""
    async with AsyncExitStack() as stack:

        async def open_one(*plugins: object, **how: Any) -> Api:
            registry = await stack.enter_async_context(make_registry(*plugins, **how))
            api = Api(registry)
            await stack.enter_async_context(api.client)
            return api

        yield open_one
