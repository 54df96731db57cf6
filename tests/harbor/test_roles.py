"""The role matrix over HTTP: every role, on a private and a public project, tries every operation of the API.

What each role may do is Harbor's matrix, in roles.json beside this file; the operations below say which right they
stand for. An operation that is allowed may still fail for other reasons (a number that is not there, a name that is
taken): what counts is that nobody is refused who may, and nobody gets past who may not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest

from corereg.testing.client import Credentials, RegistryClient
from corereg.testing.serving import ADMINISTRATOR, PASSWORD, Served

MATRIX: Mapping[str, Mapping[str, list[str]]] = json.loads(Path(__file__).with_name("roles.json").read_text())
PUBLIC = "anonymousOnPublicProject"
ROLES = {"projectAdmin": 1, "maintainer": 4, "developer": 2, "guest": 3, "limitedGuest": 5}
SECRET = "Password-of-members-1"


class Try(NamedTuple):
    """One operation on ``{p}``, the project's name, or ``{id}``, its number."""

    resource: str
    action: str
    method: str
    path: str
    body: Any = None


REPOSITORY = "/projects/{p}/repositories/app"
ARTIFACT = f"{REPOSITORY}/artifacts/1"
PULL = {"kind": "project", "namespace": "{p}", "access": [{"resource": "repository", "action": "pull"}]}
ROBOT = {"name": "again", "level": "project", "duration": 1, "permissions": [PULL]}
TRIES = [
    Try("self", "read", "GET", "/projects/{p}"),
    Try("self", "read", "GET", "/projects/{p}/summary"),
    Try("self", "update", "PUT", "/projects/{p}", {}),
    Try("self", "delete", "DELETE", "/projects/{p}"),
    Try("member", "list", "GET", "/projects/{p}/members"),
    Try("member", "create", "POST", "/projects/{p}/members", {"role_id": 2, "member_user": {"username": "no-one"}}),
    Try("member", "read", "GET", "/projects/{p}/members/999999"),
    Try("member", "update", "PUT", "/projects/{p}/members/999999", {"role_id": 2}),
    Try("member", "delete", "DELETE", "/projects/{p}/members/999999"),
    Try("metadata", "list", "GET", "/projects/{p}/metadatas/"),
    Try("metadata", "create", "POST", "/projects/{p}/metadatas/", {"auto_scan": "false"}),
    Try("metadata", "read", "GET", "/projects/{p}/metadatas/auto_scan"),
    Try("metadata", "update", "PUT", "/projects/{p}/metadatas/auto_scan", {"auto_scan": "false"}),
    Try("metadata", "delete", "DELETE", "/projects/{p}/metadatas/severity"),
    Try("label", "list", "GET", "/labels?scope=p&project_id={id}"),
    Try("label", "create", "POST", "/labels", {"name": "again", "scope": "p", "project_id": "{id}"}),
    Try("label", "read", "GET", "/labels/{label}"),
    Try("label", "update", "PUT", "/labels/{label}", {"name": "again", "scope": "p", "project_id": "{id}"}),
    Try("repository", "list", "GET", "/projects/{p}/repositories"),
    Try("repository", "read", "GET", REPOSITORY),
    Try("repository", "update", "PUT", REPOSITORY, {"description": "words"}),
    Try("repository", "delete", "DELETE", "/projects/{p}/repositories/nothing"),
    Try("artifact", "list", "GET", f"{REPOSITORY}/artifacts"),
    Try("artifact", "read", "GET", ARTIFACT),
    Try("artifact", "delete", "DELETE", f"{REPOSITORY}/artifacts/nothing"),
    Try("artifact", "create", "POST", f"{REPOSITORY}/artifacts?from={{p}}/app:nothing"),
    Try("artifact-addition", "read", "GET", f"{ARTIFACT}/additions/build_history"),
    Try("tag", "list", "GET", f"{ARTIFACT}/tags"),
    Try("tag", "create", "POST", f"{ARTIFACT}/tags", {"name": "1"}),
    Try("tag", "delete", "DELETE", f"{ARTIFACT}/tags/nothing"),
    Try("accessory", "list", "GET", f"{ARTIFACT}/accessories"),
    Try("artifact-label", "create", "POST", f"{ARTIFACT}/labels", {"id": 999999}),
    Try("artifact-label", "delete", "DELETE", f"{ARTIFACT}/labels/999999"),
    Try("robot", "list", "GET", "/robots?q=Level=project,ProjectID={id}"),
    Try("robot", "read", "GET", "/robots/{robot}"),
    Try("robot", "create", "POST", "/robots", ROBOT),
]
GC = "/system/gc"
NEVER = {"schedule": {"type": "None"}}
OF_THE_SYSTEM = [
    Try("jobservice-monitor", "list", "GET", "/jobservice/pools"),
    Try("jobservice-monitor", "list", "GET", "/jobservice/pools/all/workers"),
    Try("jobservice-monitor", "list", "GET", "/jobservice/queues"),
    Try("jobservice-monitor", "list", "GET", "/jobservice/jobs/999999/log"),
    Try("jobservice-monitor", "stop", "PUT", "/jobservice/jobs/999999"),
    Try("jobservice-monitor", "stop", "PUT", "/jobservice/queues/GARBAGE_COLLECTION", {"action": "resume"}),
    Try("jobservice-monitor", "list", "GET", "/schedules"),
    Try("jobservice-monitor", "list", "GET", "/schedules/all/paused"),
    Try("garbage-collection", "list", "GET", GC),
    Try("garbage-collection", "read", "GET", f"{GC}/999999"),
    Try("garbage-collection", "read", "GET", f"{GC}/999999/log"),
    Try("garbage-collection", "stop", "PUT", f"{GC}/999999"),
    Try("garbage-collection", "read", "GET", f"{GC}/schedule"),
    Try("garbage-collection", "create", "POST", f"{GC}/schedule", NEVER),
    Try("garbage-collection", "update", "PUT", f"{GC}/schedule", NEVER),
    Try("jobservice-monitor", "list", "GET", "/jobs"),
    Try("jobservice-monitor", "list", "GET", "/nodes"),
]
"""What is no project's: no role in one opens it."""


@dataclass
class World:
    """A private and a public project with an image, a label and a robot each, and a member for every role."""

    url: str
    projects: dict[str, dict[str, Any]] = field(default_factory=dict)

    def api(self, who: str) -> httpx2.Client:
        auth = {"administrator": (ADMINISTRATOR, PASSWORD), "anonymous": None}.get(who, (who.lower(), SECRET))
        return httpx2.Client(base_url=f"{self.url}/api/v2.0", auth=auth, timeout=30)

    def ask(self, client: httpx2.Client, each: Try, project: str) -> httpx2.Response:
        values = self.projects[project]
        body = json.loads(_filled(json.dumps(each.body), values)) if each.body is not None else None
        if isinstance(body, dict) and "project_id" in body:
            body["project_id"] = values["id"]
        return client.request(each.method, _filled(each.path, values), json=body)


def _filled(text: str, values: Mapping[str, Any]) -> str:
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", str(value))
    return text


def _made(answer: httpx2.Response) -> int:
    assert answer.status_code == 201, answer.text
    return int(answer.headers["location"].rpartition("/")[2])


@pytest.fixture(scope="module")
def world(harbor: Served) -> World:
    world = World(harbor.url)
    with world.api("administrator") as admin:
        for role in (*ROLES, "stranger"):
            name = role.lower()
            user = {"username": name, "email": f"{name}@example.com", "realname": name, "password": SECRET}
            assert admin.post("/users", json=user).status_code == 201
        for name in ("private", "public"):
            number = _made(admin.post("/projects", json={"project_name": name, "public": name == "public"}))
            access = [{"resource": "repository", "action": "pull"}]
            robot = {"name": "one", "level": "project", "duration": 1}
            robot["permissions"] = [{"kind": "project", "namespace": name, "access": access}]
            for role, role_id in ROLES.items():
                member = {"role_id": role_id, "member_user": {"username": role.lower()}}
                _made(admin.post(f"/projects/{name}/members", json=member))
            world.projects[name] = {
                "p": name,
                "id": number,
                "label": _made(admin.post("/labels", json={"name": "one", "scope": "p", "project_id": number})),
                "robot": _made(admin.post("/robots", json=robot)),
            }
            assert admin.post(f"/projects/{name}/metadatas/", json={"auto_scan": "false"}).status_code in {200, 409}
    return world


@pytest.fixture(scope="module")
async def images(world: World) -> None:
    async with RegistryClient(world.url, credentials=Credentials(ADMINISTRATOR, PASSWORD)) as client:
        for name in world.projects:
            await client.push_image(f"{name}/app", "1")


def may(who: str, project: str, resource: str, action: str) -> bool:
    """What the matrix says."""
    if who == "administrator":
        return True
    own = action in MATRIX.get(who, {}).get(resource, ())
    return own or (project == "public" and action in MATRIX[PUBLIC].get(resource, ()))


WHO = [*ROLES, "stranger", "anonymous", "administrator"]


@pytest.mark.anyio
@pytest.mark.parametrize("project", ["private", "public"])
@pytest.mark.parametrize("who", WHO)
async def test_every_operation(world: World, images: None, who: str, project: str) -> None:
    refused = 401 if who == "anonymous" else 403
    wrong = []
    with world.api(who) as client:
        for each in TRIES:
            status = world.ask(client, each, project).status_code
            assert status < 500, each
            allowed = may(who, project, each.resource, each.action)
            if (status in {401, 403}) is allowed or (not allowed and status != refused):
                wrong.append((each.method, each.path, status, "may" if allowed else "may not"))
    assert not wrong


@pytest.mark.anyio
@pytest.mark.parametrize("project", ["private", "public"])
@pytest.mark.parametrize("who", WHO)
async def test_every_word_of_the_protocol(world: World, images: None, who: str, project: str) -> None:
    """Over ``/v2/``, with tokens as docker gets them."""
    credentials = {"administrator": Credentials(ADMINISTRATOR, PASSWORD), "anonymous": None}.get(
        who, Credentials(who.lower(), SECRET)
    )
    async with RegistryClient(world.url, credentials=credentials) as client:
        found = {
            "pull": (await client.get_manifest(f"{project}/app", "1")).status_code,
            "push": (await client.request("POST", f"/v2/{project}/app/blobs/uploads/")).status_code,
            "delete": (await client.request("DELETE", f"/v2/{project}/app/manifests/nothing")).status_code,
        }
    refused = {401} if who == "anonymous" else {401, 403}
    for action, status in found.items():
        allowed = may(who, project, "repository", action)
        assert (status not in {401, 403}) if allowed else (status in refused), (action, status)


# ---- the system ----


@pytest.mark.anyio
@pytest.mark.parametrize("who", WHO)
async def test_no_role_in_a_project_opens_the_system(world: World, who: str) -> None:
    wrong = []
    with world.api(who) as client:
        for each in OF_THE_SYSTEM:
            status = world.ask(client, each, "public").status_code
            assert status < 500, each
            expected = {"administrator": {200, 201, 404}, "anonymous": {401}}.get(who, {403})
            if status not in expected:
                wrong.append((each.method, each.path, status))
    assert not wrong


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("resource", "action"),
    list(dict.fromkeys((each.resource, each.action) for each in OF_THE_SYSTEM)),
    ids=lambda word: word,
)
async def test_a_robot_of_the_system_with_one_right_has_that_one(world: World, resource: str, action: str) -> None:
    permission = {"kind": "system", "namespace": "/", "access": [{"resource": resource, "action": action}]}
    robot = {"name": f"{resource}-{action}", "level": "system", "duration": 1, "permissions": [permission]}
    with world.api("administrator") as admin:
        answer = admin.post("/robots", json=robot)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    wrong = []
    with httpx2.Client(base_url=f"{world.url}/api/v2.0", auth=(made["name"], made["secret"]), timeout=30) as client:
        for each in OF_THE_SYSTEM:
            status = world.ask(client, each, "public").status_code
            if (status == 403) is ((each.resource, each.action) == (resource, action)):
                wrong.append((each.method, each.path, status))
    assert not wrong


# ---- robots ----

GRANTABLE = [
    pair
    for pair in dict.fromkeys((each.resource, each.action) for each in TRIES)
    # A robot is given the project under another word; and two rights do nothing alone: a copy reads its source, and
    # whoever makes robots can give them only what it has itself.
    if pair[0] != "self" and pair not in {("artifact", "create"), ("robot", "create")}
]


@pytest.mark.anyio
@pytest.mark.parametrize(("resource", "action"), GRANTABLE, ids=lambda word: word)
async def test_a_robot_with_one_right_has_that_one(world: World, images: None, resource: str, action: str) -> None:
    """In its own project it may do just that, and what everybody may; in another one only what everybody may."""
    permission = {"kind": "project", "namespace": "private", "access": [{"resource": resource, "action": action}]}
    robot = {"name": f"{resource}-{action}", "level": "project", "duration": 1, "permissions": [permission]}
    with world.api("administrator") as admin:
        answer = admin.post("/robots", json=robot)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    wrong = []
    with httpx2.Client(base_url=f"{world.url}/api/v2.0", auth=(made["name"], made["secret"]), timeout=30) as client:
        for project in world.projects:
            for each in TRIES:
                given = project == "private" and (each.resource, each.action) == (resource, action)
                allowed = given or (project == "public" and each.action in MATRIX[PUBLIC].get(each.resource, ()))
                status = world.ask(client, each, project).status_code
                if (status in {401, 403}) is allowed:
                    wrong.append((project, each.method, each.path, status, "may" if allowed else "may not"))
    assert not wrong
