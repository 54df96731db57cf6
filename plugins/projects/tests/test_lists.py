"""Lists of projects: who sees which, how they are searched, and what a page costs."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from corereg import ANONYMOUS, ANYWHERE, Grant, Registry, tables
from corereg.testing.statements import statements_of
from corereg_projects.schema import allowlists, projects

from .conftest import code

pytestmark = pytest.mark.anyio


@pytest.fixture
async def some(api: Any) -> None:
    """Projects of two owners."""
    await api.create("alpha", "alice")
    await api.create("beta", "bob", metadata={"visibility": "internal"})
    await api.create("gamma", "bob", public=True)
    await api.create("delta", "bob")
    await api.create("alp-x", "alice")


async def names(api: Any, who: str | None, query: str = "") -> list[str]:
    return [each["name"] for each in await api.get(query, who)]


@pytest.mark.usefixtures("some")
async def test_who_sees_which(api: Any, crowd: Any) -> None:
    await api.add("delta", "ops", 5)
    crowd.memberships["carol"] = ("ops",)
    crowd.robots |= {
        "one": (Grant("alpha/*", "project", frozenset({"read"})),),
        "all": (Grant(ANYWHERE, "project", frozenset({"read", "list"})),),
        "none": (Grant("alpha/*", "repository", frozenset({"pull"})),),
    }
    assert await names(api, None) == ["gamma", "library"]
    assert await names(api, "Zoë") == ["beta", "gamma", "library"]
    assert await names(api, "alice") == ["alp-x", "alpha", "beta", "gamma", "library"]
    assert await names(api, "carol") == ["beta", "delta", "gamma", "library"]
    assert await names(api, "admin") == ["alp-x", "alpha", "beta", "delta", "gamma", "library"]
    assert await names(api, "one") == ["alpha", "gamma", "library"]
    assert await names(api, "none") == ["gamma", "library"]
    assert await names(api, "all") == await names(api, "admin")


@pytest.mark.usefixtures("some")
async def test_a_token_for_a_pull_sees_public_ones(api: Any) -> None:
    token = await api.token("alice", "repository:alpha/app:pull")
    answer = await api("GET", "", None, headers={"Authorization": f"Bearer {token}"})
    assert [each["name"] for each in answer.json()] == ["gamma", "library"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("?public=true", ["gamma", "library"]),
        ("?public=false", ["alp-x", "alpha", "beta", "delta"]),
        ("?name=ALP", ["alp-x", "alpha"]),
        ("?name=alpha", ["alpha"]),
        ("?name=%25", []),
        ("?name=_", []),
        ("?name=%27%20OR%201=1--", []),
        ("?owner=bob", ["beta", "delta", "gamma"]),
        ("?owner=bo", []),
        ("?owner=bob&public=false&name=ta", ["beta", "delta"]),
        ("?q=name=alpha", ["alpha"]),
        ("?q=name=~ALP", ["alp-x", "alpha"]),
        ("?q=name=~%25", []),
        ("?q=name={alpha beta}", ["alpha", "beta"]),
        ("?q=public=true", ["gamma", "library"]),
        ("?q=public=false,name=~a", ["alp-x", "alpha", "beta", "delta"]),
        ("?q=owner_name=bob,public=1", ["gamma"]),
        ("?q=project_id=[2~3]", ["alpha", "beta"]),
        ("?q=ProjectID=2", ["alpha"]),
        ("?q=creation_time=[2000-01-01T00:00:00~]&name=alpha", ["alpha"]),
        ("?q=creation_time=[~2000-01-01T00:00:00]", []),
        ("?q=visibility=internal", ["beta"]),
        ("?q=password=x&name=alpha", ["alpha"]),
        ("?q=name=x%27%20OR%20%271%27=%271", []),
        ("?q=name=%22);DROP TABLE projects_projects;--%22", []),
        ("?sort=-name", ["library", "gamma", "delta", "beta", "alpha", "alp-x"]),
        ("?sort=project_id", ["library", "alpha", "beta", "gamma", "delta", "alp-x"]),
        ("?sort=-creation_time&page_size=1", ["alp-x"]),
        ("?sort=name;DROP TABLE&page_size=1", ["alp-x"]),
        ("?sort=metadata,(select 1)&page_size=1", ["alp-x"]),
        ("?page=2&page_size=4", ["gamma", "library"]),
        ("?page=9", []),
        ("?page_size=-1", ["alp-x", "alpha", "beta", "delta", "gamma", "library"]),
        ("?with_detail=false&name=alpha", ["alpha"]),
    ],
)
@pytest.mark.usefixtures("some")
async def test_searching_and_sorting(api: Any, query: str, found: list[str]) -> None:
    assert await names(api, "admin", query) == found
    assert await names(api, "admin") != []


@pytest.mark.parametrize(
    ("query", "status"),
    [("?page_size=101", 422), ("?page=0", 422), ("?q=name", 400), ("?q=name=[", 400), ("?public=maybe", 422)],
)
async def test_what_cannot_be_asked(api: Any, query: str, status: int) -> None:
    assert code(await api("GET", query, None))[0] == status


@pytest.mark.usefixtures("some")
async def test_nobody_learns_of_private_ones(api: Any) -> None:
    for query in ("?public=false", "?name=alpha", "?owner=alice", "?q=name=alpha", "?q=project_id=2"):
        answer = await api("GET", query, None)
        assert (answer.json(), answer.headers["x-total-count"]) == ([], "0")


@pytest.mark.usefixtures("some")
async def test_totals_and_links(api: Any) -> None:
    answer = await api("GET", "?page=2&page_size=2&name=a", "admin")
    assert answer.headers["x-total-count"] == "6"
    assert answer.headers["link"] == (
        '</api/v2.0/projects?name=a&page=1&page_size=2>; rel="prev" , '
        '</api/v2.0/projects?name=a&page=3&page_size=2>; rel="next"'
    )


@pytest.mark.parametrize(
    "path", ["?name=%00", "?owner=%00", "?q=name=%00", "?q=name=~%00", "/library/members?entityname=%00"]
)
async def test_what_no_text_holds(api: Any, path: str) -> None:
    assert code(await api("GET", path)) == (400, "BAD_REQUEST")


async def many(registry: Registry, number: int, repositories: int = 2) -> None:
    async with registry.database.transaction() as tx:
        rows = [
            {
                "name": f"many-{place:05}",
                "visibility": "public" if place % 2 else "private",
                "owner_id": 1,
                "owner_name": "admin",
                "metadata": "{}",
                "created_at": place,
                "updated_at": place,
            }
            for place in range(number)
        ]
        await tx.execute_many(sa.insert(projects), rows)
        await tx.execute_many(
            sa.insert(tables.repositories),
            [
                {"name": f"many-{place:05}/app-{each}", "created_at": 0}
                for place in range(number)
                for each in range(repositories)
            ],
        )
        select = sa.select(projects.c.id, sa.literal("[]"), projects.c.created_at, projects.c.updated_at)
        await tx.execute(
            sa.insert(allowlists).from_select(
                ["project_id", "items", "created_at", "updated_at"], select.where(projects.c.name.startswith("many-"))
            )
        )


async def test_a_page_costs_the_same_whatever_is_on_it(registry: Registry, api: Any, crowd: Any) -> None:
    await many(registry, 150)
    crowd.memberships["alice"] = ("ops",)
    for who in ("admin", "alice", None):
        costs = []
        for size in (1, 10, 100, 100):
            await registry.rights.refresh(now=True)
            asked = len(crowd.described)
            with statements_of(registry.database) as seen:
                answer = await api("GET", f"?page_size={size}&q=public=true&name=many", who)
            costs.append(len(seen))
            assert len(crowd.described) - asked == 1
            assert [each["repo_count"] for each in answer.json()] == [2] * min(size, 75)
            assert answer.headers["x-total-count"] == "75"
        assert min(costs[1:]) == max(costs[1:]), (who, costs)
        assert costs[-1] <= 6, (who, costs)


async def test_everything_at_once(registry: Registry, api: Any) -> None:
    """More projects than a statement takes parameters."""
    await many(registry, 33_000, 1)
    answer = await api("GET", "?page_size=-1")
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert len(found) == 33_001
    assert {each["repo_count"] for each in found if each["name"] != "library"} == {1}
    assert all("cve_allowlist" in each for each in found)
    assert len(await api.get("?page_size=-1", "alice")) == 16_501


async def test_counts_and_searches_for_others(registry: Registry, api: Any, crowd: Any) -> None:
    """The hooks of whoever shows statistics and the search."""
    await many(registry, 5)
    await api.create("mine", "alice")
    await api.create("inside", "bob", metadata={"visibility": "internal"})
    async with registry.database.transaction() as tx:
        for name in ("mine/app", "inside/app", "library/app", "strays/app"):
            await tx.execute(sa.insert(tables.repositories).values(name=name, created_at=0))
    (plugin,) = (each.plugin for each in registry.plugins if each.name == "projects")

    async def asked(who: str | None) -> tuple[dict[str, int], list[str]]:
        session = await registry.session_for(crowd.identity(who)) if who else registry.session(ANONYMOUS)
        found = await plugin.search_projects(session, "MAN")
        return dict(await plugin.count_projects(session)), [each.name for each in found]

    counts, found = await asked("admin")
    assert counts == {
        "public_project_count": 3,
        "private_project_count": 5,
        "total_project_count": 8,
        "public_repo_count": 5,
        "private_repo_count": 8,
        "total_repo_count": 13,
    }
    assert found == [f"many-{place:05}" for place in range(5)]
    counts, found = await asked("alice")
    assert counts == {
        "public_project_count": 3,
        "private_project_count": 2,
        "total_project_count": 0,
        "public_repo_count": 5,
        "private_repo_count": 2,
        "total_repo_count": 0,
    }
    assert found == ["many-00001", "many-00003"]
    counts, _ = await asked(None)
    assert (counts["public_project_count"], counts["private_project_count"]) == (3, 0)


async def test_the_system_says_who_makes_projects(registry: Registry, crowd: Any) -> None:
    (plugin,) = (each.plugin for each in registry.plugins if each.name == "projects")
    session = await registry.session_for(crowd.identity("alice"))
    assert await plugin.describe_system(session) == {"project_creation_restriction": "everyone"}
    assert await plugin.describe_system(registry.session(ANONYMOUS)) == {}
