"""Grants: what they cover, asked one by one and filtered in SQL, against a model that tries everything."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from corereg.access import ANYWHERE, EVERYTHING, Action, Grant, allowed, scopes_of
from corereg.store.catalog import Catalog
from corereg.store.database import Database
from corereg.store.engines import connect
from corereg.store.schema import CORE, repositories, upgrade
from corereg.store.scopes import FEW, among, covered, within

WORDS = ("a", "b", "ab", "a-b", "a0")
NAMES = sorted(
    {
        *WORDS,
        *(f"{first}/{second}" for first in WORDS for second in WORDS),
        *(f"{first}/{second}/{third}" for first in WORDS[:3] for second in WORDS[:3] for third in WORDS[:2]),
    }
)
SINGLE = [*NAMES, *(f"{name}/*" for name in NAMES)]

ASKED = [*SINGLE, "system"]

some_scopes = st.frozensets(st.sampled_from(SINGLE), max_size=6)
scopes = st.one_of(st.sampled_from(["*", "system", ANYWHERE, *SINGLE]), some_scopes)
grants = st.lists(
    st.builds(
        Grant,
        scopes,
        st.sampled_from(["repository", "tag", "*"]),
        st.frozensets(st.sampled_from(["pull", "push", "*"]), max_size=2),
    ),
    max_size=5,
)


def model(scope: str, asked: str) -> bool:
    """Whether one scope covers another, as the documents say it."""
    if scope == "*":
        return True
    if scope == ANYWHERE:
        return asked != "system"
    return asked == scope or (scope.endswith("/*") and fnmatchcase(asked, scope))


def may(given_grants: Iterable[Grant], resource: str, action: str, scope: str) -> bool:
    return any(
        grant.resource in ("*", resource)
        and bool(grant.actions & {"*", action})
        and any(model(own, scope) for own in ({grant.scope} if isinstance(grant.scope, str) else grant.scope))
        for grant in given_grants
    )


@given(grants, st.sampled_from(["repository", "tag"]), st.sampled_from(["pull", "push"]), st.sampled_from(ASKED))
def test_grants_against_the_model(held: list[Grant], resource: str, action: str, scope: str) -> None:
    assert allowed(held, Action(resource, action, scope)) == may(held, resource, action, scope)


@given(scopes, st.sampled_from(ASKED))
def test_a_set_of_scopes_is_as_good_as_a_grant_for_each(scope: str | frozenset[str], asked: str) -> None:
    many = Grant(scope, "repository", frozenset({"pull"}))
    each = [Grant(own, "repository", frozenset({"pull"})) for own in many.scopes]
    action = Action("repository", "pull", asked)
    assert allowed([many], action) == allowed(each, action)


def test_nowhere_in_particular() -> None:
    """Who may act everywhere below the system has no right over the system, and the other way round."""
    anywhere = Grant(ANYWHERE, "*", frozenset({"*"}))
    assert anywhere.allows(Action("repository", "push", "a/b"))
    assert anywhere.allows(Action("project", "read", "a/*"))
    assert not anywhere.allows(Action("user", "create"))
    assert not anywhere.allows(Action("project", "create", "system"))
    system = Grant("system", "*", frozenset({"*"}))
    assert system.allows(Action("user", "create"))
    assert not system.allows(Action("repository", "pull", "a/b"))
    assert EVERYTHING.allows(Action("user", "create"))
    assert EVERYTHING.allows(Action("repository", "pull", "a/b"))


def test_names_that_begin_alike() -> None:
    grant = Grant(frozenset({"demo/*", "solo/app"}), "repository", frozenset({"pull"}))
    covers = ["demo/app", "demo/a/b", "demo/*", "demo/a/*", "solo/app"]
    leaves = [
        "demo",
        "demo-2/app",
        "demos/app",
        "solo",
        "solo/app2",
        "solo/app/x",
        "solo/*",
        "*",
        ANYWHERE,
        "/*",
        "system",
    ]
    assert all(grant.covers_scope(scope) for scope in covers)
    assert not any(grant.covers_scope(scope) for scope in leaves)


def test_an_empty_set_covers_nothing() -> None:
    grant = Grant(frozenset(), "*", frozenset({"*"}))
    assert not any(grant.covers_scope(scope) for scope in [*SINGLE, "system", "", "/*"])


# ---- in SQL ----

OURS = repositories.c.name.in_(NAMES)
"""There may be others in the database."""


@pytest.fixture(scope="module")
async def database(tmp_path_factory: pytest.TempPathFactory, corereg_database: str | None) -> AsyncIterator[Database]:
    """A catalog of all the names."""
    folder: Path = tmp_path_factory.mktemp("scopes")
    opened = connect(corereg_database or f"sqlite:{folder / 'test.db'}")
    await opened.open()
    await upgrade(opened, [CORE])
    async with opened.transaction() as tx:
        await tx.execute(sa.delete(repositories).where(OURS))
        await tx.execute_many(sa.insert(repositories), [{"name": name, "created_at": 1} for name in NAMES])
    yield opened
    async with opened.transaction() as tx:
        await tx.execute(sa.delete(repositories).where(OURS))
    await opened.close()


@pytest.mark.anyio
@settings(max_examples=300, deadline=None)
@given(grants, st.booleans())
@example([Grant(frozenset(f"{name}/*" for name in NAMES), "repository", frozenset({"pull"}))], True)
async def test_lists_show_just_what_each_name_alone_would_be_shown(
    database: Database, held: list[Grant], many: bool
) -> None:
    """Few namespaces and many are filtered by different means."""
    if many:
        others = frozenset(f"other{number}/*" for number in range(FEW + 1))
        held = [*held, Grant(others, "repository", frozenset({"pull"}))]
    found = scopes_of(held, "repository", "pull")
    select = sa.select(repositories.c.name).where(OURS, covered(database, repositories.c.name, found))
    rows = await database.rows(select)
    expected = [name for name in NAMES if may(held, "repository", "pull", name)]
    assert sorted(row[0] for row in rows) == expected
    listed = await Catalog(database).repositories(held, "", 1_000_000)
    assert [name for name in listed.names if name in NAMES] == expected


@pytest.mark.anyio
async def test_within_a_namespace(database: Database) -> None:
    for namespace in (*NAMES, "c"):
        select = sa.select(repositories.c.name).where(within(repositories.c.name, namespace))
        names = sorted(row[0] for row in await database.rows(select))
        assert names == [name for name in NAMES if name.startswith(f"{namespace}/")]


@pytest.mark.anyio
async def test_ten_thousand_namespaces_are_one_statement(database: Database) -> None:
    """More than a statement may have parameters."""
    found = frozenset(
        {*(f"n{number}/*" for number in range(40_000)), *(f"x/n{number}" for number in range(40_000)), "a/*"}
    )
    rows = await database.rows(sa.select(repositories.c.name).where(covered(database, repositories.c.name, found)))
    assert sorted(row[0] for row in rows) == [name for name in NAMES if name.startswith("a/")]


@pytest.mark.anyio
async def test_numbers_and_names_among_many(database: Database) -> None:
    rows = await database.rows(sa.select(repositories.c.id, repositories.c.name).where(OURS))
    numbers = {row[1]: row[0] for row in rows}
    select = sa.select(repositories.c.name).order_by(repositories.c.name)
    wanted = {numbers["a"], numbers["a/b"], *range(10**9, 10**9 + 50_000)}
    for condition in (
        among(database, repositories.c.id, wanted),
        among(database, repositories.c.name, {"a", "a/b", *(f"none{number}" for number in range(50_000))}),
    ):
        assert [row[0] for row in await database.rows(select.where(condition))] == ["a", "a/b"]
    for nothing in (among(database, repositories.c.id, ()), among(database, repositories.c.name, [])):
        assert await database.rows(select.where(nothing)) == []
