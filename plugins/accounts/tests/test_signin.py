"""As clients see it: who gets in, what they may do, and how soon they may not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
import msgspec
import pytest

from corereg import ANONYMOUS, EVERYTHING, Grant, Identity, Registry, asgi, hookimpl
from corereg.testing.client import Credentials, RegistryClient
from corereg_accounts import Accounts
from corereg_accounts.passwords import Passwords
from corereg_accounts.users import User, Users

pytestmark = pytest.mark.anyio

Make = Callable[..., Registry]
ALICE = Credentials("alice", "Correct-horse-7")
BOUND = 5.0
"""Seconds after which a change must be seen everywhere."""
SCOPE = "repository:demo/app:pull,push"


@asynccontextmanager
async def client_of(registry: Registry) -> AsyncIterator[RegistryClient]:
    async with RegistryClient(app=asgi(registry), sign_in="never") as client:
        yield client


async def signed_in(client: RegistryClient, who: Credentials, scope: str = SCOPE) -> httpx2.Response:
    return await client.request(
        "GET", f"/service/token?service=corereg&scope={scope}", headers={"Authorization": who.basic}
    )


async def bearer(client: RegistryClient, who: Credentials, scope: str = SCOPE) -> dict[str, str]:
    answer = await signed_in(client, who, scope)
    assert answer.status_code == 200, answer.text
    return {"Authorization": f"Bearer {answer.json()['token']}"}


async def push(client: RegistryClient, headers: dict[str, str]) -> httpx2.Response:
    return await client.request("POST", "/v2/demo/app/blobs/uploads/", headers=headers)


def message(answer: httpx2.Response) -> str:
    return str(answer.json()["errors"][0]["message"])


@pytest.fixture
async def nodes(make_registry: Make) -> AsyncIterator[list[Registry]]:
    """Two processes on one database, where every user may push."""
    async with make_registry(signed_in="push") as first, make_registry(signed_in="push") as second:
        yield [first, second]


@pytest.fixture
async def store(nodes: list[Registry], passwords: Passwords) -> Users:
    return Users(nodes[0].database, passwords)


@pytest.fixture
async def alice(nodes: list[Registry], store: Users) -> User:
    return await store.create(nodes[0].session(), *ALICE)


# ---- who gets in ----


async def test_docker_login(nodes: list[Registry], alice: User) -> None:
    async with client_of(nodes[0]) as client:
        assert (await push(client, await bearer(client, ALICE))).status_code == 202
        assert (await push(client, {"Authorization": ALICE.basic})).status_code == 202
        wrong = await signed_in(client, ALICE._replace(password="Wrong-horse-7"))
        nobody = await signed_in(client, ALICE._replace(name="bob"))
        assert (wrong.status_code, wrong.content) == (nobody.status_code, nobody.content) == (401, nobody.content)


async def test_a_disabled_user_is_told_so(nodes: list[Registry], store: Users, alice: User) -> None:
    await store.set_disabled(nodes[0].session(), alice, disabled=True)
    async with client_of(nodes[0]) as client:
        answer = await signed_in(client, ALICE)
        assert (answer.status_code, message(answer)) == (401, "alice is disabled; ask an administrator")


# ---- how soon they may not ----

Act = Callable[[Users, Registry, User], Any]
WITHDRAWALS: dict[str, Act] = {
    "disabled": lambda store, registry, user: store.set_disabled(registry.session(), user, disabled=True),
    "deleted": lambda store, registry, user: store.delete(registry.session(), user),
    "new password": lambda store, registry, user: store.set_password(registry.session(), user, "Battery-staple-8"),
}


@pytest.mark.parametrize("what", WITHDRAWALS)
async def test_tokens_and_remembered_passwords_end_on_every_node(
    nodes: list[Registry], store: Users, alice: User, what: str
) -> None:
    async with client_of(nodes[0]) as here, client_of(nodes[1]) as there:
        token, basic = await bearer(here, ALICE), {"Authorization": ALICE.basic}
        for client in (here, there):
            assert (await push(client, token)).status_code == (await push(client, basic)).status_code == 202
        await WITHDRAWALS[what](store, nodes[0], alice)
        assert (await push(here, token)).status_code == 401, "at once where it was done"
        with anyio.fail_after(BOUND):
            while (await push(there, token)).status_code != 401:
                await anyio.sleep(0.1)
        for client in (here, there):
            assert (await push(client, basic)).status_code == 401
            assert (await signed_in(client, ALICE)).status_code == 401


async def test_an_administrator_no_more(make_registry: Make, passwords: Passwords, admin_password: str) -> None:
    async with make_registry() as registry, client_of(registry) as client:
        store = Users(registry.database, passwords)
        admin = await store.named("admin")
        token = await bearer(client, Credentials("admin", admin_password))
        assert (await push(client, token)).status_code == 202
        await store.set_administrator(registry.session(), admin, administrator=False)
        refused = await push(client, token)
        assert refused.status_code == 403
        assert "admin may not push to demo/app" in message(refused)
        await store.set_administrator(registry.session(), admin, administrator=True)
        assert (await push(client, token)).status_code == 202


async def test_who_has_the_name_of_a_deleted_user_is_somebody_else(
    nodes: list[Registry], store: Users, alice: User
) -> None:
    async with client_of(nodes[0]) as client:
        token = await bearer(client, ALICE)
        await store.delete(nodes[0].session(), alice)
        again = await store.create(nodes[0].session(), *ALICE)
        assert (await push(client, token)).status_code == 401
        assert (await push(client, await bearer(client, ALICE))).status_code == 202
        with pytest.raises(Exception, match="alice was deleted"):
            await nodes[0].session_for(alice.identity())
        assert (await nodes[0].session_for(again.identity())).identity == again.identity()


# ---- what they may do ----


def asked(**settings: str) -> Accounts:
    return Accounts(msgspec.convert(settings, Accounts.Settings))


SOMEBODY = Identity(name="alice", subject="user:7", source="accounts")
CATALOG = Grant("system", "catalog", frozenset({"read"}))


def everywhere(*words: str) -> list[Grant]:
    return [Grant("*", "repository", frozenset(words)), CATALOG]


@pytest.mark.parametrize(
    ("settings", "signed_in", "anonymous"),
    [
        ({}, None, None),
        ({"signed_in": "pull"}, everywhere("pull"), None),
        ({"signed_in": "push"}, everywhere("pull", "push"), None),
        ({"signed_in": "delete"}, everywhere("pull", "push", "delete"), None),
        ({"anonymous": "pull"}, everywhere("pull"), everywhere("pull")),
        ({"anonymous": "pull", "signed_in": "push"}, everywhere("pull", "push"), everywhere("pull")),
    ],
)
async def test_the_settings_grant(
    settings: dict[str, str], signed_in: list[Grant] | None, anonymous: list[Grant] | None
) -> None:
    accounts = asked(**settings)
    assert await accounts.grants(SOMEBODY) == signed_in
    assert await accounts.grants(msgspec.structs.replace(SOMEBODY, source="ldap")) == signed_in
    assert await accounts.grants(ANONYMOUS) == anonymous
    assert await accounts.grants(Identity(name="ci", subject="robot:1", kind="robot")) is None
    assert await accounts.grants(msgspec.structs.replace(SOMEBODY, administrator=True)) == [EVERYTHING]


async def test_pulling_without_signing_in(make_registry: Make) -> None:
    async with make_registry(anonymous="pull") as registry, RegistryClient(app=asgi(registry)) as client:
        assert (await client.request("GET", "/v2/demo/app/tags/list")).status_code == 404
        assert (await client.request("GET", "/v2/_catalog")).status_code == 200
        assert (await client.request("POST", "/v2/demo/app/blobs/uploads/")).status_code == 401


class Directory:
    """Another plugin that knows people."""

    name = "directory"

    @hookimpl
    async def check_password(self, name: str, password: str) -> Identity | None:
        found = Identity(name=name, subject="user:1", administrator=False, source=self.name)
        return found if password == "from the directory" else None


async def test_people_of_other_plugins_are_left_alone(make_registry: Make) -> None:
    """Even with the subject of a local administrator."""
    async with make_registry(Directory) as registry:
        who = (await registry.signin.password("admin", "from the directory", None)).identity
        assert (who.source, who.administrator) == ("directory", False)
        assert (await registry.session_for(who)).grants == ()
