"""A right that a project gave and takes back is gone on every node within seconds: for Basic and for tokens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from corereg import Identity

from .test_roles import ROLES, body

pytestmark = pytest.mark.anyio

BOUND = 5.0
"""Seconds after which a change must be seen everywhere."""
PULL, PUSH = "pull", "push"
TRIED = {PULL: ("GET", "/v2/web/app/tags/list", 404), PUSH: ("POST", "/v2/web/app/blobs/uploads/", 202)}


class Watch:
    """Somebody at two nodes, who has signed in before rights change, with a password and with a token."""

    def __init__(self, here: Any, there: Any, who: str | None, words: str) -> None:
        self.nodes = (here, there)
        self.who = who
        self.words = words.split(",")
        self.token = ""

    async def arrive(self) -> None:
        """Sign in everywhere, and see that all of it is allowed."""
        self.token = await self.nodes[0].token(self.who, f"repository:web/app:{','.join(self.words)}")
        for node in self.nodes:
            for word in self.words:
                good = TRIED[word][2]
                assert set(await self.tries(node, word)) == {good}, word

    async def tries(self, node: Any, word: str) -> list[int]:
        method, path, _ = TRIED[word]
        answers = [await node(method, path, self.who), await node.bearer(method, path, self.token)]
        return [answer.status_code for answer in answers]

    async def until_refused(self, word: str) -> None:
        """Fails when one of the nodes still lets the word pass when time is up."""
        refused = 401 if self.who is None else 403
        with anyio.fail_after(BOUND):
            for node in self.nodes:
                while await self.tries(node, word) != [refused, refused]:
                    await anyio.sleep(0.1)

    async def keeps(self, word: str) -> None:
        for node in self.nodes:
            assert await self.tries(node, word) == [TRIED[word][2]] * 2


@pytest.fixture
async def nodes(node: Any) -> tuple[Any, Any]:
    (_, here), (_, there) = await node(), await node()
    await here.create("web", "alice")
    return here, there


@pytest.fixture
async def watched(nodes: tuple[Any, Any]) -> Callable[..., Awaitable[Watch]]:
    async def watch(who: str | None, words: str) -> Watch:
        found = Watch(*nodes, who, words)
        with anyio.fail_after(BOUND):  # what was given a moment ago may still be on its way
            while await found.tries(nodes[1], PULL) == [403, 403] or not await settled(found):
                await anyio.sleep(0.1)
        await found.arrive()
        return found

    async def settled(found: Watch) -> bool:
        found.token = await nodes[1].token(found.who, "repository:web/app:pull")
        return set(await found.tries(nodes[1], PULL)) == {404}

    return watch


async def test_a_member_removed(nodes: Any, watched: Any) -> None:
    here, _ = nodes
    mid = await here.add("web", "bob", 2)
    bob = await watched("bob", "pull,push")
    assert (await here("DELETE", f"/web/members/{mid}")).status_code == 200
    await bob.until_refused(PULL)
    await bob.until_refused(PUSH)


async def test_a_role_lowered(nodes: Any, watched: Any) -> None:
    here, _ = nodes
    mid = await here.add("web", "bob", 2)
    bob = await watched("bob", "pull,push")
    assert (await here("PUT", f"/web/members/{mid}", "admin", {"role_id": 3})).status_code == 200
    await bob.until_refused(PUSH)
    await bob.keeps(PULL)


async def test_a_part_of_a_project_taken_back(nodes: Any, watched: Any) -> None:
    here, _ = nodes
    mid = await here.add("web", "bob", 2, pattern="app")
    bob = await watched("bob", "pull,push")
    assert (await here("DELETE", f"/web/members/{mid}")).status_code == 200
    await bob.until_refused(PULL)


async def test_a_custom_role_that_means_less(nodes: Any, watched: Any) -> None:
    here, _ = nodes
    await here("POST", ROLES, "admin", body("pusher", "repository:pull", "repository:push"))
    await here.add("web", "bob", 100)
    bob = await watched("bob", "pull,push")
    assert (await here("PUT", f"{ROLES}/100", "admin", body("pusher", "repository:pull"))).status_code == 200
    await bob.until_refused(PUSH)
    await bob.keeps(PULL)


async def test_the_role_of_a_group_taken_back(nodes: Any, watched: Any, crowd: Any) -> None:
    here, _ = nodes
    crowd.memberships["bob"] = ("ops",)
    mid = await here.add("web", "ops", 2)
    bob = await watched("bob", "pull,push")
    assert (await here("PUT", f"/web/members/{mid}", "admin", {"role_id": 3})).status_code == 200
    await bob.until_refused(PUSH)
    assert (await here("DELETE", f"/web/members/{mid}")).status_code == 200
    await bob.until_refused(PULL)


async def test_a_group_that_somebody_left(node: Any, nodes: Any, watched: Any, crowd: Any) -> None:
    """Whoever keeps the groups says that the user's rights changed."""
    registry, _ = await node()
    here, _ = nodes
    crowd.memberships["bob"] = ("ops",)
    await here.add("web", "ops", 2)
    bob = await watched("bob", "pull,push")
    crowd.memberships["bob"] = ()
    session = registry.session()
    async with session.change(session.operation("group.update", details={"subject": "group:1"})) as change:
        change.rights_changed(crowd.identity("bob").subject)
    await bob.until_refused(PULL)


@pytest.mark.parametrize("who", ["bob", None])
async def test_a_project_made_private(nodes: Any, watched: Any, who: str | None) -> None:
    here, _ = nodes
    await here("PUT", "/web", "alice", {"public": True})
    somebody = await watched(who, "pull") if who else Watch(*nodes, None, "pull")
    if who is None:
        with anyio.fail_after(BOUND):
            while set(await somebody.tries(nodes[1], PULL)) != {404}:
                somebody.token = await nodes[1].token(None, "repository:web/app:pull")
                await anyio.sleep(0.1)
        await somebody.arrive()
    assert (await here("PUT", "/web/metadatas/public", "alice", {"public": "false"})).status_code == 200
    await somebody.until_refused(PULL)


async def test_an_internal_project_made_private(nodes: Any, watched: Any) -> None:
    here, _ = nodes
    await here("PUT", "/web", "alice", {"metadata": {"visibility": "internal"}})
    bob = await watched("bob", "pull")
    assert (await here("DELETE", "/web/metadatas/visibility", "alice")).status_code == 200
    await bob.until_refused(PULL)


async def test_a_public_project_made_internal(nodes: Any, watched: Any) -> None:
    here, _ = nodes
    await here("PUT", "/web", "alice", {"public": True})
    bob = await watched("bob", "pull")
    nobody = Watch(*nodes, None, "pull")
    nobody.token = await here.token(None, "repository:web/app:pull")
    await here("PUT", "/web", "alice", {"metadata": {"visibility": "internal"}})
    await nobody.until_refused(PULL)
    await bob.keeps(PULL)


async def test_a_project_deleted_and_made_anew_by_somebody_else(nodes: Any, watched: Any) -> None:
    here, _ = nodes
    await here.add("web", "bob", 2)
    bob = await watched("bob", "pull")
    assert (await here("DELETE", "/web", "alice")).status_code == 200
    await here.create("web", "carol")
    await bob.until_refused(PULL)
    alice = Watch(*nodes, "alice", "pull")
    alice.token = await here.token("alice", "repository:web/app:pull")
    await alice.until_refused(PULL)


async def test_a_right_that_is_given_is_seen_elsewhere_too(nodes: Any) -> None:
    here, there = nodes
    assert (await there("GET", "/web", "bob")).status_code == 403
    await here.add("web", "bob", 3)
    assert (await here("GET", "/web", "bob")).status_code == 200, "where it was given, at once"
    with anyio.fail_after(BOUND):
        while (await there("GET", "/web", "bob")).status_code != 200:
            await anyio.sleep(0.1)


async def test_a_node_without_requests_learns_it_too(node: Any, nodes: Any, crowd: Any) -> None:
    """A job asks for somebody's session, and nobody else does anything there."""
    registry, _ = await node()
    here, _ = nodes
    mid = await here.add("web", "bob", 3)
    bob: Identity = crowd.identity("bob")

    async def pulls() -> bool:
        session = await registry.session_for(bob)
        return any(grant.resource == "repository" and grant.covers_scope("web/*") for grant in session.grants)

    with anyio.fail_after(BOUND):
        while not await pulls():
            await anyio.sleep(0.1)
    await here("DELETE", f"/web/members/{mid}")
    with anyio.fail_after(BOUND):
        while await pulls():
            await anyio.sleep(0.1)


# ---- users and groups that go ----


async def happen(registry: Any, kind: str, subject: str, name: str) -> None:
    session = registry.session()
    async with session.change(session.operation(kind, details={"subject": subject, "name": name})) as change:
        change.rights_changed(subject)


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    with anyio.fail_after(BOUND):
        while not await true():
            await anyio.sleep(0.05)


@pytest.mark.parametrize(("who", "subject"), [("bob", "user:3"), ("ops", "group:1")])
async def test_who_was_deleted_is_no_member_any_more(opened: Any, crowd: Any, who: str, subject: str) -> None:
    registry, api = opened
    for project in ("web", "other"):
        await api.create(project, "alice")
        await api.add(project, who, 2)
    await api.add("web", "carol", 2)
    await happen(registry, f"{subject.partition(':')[0]}.delete", subject, who)

    async def gone() -> bool:
        return [each["entity_name"] for each in await api.get("/other/members")] == ["alice"]

    await until(gone)
    assert [each["entity_name"] for each in await api.get("/web/members")] == ["alice", "carol"]


@pytest.mark.parametrize(("who", "subject"), [("bob", "user:3"), ("ops", "group:1")])
async def test_who_was_renamed_is_found_by_the_new_name(opened: Any, crowd: Any, who: str, subject: str) -> None:
    registry, api = opened
    await api.create("web", "alice")
    await api.add("web", who, 2)
    known = crowd.groups if who == "ops" else crowd.people
    known["renamed"] = known.pop(who)
    await happen(registry, f"{subject.partition(':')[0]}.update", subject, "whatever it was called before")

    async def found() -> bool:
        return [each["entity_name"] for each in await api.get("/web/members?entityname=rena")] == ["renamed"]

    await until(found)


async def test_an_owner_who_was_renamed(opened: Any, crowd: Any) -> None:
    registry, api = opened
    await api.create("web", "alice")
    await api.create("other", "bob")
    crowd.people["alicia"] = crowd.people.pop("alice")
    crowd.groups["other"] = 3
    await happen(registry, "group.update", "group:3", "other")
    await happen(registry, "user.update", "user:2", "alice")

    async def found() -> bool:
        return (await api.get("/web"))["owner_name"] == "alicia"

    await until(found)
    assert (await api.get("/other"))["owner_name"] == "bob", "a group of the same number owns nothing"


async def test_events_that_concern_nobody_here(opened: Any) -> None:
    """Delivery goes on: what a strange event says is not believed."""
    registry, api = opened
    await api.create("web", "alice")
    for kind, subject in (
        ("user.delete", "user:99"),
        ("user.update", "user:x"),
        ("user.update", "robot:2"),
        ("group.update", "group:2"),
        ("robot.delete", "user:2"),
    ):
        await happen(registry, kind, subject, "x")
    await api.add("web", "bob", 2)
    await happen(registry, "user.delete", "user:3", "bob")

    async def gone() -> bool:
        return [each["entity_name"] for each in await api.get("/web/members")] == ["alice"]

    await until(gone)
