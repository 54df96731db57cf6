"""Guessing is slow and counted; the right password is not, and a database that is away is no wrong password."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import httpx2
import pytest

from corereg import DatabaseError, Identity, Registry, Unauthorized, asgi, hookimpl
from corereg.config import SigninConfig
from corereg.testing.client import AppTransport
from corereg.testing.registry import People, Person, scratch
from corereg.tokens import SigningKey, TokenInvalid, Tokens

pytestmark = pytest.mark.anyio


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    people = {"alice": Person("alice secret"), "bob": Person("bob secret")}
    async with scratch(tmp_path, people=people, signin=SigninConfig(failures=3, window=60)) as opened:
        yield opened


@pytest.fixture
async def client(registry: Registry) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(transport=AppTransport(asgi(registry)), base_url="http://registry.test") as opened:
        yield opened


def asked(registry: Registry) -> list[str]:
    plugin = next(each.plugin for each in registry.plugins if each.name == "people")
    assert isinstance(plugin, People)
    return plugin.asked


async def login(client: httpx2.AsyncClient, name: str, password: str) -> httpx2.Response:
    return await client.get("/service/token", auth=(name, password))


async def test_after_some_failures_a_name_has_to_wait_and_others_do_not(client: httpx2.AsyncClient) -> None:
    for _ in range(3):
        assert (await login(client, "alice", "wrong")).status_code == 401
    refused = await login(client, "alice", "alice secret")
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= 61
    assert refused.json()["errors"][0]["code"] == "TOOMANYREQUESTS"
    assert (await login(client, "bob", "bob secret")).status_code == 200


async def test_names_that_differ_in_case_count_together(client: httpx2.AsyncClient) -> None:
    for name in ("alice", "ALICE", "Alice"):
        assert (await login(client, name, "wrong")).status_code == 401
    assert (await login(client, "aLICE", "wrong")).status_code == 429


async def test_hundreds_of_guesses_side_by_side_are_counted_too(registry: Registry, client: httpx2.AsyncClient) -> None:
    statuses: list[int] = []

    async def guess(number: int) -> None:
        statuses.append((await login(client, "alice", f"guess {number}")).status_code)

    async with anyio.create_task_group() as group:
        for number in range(100):
            group.start_soon(guess, number)
    assert statuses.count(401) == 3
    assert statuses.count(429) == 97
    assert len(asked(registry)) == 3


async def test_hundreds_of_names_from_one_address_are_counted_too(
    registry: Registry, client: httpx2.AsyncClient
) -> None:
    statuses: list[int] = []

    async def guess(number: int) -> None:
        statuses.append((await login(client, f"name{number}", "guess")).status_code)

    async with anyio.create_task_group() as group:
        for number in range(200):
            group.start_soon(guess, number)
    assert statuses.count(401) == 30, "ten times what one name may"
    assert statuses.count(429) == 170


async def test_many_right_sign_ins_at_once_cost_few_checks(registry: Registry, client: httpx2.AsyncClient) -> None:
    statuses: list[int] = []

    async def sign_in() -> None:
        statuses.append((await login(client, "alice", "alice secret")).status_code)

    async with anyio.create_task_group() as group:
        for _ in range(100):
            group.start_soon(sign_in)
    assert statuses == [200] * 100
    assert len(asked(registry)) <= 3


async def test_somebody_at_the_same_address_who_guesses_does_not_end_a_remembered_password(
    client: httpx2.AsyncClient,
) -> None:
    assert (await client.get("/v2/", auth=("alice", "alice secret"))).status_code == 200
    for _ in range(3):
        await login(client, "alice", "wrong")
    assert (await client.get("/v2/", auth=("alice", "alice secret"))).status_code == 200


async def test_failures_are_written_down_with_a_count(registry: Registry, client: httpx2.AsyncClient) -> None:
    for _ in range(2):
        await login(client, "mallory", "wrong")
    await registry.journal.flush()
    events = await registry.journal.events()
    assert [(event.kind, event.actor, event.count) for event in events] == [("signin.failed", "mallory", 2)]


class Away:
    """An accounts plugin whose database is gone."""

    name = "away"

    @hookimpl
    async def check_password(self, name: str, password: str) -> Identity | None:
        message = "the database does not answer"
        raise DatabaseError(message)


async def test_a_database_that_is_away_is_no_wrong_password(tmp_path: Path) -> None:
    async with (
        scratch(tmp_path, Away()) as registry,
        httpx2.AsyncClient(transport=AppTransport(asgi(registry)), base_url="http://registry.test") as client,
    ):
        for _ in range(10):
            assert (await login(client, "admin", "right or wrong")).status_code == 503


class Address:
    """A plugin that wants to know where a password comes from."""

    def __init__(self) -> None:
        self.seen: list[str | None] = []

    @hookimpl
    async def check_password(self, password: str, address: str | None) -> Identity | None:
        self.seen.append(address)
        return None


async def test_plugins_are_told_where_a_password_comes_from(tmp_path: Path) -> None:
    plugin = Address()
    async with scratch(tmp_path, plugin, people={"alice": Person("alice secret")}) as registry:
        await registry.signin.password("alice", "alice secret", "192.0.2.7")
    assert plugin.seen == ["192.0.2.7"]


async def test_a_change_of_rights_costs_no_other_check_of_the_password(tmp_path: Path) -> None:
    """The plugins are asked anew who it is; only a revocation makes the password be checked again."""
    plugin, crowd = Address(), {"alice": Person("alice secret")}
    async with scratch(tmp_path, plugin, people=crowd) as registry:

        async def signed_in(*, revoke: bool | None = None) -> tuple[str, ...]:
            if revoke is not None:
                async with registry.session().change(registry.session().operation("test")) as change:
                    (change.revoke if revoke else change.rights_changed)("user:alice")
            return (await registry.signin.password("alice", "alice secret", None)).identity.groups

        assert await signed_in() == ()
        crowd["alice"].groups = ("group:ops",)
        assert await signed_in(revoke=False) == ("group:ops",), "as the plugins complete her now"
        assert len(plugin.seen) == 1
        await signed_in(revoke=True)
        assert len(plugin.seen) == 2
        crowd["alice"].disabled = True
        with pytest.raises(Unauthorized):
            await signed_in(revoke=False)


@pytest.mark.parametrize("left", [-600, 300, 1_000_000])
def test_a_bearer_token_ends_with_the_credentials_it_was_got_with(left: int) -> None:
    tokens = Tokens(issuer="here", service="registry", lifetime=1800, leeway=60)
    tokens.use([SigningKey.generate()])
    ends = int(time.time()) + left
    minted = tokens.mint(Identity(name="alice", subject="user:2", expires_at=ends * 1_000_000), [], 0)
    assert minted.lifetime == max(0, min(ends - minted.issued, 1800))
    if left < 0:
        with pytest.raises(TokenInvalid, match="it has expired"):
            tokens.verify(minted.token)
    else:
        assert tokens.verify(minted.token).expires + 60 == min(ends, minted.issued + 1800 + 60), "with the leeway"
