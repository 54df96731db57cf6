"""Members: users and groups, in roles."""

from __future__ import annotations

from typing import Any

import pytest

from corereg import Grant, Principal, Registry, hookimpl

from .conftest import code, message
from .test_projects import details

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
async def web(api: Any) -> None:
    await api.create("web", "alice")
    await api.create("other", "bob")


async def names(api: Any, project: str = "web", query: str = "") -> list[str]:
    return [each["entity_name"] for each in await api.get(f"/{project}/members{query}")]


async def test_a_user(registry: Registry, api: Any) -> None:
    answer = await api("POST", "/web/members", "alice", {"role_id": 2, "member_user": {"user_id": 4}})
    assert (answer.status_code, answer.content) == (201, b"")
    mid = int(answer.headers["location"].removeprefix("/api/v2.0/projects/web/members/"))
    assert await api.get(f"/web/members/{mid}", "alice") == {
        "id": mid,
        "project_id": 2,
        "entity_name": "carol",
        "role_name": "developer",
        "role_id": 2,
        "entity_id": 4,
        "entity_type": "u",
    }
    assert (await details(registry, "member.create"))[-1] == {
        "namespace": "web",
        "subject": "user:4",
        "name": "carol",
        "role": "developer",
    }


@pytest.mark.parametrize("group", [{"id": 1}, {"group_name": "ops", "group_type": 3}, {"ldap_group_dn": "ops"}])
async def test_a_group(api: Any, group: dict[str, Any]) -> None:
    answer = await api("POST", "/web/members", "alice", {"role_id": 3, "member_group": group})
    assert answer.status_code == 201
    said = await api.get(answer.headers["location"], "alice")
    assert (said["entity_name"], said["entity_id"], said["entity_type"]) == ("ops", 1, "g")


class Directory:
    """Keeps groups of several types, and tells which one it was asked for."""

    name = "directory"

    def __init__(self) -> None:
        self.asked: list[tuple[int | str, int]] = []

    @hookimpl(optionalhook=True)
    async def find_principal(self, kind: str, reference: int | str, group_type: int) -> Principal | None:
        self.asked.append((reference, group_type))
        return Principal("group", 70 + group_type, "staff", f"group:{70 + group_type}") if kind == "group" else None


@pytest.mark.parametrize(
    ("group", "asked"),
    [
        ({"group_name": "staff"}, ("staff", 0)),
        ({"group_name": "staff", "group_type": 3}, ("staff", 3)),
        ({"ldap_group_dn": "cn=staff"}, ("cn=staff", 1)),
        ({"group_name": "staff", "group_type": 1, "ldap_group_dn": "cn=staff"}, ("cn=staff", 1)),
        ({"group_name": "staff", "group_type": 2, "ldap_group_dn": "cn=staff"}, ("staff", 2)),
        ({"id": 7, "group_name": "staff", "group_type": 3}, (7, 0)),
    ],
)
async def test_a_group_of_a_type(node: Any, group: dict[str, Any], asked: tuple[int | str, int]) -> None:
    """A name is that of one group of each type; who keeps groups hears which is meant."""
    directory = Directory()
    _, api = await node(directory)
    answer = await api("POST", "/web/members", "alice", {"role_id": 3, "member_group": group})
    assert answer.status_code == 201
    assert directory.asked == [asked]
    assert (await api.get(answer.headers["location"], "alice"))["entity_id"] == 70 + asked[1]


@pytest.mark.parametrize(
    ("number", "name"), [(1, "projectAdmin"), (4, "maintainer"), (2, "developer"), (3, "guest"), (5, "limitedGuest")]
)
async def test_the_five_roles(api: Any, number: int, name: str) -> None:
    mid = await api.add("web", "bob", number, "alice")
    assert (await api.get(f"/web/members/{mid}"))["role_name"] == name


@pytest.mark.parametrize("role", [0, 6, 99, 100, -1, 2**62, 2**70])
async def test_a_role_there_is_not(api: Any, role: int) -> None:
    answer = await api("POST", "/web/members", "alice", {"role_id": role, "member_user": {"username": "carol"}})
    assert answer.status_code in {400, 422}
    assert (await api("PUT", "/web/members/2", "alice", {"role_id": role})).status_code in {400, 422}
    assert await names(api) == ["alice"]


async def test_whoever_is_a_member_already(api: Any) -> None:
    await api.add("web", "carol", 2)
    answer = await api("POST", "/web/members", "alice", {"role_id": 1, "member_user": {"username": "carol"}})
    assert code(answer) == (409, "CONFLICT")
    assert [each["role_id"] for each in await api.get("/web/members?entityname=carol")] == [2]
    await api.add("other", "carol", 3)


@pytest.mark.parametrize(
    "who", [{"username": "nobody"}, {"user_id": 77}, {"user_id": -1}, {"user_id": 2**70}, {"username": "a\0"}]
)
async def test_somebody_there_is_not(api: Any, who: dict[str, Any]) -> None:
    answer = await api("POST", "/web/members", "alice", {"role_id": 2, "member_user": who})
    assert code(answer) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"member_user": {}},
        {"member_group": {"group_type": 1}},
        {"member_user": {"username": "carol"}, "member_group": {"id": 1}},
        {"member_user": None},
    ],
)
async def test_a_body_that_means_nobody_or_two(api: Any, body: dict[str, Any]) -> None:
    assert code(await api("POST", "/web/members", "alice", {"role_id": 2, **body})) == (400, "BAD_REQUEST")


async def test_a_page_of_them(api: Any) -> None:
    for who in ("carol", "dave", "erin", "Zoë", "ops"):
        await api.add("web", who, 3)
    assert await names(api) == ["Zoë", "alice", "carol", "dave", "erin", "ops"]
    assert await names(api, query="?entityname=O") == ["Zoë", "carol", "ops"]
    answer = await api("GET", "/web/members?page=2&page_size=2", "carol")
    assert [each["entity_name"] for each in answer.json()] == ["carol", "dave"]
    assert answer.headers["x-total-count"] == "6"
    assert 'rel="prev"' in answer.headers["link"]
    assert await names(api, query="?sort=-role_id,entity_name&page_size=1") == ["Zoë"]


@pytest.mark.parametrize(
    ("text", "found"), [("a", ["alice", "carol"]), ("CAR", ["carol"]), ("%", []), ("_", []), ("'", [])]
)
async def test_searching_them(api: Any, text: str, found: list[str]) -> None:
    await api.add("web", "carol", 3)
    answer = await api("GET", "/web/members", "alice", params={"entityname": text})
    assert [each["entity_name"] for each in answer.json()] == found
    assert answer.headers["x-total-count"] == str(len(found))


async def test_another_role(registry: Registry, api: Any) -> None:
    mid = await api.add("web", "carol", 2)
    answer = await api("PUT", f"/web/members/{mid}", "alice", {"role_id": 5, "entity_id": 1, "project_id": 3})
    assert (answer.status_code, answer.content) == (200, b"")
    said = await api.get(f"/web/members/{mid}")
    assert (said["role_id"], said["entity_name"], said["project_id"]) == (5, "carol", 2)
    assert (await details(registry, "member.update"))[-1]["role"] == "limitedGuest"


async def test_removing_one(registry: Registry, api: Any) -> None:
    mid = await api.add("web", "carol", 2)
    assert (await api("GET", "/web", "carol")).status_code == 200
    answer = await api("DELETE", f"/web/members/{mid}", "alice")
    assert (answer.status_code, answer.content) == (200, b"")
    assert (await api("GET", "/web", "carol")).status_code == 403
    assert code(await api("DELETE", f"/web/members/{mid}", "alice")) == (404, "NOT_FOUND")
    assert (await details(registry, "member.delete"))[-1]["name"] == "carol"


@pytest.mark.parametrize("mid", [3, 99, 0, -1, 2**63])
async def test_members_of_another_project_and_of_none(api: Any, mid: int) -> None:
    """bob is member 3, of the other project: alice finds nobody of that number in hers, whoever she asks for."""
    assert (await api.get("/other/members/3", "bob"))["entity_name"] == "bob"
    for method, body in (("GET", None), ("PUT", {"role_id": 3}), ("DELETE", None)):
        assert (await api(method, f"/web/members/{mid}", "alice", body)).status_code == 404, method
        assert (await api(method, f"/other/members/{mid}", "alice", body)).status_code == 403, method
    assert (await api.get("/other/members/3", "bob"))["role_id"] == 1


@pytest.mark.parametrize("mid", ["x", "1.5", "1e1", "%00"])
async def test_a_number_that_is_none(api: Any, mid: str) -> None:
    assert (await api("GET", f"/web/members/{mid}", "alice")).status_code in {404, 422}


@pytest.mark.parametrize(("role", "may_list"), [(4, True), (2, True), (3, True), (5, False)])
async def test_who_may_look_and_who_may_change(api: Any, role: int, may_list: bool) -> None:
    mid = await api.add("web", "carol", role)
    for path in ("/web/members", f"/web/members/{mid}"):
        assert (await api("GET", path, "carol")).status_code == (200 if may_list else 403)
    for method, path, body in (
        ("POST", "/web/members", {"role_id": 1, "member_user": {"username": "carol"}}),
        ("PUT", f"/web/members/{mid}", {"role_id": 1}),
        ("DELETE", "/web/members/2", None),
    ):
        assert (await api(method, path, "carol", body)).status_code == 403


async def test_members_of_a_public_project_are_nobody_elses_business(api: Any) -> None:
    await api("PUT", "/web", "alice", {"public": True})
    assert (await api("GET", "/web/members", "dave")).status_code == 403
    assert (await api("GET", "/web/members", None)).status_code == 401


async def test_nobody_gives_more_than_they_have(api: Any, crowd: Any) -> None:
    """Who may only add members does not become all they like."""
    crowd.extra["dave"] = (Grant("web/*", "member", frozenset({"create", "update", "delete", "read"})),)
    answer = await api("POST", "/web/members", "dave", {"role_id": 1, "member_user": {"username": "dave"}})
    assert code(answer) == (403, "FORBIDDEN")
    assert "projectAdmin" in message(answer)
    mid = await api.add("web", "dave", 5)
    await api.add("web", "erin", 5, "dave")
    assert (await api("PUT", f"/web/members/{mid}", "dave", {"role_id": 1})).status_code == 403
    assert (await api("PUT", "/web/members/2", "dave", {"role_id": 5})).status_code == 403, "nor about who has more"
    assert (await api("DELETE", "/web/members/2", "dave")).status_code == 403


async def test_robots_give_the_roles_of_harbor(api: Any, crowd: Any) -> None:
    """A robot cannot hold all that a project's administrator may; its maker gave it the right to make one."""
    crowd.robots["ci"] = (Grant("web/*", "member", frozenset({"create", "list"})),)
    await api.add("web", "dave", 1, "ci")
    answer = await api("POST", "/other/members", "ci", {"role_id": 1, "member_user": {"username": "dave"}})
    assert answer.status_code == 403
