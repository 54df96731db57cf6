"""Who has no right anywhere is answered in the same words about what is there and what is not: neither a name nor
whether there is one can be read from a refusal.
"""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx2
import pytest

from corereg.testing.client import RegistryClient, expect
from corereg.testing.serving import ADMINISTRATOR, PASSWORD, Served

pytestmark = pytest.mark.anyio

API = "/api/v2.0"
SECRET = "Password-of-strangers-1"
NOTHING = "999999"
THERE_IS_NONE = "there-is-none"
OWN = "/users/current/"
"""There is nothing of others below it."""


@pytest.fixture
async def admin(harbor: Served) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=harbor.url, timeout=30, auth=(ADMINISTRATOR, PASSWORD)) as client:
        yield client


@pytest.fixture
async def there(admin: httpx2.AsyncClient, docker: RegistryClient) -> dict[str, str]:
    """What stands in paths for things of a private project; its name, and that of somebody without rights."""
    unique = secrets.token_hex(4)
    name, stranger = f"takeover-{unique}", f"stranger-{unique}"

    async def made(path: str, body: Any) -> str:
        answer = expect(await admin.post(f"{API}{path}", json=body), 201)
        return str(answer.headers["location"].rpartition("/")[2])

    project = await made("/projects", {"project_name": name})
    user = {"username": stranger, "email": f"{stranger}@example.com", "realname": "S", "password": SECRET}
    await made("/users", user)
    pushed = await docker.push_image(f"{name}/app", "1")
    await docker.push_image(f"{name}/gone", "1")
    expect(await admin.delete(f"{API}/projects/{name}/repositories/gone"), 200)
    deleted = expect(await admin.get(f"{API}/trash?q=repository={name}/gone"), 200).json()
    quotas = expect(await admin.get(f"{API}/quotas?reference_id={project}"), 200).json()
    members = expect(await admin.get(f"{API}/projects/{name}/members"), 200).json()
    return {
        "namespace": project,
        "label_id": await made("/labels", {"name": "stable", "scope": "p", "project_id": int(project)}),
        "robot_id": await made("/robots", robot_of(name)),
        "mid": str(members[0]["id"]),
        "quota_id": str(quotas[0]["id"]),
        "trash_id": str(deleted[0]["id"]),
        "repository_name": "app",
        "reference": pushed.digest,
        "tag_name": "1",
        "user_id": "1",
        "name": name,
        "stranger": stranger,
    }


def robot_of(project: str) -> dict[str, Any]:
    """The body that asks for a robot of a project."""
    access = [{"resource": "repository", "action": "pull"}]
    permission = {"kind": "project", "namespace": project, "access": access}
    return {"name": "ci", "level": "project", "duration": 1, "permissions": [permission]}


@pytest.fixture
async def ask(harbor: Served, there: dict[str, str]) -> AsyncIterator[Any]:
    async with httpx2.AsyncClient(base_url=harbor.url, timeout=30) as client:

        async def asked(who: str | None, method: str, path: str, body: Any = None) -> tuple[int, str]:
            """What is answered, without the numbers and names that the caller said."""
            answer = await client.request(method, f"{API}{path}", auth=(who, SECRET) if who else None, json=body)
            said = answer.headers.get("www-authenticate", "") + answer.text
            return answer.status_code, re.sub(rf"\b(\d+|{there['name']}|{THERE_IS_NONE})\b", "it", said)

        yield asked


def filled(path: str, values: Mapping[str, str]) -> str:
    """A path of the document with values for its segments."""
    return re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], NOTHING), path)


async def test_what_is_there_and_what_is_not(admin: httpx2.AsyncClient, ask: Any, there: dict[str, str]) -> None:
    """Every operation on something that a path names, by the number of its project and by the name."""
    nothing = there | dict.fromkeys(
        ("namespace", "label_id", "robot_id", "quota_id", "trash_id", "mid", "user_id"), NOTHING
    )
    by_name = there | {"namespace": there["name"]}, nothing | {"namespace": THERE_IS_NONE}
    body = {"name": "x", "level": "project"}
    document = expect(await admin.get(f"{API}/openapi.json"), 200).json()
    tried = set()
    for path, methods in document["paths"].items():
        target = path.removeprefix(API)
        if target == path or "{" not in target or target.startswith(OWN):
            continue
        for method, (here, nowhere), who in itertools.product(
            methods, ((there, nothing), by_name), (None, there["stranger"])
        ):
            sent = body if method in {"post", "put", "patch"} else None
            found = await ask(who, method.upper(), filled(target, here), sent)
            assert found == await ask(who, method.upper(), filled(target, nowhere), sent), (method, path, who)
            tried.add((method, target))
    assert {("get", "/labels/{label_id}"), ("patch", "/robots/{robot_id}"), ("get", "/projects/{namespace}")} <= tried


async def test_what_no_path_names(ask: Any, there: dict[str, str]) -> None:
    """Where the query or the body says which project is meant."""
    for who, status in ((None, 401), (there["stranger"], 403)):
        said = []
        for number, name in ((there["namespace"], there["name"]), (NOTHING, THERE_IS_NONE)):
            answers = [
                await ask(who, "GET", f"/labels?scope=p&project_id={number}"),
                await ask(who, "POST", "/labels", {"name": "x", "scope": "p", "project_id": int(number)}),
                await ask(who, "GET", f"/robots?q=Level=project,ProjectID={number}"),
                await ask(who, "POST", "/robots", robot_of(name)),
                await ask(who, "POST", f"/projects/library/repositories/x/artifacts?from={name}/app:1"),
            ]
            assert {answer[0] for answer in answers} == {status}
            said.append(answers)
        assert said[0] == said[1]


async def test_who_may_know_is_told(admin: httpx2.AsyncClient) -> None:
    for path in (f"/labels/{NOTHING}", f"/robots/{NOTHING}"):
        expect(await admin.get(f"{API}{path}"), 404)
