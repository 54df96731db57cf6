"""Who may do what with robots: nobody gives, or takes, more than she has."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from corereg import Grant
from corereg.testing.client import Credentials

pytestmark = pytest.mark.anyio


def message(answer: httpx2.Response) -> str:
    return str(answer.json()["errors"][0]["message"])


@pytest.fixture
async def robots(api: Any) -> dict[str, int]:
    """A robot of each project and one of the system, by where they are."""
    bodies = {"alpha": api.project_robot("alpha"), "beta": api.project_robot("beta"), "system": api.system_robot()}
    return {where: (await api.made(body))["id"] for where, body in bodies.items()}


async def robot(api: Any, body: dict[str, Any]) -> Credentials:
    """Somebody to sign in as."""
    made = await api.made(body)
    return Credentials(made["name"], made["secret"])


# ---- who may ----

EVERY_WAY: list[tuple[str, Any]] = [("GET", None), ("PUT", "shown"), ("PATCH", {}), ("DELETE", None)]
OWN = {("admin", "alpha"), ("admin", "beta"), ("admin", "system"), ("ann", "alpha"), ("ben", "beta")}


@pytest.mark.parametrize(("method", "body"), EVERY_WAY)
@pytest.mark.parametrize("who", ["admin", "ann", "ben", "guest", "nobody", None])
async def test_the_robots_of_others(api: Any, robots: dict[str, int], who: str | None, method: str, body: Any) -> None:
    """By id, which anybody can count: a robot of another project, or of the system, is out of reach."""
    for where, number in robots.items():
        sent = await api.shown(number) if body == "shown" else body
        status = (await api(who, method, f"/robots/{number}", sent)).status_code
        reads = who == "guest" and where == "alpha" and method == "GET"
        assert status == (200 if (who, where) in OWN or reads else 401 if who is None else 403), (where, status)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/robots", {"admin"}),
        ("/robots?q=Level=system", {"admin"}),
        ("/robots?q=Level=project,ProjectID=1", {"admin", "ann", "guest"}),
        ("/robots?q=Level=project,ProjectID=2", {"admin", "ben"}),
        ("/robots?q=ProjectID=1", {"admin"}),
        ("/robots?q=Level=system,ProjectID=1", {"admin"}),
    ],
)
async def test_the_lists_of_others(api: Any, robots: dict[str, int], path: str, allowed: set[str]) -> None:
    for who in ("admin", "ann", "ben", "guest", "nobody"):
        assert (await api(who, "GET", path)).status_code == (200 if who in allowed else 403), who
    assert (await api(None, "GET", path)).status_code == 401


async def test_a_list_holds_nothing_of_others(api: Any, robots: dict[str, int]) -> None:
    """Whatever else is asked for."""
    for more in ("", ",ProjectID=2", ",namespace=beta", ",project_id=2", ",Level=system"):
        answer = await api("ann", "GET", f"/robots?q=Level=project,ProjectID=1{more}")
        if answer.status_code == 200:
            assert [each["id"] for each in answer.json()] == [robots["alpha"]]
        else:
            assert answer.status_code == 403


async def test_robots_for_other_projects(api: Any, robots: dict[str, int]) -> None:
    """A project's administrator makes robots of her project alone."""
    for body in (
        api.project_robot("beta", "spy"),
        api.system_robot("spy", ("project", "alpha", ("repository:pull",))),
        api.system_robot("spy", ("project", "*", ("repository:pull",))),
        api.system_robot("spy", ("system", "/", ("catalog:read",))),
    ):
        assert (await api("ann", "POST", "/robots", body)).status_code == 403
    assert (await api("guest", "POST", "/robots", api.project_robot("alpha", "spy"))).status_code == 403


async def test_a_robot_is_not_moved(api: Any, robots: dict[str, int]) -> None:
    there = [{"kind": "project", "namespace": "beta", "access": api.access("repository:pull")}]
    body = await api.shown(robots["alpha"])
    for more in ({"permissions": there}, {"permissions": there, "name": "robot$beta+ci"}, {"level": "system"}):
        assert (await api("ann", "PUT", f"/robots/{robots['alpha']}", {**body, **more})).status_code == 400
    assert await api.shown(robots["alpha"]) == body


# ---- what may be given ----


@pytest.fixture
def maker(people: dict[str, list[Grant]]) -> str:
    """Somebody who makes and changes robots, and may do little else."""
    people["maker"] = [
        Grant("alpha/*", "robot", frozenset({"create", "update"})),
        Grant("alpha/*", "repository", frozenset({"pull", "push"})),
    ]
    return "maker"


@pytest.mark.parametrize("right", ["tag:delete", "metadata:list"])
async def test_more_than_the_creator_has(api: Any, maker: str, right: str) -> None:
    answer = await api(maker, "POST", "/robots", api.project_robot("alpha", "ci", "repository:pull", right))
    assert answer.status_code == 403
    assert f"leave {right} out, or ask an administrator" in message(answer)
    assert (await api("admin", "POST", "/robots", api.project_robot("alpha", "ci", right))).status_code == 201


async def test_all_that_a_projects_administrator_is_offered(api: Any) -> None:
    """Harbor's role lacks one of them, `metadata:list`: to read metadata is enough for that."""
    offered = (await api("ann", "GET", "/permissions")).json()["project"]
    body = api.project_robot("alpha") | {"permissions": [{"kind": "project", "namespace": "alpha", "access": offered}]}
    made = await api.made(body, "ann")
    assert {"resource": "metadata", "action": "list", "effect": "allow"} in (await api.shown(made["id"]))[
        "permissions"
    ][0]["access"]
    elsewhere = api.project_robot("beta", "ci", "metadata:list")
    assert (await api("ann", "POST", "/robots", elsewhere)).status_code == 403


async def test_a_role_of_few_rights(api: Any, people: dict[str, list[Grant]]) -> None:
    people["maker"] = [
        Grant("alpha/*", "robot", frozenset({"create", "update"})),
        Grant("alpha/*", "repository", frozenset({"pull"})),
    ]
    assert (await api("maker", "POST", "/robots", api.project_robot("alpha", "puller"))).status_code == 201
    pusher = api.project_robot("alpha", "pusher", "repository:push")
    assert (await api("maker", "POST", "/robots", pusher)).status_code == 403


async def test_an_update_adds_only_what_one_has(api: Any, maker: str) -> None:
    """And keeps what somebody else has given."""
    made = await api.made(api.project_robot("alpha", "ci", "tag:delete"))
    held, more = api.access("tag:delete"), api.access("tag:delete", "repository:push")

    async def put(who: str, access: Any) -> int:
        permissions = [{"kind": "project", "namespace": "alpha", "access": access}]
        return int((await api.changed(made["id"], who, permissions=permissions)).status_code)

    assert await put(maker, held) == 200
    assert await put(maker, more) == 200
    assert await put(maker, api.access("repository:push")) == 200
    assert await put(maker, more) == 403, "once it is taken away she cannot give it back"
    assert [each["resource"] for each in (await api.shown(made["id"]))["permissions"][0]["access"]] == ["repository"]


async def test_whoever_sets_a_secret_can_be_the_robot(api: Any, people: dict[str, list[Grant]]) -> None:
    people["keeper"] = [Grant("alpha/*", "robot", frozenset({"update", "read"}))]
    made = await api.made(api.project_robot("alpha", "ci", "repository:push"))
    for body in ({}, {"secret": "Battery-staple-8"}, {"overlap": True}):
        assert (await api("keeper", "PATCH", f"/robots/{made['id']}", body)).status_code == 403
    assert (await api.signed_in(Credentials(made["name"], made["secret"]))).status_code == 200
    people["keeper"].append(Grant("alpha/*", "repository", frozenset({"push"})))
    assert (await api("keeper", "PATCH", f"/robots/{made['id']}", {})).status_code == 200


# ---- robots that make robots ----


async def test_a_robot_makes_no_stronger_one(api: Any) -> None:
    maker = await robot(api, api.project_robot("alpha", "maker", "robot:create", "robot:delete", "repository:push"))
    for rights in (("repository:push",), ("repository:pull",), ("robot:create",)):
        made = await api.made(api.project_robot("alpha", rights[0].replace(":", "-"), *rights), who=maker)
        shown = await api.shown(made["id"])
        assert (shown["creator_type"], shown["creator_ref"]) == ("robot", 1)
    for body in (
        api.project_robot("alpha", "stronger", "repository:delete"),
        api.project_robot("alpha", "stronger", "repository:push", "member:create"),
        api.project_robot("beta", "stronger", "repository:push"),
        api.system_robot("stronger", ("project", "alpha", ("repository:push",))),
        api.system_robot("stronger", ("project", "*", ("repository:push",))),
        api.system_robot("stronger", ("system", "/", ("robot:create",))),
    ):
        assert (await api(maker, "POST", "/robots", body)).status_code == 403, body


async def test_a_robot_of_the_system_makes_no_stronger_one(api: Any) -> None:
    body = api.system_robot("maker", ("system", "/", ("robot:create",)), ("project", "alpha", ("repository:pull",)))
    maker = await robot(api, body)
    same = api.system_robot("same", ("project", "alpha", ("repository:pull",)))
    assert (await api(maker, "POST", "/robots", same)).status_code == 201
    for stronger in (
        api.system_robot("stronger", ("project", "*", ("repository:pull",))),
        api.system_robot("stronger", ("project", "beta", ("repository:pull",))),
        api.system_robot("stronger", ("project", "alpha", ("repository:push",))),
        api.system_robot("stronger", ("system", "/", ("user:create",))),
        api.system_robot("stronger", ("project", "ghost", ("repository:pull",))),
        api.project_robot("alpha", "stronger"),
    ):
        assert (await api(maker, "POST", "/robots", stronger)).status_code == 403, stronger


async def test_a_robot_of_everywhere_gives_everywhere(api: Any) -> None:
    body = api.system_robot("maker", ("system", "/", ("robot:create",)), ("project", "*", ("repository:pull",)))
    maker = await robot(api, body)
    for wanted in (("project", "*", ("repository:pull",)), ("project", "beta", ("repository:pull",))):
        same = api.system_robot("every" if wanted[1] == "*" else "one", wanted)
        assert (await api(maker, "POST", "/robots", same)).status_code == 201


async def test_no_robot_changes_robots(api: Any, robots: dict[str, int]) -> None:
    """`robot:update` is on no list: not with all that a robot can have does one take over another, or itself."""
    everything = (await api("admin", "GET", "/permissions")).json()
    system, project = (
        tuple(f"{each['resource']}:{each['action']}" for each in everything[kind]) for kind in ("system", "project")
    )
    strongest = await robot(api, api.system_robot("strongest", ("system", "/", system), ("project", "*", project)))
    for number in (*robots.values(), 4):
        assert (await api(strongest, "GET", f"/robots/{number}")).status_code == 200
        body = await api.shown(number)
        assert (await api(strongest, "PUT", f"/robots/{number}", body)).status_code == 403
        assert (await api(strongest, "PATCH", f"/robots/{number}", {})).status_code == 403


async def test_a_token_for_repositories_opens_no_other_door(api: Any) -> None:
    """A bearer token holds what it was asked for, not all its robot may do."""
    maker = await robot(api, api.project_robot("alpha", "maker", "robot:create", "robot:list", "repository:push"))
    headers = await api.bearer(maker)
    answer = await api.client.request("GET", "/api/v2.0/robots?q=Level=project,ProjectID=1", headers=headers)
    assert answer.status_code == 401
    assert await api.push(headers) == 202
