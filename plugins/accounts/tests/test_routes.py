"""Harbor's API, as far as it is here."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import msgspec
import pytest

from corereg import Identity, Registry, asgi, hookimpl
from corereg.testing.client import Credentials, RegistryClient
from corereg_accounts.users import User, Users

pytestmark = pytest.mark.anyio

ALICE = Credentials("alice", "Correct-horse-7")
NEW = "Battery-staple-8"


@pytest.fixture
async def client(registry: Registry) -> AsyncIterator[RegistryClient]:
    async with RegistryClient(app=asgi(registry), sign_in="never") as client:
        yield client


@pytest.fixture
def admin(admin_password: str) -> Credentials:
    return Credentials("admin", admin_password)


@pytest.fixture
async def alice(registry: Registry, users: Users) -> User:
    return await users.create(registry.session(), *ALICE, email="alice@example.com", realname="Alice A.", comment="hi")


async def current(client: RegistryClient, who: Credentials | None) -> httpx2.Response:
    headers = {"Authorization": who.basic} if who else {}
    return await client.request("GET", "/api/v2.0/users/current", headers=headers)


async def change(client: RegistryClient, who: Credentials, user: Any, **body: Any) -> httpx2.Response:
    return await client.request(
        "PUT",
        f"/api/v2.0/users/{user}/password",
        headers={"Authorization": who.basic},
        content=msgspec.json.encode(body),
    )


def code(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["errors"][0]["code"]


async def test_who_is_asking(client: RegistryClient, alice: User) -> None:
    answer = await current(client, ALICE)
    assert answer.status_code == 200
    said = answer.json()
    for name in ("creation_time", "update_time"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", said.pop(name))
    assert said == {
        "user_id": alice.id,
        "username": "alice",
        "email": "alice@example.com",
        "realname": "Alice A.",
        "comment": "hi",
        "sysadmin_flag": False,
        "admin_role_in_auth": False,
    }


async def test_the_administrator_is_one(client: RegistryClient, admin: Credentials) -> None:
    said = (await current(client, admin)).json()
    assert (said["user_id"], said["sysadmin_flag"], said["admin_role_in_auth"]) == (1, True, False)


async def test_nobody_is_asking(client: RegistryClient) -> None:
    assert code(await current(client, None)) == (401, "UNAUTHORIZED")


async def test_people_change_their_own_password(client: RegistryClient, users: Users, alice: User) -> None:
    answer = await change(client, ALICE, alice.id, old_password=ALICE.password, new_password=NEW)
    assert (answer.status_code, answer.content) == (200, b"")
    assert (await current(client, ALICE)).status_code == 401
    assert (await current(client, Credentials("alice", NEW))).status_code == 200


async def test_administrators_change_anybodys(client: RegistryClient, admin: Credentials, alice: User) -> None:
    assert (await change(client, admin, alice.id, new_password=NEW)).status_code == 200
    assert (await current(client, Credentials("alice", NEW))).status_code == 200


@pytest.mark.parametrize("old", ["", "Wrong-horse-7", NEW])
async def test_without_the_old_password(client: RegistryClient, admin: Credentials, alice: User, old: str) -> None:
    answer = await change(client, ALICE, alice.id, old_password=old, new_password=NEW)
    assert code(answer) == (403, "FORBIDDEN")
    assert code(await change(client, admin, 1, old_password=old, new_password=NEW)) == (403, "FORBIDDEN")
    assert (await current(client, ALICE)).status_code == 200


async def test_guessing_the_old_password_is_slowed(client: RegistryClient, alice: User) -> None:
    for _ in range(5):
        answer = await change(client, ALICE, alice.id, old_password="Wrong-horse-7", new_password=NEW)
        assert answer.status_code == 403
    answer = await change(client, ALICE, alice.id, old_password="Wrong-horse-7", new_password=NEW)
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize("new", ["weak", ALICE.password, "Correct\0horse-7"])
async def test_a_password_that_will_not_do(client: RegistryClient, alice: User, new: str) -> None:
    answer = await change(client, ALICE, alice.id, old_password=ALICE.password, new_password=new)
    assert code(answer) == (400, "BAD_REQUEST")
    assert new not in answer.text


async def test_others_are_not_to_be_changed(client: RegistryClient, alice: User) -> None:
    """Nor does the answer say who is there."""
    answers = [await change(client, ALICE, user, old_password=ALICE.password, new_password=NEW) for user in (1, 99)]
    assert [answer.status_code for answer in answers] == [403, 403]
    assert answers[0].content == answers[1].content


@pytest.mark.parametrize("user", [99, 0, -1])
async def test_a_user_that_is_not_there(client: RegistryClient, admin: Credentials, user: int) -> None:
    assert code(await change(client, admin, user, new_password=NEW)) == (404, "NOT_FOUND")


@pytest.mark.parametrize("user", [2**63, 10**30])
async def test_an_id_no_database_can_hold(client: RegistryClient, admin: Credentials, user: int) -> None:
    """The core answers, before the plugin is asked."""
    assert (await change(client, admin, user, new_password=NEW)).status_code == 404


@pytest.mark.parametrize("user", ["alice", "1e400", "NaN", "%00", "1%2F2", "%D9%A3"])
async def test_an_id_that_is_none(client: RegistryClient, admin: Credentials, user: str) -> None:
    assert 400 <= (await change(client, admin, user, new_password=NEW)).status_code < 500


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b"null", b'{"new_password": 7}', b"\xff", b'{"new_password": "\\ud800"}']
)
async def test_a_body_of_another_shape(client: RegistryClient, admin: Credentials, alice: User, body: bytes) -> None:
    answer = await client.request(
        "PUT", f"/api/v2.0/users/{alice.id}/password", headers={"Authorization": admin.basic}, content=body
    )
    assert 400 <= answer.status_code < 500


async def test_a_token_serves_too(client: RegistryClient, alice: User) -> None:
    token = (await client.request("GET", "/service/token", headers={"Authorization": ALICE.basic})).json()["token"]
    headers = {"Authorization": f"Bearer {token}"}
    assert (await client.request("GET", "/api/v2.0/users/current", headers=headers)).json()["username"] == "alice"


class Robot:
    """Whoever asks is a robot."""

    @hookimpl
    async def identify(self, request: Any) -> Identity:
        return Identity(name="robot$ci", subject="robot:1", kind="robot", source="robots")


async def test_robots_are_no_users(make_registry: Any) -> None:
    async with make_registry(Robot) as registry, RegistryClient(app=asgi(registry), sign_in="never") as client:
        assert code(await current(client, None)) == (412, "PRECONDITION")
        answer = await client.request(
            "PUT", "/api/v2.0/users/1/password", content=b'{"new_password": "Battery-staple-8"}'
        )
        assert answer.status_code == 403
