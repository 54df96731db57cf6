"""Registries with quotas."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from corereg import EVERYTHING, Config, Registry, Session
from corereg_quotas import Quotas

from .stage import ALICE, MemoryStorage, Projects


@pytest.fixture
def projects() -> Projects:
    return Projects()


@pytest.fixture
def database(corereg_database: str | None) -> Iterator[str | None]:
    """A new database on the server that ``--corereg-database`` names; None is SQLite in the test's folder."""
    if corereg_database is None:
        yield None
        return
    name = f"quotas_{secrets.token_hex(6)}"
    asyncio.run(_execute(corereg_database, f"CREATE DATABASE {name}"))
    yield urlsplit(corereg_database)._replace(path=f"/{name}").geturl()
    asyncio.run(_execute(corereg_database, f"DROP DATABASE {name} WITH (FORCE)"))


async def _execute(server: str, statement: str) -> None:
    connection = await asyncpg.connect(server)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture
def make_registry(tmp_path: Path, projects: Projects, database: str | None) -> Callable[..., Registry]:
    """One more registry on the same data; `quotas` False is a time without this plugin."""
    storage = MemoryStorage()
    environment = {} if database is None else {"COREREG__DATABASE__URL": database}
    config = Config.load(None, environment, {"data": tmp_path})

    def make(*plugins: object, quotas: bool = True) -> Registry:
        mine = [Quotas()] if quotas else []
        return Registry(config, plugins=[storage, *mine, projects, *plugins])

    return make


@pytest.fixture
async def registry(make_registry: Callable[..., Registry]) -> AsyncIterator[Registry]:
    """An open registry that delivers no events by itself: a test says when."""
    registry = make_registry()
    await registry.open(background=False)
    yield registry
    await registry.close()


@pytest.fixture
def session(registry: Registry) -> Session:
    return registry.session(ALICE, grants=[EVERYTHING])
