"""A right that is taken away is gone on every node within seconds: for tokens, remembered passwords and Basic."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx2
import pytest
import sqlalchemy as sa

from corereg import Grant, Identity, Registry, asgi, hookimpl
from corereg.access import EVERYTHING
from corereg.store import rights
from corereg.store.database import DatabaseUnavailable
from corereg.store.schema import rights_changes
from corereg.testing.client import AppTransport
from corereg.testing.registry import People, Person, may, scratch

pytestmark = pytest.mark.anyio

BOUND = 5.0
"""Seconds after which a change must be seen everywhere."""


def people_of(registry: Registry) -> dict[str, Person]:
    plugin = next(each.plugin for each in registry.plugins if each.name == "people")
    assert isinstance(plugin, People)
    return plugin.people


@asynccontextmanager
async def two_nodes(folder: Path) -> AsyncIterator[tuple[Registry, Registry, httpx2.AsyncClient, httpx2.AsyncClient]]:
    """Two registries on one folder that share what the people plugin knows, as two processes share its table."""
    people = {
        "admin": Person("admin secret"),
        "alice": Person("alice secret", grants=(may("demo/*", "pull", "push"),)),
    }
    async with scratch(folder, people=people) as first, scratch(folder, people=people) as second:
        for registry in (first, second):
            plugin = next(each.plugin for each in registry.plugins if each.name == "people")
            plugin.people = people
        async with (
            httpx2.AsyncClient(transport=AppTransport(asgi(first)), base_url="http://first.test") as here,
            httpx2.AsyncClient(transport=AppTransport(asgi(second)), base_url="http://second.test") as there,
        ):
            yield first, second, here, there


async def token(client: httpx2.AsyncClient, name: str, scope: str) -> str:
    answer = await client.get(
        "/service/token", params={"service": "corereg", "scope": scope}, auth=(name, f"{name} secret")
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["token"])


async def tags(client: httpx2.AsyncClient, bearer: str) -> httpx2.Response:
    return await client.get("/v2/demo/app/tags/list", headers={"Authorization": f"Bearer {bearer}"})


async def push(client: httpx2.AsyncClient, bearer: str) -> httpx2.Response:
    return await client.post("/v2/demo/app/blobs/uploads/", headers={"Authorization": f"Bearer {bearer}"})


async def seen(client: httpx2.AsyncClient, bearer: str, status: int) -> httpx2.Response:
    """The first answer with that status; fails when it does not come within the bound."""
    with anyio.fail_after(BOUND):
        while (answer := await tags(client, bearer)).status_code != status:
            await anyio.sleep(0.1)
    return answer


async def change(registry: Registry, *subjects: str, revoke: bool = False) -> None:
    """What a plugin does when it changes somebody's rights."""
    session = registry.session()
    async with session.change(session.operation("user.update")) as done:
        (done.revoke if revoke else done.rights_changed)(*subjects)


async def test_a_role_that_is_lowered_narrows_tokens_already_handed_out(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (first, _, here, there):
        bearer = await token(here, "alice", "repository:demo/app:pull,push")
        for client in (here, there):
            assert (await tags(client, bearer)).status_code == 404, "may pull; nothing is there"
            assert (await push(client, bearer)).status_code == 202
        people_of(first)["alice"].grants = (may("demo/*", "pull"),)
        await change(first, "user:alice")
        assert (await push(here, bearer)).status_code == 403, "where it was changed, at once"
        with anyio.fail_after(BOUND):
            while (await push(there, bearer)).status_code != 403:
                await anyio.sleep(0.1)
        assert (await tags(there, bearer)).status_code == 404, "what is left still holds"


async def test_a_member_removed(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (first, _, here, there):
        bearer = await token(there, "alice", "repository:demo/app:pull")
        assert (await tags(there, bearer)).status_code == 404
        people_of(first)["alice"].grants = ()
        await change(first, "user:alice")
        answer = await seen(there, bearer, 403)
        assert answer.json()["errors"][0]["code"] == "DENIED"
        assert (await tags(here, bearer)).status_code == 403


async def test_a_right_that_is_given_back_widens_the_token_again_but_never_beyond_what_it_asked(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (first, _, here, _there):
        bearer = await token(here, "alice", "repository:demo/app:pull")
        assert (await push(here, bearer)).status_code == 401, "not asked for, but could be: ask for another token"
        people_of(first)["alice"].grants = (EVERYTHING,)
        await change(first, "user:alice")
        assert (await tags(here, bearer)).status_code == 404
        assert (await push(here, bearer)).status_code == 401


async def test_a_disabled_user(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (first, _, here, there):
        bearer = await token(here, "alice", "repository:demo/app:pull")
        assert (await tags(there, bearer)).status_code == 404
        people_of(first)["alice"].disabled = True
        await change(first, "user:alice")
        answer = await seen(there, bearer, 401)
        assert "disabled" in answer.json()["errors"][0]["message"]
        refused = await here.get("/service/token", auth=("alice", "alice secret"))
        assert refused.status_code == 401, "a remembered password is worth nothing either"
        assert "disabled" in refused.json()["errors"][0]["message"]


async def test_a_changed_password_ends_tokens_and_remembered_passwords(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (first, _, here, there):
        bearer = await token(here, "alice", "repository:demo/app:pull")
        assert (await tags(there, bearer)).status_code == 404
        basic = await there.get("/v2/", auth=("alice", "alice secret"))
        assert basic.status_code == 200
        people_of(first)["alice"].password = "new"
        await change(first, "user:alice", revoke=True)
        answer = await seen(there, bearer, 401)
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]
        assert (await there.get("/v2/", auth=("alice", "alice secret"))).status_code == 401
        assert (await there.get("/v2/", auth=("alice", "new"))).status_code == 200


async def test_a_token_minted_after_the_change_is_believed(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (first, _, here, there):
        await change(first, "user:alice", revoke=True)
        fresh = await token(here, "alice", "repository:demo/app:pull")
        await anyio.sleep(rights.INTERVAL * 1.2)
        assert (await tags(there, fresh)).status_code == 404
        assert (await tags(here, fresh)).status_code == 404


async def test_a_change_for_everybody(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (first, _, here, there):
        bearer = await token(here, "alice", "repository:demo/app:pull")
        assert (await tags(there, bearer)).status_code == 404
        people_of(first)["alice"].grants = ()
        await change(first, "*")
        await seen(there, bearer, 403)


async def test_a_group_that_loses_its_right(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (first, _, here, there):
        people_of(first)["alice"].groups = ("group:ops",)
        bearer = await token(here, "alice", "repository:demo/app:pull")
        assert (await tags(there, bearer)).status_code == 404
        people_of(first)["alice"].grants = ()
        await change(first, "group:ops")
        await seen(there, bearer, 403)


async def test_what_anybody_may_do_is_withdrawn(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (first, second, here, there):
        for registry in (first, second):
            plugin = next(each.plugin for each in registry.plugins if each.name == "people")
            plugin.anonymous = (may("demo/*", "pull"),)
        answer = await here.get("/service/token", params={"scope": "repository:demo/app:pull"})
        bearer = answer.json()["token"]
        assert (await tags(there, bearer)).status_code == 404
        for registry in (first, second):
            next(each.plugin for each in registry.plugins if each.name == "people").anonymous = ()
        await change(first, "*")
        await seen(there, bearer, 401)


async def test_an_upload_begun_with_a_right_cannot_be_finished_without_it(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (first, _, here, _there):
        bearer = await token(here, "alice", "repository:demo/app:pull,push")
        location = (await push(here, bearer)).headers["location"]
        people_of(first)["alice"].grants = (may("demo/*", "pull"),)
        await change(first, "user:alice")
        answer = await here.patch(location, content=b"x", headers={"Authorization": f"Bearer {bearer}"})
        assert answer.status_code == 403


async def test_rotated_keys_are_known_on_the_other_node_and_old_tokens_still_hold(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (first, _, here, there):
        old = await token(here, "alice", "repository:demo/app:pull")
        await first.rotate_keys()
        new = await token(here, "alice", "repository:demo/app:pull")
        assert old.split(".")[0] != new.split(".")[0], "another key"
        for client in (here, there):
            assert (await tags(client, old)).status_code == 404
            assert (await tags(client, new)).status_code == 404


async def test_after_a_key_leaked_no_token_of_it_is_believed_anywhere(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (first, _, here, there):
        leaked = await token(here, "alice", "repository:demo/app:pull")
        assert (await tags(there, leaked)).status_code == 404
        await first.rotate_keys(forget=True)
        answer = await seen(there, leaked, 401)
        assert "not signed by this registry" in answer.json()["errors"][0]["message"]
        assert (await tags(here, leaked)).status_code == 401
        assert (await tags(there, await token(here, "alice", "repository:demo/app:pull"))).status_code == 404


async def test_a_node_signs_with_the_new_key_within_seconds_of_its_rotation_elsewhere(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (first, second, _here, there):
        before = second.tokens
        old = (await token(there, "alice", "")).split(".")[0]
        await first.rotate_keys()
        with anyio.fail_after(BOUND):
            while (await token(there, "alice", "")).split(".")[0] == old:
                await anyio.sleep(0.1)
        assert second.tokens is before


async def test_a_token_from_before_a_restored_backup_cannot_outrun_a_revocation(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (first, _, here, there):
        for _ in range(5):
            await change(first, "user:somebody")
        future = await token(here, "alice", "repository:demo/app:pull")
        async with first.database.transaction() as tx:  # the backup is older: it knows nothing of those changes
            await tx.execute(sa.delete(rights_changes))
        for registry in (first,):
            registry.rights.serial = 0
        await change(first, "user:alice", revoke=True)
        async with (
            scratch(tmp_path, people=people_of(first)) as restored,
            httpx2.AsyncClient(transport=AppTransport(asgi(restored)), base_url="http://restored.test") as client,
        ):
            assert (await tags(client, future)).status_code == 401
        assert there is not None


async def test_a_revocation_is_not_passed_over_while_new_keys_are_read(tmp_path: Path) -> None:
    """Whoever comes while keys are reloaded must not be stamped with a serial whose changes are not applied."""
    async with two_nodes(tmp_path) as (first, second, here, there):
        bearer = await token(here, "alice", "repository:demo/app:pull")
        assert (await tags(there, bearer)).status_code == 404
        reload, meanwhile = second.rights.on_change[rights.KEYS], []

        async def slowly() -> None:
            meanwhile.append(second.rights.serial)
            await anyio.sleep(0.2)
            await reload()

        second.rights.on_change[rights.KEYS] = slowly
        before = second.rights.serial
        await first.rotate_keys()
        await change(first, "user:alice", revoke=True)
        await anyio.sleep(rights.INTERVAL)
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(tags, there, bearer)
        assert meanwhile == [before], "the serial moves when everything is applied"
        assert (await tags(there, bearer)).status_code == 401


async def test_a_listener_that_fails_keeps_no_revocation_from_anybody(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (first, second, here, there):
        bearer = await token(here, "alice", "repository:demo/app:pull")
        assert (await tags(there, bearer)).status_code == 404
        tried = []

        async def fails() -> None:
            tried.append(second.rights.serial)
            message = "a plugin's mistake"
            raise RuntimeError(message)

        second.settings.on_change.append(fails)
        await change(first, "settings")
        await change(first, "user:alice", revoke=True)
        await second.rights.refresh(now=True)
        assert tried
        assert (await tags(there, bearer)).status_code == 401
        assert (await there.get("/v2/", auth=("alice", "alice secret"))).status_code == 200, "others are not in its way"


async def test_no_token_of_a_leaked_key_is_believed_while_the_keys_cannot_be_read(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (first, second, here, there):
        leaked = await token(here, "alice", "repository:demo/app:pull")
        assert (await tags(there, leaked)).status_code == 404
        reload = second.keys.reload

        async def away() -> None:
            message = "the database is away"
            raise DatabaseUnavailable(message)

        second.keys.reload = second.rights.on_change[rights.KEYS] = away
        await first.rotate_keys(forget=True)
        await second.rights.refresh(now=True)
        assert (await tags(there, leaked)).status_code == 503
        second.keys.reload = second.rights.on_change[rights.KEYS] = reload
        assert (await tags(there, leaked)).status_code == 401


class Remembers:
    """Grants from a place that nodes share, remembered by each until it hears of a change."""

    name = "remembers"

    def __init__(self, shared: list[Grant]) -> None:
        self.shared = shared
        self.known: tuple[int, tuple[Grant, ...]] = (-1, ())

    @hookimpl
    def provide_routes(self, registry: Registry) -> None:
        self.rights = registry.rights

    @hookimpl
    async def grants(self, identity: Identity) -> tuple[Grant, ...]:
        if self.rights.serial > self.known[0]:
            self.known = (self.rights.serial, tuple(self.shared))
        return self.known[1]


async def test_what_another_node_gave_a_moment_ago_is_seen_before_anybody_is_refused(tmp_path: Path) -> None:
    """Taking away may last a second; whoever was just let in is let in by whichever node is asked."""
    shared: list[Grant] = []
    people = {"bob": Person("bob secret", grants=())}
    async with (
        scratch(tmp_path, Remembers(shared), people=people) as first,
        scratch(tmp_path, Remembers(shared), people=people) as second,
        httpx2.AsyncClient(transport=AppTransport(asgi(second)), base_url="http://second.test") as there,
    ):
        path, bob = "/v2/demo/app/tags/list", httpx2.BasicAuth("bob", "bob secret")
        assert (await there.get(path, auth=bob)).status_code == 403
        shared.append(may("demo/*", "pull"))
        await change(first, "user:bob")
        assert (await there.get(path, auth=bob)).status_code == 404, "there is no such repository; but no refusal"
