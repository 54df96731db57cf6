"""Who may do what, cell by cell: each role, each resource, each action, in public, internal and private projects."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from corereg import ANONYMOUS, Action, Grant, Registry, Session
from corereg.testing.statements import statements_of
from corereg_projects import roles

pytestmark = pytest.mark.anyio

TABLE = msgspec.json.decode(Path(__file__).with_name("rbac.json").read_bytes())
ROLES: Mapping[str, Mapping[str, list[str]]] = TABLE["roles"]
PUBLIC: Mapping[str, list[str]] = TABLE["everybody_in_public"]
EVERY = [*ROLES.values(), PUBLIC, TABLE["system"], TABLE["robots"]]
RESOURCES = sorted({resource for table in EVERY for resource in table})
ACTIONS = sorted({action for table in EVERY for actions in table.values() for action in actions} | {"scanner-pull"})
VISIBILITIES = ("private", "internal", "public")
MEMBERS = dict(zip(ROLES, ("alice", "bob", "carol", "dave", "erin"), strict=True))


def cells(table: Mapping[str, list[str]]) -> set[tuple[str, str]]:
    return {(resource, action) for resource, actions in table.items() for action in actions}


def allowed(session: Session, scope: str) -> set[tuple[str, str]]:
    """Every cell that the session answers yes to."""
    return {
        (resource, action)
        for resource in RESOURCES
        for action in ACTIONS
        if session.may(Action(resource, action, scope))
    }


@pytest.fixture
async def projects(api: Any) -> None:
    """One project of each visibility with a member in each role, and a look-alike next to each."""
    for visibility in VISIBILITIES:
        await api.create(visibility, metadata={"visibility": visibility})
        await api.create(f"{visibility}-2", metadata={"visibility": "private"})
        for role, member in MEMBERS.items():
            await api.add(visibility, member, TABLE["ids"][role])


async def session(registry: Registry, crowd: Any, who: str | None) -> Session:
    return await registry.session_for(ANONYMOUS if who is None else crowd.identity(who))


def test_the_table_has_its_cells() -> None:
    """Counted by hand once: a table that was cut short would prove nothing."""
    assert {role: len(cells(table)) for role, table in ROLES.items()} == {
        "projectAdmin": 75,
        "maintainer": 53,
        "developer": 36,
        "guest": 20,
        "limitedGuest": 14,
    }
    assert len(cells(PUBLIC)) == 12
    assert (len(RESOURCES), len(ACTIONS)) == (35, 10)


@pytest.mark.parametrize("visibility", VISIBILITIES)
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.usefixtures("projects")
async def test_members(registry: Registry, crowd: Any, role: str, visibility: str) -> None:
    mine = await session(registry, crowd, MEMBERS[role])
    expected = cells(ROLES[role]) | (cells(PUBLIC) if visibility != "private" else set())
    for scope in (f"{visibility}/*", f"{visibility}/app", f"{visibility}/deep/app"):
        assert allowed(mine, scope) == expected, scope
    for scope in (f"{visibility}-2/*", f"{visibility}-2/app", "nowhere/*", visibility):
        assert allowed(mine, scope) == set(), scope
    assert allowed(mine, "system") == {("project", "create")}, "the setting lets everybody make projects"


@pytest.mark.parametrize("visibility", VISIBILITIES)
@pytest.mark.usefixtures("projects")
async def test_strangers(registry: Registry, crowd: Any, visibility: str) -> None:
    nobody, somebody = await session(registry, crowd, None), await session(registry, crowd, "Zoë")
    for scope in (f"{visibility}/*", f"{visibility}/app"):
        assert allowed(nobody, scope) == (cells(PUBLIC) if visibility == "public" else set())
        assert allowed(somebody, scope) == (cells(PUBLIC) if visibility != "private" else set())
    assert allowed(nobody, "system") == set()
    assert allowed(somebody, "system") == {("project", "create")}


@pytest.mark.parametrize("visibility", VISIBILITIES)
@pytest.mark.usefixtures("projects")
async def test_robots_get_no_more_than_public_projects(registry: Registry, crowd: Any, visibility: str) -> None:
    crowd.robots["ci"] = (Grant("private/*", "repository", frozenset({"pull"})),)
    robot = await session(registry, crowd, "ci")
    own = {("repository", "pull")} if visibility == "private" else set()
    assert allowed(robot, f"{visibility}/*") == own | (cells(PUBLIC) if visibility == "public" else set())
    assert allowed(robot, "system") == set()


@pytest.mark.usefixtures("projects")
async def test_administrators_may_do_everything(registry: Registry, crowd: Any) -> None:
    admin = await session(registry, crowd, "admin")
    for scope in ("private/*", "public/app", "system"):
        assert allowed(admin, scope) == {(resource, action) for resource in RESOURCES for action in ACTIONS}


@pytest.mark.usefixtures("projects")
async def test_roles_are_a_union_of_those_of_a_user_and_of_its_groups(api: Any, registry: Registry, crowd: Any) -> None:
    await api.add("private", "ops", TABLE["ids"]["maintainer"])
    await api.add("private", "dev", TABLE["ids"]["developer"])
    crowd.memberships["erin"] = ("ops", "dev")
    crowd.memberships["Zoë"] = ("dev",)
    expected = cells(ROLES["limitedGuest"]) | cells(ROLES["maintainer"]) | cells(ROLES["developer"])
    assert allowed(await session(registry, crowd, "erin"), "private/*") == expected
    assert allowed(await session(registry, crowd, "Zoë"), "private/*") == cells(ROLES["developer"])


def test_the_plugin_says_the_same() -> None:
    assert {role.name: role.id for role in roles.HIGHEST_FIRST} == TABLE["ids"]
    assert {role.name: set(role.permissions) for role in roles.HIGHEST_FIRST} == {
        name: cells(table) for name, table in ROLES.items()
    }
    assert set(roles.EVERYBODY) == cells(PUBLIC)
    assert set(roles.SYSTEM) == cells(TABLE["system"])


# ---- over /v2/ ----

DIGEST = f"sha256:{'0' * 64}"
TRIED: Mapping[str, tuple[str, str, int]] = {
    "pull": ("GET", "tags/list", 404),
    "push": ("POST", "blobs/uploads/", 202),
    "delete": ("DELETE", f"manifests/{DIGEST}", 404),
}
"""What is tried for each word, and what comes where it is allowed: there is nothing there yet."""


@pytest.mark.parametrize("visibility", VISIBILITIES)
@pytest.mark.parametrize("who", [*MEMBERS.values(), "Zoë", None, "admin"])
@pytest.mark.usefixtures("projects")
async def test_over_the_protocol_with_tokens(api: Any, who: str | None, visibility: str) -> None:
    table = next((ROLES[role] for role, member in MEMBERS.items() if member == who), {})
    may = set(table.get("repository", ()))
    if visibility == "public" or (visibility == "internal" and who is not None):
        may.add("pull")
    if who == "admin":
        may |= {"pull", "push", "delete"}
    token = await api.token(who, f"repository:{visibility}/app:pull,push,delete")
    for word, (method, path, good) in TRIED.items():
        answer = await api.bearer(method, f"/v2/{visibility}/app/{path}", token)
        refused = 401 if who is None else 403
        assert answer.status_code == (good if word in may else refused), (word, answer.text)
        basic = await api(method, f"/v2/{visibility}/app/{path}", who)
        assert basic.status_code == (good if word in may else refused), (word, basic.text)
        if word not in may and who is not None:
            said = basic.json()["errors"][0]["message"]
            assert said.startswith(f"unauthorized to access repository: {visibility}/app, action: {word}")


# ---- what a caller is told of it ----


@pytest.mark.parametrize("visibility", VISIBILITIES)
@pytest.mark.usefixtures("projects")
async def test_permissions_of_the_caller(api: Any, visibility: str) -> None:
    number = (await api.get(f"/{visibility}"))["project_id"]
    path = f"/api/v2.0/users/current/permissions?scope=/project/{number}"
    expected = {who: cells(ROLES[role]) for role, who in MEMBERS.items()} | {"Zoë": set(), "admin": set(roles.ALL)}
    for who, mine in expected.items():
        allowed_there = mine | (cells(PUBLIC) if visibility != "private" else set())
        said = await api.get(f"{path}&relative=true", who)
        assert {(each["resource"], each["action"]) for each in said} == {
            ("." if resource == "project" else resource, action) for resource, action in allowed_there
        }
        said = await api.get(path, who)
        assert {(each["resource"], each["action"]) for each in said} == {
            (f"/project/{number}" + ("" if resource == "project" else f"/{resource}"), action)
            for resource, action in allowed_there
        }


async def test_permissions_elsewhere(api: Any) -> None:
    path = "/api/v2.0/users/current/permissions"
    assert (await api("GET", path, None)).status_code == 401
    for scope in ("", "/project/99", "/project/x", "/project/1/../2", "/project/-1", "/project/99999999999999999999"):
        assert await api.get(f"{path}?scope={scope}", "alice") == []
    said = await api.get(f"{path}?scope=/system&relative=true")
    assert {(each["resource"], each["action"]) for each in said} == cells(TABLE["system"])
    assert {"resource": "/system/catalog", "action": "read"} in await api.get(f"{path}?scope=/system")
    assert await api.get(f"{path}?scope=/system", "alice") == [{"resource": "/system/project", "action": "create"}]


@pytest.mark.usefixtures("projects")
async def test_a_session_asks_the_database_once_for_somebodys_rights(registry: Registry, crowd: Any) -> None:
    await session(registry, crowd, "alice")
    with statements_of(registry.database) as seen:
        for _ in range(10):
            await session(registry, crowd, "alice")
    assert len(seen) <= 1, "a look at changes of rights, which is due once a second"
