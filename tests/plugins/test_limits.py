"""Credentials that stand for less than their owner: whatever plugins grant, nothing beyond the limits is left."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import product
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from corereg import EVERYTHING, Action, Grant, Identity, Registry, allowed, asgi, hookimpl
from corereg.access import limited
from corereg.plugins import load
from corereg.testing.client import AppTransport
from corereg.testing.registry import scratch

pytestmark = pytest.mark.anyio


def words(*actions: str) -> frozenset[str]:
    return frozenset(actions)


SCOPES: list[str | frozenset[str]] = [
    "*",
    "*/*",
    "system",
    "a/*",
    "a/b/*",
    "ab/*",
    "a/b",
    "a/b/c",
    frozenset({"a/*", "c/d"}),
    frozenset({"a/b", "ab/*", "c/*"}),
]
RIGHTS = [("repository", words("pull")), ("repository", words("*")), ("*", words("pull", "list")), ("*", words("*"))]
ASKED = [
    Action(resource, action, scope)
    for resource, action, scope in product(
        ("repository", "member"),
        ("pull", "push", "list"),
        ("system", "a/*", "a/b", "a/b/*", "a/b/c", "ab/c", "c/*", "c/d", "d/e"),
    )
]


def test_what_is_left_is_what_both_allow() -> None:
    grants = [Grant(scope, *right) for scope, right in product(SCOPES, RIGHTS)]
    for grant, limit in product(grants, grants):
        left = limited([grant], [limit])
        wrong = [a for a in ASKED if allowed(left, a) != (grant.allows(a) and limit.allows(a))]
        assert not wrong, f"{grant} within {limit} leaves {left}: {wrong[0]}"


def test_limits_are_a_union_and_none_is_no_limit() -> None:
    limits = [Grant("a/*", "repository", words("pull")), Grant("c/d", "repository", words("push"))]
    left = limited([EVERYTHING], limits)
    assert [allowed(left, Action("repository", *each)) for each in (("pull", "a/b"), ("push", "c/d"))] == [True, True]
    assert not allowed(left, Action("repository", "push", "a/b"))
    assert limited([EVERYTHING], ()) == ()
    assert limited([EVERYTHING], None) == (EVERYTHING,)


def test_a_role_in_many_namespaces_stays_one_grant() -> None:
    many = frozenset(f"n{number}/*" for number in range(1000))
    (left,) = limited([Grant(many, "repository", words("pull"))], [Grant("*/*", "repository", words("pull"))])
    assert left.scopes == many


PULLS = (Grant("a/*", "repository", words("pull")),)


class Everything:
    """Grants all to everybody who is signed in, and knows one name whose credentials are limited."""

    def __init__(self) -> None:
        self.name = "everything"

    @hookimpl
    async def check_password(self, name: str, password: str) -> Identity | None:
        limits = PULLS if password == "limited" else None
        return Identity(name=name, subject=f"user:{name}", source=self.name, limits=limits)

    @hookimpl
    async def complete_identity(self, identity: Identity) -> Identity:
        """Made anew, as a careless plugin does it."""
        return Identity(name=identity.name, subject=identity.subject, administrator=True, source=identity.source)

    @hookimpl
    async def grants(self, identity: Identity) -> Any:
        return () if identity.anonymous else [EVERYTHING]


async def test_grants_are_cut() -> None:
    plugins = load([Everything()], {})
    identity = Identity(name="alice", subject="user:alice", limits=PULLS)
    assert await plugins.grants(identity) == PULLS
    assert await plugins.grants(msgspec.structs.replace(identity, limits=())) == ()


async def test_whoever_completes_an_identity_does_not_widen_it() -> None:
    plugins = load([Everything()], {})
    done = await plugins.complete_identity(Identity(name="alice", subject="user:alice", limits=PULLS))
    assert (done.limits, done.administrator) == (PULLS, True)


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    async with scratch(tmp_path, Everything()) as opened:
        yield opened


async def test_a_token_made_of_limited_credentials_carries_the_limits_also_when_asked_anew(registry: Registry) -> None:
    async with httpx2.AsyncClient(transport=AppTransport(asgi(registry)), base_url="http://registry.test") as client:

        async def bearer(password: str) -> dict[str, str]:
            scope = "repository:a/b:pull,push"
            answer = await client.get("/service/token", params={"scope": scope}, auth=("alice", password))
            return {"Authorization": f"Bearer {answer.json()['token']}"}

        async def tried(headers: dict[str, str]) -> list[int]:
            pulled = await client.get("/v2/a/b/tags/list", headers=headers)
            pushed = await client.post("/v2/a/b/blobs/uploads/", headers=headers)
            return [pulled.status_code, pushed.status_code]

        narrow, wide = await bearer("limited"), await bearer("whole")
        assert [await tried(narrow), await tried(wide)] == [[404, 403], [404, 202]]
        session = registry.session()
        async with session.change(session.operation("user.update")) as change:
            change.rights_changed("user:alice")
        assert [await tried(narrow), await tried(wide)] == [[404, 403], [404, 202]]
        # A process that sees the tokens for the first time knows them by their claims alone.
        claims = registry.tokens.verify(narrow["Authorization"].removeprefix("Bearer "))
        assert claims.identity.limits == PULLS


async def test_basic_credentials_are_limited_too(registry: Registry) -> None:
    async with httpx2.AsyncClient(transport=AppTransport(asgi(registry)), base_url="http://registry.test") as client:
        for password, status in (("limited", 403), ("whole", 202)):
            answer = await client.post("/v2/a/b/blobs/uploads/", auth=("alice", password))
            assert answer.status_code == status
