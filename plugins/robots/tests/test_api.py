"""The six operations and GET /permissions: fields, statuses, sentences (Harbor's swagger.yaml)."""

from __future__ import annotations

import re
import time
from typing import Any

import httpx2
import pytest

from corereg import Registry, openapi_document
from corereg.testing.client import Credentials
from corereg.testing.statements import statements_of

pytestmark = pytest.mark.anyio

DAY = 86_400
TIME = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d\d\dZ")
FIELDS = {
    "id": int,
    "name": str,
    "description": str,
    "level": str,
    "duration": int,
    "expires_at": int,
    "disable": bool,
    "editable": bool,
    "permissions": list,
    "creator_type": str,
    "creator_ref": int,
    "creation_time": str,
    "update_time": str,
}
"""Of `Robot`; the secret is never among them."""


def code(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["errors"][0]["code"]


def message(answer: httpx2.Response) -> str:
    return str(answer.json()["errors"][0]["message"])


def names(answer: httpx2.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [each["name"] for each in answer.json()]


# ---- create ----


async def test_a_robot_of_a_project(api: Any) -> None:
    before = int(time.time())
    answer = await api("ann", "POST", "/robots", api.project_robot("alpha", "ci", "repository:push", duration=7))
    assert answer.status_code == 201
    said = answer.json()
    assert set(said) == {"id", "name", "secret", "creation_time", "expires_at"}
    assert said["name"] == "robot$alpha+ci"
    assert TIME.fullmatch(said["creation_time"])
    assert before + 7 * DAY <= said["expires_at"] <= time.time() + 7 * DAY
    assert answer.headers["location"] == f"/api/v2.0/robots/{said['id']}"
    robot = await api.shown(said["id"], "ann")
    assert {name: type(value) for name, value in robot.items()} == FIELDS
    assert robot["permissions"] == [{"kind": "project", "namespace": "alpha", "access": api.access("repository:push")}]
    assert (robot["creator_type"], robot["creator_ref"]) == ("local", 2), "ann is the second user"
    assert (robot["level"], robot["duration"], robot["disable"], robot["editable"]) == ("project", 7, False, True)
    assert await api.push(await api.bearer(Credentials(said["name"], said["secret"]))) == 202


async def test_a_robot_of_the_system(api: Any) -> None:
    said = await api.made(api.system_robot("ci", duration=-1, description="pulls everywhere"))
    assert (said["name"], said["expires_at"]) == ("robot$ci", -1)
    robot = await api.shown(said["id"])
    assert (robot["level"], robot["duration"], robot["description"]) == ("system", -1, "pulls everywhere")
    assert [each["namespace"] for each in robot["permissions"]] == ["/", "*"]


@pytest.mark.parametrize("duration", [None, 0])
async def test_days_by_the_setting(api: Any, registry: Registry, duration: int | None) -> None:
    robot = await api.shown((await api.made(api.system_robot("usual", duration=duration)))["id"])
    assert robot["duration"] == 30
    await registry.session().change_settings({"robot_token_duration": 90})
    robot = await api.shown((await api.made(api.system_robot("longer", duration=duration)))["id"])
    assert robot["duration"] == 90


async def test_the_longest_time(api: Any) -> None:
    made = await api.made(api.system_robot(duration=2**31 - 2))
    assert (await api.shown(made["id"]))["expires_at"] == made["expires_at"] > 2**31 * DAY - 10 * DAY
    assert (await api.signed_in(Credentials(made["name"], made["secret"]))).status_code == 200


@pytest.mark.parametrize("duration", [-2, 2**31, 2**31 - 1, -(2**63), 2**63 - 1])
async def test_days_that_cannot_be(api: Any, duration: int) -> None:
    answer = await api("admin", "POST", "/robots", api.system_robot(duration=duration))
    assert code(answer) == (400, "BAD_REQUEST")
    assert message(answer).startswith("bad request error duration input")


async def test_a_robot_that_is_disabled_from_the_beginning(api: Any) -> None:
    made = await api.made(api.project_robot("alpha", disable=True))
    answer = await api.signed_in(Credentials(made["name"], made["secret"]))
    assert (answer.status_code, message(answer)) == (401, "robot$alpha+ci is disabled; ask who made it to enable it")


async def test_a_secret_of_ones_own(api: Any) -> None:
    made = await api.made(api.project_robot("alpha", secret="Correct-horse-7"))
    assert made["secret"] == "Correct-horse-7"
    assert (await api.signed_in(Credentials(made["name"], "Correct-horse-7"))).status_code == 200
    weak = await api("admin", "POST", "/robots", api.project_robot("alpha", "other", secret="weak-secret"))
    assert code(weak) == (400, "BAD_REQUEST")
    assert "weak-secret" not in weak.text


async def test_a_name_that_is_taken(api: Any) -> None:
    await api.made(api.project_robot("alpha"))
    answer = await api("ann", "POST", "/robots", api.project_robot("alpha"))
    assert code(answer) == (409, "CONFLICT")
    assert "robot$alpha+ci" in message(answer)
    assert (await api.made(api.project_robot("beta")))["name"] == "robot$beta+ci", "in another project it is free"
    assert (await api.made(api.system_robot()))["name"] == "robot$ci"


@pytest.mark.parametrize("name", ["", "CI", "robot$ci", "a+b", "a--b", "x" * 300])
async def test_a_name_that_will_not_do(api: Any, name: str) -> None:
    answer = await api("admin", "POST", "/robots", api.project_robot("alpha", name))
    assert code(answer) == (400, "BAD_REQUEST")


@pytest.mark.parametrize("wrong", ["repository:update-all", "robot:update", "*:*", "project:create"])
async def test_a_right_that_no_robot_can_have(api: Any, wrong: str) -> None:
    answer = await api("admin", "POST", "/robots", api.project_robot("alpha", "ci", "repository:pull", wrong))
    assert code(answer) == (400, "BAD_REQUEST")
    assert message(answer).startswith(f"bad request permission: {wrong}")


async def test_a_project_that_is_not_there(api: Any) -> None:
    """Anonymous 401, a user 403, an administrator 404: who may not know does not learn it."""
    body = api.project_robot("ghost")
    assert [(await api(who, "POST", "/robots", body)).status_code for who in (None, "ann", "admin")] == [401, 403, 404]
    listed = "/robots?q=Level=project,ProjectID=99"
    assert [(await api(who, "GET", listed)).status_code for who in (None, "ann", "admin")] == [401, 403, 404]
    body = api.system_robot("ci", ("project", "alpha", ("repository:pull",)), ("project", "ghost", ("tag:list",)))
    assert code(await api("admin", "POST", "/robots", body)) == (404, "NOT_FOUND")
    assert names(await api("admin", "GET", "/robots")) == [], "nothing is half made"


async def test_the_name_of_a_project_may_look_like_a_number(api: Any, projects: dict[str, int]) -> None:
    """`123` is the project of that name, whatever project has that number."""
    projects["other"] = 123
    robot = await api.made(api.project_robot("123"))
    assert robot["name"] == "robot$123+ci"
    assert names(await api("admin", "GET", f"/robots?q=Level=project,ProjectID={projects['123']}")) == ["robot$123+ci"]


@pytest.mark.parametrize(
    "body",
    [None, [], {}, {"name": "ci"}, {"name": 7, "level": "system"}, {"name": "ci", "level": "system", "duration": "x"}],
)
async def test_a_body_of_another_shape(api: Any, body: Any) -> None:
    assert (await api("admin", "POST", "/robots", body)).status_code == 422


async def test_what_is_not_asked_for_is_not_taken(api: Any) -> None:
    """Mass assignment: fields of a robot that a client cannot set."""
    body = api.system_robot(duration=1) | {"id": 77, "creator_ref": 99, "creator_type": "robot", "editable": False}
    robot = await api.shown((await api.made(body | {"expires_at": -1, "project_id": 1}))["id"])
    assert (robot["id"], robot["creator_ref"], robot["creator_type"], robot["editable"]) == (1, 1, "local", True)
    assert robot["expires_at"] < time.time() + 2 * DAY


async def test_null_is_what_is_left_out(api: Any) -> None:
    nothing = dict.fromkeys(("description", "duration", "disable", "secret"))
    body = api.project_robot("alpha", **nothing)
    body["permissions"][0]["access"][0]["effect"] = None
    made = await api.made(body)
    robot = await api.shown(made["id"])
    assert (robot["description"], robot["duration"], robot["disable"]) == ("", 30, False)
    assert robot["permissions"][0]["access"] == api.access("repository:pull")
    assert (await api.changed(made["id"], description=None, disable=None)).status_code == 200
    answer = await api("admin", "PATCH", f"/robots/{made['id']}", {"secret": None, "overlap": None})
    assert (await api.signed_in(Credentials(made["name"], answer.json()["secret"]))).status_code == 200


# ---- list ----


async def test_lists(api: Any) -> None:
    for name in ("b", "a", "c"):
        await api.made(api.system_robot(name))
        await api.made(api.project_robot("alpha", name))
    await api.made(api.project_robot("beta", "d"))
    answer = await api("admin", "GET", "/robots?page=1&page_size=2")
    assert names(answer) == ["robot$a", "robot$b"]
    assert answer.headers["x-total-count"] == "3"
    assert "page=2" in answer.headers["link"]
    assert {name: type(value) for name, value in answer.json()[0].items()} == FIELDS
    assert len(answer.json()[0]["permissions"]) == 2
    assert names(await api("admin", "GET", "/robots?q=Level=system&sort=-name")) == ["robot$c", "robot$b", "robot$a"]
    mine = await api("ann", "GET", "/robots?q=Level=project,ProjectID=1&page_size=0")
    assert names(mine) == ["robot$alpha+a", "robot$alpha+b", "robot$alpha+c"]
    assert names(await api("admin", "GET", "/robots?q=Level%3Dproject%2CProjectID%3D2")) == ["robot$beta+d"]
    assert names(await api("admin", "GET", "/robots?q=ProjectID=2")) == ["robot$a", "robot$b", "robot$c"], "no level"


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("name=~AB", ["robot$alpha+ab"]),
        ("name=ab", ["robot$alpha+ab"]),
        ("name=robot$alpha%2Bab", ["robot$alpha+ab"]),
        ("name=alpha%2Bab", ["robot$alpha+ab"]),
        ("name=robot$alpha%2B", []),
        ("name={a c}", ["robot$alpha+a", "robot$alpha+c"]),
        ("name=~%", []),
        ("name=' OR 1=1", []),
        ("disable=true", ["robot$alpha+c"]),
        ("seal=~sha256", ["robot$alpha+a", "robot$alpha+ab", "robot$alpha+c"]),
        ("secret=~a", ["robot$alpha+a", "robot$alpha+ab", "robot$alpha+c"]),
    ],
)
async def test_what_a_list_may_be_asked(api: Any, q: str, found: list[str]) -> None:
    """Names it does not have are ignored; among them those of secrets."""
    for name in ("a", "ab", "c"):
        await api.made(api.project_robot("alpha", name, disable=name == "c"))
    await api.made(api.project_robot("beta", "ab"))
    q = q.replace("%", "%25") if q.endswith("%") else q
    assert names(await api("ann", "GET", f"/robots?q=Level=project,ProjectID=1,{q}")) == found


@pytest.mark.parametrize(
    "q",
    [
        "Level=robot",
        "Level=project",
        "Level=~project",
        "Level=project,ProjectID=alpha",
        "Level=project,ProjectID=[1~2]",
        "x",
    ],
)
async def test_a_list_that_cannot_be_meant(api: Any, q: str) -> None:
    assert code(await api("admin", "GET", f"/robots?q={q}")) == (400, "BAD_REQUEST")


async def test_pages_cost_the_same_whatever_is_on_them(api: Any, registry: Registry) -> None:
    """However many robots there are, and permissions on the page."""

    async def cost(robots: int) -> int:
        with statements_of(registry.database) as seen:
            assert len(names(await api("admin", "GET", "/robots?page_size=30"))) == robots
        return sum("robots" in str(each) for each in seen)

    await api.made(api.system_robot("r0"))
    of_one = await cost(1)
    for number in range(1, 30):
        await api.made(api.system_robot(f"r{number}"))
    assert await cost(30) == of_one <= 3


# ---- update ----


async def test_everything_else_can_change(api: Any) -> None:
    made = await api.made(api.project_robot("alpha", duration=7))
    permissions = [{"kind": "project", "namespace": "alpha", "access": api.access("tag:list", "repository:pull")}]
    answer = await api.changed(made["id"], "ann", description="new", duration=-1, permissions=permissions, disable=True)
    assert (answer.status_code, answer.content) == (200, b"")
    robot = await api.shown(made["id"])
    assert robot["permissions"] == permissions
    assert (robot["description"], robot["duration"], robot["expires_at"], robot["disable"]) == ("new", -1, -1, True)
    assert robot["update_time"] >= robot["creation_time"]


async def test_days_count_from_when_it_was_made(api: Any) -> None:
    made = await api.made(api.system_robot(duration=7))
    assert (await api.changed(made["id"], duration=9)).status_code == 200
    assert (await api.shown(made["id"]))["expires_at"] == made["expires_at"] + 2 * DAY
    assert (await api.changed(made["id"], duration=None)).status_code == 200
    assert (await api.shown(made["id"]))["expires_at"] == made["expires_at"] + 2 * DAY, "not said is not changed"


async def test_the_secret_stays(api: Any) -> None:
    made = await api.made(api.project_robot("alpha"))
    await api.changed(made["id"], description="new", secret="Battery-staple-8")
    assert (await api.signed_in(Credentials(made["name"], made["secret"]))).status_code == 200
    assert (await api.signed_in(Credentials(made["name"], "Battery-staple-8"))).status_code == 401


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "robot$alpha+other"},
        {"name": "robot$beta+ci"},
        {"name": "robot$ci"},
        {"name": "ci"},
        {"name": ""},
        {"level": "system"},
        {"level": "else"},
        {"permissions": []},
        {"permissions": [{"kind": "project", "namespace": "beta", "access": [{"resource": "tag", "action": "list"}]}]},
        {"permissions": [{"kind": "project", "namespace": "*", "access": [{"resource": "tag", "action": "list"}]}]},
        {"permissions": [{"kind": "system", "namespace": "/", "access": [{"resource": "user", "action": "list"}]}]},
        {"duration": -7},
        {"description": "x" * 1025},
    ],
)
async def test_what_cannot_change(api: Any, fields: dict[str, Any]) -> None:
    """Not even for an administrator: level, name and project are what a robot is."""
    made = await api.made(api.project_robot("alpha"))
    before = await api.shown(made["id"])
    assert code(await api.changed(made["id"], **fields)) == (400, "BAD_REQUEST")
    assert await api.shown(made["id"]) == before


async def test_a_robot_of_the_system_stays_one(api: Any) -> None:
    made = await api.made(api.system_robot())
    body = api.project_robot("alpha") | {"name": "robot$alpha+ci"}
    for wrong in (body, body | {"name": "robot$ci"}, body | {"level": "system"}):
        assert code(await api("admin", "PUT", f"/robots/{made['id']}", wrong)) == (400, "BAD_REQUEST")


# ---- refresh and delete ----


async def test_a_secret_is_made_anew(api: Any) -> None:
    made = await api.made(api.project_robot("alpha"))
    answer = await api("ann", "PATCH", f"/robots/{made['id']}", {})
    assert answer.status_code == 200
    assert set(answer.json()) == {"secret"}
    assert (await api.signed_in(Credentials(made["name"], answer.json()["secret"]))).status_code == 200
    assert (await api.signed_in(Credentials(made["name"], made["secret"]))).status_code == 401
    assert (await api.shown(made["id"]))["expires_at"] == made["expires_at"]


async def test_a_secret_is_set(api: Any) -> None:
    made = await api.made(api.project_robot("alpha"))
    answer = await api("ann", "PATCH", f"/robots/{made['id']}", {"secret": "Battery-staple-8"})
    assert (answer.status_code, answer.json()) == (200, {}), "who sets it knows it"
    assert (await api.signed_in(Credentials(made["name"], "Battery-staple-8"))).status_code == 200
    assert (await api.signed_in(Credentials(made["name"], made["secret"]))).status_code == 401


@pytest.mark.parametrize("weak", ["Short-7", "no-upper-case-7", "Aa1" * 43])
async def test_a_secret_that_will_not_do(api: Any, weak: str) -> None:
    made = await api.made(api.project_robot("alpha"))
    answer = await api("ann", "PATCH", f"/robots/{made['id']}", {"secret": weak})
    assert code(answer) == (400, "BAD_REQUEST")
    assert weak not in answer.text
    assert (await api.signed_in(Credentials(made["name"], made["secret"]))).status_code == 200


async def test_delete(api: Any) -> None:
    made = await api.made(api.project_robot("alpha"))
    answer = await api("ann", "DELETE", f"/robots/{made['id']}")
    assert (answer.status_code, answer.content) == (200, b"")
    for method, body in (("GET", None), ("DELETE", None), ("PATCH", {}), ("PUT", {"name": "robot$alpha+ci"})):
        assert code(await api("admin", method, f"/robots/{made['id']}", body)) == (404, "NOT_FOUND")
    assert (await api.signed_in(Credentials(made["name"], made["secret"]))).status_code == 401
    again = await api.made(api.project_robot("alpha"))
    assert again["id"] != made["id"]


@pytest.mark.parametrize("robot", ["0", "-1", "99", str(2**63), "x", "1e3", "%00"])
async def test_ids_that_nobody_has(api: Any, robot: str) -> None:
    assert 400 < (await api("admin", "GET", f"/robots/{robot}")).status_code < 500


# ---- permissions ----


async def test_what_robots_may_be_given(api: Any) -> None:
    said = (await api("admin", "GET", "/permissions")).json()
    assert set(said) == {"system", "project"}
    assert len(said["system"]) == len(said["project"]) == 70
    assert {"resource": "repository", "action": "push"} in said["project"]
    assert {"resource": "project", "action": "create"} in said["system"]
    mine = await api("ann", "GET", "/permissions")
    assert (mine.status_code, mine.json()) == (200, {"system": [], "project": said["project"]})
    assert [(await api(who, "GET", "/permissions")).status_code for who in ("guest", "nobody", None)] == [403, 403, 401]


async def test_what_the_document_says(registry: Registry) -> None:
    """Harbor's operations, and no secret in what a robot is shown as."""
    document = openapi_document(registry)
    found = {
        (path, method): operation["operationId"].lower()
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if operation["tags"] in (["robot"], ["permissions"])
    }
    assert found == {
        ("/api/v2.0/robots", "get"): "listrobot",
        ("/api/v2.0/robots", "post"): "createrobot",
        ("/api/v2.0/robots/{robot_id}", "get"): "getrobotbyid",
        ("/api/v2.0/robots/{robot_id}", "put"): "updaterobot",
        ("/api/v2.0/robots/{robot_id}", "patch"): "refreshsec",
        ("/api/v2.0/robots/{robot_id}", "delete"): "deleterobot",
        ("/api/v2.0/permissions", "get"): "getpermissions",
    }
    robot = document["components"]["schemas"]["RobotResp"]["properties"]
    assert set(robot) == {*FIELDS, "last_used_time", "last_used_address", "previous_secret_until"}
