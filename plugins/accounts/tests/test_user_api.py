"""Users over HTTP: the statuses and fields that Harbor's swagger.yaml writes down, and who may do what to whom."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from corereg import Grant, Identity, Registry, hookimpl, openapi_document
from corereg_accounts.users import User, Users

pytestmark = pytest.mark.anyio

ADMIN = ("admin", "Admin-for-tests-1")
ALICE = ("alice", "Correct-horse-7")
BOB = ("bob", "Battery-staple-8")
NEW = "Another-password-9"
BASE = "/api/v2.0/users"
CAROL = {"username": "carol", "password": NEW, "email": "carol@example.com", "realname": "Carol C.", "comment": "hi"}
PROFILE = {"email": "new@example.com", "realname": "New N.", "comment": "changed"}
USER_RESP = {
    "user_id": int,
    "username": str,
    "email": str,
    "realname": str,
    "comment": str,
    "sysadmin_flag": bool,
    "admin_role_in_auth": bool,
    "creation_time": str,
    "update_time": str,
}


def code(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["errors"][0]["code"]


def fields(document: dict[str, Any]) -> dict[str, type]:
    return {name: type(value) for name, value in document.items()}


# ---- what the document says ----

# operationId -> (method, path, the good status, the statuses swagger.yaml names beside it)
OPERATIONS = {
    "listUsers": ("get", "/users", "200", {"401", "403"}),
    "createUser": ("post", "/users", "201", {"400", "401", "403", "409"}),
    "getCurrentUserInfo": ("get", "/users/current", "200", {"401", "412"}),
    "searchUsers": ("get", "/users/search", "200", {"401"}),
    "getUser": ("get", "/users/{user_id}", "200", {"401", "403", "404"}),
    "updateUserProfile": ("put", "/users/{user_id}", "200", {"400", "401", "403", "404"}),
    "deleteUser": ("delete", "/users/{user_id}", "200", {"401", "403", "404"}),
    "setUserSysAdmin": ("put", "/users/{user_id}/sysadmin", "200", {"401", "403", "404"}),
    "updateUserPassword": ("put", "/users/{user_id}/password", "200", {"400", "401", "403"}),
    "setCliSecret": ("put", "/users/{user_id}/cli_secret", "200", {"400", "401", "403", "404"}),
}


def test_every_operation_is_there(make_registry: Callable[..., Registry]) -> None:
    paths = openapi_document(make_registry())["paths"]
    for name, (method, path, good, failures) in OPERATIONS.items():
        said = paths[f"/api/v2.0{path}"][method]
        assert said["operationId"] == name
        assert said["tags"] == ["user"]
        assert {good, *failures} <= set(said["responses"])
        assert "x-extension" not in said


# ---- list, search ----


async def test_a_list_of_users(client: httpx2.AsyncClient, people: dict[str, User]) -> None:
    answer = await client.get(BASE, params={"page_size": 2}, auth=ADMIN)
    assert answer.status_code == 200
    assert [each["username"] for each in answer.json()] == ["admin", "alice"]
    assert fields(answer.json()[0]) == USER_RESP
    assert answer.headers["x-total-count"] == "3"
    assert answer.headers["link"] == '</api/v2.0/users?page=2&page_size=2>; rel="next"'
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", answer.json()[0]["creation_time"])


@pytest.mark.parametrize(
    ("params", "found"),
    [
        ({"q": "username=~LI"}, ["alice"]),
        ({"q": "username=alice,sysadmin_flag=true"}, []),
        ({"q": "sysadmin_flag=true"}, ["admin"]),
        ({"q": "nonsense=1"}, ["admin", "alice", "bob"]),
        ({"q": "password_hash=~argon"}, ["admin", "alice", "bob"]),
        ({"sort": "-username"}, ["bob", "alice", "admin"]),
        ({"sort": "-user_id"}, ["bob", "alice", "admin"]),
        ({"username": "o"}, ["bob"]),
        ({"username": "%"}, []),
        ({"email": "EXAMPLE"}, []),
        ({"q": "username=x' OR '1'='1"}, []),
    ],
)
async def test_filters(
    client: httpx2.AsyncClient, people: dict[str, User], params: dict[str, str], found: list[str]
) -> None:
    answer = await client.get(BASE, params=params, auth=ADMIN)
    assert [each["username"] for each in answer.json()] == found


async def test_only_administrators_see_everybody(client: httpx2.AsyncClient, people: dict[str, User]) -> None:
    assert code(await client.get(BASE)) == (401, "UNAUTHORIZED")
    assert code(await client.get(BASE, auth=ALICE)) == (403, "FORBIDDEN")
    assert (await client.get(BASE, params={"q": "x"}, auth=ADMIN)).status_code == 400
    assert (await client.get(BASE, params={"page_size": 101}, auth=ADMIN)).status_code == 422


async def test_everybody_who_signed_in_may_search(client: httpx2.AsyncClient, people: dict[str, User]) -> None:
    answer = await client.get(f"{BASE}/search", params={"username": "B"}, auth=ALICE)
    assert (answer.status_code, answer.json()) == (200, [{"user_id": people["bob"].id, "username": "bob"}])
    assert answer.headers["x-total-count"] == "1"
    assert code(await client.get(f"{BASE}/search", params={"username": "b"})) == (401, "UNAUTHORIZED")
    assert (await client.get(f"{BASE}/search", auth=ALICE)).status_code == 422


# ---- make ----


async def test_an_administrator_makes_a_user(client: httpx2.AsyncClient) -> None:
    answer = await client.post(BASE, json=CAROL, auth=ADMIN)
    assert (answer.status_code, answer.content) == (201, b"")
    number = int(re.fullmatch(r"/api/v2\.0/users/([0-9]+)", answer.headers["location"])[1])  # type: ignore[index]
    said = (await client.get(answer.headers["location"], auth=ADMIN)).json()
    assert fields(said) == USER_RESP
    assert {name: said[name] for name in ("user_id", "username", "email", "realname", "comment")} == {
        "user_id": number,
        **{name: CAROL[name] for name in ("username", "email", "realname", "comment")},
    }
    assert (await client.get(f"{BASE}/current", auth=("carol", NEW))).json()["user_id"] == number
    assert code(await client.post(BASE, json={**CAROL, "username": "CAROL"}, auth=ADMIN)) == (409, "CONFLICT")


@pytest.mark.parametrize(
    "wrong",
    [
        {"username": ""},
        {"username": "x" * 256},
        {"username": "a,b"},
        {"username": 'a"b'},
        {"username": "a~b"},
        {"username": "a#b"},
        {"username": "a%b"},
        {"username": "a$b"},
        {"username": "ｃarol"},  # a wide c
        {"username": "car\u200bol"},
        {"username": "car\u202eol"},
        {"password": "Short-1"},
        {"password": "x" * 126 + "X1!"},
        {"password": "no-upper-case-1"},
        {"password": "NO-LOWER-CASE-1"},
        {"password": "No-digit-at-all"},
        {"email": ""},
        {"email": "carol"},
        {"realname": ""},
        {"realname": "x" * 256},
        {"realname": "a$b"},
        {"comment": "x" * 31},
    ],
)
async def test_what_a_new_user_cannot_have(client: httpx2.AsyncClient, wrong: dict[str, str]) -> None:
    assert code(await client.post(BASE, json={**CAROL, **wrong}, auth=ADMIN)) == (400, "BAD_REQUEST")


async def test_nobody_signs_up_unless_it_is_set(client: httpx2.AsyncClient, people: dict[str, User]) -> None:
    assert code(await client.post(BASE, json=CAROL)) == (401, "UNAUTHORIZED")
    assert code(await client.post(BASE, json=CAROL, auth=ALICE)) == (403, "FORBIDDEN")


async def test_signing_up(client: httpx2.AsyncClient, registry: Registry) -> None:
    await registry.session().change_settings({"self_registration": True})
    answer = await client.post(BASE, json={**CAROL, "sysadmin_flag": True, "administrator": True, "user_id": 1})
    assert answer.status_code == 201
    said = (await client.get(f"{BASE}/current", auth=("carol", NEW))).json()
    assert said["sysadmin_flag"] is False
    assert said["user_id"] > 1
    assert code(await client.get(BASE, auth=("carol", NEW))) == (403, "FORBIDDEN")
    assert code(await client.post(BASE, json=CAROL)) == (409, "CONFLICT")
    elsewhere = {"origin": "https://evil.test"}
    assert code(await client.post(BASE, json={**CAROL, "username": "dan"}, headers=elsewhere)) == (403, "FORBIDDEN")
    events = await registry.journal.events()
    assert [(each.actor, each.details["name"]) for each in events if each.kind == "user.create"][-1] == (
        "anonymous",
        "carol",
    )


# ---- one ----


async def test_users_see_themselves_and_nobody_else(client: httpx2.AsyncClient, people: dict[str, User]) -> None:
    alice, bob = people["alice"].id, people["bob"].id
    assert (await client.get(f"{BASE}/{alice}", auth=ALICE)).json()["username"] == "alice"
    others = [await client.get(f"{BASE}/{number}", auth=ALICE) for number in (bob, 1, 99)]
    assert [code(each) for each in others] == [(403, "FORBIDDEN")] * 3
    assert len({each.content for each in others}) == 1, "nor do they hear who is there"
    assert code(await client.get(f"{BASE}/{bob}")) == (401, "UNAUTHORIZED")
    assert (await client.get(f"{BASE}/{bob}", auth=ADMIN)).json()["username"] == "bob"
    assert code(await client.get(f"{BASE}/99", auth=ADMIN)) == (404, "NOT_FOUND")
    assert (await client.get(f"{BASE}/bob", auth=ADMIN)).status_code == 422


async def test_profiles(client: httpx2.AsyncClient, people: dict[str, User]) -> None:
    alice, bob = people["alice"].id, people["bob"].id
    answer = await client.put(f"{BASE}/{alice}", json=PROFILE, auth=ALICE)
    assert (answer.status_code, answer.content) == (200, b"")
    said = (await client.get(f"{BASE}/{alice}", auth=ALICE)).json()
    assert {name: said[name] for name in PROFILE} == PROFILE
    assert code(await client.put(f"{BASE}/{bob}", json=PROFILE, auth=ALICE)) == (403, "FORBIDDEN")
    assert code(await client.put(f"{BASE}/{bob}", json=PROFILE)) == (401, "UNAUTHORIZED")
    assert (await client.put(f"{BASE}/{bob}", json=PROFILE, auth=ADMIN)).status_code == 200
    assert code(await client.put(f"{BASE}/99", json=PROFILE, auth=ADMIN)) == (404, "NOT_FOUND")
    for wrong in ({"email": "no"}, {"realname": ""}, {"comment": "x" * 31}):
        answer = await client.put(f"{BASE}/{alice}", json={**PROFILE, **wrong}, auth=ALICE)
        assert code(answer) == (400, "BAD_REQUEST")


async def test_a_null_says_nothing(client: httpx2.AsyncClient, people: dict[str, User]) -> None:
    """There are clients of Harbor's that write every field, and null where there is nothing to say."""
    answer = await client.put(f"{BASE}/{people['alice'].id}", json={**PROFILE, "comment": None}, auth=ALICE)
    assert answer.status_code == 200
    assert (await client.get(f"{BASE}/current", auth=ALICE)).json()["comment"] == ""
    answer = await client.put(f"{BASE}/{people['alice'].id}", json={**PROFILE, "realname": None}, auth=ALICE)
    assert code(answer) == (400, "BAD_REQUEST"), "a name is needed"
    new = {"username": "carol", "password": NEW, "email": "carol@example.com", "realname": "C", "comment": None}
    assert (await client.post(BASE, json=new, auth=ADMIN)).status_code == 201
    body = {"new_password": "Third-secret-10", "old_password": None}
    path = f"{BASE}/{people['bob'].id}"
    assert (await client.put(f"{path}/password", json=body, auth=ADMIN)).status_code == 200
    assert (await client.put(f"{path}/cli_secret", json={"secret": None}, auth=ADMIN)).json()["secret"]
    group = {"group_name": "ops", "group_type": 3, "ldap_group_dn": None}
    assert (await client.post("/api/v2.0/usergroups", json=group, auth=ADMIN)).status_code == 201


async def test_a_profile_changes_nothing_else(client: httpx2.AsyncClient, people: dict[str, User]) -> None:
    """Mass assignment: fields that stand beside those of a profile."""
    alice = people["alice"].id
    more = {
        "sysadmin_flag": True,
        "administrator": 1,
        "admin_role_in_auth": True,
        "user_id": 1,
        "username": "root",
        "password": NEW,
        "password_hash": "",
        "source": "elsewhere",
        "disabled": True,
    }
    assert (await client.put(f"{BASE}/{alice}", json={**PROFILE, **more}, auth=ALICE)).status_code == 200
    said = (await client.get(f"{BASE}/current", auth=ALICE)).json()
    assert (said["user_id"], said["username"], said["sysadmin_flag"]) == (alice, "alice", False)


async def test_deleting(client: httpx2.AsyncClient, people: dict[str, User]) -> None:
    alice, bob = people["alice"].id, people["bob"].id
    assert code(await client.delete(f"{BASE}/{bob}", auth=ALICE)) == (403, "FORBIDDEN")
    assert code(await client.delete(f"{BASE}/{alice}", auth=ALICE)) == (403, "FORBIDDEN"), "nor oneself"
    assert code(await client.delete(f"{BASE}/{bob}")) == (401, "UNAUTHORIZED")
    assert code(await client.delete(f"{BASE}/99", auth=ADMIN)) == (404, "NOT_FOUND")
    assert code(await client.delete(f"{BASE}/1", auth=ADMIN)) == (403, "FORBIDDEN")
    answer = await client.delete(f"{BASE}/{bob}", auth=ADMIN)
    assert (answer.status_code, answer.content) == (200, b"")
    assert code(await client.get(f"{BASE}/{bob}", auth=ADMIN)) == (404, "NOT_FOUND")
    assert code(await client.get(f"{BASE}/current", auth=BOB)) == (401, "UNAUTHORIZED")
    again = await client.post(BASE, json={**CAROL, "username": "bob"}, auth=ADMIN)
    assert again.headers["location"] != f"{BASE}/{bob}", "the name is free, the id is not"


async def test_administrators_neither_delete_themselves_nor_the_first_one(
    client: httpx2.AsyncClient, people: dict[str, User]
) -> None:
    alice = people["alice"].id
    await client.put(f"{BASE}/{alice}/sysadmin", json={"sysadmin_flag": True}, auth=ADMIN)
    assert code(await client.delete(f"{BASE}/{alice}", auth=ALICE)) == (403, "FORBIDDEN")
    assert code(await client.delete(f"{BASE}/1", auth=ALICE)) == (403, "FORBIDDEN")
    assert (await client.delete(f"{BASE}/{alice}", auth=ADMIN)).status_code == 200


async def test_making_administrators(client: httpx2.AsyncClient, people: dict[str, User]) -> None:
    path = f"{BASE}/{people['alice'].id}/sysadmin"
    assert code(await client.put(path, json={"sysadmin_flag": True}, auth=ALICE)) == (403, "FORBIDDEN")
    assert code(await client.put(path, json={"sysadmin_flag": True})) == (401, "UNAUTHORIZED")
    answer = await client.put(path, json={"sysadmin_flag": True}, auth=ADMIN)
    assert (answer.status_code, answer.content) == (200, b"")
    assert (await client.get(BASE, auth=ALICE)).status_code == 200
    assert (await client.put(path, json={}, auth=ADMIN)).status_code == 422, "half a request unmakes nobody"
    assert (await client.put(path, json={"sysadmin_flag": False}, auth=ADMIN)).status_code == 200
    assert (await client.get(BASE, auth=ALICE)).status_code == 403
    missing = await client.put(f"{BASE}/99/sysadmin", json={"sysadmin_flag": True}, auth=ADMIN)
    assert code(missing) == (404, "NOT_FOUND")


async def test_the_current_password_is_asked_in_harbors_words(
    client: httpx2.AsyncClient, people: dict[str, User]
) -> None:
    body = {"old_password": "Wrong-horse-7", "new_password": NEW}
    answer = await client.put(f"{BASE}/{people['alice'].id}/password", json=body, auth=ALICE)
    assert answer.status_code == 403
    assert answer.json()["errors"][0]["message"].startswith("Current password is incorrect")


# ---- somebody who may change users, but not everything ----


class HelpDesk:
    """A robot with a right on users alone."""

    @hookimpl
    async def identify(self, request: Any) -> Identity | None:
        if request.header(b"x-desk") is None:
            return None
        return Identity(name="robot$desk", subject="robot:1", kind="robot", source="robots")

    @hookimpl
    async def grants(self, identity: Identity) -> list[Grant] | None:
        words = frozenset({"create", "read", "update", "delete", "list"})
        return [Grant("system", "user", words)] if identity.subject == "robot:1" else None


async def test_who_may_change_users_does_not_become_an_administrator(
    make_registry: Callable[..., Registry], client_of: Any, users: Users, people: dict[str, User]
) -> None:
    alice = people["alice"].id
    async with make_registry(HelpDesk) as registry, client_of(registry) as client:
        desk = {"x-desk": "1"}
        assert (await client.get(BASE, headers=desk)).status_code == 200
        assert (
            await client.put(f"{BASE}/{alice}/password", json={"new_password": NEW}, headers=desk)
        ).status_code == 200
        for path, body in (
            (f"{BASE}/1/password", {"new_password": NEW}),
            (f"{BASE}/1/cli_secret", {"secret": NEW}),
            (f"{BASE}/1", PROFILE),
            (f"{BASE}/{alice}/sysadmin", {"sysadmin_flag": True}),
        ):
            assert code(await client.put(path, json=body, headers=desk)) == (403, "FORBIDDEN"), path
        await users.set_administrator(registry.session(), people["bob"], administrator=True)
        assert code(await client.delete(f"{BASE}/{people['bob'].id}", headers=desk)) == (403, "FORBIDDEN")
        await users.set_administrator(registry.session(), people["bob"], administrator=False)
        await users.set_vouched(registry.session(), people["bob"], administrator=True)
        answer = await client.put(f"{BASE}/{people['bob'].id}/cli_secret", json={"secret": NEW}, headers=desk)
        assert code(answer) == (403, "FORBIDDEN"), "an administrator by the word of a directory is one, too"
        assert code(await client.get(f"{BASE}/current", headers=desk)) == (412, "PRECONDITION")
        assert code(await client.get(f"{BASE}/current/tokens", headers=desk)) == (412, "PRECONDITION")


# ---- the CLI secret ----


async def test_a_cli_secret_is_a_second_password_for_programs(
    client: httpx2.AsyncClient, people: dict[str, User], registry: Registry, tmp_path: Any
) -> None:
    path = f"{BASE}/{people['alice'].id}/cli_secret"
    answer = await client.put(path, json={"secret": NEW}, auth=ALICE)
    assert (answer.status_code, answer.json()) == (200, {})
    for where in ("/v2/", "/service/token", f"{BASE}/current"):
        assert (await client.get(where, auth=("alice", NEW))).status_code == 200
        assert (await client.get(where, auth=ALICE)).status_code == 200, "the password holds as well"
        assert (await client.get(where, auth=("bob", NEW))).status_code == 401
    await registry.journal.flush()
    kept = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert NEW.encode() not in kept
    # It makes no other credentials, and opens no browser's session.
    secret = ("alice", NEW)
    assert code(await client.put(path, json={"secret": "Third-secret-10"}, auth=secret)) == (403, "FORBIDDEN")
    assert code(await client.post(f"{BASE}/current/tokens", json={"name": "x"}, auth=secret)) == (403, "FORBIDDEN")
    login = await client.post("/c/login", data={"principal": "alice", "password": NEW})
    assert login.status_code == 401
    body = {"old_password": NEW, "new_password": "Third-secret-10"}
    answer = await client.put(f"{BASE}/{people['alice'].id}/password", json=body, auth=secret)
    assert code(answer) == (403, "FORBIDDEN"), "it is not the current password"


async def test_cli_secrets_of_others(client: httpx2.AsyncClient, people: dict[str, User]) -> None:
    path = f"{BASE}/{people['bob'].id}/cli_secret"
    assert code(await client.put(path, json={"secret": NEW}, auth=ALICE)) == (403, "FORBIDDEN")
    assert code(await client.put(path, json={"secret": NEW})) == (401, "UNAUTHORIZED")
    assert code(await client.put(path, json={"secret": "weak"}, auth=BOB)) == (400, "BAD_REQUEST")
    assert code(await client.put(f"{BASE}/99/cli_secret", json={"secret": NEW}, auth=ADMIN)) == (404, "NOT_FOUND")
    assert (await client.put(path, json={"secret": NEW}, auth=ADMIN)).status_code == 200
    assert (await client.get("/v2/", auth=("bob", NEW))).status_code == 200
    made = (await client.put(path, json={}, auth=BOB)).json()["secret"]
    assert (await client.get("/v2/", auth=("bob", made))).status_code == 200
    assert (await client.get("/v2/", auth=("bob", NEW))).status_code == 401, "the old one is gone"


async def test_a_name_that_nobody_can_have_costs_no_hash(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Robots' names come by here on their way to their own plugin."""
    (accounts,) = (each.plugin for each in registry.plugins if each.name == "accounts")

    async def never(*_: object) -> bool:
        raise AssertionError

    monkeypatch.setattr(accounts._users().passwords, "verify", never)
    assert await accounts.check_password("robot$ci", "whatever", None) is None
