"""Groups over HTTP, and what belonging to one gives and takes, on every node."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import anyio
import httpx2
import msgspec
import pytest

from corereg import Exists, Grant, Identity, Operation, Registry, hookimpl, openapi_document
from corereg_accounts.groups import Groups, Kind
from corereg_accounts.users import User, Users

pytestmark = pytest.mark.anyio

ADMIN = ("admin", "Admin-for-tests-1")
ALICE = ("alice", "Correct-horse-7")
BOB = ("bob", "Battery-staple-8")
BASE = "/api/v2.0/usergroups"
LOCAL = {"group_name": "ops", "group_type": 4}
BOUND = 5.0
"""Seconds after which a change must be seen everywhere."""

OPERATIONS = {
    "listUserGroups": ("get", "/usergroups", "200", {"401", "403"}),
    "createUserGroup": ("post", "/usergroups", "201", {"400", "401", "403", "409"}),
    "searchUserGroups": ("get", "/usergroups/search", "200", {"401"}),
    "getUserGroup": ("get", "/usergroups/{group_id}", "200", {"400", "401", "403", "404"}),
    "updateUserGroup": ("put", "/usergroups/{group_id}", "200", {"400", "401", "403", "404"}),
    "deleteUserGroup": ("delete", "/usergroups/{group_id}", "200", {"400", "401", "403"}),
}


def code(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["errors"][0]["code"]


async def made(client: httpx2.AsyncClient, **body: Any) -> int:
    answer = await client.post(BASE, json=body, auth=ADMIN)
    assert (answer.status_code, answer.content) == (201, b""), answer.text
    return int(re.fullmatch(r"/api/v2\.0/usergroups/([0-9]+)", answer.headers["location"])[1])  # type: ignore[index]


def test_every_operation_is_there(make_registry: Callable[..., Registry]) -> None:
    paths = openapi_document(make_registry())["paths"]
    for name, (method, path, good, failures) in OPERATIONS.items():
        said = paths[f"/api/v2.0{path}"][method]
        assert said["operationId"] == name
        assert said["tags"] == ["usergroup"]
        assert {good, *failures} <= set(said["responses"])
    assert paths["/api/v2.0/usergroups/{group_id}/members"]["get"]["x-extension"] is True


async def test_groups_are_made_listed_renamed_and_deleted(client: httpx2.AsyncClient) -> None:
    ops = await made(client, **LOCAL)
    ldap = await made(client, group_name="Staff", group_type=1, ldap_group_dn="CN=Staff, DC=example,DC=com")
    await made(client, group_name="ops", group_type=3)  # another kind, another group
    answer = await client.get(BASE, params={"page_size": 2}, auth=ADMIN)
    assert answer.headers["x-total-count"] == "3"
    assert [each["group_name"] for each in answer.json()] == ["Staff", "ops"]
    assert answer.json()[0] == {
        "id": ldap,
        "group_name": "Staff",
        "group_type": 1,
        "ldap_group_dn": "CN=Staff, DC=example,DC=com",
    }
    assert [each["id"] for each in (await client.get(BASE, params={"group_name": "STA"}, auth=ADMIN)).json()] == [ldap]
    by_dn = await client.get(BASE, params={"ldap_group_dn": "cn=staff,dc=example,dc=com"}, auth=ADMIN)
    assert [each["id"] for each in by_dn.json()] == [ldap]
    renamed = await client.put(f"{BASE}/{ops}", json={"group_name": "operators", "group_type": 1}, auth=ADMIN)
    assert (renamed.status_code, renamed.content) == (200, b"")
    said = (await client.get(f"{BASE}/{ops}", auth=ADMIN)).json()
    assert said == {"id": ops, "group_name": "operators", "group_type": 4, "ldap_group_dn": ""}
    deleted = await client.delete(f"{BASE}/{ops}", auth=ADMIN)
    assert (deleted.status_code, deleted.content) == (200, b"")
    assert code(await client.get(f"{BASE}/{ops}", auth=ADMIN)) == (404, "NOT_FOUND")
    assert code(await client.delete(f"{BASE}/{ops}", auth=ADMIN)) == (404, "NOT_FOUND")
    assert await made(client, **LOCAL) > ops, "an id is not given twice"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"group_name": "x"},
        {"group_name": "x", "group_type": 5},
        {"group_name": "x", "group_type": 0},
        {"group_name": "", "group_type": 3},
        {"group_name": "x" * 256, "group_type": 3},
        {"group_name": "a\nb", "group_type": 3},
        {"group_name": "ｏps", "group_type": 4},
        {"group_name": "x", "group_type": 1},
        {"group_name": "x", "group_type": 1, "ldap_group_dn": "no dn"},
    ],
)
async def test_groups_that_cannot_be(client: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    assert code(await client.post(BASE, json=body, auth=ADMIN)) == (400, "BAD_REQUEST")


async def test_a_second_one_of_a_kind(client: httpx2.AsyncClient) -> None:
    first = await made(client, **LOCAL)
    await made(client, group_name="dev", group_type=4)
    await made(client, group_name="x", group_type=1, ldap_group_dn="cn=x,dc=y")
    for body in (
        {"group_name": "OPS", "group_type": 4},
        {"group_name": "other", "group_type": 1, "ldap_group_dn": "CN = X , DC=Y"},
    ):
        assert code(await client.post(BASE, json=body, auth=ADMIN)) == (409, "CONFLICT")
    assert code(await client.put(f"{BASE}/{first}", json={"group_name": "Dev"}, auth=ADMIN)) == (409, "CONFLICT")
    assert code(await client.put(f"{BASE}/{first}", json={"group_name": ""}, auth=ADMIN)) == (400, "BAD_REQUEST")
    assert (await client.put(f"{BASE}/{first}", json={"group_name": "OPS"}, auth=ADMIN)).status_code == 200


async def test_a_directorys_group_has_the_name_in_its_dn(client: httpx2.AsyncClient) -> None:
    group = await made(client, group_type=1, ldap_group_dn="cn=Blue Team,dc=example,dc=com")
    assert (await client.get(f"{BASE}/{group}", auth=ADMIN)).json()["group_name"] == "Blue Team"


async def test_who_may(client: httpx2.AsyncClient, people: dict[str, User]) -> None:
    group = await made(client, **LOCAL)
    bob = people["bob"].id
    requests = [
        ("GET", BASE, None),
        ("POST", BASE, {"group_name": "x", "group_type": 4}),
        ("GET", f"{BASE}/{group}", None),
        ("PUT", f"{BASE}/{group}", {"group_name": "x"}),
        ("DELETE", f"{BASE}/{group}", None),
        ("GET", f"{BASE}/{group}/members", None),
        ("PUT", f"{BASE}/{group}/members/{bob}", None),
        ("DELETE", f"{BASE}/{group}/members/{bob}", None),
        ("GET", f"{BASE}/99", None),
    ]
    for method, path, body in requests:
        assert code(await client.request(method, path, json=body)) == (401, "UNAUTHORIZED"), path
        assert code(await client.request(method, path, json=body, auth=ALICE)) == (403, "FORBIDDEN"), path
    answer = await client.get(f"{BASE}/search", params={"groupname": "OP"}, auth=ALICE)
    assert (answer.status_code, answer.json()) == (200, [{"id": group, "group_name": "ops", "group_type": 4}])
    assert answer.headers["x-total-count"] == "1"
    assert (await client.get(f"{BASE}/search", auth=ALICE)).status_code == 422
    assert code(await client.get(f"{BASE}/search", params={"groupname": "o"})) == (401, "UNAUTHORIZED")


async def test_members_of_a_local_group(client: httpx2.AsyncClient, people: dict[str, User]) -> None:
    group, alice = await made(client, **LOCAL), people["alice"].id
    members = f"{BASE}/{group}/members"
    for _ in range(2):
        assert (await client.put(f"{members}/{alice}", auth=ADMIN)).status_code == 200
    answer = await client.get(members, auth=ADMIN)
    assert answer.json() == [{"user_id": alice, "username": "alice"}]
    assert answer.headers["x-total-count"] == "1"
    assert code(await client.put(f"{members}/99", auth=ADMIN)) == (404, "NOT_FOUND")
    assert code(await client.put(f"{BASE}/99/members/{alice}", auth=ADMIN)) == (404, "NOT_FOUND")
    assert (await client.delete(f"{members}/{alice}", auth=ADMIN)).status_code == 200
    assert code(await client.delete(f"{members}/{alice}", auth=ADMIN)) == (404, "NOT_FOUND")
    oidc = await made(client, group_name="staff", group_type=3)
    assert code(await client.put(f"{BASE}/{oidc}/members/{alice}", auth=ADMIN)) == (412, "PRECONDITION")


async def test_events(client: httpx2.AsyncClient, people: dict[str, User], registry: Registry) -> None:
    group, alice = await made(client, **LOCAL), people["alice"]
    await client.put(f"{BASE}/{group}/members/{alice.id}", auth=ADMIN)
    await client.delete(f"{BASE}/{group}", auth=ADMIN)
    told = [each for each in await registry.journal.events() if each.kind.startswith("group.")]
    assert [(each.kind, each.actor, each.details["subject"], each.details["name"]) for each in told] == [
        (kind, "admin", f"group:{group}", "ops") for kind in ("group.create", "group.update", "group.delete")
    ]
    assert told[1].details["member"] == alice.subject


# ---- what groups are good for ----


class Roles:
    """Gives a group the right to push, as a plugin of projects does."""

    def __init__(self, subject: str) -> None:
        self.subject = subject

    @hookimpl
    async def grants(self, identity: Identity) -> list[Grant] | None:
        if self.subject not in identity.groups:
            return None
        return [Grant("demo/*", "repository", frozenset({"pull", "push"}))]


@pytest.fixture
async def nodes(
    make_registry: Callable[..., Registry], client_of: Any
) -> AsyncIterator[tuple[httpx2.AsyncClient, httpx2.AsyncClient]]:
    """Two processes on one database, where the first group may push."""
    roles = Roles("group:1")
    async with (
        make_registry(roles) as first,
        make_registry(roles) as second,
        client_of(first) as here,
        client_of(second) as there,
    ):
        yield here, there


async def pushed(client: httpx2.AsyncClient, who: Any) -> int:
    headers, auth = (who, None) if isinstance(who, dict) else ({}, who)
    return (await client.post("/v2/demo/app/blobs/uploads/", headers=headers, auth=auth)).status_code


WITHDRAWALS = {
    "taken out": lambda client, group, alice: client.delete(f"{BASE}/{group}/members/{alice}", auth=ADMIN),
    "group deleted": lambda client, group, alice: client.delete(f"{BASE}/{group}", auth=ADMIN),
}


@pytest.mark.parametrize("how", WITHDRAWALS)
async def test_rights_come_and_go_with_a_group(
    people: dict[str, User], nodes: tuple[httpx2.AsyncClient, httpx2.AsyncClient], how: str
) -> None:
    here, there = nodes
    group, alice = await made(here, **LOCAL), people["alice"].id
    assert group == 1
    assert [await pushed(client, ALICE) for client in nodes] == [403, 403]
    await here.put(f"{BASE}/{group}/members/{alice}", auth=ADMIN)
    with anyio.fail_after(BOUND):
        while await pushed(there, ALICE) != 202:
            await anyio.sleep(0.1)
    scope = {"scope": "repository:demo/app:pull,push"}
    token = (await there.get("/service/token", params=scope, auth=ALICE)).json()["token"]
    bearer = {"Authorization": f"Bearer {token}"}
    assert [await pushed(client, bearer) for client in nodes] == [202, 202]
    await WITHDRAWALS[how](here, group, alice)
    assert [await pushed(here, who) for who in (bearer, ALICE)] == [403, 403], "at once where it was done"
    with anyio.fail_after(BOUND):
        while [await pushed(there, who) for who in (bearer, ALICE)] != [403, 403]:
            await anyio.sleep(0.1)
    assert await pushed(there, BOB) == 403


# ---- two changes at once ----


class Meanwhile:
    """Does something else between the question whether a change is allowed, and the change."""

    name = "meanwhile"

    def __init__(self) -> None:
        self.kind = ""
        self.what: Callable[[], Coroutine[Any, Any, object]] | None = None

    @hookimpl
    async def admit(self, operation: Operation) -> None:
        if operation.kind == self.kind and self.what is not None:
            what, self.what = self.what, None
            await what()


@pytest.mark.parametrize("gone", ["user", "group"])
async def test_somebody_who_is_deleted_while_they_join_a_group(
    make_registry: Callable[..., Registry], client_of: Any, users: Users, people: dict[str, User], gone: str
) -> None:
    meanwhile = Meanwhile()
    async with make_registry(meanwhile) as registry, client_of(registry) as client:
        ops = await made(client, **LOCAL)
        path = {"user": f"/api/v2.0/users/{people['alice'].id}", "group": f"{BASE}/{ops}"}[gone]
        meanwhile.kind, meanwhile.what = "group.update", lambda: client.delete(path, auth=ADMIN)
        answer = await client.put(f"{BASE}/{ops}/members/{people['alice'].id}", auth=ADMIN)
        assert code(answer) == (404, "NOT_FOUND")
        assert "deleted a moment ago" in answer.text


async def test_a_group_that_is_deleted_while_somebody_of_it_signs_in(
    make_registry: Callable[..., Registry], client_of: Any, people: dict[str, User]
) -> None:
    meanwhile = Meanwhile()
    async with make_registry(meanwhile) as registry, client_of(registry) as client:
        ops, staff = [await made(client, group_name=name, group_type=3) for name in ("ops", "staff")]
        groups = Groups(registry.database)
        meanwhile.kind, meanwhile.what = "user.update", lambda: client.delete(f"{BASE}/{ops}", auth=ADMIN)
        await groups.fill(registry.session(), people["alice"], {ops, staff})
        assert await groups.subjects_of(people["alice"]) == (f"group:{staff}",)


async def test_two_groups_that_get_one_name_at_once(registry: Registry, client: httpx2.AsyncClient) -> None:
    """The database says so where the look before it did not, as on another node."""
    groups = Groups(registry.database)
    await made(client, **LOCAL)
    other = await groups.with_id(await made(client, group_name="other", group_type=4))
    unseen = msgspec.structs.replace(other, type=Kind.HTTP)  # so that the look finds nothing
    with pytest.raises(Exists, match="there is a user group 'ops' already"):
        await groups.rename(registry.session(), unseen, "ops")


async def test_a_user_who_is_deleted_while_they_make_a_token(
    make_registry: Callable[..., Registry], client_of: Any, users: Users, people: dict[str, User]
) -> None:
    meanwhile = Meanwhile()
    async with make_registry(meanwhile) as registry, client_of(registry) as client:
        path = f"/api/v2.0/users/{people['alice'].id}"
        meanwhile.kind, meanwhile.what = "token.create", lambda: client.delete(path, auth=ADMIN)
        answer = await client.post("/api/v2.0/users/current/tokens", json={"name": "ci"}, auth=ALICE)
        assert code(answer) == (401, "UNAUTHORIZED")
