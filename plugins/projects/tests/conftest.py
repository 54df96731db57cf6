"""Registries with projects, and people who are made up on the spot."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Literal

import fsspec
import httpx2
import msgspec
import pytest
import sqlalchemy as sa

from corereg import (
    EVERYTHING,
    Config,
    FsspecStorage,
    Grant,
    Identity,
    Namespace,
    Principal,
    Registry,
    asgi,
    hookimpl,
)
from corereg.testing.client import AppTransport
from corereg_projects import Projects

PASSWORD = "a password for tests only"
NUMBERS = {"admin": 1, "alice": 2, "bob": 3, "carol": 4, "dave": 5, "erin": 6, "Zoë": 7}
GROUPS = {"ops": 1, "dev": 2}
LIST = "/api/v2.0/projects"


class MemoryStorage:
    """A place for bytes, so that a registry can be made."""

    @hookimpl
    def provide_storage(self, url: str) -> FsspecStorage:
        return FsspecStorage(fsspec.filesystem("memory"), f"/{secrets.token_hex(8)}")


class Crowd:
    """Stands for whoever keeps users, groups and robots. Several registries share one, as nodes share a table."""

    name = "crowd"

    def __init__(self) -> None:
        self.people = dict(NUMBERS)
        self.groups = dict(GROUPS)
        self.memberships: dict[str, tuple[str, ...]] = {}
        self.robots: dict[str, tuple[Grant, ...]] = {}
        self.extra: dict[str, tuple[Grant, ...]] = {}
        self.quotas: dict[int, dict[str, Any]] = {}
        self.described: list[int] = []

    def identity(self, name: str) -> Identity:
        if name in self.robots:
            return Identity(name=f"robot${name}", subject=f"robot:{name}", kind="robot", source="crowd")
        return Identity(name=name, subject=f"user:{self.people[name]}", source="crowd")

    @hookimpl
    async def check_password(self, name: str, password: str) -> Identity | None:
        known = name in self.people or name in self.robots
        return self.identity(name) if known and password == PASSWORD else None

    @hookimpl
    async def complete_identity(self, identity: Identity) -> Identity | None:
        if identity.source != "crowd":
            return None
        groups = tuple(f"group:{self.groups[each]}" for each in self.memberships.get(identity.name, ()))
        return msgspec.structs.replace(identity, groups=groups, administrator=identity.name == "admin")

    @hookimpl
    async def grants(self, identity: Identity) -> Iterable[Grant]:
        if identity.administrator:
            return (EVERYTHING,)
        return self.robots.get(identity.name.removeprefix("robot$"), ()) + self.extra.get(identity.name, ())

    @hookimpl(optionalhook=True)
    async def find_principal(self, kind: Literal["user", "group"], reference: int | str) -> Principal | None:
        known = self.people if kind == "user" else self.groups
        for name, number in known.items():
            if reference in {name, number}:
                return Principal(kind, number, name, f"{kind}:{number}")
        return None

    @hookimpl(optionalhook=True)
    async def describe_projects(self, namespaces: list[Namespace]) -> dict[int, dict[str, Any]]:
        self.described.append(len(namespaces))
        return {each.id: self.quotas[each.id] for each in namespaces if each.id in self.quotas}


class Api:
    """One node over HTTP, in this process."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self.client = client

    async def __call__(
        self, method: str, path: str, by: str | None = "admin", json: Any = None, **options: Any
    ) -> httpx2.Response:
        """A request by somebody, or by nobody; a path without /api/ or /v2/ stands below the list of projects."""
        if not path.startswith(("/api/", "/v2/", "/service/")):
            path = f"{LIST}{path}"
        headers = dict(options.pop("headers", {}))
        if by is not None:
            options["auth"] = (by, PASSWORD)
        return await self.client.request(method, path, json=json, headers=headers, **options)

    async def get(self, path: str, by: str | None = "admin", **options: Any) -> Any:
        """The JSON of a 200."""
        answer = await self("GET", path, by, **options)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def create(self, name: str, by: str = "admin", **body: Any) -> int:
        """The number of a new project."""
        answer = await self("POST", "", by, {"project_name": name, **body})
        assert answer.status_code == 201, answer.text
        return int(answer.headers["location"].rpartition("/")[2])

    async def add(self, project: str | int, who: str, role: int, by: str = "admin", **body: Any) -> int:
        """The number of a new membership; a name that is a group's means the group."""
        member = {"member_group": {"id": GROUPS[who]}} if who in GROUPS else {"member_user": {"username": who}}
        answer = await self("POST", f"/{project}/members", by, {"role_id": role, **member, **body})
        assert answer.status_code == 201, answer.text
        return int(answer.headers["location"].rpartition("/")[2])

    async def token(self, by: str | None, scope: str) -> str:
        """A bearer token for as much of the scope as there is."""
        answer = await self("GET", "/service/token", by, params={"service": "corereg", "scope": scope})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["token"])

    async def bearer(self, method: str, path: str, token: str) -> httpx2.Response:
        """A request with a token."""
        return await self.client.request(method, path, headers={"Authorization": f"Bearer {token}"})


def code(answer: httpx2.Response) -> tuple[int, str]:
    """Status and code of a refusal."""
    return answer.status_code, answer.json()["errors"][0]["code"]


def message(answer: httpx2.Response) -> str:
    """The sentence of a refusal."""
    return str(answer.json()["errors"][0]["message"])


@pytest.fixture
def crowd() -> Crowd:
    return Crowd()


@pytest.fixture
async def config(tmp_path: Path, corereg_database: str | None) -> Config:
    """The configuration for one test: with a database of its own, or with the one that ``--corereg-database`` names,
    emptied.
    """
    config = Config(data=tmp_path)
    if corereg_database is None:
        return config
    config = msgspec.structs.replace(config, database=msgspec.structs.replace(config.database, url=corereg_database))
    database = Registry(config, plugins=[MemoryStorage]).database
    await database.open()
    await database.run_sync(_empty)
    await database.close()
    return config


def _empty(connection: sa.Connection) -> None:
    found = sa.MetaData()
    found.reflect(connection)
    found.drop_all(connection)
    connection.commit()


@pytest.fixture
def make_registry(config: Config, crowd: Crowd) -> Callable[..., Registry]:
    """One more registry on the same data, as another process sees it; `settings` are those of projects."""

    def make(*plugins: object, **settings: Any) -> Registry:
        projects = Projects(Projects.Settings(**settings))
        return Registry(config, plugins=[MemoryStorage, projects, crowd, *plugins])

    return make


@pytest.fixture
async def node(make_registry: Callable[..., Registry]) -> AsyncIterator[Callable[..., Any]]:
    """Open one more registry, and its API."""
    async with AsyncExitStack() as stack:

        async def opened(*plugins: object, **settings: Any) -> tuple[Registry, Api]:
            registry = await stack.enter_async_context(make_registry(*plugins, **settings))
            transport = AppTransport(asgi(registry))
            client = httpx2.AsyncClient(transport=transport, base_url="http://registry.test")
            return registry, Api(await stack.enter_async_context(client))

        yield opened


@pytest.fixture
async def opened(node: Callable[..., Any]) -> tuple[Registry, Api]:
    return await node()  # type: ignore[no-any-return]


@pytest.fixture
def registry(opened: tuple[Registry, Api]) -> Registry:
    return opened[0]


@pytest.fixture
def api(opened: tuple[Registry, Api]) -> Api:
    return opened[1]
