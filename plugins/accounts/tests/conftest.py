"""Registries with accounts, and hashes that cost little."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import httpx2
import pytest
from argon2 import PasswordHasher

from corereg import Config, FsspecStorage, Registry, asgi, hookimpl
from corereg.testing.client import AppTransport
from corereg_accounts import Accounts
from corereg_accounts.passwords import Passwords
from corereg_accounts.users import User, Users

PASSWORD = "Admin-for-tests-1"
CHEAP = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1)


class MemoryStorage:
    """A place for bytes, so that a registry can be made."""

    @hookimpl
    def provide_storage(self, url: str) -> FsspecStorage:
        return FsspecStorage(fsspec.filesystem("memory"), f"/{secrets.token_hex(8)}")


@pytest.fixture
def admin_password(monkeypatch: pytest.MonkeyPatch) -> str:
    """The password that the first administrator gets."""
    monkeypatch.setenv("COREREG_ADMIN_PASSWORD", PASSWORD)
    return PASSWORD


@pytest.fixture
def make_registry(tmp_path: Path, admin_password: str) -> Callable[..., Registry]:
    """One more registry on the same data, as another process sees it; `settings` are those of accounts."""

    def make(*plugins: object, hasher: PasswordHasher = CHEAP, **settings: Any) -> Registry:
        accounts = Accounts(Accounts.Settings(**settings), hasher=hasher)
        return Registry(Config(data=tmp_path), plugins=[MemoryStorage, accounts, *plugins])

    return make


@pytest.fixture
async def registry(make_registry: Callable[..., Registry]) -> AsyncIterator[Registry]:
    """An open registry, whose administrator is there already."""
    async with make_registry() as registry:
        yield registry


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    with Passwords(CHEAP) as passwords:
        yield passwords


@pytest.fixture
def users(registry: Registry, passwords: Passwords) -> Users:
    """The store of that registry."""
    return Users(registry.database, passwords)


# ---- over HTTP ----

ALICE = ("alice", "Correct-horse-7")
BOB = ("bob", "Battery-staple-8")
ADMIN = ("admin", PASSWORD)


@pytest.fixture
def client_of() -> Callable[[Registry], httpx2.AsyncClient]:
    """A client of a registry in this process, with a jar for cookies."""

    def make(registry: Registry) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(transport=AppTransport(asgi(registry)), base_url="http://registry.test")

    return make


@pytest.fixture
async def client(
    registry: Registry, client_of: Callable[[Registry], httpx2.AsyncClient]
) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of that registry."""
    async with client_of(registry) as client:
        yield client


@pytest.fixture
async def people(registry: Registry, users: Users) -> dict[str, User]:
    """Alice and Bob, who may do nothing in particular."""
    return {name: await users.create(registry.session(), name, password) for name, password in (ALICE, BOB)}
