"""Roles that administrators make, and roles that hold in a part of a project."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from corereg import Action, Registry
from corereg_projects import roles

from .conftest import code, message

pytestmark = pytest.mark.anyio

ROLES = "/api/v2.0/roles"


def body(name: str, *permissions: str) -> dict[str, Any]:
    pairs = [each.split(":") for each in permissions]
    return {"role_name": name, "permissions": [{"resource": resource, "action": action} for resource, action in pairs]}


async def made(api: Any, name: str, *permissions: str) -> int:
    answer = await api("POST", ROLES, "admin", body(name, *permissions))
    assert answer.status_code == 201, answer.text
    return int(answer.headers["location"].removeprefix(f"{ROLES}/"))


async def may(registry: Registry, crowd: Any, who: str, scope: str) -> set[str]:
    session = await registry.session_for(crowd.identity(who))
    return {f"{resource}:{action}" for resource, action in roles.ALL if session.may(Action(resource, action, scope))}


# ---- custom ones ----


async def test_making_one(api: Any) -> None:
    assert await made(api, "puller", "repository:pull", "artifact:read") == 100
    assert await made(api, "reader", "artifact:read") == 101
    said = await api.get(ROLES, "alice")
    assert [(each["role_id"], each["role_name"], each["built_in"]) for each in said] == [
        (1, "projectAdmin", True),
        (4, "maintainer", True),
        (2, "developer", True),
        (3, "guest", True),
        (5, "limitedGuest", True),
        (100, "puller", False),
        (101, "reader", False),
    ]
    assert [len(each["permissions"]) for each in said] == [75, 53, 36, 20, 14, 2, 1]
    assert await api.get(f"{ROLES}/100", "alice") == said[5]


@pytest.mark.parametrize("who", ["alice", None])
async def test_only_administrators_make_them(api: Any, who: str | None) -> None:
    await made(api, "puller", "repository:pull")
    refused = 401 if who is None else 403
    for method, path in (("POST", ROLES), ("PUT", f"{ROLES}/100"), ("DELETE", f"{ROLES}/100")):
        assert (await api(method, path, who, body("x", "repository:pull"))).status_code == refused


@pytest.mark.parametrize("permissions", [(), ("repository:scanner-pull",), ("user:create",), ("*:*",), ("self:read",)])
async def test_what_none_is_made_of(api: Any, permissions: Sequence[str]) -> None:
    assert code(await api("POST", ROLES, "admin", body("x", *permissions))) == (400, "BAD_REQUEST")


@pytest.mark.parametrize("name", ["", " x", "a\nb", "a/b", "x" * 65, "é"])
async def test_a_name_that_none_can_have(api: Any, name: str) -> None:
    assert code(await api("POST", ROLES, "admin", body(name, "repository:pull"))) == (400, "BAD_REQUEST")


@pytest.mark.parametrize("name", ["puller", "projectAdmin", "PROJECTADMIN"])
async def test_a_name_that_is_taken(api: Any, name: str) -> None:
    await made(api, "puller", "repository:pull")
    await made(api, "reader", "repository:pull")
    assert code(await api("POST", ROLES, "admin", body(name, "repository:pull"))) == (409, "CONFLICT")
    assert code(await api("PUT", f"{ROLES}/101", "admin", body(name, "repository:pull"))) == (409, "CONFLICT")


async def test_a_role_at_work(api: Any, registry: Registry, crowd: Any) -> None:
    await api.create("web", "alice")
    role = await made(api, "puller", "repository:pull", "project:read")
    mid = await api.add("web", "bob", role, "alice")
    said = await api.get(f"/web/members/{mid}")
    assert (said["role_id"], said["role_name"]) == (100, "puller")
    assert await may(registry, crowd, "bob", "web/*") == {"repository:pull", "project:read"}
    assert (await api.get("/web", "bob"))["current_user_role_ids"] == [100]
    answer = await api("PUT", f"{ROLES}/{role}", "admin", body("pusher", "repository:push"))
    assert answer.status_code == 200
    assert await may(registry, crowd, "bob", "web/*") == {"repository:push"}
    assert (await api.get(f"/web/members/{mid}"))["role_name"] == "pusher"


async def test_whoever_adds_members_gives_no_role_beyond_their_own(api: Any) -> None:
    await api.create("web", "alice")
    role = await made(api, "adder", "member:create", "member:list", "repository:pull")
    small = await made(api, "puller", "repository:pull")
    await api.add("web", "bob", role, "alice")
    await api.add("web", "carol", small, "bob")
    await api.add("web", "dave", role, "bob")
    answer = await api("POST", "/web/members", "bob", {"role_id": 5, "member_user": {"username": "erin"}})
    assert code(answer) == (403, "FORBIDDEN")


async def test_a_role_that_somebody_has_stays(api: Any) -> None:
    await api.create("web", "alice")
    role = await made(api, "puller", "repository:pull")
    mid = await api.add("web", "bob", role)
    answer = await api("DELETE", f"{ROLES}/{role}")
    assert code(answer) == (412, "PRECONDITION")
    await api("DELETE", f"/web/members/{mid}")
    assert (await api("DELETE", f"{ROLES}/{role}")).status_code == 200
    assert code(await api("GET", f"{ROLES}/{role}")) == (404, "NOT_FOUND")
    assert await made(api, "puller", "repository:pull") == 101, "a number is never given twice"


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
async def test_harbors_roles_stay_as_they_are(api: Any, number: int) -> None:
    assert code(await api("PUT", f"{ROLES}/{number}", "admin", body("x", "repository:pull"))) == (412, "PRECONDITION")
    assert code(await api("DELETE", f"{ROLES}/{number}")) == (412, "PRECONDITION")


@pytest.mark.parametrize("number", [0, 6, 99, 100, -1, 2**62, 2**64])
async def test_a_role_there_is_not(api: Any, number: int) -> None:
    for method in ("GET", "PUT", "DELETE"):
        answer = await api(method, f"{ROLES}/{number}", "admin", body("x", "repository:pull"))
        assert code(answer) == (404, "NOT_FOUND"), method


# ---- parts of a project ----

INSIDE = {f"{resource}:{action}" for resource, action in roles.DEVELOPER if resource in roles.IN_REPOSITORIES}


async def test_a_role_for_a_part_of_a_project(api: Any, registry: Registry, crowd: Any) -> None:
    await api.create("web", "alice")
    mid = await api.add("web", "bob", 2, "alice", pattern="app/*")
    await api.add("web", "carol", 2, "alice", pattern="app/web")
    assert (await api.get(f"/web/members/{mid}"))["pattern"] == "app/*"
    for scope in ("web/app/web", "web/app/deep/web", "web/app/*"):
        assert await may(registry, crowd, "bob", scope) == INSIDE | {"project:read"}, scope
    for scope in ("web/application", "web/app", "web/apps/web", "other/app/web"):
        assert await may(registry, crowd, "bob", scope) <= {"project:read"}, scope
    assert await may(registry, crowd, "carol", "web/app/web") == INSIDE | {"project:read"}
    for scope in ("web/app/web/deep", "web/app/webb", "web/app/*", "web/app/other"):
        assert await may(registry, crowd, "carol", scope) <= {"project:read"}, scope
    assert await may(registry, crowd, "bob", "web/*") == {"project:read"}, "and may find the project"


async def test_over_the_protocol(api: Any) -> None:
    await api.create("web", "alice")
    await api.add("web", "bob", 2, "alice", pattern="app/**")
    for name, good in (("web/app/one", 202), ("web/other", 403), ("web/app", 403)):
        token = await api.token("bob", f"repository:{name}:pull,push")
        assert (await api.bearer("POST", f"/v2/{name}/blobs/uploads/", token)).status_code == good, name


async def test_parts_and_the_whole(api: Any) -> None:
    """Several roles of one user: for the whole project, and more for parts of it."""
    await api.create("web", "alice")
    await api.add("web", "bob", 3, "alice")
    await api.add("web", "bob", 2, "alice", pattern="app/*")
    answer = await api(
        "POST", "/web/members", "alice", {"role_id": 3, "member_user": {"username": "bob"}, "pattern": "app/**"}
    )
    assert code(answer) == (409, "CONFLICT")
    said = await api.get("/web/members?entityname=bob", "alice")
    assert [(each["role_name"], each.get("pattern")) for each in said] == [("guest", None), ("developer", "app/*")]
    assert (await api.get("/web", "bob"))["current_user_role_ids"] == [3]


async def test_whoever_has_a_part_finds_the_project(api: Any) -> None:
    await api.create("web", "alice")
    await api.create("other", "alice")
    await api.add("web", "bob", 2, "alice", pattern="app/*")
    assert [each["name"] for each in await api.get("", "bob")] == ["library", "web"]
    assert (await api.get("/web", "bob"))["name"] == "web"
    assert (await api("GET", "/web/members", "bob")).status_code == 403


@pytest.mark.parametrize(
    "pattern",
    [
        "*/web",
        "app/*/web",
        "app*",
        "**/web",
        "../x",
        "/app",
        "app/",
        "App/*",
        "app/{a,b}",
        "?",
        "[a]",
        "a//b",
        "*/*",
        "a\n",
    ],
)
async def test_a_pattern_that_is_no_prefix(api: Any, pattern: str) -> None:
    await api.create("web", "alice")
    who = {"role_id": 2, "member_user": {"username": "bob"}, "pattern": pattern}
    answer = await api("POST", "/web/members", "alice", who)
    assert code(answer) == (400, "BAD_REQUEST")
    assert "prefix" in message(answer)


@pytest.mark.parametrize(("pattern", "kept"), [("*", None), ("**", None), ("app/**", "app/*"), ("a__b/c", "a__b/c")])
async def test_patterns_that_mean_the_same(api: Any, pattern: str, kept: str | None) -> None:
    await api.create("web", "alice")
    mid = await api.add("web", "bob", 2, pattern=pattern)
    assert (await api.get(f"/web/members/{mid}")).get("pattern") == kept
