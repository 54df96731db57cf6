"""Projects in projects, behind the flat API; and what a visibility means there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import sqlalchemy as sa

from corereg import ANONYMOUS, Action, Operation, Registry, hookimpl, tables

from .conftest import LIST, code, message

pytestmark = pytest.mark.anyio


@pytest.fixture
async def opened(node: Any) -> tuple[Registry, Any]:
    return await node(nested=True)


def at(name: str) -> str:
    """A nested name in a path: its slashes are encoded twice, as in names of repositories."""
    return "/" + name.replace("/", "%252F")


async def repositories(registry: Registry, *names: str) -> None:
    async with registry.database.transaction() as tx:
        for name in names:
            await tx.execute(sa.insert(tables.repositories).values(name=name, created_at=0))


async def test_making_one(api: Any) -> None:
    await api.create("team", "alice")
    answer = await api(
        "POST", "", "alice", {"project_name": "team/sub"}, headers={"X-Resource-Name-In-Location": "true"}
    )
    assert answer.headers["location"] == f"{LIST}/team%252Fsub"
    said = await api.get(answer.headers["location"], "alice")
    assert (said["name"], said["project_id"]) == ("team/sub", 3)
    assert await api.get("/3", "alice") == said


@pytest.mark.parametrize("name", ["/team", "team/", "team//sub", "team/Sub", "team/su b", "team/..", "team/-"])
async def test_a_name_that_none_can_have(api: Any, name: str) -> None:
    await api.create("team", "alice")
    assert code(await api("POST", "", "alice", {"project_name": name})) == (400, "BAD_REQUEST")


async def test_the_outer_one_comes_first(api: Any) -> None:
    """Whoever makes it later would get rights in what stands in it."""
    answer = await api("POST", "", "alice", {"project_name": "team/sub"})
    assert code(answer) == (400, "BAD_REQUEST")
    assert "create that first" in message(answer)


class Meanwhile:
    """While a policy is asked about a project inside another one, something else happens."""

    name = "meanwhile"

    def __init__(self) -> None:
        self.happens: Callable[[], Awaitable[None]] | None = None

    @hookimpl
    async def admit(self, operation: Operation) -> None:
        if self.happens is not None and operation.kind == "project.create" and "/" in operation.details["name"]:
            await self.happens()


@pytest.mark.parametrize("remade", [False, True])
async def test_the_outer_one_goes_while_an_inner_one_is_made(node: Any, remade: bool) -> None:
    """Or whoever makes the outer one next would have rights in the inner one."""
    meanwhile = Meanwhile()
    _, api = await node(meanwhile, nested=True)
    await api.create("team", "alice")

    async def goes() -> None:
        assert (await api("DELETE", "/team", "alice")).status_code == 200
        if remade:
            await api.create("team", "bob")

    meanwhile.happens = goes
    answer = await api("POST", "", "alice", {"project_name": "team/sub"})
    assert code(answer) == (400, "BAD_REQUEST")
    assert "create that first" in message(answer)
    assert (await api("GET", at("team/sub"))).status_code == 404


async def test_only_administrators_of_the_outer_one_make_an_inner_one(api: Any) -> None:
    """It takes repositories away from the outer one."""
    await api.create("team", "alice", public=True)
    await api.add("team", "bob", 4)
    for who in ("bob", "carol"):
        answer = await api("POST", "", who, {"project_name": "team/sub", "public": True})
        assert code(answer) == (403, "FORBIDDEN")
    await api.create("team/sub", "alice", public=True)


async def test_the_inner_one_wins_for_its_repositories(registry: Registry, api: Any) -> None:
    for name in ("team", "team/sub", "team/sub/deep", "team-2"):
        await api.create(name, "alice")
    for repository, project in (
        ("team/app", "team"),
        ("team/sub", "team"),
        ("team/subs/app", "team"),
        ("team/sub/app", "team/sub"),
        ("team/sub/other/app", "team/sub"),
        ("team/sub/deep/app", "team/sub/deep"),
        ("team-2/sub/app", "team-2"),
    ):
        namespace = await registry.plugins.namespace_of(repository)
        assert namespace is not None
        assert namespace.name == project, repository
        await repositories(registry, repository)
    assert await registry.plugins.namespace_of("teams/app") is None
    said = {each["name"]: each["repo_count"] for each in await api.get("?name=team")}
    assert said == {"team": 3, "team/sub": 2, "team/sub/deep": 1, "team-2": 1}


async def test_membership_reaches_down_and_not_up(registry: Registry, api: Any, crowd: Any) -> None:
    for name in ("team", "team/sub", "team-2"):
        await api.create(name, "alice")
    await api.add("team", "bob", 2)
    await api.add("team/sub".replace("/", "%252F"), "carol", 4)
    bob, carol = [await registry.session_for(crowd.identity(who)) for who in ("bob", "carol")]
    push = {name: Action("repository", "push", f"{name}/app") for name in ("team", "team/sub", "team-2")}
    assert [bob.may(each) for each in push.values()] == [True, True, False]
    assert [carol.may(each) for each in push.values()] == [False, True, False]
    assert [each["name"] for each in await api.get("", "bob")] == ["library", "team", "team/sub"]
    assert [each["name"] for each in await api.get("", "carol")] == ["library", "team/sub"]
    assert (await api.get(at("team/sub"), "bob"))["current_user_role_ids"] == [2]
    await api.add("team/sub".replace("/", "%252F"), "bob", 1)
    assert (await api.get(at("team/sub"), "bob"))["current_user_role_ids"] == [1, 2]
    assert (await api.get("/team", "bob"))["current_user_role_ids"] == [2]


async def test_nothing_closed_stands_in_something_open(registry: Registry, api: Any) -> None:
    """What everybody may do in the outer one they may do below it: the words must not promise anything else."""
    await api.create("team", "alice", public=True)
    answer = await api("POST", "", "alice", {"project_name": "team/sub"})
    assert code(answer) == (400, "BAD_REQUEST")
    assert "team, which is public" in message(answer)
    await api.create("team/sub", "alice", public=True)
    for word in ("private", "internal"):
        answer = await api("PUT", at("team/sub"), "alice", {"metadata": {"visibility": word}})
        assert code(answer) == (400, "BAD_REQUEST")
    assert (await api("PUT", f"{at('team/sub')}/metadatas/public", "alice", {"public": "false"})).status_code == 400
    assert (await api("DELETE", f"{at('team/sub')}/metadatas/public", "alice")).status_code == 400
    assert (await api("PUT", "/team", "alice", {"public": False})).status_code == 200
    assert (await api("PUT", at("team/sub"), "alice", {"public": False})).status_code == 200
    for word in ("public", "internal"):
        answer = await api("PUT", "/team", "alice", {"metadata": {"visibility": word}})
        assert code(answer) == (400, "BAD_REQUEST")
        assert "team/sub, which stands in it, is private" in message(answer)
    nobody = await registry.session_for(ANONYMOUS)
    assert not nobody.may(Action("repository", "pull", "team/sub/app"))


async def test_look_alikes_are_no_neighbours(api: Any) -> None:
    await api.create("team-2", "alice")
    await api.create("team", "alice", public=True)
    assert (await api.get("/team"))["metadata"]["public"] == "true"


async def test_the_outer_one_stays_while_an_inner_one_is_there(api: Any) -> None:
    await api.create("team", "alice")
    await api.create("team/sub", "alice")
    answer = await api("DELETE", "/team", "alice")
    assert code(answer) == (412, "PRECONDITION")
    assert "delete team/sub first" in message(answer)
    assert (await api.get("/team/_deletable", "alice"))["deletable"] is False
    assert (await api("DELETE", at("team/sub"), "alice")).status_code == 200
    assert (await api("DELETE", "/team", "alice")).status_code == 200


async def test_administrators_may_deny_it(registry: Registry, api: Any) -> None:
    await api.create("team", "alice")
    await registry.session().change_settings({"project_creation_restriction": "adminonly"})
    assert (await api("POST", "", "alice", {"project_name": "team/sub"})).status_code == 403


async def test_what_was_made_stays_when_it_is_switched_off(node: Any) -> None:
    _, api = await node(nested=True)
    await api.create("team", "alice")
    await api.create("team/sub", "alice")
    registry, api = await node(nested=False)
    answer = await api("POST", "", "alice", {"project_name": "team/other"})
    assert code(answer) == (400, "BAD_REQUEST")
    assert "[projects] nested" in message(answer)
    assert (await api.get(at("team/sub"), "alice"))["name"] == "team/sub"
    namespace = await registry.plugins.namespace_of("team/sub/app")
    assert namespace is not None
    assert namespace.name == "team/sub"
