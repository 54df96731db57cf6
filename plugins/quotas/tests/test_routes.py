"""Harbor's API, tag ``quota``."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest

from corereg import Grant, Identity, Registry, Request, asgi, hookimpl
from corereg.testing.client import AppTransport

from .stage import Projects, digest_of, events, push_blob, used

pytestmark = pytest.mark.anyio

QUOTAS = "/api/v2.0/quotas"


class Callers:
    """Whoever says who they are is believed."""

    @hookimpl
    async def identify(self, request: Request) -> Identity | None:
        name = request.headers.get("x-caller")
        return Identity(name=name, subject=f"user:{name}", administrator=name == "root") if name else None


class Rights:
    """Only administrators may do something."""

    name = "rights"

    @hookimpl
    async def grants(self, identity: Identity) -> list[Grant]:
        if identity.administrator:
            return [Grant("*", "*", frozenset({"*"}))]
        return [Grant("demo/*", "quota", frozenset({"read"}))] if identity.name == "member" else []


class Names(Projects):
    """Namespaces, without rights."""

    grants = None  # type: ignore[assignment]  # the hook of the class above is not asked here


@pytest.fixture
def projects() -> Projects:
    return Names()


@pytest.fixture
async def client(make_registry: Callable[..., Registry], projects: Projects) -> AsyncIterator[httpx2.AsyncClient]:
    async with make_registry(Callers(), Rights()) as registry:
        for number, name in enumerate(("demo", "other", "third")):
            await projects.create(registry, name, [-1, 5000, 300][number])
            await push_blob(registry.session(), f"{name}/app", b"x" * [10, 300, 20][number])
        transport = AppTransport(asgi(registry))
        headers = {"x-caller": "root"}
        async with httpx2.AsyncClient(transport=transport, base_url="http://registry.test", headers=headers) as client:
            client.registry = registry  # type: ignore[attr-defined]  # for the tests that look behind
            yield client


async def names(client: httpx2.AsyncClient, query: str = "") -> list[str]:
    answer = await client.get(f"{QUOTAS}{query}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-total-count"].isdigit()
    return [row["ref"]["name"] for row in answer.json()]


async def test_a_quota_as_harbor_shows_one(client: httpx2.AsyncClient) -> None:
    answer = await client.get(f"{QUOTAS}?reference=project&reference_id=2")
    assert answer.headers["x-total-count"] == "1"
    (row,) = answer.json()
    for name in ("creation_time", "update_time"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", row.pop(name))
    assert row == {
        "id": 2,
        "ref": {"id": 2, "name": "other", "owner_name": ""},
        "hard": {"storage": 5000},
        "used": {"storage": 300},
    }
    assert (await client.get(f"{QUOTAS}/2")).json()["ref"]["name"] == "other"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["demo", "other", "third"]),
        ("/", ["demo", "other", "third"]),
        ("/?page=1&page_size=2", ["demo", "other"]),
        ("?page=2&page_size=2", ["third"]),
        ("?sort=hard.storage", ["demo", "third", "other"]),
        ("?sort=-hard.storage", ["other", "third", "demo"]),
        ("?sort=used.storage", ["demo", "third", "other"]),
        ("?sort=-used.storage", ["other", "third", "demo"]),
        ("?sort=hard.memory", ["demo", "other", "third"]),
        ("?reference=project", ["demo", "other", "third"]),
        ("?reference=registry", []),
        ("?reference_id=99", []),
        ("?reference_id=demo", []),
        ("?reference_id=%D9%A1", []),
        ("?reference_id=1%20or%201=1", []),
        (f"?reference_id={2**80}", []),
    ],
)
async def test_lists(client: httpx2.AsyncClient, query: str, found: list[str]) -> None:
    assert await names(client, query) == found


async def test_a_new_limit(client: httpx2.AsyncClient) -> None:
    answer = await client.put(f"{QUOTAS}/1", json={"hard": {"storage": 4096}})
    assert (answer.status_code, answer.content) == (200, b"")
    assert (await client.get(f"{QUOTAS}/1")).json()["hard"] == {"storage": 4096}
    registry: Any = client.registry  # type: ignore[attr-defined]
    (event,) = await events(registry, "quota.update")
    assert (event.actor, event.details) == ("root", {"namespace": "demo", "hard": 4096})
    assert (await client.put(f"{QUOTAS}/1", json={"hard": {"storage": -1}})).status_code == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"hard": {"storage": 0}}, 400),
        ({"hard": {"storage": -2}}, 400),
        ({"hard": {"storage": 2**63}}, 400),
        ({"hard": {}}, 400),
        ({"hard": {"storage": 1, "count": 7}}, 400),
        ({"hard": {"storage": "much"}}, 422),
        ({"hard": {"storage": 1.5}}, 422),
        ({"hard": 7}, 422),
        ({}, 422),
        ([], 422),
    ],
)
async def test_a_limit_that_is_none(client: httpx2.AsyncClient, body: Any, status: int) -> None:
    answer = await client.put(f"{QUOTAS}/1", json=body)
    assert answer.status_code == status, answer.text
    assert (await client.get(f"{QUOTAS}/1")).json()["hard"] == {"storage": -1}


@pytest.mark.parametrize("quota", [0, -1, 99, 2**63])
async def test_a_quota_that_is_not_there(client: httpx2.AsyncClient, quota: int) -> None:
    assert (await client.get(f"{QUOTAS}/{quota}")).status_code == 404
    answer = await client.put(f"{QUOTAS}/{quota}", json={"hard": {"storage": 1}})
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (404, "NOT_FOUND")


@pytest.mark.parametrize(("caller", "status"), [("", 401), ("alice", 403), ("member", 403)])
async def test_only_administrators(client: httpx2.AsyncClient, caller: str, status: int) -> None:
    headers = {"x-caller": caller}
    assert (await client.get(QUOTAS, headers=headers)).status_code == status
    assert (await client.get(f"{QUOTAS}/1", headers=headers)).status_code == status
    assert (await client.get(f"{QUOTAS}/99", headers=headers)).status_code == status
    answer = await client.put(f"{QUOTAS}/1", headers=headers, json={"hard": {"storage": 1}})
    assert answer.status_code == status
    assert (await client.get(f"{QUOTAS}/1")).json()["hard"] == {"storage": -1}


async def test_a_refused_push_over_http(client: httpx2.AsyncClient) -> None:
    """What docker prints."""
    registry: Any = client.registry  # type: ignore[attr-defined]
    started = await client.post("/v2/third/app/blobs/uploads/")
    assert started.status_code == 202
    done = await client.put(started.headers["location"], params={"digest": digest_of(b"y")}, content=b"y")
    assert done.status_code == 201
    await client.put(f"{QUOTAS}/3", json={"hard": {"storage": 21}})
    started = await client.post("/v2/third/app/blobs/uploads/")
    refused = await client.put(started.headers["location"], params={"digest": digest_of(b"yy")}, content=b"yy")
    assert refused.status_code == 403
    (error,) = refused.json()["errors"]
    assert error["code"] == "DENIED"
    assert error["message"].startswith("adding 2 B of storage resource, which when updated to current usage of 21 B ")
    assert await used(registry, "third") == 21
